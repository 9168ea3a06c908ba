"""How commands end: bad input, losses and memory that fail, Ctrl-C, closed pipes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import pinns
from pinns.cli import commands, main, process


ROOT = Path(__file__).parents[2]
TINY = ["--rank", "2", "--hidden", "4", "--points", "5", "--steps", "3"]
LINE = ["solve", "poisson", "-p", "dimension=1", *TINY]


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


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "line"
    assert main([*LINE, "--seed", "7", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def fresh(saved, tmp_path) -> Path:
    """A copy of the saved run that a test may change."""
    return pinns.load(saved).save(tmp_path / "copy")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("", "Expected one of {list, info, solve, eval, resume}; see pinns --help"),
        ("nope", "Unrecognized options: nope; see pinns --help"),
        ("solve", "Missing from pinns solve: PROBLEM"),
        ("solve wave1d --stepz 3", "Unrecognized options: --stepz, 3; see pinns solve"),
        ("solve wave1d --steps x", "Error parsing --steps: no type matching INT"),
        ("solve wave1d --seconds x", "parsing --seconds: no type matching FLOAT"),
        ("solve wave1d --steps -3", "`steps` must be a positive integer, got -3"),
        ("solve wave1d --seconds -3", "`seconds` must be a positive number, got -3"),
        ("solve wave1d --seed -1", "`--seed` must be from 0 to 2^32 - 1, got -1"),
        ("solve nope", "`name` must be one of klein_gordon, "),
        ("info nope", "`name` must be one of klein_gordon, "),
        ("solve wave1d -p mode", "pinns solve: `-p` must be NAME=VALUE, got 'mode'"),
        ("info wave1d -p a=1", "wave1d has no option 'a', its options are speed, mode"),
        ("solve wave1d -p mode=x", "`-p mode` must be int, got 'x'"),
        ("solve wave1d -p hard=1", "`-p hard` must be true or false, got '1'"),
        ("solve helmholtz3d -p a=1,b,2", "`-p a` must be int,int,int, got '1,b,2'"),
        ("solve helmholtz3d -p a=1", "`a` must be 3 positive integers, got (1,)"),
        ("solve wave1d -p mode=1 -p mode=2", "`-p mode` must be given once, got"),
        ("solve wave1d -p mode=0", "`mode` must be a positive integer, got 0"),
        ("solve wave1d --model x", "`--model` must be one of cp, tt, tucker, mlp, got"),
        ("solve wave1d --rank x", "`--rank` must be one or more integers, got 'x'"),
        ("solve wave1d --rank", "`--rank` must be one or more integers, got ''"),
        ("solve wave1d --points 3 x", "`--points` must be one or more integers, got"),
        ("solve wave1d --hidden 0", "`hidden` must be a positive integer, got 0"),
        ("solve wave1d --rank 2 3", "`rank` must be one integer, got (2, 3)"),
        ("solve wave1d --points 3 3 3", "`points` must have one entry for each of"),
        ("solve wave1d --sampling x", "`sampling` must be one of uniform"),
        ("solve wave1d --method x", "`method` must be one of auto, adam, lbfgs"),
        ("solve wave1d --dtype x", "`dtype` must be one of float32, float64, got 'x'"),
        ("solve wave1d --activation x", "`activation` must be one of tanh"),
        ("solve wave1d --network x", "`network` must be one of mlp"),
        ("solve wave1d --plot", "pinns solve: `--plot` needs `--out`"),
        ("solve wave1d --out /dev/null/x", "/dev/null/x"),
        ("solve wave1d --model mlp --rank 2", "`--rank` does not apply to --model mlp"),
        ("solve wave1d --model mlp --network rbf", "`--network` does not apply to"),
        ("solve wave1d --network siren --activation sin", "a siren has its own"),
        (
            "solve wave1d --sampling chebyshev --redraw-every 2",
            "`redraw_every` needs a random `sampling`",
        ),
        ("eval /no/such", "pinns.load: no solution in /no/such"),
        ("resume /no/such", "pinns.load: no solution in /no/such"),
        ("eval /no/such --points x", "pinns eval: `--points` must be one or more"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_code_2(argv, message, capsys):
    code, out, err = run(capsys, *argv.split())
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


BOXED = """\
╭─ Value error ────────────────╮
│ Error parsing --steps: not a │
│ number.                      │
│ ──────────────────────────── │
│ For full helptext, see ...   │
╰──────────────────────────────╯
"""
PLAIN = """\
 Value error
 ------------
  Error parsing --steps: not a
  number.

  Got errors:
