"""Newton's method in fixed bases: convergence, damping, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import pinns
from pinns.solvers.newton import solve_newton


LINE = pinns.Box(x=(0.0, 1.0))
SMALL = {"rtol": 0.0, "atol": 1e-9}


def riccati(value=1.0):
    return pinns.Problem(
        LINE,
        lambda u: u.d("x") + u**2,
        [pinns.Initial("x", value)],
        exact=lambda x: 1.0 / (1.0 / value + x),
    )


def bratu(strength):
    return pinns.Problem(
        LINE, lambda u: u.d("x", 2) + strength * jnp.exp(u), [pinns.Dirichlet(0.0)]
    )


def klein_gordon(final_time=2.0):
    """The equation of `pinns.problems.klein_gordon` with another solution.

    The published one is linear in x and y: the function that meets the conditions, from
    which Newton's method starts, already is the solution.
    """
    box = pinns.Box(t=(0.0, final_time), x=(-1.0, 1.0), y=(-1.0, 1.0))

    def exact(t, x, y):
        return jnp.sin(2 * x + t) * jnp.cos(y) + x * y * jnp.sin(2 * t)

    def residual(u, t, x, y):
        # u_tt - u_xx - u_yy of the exact solution by hand.
        wave = 4.0 * jnp.sin(2 * x + t) * jnp.cos(y) - 4.0 * x * y * jnp.sin(2 * t)
        source = wave + exact(t, x, y) ** 2
        return u.d("t", 2) - u.d("x", 2) - u.d("y", 2) + u**2 - source

    def velocity(x, y):
        return jnp.cos(2 * x) * jnp.cos(y) + 2.0 * x * y

    conditions = [
        pinns.Initial("t", exact),
        pinns.Initial("t", velocity, order=1),
        pinns.Dirichlet(exact, axes=("x", "y")),
    ]
    return pinns.Problem(box, residual, conditions, exact=exact)


def quadratic(steps):
    """Every step is at most a constant times the square of the one before.

    Linear solves are exact to a tenth of the last step only: the constant is not small.
    """
    sizes = np.array([step.step for step in steps])
    ratios = sizes[1:] / sizes[:-1] ** 2
    return bool((ratios[sizes[1:] > 1e-13] < 5.0).all())


@pytest.mark.parametrize("basis", ["chebyshev", "legendre"])
def test_riccati(basis):
    problem = riccati()
    solution = pinns.solve(problem, method="newton", basis=basis, size=24)
    assert solution.result == "converged"
    assert solution.relative_l2() < 1e-14
    report = solution.settings["report"]
    assert quadratic([pinns.solvers.newton.NewtonStep(**s) for s in report["newton"]])
    assert len(report["newton"]) == solution.step == len(solution.history.loss)
    assert solution.history.loss[-1] < 1e-24 < solution.history.loss[0]


def test_bratu_agrees_with_a_boundary_value_solver():
    solution = pinns.solve(bratu(2.0), method="newton")
    x = np.linspace(0.0, 1.0, 21)
    expected = scipy.integrate.solve_bvp(
        lambda _, y: np.stack([y[1], -2.0 * np.exp(y[0])]),
        lambda a, b: np.array([a[0], b[0]]),
        x,
        np.zeros((2, 21)),
        tol=1e-11,
        max_nodes=10**5,
    )
    assert expected.success
    np.testing.assert_allclose(solution(x), expected.sol(x)[0], **SMALL)


def test_klein_gordon_converges_quadratically(tmp_path):
    problem = klein_gordon()
    solution = pinns.solve(problem, method="newton", size=(18, 16, 14))
    steps = solution.settings["report"]["newton"]
    assert solution.result == "converged"
    assert solution.relative_l2(30) < 1e-10
    assert len(steps) >= 4
    assert steps[0]["step"] > 1e-2
    assert quadratic([pinns.solvers.newton.NewtonStep(**s) for s in steps])
    assert {s["length"] for s in steps} == {1.0}
    assert solution.settings["report"]["path"] == "iterative"
    loaded = pinns.load(solution.save(tmp_path), problem)
    assert loaded.result == "converged"
    assert loaded.settings["report"] == solution.settings["report"]


def test_published_klein_gordon_with_automatic_sizes():
    problem = pinns.problems.klein_gordon(velocity=True)
    solution = pinns.solve(problem, method="newton", size=(36, 6, 6))
    assert solution.relative_l2(40) < 1e-12


def test_burgers_by_one_matrix_and_by_gmres():
    problem = pinns.problems.burgers1d(viscosity=0.2)
    cores = []
    for path in ("dense", "iterative"):
        found = solve_newton(problem, size=(14, 24), path=path)
        assert found.result == "converged"
        assert found.info["path"] == path
        assert quadratic(found.steps) or path == "iterative"
        cores.append(found.params["core"])
    np.testing.assert_allclose(*cores, rtol=0.0, atol=1e-11)


def test_burgers_grows_until_it_is_resolved():
    problem = pinns.problems.burgers1d(viscosity=0.3)
    solution = pinns.solve(problem, method="newton")
    report = solution.settings["report"]
    assert max(report["tail"]) < 1e-10
    assert min(report["sizes"]) > 16
    assert solution.relative_l2() < 1e-9
    # Started from the solution of fewer functions, the last size needs few steps.
    assert len(report["newton"]) <= 3


LAYER = {"cluster": {"x": (0.0, 0.01)}, "size": (30, 48)}


def test_a_layer_in_clustered_functions(tmp_path):
    """Viscosity 0.01 / pi over the whole interval, in fewer functions than points
    across the layer would be otherwise."""
    problem = pinns.problems.burgers1d()
    solution = pinns.solve(problem, method="newton", **LAYER)
    assert solution.result == "converged"
    assert solution.relative_l2(100) < 1e-3
    loaded = pinns.load(solution.save(tmp_path))
    x = np.linspace(-1.0, 1.0, 7)
    np.testing.assert_array_equal(loaded(x[4:], x), solution(x[4:], x))
    assert loaded.settings["cluster"] == {"x": [0.0, 0.01]}


def test_a_basis_for_every_axis():
    """Fourier functions in x beside polynomials in t: u_t = u_xx - u^3 + f."""
    box = pinns.Box(t=(0.0, 1.0), x=(0.0, 2.0))

    def exact(t, x):
        return jnp.exp(-t) * jnp.sin(jnp.pi * x) + 0.5

    def residual(u, t, x):
        wave = jnp.exp(-t) * jnp.sin(jnp.pi * x)
        return u.d("t") - u.d("x", 2) + u**3 - (jnp.pi**2 - 1) * wave - exact(t, x) ** 3

    conditions = [pinns.Initial("t", exact), pinns.Periodic("x")]
    problem = pinns.Problem(box, residual, conditions, exact=exact)
    solution = pinns.solve(
        problem, method="newton", basis={"x": "fourier"}, size=(14, 9)
    )
    assert solution.settings["report"]["basis"] == ["chebyshev", "fourier"]
    assert solution.relative_l2(30) < 1e-11
    assert solution.d("x", 2).at(np.array([0.3, 0.7])).shape == ()


def test_hard_conditions():
    problem = pinns.problems.burgers1d(viscosity=0.3, hard=True)
    solution = pinns.solve(problem, method="newton", size=(30, 40))
    assert solution.relative_l2() < 1e-8


def test_periodic_in_fourier_functions():
    """u_xx - u - u^3 = f with u = sin(pi x) + cos(2 pi x) / 2."""
    box = pinns.Box(x=(-1.0, 1.0))

    def exact(x):
        return jnp.sin(jnp.pi * x) + 0.5 * jnp.cos(2 * jnp.pi * x)

    def residual(u, x):
        sine, cosine = jnp.sin(jnp.pi * x), jnp.cos(2 * jnp.pi * x)
        curvature = -(jnp.pi**2) * (sine + 2.0 * cosine)
        known = sine + 0.5 * cosine
        return u.d("x", 2) - u - u**3 - (curvature - known - known**3)

    problem = pinns.Problem(box, residual, [pinns.Periodic("x")], exact=exact)
    solution = pinns.solve(problem, method="newton", basis="fourier", size=9)
    assert solution.relative_l2() < 1e-13


def test_steps_are_shortened_where_full_ones_fail():
    """u = arctan-like slope: full Newton steps overshoot from the start."""
    problem = pinns.Problem(
        LINE,
        lambda u: 1e-3 * u.d("x", 2) - jnp.arctan(20.0 * (u - 2.0)),
        [pinns.Dirichlet(0.0)],
    )
    found = solve_newton(problem, size=60)
    assert found.result == "converged"
    assert min(step.length for step in found.steps) < 1.0
    residuals = [step.residual for step in found.steps]
    assert residuals == sorted(residuals, reverse=True)
    assert residuals[-1] < 1e-9


def test_data_are_fitted_by_gauss_newton():
    """With exact measurements in place of the initial value."""
    x = np.array([0.1, 0.4, 0.8])
    problem = pinns.Problem(
        LINE,
        lambda u: u.d("x") + u**2,
        [pinns.Data(x[:, None], 1.0 / (1.0 + x))],
        exact=lambda x: 1.0 / (1.0 + x),
    )
    solution = pinns.solve(problem, method="newton", size=20)
    assert solution.settings["report"]["path"] == "least_squares"
    assert solution.relative_l2() < 1e-9


def test_random_features_and_float32(key):
    solution = pinns.solve(
        riccati(), method="newton", basis="random_features", key=key, dtype="float32"
    )
    assert solution.params["core"].dtype == "float32"
    assert solution.relative_l2() < 1e-5


def test_same_solution_as_the_direct_solver_of_a_linear_problem():
    problem = pinns.problems.poisson(dimension=2)
    newton = pinns.solve(problem, method="newton", size=14)
    direct = pinns.solve(problem, method="direct", size=14)
    x = np.linspace(0.0, 1.0, 9)
    np.testing.assert_allclose(newton(x, x), direct(x, x), rtol=0.0, atol=1e-13)
    assert newton.step <= 2


def test_no_solution_is_an_error():
    """Bratu's problem has none beyond 3.51."""
    message = r"did not converge on 'problem' with sizes \(20,\): the residual does not"
    with pytest.raises(pinns.NotConvergedError, match=message) as caught:
        pinns.solve(bratu(5.0), method="newton", size=20)
    found = caught.value.solution
    quiet = pinns.solve(bratu(5.0), method="newton", size=20, throw=False)
    assert quiet.result.startswith("not_converged: the residual does not fall")
    assert quiet.result == found.result
    assert quiet.settings["report"]["newton"][0]["step"] > 0


