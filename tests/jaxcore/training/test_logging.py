import json
import math
import shutil
import struct
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcore import training
from jaxcore.training import _run, compare
from jaxcore.training.logging import Log, Logger
from tests.jaxcore.training import _simple


def lines(folder):
    return [
        json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()
    ]


def test_one_line_per_log_step_with_means(tmp_path):
    seen = []
    result = _simple.fit(
        25,
        log=training.Log(tmp_path, every=10),
        callbacks=[lambda p: seen.append(p.metrics["loss"])],
    )
    rows = [row for row in lines(tmp_path) if "loss" in row]
    assert [row["step"] for row in rows] == [10, 20, 25]
    losses = np.concatenate(seen).astype(np.float64)
    for row, part in zip(rows, (losses[:10], losses[10:20], losses[20:]), strict=True):
        assert row["loss"] == pytest.approx(part.mean(), rel=1e-12)
        assert row["steps_per_second"] > 0
    assert [r["loss"] for r in result.history] == [r["loss"] for r in rows]
    assert [r.get("event") for r in lines(tmp_path)][:: len(lines(tmp_path)) - 1] == [
        "start",
        "end",
    ]


def test_the_first_rate_leaves_compilation_out(monkeypatch):
    build = _run.compiled

    def slow(plan):
        steps = build(plan)

        def call(*arguments):
            if arguments[-1] == 0:  # the call that compiles takes no step
                time.sleep(1.0)
            return steps(*arguments)

        return call

    monkeypatch.setattr(_run, "compiled", slow)
    result = _simple.fit(4, log=training.Log(every=2))
    seconds = 2 / result.history[0]["steps_per_second"]
    assert result.timings["compile_seconds"] > 1.0 > seconds


def test_lines_are_on_disk_at_once(tmp_path):
    counts = []

    def count(progress):
        counts.append(len(lines(tmp_path)))

    _simple.fit(6, log=training.Log(tmp_path, every=2), callbacks=[count], chunk=2)
    # A callback runs before its step is logged: start, compiled, then one line a call.
    assert counts == [2, 3, 4]


def test_log_lies_beside_the_checkpoints_by_default(tmp_path):
    _simple.fit(2, checkpoint=tmp_path / "a")
    assert (tmp_path / "a" / "log.jsonl").is_file()
    _simple.fit(2, checkpoint=tmp_path / "a", log=tmp_path / "b")
    assert (tmp_path / "b" / "log.jsonl").is_file()


def test_values_that_are_no_json_numbers(tmp_path):
    logger = Logger(Log(tmp_path), 3, active=True)
    logger.metrics(1, {"a": math.nan, "b": [1.0, -math.inf], "c": jnp.float32(2)})
    logger.close()
    (row,) = lines(tmp_path)
    assert (row["a"], row["b"], row["c"]) == ("nan", [1.0, "-inf"], 2.0)


def test_vector_metrics_are_lists(tmp_path):
    def step(state, batch, key):
        return state, {"groups": jnp.array([1.0, 2.0])}

    task = training.Task(lambda key: jnp.zeros(()), step)
    result = _simple.fit(3, task=task, log=tmp_path)
    assert result.metrics["groups"] == [1.0, 2.0]
    start, compiled, row = lines(tmp_path)[:3]
    assert (start["event"], compiled["event"]) == ("start", "compiled")
    assert result.timings["compile_seconds"] == pytest.approx(
        compiled["seconds"], abs=1e-4
    )
    assert row["groups"] == [1.0, 2.0]


def test_bar_only_on_a_terminal(monkeypatch, capfd):
    _simple.fit(3)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _simple.fit(3, log=training.Log(every=1))
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "3/3" in shown.err
    assert "loss" in shown.err
    _simple.fit(3, log=training.Log(bar=False))
    assert capfd.readouterr() == ("", "")


def test_only_one_process_writes(tmp_path):
    logger = Logger(Log(tmp_path / "x", bar=True), 3, active=False)
    logger.metrics(1, {"a": 1.0})
    logger.close()
    assert not (tmp_path / "x").exists()
    assert logger.history == [{"step": 1, "a": 1.0}]


