"""Readers of folders, what they say of damage, and synthetic data."""

import re
from functools import partial

import numpy as np
import pytest
from PIL import Image

from jaxvision import data
from jaxvision.data import folders


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return array


@pytest.fixture
def classes(tmp_path, rng):
    pictures = {
        name: write(tmp_path / name, rng.integers(0, 256, (6, 8, 3), np.uint8))
        for name in ("cat/b.png", "cat/a.png", "dog/c.png")
    }
    return tmp_path, pictures


def test_image_folder(classes):
    folder, pictures = classes
    found = data.read_image_folder(folder, (6, 8))
    assert found["image"].dtype == np.float32
    assert found["label"].tolist() == [0, 0, 1]
    order = ("cat/a.png", "cat/b.png", "dog/c.png")
    np.testing.assert_allclose(
        found["image"], np.stack([pictures[n] for n in order]) / 255, rtol=1e-6
    )
    turned = data.read_image_folder(folder, 4, channels=1, classes=("dog", "cat"))
    assert turned["image"].shape == (3, 4, 4, 1)
    assert turned["label"].tolist() == [0, 1, 1]
    loose = data.read_image_folder(folder / "cat", (6, 8))
    assert set(loose) == {"image"}
    np.testing.assert_array_equal(loose["image"], found["image"][:2])


def test_shrinking_averages(tmp_path):
    checks = (np.indices((8, 8)).sum(0) % 2 * 255).astype(np.uint8)
    write(tmp_path / "a.png", checks)
    found = data.read_image_folder(tmp_path, 2, channels=1)
    np.testing.assert_allclose(found["image"], 0.5, atol=0.02)


def test_sixteen_bits(tmp_path):
    deep = np.array([[0, 65535], [32768, 1]], np.uint16)
    write(tmp_path / "a.png", deep)
    found = data.read_image_folder(tmp_path, 2, channels=1)
    np.testing.assert_allclose(found["image"][0, ..., 0], deep / 65535, atol=1e-6)


@pytest.mark.parametrize("kind", ["uint16", ">u2", "int32", "float32"])
def test_deep_images_keep_their_range(kind, tmp_path):
    """Gray values over their full range, in one channel or in three."""
    deep = np.linspace(0, 1, 64).reshape(8, 8)
    scale = 1 if kind == "float32" else 65535
    stored = (deep * scale).astype(kind)
    write(tmp_path / "a.tiff", stored)
    one, three = (
        data.read_image_folder(tmp_path, 8, channels=n)["image"][0] for n in (1, 3)
    )
    np.testing.assert_allclose(one[..., 0], stored / scale, atol=1e-6)
    np.testing.assert_array_equal(three, np.repeat(one, 3, axis=-1))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0, 65536]], np.int32), "integers from 0 to 65535, .*0 to 65536"),
        (np.array([[-1, 1]], np.int32), "integers from 0 to 65535, .*-1 to 1"),
        (np.array([[0, 2.5]], np.float32), "floats from 0 to 1, .* 0 to 2.5"),
        (np.array([[0, np.nan]], np.float32), "floats from 0 to 1, .* nan"),
    ],
)
def test_deep_images_out_of_range(array, message, tmp_path):
    write(tmp_path / "a.tiff", array)
    with pytest.raises(data.DataError, match="a.tiff must have " + message):
        data.read_image_folder(tmp_path, 4, damaged="skip")


def test_images_are_turned_as_exif_says(tmp_path):
    """By the tag's definition: on which side row 0 and column 0 of a file are seen."""
    seen = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    sides = "top left, top right, bottom right, bottom left, left top, right top, "
    for number, pair in enumerate((sides + "right bottom, left bottom").split(", "), 1):
        stored = seen.T if number > 4 else seen
        row, column = (
            -1 if side in ("bottom", "right") else 1 for side in pair.split()
        )
        exif = Image.Exif()
        exif[0x0112] = number
        image = Image.fromarray(np.ascontiguousarray(stored[::row, ::column]))
        image.save(tmp_path / f"{number}.png", exif=exif)
    found = data.read_image_folder(tmp_path, (2, 3), channels=1)["image"][..., 0]
    np.testing.assert_allclose(found, np.broadcast_to(seen / 255, (8, 2, 3)), rtol=1e-6)


