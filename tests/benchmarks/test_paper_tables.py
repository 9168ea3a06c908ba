import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from benchmarks import _paper_cases, paper_tables
from benchmarks._paper_cases import Case
from benchmarks._rows import Ledger


CASE = Case("helmholtz", "cp", 8, 64)


def test_figures_of_the_paper():
    published = _paper_cases.PUBLISHED
    assert len(published) == 2 * (15 + 4) + 9 + 3
    assert published[Case("helmholtz", "causal_pinn", None, 32)] == (
        0.406, 32, 50_000, 3,
    )  # fmt: skip
    assert published[Case("klein_gordon", "tt", 32, 64)] == (0.010, 64, 50_000, 305)
    assert published[Case("helmholtz", "tucker", 8, 64)] == (0.079, 64, 50_000, 345)
    assert published[Case("poisson", "tucker", 12, 24)] == (0.026, 24, 80_000, None)
    assert published[Case("flow_mixing", "tt", 64, 128)] == (0.018, 128, 50_000, None)


def test_rows_of_the_scales():
    plain = [case for case in paper_tables.cases("paper") if case.fault is None]
    assert plain == list(_paper_cases.PUBLISHED)
    released = paper_tables.cases("cpu", "released")
    assert len(released) == 2 * 15 + 9 + 3
    assert {case.weights for case in released} == {"released"}
    for case in (*released, *paper_tables.cases("cpu")):
        # Beside fewer points stand the paper's figures, with the paper's points.
        figures = paper_tables.published(case)
        other = {"poisson": 24, "flow_mixing": 128}.get(case.problem, case.points)
        assert figures["points"] == (32 if case.baseline else other)


def test_rows_of_the_faults_stand_beside_the_mended_ones():
    for scale, vanilla, points in (("cpu", 12, 10), ("paper", 32, 24)):
        rows = paper_tables.cases(scale)
        faulty = [case for case in rows if case.fault is not None]
        assert {case._replace(fault=None) for case in faulty} <= set(rows)
        assert {(c.problem, c.model, c.rank, c.points, c.fault) for c in faulty} == {
            ("helmholtz", "vanilla", None, vanilla, "own_source"),
            *(("poisson", m, 12, points, "one_face") for m in ("cp", "tt", "tucker")),
        }
    assert _paper_cases.iterations("cpu", Case("helmholtz", "vanilla", None, 12)) == 500


def test_one_face_is_trained_with_the_fault():
    faulty = paper_tables.problem(Case("poisson", "cp", 12, 10, fault="one_face"))
    assert [(t.name, t.selectors) for t in faulty.terms[1:]] == [
        ("dirichlet(x1, lower) on x1", ("lower", *["interior"] * 4))
    ]


def test_zero_is_an_optimum_with_the_networks_own_source(x64):
    """So is the exact solution: the fault cannot be seen from the loss."""
    stated = [
        paper_tables.problem(Case("helmholtz", "vanilla", None, 12, fault=fault))
        for fault in (None, "own_source")
    ]
    x = [jnp.array([0.3]), jnp.array([-0.6]), jnp.array([0.1])]

    def zero(unknown, orders):
        return jnp.zeros(1)

    mended, faulty = (problem.residual_values(zero, x)[0] for problem in stated)
    assert abs(float(mended[0])) > 10
    assert float(faulty[0]) == 0.0
    np.testing.assert_allclose(stated[1].exact_residual(x)[0], 0, atol=1e-10)


def test_recipes_of_the_pointwise_networks():
    def options(name: str, model: str):
        case = Case(name, model, None, 12)
        return paper_tables.recipe(case, paper_tables.problem(case))

    assert options("helmholtz", "vanilla").options == {"method": "adam"}
    assert options("helmholtz", "causal_pinn").options["weighting"].axis == "x"
    assert options("klein_gordon", "causal_pinn").options["weighting"].axis is None
    assert options("helmholtz", "sa_pinn").options["weighting"].name == "self_adaptive"
    assert "residual gradient" in options("klein_gordon", "g_pinn").problem.groups
    assert options("klein_gordon", "g_pinn").model.hidden == (64, 64, 64)


@pytest.mark.parametrize(
    ("case", "initializer"),
    [
        (CASE, "glorot_normal"),
        (CASE._replace(model="tucker"), "glorot_normal"),
        (CASE._replace(model="tt"), "glorot_uniform"),
        (Case("poisson", "cp", 8, 24), "glorot_uniform"),
        (Case("poisson", "tt", 8, 24), "glorot_uniform"),
        (Case("poisson", "tucker", 8, 24), "glorot_normal"),
    ],
)
def test_networks_of_the_released_code(case: Case, initializer: str):
    net = paper_tables.model(case).net
    assert (net.initializer, net.hidden, net.activation) == (
        initializer, (8, 8, 8), "tanh",
    )  # fmt: skip
    assert not net.normalize


