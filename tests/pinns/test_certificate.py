"""Certificates: bounds that bound, misfits that match, reasons where there are none."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns import (
    CP,
    MLP,
    Box,
    Dirichlet,
    Initial,
    Neumann,
    Problem,
    TensorTrain,
    Tucker,
)
from pinns.certificate import OverfitWarning, certify
from pinns.error_bound import NoBoundError, smallest_sum, stability
from pinns.solution import History, Solution


CUBE = Box(x=(0.0, 1.0), y=(0.0, 2.0), z=(-1.0, 1.0))
MODEL = CP(rank=3, hidden=(8,), network="siren", omega=3.0)


def elliptic(a=(1.0, 1.0, 1.0), c=0.0, sign=1.0, hard=False, box=CUBE):
    """sum a_k u_kk + c u = f with a smooth exact solution."""
    names = box.names

    def exact(*x):
        return jnp.sin(x[0] + 0.3) * jnp.cos(2 * x[1] - 0.2) * jnp.exp(0.5 * x[2])

    def residual(u, *x):
        total = c * u - (c - a[0] - 4 * a[1] + 0.25 * a[2]) * exact(*x)
        for k, name in enumerate(names):
            total = total + a[k] * u.d(name, 2)
        return sign * total

    return Problem(box, residual, [Dirichlet(exact, hard=hard)], exact=exact)


def advected(hard=True):
    """(x u')' + drift: not self-adjoint, variable coefficients, exact values hard."""
    box = Box(x=(1.0, 2.0), y=(0.0, 1.0))

    def exact(x, y):
        return (x - 1) * (2 - x) * jnp.sin(jnp.pi * y)

    def residual(u, x, y):
        value = jnp.sin(jnp.pi * y)
        known = x * -2 * value + 3 * (3 - 2 * x) * value
        known = known - (jnp.pi**2 + x) * exact(x, y)
        return x * u.d("x", 2) + 3 * u.d("x") + u.d("y", 2) - x * u - known

    return Problem(box, residual, [Dirichlet(0.0, hard=hard)], exact=exact)


CASES = {
    "poisson": lambda: pinns.problems.poisson(dimension=4),
    "poisson1": lambda: pinns.problems.poisson(dimension=1),
    "laplace": elliptic,
    "anisotropic": lambda: elliptic(a=(3.0, 0.5, 1.0), c=-2.0),
    "minus": lambda: elliptic(sign=-1.0, hard=True),
    "indefinite": lambda: elliptic(c=25.0),
    "helmholtz": lambda: pinns.problems.helmholtz3d(a=(1, 2, 1), k=4.0, hard=True),
    "advected": advected,
    "heat": pinns.problems.heat2d,
    "heat_hard": lambda: pinns.problems.heat2d(hard=True),
    "fokker_planck": lambda: pinns.problems.fokker_planck(dimension=2),
}


def made(problem, model=MODEL, params=None, dtype="float64", history=None):
    if params is None:
        params = started(problem, model)
    history = History(problem.groups) if history is None else history
    return Solution(problem, model, params, dtype, history, "finished", 0, {}, {})


def started(problem, model, seed=0):
    with jax.enable_x64(True):
        key = jax.random.key(seed)
        unknowns = len(problem.unknowns)
        return model.init(key, problem.box, unknowns=unknowns, dtype="float64")


def true_error(solution, count=20):
    """Root mean square error by dense quadrature."""
    problem = solution.problem
    with jax.enable_x64(True):
        rule = problem.box.points(count, "gauss_legendre", dtype="float64")
        mesh = np.meshgrid(*(p.coordinates for p in rule), indexing="ij")
        gap = np.asarray(solution(*(p.coordinates for p in rule)))
        gap = gap - np.asarray(problem.exact[0](*mesh))
        weights = np.ones(())
        for p in rule:
            weights = np.multiply.outer(weights, p.weights)
    return float(np.sqrt(np.sum(weights * gap**2)))


@pytest.mark.parametrize("case", CASES)
def test_the_bound_bounds(case):
    """Over random parameters of all sizes, and where residuals are small."""
    problem = CASES[case]()
    for seed, scale in ((0, 1.0), (1, 0.1), (2, 3.0)):
        params = started(problem, MODEL, seed)
        params = jax.tree.map(lambda p, s=scale: s * np.asarray(p), params)
        solution = made(problem, params=params)
        found = certify(solution)
        error = true_error(solution)
        assert error <= found.error_bound, (seed, found)
        # Not vacuous either: within the condition of the problem.
        assert found.error_bound < 1e4 * error
        if found.relative_error_bound is not None:
            exact = float(solution.relative_l2(20))
            assert exact <= found.relative_error_bound * 1.05


@pytest.mark.parametrize("hard", [False, True])
def test_the_bound_bounds_trained_solutions(hard):
    problem = pinns.problems.helmholtz3d(a=(1, 1, 1), hard=hard)
    errors, bounds = [], []
    for steps in (20, 400):
        solution = pinns.solve(
            problem, MODEL, points=12, steps=steps, key=jax.random.key(0),
            dtype="float64", learning_rate=1e-2, progress=False,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OverfitWarning)
            found = solution.certificate()
        errors.append(true_error(solution))
        bounds.append(found.error_bound)
        assert errors[-1] <= bounds[-1]
    assert bounds[1] < bounds[0]


@pytest.mark.parametrize(
    "model", [TensorTrain(rank=2, hidden=(6,)), Tucker(rank=2, hidden=(6,))]
)
def test_all_formats(model):
    solution = made(elliptic(), model)
    assert true_error(solution) <= certify(solution).error_bound


def test_the_exact_solution_has_a_bound_at_rounding_level():
    """sin sin sin by a Legendre basis of degree 23."""
    problem = pinns.problems.helmholtz3d(a=(1, 1, 1), hard=False)
    model = CP(rank=1, network="legendre", hidden=(24,))
    with jax.enable_x64(True):
        points = problem.box.points(24, "gauss_legendre", dtype="float64")
        x = points[0].coordinates
        basis = model.net.features({}, x, jnp.array([-1.0, 1.0]))
        kernel = jnp.linalg.solve(basis, jnp.sin(jnp.pi * x))[:, None]
        params = {"factors_1": {"kernel": jnp.stack([kernel] * 3)}}
    solution = made(problem, model, params)
    found = certify(solution)
    assert true_error(solution) <= found.error_bound < 1e-6
    assert found.relative_error_bound < 1e-5
    assert found.norm == pytest.approx(8**-0.5, rel=1e-9)


def test_norms_match_direct_quadrature():
    problem = elliptic()
    solution = made(problem)
    found = certify(solution, points=40)
    with jax.enable_x64(True):
        rule = problem.box.points(24, "gauss_legendre", dtype="float64")
        x, y, z = (np.asarray(p.coordinates) for p in rule)
        wx, wy, wz = (np.asarray(p.weights) for p in rule)
        total = 0.0
        for axis, (a, b) in enumerate(problem.box.intervals):
            for end in (a, b):
                grid = [x, y, z]
                weights = [wx, wy, wz]
                grid[axis], weights[axis] = np.array([end]), np.ones(1)
                mesh = np.meshgrid(*grid, indexing="ij")
                gap = np.asarray(solution(*grid)) - np.asarray(problem.exact[0](*mesh))
                total += np.einsum("abc,a,b,c", gap**2, *weights) / 6
    assert found.boundary["dirichlet(x, y, z)"] == pytest.approx(total**0.5, rel=1e-8)
    assert found.residual == pytest.approx(solution.residual_rms())
    assert "error at most" in str(found)


def test_constants_match_closed_forms():
    found = stability(pinns.problems.helmholtz3d(k=3.0))
    assert found.constant == pytest.approx(9 * 0 + abs(9 - 0.75 * np.pi**2), rel=1e-9)
    found = stability(pinns.problems.helmholtz3d(k=1.0))
    assert found.constant == pytest.approx(0.75 * np.pi**2 - 1, rel=1e-9)
    assert found.theorem == "coercive, self-adjoint"
    lowest = min(
        abs(36 - (np.pi / 2) ** 2 * sum(m**2 for m in modes))
        for modes in itertools.product(range(1, 9), repeat=3)
    )
    found = stability(pinns.problems.helmholtz3d(k=6.0))
    assert found.constant == pytest.approx(lowest, rel=1e-6)
    assert found.theorem.startswith("self-adjoint")
    # (x^2 u')' on [1, e]: eigenvalues 1/4 + (n pi)^2.
    euler = Problem(
        Box(x=(1.0, np.e)),
        lambda u, x: x**2 * u.d("x", 2) + 2 * x * u.d("x") - 1.0,
        [Dirichlet(0.0, hard=True)],
    )
    assert stability(euler).constant == pytest.approx(0.25 + np.pi**2, rel=1e-9)
    assert stability(pinns.problems.poisson(dimension=40)).constant == pytest.approx(
        40 * np.pi**2, rel=1e-9
    )


def test_smallest_sum_against_all_sums(rng):
    for _ in range(20):
        lists = {k: np.sort(rng.normal(-1, 3, 6)) for k in range(4)}
        sums = [abs(sum(v)) for v in itertools.product(*lists.values())]
        assert smallest_sum(lists) == pytest.approx(min(sums), abs=1e-9)
    crowded = {k: np.arange(-40.0, 0.0) + 0.3 ** (k + 1) for k in range(4)}
    rough = {k: v + 0.01 * rng.random(40) for k, v in crowded.items()}
    with pytest.raises(NoBoundError, match="more than 200000 eigenvalues"):
        smallest_sum(rough)


def bad(residual, conditions=(), box=None, **options):
    box = Box(x=(0.0, 1.0), y=(0.0, 1.0)) if box is None else box
    return Problem(box, residual, conditions, **options)


def laplacian(u):
    return u.d("x", 2) + u.d("y", 2)


ZERO = Dirichlet(0.0, hard=True)
REFUSED = {
    "more than one unknown": bad(
        lambda u, v: (u.d("x", 2), v),
        [Dirichlet(0.0, unknown="u")],
        unknowns=("u", "v"),
    ),
    "the equation is not linear": bad(lambda u: laplacian(u) + u**2, [ZERO]),
    "'exp' is applied to an unknown": bad(lambda u: laplacian(u) + jnp.exp(u), [ZERO]),
    "couples 2 axes": bad(lambda u: laplacian(u) + u.d("x").d("y"), [ZERO]),
    "a derivative of order 4": bad(lambda u: u.d("x", 4) + u.d("y", 2), [ZERO]),
    "is neither Dirichlet nor an initial value": bad(laplacian, [Neumann(0.0)]),
    "measured data are no part": bad(
        laplacian, [ZERO, pinns.Data(np.full((1, 2), 0.5), np.zeros(1))]
    ),
    "initial values on several axes": bad(laplacian, [Initial("x"), Initial("y")]),
    "'y' needs Dirichlet conditions at both ends": bad(
        laplacian, [Dirichlet(0.0, axes="x"), Dirichlet(0.0, axes="y", side="lower")]
    ),
    "belongs to 'x', the axis of the initial value": bad(
        laplacian, [Initial("x"), Dirichlet(0.0, axes="y")]
    ),
    "coefficients of one sign": bad(lambda u: u.d("x", 2) - u.d("y", 2), [ZERO]),
    "makes the equation parabolic": bad(
        lambda u: u.d("x") + u.d("y", 2), [Initial("x"), Dirichlet(0.0, axes="y")]
    ),
    "neither self-adjoint nor coercive": bad(
        lambda u: laplacian(u) + u.d("x") + 100.0 * u, [ZERO]
    ),
    "eigenvalue is not resolved": bad(
        lambda u, x: u.d("x", 2) + u.d("y", 2) - 1e8 * (x - 0.37) ** 2 * u, [ZERO]
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_reasons_for_no_bound(reason):
    with pytest.raises(NoBoundError, match=reason):
        stability(REFUSED[reason])


def test_parabolic_resolution_is_checked():
    problem = bad(
        lambda u, y: u.d("x") - u.d("y", 2) + 1e8 * (y - 0.37) ** 2 * u,
        [Initial("x"), Dirichlet(0.0, axes="y")],
    )
    with pytest.raises(NoBoundError, match="eigenvalue is not resolved"):
        stability(problem)


def test_certificates_without_a_bound_say_why():
    found = certify(made(pinns.problems.klein_gordon()))
    assert found.error_bound is None
    assert found.reason == "the equation is not linear"
    assert "no error bound: the equation is not linear" in str(found)
    assert set(found.boundary) == {"initial(t)", "dirichlet(x, y)"}
    soft = certify(made(advected(hard=False)))
    assert "impose them with hard=True" in soft.reason
    wide = pinns.problems.poisson(dimension=10)
    mlp = made(wide, MLP((4,)))
    assert "a pointwise network has no factored norms" in certify(mlp).reason
    flat = made(pinns.problems.poisson(dimension=2), MLP((4,)))
    assert true_error(flat) <= certify(flat).error_bound


def test_misfits_are_sampled_where_norms_cost_too_much():
    """All kinds of conditions, on faces of both sides, for every kind of model."""
    box = Box(t=(0.0, 1.0), x=(0.0, 1.0))

    def residual(u, t, x):
        return u.d("t") - u.d("x", 2) + u**3

    conditions = [
        Initial("t", lambda x: jnp.cos(x)),
        pinns.Robin(lambda t: jnp.exp(t), "x", alpha=2.0),
        pinns.Periodic("t", order=0, name="loop"),
        Dirichlet(lambda t: 1.0 + t, "x", side="upper", name="wall"),
    ]
    problem = Problem(box, residual, conditions)
    for model in (MODEL, MLP((4,))):
        solution = made(problem, model)
        exact, cheap = certify(solution), certify(solution, limit=1.0)
        assert set(exact.boundary) == {"initial(t)", "robin(x)", "loop", "wall"}
        assert exact.boundary.keys() == cheap.boundary.keys()
        for name, value in exact.boundary.items():
            assert cheap.boundary[name] == pytest.approx(value, rel=0.1), name
        assert cheap.norm is None
    assert "its norms cannot be integrated: a product of 3" not in exact.reason
    wide = certify(made(pinns.problems.poisson(dimension=7)), limit=1e5)
    assert "they take about" in wide.reason
    assert "the limit is 1e+05" in wide.reason
    assert wide.boundary["dirichlet(x1, ..., x7)"] > 0.0
    with pytest.raises(ValueError, match="`limit` must be a positive number, got 0"):
        certify(solution, limit=0)


def test_solutions_keep_their_certificate_and_print_it():
    solution = made(pinns.problems.helmholtz3d(a=(1, 1, 1), hard=True))
    assert repr(solution) == "Solution(helmholtz3d, cp, 0 steps, finished)"
    assert solution._certificate is None  # nothing is paid before it is asked for
    first = solution.certificate()
    assert solution.certificate() is first
    assert solution.certificate(seed=2).residual != first.residual
    assert str(solution) == f"{solution!r}\n{first}"


def test_rounding_is_no_overfitting():
    """Without a source, what rounding leaves is a share of the solution."""
    solution = pinns.solve(pinns.problems.heat2d(), method="direct", size=28)
    solution.history.groups[-1][:] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error", OverfitWarning)
        assert not certify(solution).overfit


def test_overfitting_is_noticed():
    problem = pinns.problems.helmholtz3d(a=(1, 1, 1), hard=True)
    history = History(problem.groups)
    history.extend([1], [1e-12], [[1e-12]])
    with pytest.warns(OverfitWarning, match=r"'helmholtz3d' is .* at unseen points"):
        found = certify(made(problem, history=history))
    assert found.overfit
    assert "(overfit)" in str(found)
    honest = History(problem.groups)
    honest.extend([1], [1.0], [[found.residual**2]])
    assert not certify(made(problem, history=honest)).overfit
    with pytest.raises(ValueError, match="`points` must be a positive integer, got 0"):
        certify(made(problem), points=0)
