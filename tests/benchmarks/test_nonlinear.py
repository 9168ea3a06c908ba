"""The benchmark of nonlinear problems in a tiny size; its table and its references."""

import json

import jax
import numpy as np
import pytest
import scipy.io

from benchmarks import _classical_nonlinear, _nonlinear_tables, nonlinear, tables
from benchmarks.nonlinear import CASES, Case, describe, main, summary
from pinns import problems


TINY = (
    Case(
        "burgers1d:newton in 2 windows", "Newton, 2 windows", "burgers1d",
        {"viscosity": 0.3}, "newton", {"size": (5, 12)}, None, 2, 2, 20, (1e-1, None),
    ),
)  # fmt: skip
ROW = {
    "name": CASES[1].name, "label": CASES[1].label, "problem": CASES[1].problem,
    "seed": 0, "goal": {"relative_l2": 1e-8, "seconds": 5.0}, "relative_l2": 1e-9,
    "published_l2": None, "seconds": 1.0, "compile_seconds": 3.0, "wall_seconds": 2.0,
    "load": 1.0, "result": "converged", "hardware": "Abacus, 2 cores",
}  # fmt: skip
HERE = {
    "cpu": "Abacus", "cores": 2, "jax": "1.2", "optax": "3.4", "numpy": "5.6",
    "python": "3.11.7", "date": "2026-01-02",
}  # fmt: skip


def test_runs_are_kept_and_not_repeated(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(nonlinear, "CASES", TINY)
    monkeypatch.setattr(nonlinear, "CLASSICAL", ())
    new = main(["--seeds", "1"], folder=tmp_path)
    assert [row["seed"] for row in new] == [0]
    assert new[0]["result"] == "converged"
    assert 0 < new[0]["relative_l2"] < 0.1
    assert "2 windows" in capsys.readouterr().out
    kept = json.loads((tmp_path / "nonlinear.json").read_text())["rows"]
    assert kept[0]["relative_l2"] == new[0]["relative_l2"]
    assert main(["--seeds", "1"], folder=tmp_path) == []
    assert "median" in capsys.readouterr().out


def test_a_missed_goal_is_said():
    assert "goal 1e-08 in 5 s: met" in summary([ROW])
    assert "missed" in summary([{**ROW, "seconds": 6.0}])
    assert "missed" in summary([{**ROW, "relative_l2": None}])
    assert "failed" in describe({**ROW, "relative_l2": None})
    # The median of three runs of which one failed.
    assert "met" in summary([ROW, ROW, {**ROW, "relative_l2": None}])


def line(rows):
    result = {"nonlinear": {"environment": HERE, "rows": rows}}
    text = _nonlinear_tables.nonlinear(result).splitlines()[2]
    return [cell.strip() for cell in text.strip("|").split("|")]


def test_the_table_has_every_run():
    cells = line([ROW, {**ROW, "seed": 1, "relative_l2": 3e-9, "seconds": 2.0}])
    assert cells[:3] == ["Klein-Gordon", "Newton, 36 x 8 x 8", "2"]
    assert cells[3:] == ["2.0e-09", "3.0e-09", "1.50", "3.0", "1e-08 in 5 s: met"]
    assert line([{**ROW, "relative_l2": None}])[3:5] == ["failed", "failed"]
    assert line([{**ROW, "goal": None}])[-1] == "–"
    assert "nonlinear" in tables.TABLES


def test_the_classical_line_agrees_with_a_finer_one():
    """Fourth order: twice the steps, a sixteenth of the error."""
    equation = _classical_nonlinear._burgers(0.1)
    times, x = np.linspace(0.0, 1.0, 5), np.linspace(-1.0, 1.0, 9)
    (function,) = problems.burgers1d(viscosity=0.1).exact
    with jax.enable_x64(True):
        exact = np.asarray(function(times[:, None], x[None, :]))
    errors = []
    for steps in (8, 16):
        found = _classical_nonlinear.solve(equation, 64, times, steps)
        values = _classical_nonlinear.evaluate(found, x)
        errors.append(np.abs(values - exact).max())
    assert errors[1] < 1e-5
    assert 8 < errors[0] / errors[1] < 32


def test_published_values_are_compared(tmp_path):
    t, x = np.linspace(0.0, 1.0, 4), np.linspace(-1.0, 1.0, 6)
    values = np.cos(t)[None, :] * x[:, None]
    scipy.io.savemat(tmp_path / "AC.mat", {"tt": t, "x": x, "uu": values})

    def twice(t, x):
        return 2.0 * np.cos(t)[:, None] * x[None, :]

    found = nonlinear.published(twice, "allen_cahn", tmp_path)
    assert found == pytest.approx(1.0)
    assert nonlinear.published(twice, "burgers1d", tmp_path) is None
    assert nonlinear.published(twice, "allen_cahn", None) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "euler"], "'euler' is part of none of klein_gordon:ssbroyden"),
        (["--references", "/nowhere"], "--references: no AC.mat in /nowhere"),
        (["--minutes", "0"], "--minutes must be positive"),
        (["--seeds", "0"], "--seeds must be positive"),
    ],
)
def test_wrong_options_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(arguments, folder=None)
    assert message in capsys.readouterr().err


def test_list_runs_nothing(capsys):
    arguments = ["--list", "--only", "burgers1d:newton in", "--seeds", "2"]
    assert main(arguments, folder=None) == []
    lines = capsys.readouterr().out.splitlines()
    name = "burgers1d:newton in 10 windows"
    assert lines == [f"{name} 0", f"{name}, plain 0", f"{name} 1"]
