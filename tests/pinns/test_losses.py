"""The grid loss against the same residual written out by hand, and its invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcore.tensor import cp, tensor_train, tucker
from pinns import (
    CP,
    MLP,
    Box,
    Data,
    Dirichlet,
    Initial,
    Neumann,
    Periodic,
    Problem,
    Robin,
    TensorTrain,
    Tucker,
)
from pinns.derivatives import partial
from pinns.domain import AxisPoints
from pinns.evaluation import grid_values
from pinns.losses import GridLoss


BOX = Box(t=(0.0, 1.0), x=(-1.0, 1.0), y=(0.0, 2.0))
MODELS = [CP(rank=3, hidden=(6,)), TensorTrain(rank=2, hidden=(6,)),
          Tucker(rank=2, hidden=(6,)), MLP(hidden=(6, 6))]  # fmt: skip
SEPARABLE = MODELS[:3]


values_on = jax.jit(grid_values, static_argnums=(0, 1, 4, 5))


def name(model):
    return type(model).__name__


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def g(t, x, y):
    return jnp.sin(t) + x * y


def residual(u, t, x, y):
    linear = u.d("t", 2) - 2 * u.d("x", 2) + jnp.cos(x) * u.d("y") + x * t * u.d("x")
    return linear + u.d("x").d("y") / 4 + u**2 + jnp.tanh(u) - g(t, x, y)


def conditions():
    return [
        Initial("t", g, weight=2.0),
        Initial("t", 0.5, order=1),
        Dirichlet(g, axes=("x",), weight=3.0),
        Neumann(lambda t, x: t * x, axes="y", side="lower"),
        Robin(1.0, axes="y", side="upper", alpha=2.0, beta=lambda t: 1 + t),
        Periodic("x", order=2),
        Data(np.array([[0.5, 0.1, 1.0], [0.2, -0.3, 0.4]]), np.array([1.0, -1.0])),
    ]


# One for all tests: what is compiled for it serves them all.
PROBLEM = Problem(BOX, residual, conditions())


def setup(model, counts=(4, 5, 3), sampling="uniform", **options):
    problem = PROBLEM
    params = model.init(jax.random.key(0), BOX, dtype="float64")
    loss = GridLoss(problem, model, counts, "float64", **options)
    points = BOX.points(counts, sampling, key=jax.random.key(1), dtype="float64")
    return problem, params, loss, points


def mean(value, points, axes=(0, 1, 2)):
    """Mean over points, weighted as the point sets say."""
    square = np.asarray(value) ** 2
    for axis in reversed(range(3)):
        w = points[axis].weights if axis in axes else None
        n = square.shape[axis]
        w = np.full(n, 1 / n) if w is None else np.asarray(w)
        square = np.tensordot(square, w, axes=([axis], [0]))
    return float(square)


def by_hand(problem, model, params, points):
    """All groups from values of the model on each face, one by one."""
    x = [p.coordinates for p in points]

    def u(orders=(0, 0, 0), **fixed):
        at = [
            jnp.asarray([fixed[n]]) if n in fixed else c
            for n, c in zip("txy", x, strict=True)
        ]
        return np.asarray(values_on(problem, model, params, at, 0, orders))

    def coordinates(**fixed):
        at = [
            np.array([fixed[n]]) if n in fixed else np.asarray(c)
            for n, c in zip("txy", x, strict=True)
        ]
        return np.meshgrid(*at, indexing="ij")

    t, xx, y = coordinates()
    inner = (
        u((2, 0, 0)) - 2 * u((0, 2, 0)) + np.cos(xx) * u((0, 0, 1))
        + xx * t * u((0, 1, 0)) + u((0, 1, 1)) / 4 + u() ** 2 + np.tanh(u())
        - (np.sin(t) + xx * y)
    )  # fmt: skip
    groups = {"residual": mean(inner, points)}

    t, xx, y = coordinates(t=0.0)
    groups["initial(t)"] = mean(u(t=0.0) - xx * y, points, (1, 2))
    groups["initial(t, order=1)"] = mean(u((1, 0, 0), t=0.0) - 0.5, points, (1, 2))
    sides = []
    for end in (-1.0, 1.0):
        t, xx, y = coordinates(x=end)
        sides.append(mean(u(x=end) - np.sin(t) - xx * y, points, (0, 2)))
    groups["dirichlet(x)"] = np.mean(sides)
    t, xx, _ = coordinates(y=0.0)
    groups["neumann(y, lower)"] = mean(-u((0, 0, 1), y=0.0) - t * xx, points, (0, 1))
    t, xx, _ = coordinates(y=2.0)
    robin = 2 * u(y=2.0) + (1 + t) * u((0, 0, 1), y=2.0) - 1.0
    groups["robin(y, upper)"] = mean(robin, points, (0, 1))
    gaps = [u((0, k, 0), x=-1.0) - u((0, k, 0), x=1.0) for k in range(3)]
    groups["periodic(x)"] = sum(mean(gap, points, (0, 2)) for gap in gaps)
    data = problem.conditions[-1]
    found = [
        float(
            values_on(problem, model, params, [jnp.asarray([c]) for c in row])[0, 0, 0]
        )
        for row in data.points
    ]
    groups["data"] = np.mean((np.asarray(found) - data.values) ** 2)
    return groups


@pytest.mark.parametrize("model", MODELS, ids=name)
@pytest.mark.parametrize("sampling", ["uniform", "gauss_legendre"])
def test_loss_equals_the_formula_by_hand(model, sampling, x64):
    problem, params, loss, points = setup(model, sampling=sampling)
    expected = by_hand(problem, model, params, points)
    assert problem.groups == tuple(expected)
    total, groups = jax.jit(loss)(params, jax.jit(loss.prepare)(points))
    np.testing.assert_allclose(groups, list(expected.values()), rtol=1e-10)
    weights = {"initial(t)": 2.0, "dirichlet(x)": 3.0}
    whole = sum(weights.get(n, 1.0) * v for n, v in expected.items())
    np.testing.assert_allclose(total, whole, rtol=1e-10)


@pytest.mark.parametrize(
    ("model", "sampling"),
    [
        *((model, "chebyshev") for model in SEPARABLE),
        (SEPARABLE[0], "uniform"),
        *(slow(model, "uniform") for model in SEPARABLE[1:]),
    ],
    ids=lambda x: x if isinstance(x, str) else name(x),
)
def test_slabs_change_neither_loss_nor_gradient(model, sampling, x64):
    whole = setup(model, (6, 5, 3), sampling)
    slabs = setup(model, (6, 5, 3), sampling, slab_values=40)
    assert [p.slabs for p in whole[2].plans] == [1] * 7
    assert slabs[2].plans[0].slabs == 3
    results = []
    for _, params, loss, points in (whole, slabs):
        value = jax.jit(jax.value_and_grad(loss, has_aux=True))
        results.append(value(params, jax.jit(loss.prepare)(points)))
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("model", MODELS, ids=name)
@pytest.mark.parametrize("slab_values", [None, 20])
def test_gradient_equals_finite_differences(model, slab_values, x64):
    _, params, loss, points = setup(model, (4, 5, 3), slab_values=slab_values)
    prepared = jax.jit(loss.prepare)(points)
    value = jax.jit(lambda p: loss(p, prepared)[0])
    gradient = jax.jit(jax.grad(value))(params)
    leaves, tree = jax.tree.flatten(params)
    direction = [
        jax.random.normal(k, leaf.shape, "float64")
        for k, leaf in zip(
            jax.random.split(jax.random.key(5), len(leaves)), leaves, strict=True
        )
    ]
    h = 1e-6
    ends = [
        value(jax.tree.unflatten(tree, [p + s * h * d for p, d in zip(
            leaves, direction, strict=True)]))
        for s in (1, -1)
    ]  # fmt: skip
    slope = sum(
        jnp.vdot(a, b)
        for a, b in zip(jax.tree.leaves(gradient), direction, strict=True)
    )
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * h), rtol=1e-6)


@pytest.mark.parametrize("model", SEPARABLE, ids=name)
def test_loss_is_invariant_under_permutation_of_points(model, x64):
    _, params, loss, points = setup(model)
    rng = np.random.default_rng(0)
    shuffled = [
        AxisPoints(jnp.asarray(rng.permutation(np.asarray(p.coordinates))), None)
        for p in points
    ]
    a, b = (
        jax.jit(loss)(params, jax.jit(loss.prepare)(p))[0] for p in (points, shuffled)
    )
    np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("model", SEPARABLE, ids=name)
def test_several_devices_equal_one(model, x64):
    """The first coordinate axis sharded over four devices."""
    problem = Problem(BOX, residual, [Dirichlet(g)])
    params = model.init(jax.random.key(0), BOX, dtype="float64")
    counts = (8, 5, 3)
    loss = GridLoss(problem, model, counts, "float64")
    points = BOX.points(counts, key=jax.random.key(1), dtype="float64")
    value = jax.jit(
        lambda p, x: jax.value_and_grad(loss, has_aux=True)(p, loss.prepare(x))
    )
    one = value(params, points)
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    sharded = jax.device_put(
        points[0].coordinates, NamedSharding(mesh, PartitionSpec("data"))
    )
    rest = jax.device_put((params, points[1:]), NamedSharding(mesh, PartitionSpec()))
    many = value(rest[0], (AxisPoints(sharded, None), *rest[1]))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(many), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


def stacked(model, core, jets, program, terms, known):
    """The linear residual as one factored tensor with the ranks of its terms added."""
    parts = []
    for (leaf, multipliers), coefficient in terms.items():
        _, orders, _ = program.leaves[leaf]
        factors = []
        for jet, order, ids, n in zip(
            jets, orders, multipliers, program.shape, strict=True
        ):
            factor = jet[order][:n]
            for i in ids:
                scale = known[i].reshape(-1, *(1,) * (factor.ndim - 1))
                factor = factor * scale
            factors.append(factor)
        factors[0] = coefficient * factors[0]
        if isinstance(model, CP):
            parts.append(factors)
        elif isinstance(model, TensorTrain):
            parts.append([f.transpose(1, 0, 2) for f in factors])
        else:
            parts.append((core, factors))
    form = {CP: cp, TensorTrain: tensor_train, Tucker: tucker}[type(model)]
    total = parts[0]
    for part in parts[1:]:
        total = form.add(total, part)
    return form, total


@pytest.mark.parametrize("model", SEPARABLE, ids=name)
@pytest.mark.parametrize("dimension", [1, slow(2), 3, slow(4), 5])
def test_factored_norm_equals_grid_norm(model, dimension, x64):
    """||r||^2 by Gram products against the grid, variable coefficients included."""
    box = Box.cube(dimension, (-1.0, 1.0))

    def operator(u, *x):
        total = u + sum((2 + jnp.sin(x[i])) * u.d(f"x{i + 1}", 2)
                        for i in range(dimension))  # fmt: skip
        return total + u.d("x1").d(f"x{dimension}")

    problem = Problem(box, operator)
    params = model.init(jax.random.key(dimension), box, dtype="float64")
    counts = tuple([6, 5, 4, 5, 3][:dimension])
    points = box.points(counts, "gauss_legendre", dtype="float64")
    loss = GridLoss(problem, model, counts, "float64")
    prepared = jax.jit(loss.prepare)(points)
    grid = float(jax.jit(loss)(params, prepared)[0])

    plan = loss.plans[0]
    weights = [np.asarray(p.weights) for p in points]

    @jax.jit
    def factored_norm(params):
        jets = model.factors(params, box, [p.coordinates for p in points], 2)[0]
        norms = []

        def capture(terms, known):
            form, tensor = stacked(
                model, model.core(params), jets, plan.program, terms, known
            )
            norms.append(form.norm_squared(tensor, weights))
            return jnp.zeros(counts)

        fixed, moving = prepared.hoisted[0]
        plan.program.evaluate((*fixed, *moving), capture)
        return norms[0]

    factored = float(factored_norm(params))
    assert abs(factored / grid - 1.0) < 1e-12


def test_source_is_evaluated_once_per_draw_not_per_step():
    """Nothing of the source is left in the compiled step."""

    def slow(t, x, y):
        return jnp.exp(jnp.sin(t * x) + y)

    problem = Problem(
        BOX, lambda u, t, x, y: u.d("t") - slow(t, x, y), [Dirichlet(slow)]
    )
    model = CP(rank=2, hidden=(4,), activation="tanh")
    loss = GridLoss(problem, model, (4, 5, 3))
    prepared = jax.jit(loss.prepare)(BOX.points((4, 5, 3), key=jax.random.key(0)))
    params = model.init(jax.random.key(0), BOX)
    text = str(jax.make_jaxpr(loss)(params, prepared))
    assert "exp" not in text
    assert "sin" not in text


@pytest.mark.parametrize("dimension", [3, 6])
def test_a_laplacian_costs_one_product_of_twice_the_rank(dimension):
    """d second derivatives and u itself, two groups in the final contraction."""
    box = Box.cube(dimension)
    rank, n = 5, 4

    def operator(u, *x):
        return u + sum(u.d(name, 2) for name in box.names)

    model = CP(rank=rank, hidden=(4,))
    loss = GridLoss(Problem(box, operator), model, (n,) * dimension)
    params = model.init(jax.random.key(0), box)
    prepared = jax.jit(loss.prepare)(box.points(n, key=jax.random.key(0)))
    jaxpr = jax.make_jaxpr(loss)(params, prepared)
    products = [
        tuple(v.aval.shape for v in eqn.invars)
        for eqn in jaxpr.jaxpr.eqns
        if eqn.primitive.name == "dot_general"
        and np.prod(eqn.outvars[0].aval.shape) == n**dimension
    ]
    assert len(products) == 1
    assert 2 * rank in products[0][0]


def test_exact_solution_has_no_loss(x64):
    """A separable exact solution, given to the residual as a pointwise function."""

    def u(t, x, y):
        return jnp.exp(-t) * jnp.sin(x) * jnp.cos(y)

    problem = Problem(
        BOX, lambda u, t, x, y: u.d("t") - 0.5 * (u.d("x", 2) + u.d("y", 2)), exact=u
    )
    t, x, y = (
        p.reshape(s)
        for p, s in zip(
            BOX.grid(5, "float64"), [(-1, 1, 1), (1, -1, 1), (1, 1, -1)], strict=True
        )
    )
    assert (
        max(float(jnp.abs(r).max()) for r in problem.exact_residual((t, x, y))) < 1e-14
    )
    laplacian = partial(u, (0, 2, 0))(t, x, y) + partial(u, (0, 0, 2))(t, x, y)
    np.testing.assert_allclose(laplacian, -2 * u(t, x, y), atol=1e-14)