def test_first_axis_is_in_the_middle_of_a_train(x64):
    case = Case("flow_mixing", "tt", 4, 8)
    straight = paper_tables.problem(case._replace(model="cp"))
    train = paper_tables.problem(case)
    assert straight.box.names == ("t", "x", "y")
    assert train.box.names == ("x", "t", "y")
    assert train.box.interval("x") == (-4.0, 4.0)
    t, x, y = (jnp.asarray(v)[None] for v in (1.3, -0.7, 2.1))
    np.testing.assert_allclose(train.exact[0](x, t, y), straight.exact[0](t, x, y))
    np.testing.assert_allclose(train.exact_residual([x, t, y])[0], 0, atol=1e-12)
    assert paper_tables.problem(Case("poisson", "tt", 6, 24)).box.names[0] == "x1"


def test_weights_of_the_loss():
    def weights(problem: str, which: str) -> list[float]:
        stated = paper_tables.problem(Case(problem, "cp", 8, 16, which))
        return [term.weight for term in stated.terms]

    third, fifth = pytest.approx([1, *[1 / 3] * 3]), pytest.approx([1, *[1 / 5] * 5])
    assert weights("helmholtz", "paper") == third
    assert weights("poisson", "paper") == fifth
    assert weights("flow_mixing", "paper") == [1, 1, 0.5, 0.5]
    # A term is the mean over both ends of its axis: a weight of two is their sum.
    assert weights("helmholtz", "released") == [1, 2, 2, 2]
    assert weights("poisson", "released") == [1, *[2] * 5]
    assert weights("flow_mixing", "released") == [10, 1, 2, 2]
    for which in paper_tables.WEIGHTS:
        assert weights("klein_gordon", which) == [1, 1, 0.5, 0.5]


def test_what_is_missing():
    def row(iterations: int, seeds: list[int]):
        return {"iterations": iterations, "runs": [{"seed": s} for s in seeds]}

    missing = paper_tables.missing
    assert missing(None, 100, 2) == ([], [0, 1])
    assert missing(row(50, [0, 1]), 100, 2) == ([], [0, 1])
    assert missing(row(100, [0]), 100, 3) == ([{"seed": 0}], [1, 2])
    assert missing(row(100, [0, 1]), 100, 1)[1] == []
    assert missing(row(200, [0]), 100, 3) == ([{"seed": 0}], [])


