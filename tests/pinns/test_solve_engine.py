"""`solve` under the training engine: checkpoints, logs, signals, devices."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pinns
from jaxcore import training


PROBLEM = pinns.problems.klein_gordon()
MODEL = pinns.CP(rank=3, hidden=(6,))
OPTIONS = {
    "adam": {"points": 8, "redraw_every": 7, "learning_rate": 2e-3},
    "lbfgs": {"points": 10},
    "ssbroyden": {"points": 10},
}


def run(method="adam", **options):
    options = {"key": jax.random.key(0), **OPTIONS[method], **options}
    return pinns.solve(PROBLEM, MODEL, method, **options)


def numbers(solution):
    return [np.asarray(x) for x in jax.tree.leaves(solution.params)]


def equal(a, b):
    return all(
        p.tobytes() == q.tobytes() for p, q in zip(numbers(a), numbers(b), strict=True)
    )


@pytest.mark.parametrize("method", OPTIONS)
def test_a_run_that_goes_on_from_its_checkpoint_is_exact(method, tmp_path):
    whole = run(method, steps=24)
    folder = tmp_path / "run"
    first = run(method, steps=10, checkpoint=folder)
    assert not equal(first, whole)
    rest = run(method, steps=24, checkpoint=folder)
    assert equal(rest, whole)
    assert rest.step == whole.step == 24
    assert rest.history.steps.tolist() == list(range(11, 25))
    assert np.array_equal(rest.history.loss, whole.history.loss[10:])
    again = run(method, steps=24, checkpoint=folder)
    assert equal(again, whole)
    assert again.step == 24


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    run(steps=2, checkpoint=tmp_path)
    with pytest.raises(training.CheckpointError, match="points"):
        run(steps=4, checkpoint=tmp_path, points=9)
    with pytest.raises(training.CheckpointError, match="params"):
        pinns.solve(
            PROBLEM, pinns.CP(rank=4, hidden=(6,)), "adam", steps=4, points=8,
            checkpoint=tmp_path, key=jax.random.key(0),
        )  # fmt: skip


def test_log_has_loss_and_groups(tmp_path):
    run(steps=6, log=training.Log(tmp_path, every=2))
    lines = [json.loads(x) for x in (tmp_path / "log.jsonl").read_text().splitlines()]
    rows = [line for line in lines if "loss" in line]
    assert [row["step"] for row in rows] == [2, 4, 6]
    groups = sum(rows[0][f"loss/{name}"] for name in PROBLEM.groups)
    assert groups == pytest.approx(rows[0]["loss"], rel=1e-5)


def stated(value=1.0, source=1.0, end=1.0, weight=1.0, hard=False):
    return pinns.Problem(
        pinns.Box(x=(0.0, end), y=(0.0, 1.0)),
        lambda u, x, y: u.d("x", 2) + u.d("y", 2) - source * jnp.sin(x),
        [pinns.Dirichlet(value, weight=weight) if not hard else
         pinns.Dirichlet(value, hard=True)],
    )  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of a run of the stated problem, which went on once."""
    folder = tmp_path_factory.mktemp("kept")
    options = {"points": 6, "key": jax.random.key(0), "checkpoint": folder}
    pinns.solve(stated(), MODEL, "adam", steps=2, **options)
    again = pinns.solve(stated(), MODEL, "adam", steps=3, **options)
    assert again.step == 3
    return folder


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"value": 2.0}, "terms"),
        ({"source": 3.0}, "terms"),
        ({"end": 2.0}, "box"),
        ({"weight": 5.0}, "terms"),
        ({"hard": True}, "hard"),
    ],
)
def test_a_checkpoint_of_another_problem_is_refused(change, named, kept):
    options = {"points": 6, "key": jax.random.key(0), "checkpoint": kept}
    with pytest.raises(training.CheckpointError, match=named):
        pinns.solve(stated(**change), MODEL, "adam", steps=4, **options)


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path):
    options = {"points": 6, "key": jax.random.key(0), "checkpoint": tmp_path}
    for steps, rate in ((2, 1e-3), (3, 1e-3)):
        optimizer = optax.sgd(optax.exponential_decay(rate, 10, 0.5))
        pinns.solve(stated(), MODEL, steps=steps, optimizer=optimizer, **options)
    optimizer = optax.sgd(optax.exponential_decay(1e-3, 20, 0.5))
    with pytest.raises(training.CheckpointError, match="learning_rate"):
        pinns.solve(stated(), MODEL, steps=4, optimizer=optimizer, **options)


def test_what_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(training.StorageError) as info:
        run(steps=3, checkpoint=tmp_path / "file")
    assert info.value.solution.model == MODEL
    with pytest.warns(RuntimeWarning, match="training goes on"):
        solution = run(steps=3, checkpoint=tmp_path / "file", on_error="continue")
    assert solution.step == 3


