"""The benchmark of FedRewind at tiny size, its loop, and verdicts on known rows."""

import jax
import numpy as np
import pytest

from benchmarks import _vision_tables
from benchmarks import fedrewind as benchmark


def test_rows():
    cases = [(0.25, 0), (0.1, 1)]
    rows = benchmark.measure("cwt", cases, rounds=2)
    assert [(row["alpha"], row["seed"]) for row in rows] == cases
    for row in rows:
        assert 10 < row["fa"] < 100
        assert 0 < row["ff"] < 50
        assert row["gradient_steps"] >= 2 * 10 * 10
        assert "cwt           alpha " in benchmark.line(row)


def test_the_loop_gives_what_the_program_gives():
    forms = benchmark.rounds_of(3)
    assert list(forms) == ["one program", "one program, in sequence", "Python loop"]
    state, _ = forms["one program"]()
    looped = forms["Python loop"]()
    for k, model in enumerate(looped):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[k], b, rtol=1e-4, atol=1e-5),  # noqa: B023
            state["models"],
            model,
        )


def rows_with(gain):
    """Rows of two seeds in which rewinding gains this much at both alphas."""
    base = {"standalone": 40, "cwt": 60, "rwt": 60, "fedavg": 60, "joint": 90}
    rows = []
    for method in benchmark.METHODS:
        plain = method.removesuffix("_rewind").removesuffix("_random")
        extra = gain if plain != method else 0
        for alpha in benchmark.ALPHAS:
            more = extra * (2 if alpha == 0.1 else 1)
            for seed in (0, 1):
                row = {"fa": base[plain] + more + seed, "ff": 30 - more}
                row |= {} if method == "joint" else {"pfa": 50.0}
                rows.append(
                    {"kind": "run", "method": method, "alpha": alpha, "seed": seed}
                    | {**row, "gradient_steps": 1000 + seed}
                )
    return rows


def test_verdicts_follow_the_rows():
    good, bad = (benchmark.verdicts(rows_with(gain)) for gain in (5, -3))
    assert [v["holds"] for v in good] == [True] * 15
    assert good[0]["figure"] == "+5.0 (SD 0.0)"
    assert [v["holds"] for v in bad] == [False] * 12 + [True] * 2 + [False]


def test_tables():
    rows = rows_with(5)
    verdicts = [{"kind": "verdict", **v} for v in benchmark.verdicts(rows)]
    here = {"cpu": "a CPU", "cores": 2, "jax": "1", "python": "3", "date": "today"}
    results = {
        "fedrewind": {
            "rows": rows + verdicts,
            "environment": {**here, "peers": {"scikit-learn": "2"}},
        }
    }
    table = _vision_tables.fedrewind(results)
    assert "| ring, rewind to the previous node | 65.5 (0.7) | 25.0 (0.0) |" in table
    assert "| no exchange | 40.5 (0.7) |" in table
    assert "| one model on all data | 90.5 (0.7) | 30.0 (0.0) | – | 1000 (1) |" in table
    assert table.endswith("a CPU, 2 cores; JAX 1, scikit-learn 2, Python 3; today.")
    claims = _vision_tables.TABLES["fedrewind_claims"](results)
    assert claims.count("| yes |") == 15
    timed = [
        {"nodes": 10, "form": form, "seconds": {"median": 0.1 * (i + 1)}}
        for i, form in enumerate(("one program", "Python loop"))
    ]
    found = {"fedrewind_speed": {**results["fedrewind"], "rows": timed}}
    assert "| 10 | 100.0 | 200.0 |" in _vision_tables.fedrewind_speed(found)
    with pytest.raises(SystemExit):
        benchmark.main(["--only", "everything"])