def fake_run(case: Case, stated: pinns.Problem, iterations: int, seed: int):
    return {
        "seed": seed,
        "relative_l2": None if seed == 2 else 0.1 * (seed + 1),
        "loss": 1.0,
        "result": "finished",
        "iterations_per_second": 100.0,
        "seconds": iterations / 100,
        "compile_seconds": 2.0,
        "load": 9.0 if iterations > 50 else 0.1,
    }


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs the command line with runs that cost nothing; returns rows and runs."""
    runs: list[tuple[Case, int, int]] = []

    def run(case: Case, stated: pinns.Problem, iterations: int, seed: int):
        runs.append((case, iterations, seed))
        return fake_run(case, stated, iterations, seed)

    monkeypatch.setattr(paper_tables, "run", run)
    monkeypatch.setattr(
        paper_tables,
        "classical_row",
        lambda name: {"problem": name, "model": "classical", "relative_l2": 1e-9},
    )

    def call(*arguments: str):
        runs.clear()
        paper_tables.main(arguments, tmp_path)
        path = tmp_path / "paper_tables.json"
        rows = json.loads(path.read_text())["rows"] if path.exists() else []
        return rows, list(runs)

    return call


def test_rows_are_saved_and_gone_on_with(quick):
    only = ["--problems", "helmholtz", "--models", "cp", "--ranks", "8"]
    rows, runs = quick(*only, "--iterations", "70", "--seeds", "2")
    assert runs == [(CASE, 70, 0), (CASE, 70, 1)]
    assert [row["model"] for row in rows] == ["classical", "cp"]
    row = rows[1]
    assert row["relative_l2"]["median"] == pytest.approx(0.15)
    assert [r["relative_l2"] for r in row["runs"]] == [0.1, 0.2]
    assert (row["iterations"], row["parameters"]) == (70, 3 * (16 + 3 * 72))
    assert row["paper"]["relative_l2"] == 0.061
    # A third seed, which fails: it is shown, and is not part of the median.
    rows, runs = quick(*only, "--iterations", "70", "--seeds", "3")
    assert runs == [(CASE, 70, 2)]
    assert [r["relative_l2"] for r in rows[1]["runs"]] == [0.1, 0.2, None]
    assert rows[1]["relative_l2"]["n"] == 2
    # Done; fewer iterations leave it alone; more of them begin anew.
    assert quick(*only, "--iterations", "70", "--seeds", "3")[1] == []
    assert quick(*only, "--iterations", "60", "--seeds", "5")[1] == []
    rows, runs = quick(*only, "--iterations", "80", "--seeds", "1")
    assert runs == [(CASE, 80, 0)]
    assert [r["seed"] for r in rows[1]["runs"]] == [0]


def test_order_is_that_of_the_tables(quick):
    quick(
        "--problems", "poisson", "--models", "tt", "--iterations", "5", "--seeds", "1"
    )
    arguments = ["--problems", "klein_gordon", "--ranks", "32", "--models", "cp"]
    rows, _ = quick("--scale", "paper", "--seeds", "1", *arguments)
    assert [(row["problem"], row.get("points")) for row in rows] == [
        ("klein_gordon", None), ("poisson", None),
        ("klein_gordon", 16), ("klein_gordon", 32), ("klein_gordon", 64),
        *[("poisson", 10)] * 4,
    ]  # fmt: skip


def test_speed_is_measured_again_where_the_machine_was_busy(quick, capsys):
    only = ["--problems", "helmholtz", "--models", "cp", "--ranks", "8"]
    first, _ = quick(*only, "--iterations", "70", "--seeds", "1")
    assert paper_tables.marked(first[1])
    chosen = {False: 40, True: 4}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper_tables, "SPEED_ITERATIONS", chosen)
        rows, runs = quick(*only, "--speed")
        assert runs == [(CASE, 40, 0)]
        assert not paper_tables.marked(rows[1])
        assert rows[1]["runs"] == first[1]["runs"]
        assert rows[1]["iterations"] == 70
        assert quick(*only, "--speed")[1] == []


def test_time_is_up(quick, capsys):
    rows, runs = quick("--minutes", "0")
    assert runs == []
    assert [row["model"] for row in rows] == ["classical"] * 4
    assert "time is up" in capsys.readouterr().out


def test_nothing_is_written(quick, capsys):
    rows, runs = quick("--no-write", "--rows", "1", "--seeds", "1")
    assert (rows, len(runs)) == ([], 1)
    assert "500 iterations  relative L2 0.1" in capsys.readouterr().out
    assert quick("--list") == ([], [])
    assert " 54  Case(" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "55"], "--rows must be of 1 to 54, got 55"),
        (["--seeds", "0"], "--seeds must be positive, got 0"),
        (["--iterations", "-1"], "--iterations must be positive, got -1"),
        (["--scale", "gpu"], "invalid choice: 'gpu'"),
    ],
)
def test_bad_options(arguments: list[str], message: str, capsys):
    with pytest.raises(SystemExit):
        paper_tables.main(arguments)
    assert message in capsys.readouterr().err


def test_one_run(monkeypatch: pytest.MonkeyPatch):
    """The real thing, small: the error is that of the last iteration."""
    monkeypatch.setitem(paper_tables.TEST_POINTS, 3, 6)
    case = Case("helmholtz", "cp", 2, 4)
    stated = paper_tables.problem(case)
    run = paper_tables.run(case, stated, 3, seed=1)
    assert run["result"] == "finished"
    assert 0 < run["relative_l2"] < 100
    assert run["seed"] == 1
    solution = pinns.solve(
        stated,
        paper_tables.model(case),
        "adam",
        loss="grid",
        points=4,
        steps=3,
        key=jax.random.key(1),
    )
    assert run["loss"] == pytest.approx(solution.history.loss[-1])
    assert run["relative_l2"] == pytest.approx(solution.relative_l2(6))
    row = paper_tables.row(case._replace(rank=8, points=64), 3, [run])
    assert "relative L2" in paper_tables.describe(row)


def test_ledger_renews_in_place(tmp_path: Path):
    def ledger():
        return Ledger("some", claim="A claim.", keys=("a", "b"), folder=tmp_path)

    first = ledger()
    for a in (1, 2):
        first.put({"a": a, "b": None, "value": 1})
    again = ledger()
    again.put({"a": 1, "b": None, "value": 5})
    assert [(row["a"], row["value"]) for row in ledger().rows] == [(1, 5), (2, 1)]
    assert again.find({"a": 2})["value"] == 1
    assert again.find({"a": 2, "b": 0}) is None
    again.arrange([{"a": 2}, {"a": 7}], drop=True)
    assert [row["a"] for row in ledger().rows] == [2]
