"""Alternating least squares against dense solves, the factored loss and itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns.factored import FactoredLoss, relative_l2
from pinns.solvers._environments import CPAxis, TrainAxis, half_sweep
from pinns.solvers.als import solve_als


def points_of(problem, counts):
    return problem.box.points(counts, "gauss_legendre", dtype="float64")


def solve(problem, model, counts, *, seed=0, sweeps=30, **options):
    points = points_of(problem, counts)
    key = jax.random.key(seed)
    return solve_als(problem, model, points, key=key, sweeps=sweeps, **options)


def conditions_of_all_kinds():
    box = pinns.Box(t=(0.0, 1.0), x=(-1.0, 1.0), y=(0.0, 2.0))

    def residual(u, t, x, y):
        mixed = u.d("x").d("y") - jnp.exp(-(x**2) - t) * u.d("y", 2)
        return u.d("t") + mixed + x * y * u.d("x") - jnp.sin(x) * (1 + t)

    conditions = [
        pinns.Initial("t", lambda x, y: jnp.cos(x) * y),
        pinns.Periodic("x"),
        pinns.Neumann(lambda t, x: t * x, axes="y", side="lower", weight=3.0),
        pinns.Robin(1.0, axes="y", side="upper", alpha=lambda t: 1 + t, beta=2.0),
    ]
    return pinns.Problem(box, residual, conditions)


def hard_with_lift():
    box = pinns.Box(x=(0.0, 1.0), y=(0.0, 2.0))

    def residual(u, x, y):
        return u.d("x", 2) + u.d("y", 2) - jnp.exp(x) * y

    conditions = [
        pinns.Dirichlet(lambda x: x, axes="y", side="lower", hard=True),
        pinns.Dirichlet(lambda x, y: x + y, axes="x"),
    ]
    return pinns.Problem(box, residual, conditions)


def two_unknowns():
    """u = x + y, v = x y solve it; three equations for two unknowns."""
    box = pinns.Box(x=(0.0, 1.0), y=(-1.0, 1.0))

    def residual(u, v, x, y):
        return (
            u.d("x") - v.d("x").d("y"),
            v.d("x") - (1.0 + x) * u + x + x**2 + x * y,
            u.d("y") - v.d("y") + x - 1.0,
        )

    conditions = [
        pinns.Dirichlet(lambda x: x - 1.0, axes="y", side="lower", unknown="u"),
        pinns.Dirichlet(lambda y: y, axes="x", side="upper", unknown="v"),
    ]
    exact = {"u": lambda x, y: x + y, "v": lambda x, y: x * y}
    return pinns.Problem(
        box, residual, conditions, unknowns=("u", "v"), equations=3, exact=exact
    )


CASES = {
    "kinds_cp": (conditions_of_all_kinds, pinns.CP(rank=3, hidden=(4,)), (9, 8, 10)),
    "kinds_tt": (
        conditions_of_all_kinds,
        pinns.TensorTrain(rank=(2, 3), network="random_features", hidden=(12,)),
        (14, 16, 15),
    ),
    "hard": (
        hard_with_lift,
        pinns.TensorTrain(rank=2, network="siren", hidden=(6,), omega=3.0),
        (9, 8),
    ),
    "unknowns_cp": (
        two_unknowns,
        pinns.CP(rank=2, network="chebyshev", hidden=(3,)),
        (6, 5),
    ),
    "unknowns_tt": (
        two_unknowns,
        pinns.TensorTrain(rank=2, network="chebyshev", hidden=(3,)),
        (6, 5),
    ),
    "one_axis": (
        functools.partial(pinns.problems.poisson, dimension=1),
        pinns.CP(rank=2, network="legendre", hidden=(7,)),
        (9,),
    ),
    "unpadded": (
        functools.partial(pinns.problems.poisson, dimension=3),
        pinns.TensorTrain(rank=12, network="legendre", hidden=(4,)),
        (6, 6, 6),
    ),
    "narrow": (
        functools.partial(pinns.problems.poisson, dimension=3),
        pinns.TensorTrain(rank=4, network="legendre", hidden=(3,)),
        (6, 6, 6),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_loss_is_that_of_the_parameters_and_does_not_rise(case, x64):
    make, model, counts = CASES[case]
    problem = make()
    points = points_of(problem, counts)
    loss = FactoredLoss(problem, model, points, choose="factored")
    found = solve(problem, model, counts, sweeps=12, balance=1.0, loss=loss)
    prepared = loss.prepare(points)
    value, _ = jax.jit(loss)(found.params, prepared)
    floor = found.info.floor
    np.testing.assert_allclose(found.losses[-1], value, rtol=1e-9, atol=floor)
    drops = np.diff(found.losses)
    assert (drops <= 1e-9 * found.losses[:-1] + floor).all()
    assert found.losses[-1] < 0.5 * float(prepared.known.sum())
    assert found.info.refused == 0


@pytest.mark.parametrize("case", ["unknowns_cp", "unknowns_tt"])
def test_several_unknowns_reach_their_solution(case, x64):
    make, model, counts = CASES[case]
    problem = make()
    found = solve(problem, model, counts, sweeps=400, tolerance=1e-12)
    errors = relative_l2(problem, model, found.params)
    assert max(errors.values()) < 1e-6


MODELS = {
    "cp": lambda rank, hidden: pinns.CP(
        rank=rank, network="legendre", hidden=(hidden,)
    ),
    "tt": lambda rank, hidden: pinns.TensorTrain(
        rank=rank, network="legendre", hidden=(hidden,)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_product_is_found_in_one_sweep(name, x64):
    box = pinns.Box(x=(0.0, 1.0), y=(-1.0, 1.0), z=(0.0, 2.0))

    def exact(x, y, z):
        return (1.0 + x**2) * (2.0 - y**3) * (z + 1.0)

    problem = pinns.Problem(
        box, lambda u, x, y, z: u - exact(x, y, z), exact=lambda x, y, z: exact(x, y, z)
    )
    model = MODELS[name](1, 5)
    found = solve(problem, model, (6, 6, 6), sweeps=1)
    assert relative_l2(problem, model, found.params) < 1e-13
    assert abs(found.losses[0]) < found.info.floor


def dense_minimum(hidden, count, source):
    """Returns the smallest loss over all polynomials, from a table of all rows."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    nodes, weights = 0.5 * (nodes + 1.0), 0.5 * weights
    degrees = np.eye(hidden)
    legendre = np.polynomial.legendre

    def basis(x, order):
        columns = [legendre.legval(2 * x - 1, legendre.legder(c, order) if order else c)
                   for c in degrees]  # fmt: skip
        return 2.0**order * np.stack(columns, axis=1)

    value, second = basis(nodes, 0), basis(nodes, 2)
    root = np.sqrt(weights)
    inside = np.kron(root[:, None] * second, root[:, None] * value)
    inside = inside + np.kron(root[:, None] * value, root[:, None] * second)
    x, y = np.meshgrid(nodes, nodes, indexing="ij")
    right = [-(np.outer(root, root) * source(x, y)).ravel()]
    rows = [inside]
    ends = np.array([0.0, 1.0])
    faces = np.sqrt(0.5 * 0.5)  # mean over two axes and over two ends
    rows.append(faces * np.kron(basis(ends, 0), root[:, None] * value))
    rows.append(faces * np.kron(root[:, None] * value, basis(ends, 0)))
    right += [np.zeros(2 * count)] * 2
    matrix, side = np.concatenate(rows), np.concatenate(right)
    solution = np.linalg.lstsq(matrix, side, rcond=None)[0]
    return np.sum((matrix @ solution - side) ** 2)


