"""The benchmark of the GANs at tiny size, its verdicts and tables on known rows."""

import json
from functools import partial

import numpy as np
import pytest

from benchmarks import _digits, _results, _vision_tables
from benchmarks import hinge_rlc_gan as benchmark
from benchmarks._intervals import interval


def test_interval():
    """Two values: half the width is their distance, halved, times t = 12.706."""
    mean, half = interval([1.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(12.7062, rel=1e-4))
    assert interval([1.0]) == (1.0, float("inf"))


def test_ring():
    rows = benchmark.ring("rlc_gradient_0.1", seeds=2, steps=3)
    assert [row["seed"] for row in rows] == [0, 1]
    assert rows[0]["slope"] != rows[1]["slope"]
    for row in rows:
        assert row["weight"] == 0.1
        assert 0 <= row["modes"] <= 8
        assert 0 <= row["on_a_mode"] <= 1
        assert row["slope"] > 0
        assert "modes 0.000" in benchmark.line(row)


def ring_rows(modes):
    """Rows of two seeds with these modes by objective, and slopes that fall with it."""
    return [
        {
            "kind": "ring",
            "objective": name,
            "weight": 0.1,
            "seed": seed,
            "modes": value + 0.2 * seed,
            "on_a_mode": 0.5,
            "slope": 10.0 - value,
            "confidence": 1.0,
            "steps": 7,
        }
        for name, value in modes.items()
        for seed in range(2)
    ]


MODES = {
    "bce": 1.0, "hinge": 3.0, "rlc_gradient_0.01": 4.0, "rlc_gradient_0.1": 5.0,
    "rlc_lecam": 5.0, "gp0": 6.0,
}  # fmt: skip


def test_verdicts_follow_the_rows():
    found = benchmark.verdicts(ring_rows(MODES))
    assert [v["holds"] for v in found] == [True] * 5 + [False] * 2 + [True]
    assert found[0]["figure"] == "+2.00 ± 0.00"
    assert found[-1]["mean"] == pytest.approx(3)
    # A further weight of GP-0 is judged where it has been measured.
    more = benchmark.verdicts(ring_rows({**MODES, "gp0_10": 2.0}))
    assert [v["what"][:9] for v in more[-2:]] == ["GP-0 (0.1", "GP-0 (10)"]
    assert more[:-1] == found
    assert not more[-1]["holds"]


def test_digits_are_judged():
    train, test = _digits.digits()
    assert train["image"].shape == (1400, 8, 8, 1)
    assert len(test["label"]) == 397
    judge = _digits.Judge({k: v[:300] for k, v in train.items()})
    assert judge.features(test["image"][:2]).shape == (2, 64)
    some = {k: v[:100] for k, v in train.items()}
    found = judge.figures(some, test["image"][:100])
    assert found["class_accuracy"] > 0.9
    shuffled = {**some, "label": np.roll(some["label"], 1)}
    other = judge.figures(shuffled, test["image"][:100])
    assert other["class_accuracy"] < 0.5
    assert other["frechet_distance"] == pytest.approx(found["frechet_distance"])


def test_tables():
    here = {"cpu": "a CPU", "cores": 2, "jax": "1", "python": "3", "date": "today"}
    rows = ring_rows(MODES)
    said = [{"kind": "verdict", **v} for v in benchmark.verdicts(rows)]
    figures = {
        "class_accuracy": 0.9, "kl_to_uniform": 0.1, "distance_within_classes": 2.0,
        "frechet_distance": 3.0, "kernel_distance": 0.5,
    }  # fmt: skip
    digits = [
        {"kind": "digits", "objective": "real", "seed": 0, **figures},
        {"kind": "digits", "objective": "hinge", "seed": 0, "steps": 9, **figures},
    ]
    results = {
        "hinge_rlc_gan": {
            "rows": rows + said + digits,
            "environment": {**here, "peers": {"scikit-learn": "2"}},
        }
    }
    table = _vision_tables.gan_ring(results)
    assert (
        "| hinge + RLC, LeCam | 0.1 | 5.1 ± 1.3 | 0.50 ± 0.00 | 5.00 ± 0.00 |" in table
    )
    assert "Means over 2 seeds" in table
    assert table.endswith("a CPU, 2 cores; JAX 1, scikit-learn 2, Python 3; today.")
    assert _vision_tables.TABLES["gan_claims"](results).count("| yes |") == 6
    table = _vision_tables.gan_digits(results)
    assert "| training images | 0.900 (0.900 to 0.900) |" in table
    assert "Medians over 1 seeds after 9 steps" in table


def test_some_objectives_alone(tmp_path, monkeypatch, capsys):
    """Others keep their rows, in the order of the objectives; so do digits."""
    folder = partial(_results.write, folder=tmp_path)
    monkeypatch.setattr(_results, "RESULTS", tmp_path)
    monkeypatch.setattr(_results, "write", folder)
    digits = {"kind": "digits", "objective": "hinge", "seed": 0}
    folder(benchmark.NAME, [digits, *ring_rows(MODES)], claim="a claim")

    def ring(name, *, seeds, steps):
        assert (name, seeds) == ("rlc_gradient_1", 2)
        found = ring_rows({name: 8.0})
        return [{k: v for k, v in row.items() if k != "kind"} for row in found]

    monkeypatch.setattr(benchmark, "ring", ring)
    benchmark.main(["ring", "--seeds", "2", "--objectives", "rlc_gradient_1"])
    rows = json.loads((tmp_path / "hinge_rlc_gan.json").read_text())["rows"]
    names = [r["objective"] for r in rows if r["kind"] == "ring"][::2]
    assert names == [*list(MODES)[:4], "rlc_gradient_1", *list(MODES)[4:]]
    assert [r for r in rows if r["kind"] == "digits"] == [digits]
    assert "GP-0 (0.1) covers more than hinge: +3.00" in capsys.readouterr().out


def test_parts(capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["squares"])
    assert "parts are 'ring' and 'digits', got ['squares']" in capsys.readouterr().err
