from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from jaxcore import sampling


SAMPLERS = {"uniform": sampling.uniform, "stratified": sampling.stratified}
each_sampler = pytest.mark.parametrize("name", SAMPLERS)


@each_sampler
def test_distribution(name):
    """Kolmogorov-Smirnov against the uniform law, from a fixed key."""
    points = np.asarray(SAMPLERS[name](jax.random.key(1), 2000, -2.0, 3.0))
    assert scipy.stats.kstest(points, "uniform", args=(-2, 5)).pvalue > 0.01


@given(seed=st.integers(0, 2**32 - 1), a=st.floats(-50, 50), length=st.floats(0.1, 50))
def test_one_point_in_each_cell(seed, a, length):
    n, b = 16, a + length
    with jax.enable_x64(True):
        points = sampling.stratified(jax.random.key(seed), n, a, b, dtype=jnp.float64)
        points = np.asarray(points)
    edges = np.linspace(a, b, n + 1)
    slack = 1e-13 * (abs(a) + length)
    assert np.all(edges[:-1] - slack <= points)
    assert np.all(points <= edges[1:] + slack)
    assert np.all(np.diff(points) >= 0)


def test_points_fill_their_cells(key):
    """Positions inside the cells are uniform too."""
    points = np.asarray(sampling.stratified(key, 1000, 0.0, 1000.0)).astype(float)
    assert scipy.stats.kstest(points % 1, "uniform").pvalue > 0.01


def test_stratified_mean_varies_less(key):
    def mean(sampler, key):
        return jnp.mean(jnp.exp(sampler(key, 32, 0.0, 1.0)))

    keys = jax.random.split(key, 200)
    spread = {
        name: float(jnp.std(jax.vmap(partial(mean, sampler))(keys)))
        for name, sampler in SAMPLERS.items()
    }
    assert spread["stratified"] < 0.1 * spread["uniform"]


@each_sampler
def test_reproducible_and_different_for_other_keys(name):
    first, again, other = (
        SAMPLERS[name](jax.random.key(seed), 8, 0.0, 1.0) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == other)


@each_sampler
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.float16])
def test_dtype_and_ends(name, dtype, key, x64):
    points = SAMPLERS[name](key, 500, 1.0, 1.0009765625, dtype=dtype)
    assert points.dtype == dtype
    assert points.shape == (500,)
    assert jnp.all((points >= 1.0) & (points <= 1.0009765625))
    assert SAMPLERS[name](key, 3, 0, 1).dtype == jnp.float32


class Variants(chex.TestCase):
    """Equal with and without jit, with traced ends, and on every device."""

    @chex.all_variants(without_device=False)
    def test_equal(self):
        key = jax.random.key(7)
        for sampler in SAMPLERS.values():
            traced = self.variant(partial(_at, sampler))
            got = traced(key, jnp.float32(-1), jnp.float32(2))
            np.testing.assert_allclose(got, sampler(key, 9, -1.0, 2.0), rtol=1e-6)


def _at(sampler, key, a, b):
    return sampler(key, 9, a, b)


@each_sampler
def test_vmap_over_keys(name, key):
    keys = jax.random.split(key, 3)
    batch = jax.vmap(lambda k: SAMPLERS[name](k, 5, 0.0, 1.0))(keys)
    expected = [SAMPLERS[name](k, 5, 0.0, 1.0) for k in keys]
    np.testing.assert_allclose(batch, expected, rtol=1e-6)


@each_sampler
def test_key_must_be_typed(name):
    message = rf"jaxcore\.sampling\.{name}: `key` must be a typed key, jax\.random\.key"
    for key in (0, jnp.zeros(2, jnp.uint32), jax.random.split(jax.random.key(0))):
        with pytest.raises(TypeError, match=message):
            SAMPLERS[name](key, 3, 0.0, 1.0)


@each_sampler
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0.0, 1.0), "`n` must be a positive integer, got 0"),
        ((2.0, 0.0, 1.0), r"`n` must be a positive integer, got 2\.0"),
        ((3, 1.0, 1.0), r"`a` and `b` must be finite with a < b, got a=1\.0, b=1\.0"),
        ((3, 0.0, np.inf), "`a` and `b` must be finite with a < b, got a=0.0, b=inf"),
    ],
)
def test_arguments_are_checked(name, arguments, message, key):
    with pytest.raises(ValueError, match=rf"jaxcore\.sampling\.{name}: " + message):
        SAMPLERS[name](key, *arguments)


@each_sampler
def test_dtype_is_checked(name, key):
    where = rf"jaxcore\.sampling\.{name}: "
    with pytest.raises(ValueError, match=where + "`dtype` must be floating, got"):
        SAMPLERS[name](key, 3, 0.0, 1.0, dtype=jnp.int32)
    with pytest.raises(ValueError, match=where + "`dtype` float64 is not enabled"):
        SAMPLERS[name](key, 3, 0.0, 1.0, dtype=jnp.float64)
