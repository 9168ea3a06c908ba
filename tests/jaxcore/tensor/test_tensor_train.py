import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcore.tensor import tensor_train


def random_train(rng, sizes, rank):
    ranks = (1, *(rank,) * (len(sizes) - 1), 1)
    shapes = zip(ranks[:-1], sizes, ranks[1:], strict=True)
    return [jnp.asarray(rng.standard_normal(shape)) for shape in shapes]


def smooth_train(sizes):
    """Samples of 1 / (1 + sum of coordinates), exact: singular values decay fast."""
    axes = np.ix_(*(np.linspace(0, 1, n) for n in sizes))
    rest = np.asarray(1 / (1 + sum(axes)))
    cores, rank = [], 1
    for n in sizes[:-1]:
        left, values, right = np.linalg.svd(rest.reshape(rank * n, -1), False)
        cores.append(left.reshape(rank, n, -1))
        rest, rank = values[:, None] * right, len(values)
    return [jnp.asarray(c) for c in (*cores, rest.reshape(rank, sizes[-1], 1))]


def ranks(cores):
    return [core.shape[2] for core in cores[:-1]]


def error(cores, rounded):
    dense = np.asarray(tensor_train.to_dense(cores))
    difference = dense - np.asarray(tensor_train.to_dense(rounded))
    return np.linalg.norm(difference) / np.linalg.norm(dense)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3, 1e-6, 1e-9])
def test_tolerance_bounds_the_error(tolerance, x64):
    cores = smooth_train((6, 5, 7, 6))
    rounded = tensor_train.round(cores, tolerance=tolerance)
    assert error(cores, rounded) <= tolerance
    assert max(ranks(rounded)) < max(ranks(cores))


def test_ranks_grow_with_accuracy(x64):
    cores = smooth_train((8, 8, 8))
    tolerances = (1e-1, 1e-3, 1e-6, 1e-9)
    sizes = [sum(ranks(tensor_train.round(cores, tolerance=t))) for t in tolerances]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("max_rank", [1, 2, 3])
def test_largest_rank_is_near_the_best(max_rank, x64):
    """Within sqrt(d - 1) of the best, which is at least the largest tail of a bond."""
    sizes = (6, 5, 7, 6)
    cores = smooth_train(sizes)
    dense = np.asarray(tensor_train.to_dense(cores))
    tails = []
    for bond in range(1, 4):
        values = np.linalg.svd(dense.reshape(np.prod(sizes[:bond]), -1))[1]
        tails.append(np.linalg.norm(values[max_rank:]))
    rounded = tensor_train.round(cores, max_rank=max_rank)
    assert ranks(rounded) == [max_rank] * 3
    got = error(cores, rounded) * np.linalg.norm(dense)
    assert max(tails) * (1 - 1e-12) <= got <= np.linalg.norm(tails) * (1 + 1e-12)


def test_both_limits_hold(x64):
    cores = smooth_train((6, 5, 6))
    both = tensor_train.round(cores, tolerance=1e-12, max_rank=2)
    assert ranks(both) == [2, 2]
    loose = tensor_train.round(cores, tolerance=0.5, max_rank=4)
    assert ranks(loose) == [1, 1]


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-3, 1e3))
def test_rounding_a_sum_recovers_the_rank(seed, scale):
    """`a + s a` has twice the rank of `a` and is worth the rank of `a`."""
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        a = random_train(rng, (4, 5, 4), rank=2)
        doubled = tensor_train.add(a, tensor_train.scale(a, scale))
        rounded = tensor_train.round(doubled, tolerance=1e-10)
        assert ranks(doubled) == [4, 4]
        assert max(ranks(rounded)) <= 2
        assert error(doubled, rounded) <= 1e-10


def test_zero_tolerance_loses_nothing(rng, x64):
    cores = random_train(rng, (3, 4, 5, 2), rank=4)
    rounded = tensor_train.round(cores, tolerance=0.0)
    assert error(cores, rounded) < 1e-14
    for core in rounded[:-1]:
        flat = core.reshape(-1, core.shape[2])
        np.testing.assert_allclose(flat.T @ flat, np.eye(core.shape[2]), atol=1e-14)


