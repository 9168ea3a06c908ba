import gc
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcore import training
from jaxcore.training import Ema
from tests.jaxcore.training import _simple


def by_hand(steps: int, batches=None):
    """The loop written out, from what the documentation says."""
    batches = batches or _simple.batches()
    key = jax.random.key(2)
    state = _simple.init(jax.random.fold_in(key, 0))
    step = jax.jit(_simple.step)
    losses = []
    for i in range(steps):
        batch = jax.tree.map(jnp.asarray, batches.read(i, slice(None)))
        state, metrics = step(
            state, batch, jax.random.fold_in(jax.random.fold_in(key, 1), i)
        )
        losses.append(float(metrics["loss"]))
    return state, losses


def test_equal_to_a_loop_by_hand():
    seen = []
    result = _simple.fit(30, callbacks=[lambda p: seen.append(p)])
    state, losses = by_hand(30)
    np.testing.assert_allclose(
        np.concatenate([p.metrics["loss"] for p in seen]), losses, rtol=1e-4
    )
    np.testing.assert_allclose(
        result.state["params"]["a"], state["params"]["a"], rtol=1e-5
    )
    assert [p.first for p in seen[1:]] == [p.step for p in seen[:-1]]
    assert seen[-1].step == result.step == 30
    assert result.result == "finished"


@pytest.mark.parametrize("parallel", ["none", "pmap", "sharded"])
def test_the_steps_of_a_call_do_not_change_a_bit(parallel):
    found = [
        _simple.fit(30, chunk=chunk, ema=0.9, parallel=parallel)
        for chunk in (None, 1, 7, 64)
    ]
    assert len({_simple.digest(r.state, r.ema) for r in found}) == 1


def test_chunks_longer_than_the_scan():
    ends = []
    _simple.fit(
        300,
        chunk=150,
        callbacks=[lambda p: ends.append(p.step)],
        log=training.Log(every=1000),
    )
    assert ends == [150, 300]


def test_calls_end_where_something_is_due():
    ends = []
    _simple.fit(
        30,
        callbacks=[lambda p: ends.append(p.step)],
        chunk=8,
        log=training.Log(every=12),
        evaluate_every=10,
        evaluate_on=_simple.batches(),
    )
    assert ends == [8, 10, 12, 20, 24, 30]


def counting():
    traces = []

    def step(state, batch, key):
        traces.append(1)
        return _simple.step(state, batch, key)

    return _simple.TASK._replace(step=step), traces


@pytest.mark.parametrize("parallel", ["none", "pmap", "sharded"])
def test_nothing_is_traced_after_the_second_step(parallel, tmp_path):
    task, traces = counting()
    at = {}
    _simple.fit(
        57,
        task=task,
        parallel=parallel,
        callbacks=[lambda p: at.setdefault(min(p.step, 3), len(traces))],
        log=training.Log(every=10),
        checkpoint=training.Checkpoint(tmp_path, every=25),
        ema=0.9,
        evaluate_every=20,
        evaluate_on=_simple.batches(),
    )
    assert len(traces) == at[min(at)] <= 4


def test_nothing_is_compiled_after_the_second_step(tmp_path):
    compiled, steps = [], []

    def listen(event, seconds, **more):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(len(steps))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        _simple.fit(
            43,
            callbacks=[lambda p: steps.append(p.step)],
            log=training.Log(tmp_path, every=5),
            chunk=2,
        )
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(steps) > 20
    assert compiled
    assert max(compiled) <= 1


@pytest.mark.optimized
def test_overhead_is_small_for_steps_of_five_milliseconds():
    # Such steps run about 50 to a call: what a call costs besides is 3 % of them at
    # most. The step itself is next to nothing here.
    task = training.Task(lambda key: jnp.zeros(()), lambda s, b, k: (s + 1, {"s": s}))
    source = training.FunctionBatches(lambda s, rows: np.zeros(8, np.float32)[rows], 8)
    times = []
    _simple.fit(
        2000,
        task=task,
        batches=source,
        chunk=50,
        callbacks=[lambda p: times.append(time.perf_counter())],
    )
    per_step = np.median(np.diff(times[2:])) / 50
    assert per_step < 0.03 * 5e-3


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def test_memory_does_not_grow():
    at = {}

    def note(progress):
        if progress.step in (200, 2200):
            gc.collect()
            at[progress.step] = resident(), len(jax.live_arrays())

    _simple.fit(2200, callbacks=[note], log=training.Log(every=10), chunk=10)
    assert at[2200][0] - at[200][0] < 20
    assert at[2200][1] - at[200][1] < 50  # buffers that wait, of three arrays each


