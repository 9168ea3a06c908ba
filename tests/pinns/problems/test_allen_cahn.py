import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from pinns import problems
from pinns.derivatives import partial
from pinns.problems.allen_cahn import reference


def by_method_of_lines(times, intervals=1000):
    """Second-order differences in x, an adaptive implicit solver in time."""
    x = np.linspace(0.0, 1.0, intervals + 1)
    h = 1.0 / intervals

    def slope(t, u):
        wide = np.concatenate([u[1:2], u, u[-2:-1]])
        curvature = (wide[2:] - 2.0 * u + wide[:-2]) / h**2
        return 1e-4 * curvature + 5.0 * (u - u**3)

    found = scipy.integrate.solve_ivp(
        slope,
        (0.0, 1.0),
        x**2 * np.cos(np.pi * x),
        method="LSODA",
        t_eval=times,
        rtol=1e-9,
        atol=1e-11,
        lband=1,
        uband=1,
    )
    return x, found.y.T


def test_agrees_with_differences_in_space(x64):
    """Their error is of second order: two step sizes give that of the finer one."""
    times = np.array([0.05, 0.1, 0.3, 0.6, 1.0])
    x, fine = by_method_of_lines(times, 2000)
    _, coarse = by_method_of_lines(times, 1000)
    fine, x = fine[:, ::2], x[::2]
    ours = np.asarray(jax.jit(reference)(times[:, None], x[None, :]))
    error = np.abs(coarse - fine).max(axis=1) / 3.0
    gap = np.abs(ours - fine).max(axis=1)
    assert (gap < 1.2 * error + 1e-8).all()
    extrapolated = fine + (fine - coarse) / 3.0
    assert (np.abs(ours - extrapolated).max(axis=1) < 0.02 * error + 1e-8).all()


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e5), ("float32", 500)])
def test_solves_the_equation_to_rounding(dtype, bound, rng):
    """From t = 0.1 on. Second derivatives of 640 cosines magnify rounding in float64:
    1e-4 (640 pi)^2 = 400; in float32 the small high coefficients do not.
    """
    with jax.enable_x64(dtype == "float64"):
        problem = problems.allen_cahn()
        points = [
            jnp.asarray(rng.uniform(a, b, 500), dtype)
            for a, b in ((0.1, 1.0), (-1.0, 1.0))
        ]
        (residual,) = jax.jit(problem.exact_residual)(points)
        assert residual.dtype == dtype
        limit = bound * np.finfo(dtype).eps
        np.testing.assert_allclose(residual, 0.0, rtol=0.0, atol=limit)


def test_solves_the_equation_early_away_from_the_kinks(rng, x64):
    problem = problems.allen_cahn()
    t = jnp.asarray(10.0 ** rng.uniform(-6, -1, 300))
    x = jnp.asarray(rng.uniform(-0.9, 0.9, 300))
    (residual,) = jax.jit(problem.exact_residual)([t, x])
    # Terms are of size 10; what is left is the truncated series.
    assert np.abs(residual).max() < 1e-3


def test_meets_its_conditions(x64):
    t = jnp.linspace(0.0, 1.0, 41)
    x = jnp.linspace(-1.0, 1.0, 81)
    start = reference(0.0 * x, x)
    np.testing.assert_allclose(start, x**2 * np.cos(np.pi * x), rtol=0.0, atol=1e-14)
    ends = [reference(t, jnp.full_like(t, side)) for side in (-1.0, 1.0)]
    np.testing.assert_allclose(*ends, rtol=0.0, atol=1e-13)
    later = t[1:]
    slope = jax.jit(partial(reference, (0, 1)))
    for side in (-1.0, 1.0):
        values = slope(later, jnp.full_like(later, side))
        np.testing.assert_allclose(values, 0.0, rtol=0.0, atol=1e-11)


def test_has_no_jump_between_its_two_forms(x64):
    x = jnp.linspace(-1.0, 1.0, 401)
    before, after = (reference(jnp.full_like(x, t), x) for t in (0.1 - 1e-13, 0.1))
    np.testing.assert_allclose(before, after, rtol=0.0, atol=1e-8)


def test_stays_finite_at_the_start():
    t, x = jnp.zeros(3), jnp.array([-1.0, 0.3, 1.0])
    for orders in ((1, 0), (0, 2)):
        assert np.isfinite(jax.jit(partial(reference, orders))(t, x)).all(), orders


def test_broadcasts(x64):
    t, x = jnp.array([0.05, 0.7])[:, None], jnp.array([-0.4, 0.2, 0.9])[None, :]
    grid = reference(t, x)
    assert grid.shape == (2, 3)
    wide = [jnp.broadcast_to(a, (2, 3)).ravel() for a in (t, x)]
    np.testing.assert_allclose(grid.ravel(), reference(*wide), rtol=0.0, atol=1e-14)
