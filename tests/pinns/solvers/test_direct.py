"""Direct solves: exact where they must be, the same by every path, honest elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns.derivatives import partial
from pinns.solution import History, Solution
from pinns.solvers.direct import solve_direct


def solution(problem, result):
    return Solution(
        problem, result.model, result.params, "float64", History(problem.groups),
        "finished", 0, {}, {},
    )  # fmt: skip


def error(problem, result, points=24):
    return solution(problem, result).relative_l2(points)


def laplacian_of(function, signs):
    orders = np.eye(len(signs), dtype=int) * 2
    return lambda *x: sum(
        sign * partial(function, tuple(o))(*x)
        for sign, o in zip(signs, orders, strict=True)
    )


# -- exactness on polynomials -------------------------------------------------------


def polynomial(*x):
    """A polynomial of degree 3 per axis that no symmetry helps."""
    total = 1.0 + x[0] ** 3
    for k, c in enumerate(x):
        total = total * (1.0 - 0.3 * c + 0.2 * (k + 1) * c**2)
    return total + 0.5 * x[-1]


def axis_conditions(kind, name, k, d):
    def normal(*x):
        return partial(polynomial, tuple(int(i == k) for i in range(d)))(*x)

    if kind == "dirichlet":
        return [pinns.Dirichlet(polynomial, axes=name)]
    if kind == "neumann":
        lower = pinns.Neumann(lambda *x: -normal(*x), axes=name, side="lower")
        return [lower, pinns.Dirichlet(polynomial, axes=name, side="upper")]
    if kind == "robin":
        lower = pinns.Robin(
            lambda *x: 2.0 * polynomial(*x) - 3.0 * normal(*x),
            axes=name,
            side="lower",
            alpha=2.0,
            beta=3.0,
        )
        return [lower, pinns.Neumann(normal, axes=name, side="upper")]
    start = pinns.Initial(name, polynomial)
    return [start, pinns.Initial(name, normal, order=1)]


def polynomial_problem(kinds):
    d = len(kinds)
    box = pinns.Box(**{"xyzw"[k]: (-0.5, 1.0 + 0.25 * k) for k in range(d)})
    # Both values at one end belong to a wave equation, not to Laplace's.
    signs = [-1.0 if kind == "initial" else 1.0 for kind in kinds]
    source = laplacian_of(polynomial, signs)

    def residual(u, *x):
        total = -1.5 * u + 1.5 * polynomial(*x) - source(*x)
        for sign, name in zip(signs, box.names, strict=True):
            total = total + sign * u.d(name, 2)
        return total

    conditions = [
        c
        for k, kind in enumerate(kinds)
        for c in axis_conditions(kind, box.names[k], k, d)
    ]
    return pinns.Problem(box, residual, conditions, exact=polynomial)


KINDS = [
    ("dirichlet",),
    ("robin",),
    ("initial",),
    ("neumann", "dirichlet"),
    ("initial", "robin"),
    ("robin", "neumann"),
    ("dirichlet", "neumann", "robin"),
    ("initial", "dirichlet", "dirichlet", "neumann"),
]


@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_polynomials_are_found_to_rounding(kinds):
    problem = polynomial_problem(kinds)
    result = solve_direct(problem, size=7, basis="legendre")
    assert result.info["path"] == "diagonalization"
    assert error(problem, result, 5) < 1e-12
    assert max(result.info["misfit"].values()) < 1e-11
    assert result.info["relative_residual"] < 1e-11


# -- agreement with other solvers ---------------------------------------------------


def variable(*, alpha=2.0, data=False):
    """Mixed derivatives and coefficients that are not separable."""
    box = pinns.Box(x=(0.0, 1.0), y=(-1.0, 1.0))

    def exact(x, y):
        return jnp.sin(2.0 * x + y) * jnp.exp(x * y)

    def operator(d, x, y):
        mixed = (2.0 + jnp.sin(x * y)) * d(2, 0) + 0.5 * d(1, 1)
        transport = jnp.exp(x) * y * d(1, 0)
        return mixed + (1.0 + x**2) * d(0, 2) - transport - (1.0 + x + y**2) * d(0, 0)

    def residual(u, x, y):
        def of_u(i, j):
            v = u.d("x", i) if i else u
            return v.d("y", j) if j else v

        known = operator(lambda *o: partial(exact, o)(x, y), x, y)
        return operator(of_u, x, y) - known

    def lower(x, y):
        factor = alpha(x) if callable(alpha) else alpha
        return factor * exact(x, y) - partial(exact, (0, 1))(x, y)

    conditions = [
        pinns.Dirichlet(exact, axes="x"),
        pinns.Robin(lower, axes="y", side="lower", alpha=alpha, beta=1.0),
        pinns.Neumann(partial(exact, (0, 1)), axes="y", side="upper"),
    ]
    if data:
        rng = np.random.default_rng(0)
        points = np.stack([rng.random(40), 2.0 * rng.random(40) - 1.0], axis=1)
        values = exact(*jnp.asarray(points).T)
        conditions.append(pinns.Data(points, values, weight=2.0))
    return pinns.Problem(box, residual, conditions, exact=exact)


def collocated(problem_source, n, shift):
    """Dense Kronecker collocation in NumPy: laplacian(u) + shift u = f, u = g."""
    chebyshev = np.polynomial.chebyshev
    x = np.cos(np.pi * np.arange(n) / (n - 1))
    values = chebyshev.chebvander(x, n - 1)
    second = chebyshev.chebder(np.eye(n), 2, axis=0)
    matrix = chebyshev.chebvander(x, n - 3) @ second @ np.linalg.inv(values)
    eye = np.eye(n)
    full = np.kron(matrix, eye) + np.kron(eye, matrix) + shift * np.eye(n * n)
    source, boundary = problem_source(x[:, None], x[None, :])
    right = np.broadcast_to(source, (n, n)).copy()
    sides = np.ones((n, n), bool)
    sides[1:-1, 1:-1] = False
    full[sides.ravel()] = np.eye(n * n)[sides.ravel()]
    right[sides] = np.broadcast_to(boundary, (n, n))[sides]
    return x, np.linalg.solve(full, right.ravel()).reshape(n, n)


def test_agrees_with_a_dense_kronecker_collocation():
    box = pinns.Box(x=(-1.0, 1.0), y=(-1.0, 1.0))

    def residual(u, x, y):
        return u.d("x", 2) + u.d("y", 2) + 3.0 * u - jnp.sin(x + y) - 3.0 * x * y

    # No exact solution is told; smooth, because source and values fit at the corners.
    problem = pinns.Problem(
        box, residual, [pinns.Dirichlet(lambda x, y: jnp.sin(x + y) + x * y)]
    )

    def reference(x, y):
        return np.sin(x + y) + 3.0 * x * y, np.sin(x + y) + x * y

    x, values = collocated(reference, 22, 3.0)
    result = solve_direct(problem, size=22)
    found = np.asarray(solution(problem, result)(x, x))
    np.testing.assert_allclose(found, values, atol=1e-12)


def test_paths_agree_on_a_sum_of_one_dimensional_operators():
    problem = polynomial_problem(("robin", "dirichlet"))
    cores = [
        solve_direct(problem, size=(9, 8), path=path, tolerance=1e-14).params["core"]
        for path in ("diagonalization", "dense", "iterative", "least_squares")
    ]
    for core in cores[1:]:
        np.testing.assert_allclose(core, cores[0], atol=1e-12)


@pytest.mark.parametrize(
    ("path", "size", "bound"),
    [
        ("auto", 18, 1e-12),  # dense
        ("iterative", 18, 1e-11),
        ("least_squares", 18, 1e-11),
        ("least_squares", 36, 1e-10),  # beyond the dense limit: LSQR
    ],
)
def test_variable_coefficients_and_mixed_derivatives(path, size, bound, x64):
    problem = variable()
    result = solve_direct(problem, size=size, path=path, tolerance=1e-12)
    assert error(problem, result) < bound
    iterates = path == "iterative" or size == 36
    assert (result.info["iterations"] > 0) == iterates
    assert (result.info["preconditioned_condition"] is not None) == iterates


def test_iterations_report_the_condition_of_what_is_solved(x64):
    """Close below that of the matrix, far above that of what is iterated on."""
    problem = variable()
    whole = solve_direct(problem, size=16, path="dense").info
    found = solve_direct(problem, size=16, path="iterative").info
    assert 0.2 * whole["condition"] < found["condition"] <= 1.001 * whole["condition"]
    assert found["preconditioned_condition"] < 0.1 * found["condition"]


def test_iterations_stop_by_the_true_residual(x64):
    """At once where the conditions' lift solves the equation already."""
    box = pinns.Box(x=(0.0, 1.0), y=(0.0, 1.0))

    def exact(x, y):
        return 1.0 + 2.0 * x * y

    def residual(u, x, y):
        mixed = (1.0 + x * y) * u.d("x").d("y")
        return u.d("x", 2) + (2.0 + y) * u.d("y", 2) + mixed - 2.0 * (1.0 + x * y)

    problem = pinns.Problem(box, residual, [pinns.Dirichlet(exact)], exact=exact)
    result = solve_direct(problem, size=12, path="iterative")
    assert result.info["iterations"] == 0
    assert result.info["algebraic_residual"] < 1e-10
    assert error(problem, result) < 1e-14
    rough, fine = (
        solve_direct(variable(), size=20, path="iterative", tolerance=t).info
        for t in (1e-3, 1e-11)
    )
    assert rough["algebraic_residual"] <= 1e-3
    assert fine["algebraic_residual"] <= 1e-11
    assert rough["iterations"] < fine["iterations"]


