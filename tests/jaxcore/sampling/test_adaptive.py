"""RAD and R3 by the properties that define them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcore import sampling


KEY = jax.random.key(0)


@pytest.mark.parametrize(("k", "c"), [(1.0, 1.0), (2.0, 0.0), (0.5, 3.0), (0, 1)])
def test_density_equals_its_formula(k, c, rng, x64):
    residual = rng.normal(size=50)
    powers = np.abs(residual) ** k
    density = powers / powers.mean() + c
    found = sampling.rad_probabilities(jnp.array(residual), k=k, c=c)
    np.testing.assert_allclose(found, density / density.sum(), rtol=1e-12)


def test_density_bears_extremes():
    for residual in ([0.0, 0.0], [1e-30, 2e-30], [1e30, 2e30]):
        p = sampling.rad_probabilities(jnp.array(residual), k=2.0, c=0.0)
        np.testing.assert_allclose(jnp.sum(p), 1.0, rtol=1e-6)


def test_rad_draws_different_candidates_by_their_probabilities():
    candidates = jnp.arange(8.0)[:, None]
    residual = jnp.array([1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 2.0])
    draw = jax.jit(
        jax.vmap(lambda key: sampling.rad(key, candidates, residual, 1, c=0.0))
    )
    one = np.asarray(draw(jax.random.split(KEY, 4000))).astype(int).reshape(-1)
    shares = np.bincount(one, minlength=8) / 4000
    # Four standard deviations of a share of 1/3 are 0.03.
    np.testing.assert_allclose(shares, np.asarray(residual) / 12, atol=0.03)
    five = np.asarray(sampling.rad(KEY, candidates, residual, 5, c=0.0))[:, 0]
    assert sorted(five) == [0.0, 1.0, 2.0, 3.0, 7.0]  # all that have any probability
    whole = sampling.rad(KEY, candidates, residual, 8)
    assert sorted(np.asarray(whole)[:, 0]) == list(range(8))


@settings(max_examples=50)
@given(st.lists(st.floats(-10.0, 10.0, width=32), min_size=7, max_size=7))
def test_r3_keeps_exactly_the_points_above_the_mean(residual):
    points = jnp.linspace(2.0, 3.0, 14).reshape(7, 2)  # outside of the new box
    values = np.array(residual, np.float32)
    after = R3(KEY, points, jnp.array(values))
    mean = float(jnp.mean(jnp.abs(jnp.array(values))))
    kept = np.abs(values) > mean
    same = np.asarray(after == points).all(axis=1)
    assert same.tolist() == kept.tolist()
    assert after.shape == points.shape
    fresh = np.asarray(after)[~kept]
    assert ((fresh >= 0.0) & (fresh <= 1.0)).all()
    assert sampling.r3_kept(jnp.array(values)).tolist() == kept.tolist()


R3 = jax.jit(lambda *a: sampling.r3(*a, [0.0, 0.0], [1.0, 1.0]))


def test_r3_gathers_points_at_a_peak():
    """Rounds of the same residual: its support fills up (the paper's accumulation)."""

    def residual(points):
        return jnp.exp(-200.0 * jnp.sum((points - 0.5) ** 2, axis=1))

    points = sampling.uniform_points(KEY, 200, [0.0, 0.0], [1.0, 1.0])
    before = float(jnp.mean(residual(points)))
    for key in jax.random.split(jax.random.key(1), 20):
        points = R3(key, points, residual(points))
    assert float(jnp.mean(residual(points))) > 2.0 * before


LINE = jnp.ones(3)
POINTS = jnp.ones((3, 2))
BAD = [
    (
        lambda: sampling.rad_probabilities(LINE, k=-1.0),
        "`k` must be at least 0",
    ),
    (
        lambda: sampling.rad_probabilities(LINE, c="1"),
        "`c` must be .* got '1'",
    ),
    (lambda: sampling.rad_probabilities(POINTS), r"`residual` must .* got \(3, 2\)"),
    (lambda: sampling.rad(KEY, POINTS, jnp.ones(4), 2), "`candidates` must have shape"),
    (lambda: sampling.rad(KEY, POINTS, LINE, 4), "from 1 to the 3 candidates, got 4"),
    (lambda: sampling.rad(KEY, POINTS, LINE, 0), "from 1 to the 3 candidates, got 0"),
    (lambda: sampling.r3_kept(jnp.ones((0,))), r"with n > 0, got \(0,\)"),
    (lambda: sampling.r3(KEY, LINE, LINE, [0.0], [1.0]), "`points` must have shape"),
    (lambda: sampling.r3(KEY, POINTS, LINE, [0.0], [1.0]), "entry for each of the 2"),
    (lambda: sampling.r3(KEY, POINTS, LINE, [1, 1], [0, 0]), "lower < upper"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", ["rad", "r3"])
def test_keys_are_typed(name):
    rest = (2,) if name == "rad" else ([0.0, 0.0], [1.0, 1.0])
    with pytest.raises(TypeError, match=f"{name}: `key` must be a typed key"):
        getattr(sampling, name)(0, POINTS, LINE, *rest)