def test_steps_without_batches():
    def step(state, batch, key):
        assert batch is None
        return state + jax.random.normal(key), {"state": state}

    task = training.Task(lambda key: jnp.zeros(()), step)
    result = _simple.fit(5, task=task, batches=None)
    base = jax.random.fold_in(jax.random.key(2), 1)
    draws = [float(jax.random.normal(jax.random.fold_in(base, i))) for i in range(5)]
    np.testing.assert_allclose(result.state, sum(draws), rtol=1e-5)
    for parallel in ("pmap", "sharded"):
        other = _simple.fit(2, task=task, batches=None, devices=1, parallel=parallel)
        np.testing.assert_allclose(other.state, sum(draws[:2]), rtol=1e-5)


def test_one_batch_for_several_steps():
    def step(state, batch, key):
        return state + batch["x"][0], {"x": batch["x"][0]}

    task = training.Task(lambda key: jnp.zeros(()), step)
    source = training.FunctionBatches(
        lambda s, rows: {"x": np.full(4, s, np.float32)[rows]}, 4, every=3
    )
    log = training.Log(every=1)
    for chunk in (None, 2):
        result = _simple.fit(8, task=task, batches=source, log=log, chunk=chunk)
        assert [row["x"] for row in result.history] == [0, 0, 0, 3, 3, 3, 6, 6]


def test_ema_of_the_parameters():
    states = []
    result = _simple.fit(
        6, ema=0.8, chunk=1, callbacks=[lambda p: states.append(p.state["params"]["a"])]
    )
    expected = float(_simple.fit(0).state["params"]["a"])
    for a in states:
        expected = 0.8 * expected + 0.2 * float(a)
    assert float(result.ema["a"]) == pytest.approx(expected, rel=1e-6)
    assert set(result.ema) == {"a", "b"}


def test_ema_of_something_else():
    result = _simple.fit(3, ema=Ema(0.5, of="optimizer"))
    assert int(result.ema[0].count) == 3  # integers are taken over
    assert result.ema[0].mu["a"] != result.state["optimizer"][0].mu["a"]


@pytest.mark.parametrize(
    ("ema", "message"),
    [
        (1.0, r"`decay` must be in \[0, 1\), got 1.0"),
        (Ema(0.9, of="weights"), r"`ema` averages state.weights or state\['weights'\]"),
    ],
)
def test_refused_ema(ema, message):
    with pytest.raises(ValueError, match=message):
        _simple.fit(1, ema=ema)


def test_evaluation_counts_rows_and_the_average(tmp_path):
    def evaluate(state, batch):
        value = training.masked_mean(batch["y"], batch["mask"])
        return {"y": value, "a": state["params"]["a"]}

    task = _simple.TASK._replace(evaluate=evaluate)
    source = training.ArrayBatches(_simple.points(10), 4, last="pad")
    for parallel in ("none", "pmap", "sharded"):
        result = _simple.fit(
            5,
            task=task,
            ema=0.5,
            parallel=parallel,
            evaluate_every=2,
            evaluate_on=source,
        )
        found = result.metrics
        mean = float(_simple.points(10)["y"].mean())
        assert found["evaluate/y"] == pytest.approx(mean, rel=1e-6)
        assert found["evaluate/a"] == pytest.approx(float(result.state["params"]["a"]))
        assert found["evaluate/ema_a"] == pytest.approx(float(result.ema["a"]))
        steps = [row["step"] for row in result.history if "evaluate/y" in row]
        assert steps == [2, 4, 5]


@pytest.mark.parametrize("said", [True, "good enough"])
def test_a_callback_ends_the_run(said, tmp_path):
    result = _simple.fit(
        30,
        chunk=4,
        callbacks=[lambda p: said if p.step == 8 else None],
        checkpoint=tmp_path,
    )
    assert (result.step, result.result) == (8, "stopped" if said is True else said)
    assert (tmp_path / "8").is_dir()
    assert _simple.fit(9, checkpoint=tmp_path).resumed == 8


def test_start_from_a_given_state():
    state = _simple.fit(3).state
    state["params"]["a"] = jnp.float32(10.0)
    result = _simple.fit(0, state=state)
    assert float(result.state["params"]["a"]) == 10.0
    assert _simple.fit(2, state=state).state["params"]["a"] > 9.0


def test_go_on_from_a_state_and_its_step(tmp_path):
    whole = _simple.fit(20)
    half = _simple.fit(8).state
    result = _simple.fit(20, state=half, start=8, checkpoint=tmp_path)
    assert result.resumed == 8
    assert _simple.digest(result.state) == _simple.digest(whole.state)
    for options in ({"start": 2}, {"start": 30, "state": half}):
        with pytest.raises(
            ValueError, match="`start` must come with `state` and be at"
        ):
            _simple.fit(20, **options)


