import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcore import training
from jaxcore.training.gradients import Settings, settings
from tests.jaxcore.training import _simple


def loss(params, batch, key):
    squares = (batch["x"] @ params["w"] - batch["y"]) ** 2
    mask = batch.get("mask", jnp.ones(len(squares)))
    return training.masked_mean(squares, mask), {"size": jnp.sum(params["w"] ** 2)}


@pytest.fixture
def problem(rng):
    batch = {"x": rng.normal(size=(12, 3)), "y": rng.normal(size=12)}
    return {"w": np.arange(3.0)}, batch


def averaged(params, batch, **options):
    function = training.value_and_grad(loss, has_aux=True)
    with settings(Settings(**options)):
        return jax.jit(function)(params, batch, jax.random.key(0))


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 12])
def test_accumulation_equals_one_batch(x64, problem, parts):
    params, batch = problem
    (value, aux), slope = averaged(params, batch, accumulate=parts)
    gap = batch["x"] @ params["w"] - batch["y"]
    np.testing.assert_allclose(value, np.mean(gap**2), rtol=1e-12)
    np.testing.assert_allclose(slope["w"], 2 * gap @ batch["x"] / 12, rtol=1e-12)
    assert float(aux["size"]) == 5.0


def test_microbatches_count_by_valid_rows(x64, problem):
    params, batch = problem
    mask = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0], np.float32)
    (value, _), slope = averaged(params, {**batch, "mask": mask}, accumulate=4)
    gap = (batch["x"] @ params["w"] - batch["y"])[mask == 1]
    np.testing.assert_allclose(value, np.mean(gap**2), rtol=1e-7)
    expected = 2 * gap @ batch["x"][mask == 1] / 4
    np.testing.assert_allclose(slope["w"], expected, rtol=1e-7)


def test_microbatches_have_keys_of_their_own():
    def noise(params, batch, key):
        return jax.random.normal(key) * params, jax.random.normal(key)

    def run():
        function = training.value_and_grad(noise, has_aux=True)
        with settings(Settings(accumulate=2)):
            (_, mean), slope = function(1.0, jnp.zeros(2), jax.random.key(1))
        return float(mean), float(slope)

    draws = [
        float(jax.random.normal(jax.random.fold_in(jax.random.key(1), i)))
        for i in range(2)
    ]
    assert draws[0] != draws[1]
    np.testing.assert_allclose(run(), [sum(draws) / 2] * 2, rtol=1e-6)


def test_bfloat16_computes_in_it_and_keeps_float32():
    seen = {}

    def note(params, batch, key):
        seen.update(w=params.dtype, x=batch["x"].dtype, mask=batch["mask"].dtype)
        return jnp.mean(params * batch["x"]), {"mean": jnp.mean(batch["x"])}

    batch = {"x": jnp.full(4, 1.001), "mask": jnp.ones(4), "i": jnp.arange(4)}
    with settings(Settings(precision="bfloat16")):
        (value, aux), slope = training.value_and_grad(note, has_aux=True)(
            jnp.float32(3.0), batch, jax.random.key(0)
        )
    assert seen == {"w": jnp.bfloat16, "x": jnp.bfloat16, "mask": jnp.float32}
    assert {value.dtype, aux["mean"].dtype, slope.dtype} == {jnp.dtype("float32")}
    assert float(slope) == 1.0  # 1.001 is 1 in bfloat16


def test_fit_in_bfloat16_comes_close():
    found = {
        precision: _simple.fit(60, precision=precision).state["params"]
        for precision in ("float32", "bfloat16")
    }
    start = _simple.fit(0).state["params"]
    gap = abs(float(found["bfloat16"]["a"] - found["float32"]["a"]))
    assert 0 < gap < 0.05 * abs(float(found["float32"]["a"] - start["a"]))
    assert found["bfloat16"]["a"].dtype == jnp.float32


def test_outside_of_fit_it_is_value_and_grad(problem):
    params, batch = jax.tree.map(jnp.asarray, problem)
    key = jax.random.key(0)
    found = training.value_and_grad(loss, has_aux=True)(params, batch, key)
    expected = jax.value_and_grad(loss, has_aux=True)(params, batch, key)
    assert jax.tree.all(jax.tree.map(np.array_equal, found, expected))


def test_integer_aux_is_refused():
    function = training.value_and_grad(
        lambda p, b, k: (p, {"n": jnp.int32(1)}), has_aux=True
    )
    with pytest.raises(TypeError, match=r"floating arrays.* got int32 at \['n'\]"):
        function(1.0, None, None)


@pytest.mark.parametrize(
    ("batch", "message"),
    [(None, "must have a batch to split, got None"), (jnp.zeros(5), r"shape \(5,\)")],
)
def test_accumulate_needs_rows(batch, message):
    function = training.value_and_grad(lambda p, b, k: p)
    with settings(Settings(accumulate=2)), pytest.raises(ValueError, match=message):
        function(1.0, batch, jax.random.key(0))


@pytest.mark.parametrize("options", [{"accumulate": 2}, {"precision": "bfloat16"}])
def test_options_that_the_task_ignores_are_refused(options):
    def step(state, batch, key):
        return state, {"loss": jnp.mean(batch["x"])}

    task = training.Task(lambda key: jnp.zeros(()), step)
    (name,) = options
    with pytest.raises(ValueError, match=f"`{name}` must be left alone.* no gradient"):
        _simple.fit(1, task=task, **options)
    assert _simple.fit(1, task=task).step == 1


def test_a_jitted_step_follows_the_settings_of_each_run():
    task = training.Task(_simple.init, jax.jit(_simple.step))
    found = [
        float(_simple.fit(3, task=task, accumulate=n).state["params"]["a"])
        for n in (1, 2, 1, 2)
    ]
    assert found[0] == found[2] != found[1] == found[3]