@pytest.mark.parametrize("name", MODELS)
def test_full_rank_reaches_the_dense_minimum(name, x64):
    def residual(u, x1, x2):
        return u.d("x1", 2) + u.d("x2", 2) + jnp.exp(3 * x1) * jnp.cos(2 * x2)

    problem = pinns.Problem(pinns.Box.cube(2), residual, [pinns.Dirichlet(0.0)])
    least = dense_minimum(5, 9, lambda x, y: np.exp(3 * x) * np.cos(2 * y))
    found = solve(problem, MODELS[name](5, 5), (9, 9), sweeps=60, tolerance=1e-13)
    assert least > 1e-3
    np.testing.assert_allclose(found.losses[-1], least, rtol=1e-8)


def test_cp_and_train_agree_at_rank_one(x64):
    def residual(u, x1, x2, x3):
        laplacian = u.d("x1", 2) + u.d("x2", 2) + u.d("x3", 2)
        return laplacian - 3.0 * u + jnp.exp(x1) * (1 + x2) * jnp.cos(x3)

    problem = pinns.Problem(pinns.Box.cube(3), residual, [pinns.Dirichlet(0.0)])
    losses = [
        solve(problem, make(1, 6), (8, 8, 8), sweeps=100, tolerance=1e-12).losses[-1]
        for make in MODELS.values()
    ]
    assert losses[0] > 1e-3
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)


@pytest.mark.parametrize("dimension", [3, 5])
def test_poisson_in_few_dimensions(dimension, x64):
    problem = pinns.problems.poisson(dimension=dimension)
    model = MODELS["tt"](2, 12)
    loss = FactoredLoss(problem, model, points_of(problem, 16), choose="factored")
    errors = [
        relative_l2(problem, model, found.params)
        for seed in range(3)
        if (found := solve(problem, model, 16, seed=seed, sweeps=120, loss=loss))
    ]
    assert max(errors) < 1e-9


@pytest.mark.parametrize(("name", "rank", "bound"), [("tt", 2, 1e-8), ("cp", 8, 2e-5)])
def test_poisson_in_twenty_dimensions(name, rank, bound, x64):
    problem = pinns.problems.poisson(dimension=20)
    model = MODELS[name](rank, 10)
    found = solve(problem, model, 14, sweeps=200)
    assert relative_l2(problem, model, found.params) < bound
    assert found.info.condition < 1e12