def test_automatic_sizes_look_at_the_residual_too():
    """The source vanishes on all nodes of the first size; so do all coefficients."""

    def legendre(x, degree=24):
        before, now = jnp.ones_like(x), x
        for k in range(1, degree):
            before, now = now, ((2 * k + 1) * x * now - k * before) / (k + 1)
        return now

    problem = pinns.Problem(
        pinns.Box(x=(-1.0, 1.0)),
        lambda u, x: u.d("x", 2) - legendre(x),
        [pinns.Dirichlet(0.0)],
    )
    with pytest.warns(UserWarning, match="does not resolve"):
        assert np.abs(solve_direct(problem, size=24).params["core"]).max() < 1e-12
    info = solve_direct(problem).info
    assert info["sizes"] > (24,)
    assert info["relative_residual"] < 1e-9


@pytest.mark.parametrize("size", [18, 34])
def test_a_coefficient_along_its_face_goes_to_least_squares(size, x64):
    problem = variable(alpha=lambda x: 2.0 + x)
    result = solve_direct(problem, size=size)
    assert result.info["path"] == "least_squares"
    assert error(problem, result) < 1e-9
    assert result.info["misfit"]["robin(y, lower)"] < 1e-8


@pytest.mark.parametrize("size", [16, 34])
def test_data_are_fitted_by_least_squares(size, x64):
    problem = variable(data=True)
    result = solve_direct(problem, size=size)
    assert result.info["path"] == "least_squares"
    assert error(problem, result) < 1e-9