def test_limits():
    result = pinns.solve(riccati(), method="newton", size=20, steps=2, throw=False)
    assert result.step == 2
    assert result.result.startswith("not_converged: 2 steps, the last ")
    with pytest.raises(pinns.NotConvergedError, match="2 steps, the last"):
        pinns.solve(riccati(), method="newton", size=20, steps=2)
    stopped = pinns.solve(riccati(), method="newton", size=20, seconds=1e-9)
    assert stopped.result == "time_limit"
    assert stopped.step == 0


def test_a_linear_solver_without_progress_is_named(monkeypatch):
    """Little viscosity, one long interval: the preconditioner lacks the transport."""
    monkeypatch.setattr("pinns.solvers._paths.MAX_ITERATIONS", 2)
    problem = pinns.problems.burgers1d(viscosity=0.02)
    found = solve_newton(problem, size=(30, 40))
    assert found.result.startswith("not_converged: the linear solver took 2 iterations")


def test_a_start_that_is_not_finite_is_refused():
    problem = pinns.Problem(LINE, lambda u: u.d("x") - jnp.log(u), [])
    with pytest.raises(ValueError, match="must be finite where Newton's method starts"):
        solve_newton(problem, size=10)


REFUSED = [
    ({"model": pinns.CP(rank=2)}, "method='newton' makes its own model"),
    ({"points": 10}, "method='newton' has no `points`"),
    ({"sampling": "uniform"}, "method='newton' has no `sampling`"),
    ({"loss": "grid"}, "`loss` must be 'auto' with method='newton'.*got 'grid'"),
    ({"loss": "factored"}, "`loss` must be 'auto' with method='newton'"),
    ({"basis": "wavelets"}, "`basis` must be one of .*, got 'wavelets'"),
    ({"basis": {"y": "fourier"}}, "unknown axis 'y', the axes are x"),
    ({"basis": {"x": "legendre"}}, "by axis must be chebyshev or fourier, got 'leg"),
    ({"basis": {"x": "fourier"}}, "got no pinns.Periodic on x"),
    ({"cluster": 0.1}, r"`cluster` must map axes to \(center, width\), got 0.1"),
    ({"cluster": {"y": (0, 1)}}, "unknown axis 'y'"),
    ({"cluster": {"x": (2.0, 0.1)}}, r"a center in \[0, 1\] for 'x', got \(2.0"),
    ({"cluster": {"x": 0.5}}, r"a center in \[0, 1\] for 'x', got 0.5"),
    ({"cluster": {"x": (0.5, 0.0)}}, r"`cluster\['x'\]\[1\]` must be a positive num"),
    (
        {"cluster": {"x": (0.5, 0.1)}, "basis": "legendre"},
        "`cluster` is for axes with basis='chebyshev', got 'legendre' on 'x'",
    ),
    ({"size": 0}, "`size` must be a positive integer, got 0"),
    ({"steps": 0}, "`steps` must be a positive integer, got 0"),
    ({"starts": 2}, "`starts` belongs to method='als'"),
    ({"learning_rate": 1e-3}, "`learning_rate` belongs to method='adam'"),
    ({"devices": 1}, "`devices` belongs to the methods adam"),
    ({"seconds": -1}, "`seconds` must be a positive number, got -1"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        pinns.solve(riccati(), method="newton", **options)


def test_wrong_options_of_the_function_are_refused():
    for options, message in (
        ({"tolerance": 0.0}, "pinns.solve_newton: `tolerance` must be a positive"),
        ({"steps": -1}, "pinns.solve_newton: `steps` must be a positive integer"),
        ({"seconds": 0}, "pinns.solve_newton: `seconds` must be a positive number"),
        ({"path": "fast"}, "pinns.solve_newton: `path` must be one of auto"),
    ):
        with pytest.raises(ValueError, match=message):
            solve_newton(riccati(), **options)
    with pytest.raises(ValueError, match="one equation for one unknown, got 3"):
        solve_newton(pinns.problems.navier_stokes())
    with pytest.raises(TypeError, match="`key` must be a typed random key"):
        pinns.solve(riccati(), method="newton", basis="random_features")
    assert jax.config.jax_enable_x64 is False
