"""Steps that convolve: on CPU each is a call of its own, with the same results."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxcore import training
from jaxcore.training import Task, _setup, _steps
from tests.jaxcore.training import _simple


def loss(kernel, batch, key):
    return jnp.mean(lax.conv(batch["x"], kernel, (1, 1), "SAME") ** 2)


def task(bad):
    """One kernel, trained to make images small; the loss of step `bad` is NaN."""

    def step(state, batch, key):
        kernel, count = state["kernel"], state["count"] + 1
        value, slope = training.value_and_grad(loss)(kernel, batch, key)
        after = {"kernel": kernel - 0.1 * slope, "count": count}
        return after, {"loss": jnp.where(count == bad, jnp.nan, value)}

    def init(key):
        kernel = jax.random.normal(key, (2, 2, 3, 3))
        return {"kernel": kernel, "count": jnp.zeros((), jnp.int32)}

    return Task(init, step)


def fit(bad=0, **options):
    x = np.random.default_rng(0).normal(size=(12, 2, 5, 5)).astype(np.float32)
    batches = training.ArrayBatches({"x": x}, 4, last="drop")
    options = {"key": jax.random.key(0), **options}
    return training.fit(task(bad), batches, 7, **options)


def test_steps_that_convolve_are_calls_of_their_own(monkeypatch):
    """What comes out does not depend on their number, and is that of the loop."""
    results, losses, ends = [], [], []
    for chunk in (1, 3):
        seen: list = []
        results.append(fit(chunk=chunk, callbacks=[seen.append]))
        ends.append([p.step for p in seen])
        losses.append(np.concatenate([p.metrics["loss"] for p in seen]).tolist())
    one, other = results
    assert ends == [[1, 2, 3, 4, 5, 6, 7], [3, 6, 7]]
    np.testing.assert_array_equal(other.state["kernel"], one.state["kernel"])
    assert losses[0] == losses[1]
    looked = []

    def never(plan, batch, key):
        looked.append(_steps.convolves(plan, batch, key))
        return False

    monkeypatch.setattr(_setup, "convolves", never)
    looped = fit()
    np.testing.assert_allclose(
        looped.state["kernel"], one.state["kernel"], rtol=1e-4, atol=1e-6
    )
    _simple.fit(2)
    assert looked == [True, False]


def test_a_step_that_convolves_and_is_not_finite():
    with pytest.raises(training.NonFiniteError, match="metric 'loss' = nan") as error:
        fit(bad=3, chunk=4)
    assert error.value.step == 3
    assert error.value.metrics["loss"].shape == (3,)
    assert int(error.value.state["count"]) == 2
