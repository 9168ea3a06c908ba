"""Rounding stays within its tolerance, conversions and growth keep the function."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns import CP, MLP, Box, Dirichlet, Problem, TensorTrain, Tucker, ranks
from pinns.evaluation import grid_values
from pinns.solution import History, Solution
from tests._cases import pairs


BOX = Box(t=(0.0, 1.0), x=(-1.0, 1.0), y=(0.0, 2.0))
COUNT = 40
MODELS = {
    "cp": CP(rank=5, hidden=(9,), network="chebyshev"),
    "tt": TensorTrain(rank=(3, 4), hidden=(8,)),
    "tucker": Tucker(rank=(2, 4, 3), hidden=(8,), network="siren", omega=3.0),
}
FORMS = tuple(MODELS)
each_model = pytest.mark.parametrize("name", MODELS)


def started(model, problem, seed=0, dtype="float64"):
    key = jax.random.key(seed)
    unknowns = len(problem.unknowns)
    return model.init(key, problem.box, unknowns=unknowns, dtype=dtype)


@functools.cache
def make_problem(hard=False, unknowns=("u",)):
    conditions = [
        Dirichlet(lambda t: 1 + t, axes="x", hard=hard, unknown=u) for u in unknowns
    ]
    if len(unknowns) == 1:
        return Problem(BOX, lambda u, t: u.d("t") - t, conditions, name="one")
    return Problem(
        BOX, lambda u, v: (u.d("t"), v.d("x") + u), conditions, unknowns=unknowns
    )


def values(problem, model, params, unknown=0, count=COUNT):
    """The model without a lift times the roots of the weights, on a grid, in NumPy."""
    flags = problem.hard.exponents()
    arrays = []
    for k, points in enumerate(
        problem.box.points(count, "gauss_legendre", dtype="float64")
    ):
        x, weights = points.coordinates, np.asarray(points.weights)
        a, b = problem.box.intervals[k]
        own = _network(model, params, problem, unknown, k)
        bare = model.net.with_output(own, jnp.zeros((model.net.num_features, 1)))
        features = np.asarray(_features(model.net, bare, x, jnp.array([a, b])))
        factor = (
            np.sqrt(weights)[:, None] * features @ np.asarray(model.net.output(own))
        )
        if flags is not None and flags[unknown, k].any():
            factor = factor * np.asarray(4 * (x - a) * (b - x) / (b - a) ** 2)[:, None]
        arrays.append(factor.reshape(-1, *model.shapes(problem.box.dimension)[k]))
    if model.name == "cp":
        return np.einsum("ar,br,cr->abc", *arrays)
    if model.name == "tt":
        return np.einsum("aij,bjk,ckl->abc", *arrays)
    return np.einsum("ai,bj,ck,ijk->abc", *arrays, np.asarray(params["core"][unknown]))


def _network(model, params, problem, unknown, axis):
    groups = model.groups(problem.box.dimension, len(problem.unknowns))
    member = (unknown, axis)
    width = next(w for w, members in groups.items() if member in members)
    i = groups[width].index(member)
    return jax.tree.map(
        lambda p: jnp.asarray(np.asarray(p)[i]), params[f"factors_{width}"]
    )


@functools.partial(jax.jit, static_argnums=0)
def _features(net, params, x, ends):
    return net.features(params, x, ends)


def distance(problem, a, b, unknown=0):
    """Relative L2 distance over the box, by dense quadrature."""
    one, other = (values(problem, *x, unknown) for x in (a, b))
    return np.linalg.norm(one - other) / np.linalg.norm(one)


@pytest.mark.parametrize(
    ("name", "form", "hard"), pairs(list(MODELS), FORMS, [False, True])
)
def test_conversions_keep_the_function(name, form, hard, x64):
    problem, model = make_problem(hard), MODELS[name]
    params = started(model, problem)
    new, changed = ranks.converted(problem, model, params, form)
    assert new.name == form
    assert new.net == dataclasses.replace(model.net, initializer=new.net.initializer)
    template = jax.eval_shape(
        lambda k: new.init(k, BOX, dtype="float64"), jax.random.key(0)
    )
    assert jax.tree.map(jnp.shape, changed) == jax.tree.map(jnp.shape, template)
    assert distance(problem, (model, params), (new, changed)) < 1e-13


@pytest.mark.parametrize(
    ("kind", "form", "dimension"), pairs([CP, TensorTrain, Tucker], FORMS, [1, 4])
)
def test_conversions_in_other_dimensions(kind, form, dimension, x64):
    problem = pinns.problems.poisson(dimension=dimension)
    model = kind(rank=2, hidden=(5,))
    params = started(model, problem)
    new, changed = ranks.converted(problem, model, params, form)
    points = jax.random.uniform(jax.random.key(1), (50, dimension))
    ours, theirs = (
        make_solution(problem, *x).at(points) for x in ((model, params), (new, changed))
    )
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-13 * np.abs(ours).max())


@pytest.mark.parametrize(
    ("name", "tolerance", "hard"), pairs(list(MODELS), [0.3, 1e-3, 0.0], [False, True])
)
def test_rounding_stays_within_the_tolerance(name, tolerance, hard, x64):
    problem, model = make_problem(hard), MODELS[name]
    params = started(model, problem)
    new, changed = ranks.rounded(problem, model, params, tolerance)
    error = distance(problem, (model, params), (new, changed))
    assert error <= max(tolerance, 1e-13)
    before, after = (m.num_parameters(BOX) for m in (model, new))
    assert after <= before
    if tolerance == 0.3:
        assert after < before
        assert error > 1e-6


@each_model
def test_ranks_are_those_of_the_unfoldings(name, x64):
    """Against singular values of the dense table."""
    problem = make_problem(hard=True)
    model, tolerance = MODELS[name], 1e-2
    params = started(model, problem)
    new, _ = ranks.rounded(problem, model, params, tolerance)
    table = values(problem, model, params)
    share = tolerance * np.linalg.norm(table)
    bonds = [_rank(table.reshape(COUNT, -1), share / 2**0.5),
             _rank(table.reshape(COUNT**2, -1), share / 2**0.5)]  # fmt: skip
    axes = [
        _rank(np.moveaxis(table, k, 0).reshape(COUNT, -1), share / 3**0.5)
        for k in range(3)
    ]
    if name == "tt":
        assert new.shapes(3) == ((1, bonds[0]), tuple(bonds), (bonds[1], 1))
    elif name == "tucker":
        assert new.core_shape(3) == tuple(axes)
    else:
        loosest = [_rank(table.reshape(COUNT, -1), share)]
        assert max(loosest) <= new.rank <= model.rank


def _rank(matrix, allowed):
    squares = np.linalg.svd(matrix, compute_uv=False)[::-1] ** 2
    return max(1, int(np.sum(np.sqrt(np.cumsum(squares)) > allowed)))


def test_redundant_terms_are_found(x64):
    """A CP model written as a tensor train has rank R^2 on the way back."""
    problem = make_problem()
    model = CP(rank=3, hidden=(8,))
    params = started(model, problem)
    train = ranks.converted(problem, model, params, "tt")
    wide, many = ranks.converted(problem, *train, "cp")
    assert wide.rank == 9
    for tolerance in (1e-10, 1e-4):
        new, few = ranks.rounded(problem, wide, many, tolerance)
        assert new.rank <= 3
        assert distance(problem, (model, params), (new, few)) <= tolerance


def test_known_ranks(x64):
    """sin(x + y) = sin x cos y + cos x sin y, buried in a train of rank 6."""
    box = Box(x=(0.0, 1.0), y=(0.0, 1.0))
    problem = Problem(box, lambda u: u.d("x"), name="plane")
    model = TensorTrain(rank=6, network="chebyshev", hidden=(16,))
    params = started(model, problem)
    points = box.points(16, "gauss_legendre", dtype="float64")
    basis = np.asarray(
        model.net.features({}, points[0].coordinates, jnp.array([0, 1.0]))
    )
    sine, cosine = (
        np.linalg.solve(basis, f(np.asarray(points[0].coordinates)))
        for f in (np.sin, np.cos)
    )
    mix = np.random.default_rng(0).standard_normal((2, 6))
    left = np.stack([sine, cosine], 1) @ mix
    right = np.linalg.pinv(mix) @ np.stack([cosine, sine])
    params["factors_6"]["kernel"] = jnp.stack([left, right.T])
    new, few = ranks.rounded(problem, model, params, 1e-10)
    assert new.rank == 2
    x, y = (p.coordinates for p in points)
    found = grid_values(problem, new, few, [x, y])
    np.testing.assert_allclose(found, jnp.sin(x[:, None] + y[None, :]), atol=1e-10)


@each_model
def test_several_unknowns_share_their_ranks(name, x64):
    problem = make_problem(hard=True, unknowns=("u", "v"))
    model = MODELS[name]
    params = started(model, problem)
    # The first unknown is zero: it needs one term, the second needs more.
    params = jax.tree.map(lambda p: p.at[0].set(0.0) if name != "tt" else p, params)
    for new, changed in (
        ranks.rounded(problem, model, params, 1e-3),
        ranks.converted(problem, model, params, "tt"),
        ranks.grow(problem, model, params, 6, jax.random.key(2)),
    ):
        ours = distance(problem, (model, params), (new, changed), 1)
        assert ours <= 1e-3
        first = values(problem, new, changed, 0)
        before = values(problem, model, params, 0)
        np.testing.assert_allclose(
            first, before, rtol=1e-2, atol=1e-2 * abs(before).max()
        )


@each_model
def test_grown_models_are_equal_and_trainable(name, x64):
    problem, model = make_problem(), MODELS[name]
    params = started(model, problem)
    rank = {"cp": 7, "tt": (5, 4), "tucker": (2, 6, 4)}[name]
    new, grown = ranks.grow(problem, model, params, rank, jax.random.key(1))
    assert new.rank == rank
    assert distance(problem, (model, params), (new, grown)) < 1e-14

    @jax.jit
    @jax.grad
    def slope_at(p):
        x = [jnp.linspace(a, b, 6) for a, b in BOX.intervals]
        return jnp.sum((grid_values(problem, new, p, x) - 1.0) ** 2)

    slope = slope_at(grown)
    stepped = jax.tree.map(lambda p, g: p - 1e-3 * g, grown, slope)
    # After a step the new components take part: the numerical rank has risen.
    cut_back, _ = ranks.rounded(problem, new, stepped, 1e-9)
    assert cut_back.num_parameters(BOX) > model.num_parameters(BOX)
    moved, other = ranks.grow(
        problem, model, params, rank, jax.random.key(1), scale=0.1
    )
    assert 1e-6 < distance(problem, (model, params), (moved, other)) < 1.0


@each_model
def test_float32_parameters_stay_float32(name):
    problem, model = make_problem(hard=True), MODELS[name]
    params = started(model, problem, dtype="float32")
    for new, changed in (
        ranks.rounded(problem, model, params, 1e-2),
        ranks.converted(problem, model, params, "tucker"),
        ranks.grow(problem, model, params, 9, jax.random.key(0)),
    ):
        assert {str(leaf.dtype) for leaf in jax.tree.leaves(changed)} == {"float32"}
        with jax.enable_x64(True):
            double = [
                jax.tree.map(lambda p: jnp.asarray(p, "float64"), p)
                for p in (params, changed)
            ]
            error = distance(problem, (model, double[0]), (new, double[1]))
        assert error < 1e-2 + 1e-5


def make_solution(problem, model, params):
    dtype = str(jax.tree.leaves(params)[0].dtype)
    settings = {"learning_rate": 1e-3}
    history = History(problem.groups)
    return Solution(problem, model, params, dtype, history, "finished", 0, settings, {})


def test_solutions_round_convert_and_load(tmp_path, x64):
    problem = pinns.problems.helmholtz3d(hard=True)
    solution = make_solution(problem, MODELS["tt"], started(MODELS["tt"], problem))
    small = solution.rounded(1e-2)
    assert sum(small.model._ranks(2, "bond")) < sum(solution.model.rank)
    points = np.random.default_rng(0).uniform(-1, 1, (200, 3))
    size = np.linalg.norm(solution.at(points))
    assert np.linalg.norm(small.at(points) - solution.at(points)) < 5e-2 * size
    train = solution.to("cp")
    np.testing.assert_allclose(train.at(points), solution.at(points), atol=1e-12)
    assert train.optimizer_state is None
    again = pinns.load(train.save(tmp_path))
    assert again.model == train.model
    np.testing.assert_array_equal(again.at(points), train.at(points))


def test_bad_input(key, monkeypatch):
    problem = make_problem()
    model = CP(rank=3, hidden=(4,))
    params = started(model, problem, dtype="float32")
    for tolerance in (-1.0, 1.0, float("nan"), "small"):
        with pytest.raises(ValueError, match=r"rounded: `tolerance` must be a number"):
            ranks.rounded(problem, model, params, tolerance)
    with pytest.raises(
        ValueError, match="`form` must be one of cp, tt, tucker, got 'mps'"
    ):
        ranks.converted(problem, model, params, "mps")
    mlp = MLP((4,))
    with pytest.raises(ValueError, match=r"rounded: `model` must be pinns.CP, .*MLP"):
        ranks.rounded(problem, mlp, {}, 0.1)
    with pytest.raises(ValueError, match=r"converted: `model` must be pinns.CP"):
        ranks.converted(problem, mlp, {}, "tt")
    with pytest.raises(ValueError, match=r"grow: `model` must be pinns.CP"):
        ranks.grow(problem, mlp, {}, 3, key)
    with pytest.raises(ValueError, match=r"`rank` must not be below .* 3, got 2"):
        ranks.grow(problem, model, params, 2, key)
    with pytest.raises(ValueError, match=r"`scale` must be a finite non-negative"):
        ranks.grow(problem, model, params, 5, key, scale=-1.0)
    wide = pinns.problems.poisson(dimension=20)
    many = started(model, wide, dtype="float32")
    with pytest.raises(ValueError, match=r"core of 3.49e\+09 is more than 1e\+07"):
        ranks.converted(wide, model, many, "tucker")
    train, cores = ranks.converted(wide, model, many, "tt")
    with pytest.raises(ValueError, match=r"rank of 1.16e\+09 .* got rank 3; round"):
        ranks.converted(wide, train, cores, "cp")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["adam", "ssbroyden"])
def test_rank_grows_during_training(method, tmp_path):
    problem = pinns.problems.helmholtz3d(a=(1, 1, 1), hard=True)
    options = {"points": 10, "dtype": "float64", "key": jax.random.key(0)}
    first = pinns.solve(problem, CP(rank=1, hidden=(6,)), method, steps=15, **options)
    grown = first.grown(3, jax.random.key(1))
    assert grown.model.rank == 3
    grown = pinns.load(grown.save(tmp_path))
    more = pinns.resume(grown, 15)
    assert (more.step, more.model.rank) == (30, 3)
    before, after = first.history.loss[-1], more.history.loss[15]
    # Adam reports the loss before its step: the one that the parameters had.
    if method == "adam":
        before = pinns.resume(first, 1).history.loss[-1]
    np.testing.assert_allclose(after, before, rtol=1e-8)
    assert more.history.loss[-1] < after
