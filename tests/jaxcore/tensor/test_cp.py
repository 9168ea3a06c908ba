import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcore import tensor
from jaxcore.tensor import cp, tensor_train, tucker


SIZES = ((4,), (3, 5), (4, 1, 3), (3, 2, 2, 4), (2, 3, 2, 1, 3))

each_size = pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: f"d{len(sizes)}")


def random_factors(rng, sizes, rank=3):
    return tuple(jnp.asarray(rng.standard_normal((n, rank))) for n in sizes)


@each_size
def test_tt_with_diagonal_cores_is_equal(sizes, rng, x64):
    factors = random_factors(rng, sizes)
    cores = tensor.cp_to_tt(factors)
    np.testing.assert_allclose(
        tensor_train.to_dense(cores), cp.to_dense(factors), rtol=1e-12, atol=1e-12
    )
    for core in cores[1:-1]:
        off_diagonal = ~np.eye(3, dtype=bool)
        assert not np.any(np.moveaxis(np.asarray(core), 1, 2)[off_diagonal])


@each_size
def test_tucker_with_superdiagonal_core_is_equal(sizes, rng, x64):
    factors = random_factors(rng, sizes)
    core, same = tensor.cp_to_tucker(factors)
    np.testing.assert_allclose(
        tucker.to_dense(core, same), cp.to_dense(factors), rtol=1e-12, atol=1e-12
    )
    assert core.shape == (3,) * len(sizes)
    assert np.sum(np.asarray(core) != 0) == 3


@given(seed=st.integers(0, 2**32 - 1))
def test_inner_products_survive_the_embeddings(seed):
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        a, b = random_factors(rng, (3, 4, 2)), random_factors(rng, (3, 4, 2))
        weights = tuple(jnp.asarray(rng.uniform(size=n)) for n in (3, 4, 2))
        values = np.asarray(_inner_products(a, b, weights))
    np.testing.assert_allclose(values, values[0], rtol=1e-10, atol=1e-10)


@jax.jit
def _inner_products(a, b, weights):
    return jnp.stack(
        [
            cp.inner(a, b, weights),
            tensor_train.inner(tensor.cp_to_tt(a), tensor.cp_to_tt(b), weights),
            tucker.inner(tensor.cp_to_tucker(a), tensor.cp_to_tucker(b), weights),
        ]
    )


def test_gauss_weights_give_the_integral(x64):
    # u = sin(x) exp(y) + x y^2 on [-1, 1]^2: the integral of u^2 in closed form.
    x, w = np.polynomial.legendre.leggauss(20)
    factors = [
        jnp.stack([jnp.sin(x), jnp.asarray(x)], axis=1),
        jnp.stack([jnp.exp(x), jnp.asarray(x) ** 2], axis=1),
    ]
    sin_sin, exp_exp = 1 - np.sin(2) / 2, np.sinh(2)
    sin_x, exp_y2 = 2 * (np.sin(1) - np.cos(1)), np.e - 5 / np.e
    exact = sin_sin * exp_exp + 2 * sin_x * exp_y2 + (2 / 3) * (2 / 5)
    got = cp.norm_squared(factors, [w, w], orthogonalize=True)
    np.testing.assert_allclose(got, exact, rtol=1e-13)


def test_high_dimension_needs_no_grid(rng, x64):
    factors = [jnp.asarray(rng.standard_normal((5, 2))) / 2 for _ in range(60)]
    product = np.ones((2, 2))
    for factor in factors:
        product *= np.asarray(factor).T @ np.asarray(factor)
    for orthogonalize in (False, True):
        got = cp.norm_squared(factors, orthogonalize=orthogonalize)
        np.testing.assert_allclose(got, np.sum(product), rtol=1e-11)


def test_embedding_under_jit_keeps_float32(rng):
    factors = [jnp.asarray(rng.standard_normal((n, 2)), jnp.float32) for n in (2, 3, 4)]
    cores = jax.jit(tensor.cp_to_tt)(factors)
    core, _ = jax.jit(tensor.cp_to_tucker)(factors)
    assert {x.dtype for x in (*cores, core)} == {np.dtype(np.float32)}


FUNCTIONS = {
    "cp.to_dense": cp.to_dense,
    "cp.at_points": cp.at_points,
    "cp.inner": lambda a: cp.inner(a, a),
    "cp.norm_squared": cp.norm_squared,
    "cp.add": lambda a: cp.add(a, a),
    "cp.scale": lambda a: cp.scale(a, 2.0),
    "cp_to_tt": tensor.cp_to_tt,
    "cp_to_tucker": tensor.cp_to_tucker,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_factors_must_be_matrices_of_one_rank(name):
    where = rf"jaxcore\.tensor\.{name}: `(a|factors)` must "
    for bad in ([], [jnp.ones(3)], [jnp.ones((3, 2)), jnp.ones((1, 3, 2))]):
        expected = where + r"be a non-empty sequence of arrays \(n_i, R\), got shapes"
        with pytest.raises(ValueError, match=expected):
            FUNCTIONS[name](bad)
    expected = where + r"have the same rank on every axis, got shapes \[\(3, 2\)"
    with pytest.raises(ValueError, match=expected):
        FUNCTIONS[name]([jnp.ones((3, 2)), jnp.ones((3, 4))])