def test_transparent_pixels_lie_on_black(tmp_path):
    alpha = np.array([[0, 128, 255]], np.uint8)
    colors = [np.full_like(alpha, value) for value in (200, 100, 50)]
    write(tmp_path / "a.png", np.stack([*colors, alpha], -1))
    write(tmp_path / "b.png", np.stack([colors[0], alpha], -1))
    palette = Image.fromarray(np.array([[0, 1, 1]], np.uint8)).convert("P")
    palette.putpalette([90, 90, 90, 200, 200, 200])
    palette.save(tmp_path / "c.png", transparency=0)
    found = data.read_image_folder(tmp_path, (1, 3))["image"][:, 0] * 255
    expected = alpha[0][:, None] / 255 * [200, 100, 50]
    np.testing.assert_allclose(found[0], expected, atol=1)
    np.testing.assert_allclose(found[1, :, 1], expected[:, 0], atol=1)
    np.testing.assert_allclose(found[2, :, 2], [0, 200, 200], atol=1e-4)


def test_damaged_images_are_named_and_skipped(classes):
    folder, _ = classes
    (folder / "cat" / "a.png").write_bytes((folder / "cat/b.png").read_bytes()[:90])
    (folder / "dog" / "d.jpg").write_bytes(b"no image")
    with pytest.raises(data.DataError, match=r"cannot read .*cat/a\.png: .*'skip'"):
        data.read_image_folder(folder, 4)
    with pytest.warns(UserWarning, match=r"left out: cannot read .*(a\.png|d\.jpg)"):
        found = data.read_image_folder(folder, 4, damaged="skip")
    assert found["label"].tolist() == [0, 1]


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    write(tmp_path / "big.png", np.zeros((20, 30), np.uint8))
    monkeypatch.setattr(folders, "MOST_PIXELS", 599)
    with pytest.raises(data.DataError, match=r"big.png must have at most 599 pixels"):
        data.read_image_folder(tmp_path, 4)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(data.DataError, match=r"cannot read .*big.png: .*pixels"):
        data.read_image_folder(tmp_path, 4)


