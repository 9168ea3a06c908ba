import json
import threading
import time

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcore import training
from jaxcore.training._prefetch import Feed
from jaxcore.training.parallel import Layout
from tests.jaxcore.training import _simple


def rows(count: int) -> dict[str, np.ndarray]:
    return {"i": np.arange(count), "x": np.arange(2.0 * count).reshape(count, 2)}


@given(st.integers(1, 40), st.data())
def test_an_epoch_has_every_row_once(count, data):
    size = data.draw(st.integers(1, count))
    last = data.draw(st.sampled_from(["drop", "pad"]))
    seed = data.draw(st.integers(0, 2**40))
    batches = training.ArrayBatches(rows(count), size, seed=seed, last=last)
    for epoch in range(2):
        steps = range(epoch * batches.num_batches, (epoch + 1) * batches.num_batches)
        read = [batches.read(step, slice(None)) for step in steps]
        indices = np.concatenate([batches.indices(step) for step in steps])
        found = np.concatenate([b["i"] for b in read])
        if last == "pad":
            mask = np.concatenate([b["mask"] for b in read])
            assert mask.sum() == count
            assert ((indices < 0) == (mask == 0)).all()
            found, indices = found[mask == 1], indices[indices >= 0]
        else:
            count = count // size * size
        assert len(set(found.tolist())) == len(found) == count
        assert (found == indices).all()


def test_order_depends_on_seed_and_epoch_alone():
    def order(seed, step):
        batches = training.ArrayBatches(rows(12), 4, seed=seed)
        return batches.read(step, slice(None))["i"].tolist()

    assert order(0, 7) == order(0, 7)
    assert order(0, 7) != order(1, 7)
    assert [order(0, s) for s in range(3)] != [order(0, s) for s in range(3, 6)]
    plain = training.ArrayBatches(rows(12), 4, shuffle=False)
    assert plain.read(4, slice(None))["i"].tolist() == [4, 5, 6, 7]


def test_processes_read_parts_of_one_batch():
    batches = training.ArrayBatches(rows(10), 4, seed=3, last="pad")
    for step in range(6):
        whole = batches.read(step, slice(None))
        halves = [batches.read(step, s) for s in (slice(0, 2), slice(2, 4))]
        joined = jax.tree.map(lambda *parts: np.concatenate(parts), *halves)
        assert jax.tree.all(jax.tree.map(np.array_equal, whole, joined))


def test_arrays_are_not_copied(tmp_path):
    file = np.memmap(tmp_path / "x", np.float32, "w+", shape=(8, 2))
    batches = training.ArrayBatches({"x": file}, 4)
    assert batches.arrays["x"] is file
    assert batches.read(0, slice(None))["x"].shape == (4, 2)


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        (
            rows(10),
            {},
            ValueError,
            "`last` must be 'drop' or 'pad', because batches of 4",
        ),
        (rows(8), {"last": "keep"}, ValueError, "'drop' or 'pad', got 'keep'"),
        (rows(3), {}, ValueError, "at most the 3 rows that there are, got 4"),
        ({"a": np.ones(4), "b": np.ones(5)}, {}, ValueError, r"equal .* \[4, 5\]"),
        ({"a": np.float32(1)}, {}, ValueError, r"equal first axes, got .*\['none'\]"),
        ({}, {}, ValueError, "got lengths of no array"),
        (np.ones(5), {"last": "pad"}, TypeError, "a dict without .* got a ndarray"),
        ({"mask": np.ones(5)}, {"last": "pad"}, TypeError, r"entries \['mask'\]"),
    ],
)
def test_refused_arrays(arrays, options, error, message):
    with pytest.raises(error, match=message):
        training.ArrayBatches(arrays, 4, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": "4"}, "`batch_size` must be an integer of at least 1, got '4'"),
        ({"batch_size": 4.0}, r"`batch_size` must be an integer .* got 4\.0"),
        ({"batch_size": True}, "`batch_size` must be an integer .* got True"),
        ({"batch_size": 0}, "`batch_size` must be an integer .* got 0"),
        ({"seed": -1}, "`seed` must be an integer of at least 0, got -1"),
        ({"seed": 1.5}, r"`seed` must be an integer of at least 0, got 1\.5"),
    ],
)
def test_refused_numbers(options, message):
    with pytest.raises(ValueError, match=f"ArrayBatches: {message}"):
        training.ArrayBatches(rows(8), **{"batch_size": 4, **options})


def nothing(step, rows):
    return None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"read": 3}, TypeError, "`read` must be a function of step and rows, got 3"),
        ({"every": 0}, ValueError, "`every` must be an integer of at least 1, got 0"),
        ({"every": 1.5}, ValueError, r"`every` must be an integer .* got 1\.5"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be an integer .* got 0"),
        ({"batch_size": -1}, ValueError, "`batch_size` must be an integer .* got -1"),
        ({"num_batches": 0}, ValueError, "`num_batches` must be an integer .* got 0"),
        ({"batch_size": None}, ValueError, "`axes` must be None where `batch_size` is"),
        ({"axes": 1}, ValueError, "`axes` must be 0 or None for every .* got 1"),
        (
            {"axes": {"x": 0, "y": "t"}},
            ValueError,
            r"`axes` must be 0 or None for every leaf of the batch, got \{'x': 0",
        ),
        (
            {"description": {"a": np.ones(2)}},
            TypeError,
            "`description` must be a mapping of JSON values, got",
        ),
        ({"description": 3}, TypeError, "`description` must be a mapping .* got 3"),
    ],
)
def test_refused_functions(options, error, message):
    given = {"read": nothing, "batch_size": 4, **options}
    with pytest.raises(error, match=f"FunctionBatches: {message}"):
        training.FunctionBatches(**given)


