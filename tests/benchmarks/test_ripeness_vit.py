"""The benchmark of transfer at the smallest size, and its verdicts on known rows."""

import numpy as np
import pytest

from benchmarks import _vision_tables
from benchmarks import ripeness_vit as benchmark


@pytest.mark.slow
def test_rows_of_a_transfer(tmp_path):
    first, train, test = benchmark.digits(2)
    assert set(first["label"].tolist()) == set(range(6))
    assert [np.bincount(t["label"]).tolist() for t in train] == [[20] * 4] * 2
    assert not np.array_equal(train[0]["image"], train[1]["image"])
    assert len(train[0]["label"]) + len(test[0]["label"]) == 714
    path = tmp_path / "first.safetensors"
    row = benchmark.learn_first("digits", first, path, epochs=1)
    assert (row["classes"], row["steps"]) == (6, 19)
    assert "digits  pretext 6 classes" in benchmark.line(row)
    rows = benchmark.measure("digits", "frozen", train, test, path, epochs=1)
    assert [r["seed"] for r in rows] == [0, 1]
    assert rows[0]["steps"] == 4
    assert rows[0]["accuracy"] != rows[1]["accuracy"]
    assert 0 <= rows[0]["recall/6"] <= 1
    assert "frozen     plain     seed 0" in benchmark.line(rows[0])


def test_fruit_of_each_seed_is_its_own():
    first, train, test = benchmark.fruit(2, train=8, test=6, pretext=12)
    assert [len(p["label"]) for p in (first, *train, test)] == [12, 8, 8, 6]
    assert not np.array_equal(train[0]["image"], train[1]["image"])


def rows_with(accuracy):
    found = [
        {
            "kind": "model",
            "part": part,
            "model": model,
            "augmented": augmented,
            "seed": seed,
            "accuracy": accuracy[model] + 0.01 * seed + 0.02 * augmented,
            "train_accuracy": 0.9,
            "steps": 150,
        }
        for part in benchmark.SEEDS
        for model in benchmark.MODELS
        for augmented in ((False, True) if part == "fruit" else (False,))
        for seed in range(3)
    ]
    pretext = [
        {"kind": "pretext", "part": part, "classes": 12, "accuracy": 0.8}
        for part in benchmark.SEEDS
    ]
    return pretext + found


def test_verdicts_follow_the_rows():
    good = rows_with({"frozen": 0.8, "fine-tuned": 0.9, "scratch": 0.5})
    said = benchmark.verdicts([r for r in good if r["kind"] == "model"])
    assert [v["holds"] for v in said] == [True] * 5
    assert said[1]["figure"] == "+40.0 points; lowest 90.0, highest from scratch 52.0"
    bad = rows_with({"frozen": 0.51, "fine-tuned": 0.53, "scratch": 0.5})
    said = benchmark.verdicts([r for r in bad if r["kind"] == "model"])
    assert [v["holds"] for v in said] == [False, True, False, True, False]


def test_tables():
    rows = rows_with({"frozen": 0.8, "fine-tuned": 0.9, "scratch": 0.5})
    said = benchmark.verdicts([r for r in rows if r["kind"] == "model"])
    here = {"cpu": "a CPU", "cores": 2, "jax": "1", "python": "3", "date": "today"}
    environment = {**here, "peers": {"scikit-learn": "2"}}
    rows += [{"kind": "verdict", **v} for v in said]
    results = {"ripeness_vit": {"rows": rows, "environment": environment}}
    table = _vision_tables.ripeness_vit(results)
    assert "| fruit | scratch | yes | 53.0 (52.0 to 54.0) | 90.0 | 150 |" in table
    assert "80.0 % of new images in 12 classes (fruit)" in table
    claims = _vision_tables.TABLES["ripeness_vit_claims"](results)
    assert claims.count("| yes |") == 5