class TestSignals:
    """The first signal ends the run after the present call, and nothing is lost."""

    def send(self, monkeypatch, number, **options):
        def update(bar, *arguments):
            os.kill(os.getpid(), number)

        monkeypatch.setattr(pinns.progress.Progress, "update", update)
        return run(steps=10_000, **options)

    def test_sigint(self, monkeypatch):
        with pytest.raises(pinns.SolveInterrupted, match="interrupted after") as info:
            self.send(monkeypatch, signal.SIGINT)
        assert 0 < info.value.solution.step < 10_000

    def test_sigterm(self, monkeypatch):
        with pytest.raises(pinns.SolveTerminated, match="terminated after") as info:
            self.send(monkeypatch, signal.SIGTERM)
        assert info.value.code == 143
        assert info.value.solution.result == "interrupted"

    def test_sigterm_with_a_checkpoint(self, monkeypatch, tmp_path):
        with pytest.raises(pinns.SolveTerminated) as info:
            self.send(monkeypatch, signal.SIGTERM, checkpoint=tmp_path)
        assert info.value.code == 0
        monkeypatch.undo()
        steps = info.value.solution.step
        rest = run(steps=steps + 5, checkpoint=tmp_path)
        assert rest.history.steps[0] == steps + 1
        assert equal(rest, run(steps=steps + 5))


def test_command_line_ends_well_on_sigterm(tmp_path):
    out, kept = tmp_path / "out", tmp_path / "kept"
    line = [
        *(sys.executable, "-m", "pinns", "solve", "klein_gordon", "--method", "adam"),
        *("--rank", "3", "--hidden", "6", "--points", "8", "--steps", "1000000"),
        *("--out", str(out), "--checkpoint", str(kept)),
    ]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    try:
        log = kept / "log.jsonl"
        while process.poll() is None and not (
            log.exists() and '"loss"' in log.read_text()
        ):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "terminated after" in said
    assert pinns.load(out).step > 0


@pytest.mark.parametrize("method", ["adam", "lbfgs"])
def test_the_grid_is_split_over_devices(method, monkeypatch):
    sources, original = [], training.fit

    def fit(task, source, *arguments, **options):
        sources.append(source)
        return original(task, source, *arguments, **options)

    options = {"points": 8, "steps": 20, "loss": "grid", "dtype": "float64"}
    one = run(method, **options)
    monkeypatch.setattr(pinns.iterate.training, "fit", fit)
    four = run(method, devices=4, **options)
    np.testing.assert_allclose(four.history.loss, one.history.loss, rtol=1e-9)
    (source,) = sources
    assert source.batch_size == 8
    assert source.axes.coordinates == (0, None, None)
    # The source of the equation is on the grid: (8, 8, 8).
    assert 0 in jax.tree.leaves(source.axes.hoisted)


BAD = [
    ({"method": "direct"}, "`devices` belongs to the methods adam", {"devices": 2}),
    ({"method": "als"}, "`log` belongs to the methods adam", {"log": "x"}),
    ({"method": "varpro"}, "`devices` must be one with method='varpro'",
     {"devices": 2}),
    ({}, "'t' must be a multiple of the 3 devices, got 8", {"devices": 3}),
    ({}, "loss='factored' needs .* got 2 devices", {"devices": 2, "loss": "factored"}),
    ({}, "pinns.solve: `devices` must be between 1 and the 4", {"devices": 8}),
    ({}, "`devices` must be a positive integer or a list", {"devices": "cpu"}),
    ({}, "`devices` must be a positive integer or a list", {"devices": 1.0}),
    ({}, "`log` must be a folder or a jaxcore.training.Log", {"log": 3}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "message", "options"), BAD)
def test_bad_input(method, message, options):
    linear = pinns.problems.helmholtz3d()
    network = method.get("method") not in ("direct", "als")
    problem = PROBLEM if network else linear
    given = {"method": "adam", "key": jax.random.key(0), **method, **options}
    if network:
        given = {"points": 8, **given}
    with pytest.raises((ValueError, TypeError), match=message):
        pinns.solve(problem, MODEL if network else None, **given)


def test_start_and_checkpoint_exclude_each_other(tmp_path):
    first = run(steps=2)
    with pytest.raises(ValueError, match="`start` must be None with `checkpoint`"):
        run(steps=2, start=first, checkpoint=tmp_path)


def test_values_stay_usable_after_a_resumed_run(tmp_path):
    run("lbfgs", steps=3, checkpoint=tmp_path)
    solution = run("lbfgs", steps=6, checkpoint=tmp_path)
    assert jnp.isfinite(solution(0.5, 0.1, 0.2))