def test_numbers_of_numpy_and_jax_are_taken_as_python_s():
    batches = training.ArrayBatches(rows(8), np.int64(4), seed=jax.numpy.int32(1))
    assert json.dumps(batches.describe())
    plain = training.ArrayBatches(rows(8), 4, seed=1)
    assert batches.indices(1).tolist() == plain.indices(1).tolist()
    points = training.FunctionBatches(
        nothing, np.int32(4), every=np.int8(2), description={"sizes": (3, 4)}
    )
    # As it is read back from a checkpoint, so that resuming finds no difference.
    assert points.describe() == {"sizes": [3, 4], "batch_size": 4}
    assert json.dumps([points.describe(), points.every])


def collect(source, *, start=0, stop=20, length=6, parallel="none", **devices):
    layout = Layout(parallel, devices.get("devices"))
    feed = Feed(source, layout, length, start, stop)
    try:
        step, found = start, []
        while step < stop:
            buffer = next(feed)
            found.append(buffer)
            step = buffer.stop
        return found
    finally:
        feed.close()


def test_buffers_have_fixed_bounds_and_shapes():
    source = training.FunctionBatches(lambda s, rows: np.full(4, s)[rows], 4)
    whole = collect(source)
    assert [(b.first, b.stop) for b in whole] == [(0, 6), (6, 12), (12, 18), (18, 20)]
    assert all(b.batches.shape == (6, 4) for b in whole)
    assert whole[3].batches[:, 0].tolist() == [18, 19, 19, 19, 19, 19]
    late = collect(source, start=9)
    assert late[0].batches[:, 0].tolist() == [9, 9, 9, 9, 10, 11]
    assert late[1].batches.tolist() == whole[2].batches.tolist()


def test_only_steps_to_be_taken_are_read():
    read = []

    def note(step, rows):
        read.append(step)
        return np.zeros(4)[rows]

    collect(training.FunctionBatches(note, 4), start=9, stop=14)
    assert read == [9, 10, 11, 12, 13]


def test_a_batch_for_several_steps():
    source = training.FunctionBatches(lambda s, rows: np.full(4, s)[rows], 4, every=5)
    found = collect(source, start=7, stop=14)
    assert [(b.first, b.stop, int(b.batches[0])) for b in found] == [
        (5, 10, 5),
        (10, 14, 10),
    ]
    forever = training.FunctionBatches(
        lambda s, rows: np.zeros(3), None, axes=None, every=None
    )
    assert [(b.first, b.stop) for b in collect(forever)] == [(0, 20)]


@pytest.mark.parametrize("parallel", ["pmap", "sharded"])
def test_rows_are_split_over_devices(parallel):
    source = training.FunctionBatches(
        lambda s, rows: {"x": np.arange(8)[rows], "all": np.arange(3)},
        8,
        axes={"x": 0, "all": None},
    )
    batch = collect(source, stop=2, length=2, parallel=parallel)[0].batches
    shards = sorted(batch["x"].addressable_shards, key=lambda s: s.device.id)
    shown = [np.asarray(s.data).reshape(2, 2).tolist() for s in shards]
    assert shown == [[[2 * d, 2 * d + 1]] * 2 for d in range(4)]
    copies = [np.asarray(s.data) for s in batch["all"].addressable_shards]
    assert len(copies) == 4
    assert all(c[-1].tolist() == [0, 1, 2] for c in copies)


def test_reading_runs_ahead_but_not_far():
    read = []
    source = training.FunctionBatches(
        lambda s, rows: (read.append(s), np.zeros(2))[1][rows], 2
    )
    feed = Feed(source, Layout("none", None), 3, 0, 300)
    next(feed)
    deadline = time.monotonic() + 5
    while len(read) < 9 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert 9 <= len(read) <= 12  # two buffers wait, a third may be in hand
    feed.close()
    assert not any(t.name == "prefetch" and t.is_alive() for t in threading.enumerate())


def test_errors_of_reading_come_out_of_fit():
    def read(step, rows):
        if step == 3:
            raise OSError("no such shard")
        return {k: v[:8][rows] for k, v in _simple.points().items()}

    with pytest.raises(OSError, match="no such shard"):
        _simple.fit(5, batches=training.FunctionBatches(read, 8), chunk=1)


def test_wrong_number_of_rows_is_refused():
    source = training.FunctionBatches(lambda s, rows: _simple.points(5), 8)
    with pytest.raises(ValueError, match=r"arrays of 8 rows .* got shape \(5,\)"):
        _simple.fit(1, batches=source)


@pytest.mark.parametrize("every", [1, 2])
def test_batches_that_change_their_shape_are_named(every):
    def read(step, rows):
        batch = {k: v[:8][rows] for k, v in _simple.points().items()}
        return {**batch, "y": batch["y"][:5]} if step == 4 else batch

    source = training.FunctionBatches(read, 8, every=every)
    with pytest.raises(
        ValueError,
        match=r"read\(4, ...\) unlike read\(0, ...\): .* batch\['y'\]: "
        r"float32\[8\] became float32\[5\]",
    ):
        _simple.fit(6, batches=source)


def test_float64_batches_follow_the_caller(x64):
    source = training.FunctionBatches(lambda s, rows: np.ones(2)[rows], 2)
    assert collect(source, stop=1)[0].batches.dtype == np.float64
    with jax.enable_x64(False):
        assert collect(source, stop=1)[0].batches.dtype == np.float32
