import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcore import training
from tests.jaxcore.training import _simple


def breaking(at: int, where: str):
    """Returns a task whose step number `at` (the first is 1) gives NaN somewhere."""

    def init(key):
        return {"params": {"v": jnp.ones(2), "w": jnp.ones(3)}, "count": jnp.int32(0),
                "best": jnp.float32(jnp.inf)}  # fmt: skip

    def step(state, batch, key):
        count = state["count"] + 1
        bad = jnp.where(count == at, jnp.nan, 0.0)
        w = 0.9 * state["params"]["w"]
        if where == "gradient":
            w = w.at[1].add(bad)
        loss = jnp.sum(state["params"]["v"]) + (bad if where == "loss" else 0.0)
        params = {"v": state["params"]["v"] * 0.99, "w": w}
        return {**state, "params": params, "count": count}, {"loss": loss}

    return training.Task(init, step)


@pytest.mark.parametrize("parallel", ["none", "pmap", "sharded"])
@pytest.mark.parametrize(
    ("where", "leaf"), [("loss", "loss"), ("gradient", "state['params']['w']")]
)
@pytest.mark.parametrize("at", [1, 7, 13])
def test_step_leaf_and_rows_are_named(where, leaf, at, parallel, tmp_path):
    options = {
        "task": breaking(at, where),
        "checkpoint": training.Checkpoint(tmp_path, every=5),
        "ema": 0.9,
        "parallel": parallel,
    }
    with pytest.raises(training.NonFiniteError) as caught:
        _simple.fit(30, chunk=5, **options)
    error = caught.value
    assert (error.step, error.leaf) == (at, leaf)
    assert f"step {at} gave a non-finite value" in str(error)
    assert leaf in str(error)
    rows = _simple.batches().indices(at - 1)
    assert error.indices.tolist() == rows.tolist()
    assert ", ".join(map(str, rows)) in str(error)
    assert int(error.state["count"]) == at - 1
    np.testing.assert_allclose(error.state["params"]["w"], 0.9 ** (at - 1), rtol=1e-5)
    assert np.isfinite(error.ema["w"]).all()
    kept = sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit())
    assert kept == [s for s in (5, 10) if s < at]
    assert training.read_log(tmp_path)[-1]["event"] == "nonfinite"
    if at > 5:
        assert f"last good checkpoint is that of step {kept[-1]}" in str(error)


def test_inf_at_the_start_is_no_divergence():
    state = _simple.fit(3, task=breaking(99, "loss")).state
    assert float(state["best"]) == np.inf


@pytest.mark.parametrize("parallel", ["none", "pmap"])
def test_skip_undoes_the_step_and_goes_on(parallel):
    options = {"parallel": parallel, "nonfinite": "skip", "log": training.Log(every=1)}
    task = breaking(7, "gradient")
    # The state that is undone counts no step, so that the same one breaks again...
    with pytest.warns(RuntimeWarning, match="undid every step .* 4 of the 10 steps"):
        result = _simple.fit(10, task=task, ema=0.9, **options)
    skipped = [row["skipped"] for row in result.history]
    assert skipped == [0.0] * 6 + [1.0] * 4
    assert int(result.state["count"]) == 6
    np.testing.assert_allclose(result.state["params"]["w"], 0.9**6, rtol=1e-5)
    assert np.isfinite(result.ema["w"]).all()


def test_skip_drops_one_bad_batch():
    # ... while a batch that breaks is followed by others.
    def read(step, rows):
        batch = _simple.batches().read(step, rows)
        return {**batch, "y": batch["y"] * (np.nan if step == 4 else 1)}

    source = training.FunctionBatches(read, 8)
    log = training.Log(every=10)
    result = _simple.fit(30, batches=source, nonfinite="skip", log=log)
    assert [row["skipped"] for row in result.history] == [0.1, 0.0, 0.0]
    assert np.isfinite([row["loss"] for row in result.history]).all()
    clean = _simple.fit(30)
    gap = float(result.state["params"]["a"] - clean.state["params"]["a"])
    assert abs(gap) < 0.1
    with pytest.raises(training.NonFiniteError, match="step 5 gave") as caught:
        _simple.fit(30, batches=source)
    assert caught.value.indices is None


def test_only_one_device_broken():
    def step(state, batch, key):
        bad = jnp.where(batch["x"] == 1.0, jnp.nan, 0.0)
        return state, {"loss": jnp.sum(bad)}

    task = training.Task(lambda key: jnp.zeros(()), step)
    for parallel in ("pmap", "sharded"):
        with pytest.raises(training.NonFiniteError, match="metric 'loss' = nan"):
            _simple.fit(3, task=task, parallel=parallel)


def test_integer_metrics_and_state_are_no_trouble():
    def step(state, batch, key):
        return state + 1, {"count": state, "even": state % 2 == 0}

    task = training.Task(lambda key: jnp.int32(0), step)
    for parallel in ("none", "pmap"):
        found = _simple.fit(
            4, task=task, parallel=parallel, log=training.Log(every=4)
        ).metrics
        assert found == {"count": 1.5, "even": 0.5}


def test_random_keys_in_the_state_are_no_trouble(key):
    assert jax.dtypes.issubdtype(_simple.fit(2).state["key"].dtype, jax.dtypes.prng_key)
