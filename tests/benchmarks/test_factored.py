import math
from pathlib import Path

import pytest

from benchmarks import factored


def test_losses_that_differ_are_refused():
    case = factored.CASES[0]
    factored.check_losses(case, {"factored": 1.0, "grid": 1.0 + 1e-6})
    for value in (1.01, math.nan):
        with pytest.raises(RuntimeError, match=r"1 factored and .* in spinn: these"):
            factored.check_losses(case, {"factored": 1.0, "spinn": value})


def test_cases_are_those_of_the_claim():
    goals = {case.name: (case.goal, case.goal_seconds) for case in factored.CASES}
    assert goals["helmholtz-cp-64d3"] == (0.1, None)
    assert goals["helmholtz-cp-256d3"] == (1 / 200, None)
    assert goals["poisson-cp-24d5"] == (1 / 500, None)
    assert goals["poisson-cp-64d100"] == (None, 0.15)
    assert {"helmholtz-tt-64d3", "helmholtz-tucker-64d3"} < set(goals)


@pytest.mark.slow
def test_quick_measures_all_sides_and_writes_nothing(tmp_path: Path, capsys):
    small, large = factored.main(["--quick"], tmp_path)
    assert not list(tmp_path.iterdir())
    assert set(small["seconds"]) == {"factored", "orthogonalized", "grid", "spinn"}
    assert small["seconds"]["grid"]["n"] == 3
    assert small["ratio_grid"]["min"] > 0
    # 4^16 values are more than one walks.
    assert set(large["seconds"]) == {"factored"}
    assert "ratio_spinn" not in large
    assert "of spinn" in capsys.readouterr().out


def test_the_floor_of_float32_is_far_above_that_of_float64():
    single = factored.measure_floor("float32", points=40)
    double = factored.measure_floor("float64", points=40)
    assert 1e-6 < single["floor"] < 1e-2
    assert double["floor"] < 1e-4 * single["floor"]
    for row in (single, double):
        assert row["orthogonalized_floor"] < 1e-2 * row["floor"]
        assert row["orthogonalized_floor"] < row["orthogonalized_estimate"]
    # Away from the solution the two values agree.
    start = double["path"][0]
    assert start["factored"] == pytest.approx(start["grid"] ** 2, rel=1e-9)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--quick", "--write"],
        ["--only", "floor", "--cases", "helmholtz-cp-64d3"],
        ["--models", "tt"],
        ["--repeats", "0"],
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        factored.parse(arguments)
    assert "got" in capsys.readouterr().err or "--quick" in arguments
