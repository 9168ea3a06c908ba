"""Contractions against naive loops, format equalities, finite differences."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinns import CP, Box, Problem, TensorTrain, Tucker
from pinns.evaluation import grid_values, scattered_values


MODELS = [CP(rank=3, hidden=(6,)), TensorTrain(rank=3, hidden=(6,)),
          Tucker(rank=3, hidden=(6,))]  # fmt: skip
NAMES = [type(model).__name__ for model in MODELS]
ORDERS = [(1, 0, 0), (0, 2, 0), (0, 0, 3), (4, 0, 0), (1, 1, 0), (2, 1, 1)]


values_on = jax.jit(grid_values, static_argnums=(0, 1, 4, 5))
values_at = jax.jit(scattered_values, static_argnums=(0, 1, 4, 5))


@cache
def problem(dimension):
    return Problem(Box.cube(dimension, (-1.0, 1.0)), lambda u, *x: u.d("x1"))


def naive(model, core, factors):
    """Entry by entry, straight from the definitions."""
    counts = [f.shape[0] for f in factors]
    out = np.zeros(counts)
    for index in itertools.product(*map(range, counts)):
        rows = [np.asarray(f[i]) for f, i in zip(factors, index, strict=True)]
        if isinstance(model, CP):
            out[index] = sum(np.prod([r[k] for r in rows]) for k in range(len(rows[0])))
        elif isinstance(model, TensorTrain):
            product = np.eye(1)
            for row in rows:
                product = product @ row
            out[index] = product[0, 0]
        else:
            for ranks in itertools.product(*(range(len(r)) for r in rows)):
                term = core[ranks]
                for row, k in zip(rows, ranks, strict=True):
                    term = term * row[k]
                out[index] += term
    return out


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
@pytest.mark.parametrize("dimension", [1, 2, 3, 4, 5])
def test_contraction_equals_naive_loops(model, dimension, x64):
    box = problem(dimension).box
    params = model.init(jax.random.key(dimension), box, dtype="float64")
    counts = [4, 3, 2, 3, 2][:dimension]
    x = [np.linspace(-1, 1, n) for n in counts]
    jets = jax.jit(lambda p: model.factors(p, box, x)[0])(params)
    factors = [np.asarray(jet[0]) for jet in jets]
    core = model.core(params)
    expected = naive(model, None if core is None else np.asarray(core), factors)
    got = values_on(problem(dimension), model, params, x)
    np.testing.assert_allclose(got, expected, atol=1e-13)


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
@pytest.mark.parametrize("dimension", [1, 3, 5])
def test_grid_and_scattered_evaluation_agree(model, dimension, x64):
    p = problem(dimension)
    params = model.init(jax.random.key(0), p.box, dtype="float64")
    x = [np.linspace(-1, 1, n) for n in [4, 3, 2, 3, 2][:dimension]]
    points = np.stack([m.ravel() for m in np.meshgrid(*x, indexing="ij")], axis=-1)
    orders = tuple(int(i < 2) for i in range(dimension))
    grid = values_on(p, model, params, x, 0, orders)
    np.testing.assert_allclose(
        values_at(p, model, params, points, 0, orders), grid.ravel(), atol=1e-12
    )


@pytest.mark.parametrize("dimension", [2, 3, 4])
def test_cp_is_a_diagonal_tensor_train_and_a_superdiagonal_tucker(dimension, x64):
    p, rank = problem(dimension), 3
    cp = CP(rank=rank, hidden=(6,))
    params = cp.init(jax.random.key(0), p.box, dtype="float64")
    x = [np.linspace(-1, 1, n) for n in [4, 3, 2, 3][:dimension]]
    reference = values_on(p, cp, params, x)
    jets = jax.jit(lambda params: cp.factors(params, p.box, x)[0])(params)
    factors = [np.asarray(jet[0]) for jet in jets]

    tt = TensorTrain(rank=rank)
    eye = np.eye(rank)
    cores = [factors[0][:, None, :]]
    cores += [f[:, :, None] * eye[None] for f in factors[1:-1]]
    cores += [factors[-1][:, :, None]]
    left = tt.suffix("float64")
    for core in cores:
        left = tt.absorb(left, core)
    np.testing.assert_allclose(left.reshape(reference.shape), reference, atol=1e-13)

    tucker = Tucker(rank=rank)
    superdiagonal = np.zeros((rank,) * dimension)
    superdiagonal[(np.arange(rank),) * dimension] = 1.0
    left = tucker.prefix(jnp.asarray(superdiagonal), "float64")
    for factor in factors:
        left = tucker.absorb(left, factor)
    np.testing.assert_allclose(left.reshape(reference.shape), reference, atol=1e-13)


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_derivatives_equal_nested_jvp_of_the_whole_function(model, x64):
    """Factor jets against forward mode through the contraction, at scattered points."""
    p = problem(3)
    params = model.init(jax.random.key(2), p.box, dtype="float64")
    points = jax.random.uniform(jax.random.key(3), (5, 3), minval=-1, maxval=1)

    def along(function, axis):
        unit = np.eye(3)[axis]
        return lambda point: jax.jvp(function, (point,), (unit,))[1]

    @jax.jit
    def both(params, points):
        def value(point):
            return scattered_values(p, model, params, point[None])[0]

        found = {}
        for orders in ORDERS:
            reference = value
            for axis, order in enumerate(orders):
                for _ in range(order):
                    reference = along(reference, axis)
            got = scattered_values(p, model, params, points, 0, orders)
            found[orders] = got, jax.vmap(reference)(points)
        return found

    for orders, (got, expected) in both(params, points).items():
        np.testing.assert_allclose(
            got, expected, rtol=1e-9, atol=1e-10, err_msg=str(orders)
        )


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_derivatives_equal_finite_differences(model, order, x64):
    p = problem(3)
    params = model.init(jax.random.key(4), p.box, dtype="float64")
    h = {1: 1e-6, 2: 1e-4, 3: 1e-3, 4: 4e-3}[order]
    stencil = {
        1: [(-1, -0.5), (1, 0.5)],
        2: [(-1, 1), (0, -2), (1, 1)],
        3: [(-2, -0.5), (-1, 1), (1, -1), (2, 0.5)],
        4: [(-2, 1), (-1, -4), (0, 6), (1, -4), (2, 1)],
    }[order]
    x = [np.linspace(-0.8, 0.8, 3)] * 3
    along = [tuple(order if i == axis else 0 for i in range(3)) for axis in range(3)]
    got = jax.jit(
        lambda params: [grid_values(p, model, params, x, 0, orders) for orders in along]
    )(params)
    for axis in range(3):
        difference = sum(
            c * values_on(p, model, params, [
                xi + k * h if i == axis else xi for i, xi in enumerate(x)
            ])
            for k, c in stencil
        ) / h**order  # fmt: skip
        np.testing.assert_allclose(got[axis], difference, rtol=1e-3, atol=2e-4)


def test_axes_of_different_lengths_match_single_evaluations(x64):
    box = Box(a=(0, 1), b=(0, 2), c=(0, 3), e=(0, 4))
    model = TensorTrain(rank=(2, 3, 2), hidden=(5,))
    params = model.init(jax.random.key(0), box, dtype="float64")
    long = [np.linspace(0, 1, n) for n in (7, 3, 7, 2)]

    @jax.jit
    def both(params):
        mixed = model.factors(params, box, long, [2, 0, 1, 0])[0]
        alone = [
            model.factors(params, box, [x] * 4, 2)[0][i] for i, x in enumerate(long)
        ]
        return mixed, alone

    mixed, each = both(params)
    for axis, (x, alone) in enumerate(zip(long, each, strict=True)):
        np.testing.assert_allclose(mixed[axis][0], alone[0], rtol=1e-12, atol=1e-14)
        assert mixed[axis][0].shape == (len(x), *model.shapes(4)[axis])


def test_unknowns_have_networks_of_their_own(x64):
    box = Box.cube(2)
    model = CP(rank=3, hidden=(5,))
    params = model.init(jax.random.key(0), box, unknowns=2, dtype="float64")
    x = [jnp.linspace(0, 1, 4)] * 2
    u, v = model.factors(params, box, x, unknowns=2)
    assert not np.allclose(u[0][0], v[0][0])


@pytest.mark.parametrize("dimension", [3, 10])
def test_number_of_parameter_arrays_does_not_grow_with_the_dimension(dimension):
    box = Box.cube(dimension)
    for model in (CP(rank=4), Tucker(rank=2), TensorTrain(rank=4)):
        shapes = jax.eval_shape(partial(model.init, box=box), jax.random.key(0))
        ends = 2 if isinstance(model, TensorTrain) else 1
        assert len(jax.tree.leaves(shapes)) == 8 * ends + isinstance(model, Tucker)


def test_full_size_models_construct():
    """Rank 64 flow mixing and rank 12 in five dimensions, shapes only."""
    for model, box in (
        (CP(rank=64), Box.cube(3)),
        (TensorTrain(rank=64), Box.cube(3)),
        (Tucker(rank=64), Box.cube(3)),
        (Tucker(rank=12), Box.cube(5)),
        (TensorTrain(rank=12), Box.cube(100)),
        (CP(rank=64), Box.cube(100)),
    ):
        assert model.num_parameters(box) > 0
