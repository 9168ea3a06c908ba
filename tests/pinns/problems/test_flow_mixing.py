import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinns.problems.flow_mixing import _velocity_over_radius, flow_mixing


each_precision = pytest.mark.parametrize("dtype", ["float64", "float32"])


@each_precision
def test_velocity_agrees_with_the_formula(dtype):
    """Relative accuracy up to the corner of the box, r = 4 sqrt(2)."""
    radius = np.geomspace(1e-6, 4 * np.sqrt(2), 2000)
    expected = np.tanh(radius) / np.cosh(radius) ** 2 / radius
    with jax.enable_x64(dtype == "float64"):
        found = _velocity_over_radius(jnp.asarray(radius**2, dtype))
        assert found.dtype == dtype
        # r^2 carries a relative error of eps / 2, which w amplifies at most tenfold.
        limit = 20 * np.finfo(dtype).eps
        np.testing.assert_allclose(found, expected, rtol=limit)


def test_velocity_is_smooth_at_the_origin(x64):
    """Taylor coefficients in r^2: v / r = 1 - 4/3 r^2 + 17/15 r^4 - ..."""
    derivatives = [_velocity_over_radius]
    for _ in range(2):
        derivatives.append(jax.grad(derivatives[-1]))
    values = [float(f(jnp.zeros(()))) for f in derivatives]
    np.testing.assert_allclose(values, [1.0, -4 / 3, 34 / 15], rtol=1e-14)


def test_maximum_of_the_velocity_is_the_default_scale(x64):
    radius = jnp.linspace(0.0, 3.0, 3001)
    fastest = float(jnp.max(radius * _velocity_over_radius(radius**2)))
    np.testing.assert_allclose(fastest, 2 / 3**1.5, rtol=1e-6)
    assert round(fastest, 3) == 0.385


@each_precision
@pytest.mark.parametrize("wrap", [jax.jit, lambda f: f])
def test_finite_and_right_at_the_origin(dtype, wrap):
    """Near r = 0, w = 1 / max_velocity and u = (x sin(w t) - y cos(w t)) / 2."""
    with jax.enable_x64(dtype == "float64"):
        (exact,) = flow_mixing().exact

        def scalar(point):
            return exact(*(c[None] for c in point))[0]

        point = jnp.asarray([1.3, 0.0, 0.0], dtype)
        value, gradient = wrap(jax.value_and_grad(scalar))(point)
        hessian = jax.jit(jax.hessian(scalar))(point)
        angle = 1.3 / 0.385
        expected = [0.0, np.sin(angle) / 2, -np.cos(angle) / 2]
        limit = 10 * np.finfo(dtype).eps
        assert value == 0.0
        np.testing.assert_allclose(gradient, expected, rtol=0.0, atol=limit)
        assert np.isfinite(hessian).all()


@each_precision
def test_residual_and_its_gradient_on_a_grid_through_the_origin(dtype):
    with jax.enable_x64(dtype == "float64"):
        problem = flow_mixing()
        t, x = jnp.linspace(0, 4, 5, dtype=dtype), jnp.linspace(-4, 4, 9, dtype=dtype)
        grid = (t[:, None, None], x[:, None], x)
        assert 0.0 in x

        def mean_square(scale):
            points = [c * scale for c in (grid[0], grid[1][None], grid[2][None, None])]
            return jnp.mean(problem.exact_residual(points)[0] ** 2)

        value, slope = jax.jit(jax.value_and_grad(mean_square))(jnp.ones((), dtype))
        assert value < (20 * np.finfo(dtype).eps) ** 2
        assert np.isfinite(slope)


def test_solution_is_carried_by_the_rotation(x64, rng):
    """Along a characteristic, a circle run through at speed w r, u stays the same."""
    (exact,) = flow_mixing().exact
    radius, start, t = (
        rng.uniform(0, 4, 50),
        rng.uniform(0, 6, 50),
        rng.uniform(0, 4, 50),
    )
    angular = np.tanh(radius) / np.cosh(radius) ** 2 / radius / 0.385
    angle = start + angular * t
    after = exact(
        *map(jnp.asarray, (t, radius * np.cos(angle), radius * np.sin(angle)))
    )
    before = -np.tanh(radius * np.sin(start) / 2)
    np.testing.assert_allclose(after, before, rtol=0.0, atol=1e-14)
