"""Tables from small results that nobody measured."""

from benchmarks import _factored_tables, tables


HERE = {
    "cpu": "Abacus", "cores": 2, "jax": "1.2", "optax": "3.4", "numpy": "5.6",
    "python": "3.11.7", "date": "2026-01-02",
}  # fmt: skip


def summary(median: float):
    return {"median": median, "min": median / 2, "max": median * 2, "iqr": 0, "n": 5}


def step(share: float, goal: float | None):
    return {
        "kind": "step", "problem": "helmholtz", "model": "cp", "rank": 32,
        "grid": "64^3", "hardware": "Abacus, 2 cores", "load": 1.5,
        "goal": goal, "goal_seconds": None,
        "seconds": {n: summary(1e-3) for n in ("factored", "grid", "spinn")},
        "bytes": {"factored": 1e6, "grid": 2e6, "spinn": 3e6},
        "compile_seconds": {"factored": 1.0, "grid": 2.0, "spinn": 3.0},
        "ratio_grid": summary(share), "ratio_spinn": summary(share),
    }  # fmt: skip


def run(error: float | None, seed: int, seconds: float = 14.0):
    return {
        "kind": "run", "problem": "helmholtz", "label": "SSBroyden", "seed": seed,
        "hardware": "Abacus, 2 cores", "load": 3.0, "relative_l2": error,
        "seconds": seconds, "compile_seconds": 2.0,
        "goal": {"median": 1e-5, "max": 1e-4, "seconds": 15.0},
    }  # fmt: skip


def line(text: str) -> list[str]:
    return [cell.strip() for cell in text.splitlines()[2].strip("|").split("|")]


def test_a_step_beside_its_goal():
    for share, verdict in ((0.04, "met"), (0.2, "missed")):
        result = {"environment": HERE, "rows": [step(share, 0.1)]}
        cells = line(_factored_tables.factored_step({"factored": result}))
        assert cells[:4] == ["Helmholtz", "64³", "CP", "32"]
        assert f"1/10 of ours: {verdict}; 1/10 of SPINN's: {verdict}" in cells
    assert "0.2 (0.1–0.4)" in cells
    assert cells[10] == "–"
    result["rows"][0]["seconds"]["orthogonalized"] = summary(4e-3)
    cells = line(_factored_tables.factored_step({"factored": result}))
    assert cells[10] == "4.00"


def test_accuracy_has_median_and_worst_of_all_seeds():
    errors = [3e-6, 1e-6, 2e-6, None, 5e-6]
    rows = [run(e, i) for i, e in enumerate(errors)]
    result = {"environment": HERE, "rows": rows}
    cells = line(_factored_tables.accuracy({"accuracy_vs_seconds": result}))
    assert cells[2:5] == ["5", "3.0e-06", "failed"]
    assert cells[-1] == "1e-05, worst 1e-04 in 15 s: missed"
    result["rows"] = [run(2e-6, 0), run(4e-6, 1)]
    cells = line(_factored_tables.accuracy({"accuracy_vs_seconds": result}))
    assert cells[3:5] == ["3.0e-06", "4.0e-06"]
    assert cells[-1].endswith("15 s: met")
    result["rows"] = [run(2e-6, 0, seconds=20.0)]
    cells = line(_factored_tables.accuracy({"accuracy_vs_seconds": result}))
    assert cells[-1].endswith("15 s: missed")


def test_floor_and_compilation():
    rows = [
        {
            "kind": "floor", "dtype": "float32", "floor": 2e-4, "estimate": 7e-4,
            "orthogonalized_floor": 3e-7, "orthogonalized_estimate": 9e-7,
        },
        {
            "kind": "compile", "model": "tt", "rank": 12, "grid": "24^d",
            "dimensions": [3, 10], "seconds": [summary(1.0), summary(2.0)],
            "growth": 2.0, "goal": 1.5,
        },
    ]  # fmt: skip
    results = {"factored": {"environment": HERE, "rows": rows}}
    floor = _factored_tables.factored_floor(results)
    assert line(floor) == ["float32", "inner products", "2.0e-04", "7.0e-04"]
    assert "| float32 | orthogonalized | 3.0e-07 | 9.0e-07 |" in floor
    assert "1.5: missed" in line(_factored_tables.factored_compile(results))


def test_all_tables_are_registered():
    assert set(_factored_tables.TABLES) <= set(tables.TABLES)
    assert {"accuracy", "factored_step"} <= set(tables.TABLES)