def test_image_folder_refuses(classes, tmp_path):
    folder, _ = classes
    with pytest.raises(data.DataError, match=r"`folder` must be a folder, got .*none"):
        data.read_image_folder(folder / "none", 4)
    with pytest.raises(data.DataError, match=r"folders cat, cow, got cat, dog"):
        data.read_image_folder(folder, 4, classes=("cat", "cow"))
    with pytest.raises(data.DataError, match="a folder per class, got none"):
        data.read_image_folder(folder / "cat", 4, classes=("x",))
    with pytest.raises(ValueError, match="`channels` must be 1 or 3, got 4"):
        data.read_image_folder(folder, 4, channels=4)
    with pytest.raises(ValueError, match=r"`damaged` must be one of .*got 'keep'"):
        data.read_image_folder(folder, 4, damaged="keep")
    for size in ((1, 2, 3), 16.5, "16", 0, True, (4, 2.0), (4, -1), None):
        message = rf"`size` must be a side or .*, got {re.escape(repr(size))}"
        with pytest.raises(ValueError, match=message):
            data.read_image_folder(folder, size)
    for size in (np.int64(6), [6, np.int32(6)]):
        assert data.read_image_folder(folder, size)["image"].shape == (3, 6, 6, 3)
    (folder / "empty").mkdir()
    with pytest.raises(data.DataError, match=r"empty must hold images, got none"):
        data.read_image_folder(folder, 4)
    with pytest.raises(data.DataError, match=r"must hold images \(.png, .*got none"):
        data.read_image_folder(folder / "empty", 4)
    write(folder / "stray.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(data.DataError, match=r"either .* got both: stray.png and cat/"):
        data.read_image_folder(folder, 4)


@pytest.fixture
def pairs(tmp_path, rng):
    masks = {}
    for name in ("b", "a"):
        write(
            tmp_path / "images" / f"{name}.png", rng.integers(0, 256, (6, 6), np.uint8)
        )
        masks[name] = write(
            tmp_path / "masks" / f"{name}.png",
            rng.choice(np.array([0, 128, 255], np.uint8), (6, 6)),
        )
    return tmp_path, masks


def test_segmentation_folder(pairs):
    folder, masks = pairs
    found = data.read_segmentation_folder(folder, 6, values={0: 0, 128: 2, 255: 1})
    assert found["image"].shape == (2, 6, 6, 1)
    for i, name in enumerate("ab"):
        expected = np.select([masks[name] == 128, masks[name] == 255], [2, 1], 0)
        np.testing.assert_array_equal(found["label"][i], expected)
    larger = data.read_segmentation_folder(folder, 12)
    assert set(np.unique(larger["label"])) <= {0, 128, 255}  # nearest: no mixtures


def test_palettes_keep_their_indices(tmp_path):
    write(tmp_path / "images" / "a.png", np.zeros((2, 2), np.uint8))
    (tmp_path / "masks").mkdir()
    mask = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("P")
    mask.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    mask.save(tmp_path / "masks" / "a.png")
    found = data.read_segmentation_folder(tmp_path, 2, num_classes=3)
    assert found["label"][0].tolist() == [[0, 1], [2, 1]]


def test_stored_masks(pairs):
    """Gray values in whatever form they are stored; no luminance of colors."""
    folder, _ = pairs
    label = np.zeros((6, 6), np.uint8)
    label[2:4, 1:5] = 2
    write(folder / "masks" / "a.png", np.repeat(label[..., None], 3, axis=-1))
    (folder / "masks" / "b.png").unlink()
    write(folder / "masks" / "b.tiff", label.astype(np.float32))
    found = data.read_segmentation_folder(folder, 6, num_classes=3)
    np.testing.assert_array_equal(found["label"], np.stack([label, label]))
    (folder / "masks" / "b.tiff").unlink()
    Image.fromarray(label > 0).save(folder / "masks" / "b.bmp")
    found = data.read_segmentation_folder(folder, 6, values={0: 0, 2: 2, 255: 1})
    np.testing.assert_array_equal(found["label"][1], label > 0)


@pytest.mark.parametrize(
    ("name", "mask", "message"),
    [
        ("a.png", [1, 0, 0], r"gray or have a palette, .*, got colors \(RGB\)"),
        ("a.png", [0, 0, 0, 7], r"got transparent pixels \(RGBA\)"),
        ("a.tiff", np.float32(0.5), "have whole numbers, got floats"),
        ("a.tiff", np.int32(-1), "have labels from 0 up, got -1"),
    ],
)
def test_masks_that_are_no_labels(pairs, name, mask, message):
    folder, _ = pairs
    (folder / "masks" / "a.png").unlink()
    mask = np.uint8(mask) if isinstance(mask, list) else mask
    write(folder / "masks" / name, np.tile(mask, (6, 6) + (1,) * np.ndim(mask)))
    with pytest.raises(data.DataError, match=rf"masks/{name} must .*{message}"):
        data.read_segmentation_folder(folder, 6, damaged="skip")


def test_segmentation_folder_refuses(pairs):
    """What is read and does not fit, with damaged="skip" too."""
    folder, _ = pairs
    with pytest.raises(data.DataError, match=r"must have labels from 0 to 1, got"):
        data.read_segmentation_folder(folder, 6, num_classes=2, damaged="skip")
    with pytest.raises(data.DataError, match=r"values among \[0, 255\], got \[128\]"):
        data.read_segmentation_folder(folder, 6, values={0: 0, 255: 1})
    (folder / "masks" / "b.png").write_bytes(b"no mask")
    with pytest.warns(UserWarning, match=r"left out: cannot read .*b.png"):
        found = data.read_segmentation_folder(folder, 6, damaged="skip")
    assert len(found["image"]) == len(found["label"]) == 1
    write(folder / "masks" / "a.png", np.zeros((3, 6), np.uint8))
    with pytest.raises(data.DataError, match=r"size of its image, 6 x 6, got 3 x 6$"):
        data.read_segmentation_folder(folder, 6, damaged="skip")
    write(folder / "images" / "a.bmp", np.zeros((3, 6), np.uint8))
    with pytest.raises(data.DataError, match=r"one file of each .*a.bmp and a.png"):
        data.read_segmentation_folder(folder, 6)
    (folder / "images" / "a.bmp").unlink()
    (folder / "masks" / "b.png").unlink()
    with pytest.raises(data.DataError, match=r"b.png must have a mask of the same"):
        data.read_segmentation_folder(folder, 6)
    (folder / "images" / "b.png").unlink()
    write(folder / "masks" / "c.png", np.zeros((3, 6), np.uint8))
    with pytest.raises(data.DataError, match=r"c.png must have an image of the same"):
        data.read_segmentation_folder(folder, 6)
    with pytest.raises(data.DataError, match="images and masks, got no images"):
        data.read_segmentation_folder(folder / "images", 6)


def test_images_and_masks_are_no_classes(pairs):
    folder, _ = pairs
    with pytest.raises(data.DataError, match=r"per class, got images/ and masks/, whi"):
        data.read_image_folder(folder, 6)
    both = data.read_image_folder(folder, 6, classes=("masks", "images"))
    assert both["label"].tolist() == [0, 0, 1, 1]


def test_labels_are_checked_in_the_size_of_the_mask(pairs):
    folder, _ = pairs
    (folder / "masks" / "b.png").unlink()
    (folder / "images" / "b.png").unlink()
    (folder / "masks" / "a.png").unlink()
    label = np.ones((6, 6), np.int32)
    label[0, 0] = -1  # shrinking to 3 x 3 takes other pixels
    write(folder / "masks" / "a.tiff", label)
    read = partial(data.read_segmentation_folder, folder, num_classes=3)
    with pytest.raises(data.DataError, match="labels from 0 to 2, got -1"):
        read(3)
    with pytest.raises(data.DataError, match=r"values among \[1\], got \[-1\]"):
        read(3, values={1: 1})
    found = read(6, values={-1: 2, 1: 0, 10**9: 1})["label"]
    np.testing.assert_array_equal(found[0], np.where(label < 0, 2, 0))
    for values in (
        {0: -1},
        {0: 3},
        {0: 1.0},
        {"0": 1},
        {0: True},
        {},
        [0, 1],
    ):
        message = (
            rf"`values` must have a label from 0 to 2 .* got {re.escape(repr(values))}"
        )
        with pytest.raises(ValueError, match=message):
            read(6, values=values)
    with pytest.raises(ValueError, match="`num_classes` must be a positive integer"):
        read(6, num_classes=0)


def test_rings():
    found = data.synthetic_rings(12, 64, seed=1)
    image, label = found["image"][..., 0], found["label"]
    again = data.synthetic_rings(12, 64, seed=1)
    np.testing.assert_array_equal(image, again["image"][..., 0])
    assert not np.array_equal(
        image, data.synthetic_rings(12, 64, seed=2)["image"][..., 0]
    )
    assert set(np.unique(label)) == {0, 1}
    # Rings of radius 6 to 14 with walls up to 3 pixels, one to three of them.
    areas = label.sum((1, 2))
    assert areas.min() >= 0.5 * 2 * np.pi * 6
    assert areas.max() <= 3 * 2 * np.pi * 14 * 3.5
    brighter = [
        i[t == 1].mean() - i[t == 0].mean() for i, t in zip(image, label, strict=True)
    ]
    assert min(brighter) > 0.2
    # What is not labeled is no darker: the brightness alone does not tell.
    assert min(i[t == 0].max() for i, t in zip(image, label, strict=True)) > 0.6
    with pytest.raises(ValueError, match="`size` must be at least 48, got 32"):
        data.synthetic_rings(1, 32, seed=0)
    with pytest.raises(ValueError, match="`count` must be a positive integer, got 0"):
        data.synthetic_rings(0, seed=0)


def test_gaussians():
    found = data.synthetic_gaussians(4000, modes=8, seed=0)
    gaps = found["point"] - found["center"][found["label"]]
    assert gaps.std() == pytest.approx(0.02, rel=0.05)
    np.testing.assert_allclose(np.hypot(*found["center"].T), 2, rtol=1e-6)
    assert np.bincount(found["label"]).min() > 400
    with pytest.raises(ValueError, match="`modes` must be a positive integer"):
        data.synthetic_gaussians(4, modes=0, seed=0)


def test_classes_are_balanced(rng):
    labels = np.array([2, 0, 2, 2, 0, 2, 2])
    arrays = {"image": np.arange(7.0), "label": labels}
    found = data.balance_classes(arrays, seed=0)
    assert np.bincount(found["label"]).tolist() == [5, 0, 5]
    np.testing.assert_array_equal(found["label"], labels[found["image"].astype(int)])
    # Every row of a class comes as often as any other, but for one.
    counts = np.bincount(found["image"].astype(int), minlength=7)
    assert sorted(counts[labels == 0]) == [2, 3]
    assert counts[labels == 2].tolist() == [1] * 5
    with pytest.raises(ValueError, match=r"integers `label` \(n,\), got .image"):
        data.balance_classes({"image": arrays["image"]}, seed=0)
    with pytest.raises(ValueError, match="`image` must have 7 rows, one per label"):
        data.balance_classes({"image": np.ones(2), "label": labels}, seed=0)


def test_groups_by_name(tmp_path):
    for name in ("ripe/b2_top.png", "ripe/b2_side.png", "unripe/a7_top.png"):
        write(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    found = data.read_image_folder(tmp_path, 4, group=r"^([a-z]\d)_")
    assert found["group"].tolist() == [1, 1, 0]
    loose = data.read_image_folder(tmp_path / "ripe", 4, group="_(top|side)")
    assert loose["group"].tolist() == [0, 1]
    with pytest.raises(data.DataError, match=r"a7_top.png must have a name that 'b\(2"):
        data.read_image_folder(tmp_path, 4, group="b(2)")
    with pytest.raises(ValueError, match="must have a group in parentheses, got 'b2'"):
        data.read_image_folder(tmp_path, 4, group="b2")
    with pytest.raises(ValueError, match=r"must be a regular expression, got '\('"):
        data.read_image_folder(tmp_path, 4, group="(")


def test_stratified_split(rng):
    labels = rng.permutation(np.repeat([3, 5, 9], [400, 79, 500]))
    first, second = data.stratified_split(labels, 0.4, seed=0)
    assert sorted([*first, *second]) == list(range(979))
    assert (len(first), len(second)) == (587, 392)  # the paper's numbers
    counts = np.bincount(labels[second])[[3, 5, 9]]
    assert np.all(np.abs(counts - 0.4 * np.array([400, 79, 500])) < 1)
    again, other = (data.stratified_split(labels, 0.4, seed=s)[1] for s in (0, 1))
    np.testing.assert_array_equal(again, second)
    assert not np.array_equal(other, second)
    assert len(data.stratified_split(labels, 0.0, seed=0)[1]) == 0


def test_split_by_group(rng):
    """No fruit on both sides; sizes and classes hold up to a few fruit."""
    groups = rng.integers(0, 230, 979)
    labels = (groups % 3 + rng.integers(0, 2, 979)) % 4
    for share in (0.4, 0.0):
        first, second = data.stratified_split(labels, share, seed=0, groups=groups)
        assert not set(groups[first]) & set(groups[second])
        assert len(first) + len(second) == 979
        assert len(second) == pytest.approx(share * 979, abs=12)
        counts = np.bincount(labels[second], minlength=4)
        np.testing.assert_allclose(counts, share * np.bincount(labels), atol=12)


def test_split_refuses():
    with pytest.raises(ValueError, match=r"`share` must be in \[0, 1\), got 1"):
        data.stratified_split(np.zeros(3, int), 1, seed=0)
    with pytest.raises(ValueError, match=r"`labels` must be \(n,\) integers, .*float"):
        data.stratified_split(np.zeros(3), 0.5, seed=0)
    with pytest.raises(ValueError, match="`groups` must have one number per row, 3"):
        data.stratified_split(np.zeros(3, int), 0.5, seed=0, groups=np.zeros(2, int))


def test_fruit():
    found = data.synthetic_fruit(240, views=2, seed=1)
    image, label, group = (found[k] for k in ("image", "label", "group"))
    assert image.shape == (240, 32, 32, 3)
    assert image.dtype == np.float32
    assert 0 <= image.min() <= image.max() <= 1
    again = data.synthetic_fruit(240, views=2, seed=1)
    np.testing.assert_array_equal(image, again["image"])
    # Two views of a fruit have one grade and are not one image; grades are balanced.
    np.testing.assert_array_equal(label[::2], label[1::2])
    np.testing.assert_array_equal(group, np.arange(240) // 2)
    assert np.abs(image[::2] - image[1::2]).max((1, 2, 3)).min() > 0.1
    assert np.bincount(label).tolist() == [60] * 4
    # A fruit lies on black, riper ones have more red for their green.
    assert image[:, :2, :2].mean() < 0.05
    middle = image[:, 12:20, 12:20].mean((1, 2))
    red = middle[:, 0] / middle[:, 1]
    means = [red[label == k].mean() for k in range(4)]
    assert means[0] < means[1] < means[2]
    assert means[1] < means[3]
    # Inner defects show in larger blotches, and in wrinkles that are smooth to specks.
    cells = image.reshape(240, 8, 4, 8, 4, 3).mean((2, 4))[:, 2:6, 2:6]
    dark = (cells.max(-1) < 0.35).mean((1, 2))
    assert dark[label == 3].mean() > dark[label == 2].mean()
    skin = image[:, 10:22, 10:22, 0]
    rough = np.abs(np.diff(skin, axis=2)).mean((1, 2)) / skin.mean((1, 2))
    assert rough[label == 3].mean() < 0.9 * rough[label < 3].mean()


def test_fruit_for_a_pretext():
    found = data.synthetic_fruit(600, 16, labels="pretext", seed=1)
    image, label = found["image"], found["label"]
    assert set(label.tolist()) == set(range(12))
    round_, long = ((image[label // 6 == k].max(-1) > 0.15).mean() for k in (0, 1))
    assert long < 0.9 * round_
    red = [image[label % 3 == k, :, :, 0].mean() for k in range(3)]
    assert red[0] < red[1] < red[2]
    with pytest.raises(ValueError, match=r"`labels` must be one of .*, got 'ripe'"):
        data.synthetic_fruit(1, labels="ripe", seed=0)
    with pytest.raises(ValueError, match="`size` must be at least 16, got 8"):
        data.synthetic_fruit(1, 8, seed=0)
    with pytest.raises(ValueError, match="`views` must be a positive integer, got 0"):
        data.synthetic_fruit(1, views=0, seed=0)