def test_one_axis_and_zero(x64):
    only = [jnp.asarray([[[1.0], [2.0]]])]
    np.testing.assert_array_equal(tensor_train.round(only, max_rank=1)[0], only[0])
    np.testing.assert_array_equal(tensor_train.round(only, tolerance=0.1)[0], only[0])
    zero = [jnp.zeros((1, 3, 2)), jnp.zeros((2, 3, 1))]
    rounded = tensor_train.round(zero, tolerance=1e-3)
    assert ranks(rounded) == [1]
    assert not np.any(tensor_train.to_dense(rounded))


def test_float32(rng):
    cores = [core.astype(jnp.float32) for core in random_train(rng, (4, 4, 4), 2)]
    rounded = tensor_train.round(tensor_train.add(cores, cores), tolerance=1e-5)
    assert ranks(rounded) == [2, 2]
    assert {core.dtype for core in rounded} == {np.dtype(np.float32)}
    assert error(tensor_train.scale(cores, 2.0), rounded) < 1e-5


def test_largest_rank_under_jit_and_vmap(rng, x64):
    trains = [random_train(rng, (4, 5, 3), rank=3) for _ in range(2)]

    @jax.jit
    def rounded(cores):
        return tensor_train.to_dense(tensor_train.round(cores, max_rank=2))

    batch = jax.tree.map(lambda *x: jnp.stack(x), *trains)
    expected = [
        tensor_train.to_dense(tensor_train.round(a, max_rank=2)) for a in trains
    ]
    np.testing.assert_allclose(jax.vmap(rounded)(batch), expected, atol=1e-12)
    np.testing.assert_allclose(rounded(trains[0]), expected[0], atol=1e-12)


WHERE = r"jaxcore\.tensor\.tensor_train\.round: "


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({}, "give `tolerance`, `max_rank` or both, got neither"),
        ({"max_rank": 0}, "`max_rank` must be a positive integer, got 0"),
        ({"max_rank": 2.0}, r"`max_rank` must be a positive integer, got 2\.0"),
        (
            {"tolerance": -0.1},
            r"`tolerance` must be finite and non-negative, got -0\.1",
        ),
        ({"tolerance": np.nan}, "`tolerance` must be finite and non-negative, got nan"),
    ],
)
def test_limits_are_checked(limits, message):
    with pytest.raises(ValueError, match=WHERE + message):
        tensor_train.round([jnp.ones((1, 3, 1))], **limits)


def test_tolerance_needs_values():
    cores = [jnp.ones((1, 3, 2)), jnp.ones((2, 3, 1))]
    with pytest.raises(ValueError, match=WHERE + "`tolerance` needs concrete values"):
        jax.jit(lambda a: tensor_train.round(a, tolerance=0.1))(cores)


FUNCTIONS = {
    "to_dense": tensor_train.to_dense,
    "at_points": tensor_train.at_points,
    "inner": lambda a: tensor_train.inner(a, a),
    "norm_squared": tensor_train.norm_squared,
    "add": lambda a: tensor_train.add(a, a),
    "scale": lambda a: tensor_train.scale(a, 2.0),
    "round": lambda a: tensor_train.round(a, max_rank=1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [(3, 2)],
        [(1, 3, 2)],
        [(2, 3, 1)],
        [(1, 3, 2), (3, 3, 1)],
        [(1, 3), (1, 3, 1)],
    ],
)
def test_cores_must_form_a_chain(name, shapes):
    message = (
        rf"jaxcore\.tensor\.tensor_train\.{name}: `(a|cores)` must be a non-empty "
        r"sequence of arrays \(r_\{i-1\}, n_i, r_i\) with r_0 = r_d = 1, got shapes \["
    )
    with pytest.raises(ValueError, match=message):
        FUNCTIONS[name]([jnp.ones(shape) for shape in shapes])
