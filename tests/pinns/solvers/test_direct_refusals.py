"""What direct solves refuse, what they warn of, and that they say why."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns.solvers.direct import solve_direct


def coupled(*, alpha=1.0, data=False):
    """A mixed derivative; a coefficient along its face; data."""
    conditions = [
        pinns.Dirichlet(lambda x, y: x * y, axes="x"),
        pinns.Robin(1.0, axes="y", side="lower", alpha=alpha),
        pinns.Dirichlet(lambda x: x, axes="y", side="upper"),
    ]
    if data:
        conditions.append(pinns.Data(np.full((1, 2), 0.5), np.array([1.0])))
    return pinns.Problem(
        pinns.Box(x=(0.0, 1.0), y=(0.0, 1.0)),
        lambda u, x, y: (
            u.d("x", 2) + u.d("y", 2) + 0.5 * u.d("x").d("y") - jnp.exp(x * y)
        ),
        conditions,
    )


def nonlinear_condition():
    class Square(pinns.Dirichlet):
        def terms(self, box, unknown):
            terms = super().terms(box, unknown)
            inner = terms[0].function

            def function(source, coordinates):
                return [v**2 for v in inner(source, coordinates)]

            return [type(terms[0])(**{**terms[0].__dict__, "function": function})]

    return pinns.Problem(
        pinns.Box(x=(0.0, 1.0)), lambda u: u.d("x", 2), [Square(1.0, name="square")]
    )


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (pinns.problems.klein_gordon, "residual"),
        (pinns.problems.burgers1d, "residual"),
        (nonlinear_condition, "square on x"),
    ],
)
def test_nonlinear_terms_are_named(make, name):
    with pytest.raises(ValueError, match=f"the term '{name}' is not linear.*adam and"):
        solve_direct(make(), size=8)


def test_systems_are_refused():
    box = pinns.Box(x=(0.0, 1.0))
    problem = pinns.Problem(
        box, lambda u, v: (u.d("x") - v, v.d("x") + u), unknowns=("u", "v")
    )
    with pytest.raises(ValueError, match=r"got 2 for \(u, v\); the methods adam"):
        solve_direct(problem, size=8)


def string(conditions):
    return pinns.Problem(
        pinns.Box(t=(0.0, 1.0), x=(0.0, 1.0)),
        lambda u: u.d("t", 2) - u.d("x", 2),
        conditions,
        name="string",
    )


def test_missing_conditions_are_singular():
    problem = string([pinns.Initial("t", 1.0), pinns.Dirichlet(0.0, axes="x")])
    for path in ("diagonalization", "dense"):
        with pytest.raises(ValueError, match=r"'string' in this basis are singular"):
            solve_direct(problem, size=14, path=path)


def test_eigenvalues_are_singular():
    problem = pinns.Problem(
        pinns.Box(x=(0.0, 1.0), y=(0.0, 1.0)),
        lambda u, x: u.d("x", 2) + u.d("y", 2) + 2.0 * np.pi**2 * u - x,
        [pinns.Dirichlet(0.0)],
    )
    with pytest.raises(ValueError, match="an eigenvalue may be met"):
        solve_direct(problem, size=16)


def test_ill_conditioned_equations_warn():
    shift = np.pi**2 * (1.0 + 1e-11)
    problem = pinns.Problem(
        pinns.Box(x=(0.0, 1.0)),
        lambda u, x: u.d("x", 2) + shift * u - x,
        [pinns.Dirichlet(0.0)],
    )
    with pytest.warns(UserWarning, match=r"ill-conditioned \(about"):
        solve_direct(problem, size=20)


def test_unresolved_solutions_warn():
    with pytest.warns(UserWarning, match="the basis does not resolve the solution"):
        solve_direct(pinns.problems.helmholtz3d(), size=8)


@pytest.mark.parametrize(
    ("path", "solver"), [("iterative", "GMRES"), ("least_squares", "LSQR")]
)
def test_iterations_without_convergence_warn(path, solver, monkeypatch, x64):
    monkeypatch.setattr("pinns.solvers._paths.MAX_ITERATIONS", 3)
    problem = pinns.problems.heat2d() if path == "least_squares" else coupled()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        solve_direct(problem, size=14, path=path)
    said = [str(w.message) for w in caught]
    assert any(f"{solver} stopped after 3 iterations" in message for message in said)


def test_paths_say_what_they_cannot_do(x64):
    with pytest.raises(ValueError, match="needs a sum of operators along one axis"):
        solve_direct(coupled(), size=8, path="diagonalization")
    along_face = coupled(alpha=lambda x: 1.0 + x)
    for path, (problem, message) in itertools.product(
        ("diagonalization", "dense", "iterative"),
        [(along_face, r"got 'robin\(y, lower\)"), (coupled(data=True), "data cond")],
    ):
        with pytest.raises(ValueError, match=message):
            solve_direct(problem, size=8, path=path)


def test_non_finite_coefficients_are_named():
    problem = pinns.Problem(
        pinns.Box(x=(-1.0, 1.0)),
        lambda u, x: u.d("x", 2) - jnp.sqrt(x),
        [pinns.Dirichlet(0.0)],
    )
    with pytest.raises(ValueError, match="'residual' is not finite"):
        solve_direct(problem, size=8)


POISSON = pinns.problems.poisson(dimension=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"basis": "wavelets"}, "`basis` must be one of chebyshev, .*got 'wavelets'"),
        ({"size": 0}, "`size` must be a positive integer, got 0"),
        ({"size": 2.5}, "`size` must be a positive integer, got 2.5"),
        ({"size": (4, 4, 4)}, r"each of the 2 axes .* got \(4, 4, 4\)"),
        (
            {"size": 2},
            "`size` must be larger than the number of conditions on axis 'x1'",
        ),
        ({"size": 1001}, "`size` must be at most 1000, got 1001"),
        ({"tolerance": 0.0}, "`tolerance` must be a positive number, got 0.0"),
        ({"tolerance": "small"}, "`tolerance` must be a positive number, got 'small'"),
        (
            {"dtype": "float16"},
            "`dtype` must be one of float32, float64, got 'float16'",
        ),
        ({"path": "magic"}, "`path` must be one of auto, .* got 'magic'"),
        ({"key": jax.random.key(0)}, "`key` belongs to basis='random_features'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        solve_direct(POISSON, **options)


def test_grids_that_are_too_large_are_refused():
    with pytest.raises(ValueError, match=r"fewer than 1e\+08 tabulated values"):
        solve_direct(pinns.problems.poisson(dimension=5), size=40)


def test_types_are_checked():
    with pytest.raises(TypeError, match=r"`problem` must be a pinns.Problem, got 3"):
        solve_direct(3)
    for bad in (None, 0, jax.random.PRNGKey(0)):
        with pytest.raises(TypeError, match="`key` must be a typed random key"):
            solve_direct(POISSON, basis="random_features", key=bad)


def test_well_posed_problems_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve_direct(POISSON, size=10)