def test_starts_are_compared_and_the_best_is_kept(x64):
    problem = pinns.problems.poisson(dimension=3)
    model = MODELS["cp"](2, 6)
    points = points_of(problem, 8)
    loss = FactoredLoss(problem, model, points, choose="factored")
    found = solve(problem, model, 8, sweeps=10, starts=4, loss=loss)
    last = found.info.start_losses[:, -1]
    assert found.info.start_losses.shape == (4, 10)
    assert len(set(last.tolist())) == 4
    assert found.info.best == np.argmin(last)
    np.testing.assert_array_equal(
        found.losses, found.info.start_losses[np.argmin(last)]
    )
    value, _ = jax.jit(loss)(found.params, loss.prepare(points))
    np.testing.assert_allclose(value, last.min(), rtol=1e-9)


def test_heavier_conditions_first_need_fewer_sweeps(x64):
    problem = pinns.problems.poisson(dimension=4)
    model = MODELS["tt"](2, 8)
    points = points_of(problem, 10)
    loss = FactoredLoss(problem, model, points, choose="factored")
    plain, balanced = (
        solve(problem, model, 10, sweeps=60, balance=b, loss=loss) for b in (1.0, None)
    )
    assert balanced.info.balance > 1e3
    assert plain.info.balance == 1.0
    assert balanced.losses[-1] < 1e-3 * plain.losses[-1]


def test_ways_to_stop(x64):
    problem = pinns.problems.poisson(dimension=2)
    model = MODELS["tt"](2, 6)
    seen = []
    found = solve(
        problem, model, 8, sweeps=9, tolerance=1e-30, report=lambda *a: seen.append(a)
    )
    assert found.info.stopped == "sweeps"
    assert [n for n, _ in seen] == list(range(1, 10))
    np.testing.assert_array_equal([value for _, value in seen], found.losses)
    assert found.info.features == (6, 6)
    found = solve(problem, model, 8, sweeps=10_000, tolerance=1e-30, seconds=1e-9)
    assert found.info.stopped == "seconds"
    assert len(found.losses) < 100
    found = solve(problem, model, 8, sweeps=10_000, tolerance=1e-3)
    assert found.info.stopped == "tolerance"
    assert found.info.steps[-1] <= 1e-3
    assert found.info.solve_seconds > 0 < found.info.setup_seconds


@pytest.mark.parametrize("axis", [CPAxis, TrainAxis])
def test_program_does_not_grow_with_the_dimension(axis, x64):
    from pinns.solvers import als

    def size(dimension):
        problem = pinns.problems.poisson(dimension=dimension)
        model = MODELS["cp" if axis is CPAxis else "tt"](2, 4)
        loss = FactoredLoss(problem, model, points_of(problem, 6), choose="factored")
        solver = als._Solver(loss)
        _, _, grams, state = jax.eval_shape(
            solver.start, jax.random.split(jax.random.key(0), 1), solver.data
        )
        network = jax.eval_shape(lambda g: solver.network(g, 1.0), grams)
        half = functools.partial(als._half, axis)
        jaxpr = jax.make_jaxpr(half)(network, *state, 1e-10, True)
        return str(jaxpr).count(" = ")

    assert size(12) == size(6) > 10
    assert half_sweep is als.half_sweep


def cube(residual, conditions=(), **options):
    return pinns.Problem(pinns.Box.cube(2), residual, conditions, **options)


def test_refusals(x64):
    problem = pinns.problems.poisson(dimension=2)
    model = MODELS["cp"](2, 4)
    with pytest.raises(TypeError, match=r"`model` must be a pinns.CP or pinns.Tensor"):
        solve(problem, pinns.Tucker(rank=2), 6)
    for name, value in {"sweeps": 0, "starts": 1.5}.items():
        with pytest.raises(ValueError, match=f"`{name}` must be a positive integer"):
            solve(problem, model, 6, **{name: value})
    for name, value in {"tolerance": 0.0, "seconds": -1.0, "balance": 0}.items():
        with pytest.raises(ValueError, match=f"`{name}` must be a positive number"):
            solve(problem, model, 6, **{name: value})
    with pytest.raises(ValueError, match=r"`balance` must be at least 1, got 0\.5"):
        solve(problem, model, 6, balance=0.5)
    data = pinns.Data(np.array([[0.1, 0.2]]), np.array([1.0]))
    measured = cube(lambda u, x1: u.d("x1"), [data])
    with pytest.raises(ValueError, match="data at scattered points are not separable"):
        solve(measured, model, 6)
    with pytest.raises(ValueError, match="'residual' multiplies unknowns"):
        solve(cube(lambda u, x1: u.d("x1") * u - 1.0), model, 6)
    with pytest.raises(ValueError, match="'residual' is not separable"):
        solve(cube(lambda u, x1: jnp.sin(u.values) - x1), model, 6)
