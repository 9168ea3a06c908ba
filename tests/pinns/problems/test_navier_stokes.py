import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinns import problems
from pinns.derivatives import partial


VARIANTS = [{}, {"viscosity": 0.5, "mode": 3, "final_time": 2.0}]


def scattered(problem, rng, dtype="float64", count=500):
    return [
        jnp.asarray(rng.uniform(a, b, count), dtype) for a, b in problem.box.intervals
    ]


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_exact_solution_solves_the_equations(options, dtype, rng):
    with jax.enable_x64(dtype == "float64"):
        problem = problems.navier_stokes(**options)
        residuals = jax.jit(problem.exact_residual)(scattered(problem, rng, dtype))
        # The largest terms are 2 m^2 viscosity w with w = 2 m: 54 for the second.
        limit = (30 if not options else 300) * np.finfo(dtype).eps
        assert len(residuals) == 3
        for residual in residuals:
            assert residual.dtype == dtype
            np.testing.assert_allclose(residual, 0.0, rtol=0.0, atol=limit)


@pytest.mark.parametrize("unknown", range(3))
def test_another_function_does_not(unknown, rng, x64):
    problem = problems.navier_stokes()
    points = scattered(problem, rng)

    def source(index, orders):
        def wrong(t, x, y):
            more = 0.1 * jnp.sin(x) * jnp.cos(2 * y) * (1 + t)
            return problem.exact[index](t, x, y) + (more if index == unknown else 0.0)

        return partial(wrong, orders)(*points)

    residuals = problem.residual_values(source, points)
    wrong = [bool(np.abs(r).max() > 1e-2) for r in residuals]
    # Velocity is in all three equations, vorticity in the first two.
    assert wrong == ([True, True, True] if unknown < 2 else [True, True, False])


def test_exact_solution_meets_the_conditions(rng, x64):
    problem = problems.navier_stokes(viscosity=0.1, mode=2)
    assert len(problem.terms) == 3 + 3 * 3
    t, x, y = (jnp.asarray(c) for c in (rng.uniform(size=4), *rng.uniform(size=(2, 5))))
    for term in problem.terms[problem.equations :]:
        ends = {"lower": 0, "ends": 1}
        coordinates = []
        for k, selector in enumerate(term.selectors):
            a, b = problem.box.intervals[k]
            values = {"lower": jnp.array([a]), "ends": jnp.array([a, b])}.get(
                selector, (t, x, y)[k]
            )
            shape = [1] * 3
            shape[k] = -1
            coordinates.append(values.reshape(shape))
        assert set(term.selectors) & set(ends)

        def exact(unknown, orders, selectors, at=tuple(coordinates), term=term):
            assert selectors == term.selectors
            return partial(problem.exact[unknown], orders)(*at)

        def shifted(unknown, orders, selectors, exact=exact):
            return exact(unknown, orders, selectors) + 0.5

        (defect,) = term.function(exact, coordinates)
        np.testing.assert_allclose(defect, 0.0, rtol=0.0, atol=1e-14)
        (defect,) = term.function(shifted, coordinates)
        assert np.abs(defect).min() > 0.4


def test_vorticity_decays_at_the_stated_rate(x64):
    """By hand: w = -2 m exp(-2 m^2 viscosity t) at the origin."""
    problem = problems.navier_stokes(viscosity=0.05, mode=3)
    zero = jnp.zeros(1)
    value = problem.exact[2](jnp.full(1, 2.0), zero, zero)
    np.testing.assert_allclose(value, -6.0 * np.exp(-1.8), rtol=1e-14)
