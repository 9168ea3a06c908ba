"""The benchmark of LungSSFNet runs, at the smallest size."""

import numpy as np
import pytest
from PIL import Image

from benchmarks import _vision_tables, lung_ssfnet
from jaxvision.models import LungSSFOptions


HERE = {"cpu": "c", "cores": 2, "jax": "1", "peers": {}, "python": "3", "date": "d"}


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
    rows = lung_ssfnet.forward(16, 1, options)
    assert [list(row["seconds"])[1] for row in rows] == [
        "pytorch",
        "pytorch, published form",
    ]
    for row in rows:
        assert row["difference"] < 1e-4


def test_rows_of_grouped_convolutions(monkeypatch):
    monkeypatch.setattr(lung_ssfnet, "GROUPED", ((32, 4),))
    (row,) = lung_ssfnet.grouped(1)
    assert row["kind"] == "gradient, 32 groups of 1 channel"
    assert set(row["seconds"]) == {"auto", "native"}


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
    results = {"lung_ssfnet_speed": {"environment": HERE, "rows": [row, whole]}}
    expected = "| statistics, 8 × 8 | fold: 0.1 | direct: 0.25 | 2.50 (2.00 to 3.00) |"
    found = _vision_tables.lung_ssfnet_speed(results)
    assert expected in found
    assert "11.6 s for theirs on a CPU of their own, 5.8 times ours" in found


def test_verdicts_compare_seed_by_seed():
    dice = {"U-Net": (0.5, 0.4), "with fusion": (0.45, 0.44), "with SSF": (0.7, 0.3)}
    rows = [
        {"model": model, "seed": seed, "dice": value}
        for model, values in dice.items()
        for seed, value in reversed(list(enumerate(values)))
    ]
    fusion, ssf = lung_ssfnet.verdicts(rows)
    assert fusion["figure"] == "-0.5 points; by seed +4.0, -5.0"
    assert (fusion["holds"], ssf["holds"]) == (False, True)


def test_table_of_overlaps():
    rows = [
        {
            "kind": "run",
            "model": "U-Net",
            "parameters": 1234,
            "steps": 9,
            "dice": value,
            "iou": value / 2,
        }
        for value in (0.5, 0.2, 0.4)
    ]
    result = {"environment": HERE, "notes": ["what", "sizes", "more"], "rows": rows}
    found = _vision_tables.lung_ssfnet({"lung_ssfnet_rings": result}, "rings")
    expected = "| U-Net | 1,234 | 9 | 40.0 (20.0 to 50.0) | 20.0 (10.0 to 25.0) |"
    assert expected in found
    assert "medians over 3 seeds" in found
    assert "images: what; sizes. c, 2 cores; JAX 1, Python 3; d." in found
