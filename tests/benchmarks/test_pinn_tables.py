"""Tables from small results that nobody measured."""

import pytest

from benchmarks import _pinn_tables, tables


HERE = {
    "cpu": "Abacus", "cores": 2, "jax": "1.2", "optax": "3.4", "numpy": "5.6",
    "python": "3.11.7", "date": "2026-01-02",
}  # fmt: skip
SETTING = "Abacus, 2 cores; JAX 1.2, optax 3.4, NumPy 5.6, Python 3.11.7; 2026-01-02."


def summary(median: float, spread: float = 0.5, n: int = 15):
    low, high = median * (1 - spread), median * (1 + spread)
    return {"median": median, "min": low, "max": high, "iqr": spread, "n": n}


def step(problem: str, grid: str, model: str, milliseconds: float, n: int = 15):
    return {
        "kind": "step", "problem": problem, "model": model, "rank": 32, "grid": grid,
        "hardware": "Abacus, 2 cores",
        "ours_seconds": summary(milliseconds / 1e3),
        "reference_seconds": summary(2 * milliseconds / 1e3),
        "ratio": summary(0.5, 0.25, n),
        "ours_bytes": {"total": 1_500_000}, "reference_bytes": {"total": 30_000_000},
        "ours_compile_seconds": 1.25, "reference_compile_seconds": 2.5,
    }  # fmt: skip


def growth(model: str):
    return {
        "kind": "compile", "model": model, "rank": 8, "grid": "3^d",
        "dimensions": [3, 10], "hardware": "Abacus, 2 cores",
        "ours_seconds": [summary(1.0, n=5), summary(1.4, n=5)], "ours_growth": 1.4,
        "reference_seconds": [summary(2.0, n=5), summary(18.0, n=5)],
        "reference_growth": 9.0,
    }  # fmt: skip


def trained(problem: str, model: str, errors: list[float | None], **changes):
    found = [error for error in errors if error is not None]
    row = {
        "problem": problem, "model": model, "rank": 32, "points": 64, "dimension": 3,
        "weights": "paper", "hardware": "Abacus, 2 cores", "iterations": 5000,
        "relative_l2": {"median": 0.25, "min": 0.004, "max": 0.5} if found else None,
        "iterations_per_second": summary(123.4), "compile_seconds": 2.04,
        "runs": [{"seed": i, "relative_l2": e} for i, e in enumerate(errors)],
        "paper": {
            "relative_l2": 0.008, "points": 64, "iterations": 50_000,
            "iterations_per_second": 327,
        },
    }  # fmt: skip
    return {**row, **changes}


def collocation(problem: str):
    return {
        "problem": problem, "model": "classical", "rank": None, "points": None,
        "weights": None, "hardware": "Abacus, 2 cores", "relative_l2": 5e-15,
        "linf": 1e-14, "seconds": 0.0123, "unknowns": 54872, "method": "Chebyshev",
    }  # fmt: skip


RESULTS = {
    "pinn_step": {
        "environment": HERE,
        "rows": [
            growth("cp"),
            step("klein_gordon", "64^3", "cp", 2.5),
            step("poisson", "16^5", "tt", 250.0, n=7),
        ],
    },
    "paper_tables": {
        "environment": HERE,
        "rows": [
            collocation("helmholtz"),
            collocation("poisson"),
            trained("helmholtz", "cp", [0.5, 0.004, None]),
            trained("helmholtz", "tt", [None], weights="released"),
            trained(
                "helmholtz", "vanilla", [1.0], rank=None, fault="own_source", load=7.0
            ),
            trained(
                "poisson",
                "tucker",
                [0.5, 0.25],
                points=10,
                dimension=5,
                iterations=1500,
                paper={
                    "relative_l2": 0.026,
                    "points": 24,
                    "iterations": 80_000,
                    "iterations_per_second": None,
                },
            ),
        ],
    },
    "peers": {
        "environment": HERE,
        "rows": [
            {
                "problem": "helmholtz",
                "library": "pinns",
                "version": "0.1",
                "relative_l2": 5e-5,
                "iterations": 12_000,
                "seconds": 60.2,
                "iterations_per_second": 199.3,
                "setup_seconds": 4.04,
                "hardware": "Abacus, 2 cores",
            },
            {
                "problem": "helmholtz",
                "library": "pina",
                "missing": "no network",
                "hardware": "Abacus, 2 cores",
            },
        ],
    },
    "classical": {
        "environment": HERE,
        "rows": [{**collocation("Helmholtz 3d"), "seconds": summary(0.0061, n=7)}],
    },
}