"""


@pytest.mark.parametrize("text", [BOXED, PLAIN])
def test_first_paragraph_of_a_boxed_message(text):
    assert process._first_paragraph(text) == "Error parsing --steps: not a number"


def test_loss_that_is_not_finite_saves_the_last_good_parameters(capsys, tmp_path):
    folder = tmp_path / "run"
    argv = [*LINE, "--steps", "50", "--learning-rate", "1e30", "--out", folder]
    code, out, err = run(capsys, *argv, "--json")
    assert code == 1
    assert err.startswith("error: pinns.solve: step ")
    assert "gave a non-finite value in" in err
    assert err.endswith(f"a smaller --learning-rate often helps; saved in {folder}\n")
    solution = pinns.load(folder)
    leaves = jax.tree.leaves(solution.params)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    record = last_record(out)
    assert (record["loss"], record["result"]) == (None, solution.result)


def test_loss_that_is_not_finite_without_a_folder(capsys):
    code, _, err = run(capsys, *LINE, "--steps", "50", "--learning-rate", "1e30")
    assert code == 1
    assert err.endswith("nothing is saved without --out\n")


def test_memory_that_runs_out(capsys, monkeypatch):
    def solve(*args, **options):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\n...")

    monkeypatch.setattr(commands, "solve", solve)
    code, _, err = run(capsys, *LINE)
    assert code == 1
    assert err == "error: out of memory; try fewer --points or a smaller --rank\n"


@pytest.mark.parametrize(
    "error",
    [ValueError("a bug"), TypeError("a bug"), jax.errors.JaxRuntimeError("bug")],
)
def test_bugs_keep_their_traceback(error, monkeypatch):
    def solve(*args, **options):
        raise error

    monkeypatch.setattr(commands, "solve", solve)
    with pytest.raises(type(error), match="bug"):
        main(LINE)


# Ctrl-C


def interrupting(saved: Path):
    def work(*args, **options):
        raise pinns.SolveInterrupted(pinns.load(saved))

    return work


def test_interrupt_saves(capsys, monkeypatch, saved, tmp_path):
    monkeypatch.setattr(commands, "solve", interrupting(saved))
    folder = tmp_path / "run"
    code, out, err = run(capsys, *LINE, "--out", folder, "--plot", "--json")
    assert code == 130
    assert err == f"interrupted after 3 steps; saved in {folder}\n"
    assert last_record(out)["steps"] == 3
    assert pinns.load(folder).step == 3
    assert not (folder / "solution.png").exists()


def test_interrupt_without_a_folder_says_that_nothing_is_saved(
    capsys, monkeypatch, saved
):
    monkeypatch.setattr(commands, "solve", interrupting(saved))
    code, _, err = run(capsys, *LINE)
    assert code == 130
    assert err == "interrupted after 3 steps; nothing is saved without --out\n"


def test_interrupt_while_compiling(capsys, monkeypatch, tmp_path):
    def solve(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "solve", solve)
    code, out, err = run(capsys, *LINE, "--out", tmp_path / "run")
    assert (code, out, err) == (130, "", "interrupted\n")


def test_ctrl_c_ends_the_process_with_130(tmp_path):
    # The process says when it is solving, which is when the bar is first updated.
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from pinns.cli import main\n"
        "from pinns.progress import Progress\n"
        "Progress.update = lambda self, *state: print('solving', flush=True)\n"
        "sys.exit(main())\n"
    )
    folder = tmp_path / "run"
    # Adam has no end of its own before the signal comes.
    argv = [*LINE, "--method", "adam", "--steps", str(10**8), "--out", str(folder)]
    running = python(str(program), *argv)
    assert running.stdout.readline() == "solving\n"
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in err
    solution = pinns.load(folder)
    assert solution.result == "interrupted"
    assert f"interrupted after {solution.step} steps; saved in {folder}" in err


def test_leaving_is_at_once_only_when_interrupted(monkeypatch):
    left = []
    monkeypatch.setattr(process.os, "_exit", left.append)
    assert process.leave(2) == 2
    assert left == []
    process.leave(130)
    assert left == [130]


def test_resume_that_is_interrupted_saves(capsys, monkeypatch, saved, fresh):
    monkeypatch.setattr(commands, "resume", interrupting(saved))
    code, _, err = run(capsys, "resume", fresh)
    assert code == 130
    assert err == f"interrupted after 3 steps; saved in {fresh}\n"


def test_reader_that_stops_reading_is_no_error():
    reading = python("-m", "pinns", "list")
    reading.stdout.close()
    assert reading.stderr.read() == ""
    assert reading.wait() == 0
    reading.stderr.close()
