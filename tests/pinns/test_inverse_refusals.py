"""What is refused of unknown parameters, and how it is said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns.parameters import Unknown


BOX = pinns.Box(t=(0.0, 1.0), x=(0.0, 2.0))
SMALL = pinns.CP(rank=2, network="legendre", hidden=(4,))
DATA = pinns.Data(np.array([[0.1, 0.3], [0.7, 1.9]]), np.array([0.2, -0.1]))
BAD_UNKNOWNS = [
    ({"start": np.nan}, ValueError, "`start` must be a finite number, got nan"),
    ({"start": "much"}, ValueError, "`start` must be a finite number, got 'much'"),
    ({"start": 0.0, "positive": True}, ValueError, "`start` must be positive with"),
    ({"start": 1.0, "positive": "yes"}, TypeError, "`positive` must be True or False"),
    ({"start": 1.0, "axes": 3}, TypeError, "`axes` must be names of axes, got 3"),
    ({"start": 1.0, "axes": ("x", "x")}, ValueError, "`axes` must differ"),
    ({"start": 1.0, "model": SMALL}, ValueError, "`model` belongs to a function"),
    ({"start": 1.0, "axes": "x", "model": "cp"}, TypeError, "must be a pinns.CP"),
    ({"start": 1.0, "axes": "x", "model": SMALL}, ValueError, "a `model` of rank 1"),
]


@pytest.mark.parametrize(("options", "error", "words"), BAD_UNKNOWNS)
def test_bad_unknowns(options, error, words):
    with pytest.raises(error, match=f"^pinns.Unknown: .*{words}"):
        Unknown(**options)


def flow(u, nu):
    return u.d("t") - nu * u.d("x", 2)


ONE = {"nu": Unknown(0.1)}
BAD_PROBLEMS = [
    (lambda u, mu: mu * u, {"parameters": ONE}, ValueError,
     "argument 'mu' is neither an axis of the box nor a parameter; expected arguments "
     r"among \(t, x, nu\)"),
    (lambda u: u.d("t"), {"parameters": ONE}, ValueError,
     "the parameter 'nu' must appear in the residual"),
    (flow, {"parameters": 3}, TypeError, "`parameters` must map names to"),
    (flow, {"parameters": {"nu": 0.1}}, TypeError, r"\['nu'\]` must be a pinns.Unkn"),
    (flow, {"parameters": {**ONE, "t": Unknown(1.0)}}, ValueError, "neither axes"),
    (flow, {"parameters": {"nu": Unknown(1.0, axes="z")}}, ValueError, "'z'"),
    (flow, {"parameters": {"nu": Unknown(1.0, exact="a")}}, ValueError,
     "`exact` must be a finite number, got 'a'"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "options", "error", "words"), BAD_PROBLEMS)
def test_bad_problems(function, options, error, words):
    with pytest.raises(error, match=words):
        pinns.Problem(BOX, function, [DATA], **options)


def test_conditions_on_parameters():
    k = {"nu": Unknown(0.1, axes="x")}
    hard = pinns.Dirichlet(0.0, "x", unknown="nu", hard=True)
    soft = pinns.Dirichlet(0.0, unknown="nu")
    with pytest.raises(ValueError, match="`hard` conditions are for the unknowns"):
        pinns.Problem(BOX, flow, [hard], parameters=k)
    with pytest.raises(ValueError, match="`unknown` must be one of"):
        pinns.Problem(BOX, flow, [soft], parameters=ONE)


@pytest.mark.parametrize("method", ["direct", "newton", "als", "varpro"])
def test_methods_that_solve_for_the_unknowns_only(method):
    problem = pinns.Problem(BOX, flow, [DATA], parameters=ONE)
    words = (
        rf"method='{method}' .* the term 'residual' has unknown parameters \(nu\). "
        "Take method='adam', 'lbfgs', 'ssbroyden' or 'gauss_newton'"
    )
    with pytest.raises(ValueError, match=words):
        pinns.solve(problem, None, method, key=jax.random.key(0))


def test_nothing_measured():
    problem = pinns.Problem(BOX, flow, [pinns.Dirichlet(0.0)], parameters=ONE)
    common = {"points": 4, "steps": 1, "key": jax.random.key(0)}
    with pytest.warns(UserWarning, match=r"unknown parameters \(nu\) and no Data"):
        solution = pinns.solve(problem, SMALL, "adam", **common)
    with pytest.raises(ValueError, match="has no Data conditions"):
        solution.uncertainty()


def test_the_truth_is_needed_for_the_exact_residual():
    problem = pinns.Problem(BOX, flow, [DATA], parameters=ONE, exact=lambda t, x: x)
    with pytest.raises(ValueError, match="the true 'nu' is needed here and not known"):
        problem.exact_residual([jnp.ones(2), jnp.ones(2)])


def test_no_windows_with_parameters():
    problem = pinns.Problem(BOX, flow, [pinns.Initial("t", 0.0)], parameters=ONE)
    with pytest.raises(ValueError, match="must have no unknown parameters"):
        pinns.march(problem, windows=2)
