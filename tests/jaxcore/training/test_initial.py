"""The state that training starts from."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcore import training


def test_initial_state_is_what_training_starts_from():
    """Of the same key, and on CPUs compiled without optimization."""
    key, seen = jax.random.key(2), []

    def keep(state, batch, step_key):
        return state, {"first": state["draw"][0]}

    task = training.Task(lambda k: {"draw": jax.random.normal(k, (4,)), "k": k}, keep)
    training.fit(task, None, 1, key=key, callbacks=[lambda p: seen.append(p) or False])
    first = training.initial_state(task, jax.random.fold_in(key, 0))
    np.testing.assert_array_equal(first["draw"], seen[0].state["draw"])
    expected = jax.random.normal(jax.random.fold_in(key, 0), (4,))
    np.testing.assert_allclose(first["draw"], expected, rtol=1e-6)
    assert jnp.issubdtype(first["k"].dtype, jax.dtypes.prng_key)