def test_data_decide_what_conditions_leave_open():
    """u'' = 0 with one end given: the slope comes from a measurement."""
    box = pinns.Box(x=(0.0, 2.0))
    data = pinns.Data(np.array([[1.5]]), np.array([4.0]))
    problem = pinns.Problem(
        box,
        lambda u: u.d("x", 2),
        [pinns.Dirichlet(1.0, side="lower"), data],
        exact=lambda x: 1.0 + 2.0 * x,
    )
    assert error(problem, solve_direct(problem, size=6)) < 1e-13


def transport(names):
    """Inflow along every axis; all have ill-conditioned eigenvectors."""

    def in_the_plane(t, x, y):
        return jnp.sin(2.0 * x + y - 3.0 * t)

    def on_the_line(t, x):
        return jnp.sin(3.0 * (x - t))

    def residual(u):
        return u.d("t") + sum(u.d(name) for name in names)

    exact = in_the_plane if "y" in names else on_the_line
    return pinns.Problem(
        pinns.Box(t=(0.0, 1.0), **dict.fromkeys(names, (0.0, 1.0))),
        residual,
        [pinns.Initial("t", exact), pinns.Dirichlet(exact, axes=names, side="lower")],
        exact=exact,
    )


def test_two_axes_without_eigenvectors_are_solved_directly(x64):
    """One is kept whole, the other made triangular."""
    problem = transport(("x",))
    cores = []
    for path in ("auto", "iterative", "dense"):
        result = solve_direct(problem, size=24, path=path, tolerance=1e-11)
        assert error(problem, result) < 1e-9
        assert result.info["windows"] == 1
        cores.append(result.params["core"])
        if path != "dense":
            assert result.info["iterations"] <= 3
    np.testing.assert_allclose(cores[0], cores[2], rtol=0.0, atol=1e-9)
    np.testing.assert_allclose(cores[1], cores[2], rtol=0.0, atol=1e-9)


