import itertools
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from pinns import problems
from pinns.derivatives import partial
from pinns.problems.burgers1d import VISCOSITIES, cole_hopf


DEFAULT = 0.01 / math.pi
each_viscosity = pytest.mark.parametrize(
    "viscosity", [1e-3, 2e-3, DEFAULT, 0.02, 0.1, 0.5]
)
# Inside and outside the layer, and at times before and after the wave has broken.
TIMES = np.array([1e-8, 1e-4, 0.1, 0.25, 0.5, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0])
PLACES = np.array([0.3, -0.7, 0.5, -0.1, 0.01, -0.4, 0.001, 0.0, 0.003, 0.5, -0.97])


def by_quadrature(t, x, viscosity):
    """The Cole-Hopf integrals by adaptive quadrature, scaled by their maximum."""
    spread = math.sqrt(4 * viscosity * t)
    reach = min(40 * spread, 3 + 8 * spread)

    def exponent(s):
        angle = np.pi * (x - s)
        return -np.cos(angle) / (2 * np.pi * viscosity) - (s / spread) ** 2

    candidates = np.linspace(-reach, reach, 100_001)
    heights = exponent(candidates)
    top = heights.max()
    inside = candidates[heights > top - 60]
    peaks = np.linspace(inside[0], inside[-1], 40)

    def integral(factor):
        return math.fsum(
            scipy.integrate.quad(
                lambda s: factor(s) * math.exp(exponent(s) - top),
                a,
                b,
                epsabs=1e-14 * spread,
                epsrel=1e-13,
            )[0]
            for a, b in itertools.pairwise(peaks)
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.integrate.IntegrationWarning)
        above = integral(lambda s: math.sin(math.pi * (x - s)))
        return -above / integral(lambda s: 1.0)


@each_viscosity
def test_agrees_with_adaptive_quadrature(viscosity):
    expected = [
        by_quadrature(t, x, viscosity) for t, x in zip(TIMES, PLACES, strict=True)
    ]
    with jax.enable_x64(True):
        found = cole_hopf(jnp.asarray(TIMES), jnp.asarray(PLACES), viscosity=viscosity)
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-12)
    t, x = jnp.asarray(TIMES, "float32"), jnp.asarray(PLACES, "float32")
    found = cole_hopf(t, x, viscosity=viscosity)
    assert found.dtype == jnp.float32
    # In the layer a rounding of x is amplified by the slope, 0.5 / viscosity.
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=2e-5)


def test_steepest_slope_is_the_published_one(x64):
    """Basdevant et al. 1986: 152.00516 at pi t = 1.6037 for nu = 0.01 / pi."""
    t, x = jnp.linspace(1.6032, 1.6042, 11) / math.pi, jnp.zeros(11)
    slope = -partial(lambda t, x: cole_hopf(t, x, viscosity=DEFAULT), (0, 1))(t, x)
    assert int(jnp.argmax(slope)) == 5
    np.testing.assert_allclose(slope[5], 152.00516, rtol=0.0, atol=1e-5)


@each_viscosity
def test_residual_from_the_first_instant_on(viscosity, x64):
    """What float64 allows: 3e-12 from t = 1e-4 on, 3e-9 at worst before.

    Up to t = eps^(2/3) = 4e-11 the expansion in t leaves an error ~ 30 t in u_t;
    after that the derivative of the quadrature rounds like 1 / sqrt(t).
    """
    problem = problems.burgers1d(viscosity)
    x = jnp.concatenate([jnp.linspace(-1, 1, 41), jnp.linspace(-0.01, 0.01, 21)])[None]
    t = jnp.asarray([0.0, 1e-14, 1e-11, 1e-10, 1e-8, 1e-6, 1e-4, 0.01, 0.3, 0.6, 1.0])
    (residual,) = jax.jit(problem.exact_residual)([t[:, None], x])
    limits = [1e-14, 2e-12, 2e-9, 1e-9, 1e-10, 1e-11, *[3e-12] * 5]
    for time, row, limit in zip(t, residual, limits, strict=True):
        assert float(jnp.max(jnp.abs(row))) < limit, float(time)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("wrap", [jax.jit, lambda f: f])