def test_tensorboard(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    _simple.fit(4, log=training.Log(tmp_path, every=2, tensorboard=True))
    (file,) = tmp_path.glob("events.out.tfevents.*")
    data, events = file.read_bytes(), []
    while data:  # length, its checksum, the event, its checksum
        (length,) = struct.unpack("<Q", data[:8])
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    found = [(e.step, v.tag, v.simple_value) for e in events for v in e.summary.value]
    logged = [row for row in lines(tmp_path) if "loss" in row]
    assert [(s, t) for s, t, _ in found] == [(2, "loss"), (4, "loss")]
    np.testing.assert_allclose([v for *_, v in found], [r["loss"] for r in logged])


def test_tensorboard_without_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"pip install 'separax\[tensorboard\]'"):
        _simple.fit(1, log=training.Log(tmp_path, tensorboard=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "`every` must be an integer of at least 1, got 0"),
        ({"every": True}, "`every` must be an integer of at least 1, got True"),
        (
            {"tensorboard": True},
            "`folder` must be given for tensorboard=True, got None",
        ),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        training.Log(**options)


def test_a_folder_that_is_no_path():
    with pytest.raises(TypeError, match="`folder` must be a folder or None, got 3"):
        training.Log(3)


def test_log_that_cannot_be_written(tmp_path):
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(
        training.StorageError, match=r"could not write .* No space"
    ) as e:
        _simple.fit(6, log=training.Log(tmp_path, every=2))
    assert e.value.step == 0
    assert set(e.value.state["params"]) == {"a", "b"}
    with pytest.warns(
        RuntimeWarning, match="No space left on device; training goes on"
    ):
        result = _simple.fit(
            6, log=training.Log(tmp_path, every=2), on_error="continue"
        )
    assert [row["step"] for row in result.history] == [2, 4, 6]


def test_runs_are_compared(tmp_path, capsys):
    _simple.fit(4, log=tmp_path / "short")
    _simple.fit(
        6,
        log=tmp_path / "evaluated",
        evaluate_every=6,
        evaluate_on=_simple.batches(),
    )
    assert compare.main([str(tmp_path / "short"), str(tmp_path / "evaluated")]) == 0
    header, short, evaluated = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "run",
        "steps",
        "steps/s",
        "loss",
        "evaluate/loss",
        "result",
    ]
    assert short.split()[1] == "4"
    assert short.split()[-2:] == ["-", "finished"]
    loss = [row for row in lines(tmp_path / "evaluated") if "evaluate/loss" in row]
    assert evaluated.split()[-2] == f"{loss[0]['evaluate/loss']:.4g}"


def test_a_killed_and_resumed_run_reads_as_one(tmp_path):
    checkpoint = training.Checkpoint(tmp_path, every=5)
    log = training.Log(tmp_path, every=1)
    _simple.fit(8, checkpoint=checkpoint, log=log)
    shutil.rmtree(tmp_path / "8")  # as if killed before it was saved
    _simple.fit(10, checkpoint=checkpoint, log=log)
    steps = [row["step"] for row in training.read_log(tmp_path) if "loss" in row]
    assert steps == list(range(1, 11))


def test_a_line_cut_off_is_left_out(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert training.read_log(tmp_path) == [{"step": 1, "loss": 2.0}]
    assert "running or killed" in training.runs([tmp_path])
    assert training.runs(str(tmp_path)) == training.runs([tmp_path])  # one folder


def test_logs_that_cannot_be_read(tmp_path, capsys):
    with pytest.raises(ValueError, match="no log in"):
        training.read_log(tmp_path)
    (tmp_path / "log.jsonl").write_text('nonsense\n{"step": 1}\n')
    with pytest.raises(
        ValueError, match=r"line 1 of .* must be a JSON object, got 'nons"
    ):
        training.read_log(tmp_path)
    with pytest.raises(ValueError, match="`folders` must not be empty"):
        training.runs([])
    assert compare.main([str(tmp_path / "none")]) == 2
    assert "no log in" in capsys.readouterr().err