def test_float64(x64):
    task = training.Task(
        lambda key: jnp.zeros(()),
        lambda s, b, k: (s + jnp.mean(b["x"]), {"s": s}),
    )
    source = training.ArrayBatches({"x": np.full(8, 1 + 1e-12)}, 8)
    state = _simple.fit(1, task=task, batches=source).state
    assert state.dtype == jnp.float64
    assert float(state) == pytest.approx(1 + 1e-12, rel=1e-15)


def test_gan_like_states_of_any_structure():
    players = {"generator": optax.adam(1e-2), "critic": optax.sgd(1e-2)}

    def init(key):
        return tuple((jnp.ones(2), o.init(jnp.ones(2)), None) for o in players.values())

    def step(state, batch, key):
        new = []
        for (w, inner, nothing), optimizer in zip(state, players.values(), strict=True):
            loss = lambda w, b, key: jnp.sum(w**2) * jnp.mean(b["y"] ** 2)  # noqa: E731
            _, slope = training.value_and_grad(loss)(w, batch, key)
            updates, inner = optimizer.update(slope, inner)
            new.append((optax.apply_updates(w, updates), inner, nothing))
        return tuple(new), {}

    task = training.Task(init, step)
    one = _simple.fit(4, task=task)
    many = _simple.fit(4, task=task, parallel="pmap")
    np.testing.assert_allclose(one.state[1][0], many.state[1][0], rtol=1e-6)
    assert one.state[0][0][0] < 1
    assert one.state[0][2] is None


def test_refused_averages():
    with pytest.raises(TypeError, match=r"Ema: `decay` must be a number .* got 'x'"):
        Ema("x")
    with pytest.raises(TypeError, match=r"Ema: `of` must be the name of .* got 3"):
        Ema(0.9, of=3)
    assert repr(Ema(np.float64(0.5))) == "Ema(decay=0.5, of='params')"


def test_descriptions_that_json_has_not_are_refused(tmp_path):
    batches = _simple.batches()
    batches.describe = lambda: {"file": np.ones(2)}
    with pytest.raises(TypeError, match=r"`batches\.describe` must return JSON"):
        _simple.fit(1, batches=batches, checkpoint=tmp_path)


def changed(**parts):
    def step(state, batch, key):
        return {**state, **parts}, {"loss": jnp.zeros(())}

    return training.Task(lambda key: {"v": jnp.zeros(2), "w": jnp.zeros(3)}, step)


def returning(found):
    return training.Task(lambda key: jnp.zeros(()), lambda s, b, k: found(s))


def measuring(metrics):
    return returning(lambda state: (state, metrics))


def test_metrics_of_other_kinds():
    metrics = {"skipped": 1, "list": [1.0, 2.0], "flag": True, "numpy": np.float64(3)}
    found = _simple.fit(2, task=measuring(metrics)).metrics
    assert found == {"skipped": 1.0, "list": [1.0, 2.0], "flag": 1.0, "numpy": 3.0}


def test_skipped_is_a_metric_like_others_where_nothing_is_skipped():
    def step(state, batch, key):
        return state + 1, {"skipped": state % 2, "count": state}

    task = training.Task(lambda key: jnp.zeros(()), step)
    assert _simple.fit(4, task=task).metrics == {"skipped": 0.5, "count": 1.5}


