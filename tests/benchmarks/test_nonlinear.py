import json

import pytest

from benchmarks import nonlinear
from benchmarks.nonlinear import CASES, Case, describe, main, summary


TINY = (
    Case(
        "burgers:newton in 2 windows", "burgers1d", {"viscosity": 0.3}, "newton",
        {"size": (5, 12)}, None, 2, 2, 20, (1e-1, None),
    ),
)  # fmt: skip


def test_runs_are_kept_and_not_repeated(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(nonlinear, "CASES", TINY)
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
    row = {
        "name": CASES[1].name, "seed": 0, "relative_l2": 1e-9, "seconds": 1.0,
        "wall_seconds": 2.0, "load": 1.0, "result": "converged",
    }  # fmt: skip
    assert "goal 1e-08 in 5 s: met" in summary([row])
    assert "missed" in summary([{**row, "seconds": 6.0}])
    assert "missed" in summary([row, {**row, "relative_l2": None}])
    assert "failed" in describe({**row, "relative_l2": None})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "euler"], "'euler' is part of none of klein_gordon:ssbroyden"),
        (["--minutes", "0"], "--minutes must be positive"),
        (["--seeds", "0"], "--seeds must be positive"),
    ],
)
def test_wrong_options_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(arguments, folder=None)
    assert message in capsys.readouterr().err


def test_list_runs_nothing(capsys):
    assert main(["--list", "--rows", "burgers", "--seeds", "2"], folder=None) == []
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"burgers:newton in 16 windows {seed}" for seed in range(2)]
