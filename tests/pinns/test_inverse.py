"""Unknown numbers and functions: losses, recovery, uncertainty, storage."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns import report
from pinns.evaluation import grid_values, initial_params
from pinns.factored import FactoredLoss
from pinns.fingerprint import describe_problem
from pinns.inverse import _equation_matrix, _marginal
from pinns.losses import GridLoss
from pinns.parameters import Parameters, Unknown


BOX = pinns.Box(t=(0.0, 1.0), x=(0.0, 2.0))
SMALL = pinns.CP(rank=2, network="legendre", hidden=(4,))
MODELS = [
    pinns.CP(rank=2, hidden=(3,)),
    pinns.TensorTrain(rank=2, hidden=(3,)),
    pinns.Tucker(rank=2, hidden=(3,)),
    pinns.MLP(hidden=(3,)),
]
COUNTS = (4, 3)
POINTS = np.array([[0.1, 0.3], [0.7, 1.9], [0.5, 1.0]])
DATA = pinns.Data(POINTS, np.array([0.2, -0.1, 0.4]))
UNKNOWNS = {
    "nu": Unknown(0.3, positive=True),
    "k": Unknown(2.0, positive=True, axes="x"),
    "q": Unknown(0.5, axes=("t", "x"), model=SMALL),
    "c": Unknown(-1.0),
}


def residual(u, nu, k, q, c, t, x):
    """Every kind of product there is: numbers, functions, both, with known ones."""
    flux = (k * u.d("x")).d("x") + nu * u.d("x", 2) * x
    return u.d("t") - flux + nu**2 * u * u.d("x") - jnp.sin(t) * q - nu * c + k * u


@cache
def stated():
    conditions = [
        pinns.Initial("t", lambda x: jnp.sin(x)),
        pinns.Dirichlet(1.5, "x", "lower", unknown="k"),
        DATA,
    ]
    return pinns.Problem(BOX, residual, conditions, parameters=UNKNOWNS)


@cache
def moved(problem, model):
    """Parameters away from their start, so that nothing is zero by chance."""
    params = initial_params(problem, model, jax.random.key(0), "float64")
    leaves, tree = jax.tree.flatten(params["parameters"])
    keys = jax.random.split(jax.random.key(1), len(leaves))
    own = [
        leaf + 0.2 * jax.random.normal(k, leaf.shape)
        for leaf, k in zip(leaves, keys, strict=True)
    ]
    return {**params, "parameters": jax.tree.unflatten(tree, own)}


def by_hand(problem, model, params, rule):
    """The loss from its definition, with derivatives by jax.grad."""
    found = problem.parameters

    def at(name, t, x):
        place = [jnp.reshape(t, (1,)), jnp.reshape(x, (1,))]
        return found.value(params, found.number(name), (0, 0), place)[0]

    def u(t, x):
        place = (jnp.reshape(t, (1,)), jnp.reshape(x, (1,)))
        return grid_values(problem, model, params, place)[0, 0]

    def r(t, x):
        nu, c = at("nu", t, x), at("c", t, x)
        slope = jax.grad(u, 1)
        flux = jax.grad(lambda y: at("k", t, y) * slope(t, y))(x)
        flux = flux + nu * x * jax.grad(slope, 1)(t, x)
        out = jax.grad(u, 0)(t, x) - flux + nu**2 * u(t, x) * slope(t, x)
        return out - jnp.sin(t) * at("q", t, x) - nu * c + at("k", t, x) * u(t, x)

    (t, wt), (x, wx) = rule
    inside = jax.vmap(lambda a: jax.vmap(lambda b: r(a, b))(x))(t)
    start = jax.vmap(lambda b: u(jnp.zeros(()), b))(x) - jnp.sin(x)
    gap = jax.vmap(u)(*jnp.asarray(POINTS).T) - jnp.asarray(DATA.values)
    edge = at("k", jnp.zeros(()), jnp.zeros(())) - 1.5
    return wt @ inside**2 @ wx + wx @ start**2 + edge**2 + jnp.mean(gap**2)


@pytest.mark.parametrize("model", [MODELS[0], MODELS[3]], ids=lambda m: m.name)
def test_grid_loss_is_the_formula(model, x64):
    """In one slab and in several; with gradients by the parameters."""
    problem = stated()
    rule = BOX.points(COUNTS, "gauss_legendre", dtype="float64")
    params = moved(problem, model)
    expected = jax.jit(jax.value_and_grad(lambda p: by_hand(problem, model, p, rule)))(
        params
    )
    for slab in (None, 3) if model.name == "cp" else (None,):
        loss = GridLoss(problem, model, COUNTS, "float64", slab_values=slab)
        prepared = jax.jit(loss.prepare)(rule)
        run = jax.jit(jax.value_and_grad(lambda p, q, f=loss: f(p, q)[0]))
        found = run(params, prepared)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12),
            found,
            expected,
        )


@pytest.mark.parametrize("model", MODELS[:3], ids=lambda m: m.name)
def test_factored_loss_is_the_grid_loss(model, x64):
    """Numbers and functions stay factored, in every format."""
    problem = stated()
    rule = BOX.points(COUNTS, "gauss_legendre", dtype="float64")
    params = moved(problem, model)
    grid = GridLoss(problem, model, COUNTS, "float64")
    products, orthogonal = (
        FactoredLoss(
            problem, model, rule, "float64", choose="factored", orthogonalize=choice
        )
        for choice in (False, True)
    )
    assert not products.grid_terms
    a, b = jax.jit(grid.prepare)(rule), products.prepare(rule)

    def gap(loss):
        def of(params):
            one, other = grid(params, a)[0], loss(params, b)[0]
            return one - other, one

        return jax.value_and_grad(of, has_aux=True)

    found = jax.jit(lambda p: [gap(loss)(p) for loss in (products, orthogonal)])(params)
    for (rest, one), slopes in found:
        assert abs(float(rest)) < 1e-11 * float(one)
        for slope in jax.tree.leaves(slopes):
            assert np.abs(np.asarray(slope)).max() < 1e-10


def test_an_unknown_number_does_not_raise_the_cost():
    """Families that differ by a number have factors of the same rank."""
    problem = stated()
    rule = BOX.points(COUNTS, "gauss_legendre", dtype="float32")
    loss = FactoredLoss(problem, pinns.CP(rank=5), rule, "float32")
    numbers = [problem.parameters.number(n) for n in ("nu", "c")]
    assert loss._rank((0, *numbers)) == loss._rank((0,)) == 5
    assert loss._rank((0, problem.parameters.number("k"))) == 5
    assert loss._rank((0, problem.parameters.number("q"))) == 5 * 3


def test_derivatives_of_parameters(x64):
    """Constant along other axes; the product rule along their own."""
    problem = stated()
    params = moved(problem, MODELS[0])
    found = problem.parameters
    value = jax.jit(found.value, static_argnums=(1, 2))
    t, x = np.linspace(0, 1, 4)[:, None], np.linspace(0, 2, 5)[None]
    q, k = found.number("q"), found.number("k")
    step = 1e-5
    for number, orders in ((q, (1, 0)), (q, (0, 1)), (k, (0, 1))):
        shift = [step * o for o in orders]
        up, down = (
            value(params, number, (0, 0), [t + s * shift[0], x + s * shift[1]])
            for s in (1, -1)
        )
        slope = value(params, number, orders, [t, x])
        np.testing.assert_allclose(slope, (up - down) / (2 * step), rtol=1e-6)
    assert value(params, k, (0, 0), [t, x]).shape == (1, 5)
    assert not np.any(value(params, k, (1, 0), [t, x]))


def test_starts():
    problem = stated()
    params = initial_params(problem, MODELS[0], jax.random.key(3), "float32")
    found = problem.parameters
    value = jax.jit(found.value, static_argnums=(1, 2))
    x = [np.zeros((1, 1), np.float32), np.linspace(0.0, 2.0, 3, dtype="f4")[None]]
    np.testing.assert_allclose(found.scalar(params, found.number("nu")), 0.3, rtol=1e-6)
    np.testing.assert_allclose(found.scalar(params, found.number("c")), -1.0)
    k = value(params, found.number("k"), (0, 0), x)
    np.testing.assert_allclose(k, 2.0, rtol=1e-6)
    q = value(params, found.number("q"), (0, 0), x)
    assert 0.0 < np.abs(np.asarray(q) - 0.5).max() < 0.5


# A linear problem with a Gaussian posterior: u' = q, u(0) = 0, u in polynomials.
LINE = pinns.Box(x=(0.0, 1.0))
LINE_MODEL = pinns.CP(rank=1, network="legendre", hidden=(4,))


def line(weight, x, y):
    return pinns.Problem(
        LINE,
        lambda u, q: u.d("x") - q,
        [pinns.Dirichlet(0.0, "x", "lower", weight=weight), pinns.Data(x[:, None], y)],
        parameters={"q": Unknown(1.0, exact=2.0)},
        exact=lambda x: 2.0 * x,
        weight=weight,
        name="line",
    )


def legendre_design(x):
    """Columns of P_0 .. P_3 on [0, 1] and of their derivatives."""
    basis = np.polynomial.legendre.Legendre.basis
    columns = [basis(k, domain=[0, 1]) for k in range(4)]
    return (
        np.stack([c(x) for c in columns], -1),
        np.stack([c.deriv()(x) for c in columns], -1),
    )


@pytest.fixture(scope="module")
def measured():
    rng = np.random.default_rng(3)
    x = rng.random(12)
    return x, 2.0 * x + 0.1 * rng.standard_normal(12)


def fitted(weight, measured):
    return pinns.solve(
        line(weight, *measured),
        LINE_MODEL,
        "gauss_newton",
        points=8,
        steps=40,
        key=jax.random.key(0),
    )


@pytest.fixture(scope="module")
def soft(measured):
    return fitted(3.0, measured)


def test_uncertainty_is_the_gaussian_posterior(soft, measured):
    """Against dense normal equations in NumPy; the state is marginalized."""
    x, y = measured
    values, _ = legendre_design(x)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    _, slopes = legendre_design(0.5 * (nodes + 1))
    equation = (
        np.concatenate([slopes, -np.ones((8, 1))], 1)
        * np.sqrt(3.0 * weights / 2)[:, None]
    )
    start = np.sqrt(3.0) * np.append(legendre_design(np.zeros(1))[0][0], 0.0)
    rows = np.concatenate([values, np.zeros((12, 1))], 1)
    sigma = 0.1
    soft_part = equation.T @ equation + np.outer(start, start)
    precision = rows.T @ rows / sigma**2 + 12 / sigma**2 * soft_part
    covariance = np.linalg.inv(precision)
    mean = covariance @ rows.T @ y / sigma**2
    np.testing.assert_allclose(soft.parameters["q"], mean[-1], rtol=1e-8)
    found = soft.uncertainty(sigma)
    np.testing.assert_allclose(found.covariance, covariance[-1:, -1:], rtol=1e-8)
    held = 1.0 / precision[-1, -1]  # the state held fixed: too sure by far
    assert found.covariance[0, 0] > 2.0 * held
    degrees = np.sum(covariance * (rows.T @ rows)) / sigma**2
    np.testing.assert_allclose(found.degrees, degrees, rtol=1e-8)
    estimated = soft.uncertainty()
    gap = rows @ mean - y
    noise = np.sqrt(gap @ gap / (12 - degrees))
    np.testing.assert_allclose(estimated.noise["data"], noise, rtol=1e-6)
    np.testing.assert_allclose(
        estimated.standard_errors["q"],
        noise / sigma * np.sqrt(covariance[-1, -1]),
        rtol=1e-6,
    )
    assert str(found).startswith("q = ")
    assert "+-" in str(found)


def test_uncertainty_with_a_hard_equation_is_that_of_regression(measured):
    """u = q x: the variance of a regression through the origin."""
    x, y = measured
    found = fitted(1e5, measured)
    np.testing.assert_allclose(found.parameters["q"], x @ y / (x @ x), rtol=1e-4)
    deviation = found.uncertainty(0.1).standard_errors["q"]
    np.testing.assert_allclose(deviation, 0.1 / np.sqrt(x @ x), rtol=1e-3)


def test_what_is_not_determined_has_infinite_variance():
    matrix = np.diag([2.0, 3.0, 4.0])
    matrix[1, 1] = 0.0
    found = _marginal(matrix, np.array([0, 1]))
    np.testing.assert_allclose(found, [[0.5, 0.0], [0.0, np.inf]])


def test_equation_matrix_on_the_grid_is_the_factored_one(soft, x64):
    """Two ways to the same Gauss-Newton matrix."""
    flat, unravel = jax.flatten_util.ravel_pytree(soft.params)
    factored = _equation_matrix(soft, [6], flat, unravel)
    problem = pinns.Problem(
        LINE,
        lambda u, q, x: u.d("x") - q + 0.0 * jnp.sin(u),  # no sum of products
        soft.problem.conditions,
        parameters={"q": Unknown(1.0)},
        weight=3.0,
    )
    other = pinns.Solution(
        **{
            **{
                name: getattr(soft, name)
                for name in (
                    "model", "params", "dtype", "history", "result", "step",
                    "settings", "timings",
                )
            },
            "problem": problem,
        }
    )  # fmt: skip
    assert FactoredLoss(
        problem, soft.model, LINE.points(6, "gauss_legendre", dtype="float64")
    ).grid_terms
    found = _equation_matrix(other, [6], flat, unravel)
    np.testing.assert_allclose(found, factored, rtol=1e-9, atol=1e-12)


def test_reported_against_the_truth(soft):
    """Rows for people and the record for programs, as the command line prints them."""
    q, error = soft.parameters["q"], soft.parameter_errors()["q"]
    np.testing.assert_allclose(error, abs(q - 2.0) / 2.0)
    assert report.parameter_rows(soft) == [
        ("parameter q", f"{q:.6g} (true 2), relative error {error:.2e}")
    ]
    assert report.parameters(soft) == {
        "q": {"value": q, "exact": 2.0, "relative_error": error}
    }
    rows = dict(report.uncertainty_rows(soft))
    deviation = soft.uncertainty().standard_errors["q"]
    assert rows["standard error of q"] == f"{deviation:.2e}"
    assert "noise of the measurements, estimated" in rows


def test_saved_and_loaded(soft, tmp_path, measured):
    again = pinns.load(soft.save(tmp_path / "run"), line(3.0, *measured))
    assert again.parameters == soft.parameters
    assert again.parameter_errors() == soft.parameter_errors()
    other = pinns.Problem(
        LINE,
        lambda u, q: u.d("x") - q,
        soft.problem.conditions,
        parameters={"q": Unknown(1.0, positive=True)},
        name="line",
    )
    with pytest.raises(pinns.LoadError, match="was saved with parameters"):
        pinns.load(tmp_path / "run", other)


def test_resumes_from_a_checkpoint_to_the_bit(tmp_path, measured):
    method, problem = "ssbroyden", line(1.0, *measured)
    common = {"points": 6, "key": jax.random.key(0)}
    whole = pinns.solve(problem, LINE_MODEL, method, steps=6, **common)
    folder = tmp_path / "steps"
    pinns.solve(problem, LINE_MODEL, method, steps=3, checkpoint=folder, **common)
    found = pinns.solve(
        problem, LINE_MODEL, method, steps=6, checkpoint=folder, **common
    )
    jax.tree.map(np.testing.assert_array_equal, found.params, whole.params)
    assert found.parameters["q"] != 1.0


def test_resume_goes_on_with_the_numbers(measured):
    common = {"points": 6, "key": jax.random.key(0)}
    first = pinns.solve(line(1.0, *measured), LINE_MODEL, "adam", steps=2, **common)
    assert pinns.resume(first, 3).parameters["q"] != first.parameters["q"]


def test_the_fingerprint_knows_parameters(measured):
    one, other = line(1.0, *measured), line(1.0, *measured)
    other.parameters = Parameters(LINE, {"q": Unknown(5.0)}, ("u",))
    a, b = describe_problem(one), describe_problem(other)
    assert a["terms"] == b["terms"]
    assert a["parameters"] != b["parameters"]


def test_several_unknowns_and_hard_conditions(measured):
    """v' = p u, u' = q: both numbers from both functions."""
    x = np.linspace(0.05, 1.0, 9)[:, None]
    problem = pinns.Problem(
        LINE,
        lambda u, v, q, p: (u.d("x") - q, v.d("x") - p * u),
        [pinns.Dirichlet(0.0, "x", "lower", unknown=n, hard=True) for n in ("u", "v")]
        + [
            pinns.Data(x, 2.0 * x[:, 0], unknown="u", name="u seen"),
            pinns.Data(x, 3.0 * x[:, 0] ** 2, unknown="v", name="v seen"),
        ],
        unknowns=("u", "v"),
        parameters={"q": Unknown(1.0, exact=2.0), "p": Unknown(1.0, exact=3.0)},
    )
    solution = pinns.solve(
        problem, LINE_MODEL, points=6, steps=60, key=jax.random.key(1)
    )
    assert solution.settings["method"] == "gauss_newton"
    assert "unknown parameters (q, p)" in solution.settings["reason"]
    assert max(solution.parameter_errors().values()) < 1e-6
    found = solution.uncertainty({"u seen": 0.1, "v seen": 0.2})
    assert found.noise == {"u seen": 0.1, "v seen": 0.2}
    # More noise in v makes its number less certain, that of u hardly.
    worse = solution.uncertainty({"u seen": 0.1, "v seen": 0.4})
    assert worse.standard_errors["p"] > 1.3 * found.standard_errors["p"]
    with pytest.raises(ValueError, match=r"`noise` must be given for \(u seen, v"):
        solution.uncertainty({"u seen": 0.1})


def test_a_coefficient_is_a_function_of_its_axes(x64):
    problem = stated()
    common = {"points": 4, "steps": 1, "key": jax.random.key(0)}
    solution = pinns.solve(problem, MODELS[0], "adam", **common)
    k, q = solution.parameters["k"], solution.parameters["q"]
    assert (k.axes, q.axes) == (("x",), ("t", "x"))
    x = np.linspace(0.0, 2.0, 5)
    assert k(x).shape == (5,)
    assert k(0.5).shape == ()
    assert q(0.5, x).shape == (5,)
    np.testing.assert_allclose(k.at(x[:, None]), k(x))
    np.testing.assert_allclose(q.at(np.stack([0 * x, x], -1)), q(0.0, x), rtol=1e-6)
    step = 1e-2
    slope = (q(0.3, x + step) - q(0.3, x - step)) / (2 * step)
    np.testing.assert_allclose(q.d("x")(0.3, x), slope, rtol=2e-2, atol=1e-3)
    assert repr(k) == "Coefficient(k of x)"
    with pytest.raises(ValueError, match=r"expected 2 coordinates \(t, x\), got 1"):
        q(x)
    with pytest.raises(ValueError, match="'x' must be a number or a 1-D array"):
        k(x[:, None])
    with pytest.raises(ValueError, match=r"`points` must have shape \(..., 2\)"):
        q.at(x[:, None])
    with pytest.raises(ValueError, match=r"'k' varies along \(x\), got 't'"):
        k.d("t")
    with pytest.raises(ValueError, match=r"is in `solution.parameters`"):
        solution["k"]
    # Another rank for u leaves the parameters as they are.
    grown = solution.grown(3, jax.random.key(1))
    assert float(grown.parameters["nu"]) == solution.parameters["nu"]
    assert solution.certificate(points=8).error_bound is None


def test_gradient_enhanced_with_parameters(x64):
    """The extra terms are the derivatives of the residual: by finite differences."""
    from pinns.baselines import gradient_enhanced
    from pinns.evaluation import scattered_residual

    problem = stated()
    enhanced = gradient_enhanced(problem, 1.0)
    params = moved(problem, MODELS[0])
    rule = BOX.points((3, 3), "gauss_legendre", dtype="float64")
    loss = GridLoss(enhanced, MODELS[0], (3, 3), "float64")
    groups = jax.jit(loss)(params, loss.prepare(rule))[1]
    t, x = np.meshgrid(*(np.asarray(p.coordinates) for p in rule), indexing="ij")
    points = np.stack([t.ravel(), x.ravel()], -1)
    run = jax.jit(lambda p: scattered_residual(problem, MODELS[0], params, p)[0])
    wide = np.outer(*(np.asarray(p.weights) for p in rule)).ravel()
    total = 0.0
    for axis in range(2):
        shift = 1e-5 * np.eye(2)[axis]
        slope = (run(points + shift) - run(points - shift)) / 2e-5
        total += wide @ np.asarray(slope) ** 2
    name = enhanced.groups.index("residual gradient")
    np.testing.assert_allclose(2 * groups[name], total, rtol=1e-6)


def test_bad_uncertainty(soft, measured):
    with pytest.raises(ValueError, match="`noise` must be a positive number, got -1"):
        soft.uncertainty(-1)
    with pytest.raises(ValueError, match="`points` must be a positive integer"):
        soft.uncertainty(0.1, points=0)
    few = pinns.solve(
        line(1e-9, *(m[:2] for m in measured)),
        LINE_MODEL,
        "gauss_newton",
        points=6,
        steps=2,
        key=jax.random.key(0),
    )
    with pytest.raises(ValueError, match="2 measurements are too few to estimate"):
        few.uncertainty()
    plain = pinns.solve(
        pinns.problems.poisson(dimension=1), method="direct", size=6, progress=False
    )
    assert plain.parameters == {}
    assert plain.parameter_errors() == {}
    with pytest.raises(ValueError, match="has no unknown numbers"):
        plain.uncertainty()


def test_too_many_numbers_for_a_dense_matrix(measured):
    model = pinns.CP(rank=1, network="legendre", hidden=(4_100,))
    common = {"points": 4, "steps": 1, "key": jax.random.key(0)}
    solution = pinns.solve(line(1.0, *measured), model, "adam", **common)
    with pytest.raises(ValueError, match="is for at most 4000, got 4101"):
        solution.uncertainty()
