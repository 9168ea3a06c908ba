"""CelebA: its partition, the middle of its pictures, its augmentation, bad files."""

import numpy as np
import pytest
from PIL import Image

import jaxvision
from jaxvision import data
from jaxvision.recipes import beta_sigma_vae


PARTS = (0, 2, 0, 1, 0)


@pytest.fixture
def folder(tmp_path, rng):
    """Five pictures of 24 x 20 whose outer parts are white."""
    (tmp_path / "img_align_celeba").mkdir()
    lines = []
    for i, part in enumerate(PARTS):
        pixels = np.full((24, 20, 3), 255, np.uint8)
        pixels[4:20, 2:18] = rng.integers(0, 200, (16, 16, 3))
        Image.fromarray(pixels).save(tmp_path / "img_align_celeba" / f"{i}.png")
        lines.append(f"{i}.png {part}")
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def pixels(folder, number):
    picture = Image.open(folder / "img_align_celeba" / f"{number}.png")
    return np.asarray(picture)[4:20, 2:18].astype(np.float32) / 255


def test_parts_and_crop(folder):
    """The square in the middle and nothing of its surroundings, part by part."""
    kinds = {"train": (0, 2, 4), "valid": (3,), "test": (1,), "all": range(5)}
    for split, numbers in kinds.items():
        found = data.read_celeba(folder, 16, crop=16, split=split)["image"]
        expected = np.stack([pixels(folder, i) for i in numbers])
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert found.dtype == np.float32
    # A smaller result is averaged within the square.
    small = data.read_celeba(folder, 1, crop=16, split="valid")["image"]
    assert small.max() < 200 / 255
    middle = Image.fromarray((pixels(folder, 3) * 255).round().astype("uint8"))
    expected = np.asarray(middle.resize((8, 8), Image.Resampling.BILINEAR)) / 255
    found = data.read_celeba(folder, 8, crop=16, split="valid")["image"][0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    gray = data.read_celeba(folder, 8, crop=16, channels=1)["image"]
    assert gray.shape == (3, 8, 8, 1)


def test_recipes_train_on_one_part_and_are_evaluated_on_another(folder, monkeypatch):
    assert data.splits_of(folder) == ("train", "test")
    seen = []

    def read(folder, size, *, channels, split, damaged):
        seen.append((size, channels, split, damaged))
        return {"image": np.zeros((1, size, size, channels), np.float32)}

    monkeypatch.setattr(data.files, "read_celeba", read)
    config = jaxvision.recipe("beta_sigma_vae").config
    for split in beta_sigma_vae.SYSTEM.splits:
        beta_sigma_vae.read(config, folder, split=split, damaged="skip")
    assert seen == [(64, 3, "train", "skip"), (64, 3, "test", "skip")]


def test_what_cannot_be_read(folder):
    with pytest.raises(data.DataError, match=r"0\.png must be at least 148 .*24 x 20"):
        data.read_celeba(folder, 8)
    (folder / "img_align_celeba" / "2.png").write_bytes(b"no picture")
    with pytest.raises(data.DataError, match=r"cannot read .*2\.png"):
        data.read_celeba(folder, 8, crop=16)
    with pytest.warns(UserWarning, match=r"left out: cannot read .*2\.png"):
        found = data.read_celeba(folder, 16, crop=16, damaged="skip")["image"]
    np.testing.assert_allclose(found[1], pixels(folder, 4), atol=1e-6)
    partition = folder / "list_eval_partition.txt"
    for line, message in (
        ("../0.png 0", r"line 1, must be the name of a file and 0, 1 or 2, got '\.\./"),
        ("0.png 3", "line 1, must be the name of a file and 0, 1 or 2, got '0.png 3'"),
        ("0.png", "line 1, must be the name of a file"),
        ("", "must name pictures for split='train', got none"),
    ):
        partition.write_text(line)
        with pytest.raises(data.DataError, match=message):
            data.read_celeba(folder, 8, crop=16)
    partition.write_text("2.png 0")
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(data.DataError, match="must hold pictures, got none"),
    ):
        data.read_celeba(folder, 8, crop=16, damaged="skip")
    partition.unlink()
    with pytest.raises(data.DataError, match=r"cannot read .*list_eval_partition"):
        data.read_celeba(folder, 8)
    for arguments, message in (
        ({"split": "val"}, r"`split` must be one of \('train', .*got 'val'"),
        ({"channels": 2}, "`channels` must be 1 or 3, got 2"),
        ({"crop": 0}, "`crop` must be a positive integer, got 0"),
        ({"damaged": "no"}, "`damaged` must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            data.read_celeba(folder, 8, **arguments)