KEY = jax.random.key(0)
EVALUATED = {"evaluate_every": 2, "evaluate_on": _simple.batches()}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task": _simple.step}, TypeError, "`task` must be a .*Task, got a function"),
        ({"batches": [1]}, TypeError, "`batches` must be ArrayBatches.* got a list"),
        ({"evaluate_on": 3}, TypeError, "`evaluate_on` must be .* got a int"),
        (
            {"task": training.Task(None, _simple.step)},
            TypeError,
            r"`task\.init` must be a function, got None",
        ),
        (
            {"task": training.Task(_simple.init, None)},
            TypeError,
            r"`task\.step` must be a function, got None",
        ),
        (
            {"task": _simple.TASK._replace(evaluate=3)},
            TypeError,
            r"`task\.evaluate` must be a function, got 3",
        ),
        ({"callbacks": print}, TypeError, "`callbacks` must be a list of functions"),
        ({"callbacks": None}, TypeError, "`callbacks` must be a list .* got None"),
        ({"callbacks": [3]}, TypeError, r"`callbacks` must be a list .* got \[3\]"),
        ({"ema": "x"}, TypeError, r"`ema` must be a number in \[0, 1\) .* got 'x'"),
        ({"ema": True}, TypeError, r"`ema` must be a number .* got True"),
        ({"key": 3}, TypeError, "`key` must be a typed random key .* got 3"),
        ({"key": jax.random.split(KEY)}, TypeError, "`key` must be a typed random key"),
        ({"steps": -1}, ValueError, "`steps` must be an integer of at least 0, got -1"),
        ({"steps": True}, ValueError, "`steps` must be an integer .* got True"),
        ({"accumulate": 0}, ValueError, "`accumulate` must be .* at least 1, got 0"),
        ({"start": -1}, ValueError, "`start` must be .* at least 0, got -1"),
        ({"chunk": 0}, ValueError, "`chunk` must be .* at least 1, got 0"),
        ({"evaluate_every": 0}, ValueError, "`evaluate_every` must be .* got 0"),
        ({"precision": "half"}, ValueError, "`precision` must be .* got 'half'"),
        ({"nonfinite": "go"}, ValueError, "`nonfinite` must be .* got 'go'"),
        ({"on_error": "go"}, ValueError, "`on_error` must be .* got 'go'"),
        ({"checkpoint": 3}, TypeError, "`checkpoint` must be a folder .* got 3"),
        ({"log": 3}, TypeError, "`log` must be a folder or a Log, got 3"),
        (
            {"evaluate_on": _simple.batches()},
            ValueError,
            "`evaluate_every` must be given with `evaluate_on`",
        ),
        ({"evaluate_every": 2}, ValueError, "`evaluate_on` must say which batches"),
        (
            {"evaluate_every": 2, "task": _simple.TASK._replace(evaluate=None)},
            ValueError,
            "must be None for a task without `evaluate`, got 2",
        ),
        (
            {
                "evaluate_every": 2,
                "evaluate_on": training.FunctionBatches(lambda s, r: None, 8),
            },
            ValueError,
            "`evaluate_on` must have an end",
        ),
        (
            {"task": changed(w=jnp.zeros(4))},
            TypeError,
            r"differs is \['w'\]: float32\[3\] became float32\[4\]",
        ),
        (
            {"task": changed(w=jnp.zeros(3, jnp.int32))},
            TypeError,
            r"differs is \['w'\]: float32\[3\] became int32\[3\]",
        ),
        ({"task": changed(x=0.0)}, TypeError, r"differs is \['x'\]: .* is new"),
        ({"task": changed(w=None)}, TypeError, r"\['w'\]: float32\[3\] is missing"),
        (
            {"task": returning(lambda s: (s, 3))},
            TypeError,
            r"`task\.step` must return a dict of metrics beside the state, got a int",
        ),
        (
            {"task": returning(lambda s: s), "parallel": "pmap"},
            TypeError,
            r"`task\.step` must return \(state, metrics\), got a ",
        ),
        (
            {"task": returning(lambda s: (s, {}, 1))},
            TypeError,
            r"must return \(state, metrics\), got a tuple of 3",
        ),
        (
            {"task": measuring({"a": {"b": 1.0}})},
            TypeError,
            "must return metrics that are arrays .* got a dict for 'a'",
        ),
        (
            {"task": measuring({"a": "high"}), "parallel": "pmap"},
            TypeError,
            "must return metrics that are arrays .* got a str for 'a'",
        ),
        ({"task": measuring({"a": None})}, TypeError, "got None for 'a'"),
        ({"task": measuring({"a": [1.0, "b"]})}, TypeError, "got a list of 2 for 'a'"),
        (
            {"task": measuring({"a": 1j})},
            TypeError,
            "arrays of real numbers, got an array of complex64 for 'a'",
        ),
        ({"task": measuring({1: 0.0})}, TypeError, "name its metrics by text, got 1"),
        *(
            (
                {"task": measuring({name: 0.0})},
                ValueError,
                f"like the log's own step, event, .* got '{name}'",
            )
            for name in ("step", "event", "time", "steps_per_second")
        ),
        (
            {"task": measuring({"skipped": 0.0}), "nonfinite": "skip"},
            ValueError,
            "like the log's own .* got 'skipped'",
        ),
        (
            {**EVALUATED, "task": _simple.TASK._replace(evaluate=lambda s, b: s)},
            TypeError,
            r"`task\.evaluate` must return metrics that are arrays of real numbers",
        ),
        (
            {**EVALUATED, "task": _simple.TASK._replace(evaluate=lambda s, b: 3.0)},
            TypeError,
            r"`task\.evaluate` must return a dict of metrics, got a float",
        ),
        ({"accumulate": 2, "batches": None}, ValueError, "no rows to split, got 2"),
    ],
)
def test_refused(options, error, message):
    with pytest.raises(error, match=message):
        _simple.fit(**{"steps": 3, **options})
