import json
import math
from pathlib import Path

import pytest

from benchmarks import _results, pinn_step
from benchmarks.pinn_step import Case


@pytest.mark.parametrize("grid", ["64", "64x3", "0^3", "1^3", "64^", "-3^2"])
def test_a_grid_that_is_none_is_refused(grid: str):
    with pytest.raises(
        ValueError, match=r"a grid must be written n\^d, as 64\^3, n >="
    ):
        pinn_step.counts(grid)


def test_plan_is_the_cases_of_the_claim_and_the_reasons_for_the_rest():
    cases, skipped = pinn_step.plan(
        tuple(pinn_step.PROBLEMS), pinn_step.MODELS, pinn_step.RANKS, pinn_step.GRIDS
    )
    three = [case for case in cases if case.problem != "poisson"]
    assert len(three) == 2 * 3 * 3 * 4
    assert {case.grid for case in three} == {"32^3", "64^3", "128^3"}
    five = {(case.model, case.rank) for case in cases if case.problem == "poisson"}
    every = {(model, rank) for model in ("cp", "tt") for rank in (8, 16, 32)}
    assert five == every | {("tucker", 8), ("tucker", 16)}
    reasons = {(case.model, case.rank): reason for case, reason in skipped}
    assert set(reasons) == {("cp", 64), ("tt", 64), ("tucker", 32), ("tucker", 64)}
    assert reasons["tucker", 32] == "a core of 3.4e+07 numbers"
    assert reasons["cp", 64] == "rank above 32 in 5 dimensions"


def test_different_losses_are_refused():
    case = Case("helmholtz", "cp", 2, "6^3")
    pinn_step.check_losses(case, 1.0, 1.0 + 1e-6)
    for ours in (1.01, math.nan):
        with pytest.raises(RuntimeError, match="these are not the same step"):
            pinn_step.check_losses(case, ours, 1.0)


@pytest.mark.slow
def test_quick_runs_and_writes_nothing(tmp_path: Path, capsys):
    arguments = ["--quick", "--problems", "helmholtz", "--models", "cp"]
    (row,) = pinn_step.main(arguments, tmp_path)
    assert not list(tmp_path.iterdir())
    assert (row["problem"], row["grid"], row["rank"]) == ("helmholtz", "6^3", 2)
    assert row["ours_seconds"]["n"] == row["reference_seconds"]["n"] == 3
    assert row["ratio"]["min"] > 0
    for side in ("ours", "reference"):
        found = row[f"{side}_bytes"]
        # Parameters, two moments of Adam, and the source on the grid.
        assert found["argument"] > 4 * (3 * 3 * 16 + 6**3)
        assert found["total"] == sum(
            found[k] for k in ("temporary", "argument", "output")
        )
        assert row[f"{side}_compile_seconds"] > 0
    assert "ratio" in capsys.readouterr().out


def fake(case: Case, repeats: int | None = None) -> pinn_step.Row:
    return {"kind": "step", **case._asdict(), "repeats": repeats}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs the command line with rows that cost nothing."""
    here = _results.environment()
    monkeypatch.setattr(_results, "environment", lambda peers=(): here)
    monkeypatch.setattr(pinn_step, "measure", fake)
    monkeypatch.setattr(pinn_step, "describe", str)
    monkeypatch.setattr(
        pinn_step,
        "measure_compilation",
        lambda name, rank, repeats: {"kind": "compile", "model": name, "rank": rank},
    )

    def run(*arguments: str) -> list[pinn_step.Row]:
        pinn_step.main(arguments, tmp_path)
        path = tmp_path / "pinn_step.json"
        return json.loads(path.read_text())["rows"] if path.exists() else []

    return run


def test_everything_is_written_and_a_subset_only_when_asked(measured):
    assert measured("--ranks", "8") == []
    rows = measured()
    assert len(rows) == 3 + 72 + 8
    assert all(row["commit"] and row["date"] for row in rows)
    assert [row["kind"] for row in rows[:4]] == ["compile"] * 3 + ["step"]
    subset = ["--only", "step", "--ranks", "8", "--models", "tt", "--repeats", "21"]
    assert measured(*subset) == rows
    after = measured(*subset, "--write")
    assert len(after) == len(rows)
    changed = [new for old, new in zip(rows, after, strict=True) if old != new]
    assert len(changed) == 2 * 3 + 1
    assert {row["rank"] for row in changed} == {8}
    assert all(row["repeats"] == 21 for row in changed)
    # All of it again leaves no row of a plan that is no more.
    measured("--only", "step", "--ranks", "7", "--write")
    assert measured() == rows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--quick", "--write"], "--quick never writes"),
        (["--grids", "64"], "a grid must be written n^d"),
        (["--models", "cpd"], "invalid choice: 'cpd'"),
    ],
)
def test_bad_options(arguments: list[str], message: str, capsys):
    with pytest.raises(SystemExit):
        pinn_step.main(arguments)
    assert message in capsys.readouterr().err


def test_compilation_row(monkeypatch: pytest.MonkeyPatch):
    """The bookkeeping, with seconds that are known."""
    asked = []

    def ours(stated, network, sizes):
        asked.append((len(stated.box.names), sizes))
        return pinn_step.Step(None, None, None, float(len(sizes)))

    def reference(stated, equation, network, sizes):
        assert len(equation.intervals) == len(stated.box.names) == len(sizes)
        return pinn_step.Step(None, None, None, float(len(sizes) ** 2))

    monkeypatch.setattr(pinn_step, "build_ours", ours)
    monkeypatch.setattr(pinn_step, "build_reference", reference)
    monkeypatch.setattr(pinn_step.jax, "clear_caches", lambda: None)
    row = pinn_step.measure_compilation("cp", 8)
    assert asked == [(3, (3,) * 3), (10, (3,) * 10)] * 5
    assert [s["median"] for s in row["ours_seconds"]] == [3, 10]
    assert [s["n"] for s in row["reference_seconds"]] == [3, 3]
    assert row["ours_growth"] == pytest.approx(10 / 3)
    assert row["reference_growth"] == pytest.approx(100 / 9)
    assert row["dimensions"] == [3, 10]
    assert "x3.33" in pinn_step.describe(row)
