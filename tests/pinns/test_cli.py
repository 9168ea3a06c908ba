"""Every sentence that the command line says of itself, and every error it prints."""

import dataclasses
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import pinns
from pinns import CP, problems, report
from pinns.cli import commands, main
from pinns.cli.arguments import Eval, Info, List, Resume, Solve
from pinns.cli.values import problem_options, shown, type_name
from pinns.settings import default_points
from pinns.solution import Solution


ROOT = Path(__file__).parents[2]
TINY = ["--rank", "2", "--hidden", "4", "--points", "5", "--steps", "3"]
LINE = ["solve", "poisson", "-p", "dimension=1", "--method", "adam", *TINY]


def run(capsys, *argv) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(word) for word in argv])
    return (code, *capsys.readouterr())


def python(*argv, **options) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *argv], env=environment, text=True, cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def last_record(out: str) -> dict:
    lines = out.splitlines()
    assert sum(line.startswith("{") for line in lines) == 1
    return json.loads(lines[-1])


def cells(out: str) -> dict[str, str]:
    """First and last cell of each table row."""
    rows = [line.split("  ") for line in out.splitlines() if "  " in line]
    return {row[0].strip(): row[-1].strip() for row in rows}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "line"
    assert main([*LINE, "--seed", "7", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def fresh(saved, tmp_path) -> Path:
    """A copy of the saved run that a test may change."""
    return pinns.load(saved).save(tmp_path / "copy")


# list, info, help


def test_list_names_every_problem_and_its_options(capsys):
    code, out, err = run(capsys, "list")
    assert (code, err) == (0, "")
    rows = out.splitlines()
    assert [row.split()[0] for row in rows[1:]] == list(problems.PROBLEMS)
    assert cells(out)["helmholtz3d"] == "a=4,4,3, k=1, hard=false"
    assert "the Burgers problem" in out
    assert all(row == row.rstrip() for row in rows)


def test_module_lists_without_loading_what_draws():
    code = "import sys; from pinns.cli import main; main(['list']); "
    code += "sys.exit('matplotlib' in sys.modules)"
    light, module = python("-c", code), python("-m", "pinns.cli", "list")
    outputs = [light.communicate(), module.communicate()]
    assert (light.returncode, module.returncode) == (0, 0)
    assert outputs[0] == outputs[1]
    assert "klein_gordon" in outputs[0][0]


def test_info_describes_problem_and_options(capsys):
    code, out, _ = run(capsys, "info", "helmholtz3d")
    assert code == 0
    assert "u_xx + u_yy + u_zz + k^2 u = q" in out
    assert "Cho et al." in out
    assert not {"Args:", "Raises:", "Example:"} & set(out.split())
    table = cells(out)
    assert table["axes"] == "x in [-1, 1], y in [-1, 1], z in [-1, 1]"
    assert table["loss terms"] == "residual, dirichlet(x, y, z)"
    assert (table["unknowns"], table["exact solution"]) == ("u", "yes")
    assert table["a"] == "4,4,3"
    assert ("int,int,int" in out, "true or false" in out) == (True, True)


def test_info_takes_options_and_shortens_many_axes(capsys):
    _, out, _ = run(capsys, "info", "poisson", "-p", "dimension=20")
    assert cells(out)["axes"].endswith("x3 in [0, 1], ..., x20 in [0, 1]")


@pytest.mark.parametrize("kind", [List, Info, Solve, Eval, Resume])
def test_help_explains_every_option_with_its_default(kind, capsys):
    code, out, err = run(capsys, kind.__name__.lower(), "--help")
    assert (code, err) == (0, "")
    for field in dataclasses.fields(kind):
        if field.default is dataclasses.MISSING:
            assert field.name.upper() in out
        else:
            assert f"--{field.name.replace('_', '-')}" in out
    options = [
        f for f in dataclasses.fields(kind) if f.default is not f.default_factory
    ]
    optional = [f for f in options if f.default is not dataclasses.MISSING]
    assert out.count("(default:") == len(optional)
    assert "None" not in out


def test_help_of_the_program(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name in ("list", "info", "solve", "eval", "resume"):
        assert f"• {name}" in out


# solve


def test_solve_prints_saves_and_draws(capsys, tmp_path):
    folder = tmp_path / "new" / "run"
    code, out, err = run(capsys, *LINE, "--out", folder, "--plot", "--json")
    assert (code, err) == (0, "")
    table = cells(out)
    assert table["result"] == "finished"
    assert table["steps"] == "3"
    assert out.startswith("cp, rank 2, 18 parameters")
    assert f"saved in {folder}" in out
    for name in ("solution.png", "history.png"):
        assert f"drawn in {folder / name}" in out
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    record, solution = last_record(out), pinns.load(folder)
    assert record["relative_l2"] == pytest.approx(solution.relative_l2(), rel=1e-6)
    assert table["relative L2 error"] == f"{solution.relative_l2():.2e}"
    assert record["loss"] == solution.history.loss[-1]
    assert record["seconds"] == solution.timings["solve_seconds"]
    assert record["compile_seconds"] == solution.timings["compile_seconds"]
    assert record["steps_per_second"] == solution.timings["steps_per_second"]


def test_record_says_what_was_run(capsys):
    argv = ["--seed", "5", "--dtype", "float64", "--json", "--no-progress"]
    record = last_record(run(capsys, *LINE, *argv)[1])
    expected = {
        "problem": "poisson", "options": {"dimension": 1, "hard": False},
        "model": "cp", "rank": 2, "num_parameters": 18,
        "model_options": {"network": "mlp", "hidden": [4]}, "method": "adam", "seed": 5,
        "points": [5], "dtype": "float64", "steps": 3, "result": "finished",
    }  # fmt: skip
    assert {name: record[name] for name in expected} == expected
    assert 50 < record["peak_memory_mb"] < 100_000
    assert record["versions"]["jax"] == importlib.metadata.version("jax")
    assert record["versions"]["python"].startswith("3.")
    assert record["device"] == jax.devices()[0].device_kind


def test_same_seed_same_solution(capsys):
    losses = [
        last_record(run(capsys, *LINE, "--seed", seed, "--json")[1])["loss"]
        for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ([], CP(2, hidden=(4,))),
        (["--model", "tucker"], pinns.Tucker(2, hidden=(4,))),
        (["--model", "mlp"], pinns.MLP(hidden=(4,))),
        (
            ["--activation", "sin", "--initializer", "he_normal"],
            CP(2, hidden=(4,), activation="sin", initializer="he_normal"),
        ),
        (["--network", "siren"], CP(2, hidden=(4,), network="siren")),
    ],
)
def test_model_is_the_described_one(options, model, monkeypatch):
    captured = _captured(monkeypatch, *LINE, *options, drop_rank="mlp" in options)
    assert captured["model"] == model


@pytest.mark.parametrize("ranks", [["3", "2"], ["3,2"]])
def test_ranks_per_bond(ranks, monkeypatch):
    argv = ["solve", "klein_gordon", "--model", "tt", "--rank", *ranks]
    assert _captured(monkeypatch, *argv)["model"] == pinns.TensorTrain((3, 2))


def test_arguments_reach_solve(monkeypatch):
    captured = _captured(
        monkeypatch, "solve", "wave1d", "-p", "mode=2", "--option", "hard=true",
        "--points", "6", "7", "--sampling", "uniform", "chebyshev",
        "--redraw-every", "2", "--steps", "9", "--learning-rate", "0.5",
        "--loss", "factored", "--basis", "legendre", "--size", "5", "--starts", "3",
        "--weighting", "causal",
        "--dtype", "float64", "--seconds", "4", "--seed", "11", "--no-progress",
        "--devices", "2", "--checkpoint", "kept",
    )  # fmt: skip
    assert captured["problem"].origin[1]["mode"] == 2
    assert captured["problem"].origin[1]["hard"] is True
    assert captured["method"] == "auto"
    assert jax.random.key_data(captured.pop("key")).tolist() == [0, 11]
    del captured["problem"], captured["model"], captured["method"]
    assert captured == {
        "points": (6, 7), "sampling": ("uniform", "chebyshev"), "redraw_every": 2,
        "steps": 9, "learning_rate": 0.5, "dtype": "float64", "seconds": 4.0,
        "progress": False, "loss": "factored", "basis": "legendre", "size": 5,
        "weighting": "causal",
        "starts": 3, "devices": 2, "checkpoint": Path("kept"),
        "cluster": None,
    }  # fmt: skip


def test_arguments_that_are_not_given(monkeypatch):
    captured = _captured(monkeypatch, "solve", "poisson")
    assert captured["model"] is None
    assert jax.random.key_data(captured["key"]).tolist() == [0, 0]
    expected = {
        "points": None, "sampling": None, "redraw_every": None, "steps": None,
        "learning_rate": None, "dtype": None, "seconds": None, "progress": None,
        "loss": "auto", "basis": None, "size": None, "starts": None, "cluster": None,
        "devices": None, "checkpoint": None,
    }  # fmt: skip
    assert {name: captured[name] for name in expected} == expected


@pytest.mark.parametrize(("dimension", "points"), [(1, 64), (3, 64), (4, 22), (5, 12)])
def test_default_grids_have_about_as_many_points(dimension, points):
    problem = problems.poisson(dimension=dimension)
    assert default_points(problem, CP(), "adam") == points


def test_seconds_end_the_run(capsys):
    code, out, _ = run(capsys, *LINE, "--steps", 10**8, "--seconds", 0.02, "--json")
    record = last_record(out)
    assert (code, record["result"]) == (0, "time_limit")
    assert 0.02 <= record["seconds"] < 5.0


def _captured(monkeypatch, *argv, drop_rank=False) -> dict:
    """Arguments that `pinns.solve` is called with."""
    captured = {}

    def solve(problem, model, method, **arguments):
        captured.update(arguments, problem=problem, model=model, method=method)
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "solve", solve)
    words = list(argv)
    if drop_rank:
        at = words.index("--rank")
        del words[at : at + 2]
    assert main(words) == 130
    return captured


# options of problems


def test_problem_options_are_typed_by_the_signature():
    typed = problem_options(
        "o", "heat2d", ["diffusivity=2", "mode=(1, 5)", "final_time=1e-1", "hard=False"]
    )
    assert typed == {
        "diffusivity": 2.0, "mode": (1, 5), "final_time": 0.1, "hard": False
    }  # fmt: skip
    assert isinstance(typed["diffusivity"], float)


def test_problem_options_of_other_kinds(monkeypatch):
    def made_up(name: str = "a", values: tuple[float, ...] = (1.0, 2.0)):
        """Returns nothing."""

    monkeypatch.setitem(problems.PROBLEMS, "made_up", made_up)
    typed = problem_options("o", "made_up", ["name=b=c", "values=3,"])
    assert typed == {"name": "b=c", "values": (3.0,)}
    assert type_name(tuple[float, ...]) == "float,..."
    assert (shown("a"), shown((1.5, 2.0)), shown(True)) == ("a", "1.5,2", "true")


# eval


def test_eval_measures_and_says_how_it_was_solved(capsys, saved):
    code, out, err = run(capsys, "eval", saved, "--json")
    assert (code, err) == (0, "")
    solution, table, record = pinns.load(saved), cells(out), last_record(out)
    assert table["relative L2 error"] == f"{solution.relative_l2():.2e}"
    assert table["L-infinity error"] == f"{solution.linf():.2e}"
    assert table["residual RMS at unseen points"] == f"{solution.residual_rms():.2e}"
    assert table["problem"] == "poisson, dimension=1, hard=False"
    model = "cp, rank 2, 18 parameters, network=mlp, hidden=(4,)"
    assert table["model"] == model
    assert table["method"] == "adam, learning rate 0.001"
    assert (table["points"], table["sampling"]) == ("5", "uniform")
    assert (table["redraw every"], table["seed"]) == ("never", "7")
    assert record["seed"] == 7
    assert record["linf"] == pytest.approx(solution.linf())
    assert record["residual_rms"] == pytest.approx(solution.residual_rms())
    found = solution.certificate()
    assert table["misfit of dirichlet(x1)"] == f"{found.boundary['dirichlet(x1)']:.2e}"
    assert record["boundary_misfit"] == pytest.approx(found.boundary)
    assert record["error_bound"] == pytest.approx(found.error_bound)
    assert table["error (RMS) at most"] == f"{found.error_bound:.2e}"


def test_solve_reports_a_certificate_and_warns_of_overfitting(capsys, monkeypatch):
    code, out, err = run(capsys, *LINE, "--json")
    record, table = last_record(out), cells(out)
    assert (code, err) == (0, "")
    assert (record["overfit"], record["no_bound_because"]) == (False, None)
    assert record["error_bound"] > 0.0
    assert set(record["boundary_misfit"]) == {"dirichlet(x1)"}
    assert table["by"] == "coercive, self-adjoint"
    monkeypatch.setattr(pinns.certificate, "OVERFIT_RATIO", 1e-6)
    code, out, err = run(capsys, *LINE, "--json")
    assert last_record(out)["overfit"] is True
    assert "at training points)" in cells(out)["residual RMS at unseen points"]
    assert err.startswith("warning: the residual is ")
    assert err.count("\n") == 1


def test_memory_is_read_before_anything_is_drawn(capsys, monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(commands, "_draw", lambda *_: drawn.append(1))
    monkeypatch.setattr(report, "peak_memory_mb", lambda: 1.0 + len(drawn))
    argv = [*LINE, "--plot", "--out", tmp_path, "--json"]
    assert last_record(run(capsys, *argv)[1])["peak_memory_mb"] == 1.0
    argv = ["eval", tmp_path, "--plot", "--json"]
    assert drawn.pop()
    assert last_record(run(capsys, *argv)[1])["peak_memory_mb"] == 1.0
    assert drawn


def test_eval_points_are_those_of_the_errors(capsys, saved):
    out = run(capsys, "eval", saved, "--points", 11, "--json")[1]
    expected = pinns.load(saved).relative_l2(11)
    assert last_record(out)["relative_l2"] == pytest.approx(expected)


def test_eval_draws(capsys, fresh):
    code, out, _ = run(capsys, "eval", fresh, "--plot")
    assert code == 0
    assert f"drawn in {fresh / 'history.png'}" in out
    assert (fresh / "solution.png").is_file()


def unknown_exact(folder) -> Solution:
    solution = pinns.load(folder)
    solution.problem.exact = None
    return solution


def test_eval_without_exact_solution(capsys, monkeypatch, saved):
    monkeypatch.setattr(commands, "load", unknown_exact)
    code, out, _ = run(capsys, "eval", saved, "--json")
    assert code == 0
    assert cells(out)["relative L2 error"] == "- (no exact solution)"
    record = last_record(out)
    assert (record["relative_l2"], record["linf"]) == (None, None)
    code, _, err = run(capsys, "eval", saved, "--points", 5)
    assert code == 2
    assert "`--points` are for errors, and problem 'poisson' has no exact" in err


# resume


def test_resume_goes_on_and_saves(capsys, fresh):
    argv = ["resume", fresh, "--steps", 4, "--json", "--no-progress"]
    code, out, err = run(capsys, *argv)
    assert (code, err) == (0, "")
    record = last_record(out)
    assert (record["steps"], record["seed"], record["points"]) == (7, 7, [5])
    assert f"saved in {fresh}" in out
    solution = pinns.load(fresh)
    assert solution.history.steps.tolist() == list(range(1, 8))
    straight = last_record(
        run(capsys, *LINE, "--steps", 7, "--seed", 7, "--json")[1]
    )  # fmt: skip
    assert record["loss"] == straight["loss"]
    assert record["relative_l2"] == straight["relative_l2"]


def test_resume_at_another_rate_and_for_a_time(capsys, fresh):
    argv = ["--steps", 10**8, "--learning-rate", 1e-4, "--seconds", 0.02, "--plot"]
    code, out, _ = run(capsys, "resume", fresh, *argv)
    assert code == 0
    assert cells(out)["result"] == "time_limit"
    assert pinns.load(fresh).settings["learning_rate"] == 1e-4
    assert (fresh / "history.png").is_file()