def test_transport_marches_in_windows(x64):
    """A third axis without eigenvectors is more than there is a way for."""
    problem = transport(("x", "y"))
    result = solve_direct(problem, size=12, path="iterative", tolerance=1e-9)
    assert result.info["windows"] > 1
    assert error(problem, result, 9) < 1e-6
    with pytest.raises(ValueError, match=r"ones also on [txy]; path='it"):
        solve_direct(problem, size=12, path="diagonalization")


# -- benchmark problems -------------------------------------------------------------


@pytest.mark.parametrize("basis", ["chebyshev", "legendre"])
@pytest.mark.parametrize("hard", [False, True])
def test_helmholtz(basis, hard):
    problem = pinns.problems.helmholtz3d(hard=hard)
    result = solve_direct(problem, basis=basis, size=(38, 38, 32))
    assert error(problem, result, 40) < 1e-11
    assert result.info["relative_residual"] < 1e-10


def test_helmholtz_with_random_features(key):
    problem = pinns.problems.helmholtz3d()
    result = solve_direct(problem, basis="random_features", size=60, key=key)
    assert error(problem, result, 40) < 1e-6
    assert max(result.params["core"].shape) < 40  # dependent features are left out


def test_poisson_in_five_dimensions():
    problem = pinns.problems.poisson(dimension=5)
    result = solve_direct(problem, size=11)
    assert error(problem, result, 7) < 1e-10
    assert result.info["condition"] < 1e4


TIME = {
    "heat": (lambda hard: pinns.problems.heat2d(hard=hard), (18, 20, 24)),
    "wave": (lambda hard: pinns.problems.wave1d(hard=hard), (40, 24)),
}


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("case", TIME)
def test_time_is_an_axis(case, hard):
    make, size = TIME[case]
    problem = make(hard)
    result = solve_direct(problem, size=size)
    assert result.info["path"] == "diagonalization"
    assert error(problem, result) < 1e-9


def test_flow_mixing_to_the_error_of_its_basis():
    """Coarse here: the error is what projecting the exact solution leaves as well."""
    problem = pinns.problems.flow_mixing(final_time=2.0)
    result = solve_direct(problem, size=(12, 26, 26), tolerance=1e-6)
    assert result.info["path"] == "iterative"
    assert result.info["algebraic_residual"] <= 1e-6
    t, x = np.linspace(0.0, 2.0, 9), np.linspace(-4.0, 4.0, 60)
    with jax.enable_x64(True):
        grid = [jnp.asarray(c) for c in np.ix_(t, x, x)]
        exact = np.asarray(problem.exact[0](*grid))
        found = np.asarray(solution(problem, result)(t, x, x))
    columns = np.polynomial.legendre.legvander(x / 4.0, 25)
    project = columns @ np.linalg.pinv(columns)
    best = np.einsum("ax,txy,by->tab", project, exact, project)
    assert np.linalg.norm(found - exact) < 4.0 * np.linalg.norm(best - exact)


