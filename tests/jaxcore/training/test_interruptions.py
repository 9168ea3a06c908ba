import logging
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcore import training
from jaxcore.training import checkpoint
from jaxcore.training._run import Run
from tests.jaxcore.training import _simple


ROOT = Path(__file__).resolve().parents[3]
STEPS = 40


@pytest.fixture(scope="module")
def whole():
    return _simple.fit(STEPS)


def kill(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def once(action):
    """Returns a function that acts at its first call only."""
    left = [action]

    def act(*_):
        if left:
            left.pop()()

    return act


def interrupt_compilation(monkeypatch, number, options):
    act = once(lambda: kill(number))

    def step(state, batch, key):
        act()  # runs while the step is traced
        return _simple.step(state, batch, key)

    options["task"] = _simple.TASK._replace(step=step)


def interrupt_step(monkeypatch, number, options):
    act = once(lambda: kill(number))
    options["callbacks"] = [lambda p: act() if p.step >= 11 else None]


def interrupt_evaluation(monkeypatch, number, options):
    act = once(lambda: kill(number))

    def read(step, rows):
        act() if step == 1 else None
        return _simple.batches().read(step, rows)

    options["evaluate_on"] = training.FunctionBatches(read, 8, num_batches=3)
    options["evaluate_every"] = 20


def interrupt_save(monkeypatch, number, options):
    act, write = once(lambda: kill(number)), checkpoint.write_manifest

    def slow(folder, content):
        act()  # in the thread that writes; the signal goes to the main thread
        write(folder, content)

    monkeypatch.setattr(checkpoint, "write_manifest", slow)
    options["checkpoint"] = training.Checkpoint(options["checkpoint"], every=10)


MOMENTS = [
    interrupt_compilation,
    interrupt_step,
    interrupt_evaluation,
    interrupt_save,
]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda m: m.__name__)
def test_signals_end_with_a_checkpoint(moment, number, whole, tmp_path, monkeypatch):
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    options = {"checkpoint": tmp_path, "chunk": 5}
    with monkeypatch.context() as patch:
        moment(patch, number, options)
        with pytest.raises(training.Interrupted) as caught:
            _simple.fit(STEPS, **options)
    error = caught.value
    assert error.code == {signal.SIGTERM: 0, signal.SIGINT: 130}[number]
    assert number.name in str(error)
    assert "a checkpoint is saved" in str(error)
    assert error.step < STEPS
    assert (tmp_path / str(error.step) / "manifest.json").is_file()
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before
    end = training.read_log(tmp_path)[-1]
    assert (end["event"], end["result"]) == ("end", f"interrupted by {number.name}")
    resumed = _simple.fit(STEPS, checkpoint=tmp_path)
    assert resumed.resumed == error.step
    assert _simple.digest(resumed.state) == _simple.digest(whole.state)


def test_signal_is_served_within_one_chunk(tmp_path):
    options = {"callbacks": [lambda p: kill() if p.step == 12 else None], "chunk": 3}
    with pytest.raises(training.Interrupted) as caught:
        _simple.fit(STEPS, checkpoint=tmp_path, **options)
    assert caught.value.step == 12


def test_without_checkpoints_the_code_says_so():
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with pytest.raises(training.Interrupted, match="no checkpoint is saved") as e:
            _simple.fit(5, callbacks=[lambda p, n=number: kill(n)], chunk=1)
        assert (e.value.code, e.value.step) == (code, 1)
        assert set(e.value.state["params"]) == {"a", "b"}


def test_a_second_interrupt_does_not_wait():
    def twice(progress):
        kill(signal.SIGINT)
        kill(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        _simple.fit(5, callbacks=[twice])


@pytest.fixture
def delivered():
    """The signals that arrive where the caller of `fit` handles them."""
    found, numbers = [], (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(n, lambda n, frame: found.append(n)) for n in numbers]
    yield found
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_run_closes_is_delivered(number, delivered, monkeypatch):
    close = Run.close

    def late(run):
        kill(number)
        close(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "close", late)
        assert _simple.fit(2).step == 2
    assert delivered == [number]
    # A run that it has ended does not deliver it again.
    with pytest.raises(training.Interrupted):
        _simple.fit(5, chunk=1, callbacks=[once(lambda: kill(number))])
    assert delivered == [number]


def test_a_signal_before_another_error_is_delivered(delivered):
    def fail(progress):
        kill()
        raise LookupError("a defect of the callback")

    with pytest.raises(LookupError, match="a defect"):
        _simple.fit(5, callbacks=[fail])
    assert delivered == [signal.SIGTERM]


def test_other_threads_train_without_handlers():
    found = []
    thread = threading.Thread(target=lambda: found.append(_simple.fit(3)))
    thread.start()
    thread.join()
    assert found[0].step == 3


SCRIPT = """
import os, signal, sys
import jax
from jaxcore import training
from tests.jaxcore.training import _simple

def stop(progress):
    if progress.step >= 6:
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))

_simple.fit(40, checkpoint=sys.argv[1], callbacks=[stop], chunk=2)
print("not reached")
"""


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 0), ("SIGINT", 130)])
def test_exit_code_of_a_process(name, code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path), name],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "6" / "manifest.json").is_file()


