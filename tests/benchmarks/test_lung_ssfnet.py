"""The benchmark of LungSSFNet runs, at the smallest size."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import _vision_tables, lung_ssfnet
from jaxvision.models import LungSSFOptions


def test_a_row_of_training():
    train, test = lung_ssfnet.rings(10, 10, 48)
    assert train["image"].shape == (10, 48, 48, 1)
    assert not np.array_equal(train["image"], test["image"])
    network = LungSSFOptions(1, 1, (4, 8), 0, 0)
    row = lung_ssfnet.measure(
        train, test, model="U-Net", seed=0, epochs=1, network=network
    )
    assert row["steps"] == 1
    assert 0 <= row["iou"] <= row["dice"] <= 1


def test_tiles_of_membranes(tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (21, 256, 256), np.uint8)
    for name, values in (("image", pictures), ("label", (pictures > 99) * 255)):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i, picture in enumerate(values):
            path = tmp_path / "train" / name / f"{i}.png"
            Image.fromarray(picture.astype(np.uint8)).save(path)
    train, test = lung_ssfnet.membrane(tmp_path)
    assert train["image"].shape == (80, 128, 128, 1)
    assert test["label"].shape == (4, 128, 128)
    expected = pictures[20, :128, 128:]
    np.testing.assert_allclose(test["image"][1, ..., 0], expected / 255, rtol=1e-6)
    np.testing.assert_array_equal(test["label"][1], expected <= 99)


def test_forward_passes_are_equal():
    pytest.importorskip("torch")
    # The blocks that it is about are compared in the tests of the network.
    options = LungSSFOptions(3, 1, (8, 8), 0, 0)
    (row,) = lung_ssfnet.forward(16, 1, options)
    assert row["difference"] < 1e-4
    assert set(row["seconds"]) == {"jaxvision", "pytorch"}


def test_table_of_speed_shows_both_sides():
    sides = {"fold": {"median": 0.1}, "direct": {"median": 0.25}}
    ratio = {"median": 2.5, "min": 2.0, "max": 3.0}
    row = {"kind": "statistics", "side": 8, "seconds": sides, "direct_over_fold": ratio}
    whole = {
        "kind": "forward",
        "side": 16,
        "seconds": {"jaxvision": {"median": 2.0}, "pytorch": {"median": 3.0}},
        "pytorch_over_jaxvision": ratio,
    }
    here = {"cpu": "c", "cores": 2, "jax": "1", "peers": {}, "python": "3", "date": "d"}
    results = {"lung_ssfnet_speed": {"environment": here, "rows": [row, whole]}}
    expected = "| statistics, 8 × 8 | fold: 0.1 | direct: 0.25 | 2.50 (2.00 to 3.00) |"
    found = _vision_tables.lung_ssfnet_speed(results)
    assert expected in found
    assert "11.6 s for theirs on a CPU of their own, 5.8 times ours" in found
