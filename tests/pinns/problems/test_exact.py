"""Every problem, every variant: the exact solution solves what the problem states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinns import problems
from pinns.conditions import Data, Periodic
from pinns.derivatives import partial


# Options, and a bound on the rounding error of the residual in units of the machine
# epsilon, in both precisions: the size of the terms that cancel times a few (Helmholtz:
# pi^2 |a|^2 = 400; wave1d: (pi speed mode)^2; Burgers: u_x ~ 0.5 / viscosity). The
# residuals measured over three seeds are 3 to 15 times smaller.
VARIANTS = [
    ("klein_gordon", {}, 16),
    ("klein_gordon", {"velocity": True}, 16),
    ("klein_gordon", {"hard": True}, 16),
    ("klein_gordon", {"velocity": True, "hard": True}, 16),
    ("helmholtz3d", {}, 3000),
    ("helmholtz3d", {"hard": True}, 3000),
    ("helmholtz3d", {"a": (1, 2, 3), "k": 5.0}, 1000),
    ("helmholtz3d", {"a": (1, 1, 1), "k": 0.0}, 200),
    ("flow_mixing", {}, 16),
    ("flow_mixing", {"max_velocity": 0.1, "final_time": 10.0}, 500),
    ("poisson", {"dimension": 1}, 16),
    ("poisson", {"dimension": 2, "hard": True}, 32),
    ("poisson", {"dimension": 5}, 100),
    ("poisson", {"dimension": 10}, 200),
    ("heat2d", {}, 32),
    ("heat2d", {"hard": True}, 32),
    ("heat2d", {"diffusivity": 1.0, "mode": (1, 4), "final_time": 0.5}, 200),
    ("wave1d", {}, 300),
    ("wave1d", {"hard": True}, 300),
    ("wave1d", {"speed": 3.0, "mode": 5, "final_time": 1.0}, 8000),
    ("burgers1d", {}, 4000),
    ("burgers1d", {"hard": True}, 4000),
    ("burgers1d", {"viscosity": 0.1}, 200),
    ("fokker_planck", {}, 100),
    ("fokker_planck", {"dimension": 1, "drift": 2.0, "diffusion": 0.5}, 100),
    ("parametric_diffusion", {}, 50),
    ("parametric_diffusion", {"mode": (3, 1), "hard": True}, 50),
    ("harmonic_oscillator", {"dimension": 2}, 100),
    ("harmonic_oscillator", {"dimension": 3, "coupling": 2.0, "hard": False}, 100),
    ("harmonic_oscillator", {"dimension": 10, "hard": True}, 100),
    ("unknown_diffusion", {}, 50),
    ("unknown_diffusion", {"coefficient": "function"}, 50),
    ("unknown_burgers", {"convection": 2.0}, 100),
    ("unknown_source", {}, 300),
    ("annulus", {}, 200),
    ("annulus", {"mode": 1, "inner": 0.5, "outer": 3.0}, 100),
    ("spherical_shell", {}, 1000),
]
PARAMETERS = {"a", "b"}
each_variant = pytest.mark.parametrize(
    ("name", "options", "bound"), VARIANTS, ids=lambda value: str(value)
)
each_precision = pytest.mark.parametrize("dtype", ["float64", "float32"])


@each_variant
@each_precision
def test_exact_solution_solves_the_equation(name, options, bound, dtype, rng):
    """For Burgers at t > 1e-3; what happens before is tested in test_burgers1d."""
    with jax.enable_x64(dtype == "float64"):
        problem = problems.create(name, **options)
        points = _scattered(problem, rng, dtype)
        if name == "burgers1d":
            points[0] = jnp.maximum(points[0], 1e-3)
        (residual,) = jax.jit(problem.exact_residual)(points)
        assert residual.dtype == dtype
        assert residual.shape == points[0].shape
        limit = bound * np.finfo(dtype).eps
        np.testing.assert_allclose(residual, 0.0, rtol=0.0, atol=limit)


@each_variant
def test_another_function_does_not(name, options, bound, rng, x64):
    problem = problems.create(name, **options)
    points = _scattered(problem, rng, "float64")

    def wrong(*coordinates):
        slanted = sum((i + 2) * c for i, c in enumerate(coordinates))
        return problem.exact[0](*coordinates) + 0.1 * slanted**3

    @jax.jit
    def evaluate(points):
        leaves = lambda _, orders: partial(wrong, orders)(*points)  # noqa: E731
        return problem.residual_values(leaves, points)

    (residual,) = evaluate(points)
    assert np.max(np.abs(residual)) > 0.1


@each_variant
@each_precision
def test_exact_solution_meets_the_conditions(name, options, bound, dtype, rng):
    with jax.enable_x64(dtype == "float64"):
        problem = problems.create(name, **options)
        limit = 30 * np.finfo(dtype).eps
        if problem.box.periodic:  # 2 pi is rounded
            limit *= 10
        defects = _defects(problem, problem.exact[0], rng, dtype)
        box = problem.box
        closed = [n for n in box.names if n in box.periodic or box.face(n, "ends")]
        faces = len(set(closed) - PARAMETERS)
        assert len(defects) >= faces or problem.parameters  # measured, not prescribed
        for term, defect in defects.items():
            assert defect < limit, term


@each_variant
def test_another_function_violates_each_condition(name, options, bound, rng, x64):
    problem = problems.create(name, **options)
    time = problem.box.names[0] == "t"

    def wrong(*coordinates):
        drift = coordinates[0] if time else 0.0
        # A straight line along an axis that closes breaks off at its end.
        for name in problem.box.periodic:
            drift = drift + coordinates[problem.box.axis(name)]
        return problem.exact[0](*coordinates) + 0.1 + drift

    for term, defect in _defects(problem, wrong, rng, "float64").items():
        assert defect > 0.05, term


@pytest.mark.parametrize(
    ("name", "options"), [(n, o) for n, o, _ in VARIANTS if o.get("hard")]
)
def test_hard_conditions_hold_for_the_lift(name, options, rng, x64):
    """What a model adds to the lift vanishes on the faces that are hard."""
    problem = problems.create(name, **options)
    flags = problem.hard.exponents()[0]
    assert flags[:, [0, 2]].sum() == sum(
        2 if axis != "t" else 1 for axis in set(problem.box.names) - PARAMETERS
    )
    assert flags[0, 1] == (name == "wave1d" or options.get("velocity", False))
    assert [term.name for term in problem.terms] == ["residual"]

    def lift(*coordinates):
        values = problem.lift_values(0, (0,) * problem.box.dimension, coordinates)
        return 0.0 * sum(coordinates) if values is None else values

    for term, defect in _defects(problem, lift, rng, "float64").items():
        assert defect < 1e-12, term


@pytest.mark.parametrize(
    ("name", "options", "solved"),
    [
        ("klein_gordon", {}, True),
        ("poisson", {"dimension": 3}, True),
        ("poisson", {"dimension": 1}, False),
        ("heat2d", {}, False),
        ("wave1d", {}, False),
        ("burgers1d", {}, False),
    ],
)
def test_where_the_lift_is_the_solution(name, options, solved, rng, x64):
    """Hard conditions give these two away, as their docstrings say."""
    problem = problems.create(name, hard=True, **options)
    points = _scattered(problem, rng, "float64")

    @jax.jit
    def gap(points):
        lift = problem.lift_values(0, (0,) * len(points), points)
        return lift - problem.exact[0](*points)

    error = np.abs(gap(points)).max()
    assert error < 1e-13 if solved else error > 0.1


@pytest.mark.parametrize("name", problems.PROBLEMS)
def test_grid_and_scattered_residuals_agree(name, rng, x64):
    problem = problems.create(name)
    grid = [
        _along(rng.uniform(a, b, 3), axis, problem.box.dimension)
        for axis, (a, b) in enumerate(problem.box.intervals)
    ]
    scattered = [c.ravel() for c in np.broadcast_arrays(*grid)]

    @jax.jit
    def residual(points):
        leaf = jnp.sin(sum(points))
        return problem.residual_values(lambda *_: leaf, points)[0]

    on_grid, on_points = residual(grid), residual(scattered)
    assert on_grid.shape == (3,) * problem.box.dimension
    np.testing.assert_allclose(on_grid.ravel(), on_points, rtol=0.0, atol=1e-12)


def _scattered(problem, rng, dtype, count=1000):
    return [
        jnp.asarray(rng.uniform(a, b, count), dtype) for a, b in problem.box.intervals
    ]


def _along(values, axis, dimension):
    return values.reshape([-1 if i == axis else 1 for i in range(dimension)])


def _defects(problem, function, rng, dtype):
    """Largest violation of each condition, the hard ones included, by `function`."""
    box, found = problem.box, {}
    interior = [rng.uniform(a, b, 2) for a, b in box.intervals]

    def placed(selectors):
        chosen = [
            {"interior": inside, "lower": [a], "upper": [b], "ends": [a, b]}[side]
            for inside, side, (a, b) in zip(
                interior, selectors, box.intervals, strict=True
            )
        ]
        return [
            _along(np.asarray(values, dtype), axis, box.dimension)
            for axis, values in enumerate(chosen)
        ]

    terms = [
        (term, isinstance(condition, Periodic))
        for condition in problem.conditions
        if not isinstance(condition, Data)
        for term in condition.terms(box, 0)
    ]

    def defect_at(term, closes, points):
        def source(unknown, orders, selectors):
            assert unknown == 0
            own = selectors == term.selectors
            assert own or closes
            at = points if own else map(jnp.asarray, placed(selectors))
            return partial(function, orders)(*at)

        return term.function(source, points)

    @jax.jit
    def defects_at(points):
        return [defect_at(*term, at) for term, at in zip(terms, points, strict=True)]

    for (term, _), defects in zip(
        terms, defects_at([placed(term.selectors) for term, _ in terms]), strict=True
    ):
        found[term.name] = max(float(np.abs(d).max()) for d in defects)
    return found