@pytest.fixture
def full_disk():
    """Files beyond a few kilobytes cannot be written, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def fill(free=4096):
        resource.setrlimit(resource.RLIMIT_FSIZE, (free, limits[1]))

    def empty():
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    fill.empty = empty
    yield fill
    empty()
    signal.signal(signal.SIGXFSZ, before)


def wait_for(path):
    deadline = time.monotonic() + 30
    while not path.is_file():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def big_task():
    def init(key):
        return {"params": jax.random.normal(key, (64, 64)), "count": jnp.int32(0)}

    def step(state, batch, key):
        params = state["params"] + jax.random.normal(key, (64, 64))
        return {"params": params, "count": state["count"] + 1}, {"mean": params.mean()}

    return training.Task(init, step)


# TensorStore's other writes end after Orbax has closed its event loop.
late_writes = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


@late_writes
def test_full_disk_is_an_error_with_the_state(full_disk, tmp_path, caplog):
    settings = training.Checkpoint(tmp_path, every=10)
    options = {"task": big_task(), "checkpoint": settings, "chunk": 5}
    fill = once(full_disk)

    def act(progress):
        if progress.step == 15:
            wait_for(tmp_path / "10" / "manifest.json")
            fill()

    with pytest.raises(
        training.StorageError, match=r"could not save .* step 20 in"
    ) as e:
        _simple.fit(40, callbacks=[act], **options)
    assert int(e.value.state["count"]) == e.value.step >= 20
    full_disk.empty()
    assert not caplog.records  # one error, and not Orbax's account of it before
    # A write that ends late may bring a part of 20 back; the next run removes it.
    names = {p.name for p in tmp_path.iterdir() if ".orbax" not in p.name}
    assert names == {"10", "log.jsonl"}
    again = _simple.fit(40, **options)
    assert again.resumed == 10
    assert not list(tmp_path.glob("*.orbax*"))
    assert _simple.digest(again.state) == _simple.digest(
        _simple.fit(40, task=big_task()).state
    )


@late_writes
def test_full_disk_goes_on_if_told_to(full_disk, tmp_path):
    fill, empty = once(full_disk), once(full_disk.empty)

    def act(progress):
        if progress.step == 15:
            wait_for(tmp_path / "10" / "manifest.json")
            fill()
        empty() if progress.step == 35 else None

    with pytest.warns(RuntimeWarning, match="could not save .*; training goes on") as w:
        result = _simple.fit(
            60,
            task=big_task(),
            checkpoint=training.Checkpoint(tmp_path, every=10),
            callbacks=[act],
            chunk=5,
            on_error="continue",
        )
    assert 1 <= len(w) <= 2  # step 20, and 30 if it was written before 35
    assert result.step == 60
    saved = sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit())
    assert saved[-3:] == [40, 50, 60]
    assert _simple.digest(result.state) == _simple.digest(
        _simple.fit(60, task=big_task()).state
    )


READ_ONLY = Path("/sys/kernel/separax")  # not even root can write there


def test_read_only_folder():
    with pytest.raises(
        training.StorageError, match="could not open checkpoints in /sys"
    ):
        _simple.fit(5, checkpoint=READ_ONLY)
    with pytest.raises(
        training.StorageError, match="could not open the log /sys/kernel"
    ):
        _simple.fit(5, log=READ_ONLY)
    with pytest.warns(RuntimeWarning, match="training goes on") as w:
        result = _simple.fit(5, checkpoint=READ_ONLY, on_error="continue")
    assert len(w) == 2  # checkpoints and log
    assert not logging.getLogger("absl").filters
    assert result.step == 5
    assert np.isfinite(result.metrics["loss"])