def test_fourier_with_periodic_conditions(x64):
    def exact(x, y):
        return jnp.exp(jnp.sin(x)) * jnp.cos(y - jnp.sin(2.0 * x))

    box = pinns.Box(x=(0.0, 2.0 * np.pi), y=(-np.pi, np.pi))
    source = laplacian_of(exact, (1.0, 1.0))

    def residual(u, x, y):
        return u.d("x", 2) + u.d("y", 2) - u - source(x, y) + exact(x, y)

    problem = pinns.Problem(box, residual, [pinns.Periodic(("x", "y"))], exact=exact)
    for basis, size, bound in (("fourier", 55, 1e-11), ("chebyshev", 40, 1e-5)):
        result = solve_direct(problem, basis=basis, size=size)
        assert result.info["path"] == "diagonalization"
        assert error(problem, result) < bound


# -- what comes back ----------------------------------------------------------------


@pytest.mark.parametrize("basis", ["chebyshev", "legendre", "random_features"])
def test_result_is_an_ordinary_model(basis, key, x64):
    problem = pinns.problems.poisson(dimension=3)
    options = {"size": (12, 15, 12)}
    if basis == "random_features":
        options = {"key": key, "size": (40, 44, 40)}
    result = solve_direct(problem, basis=basis, **options)
    assert isinstance(result.model, pinns.Tucker)
    fresh = jax.eval_shape(
        lambda k: result.model.init(k, problem.box, dtype="float64"), key
    )
    assert jax.tree.map(lambda p: (p.shape, p.dtype), result.params) == jax.tree.map(
        lambda p: (p.shape, p.dtype), fresh
    )
    found = solution(problem, result)
    x = np.linspace(0.1, 0.9, 4)
    slope = found.d("x2")(0.3, x, 0.6)
    # A derivative of random features has about a digit less than their values.
    bound = 1e-5 if basis == "random_features" else 1e-9
    np.testing.assert_allclose(slope, np.pi / 2 * np.cos(np.pi * x / 2), atol=bound)
    # The report and the evaluation of the model are two programs: they must agree.
    interior = float(np.mean([found.residual_rms(seed=s) for s in range(3)]))
    assert interior < 100 * result.info["residual"] + 1e-9


def test_core_holds_the_coefficients():
    """3 T_2(x) T_1(y) + 1 comes back as these numbers."""
    box = pinns.Box(x=(-1.0, 1.0), y=(-1.0, 1.0))

    def exact(x, y):
        return 3.0 * (2.0 * x**2 - 1.0) * y + 1.0

    problem = pinns.Problem(
        box,
        lambda u, x, y: u.d("x", 2) + u.d("y", 2) - 12.0 * y,
        [pinns.Dirichlet(exact)],
    )
    core = np.asarray(solve_direct(problem, size=(5, 4)).params["core"][0])
    expected = np.zeros((5, 4))
    expected[0, 0], expected[2, 1] = 1.0, 3.0
    np.testing.assert_allclose(core, expected, atol=1e-14)


def test_sizes_grow_until_the_coefficients_have_fallen():
    problem = pinns.problems.helmholtz3d(a=(1, 4, 1))
    result = solve_direct(problem, tolerance=1e-8)
    assert result.info["sizes"][1] > result.info["sizes"][0]
    assert max(result.info["tail"]) <= 1e-8
    assert error(problem, result) < 1e-7


def test_sizes_stop_growing_with_a_warning():
    """|x| has no fast series: the largest size is reached and said."""
    problem = pinns.Problem(
        pinns.Box(x=(-1.0, 1.0)),
        lambda u, x: u.d("x", 2) - jnp.sign(x - 0.1),
        [pinns.Dirichlet(0.0)],
    )
    with pytest.warns(UserWarning, match=r"coefficients fall to .* sizes \(192,\)"):
        solve_direct(problem, tolerance=1e-14)


def test_single_precision_is_the_double_result_rounded():
    problem = pinns.problems.poisson(dimension=2)
    double = solve_direct(problem, size=8).params["core"]
    single = solve_direct(problem, size=8, dtype="float32").params["core"]
    assert single.dtype == jnp.float32
    np.testing.assert_array_equal(single, np.asarray(double).astype(np.float32))


def test_seconds_are_told_apart():
    info = solve_direct(pinns.problems.poisson(dimension=2), size=8).info
    assert info["compile_seconds"] > 0.0
    assert info["solve_seconds"] > 0.0