def lines(name: str) -> list[str]:
    return tables.TABLES[name](tables.Results(RESULTS)).splitlines()


@pytest.mark.parametrize("name", _pinn_tables.TABLES)
def test_table_is_markdown_with_a_caption(name: str):
    header, marks, *rows, empty, caption = lines(name)
    columns = header.count("|")
    assert set(marks) <= set("| -:")
    assert all(row.count("|") == columns for row in (marks, *rows))
    assert rows
    assert empty == ""
    assert caption.endswith(SETTING)
    text = f"<!-- table:{name} -->\n<!-- /table -->\n"
    once, changed = tables.refresh(text, RESULTS, tables.TABLES)
    assert changed == [name]
    assert tables.refresh(once, RESULTS, tables.TABLES) == (once, [])


def test_step():
    _, _, first, second, _, caption = lines("pinn_step")
    assert first == (
        "| Klein-Gordon | 64³ | CP | 32 | 2.50 | 5.00 | 2.00 (1.60–2.67) | 1.5 / 30.0 "
        "| 1.2 / 2.5 |"
    )
    assert second.startswith("| Poisson | 16⁵ | TT | 32 | 250 | 500 | 2.00 ")
    assert "Samples per row: 7 or 15." in caption


def test_growth_of_compilation():
    _, _, row, _, caption = lines("compile_dimension")
    assert row == (
        "| CP | 8 | 1.00 (0.50–1.50) | 1.40 (0.70–2.10) | 2.00 (1.00–3.00) "
        "| 18.00 (9.00–27.00) | 1.40 | 9.00 |"
    )
    assert "with 3 points per axis" in caption
    assert "of 5 compilations of ours and 5 of SPINN's form" in caption


def test_steps_that_were_not_measured_are_named():
    results = {"pinn_step": {"environment": HERE, "rows": []}}
    with pytest.raises(ValueError, match=r"pinn_step.json has no rows of kind `step"):
        _pinn_tables.pinn_step(results)


def test_growth_that_was_not_measured_is_named():
    rows = [step("helmholtz", "64^3", "cp", 1.0)]
    with pytest.raises(
        ValueError, match=r"pinn_step.json has no rows of kind `compile`"
    ):
        _pinn_tables.compile_dimension({"pinn_step": {"rows": rows}})


def test_paper_shows_every_seed_and_its_iterations():
    _, _, cp, train, _, line, _, caption = lines("paper_klein_gordon_helmholtz")
    assert cp == (
        "| Helmholtz | CP | 32 | 64³ | 5,000 | 0.250 (4.0e-03–0.500) "
        "| 0.500 4.0e-03 failed | 123 | 2.0 | 0.008 (64³) | 327 |"
    )
    assert train.startswith("| Helmholtz | TT* | 32 | 64³ | 5,000 | failed | failed |")
    assert line == (
        "| Helmholtz | collocation | – | – | – | 5.0e-15 | – | 12 ms in all "
        "| – | – | – |"
    )
    for words in (
        "GTX 1080",
        "after 50,000 iterations",
        "ours are after 5,000",
        "star",
    ):
        assert words in caption
    _, _, tucker, _, _, caption = lines("paper_poisson_flow")
    assert "| 10⁵ | 1,500 | " in tucker
    assert tucker.endswith("| 0.026 (24⁵) | – |")
    assert "A star" not in caption
    assert "read as 24⁵" in caption


def test_classical():
    assert lines("classical")[2] == (
        "| Helmholtz 3d | 5.0e-15 | 1.0e-14 | 6.10 | 54,872 | Chebyshev |"
    )


def test_peers_missing_or_not():
    _, _, ours, missing, _, caption = lines("peers")
    assert ours == ("| Helmholtz | pinns | 0.1 | 5.0e-05 | 12,000 | 199 | 60 | 4.0 |")
    assert missing == ("| Helmholtz | PINA | – | missing: no network | – | – | – | – |")
    assert caption.startswith("Equal seconds of solving")


def test_faults_and_busy_machines_are_marked():
    rows = lines("paper_klein_gordon_helmholtz")
    (faulty,) = (row for row in rows if "vanilla PINN" in row)
    assert "vanilla PINN, fault: source from the network | – |" in faulty
    assert "| 123† | 2.0† |" in faulty
    assert "A dagger marks times" in rows[-1]
    assert "Rows with a fault run what the released code runs" in rows[-1]
