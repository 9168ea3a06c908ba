"""Quasi-Newton steps: updates by the book, minima found, failures survived."""

import jax.numpy as jnp
import numpy as np
import pytest

from pinns.solvers.quasi_newton import KINDS, MAX_DENSE, QuasiNewton, _broyden
from tests.pinns.solvers.stepping import advanced


DENSE = [kind for kind in KINDS if kind != "lbfgs"]


def rosenbrock(params, _):
    x = params["x"]
    total = jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)
    return total, total[None]


def pair(rng, size=6):
    a = rng.normal(size=(size, size))
    inverse = a @ a.T + np.eye(size)
    s = rng.normal(size=size)
    y = s + 0.3 * rng.normal(size=size)
    assert s @ y > 0
    return inverse, s, y


@pytest.mark.parametrize("kind", DENSE)
def test_updates_meet_the_secant_condition_and_stay_positive(kind, x64, rng):
    for _ in range(5):
        inverse, s, y = pair(rng)
        bend = s @ np.linalg.solve(inverse, s)
        found = np.asarray(_broyden(kind, *map(jnp.asarray, (inverse, s, y, bend))))
        np.testing.assert_allclose(found @ y, s, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found, found.T, atol=1e-12)
        assert np.linalg.eigvalsh(found).min() > 0


def test_bfgs_is_the_product_form(x64, rng):
    inverse, s, y = pair(rng)
    rho = 1.0 / (y @ s)
    left = np.eye(6) - rho * np.outer(s, y)
    expected = left @ inverse @ left.T + rho * np.outer(s, s)
    bend = s @ np.linalg.solve(inverse, s)
    found = _broyden("bfgs", *map(jnp.asarray, (inverse, s, y, bend)))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_rosenbrock(kind, x64):
    solver = QuasiNewton(rosenbrock, kind, groups=1, memory=10)
    state = solver.init({"x": jnp.full(10, -1.2)})
    state, rows = advanced(solver, state, None, 400)
    np.testing.assert_allclose(state.params["x"], 1.0, atol=1e-6)
    losses = np.asarray(rows.total)
    first = rosenbrock({"x": np.full(10, -1.2)}, None)[0]
    np.testing.assert_allclose(losses[0], first, rtol=1e-12)


def test_a_minimum_is_recognized(x64):
    def bowl(params, _):
        total = 1.0 + jnp.sum(jnp.cosh(params))
        return total, total[None]

    solver = QuasiNewton(bowl, "bfgs", groups=1)
    state, rows = advanced(solver, solver.init(jnp.array([3.0, -1.0])), None, 200)
    assert bool(solver.converged(state))
    assert int(state.step) < 200
    assert rows.total[-1] == rows.total[int(state.step) - 1]
    np.testing.assert_allclose(state.params, 0.0, atol=1e-8)


def test_a_wall_of_nan_is_not_entered(x64):
    def walled(params, _):
        total = jnp.sum(jnp.where(params < 2.0, (params - 1.9) ** 2, jnp.nan))
        return total, total[None]

    solver = QuasiNewton(walled, "bfgs", groups=1)
    start = solver.init(jnp.array([-5.0]))
    state, rows = advanced(solver, start, None, 60)
    assert np.isfinite(rows.total).all()
    np.testing.assert_allclose(state.params, 1.9, atol=1e-6)


def test_a_loss_that_starts_broken_is_reported(x64):
    def broken(params, _):
        total = jnp.sum(jnp.log(params))
        return total, total[None]

    solver = QuasiNewton(broken, "lbfgs", groups=1)
    start = solver.init(jnp.array([-1.0]))
    _, rows = advanced(solver, start, None, 1)
    assert not np.isfinite(rows.total[0])
    assert not np.isfinite(rows.groups[0])


def test_bad_input():
    with pytest.raises(ValueError, match="`kind` must be one of lbfgs"):
        QuasiNewton(rosenbrock, "newton", groups=1)
    solver = QuasiNewton(rosenbrock, "ssbroyden", groups=1)
    with pytest.raises(ValueError, match=f"at most {MAX_DENSE} parameters"):
        solver.init({"x": np.zeros(MAX_DENSE + 1)})
