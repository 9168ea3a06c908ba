import json
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

import pinns
from benchmarks import _high_dimension_problems as others
from benchmarks import high_dimension


@pytest.mark.slow
def test_quick_rows_are_measured_and_not_written(tmp_path, capsys):
    (row,) = high_dimension.main(["--quick", "--only", "5-tt"], tmp_path)
    assert row["seeds"] == 2
    assert row["relative_l2"]["max"] < 1e-3
    parts = row["plan_seconds"] + row["setup_seconds"] + row["solve_seconds"]["max"]
    assert row["total_seconds"] == pytest.approx(parts)
    assert not list(tmp_path.iterdir())
    assert "5-tt" in capsys.readouterr().out


def test_one_row_is_renewed_and_the_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(
        high_dimension,
        "measure",
        lambda case, seeds, sweeps: {
            "case": case.name, "method": "", "relative_l2": {"median": 1.0, "max": 2.0},
            "total_seconds": 0.0, "value": seeds,
        },
    )  # fmt: skip
    high_dimension.main(["--only", "20-cp"], tmp_path)
    high_dimension.main(["--only", "5-tt", "100-cp"], tmp_path)
    saved = json.loads((tmp_path / "high_dimension.json").read_text("utf-8"))
    assert [row["case"] for row in saved["rows"]] == ["5-tt", "20-cp", "100-cp"]
    assert {row["value"] for row in saved["rows"]} == {high_dimension.SEEDS}


def test_unknown_rows_are_refused(capsys):
    with pytest.raises(SystemExit):
        high_dimension.main(["--only", "7-cp"])
    assert "invalid choice" in capsys.readouterr().err


@pytest.fixture
def unsolved(monkeypatch):
    """`pinns.solve` returns parameters as they are drawn; calls are listed."""
    calls = []

    def solve(problem, model=None, method="auto", **options):
        calls.append((problem, model, method, options))
        model = model or pinns.TensorTrain(rank=1, network="legendre", hidden=(6,))
        tried = {"rank": 1, "functions": 6, "subspace": 5, "share": 0.5}
        settings = {"reason": "none", "energy": 0.6, "report": {"tried": [tried]}}
        params = model.init(jax.random.key(0), problem.box)
        return SimpleNamespace(
            model=model, params=params, settings=settings, precision=nullcontext
        )

    monkeypatch.setattr(pinns, "solve", solve)
    for name, value in {"SLICE_POINTS": 4, "GROUND_POINTS": 8}.items():
        monkeypatch.setattr(others, name, value)
    return calls


def test_errors_over_unseen_coefficients_are_the_largest(unsolved):
    row = others.parametric(3)
    ((problem, _, method, _),) = unsolved
    assert (row["case"], method, row["seeds"]) == ("parametric-direct", "direct", 1)
    params = pinns.TensorTrain(rank=1).init(jax.random.key(1), problem.box)
    zero = jax.tree.map(jnp.zeros_like, params)
    nothing = SimpleNamespace(
        model=pinns.TensorTrain(rank=1), params=zero, precision=nullcontext
    )
    assert others.worst_unseen(problem, nothing) == pytest.approx(1.0)


def test_others_are_solved_without_a_model_from_every_seed(unsolved):
    density = others.fokker_planck(2, dimension=1)
    oscillators = others.ground_state(2, dimension=1)
    assert [call[1:3] for call in unsolved] == [(None, "auto")] * 4
    assert density["case"] == "1-fokker-planck"
    assert density["basis"] == "legendre, 5 of 6 per axis"
    assert density["relative_l2"]["n"] == oscillators["relative_l2"]["n"] == 2
    assert oscillators["energy_error"]["max"] == pytest.approx(0.2)


def test_memory_is_that_of_a_process_of_its_own(unsolved, monkeypatch, capsys):
    others._measure_memory(1)
    printed = capsys.readouterr().out
    assert unsolved[0][3]["points"] == 64
    real = others.subprocess.run

    def run(command, **options):
        if command[0] != sys.executable:
            return real(command, **options)
        assert command[1:] == ["-m", others.__name__, "7"]
        return SimpleNamespace(stdout="noise\n" + printed)

    monkeypatch.setattr(others.subprocess, "run", run)
    row = others.memory(7)
    assert row["peak_mb"] > 50.0
    assert row["goal"] == {"peak_mb": 1000.0}