def test_initial_time(dtype, wrap):
    """The initial value, and u_t = nu u_xx - u u_x there; no NaN in reverse mode."""
    with jax.enable_x64(dtype == "float64"):
        x = jnp.linspace(-1, 1, 33, dtype=dtype)

        def total(t, x):
            value = cole_hopf(t, x, viscosity=DEFAULT)
            return jnp.sum(value), value

        gradient = wrap(jax.grad(total, (0, 1), has_aux=True))
        (by_time, by_place), value = gradient(jnp.zeros_like(x), x)
        sine, cosine = np.sin(np.pi * x), np.cos(np.pi * x)
        limit = 64 * np.finfo(dtype).eps
        np.testing.assert_array_equal(value, -jnp.sin(math.pi * x))
        expected = np.pi**2 * DEFAULT * sine - np.pi * sine * cosine
        np.testing.assert_allclose(by_time, expected, rtol=0.0, atol=limit)
        np.testing.assert_allclose(by_place, -np.pi * cosine, rtol=0.0, atol=limit)


@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-14), ("float32", 1e-6)])
def test_expansion_and_quadrature_meet(dtype, limit):
    with jax.enable_x64(dtype == "float64"):
        x = jnp.linspace(-1, 1, 101, dtype=dtype)
        early = float(np.finfo(dtype).eps) ** (2 / 3)
        before, after = (
            cole_hopf(jnp.asarray(early * s, dtype), x, viscosity=DEFAULT)
            for s in (0.999, 1.001)
        )
        np.testing.assert_allclose(before, after, rtol=0.0, atol=limit + 0.01 * early)


@each_viscosity
def test_derivatives_against_finite_differences(viscosity, x64):
    def value(t, x):
        return cole_hopf(jnp.asarray(t), jnp.asarray(x), viscosity=viscosity)

    t, x, h = jnp.asarray([0.2, 0.5, 0.9]), jnp.asarray([-0.3, 0.1, 0.6]), 1e-5
    by_time = (value(t + h, x) - value(t - h, x)) / (2 * h)
    by_place = (value(t, x + h) - value(t, x - h)) / (2 * h)
    np.testing.assert_allclose(partial(value, (1, 0))(t, x), by_time, atol=1e-7)
    np.testing.assert_allclose(partial(value, (0, 1))(t, x), by_place, atol=1e-7)


@each_viscosity
def test_odd_and_zero_at_the_ends(viscosity, x64):
    t, x = jnp.linspace(0, 1, 9)[:, None], jnp.linspace(0, 1, 33)[None]
    right, left = (cole_hopf(t, s * x, viscosity=viscosity) for s in (1.0, -1.0))
    np.testing.assert_allclose(right, -left, rtol=0.0, atol=1e-13)
    np.testing.assert_allclose(right[:, [0, -1]], 0.0, rtol=0.0, atol=1e-13)


def test_broadcasting_jit_and_vmap(x64):
    def value(t, x):
        return cole_hopf(t, x, viscosity=DEFAULT)

    t, x = jnp.linspace(0, 1, 4), jnp.linspace(-1, 1, 5)
    each = jnp.stack([jnp.stack([value(a, b) for b in x]) for a in t])
    assert value(t[0], x[0]).shape == ()
    for grid in (
        value(t[:, None], x[None]),
        jax.jit(value)(t[:, None], x[None]),
        jax.vmap(value, (0, None))(t, x),
        jax.vmap(jax.vmap(value, (None, 0)), (0, None))(t, x),
    ):
        np.testing.assert_allclose(grid, each, rtol=0.0, atol=1e-14)


def test_memory_is_that_of_the_result():
    """A trailing axis of 117 nodes would take more than a hundred times as much."""
    t, x = jnp.zeros((256, 1)), jnp.zeros((1, 256))
    value = jax.jit(lambda t, x: cole_hopf(t, x, viscosity=DEFAULT))
    used = value.lower(t, x).compile().memory_analysis().temp_size_in_bytes
    assert used < 16 * 4 * 256**2


def test_range_of_viscosities_is_closed():
    for viscosity in VISCOSITIES:
        assert problems.burgers1d(viscosity).origin[1]["viscosity"] == viscosity
