"""Butterfly products against dense matrices, and the transforms that they hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcore import transforms


METHODS = ("auto", "levels", "fused")
SIZES = (2, 4, 8, 32, 256)

each_size = pytest.mark.parametrize("n", SIZES)
multiply = jax.jit(transforms.butterfly_multiply, static_argnames="method")
transform = jax.jit(transforms.butterfly_transform, static_argnames="method")


def dense(twiddle):
    """The product of the factors, entry by entry."""
    m, half = twiddle.shape[:2]
    product = np.eye(2 * half, dtype=twiddle.dtype)
    for i in range(m):
        factor = np.zeros_like(product)
        for p in range(half):
            outer, q = divmod(p, 2**i)
            rows = [2 ** (i + 1) * outer + q, 2 ** (i + 1) * outer + 2**i + q]
            factor[np.ix_(rows, rows)] = twiddle[i, p]
        product = factor @ product
    return product


def random_twiddle(rng, n, dtype=np.float64):
    shape = (n.bit_length() - 1, n // 2, 2, 2)
    twiddle = rng.standard_normal(shape).astype(dtype)
    if np.issubdtype(dtype, np.complexfloating):
        twiddle = twiddle + 1j * rng.standard_normal(shape)
    return twiddle / np.sqrt(2)


@each_size
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_equals_the_dense_product(n, dtype, rng, x64):
    twiddle = random_twiddle(rng, n, dtype)
    matrix = dense(twiddle)
    for batch in ((), (2, 3)):
        x = rng.standard_normal((*batch, n))
        for method in METHODS:
            got = multiply(twiddle, x, method=method)
            assert got.dtype == dtype
            np.testing.assert_allclose(got, x @ matrix.T, atol=1e-11, err_msg=method)


@each_size
def test_fourier(n, rng, x64):
    x = rng.standard_normal((3, n)) + 1j * rng.standard_normal((3, n))
    factors = transforms.fft_butterfly(n)
    expected = np.fft.fft(x)
    for method in METHODS:
        got = transform(factors, x, method=method)
        np.testing.assert_allclose(got, expected, atol=1e-13 * n)
    real = transform(factors, x.real)
    np.testing.assert_allclose(real, np.fft.fft(x.real), atol=1e-13 * n)


@each_size
def test_hadamard(n, x64):
    factors = transforms.hadamard_butterfly(n)
    got = transform(factors, np.eye(n))
    assert got.dtype == jnp.float64
    expected = scipy.linalg.hadamard(n) / np.sqrt(n)
    np.testing.assert_allclose(got, expected, atol=1e-14)


@each_size
def test_cosine(n, rng, x64):
    x = rng.standard_normal((3, n))
    got = transform(transforms.dct_butterfly(n), x).real
    expected = scipy.fft.dct(x, type=2, norm="ortho")
    np.testing.assert_allclose(got, expected, atol=1e-13)


def test_circular_convolution_is_two_products(rng, x64):
    """A circulant matrix: Fourier, a diagonal, and Fourier backwards."""
    n = 32
    x, kernel = rng.standard_normal((2, n))
    factors = transforms.fft_butterfly(n)
    spectrum = transform(factors, x) * np.fft.fft(kernel)
    back = jnp.conj(transform(factors, jnp.conj(spectrum))) / n
    expected = transforms.circular_convolve(x, kernel)
    np.testing.assert_allclose(back.real, expected, atol=1e-13)


def test_float32_and_short_floats(rng):
    x = rng.standard_normal((70, 64))
    factors = transforms.dct_butterfly(64)
    exact = scipy.fft.dct(x, type=2, norm="ortho")
    got = transform(factors, x.astype(np.float32))
    assert got.dtype == jnp.complex64
    np.testing.assert_allclose(got.real, exact, atol=1e-5)
    short = jnp.asarray(x, jnp.bfloat16)
    twiddle = random_twiddle(rng, 64)
    got = multiply(jnp.asarray(twiddle, jnp.bfloat16), short)
    assert got.dtype == jnp.bfloat16
    rounded = np.asarray(jnp.asarray(twiddle, jnp.bfloat16), np.float64)
    expected = np.asarray(short, np.float64) @ dense(rounded).T
    error = np.max(np.abs(np.asarray(got, np.float64) - expected))
    assert error < 2**-8 * np.max(np.abs(expected))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    unitary=st.booleans(),
    method=st.sampled_from(METHODS),
)
def test_laws_of_random_butterflies(seed, unitary, method):
    """Linear, and norms and angles are kept: orthogonal factors."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 16))
    a, b = rng.standard_normal(2)
    with jax.enable_x64(True):
        dtype = np.complex128 if unitary else np.float64
        twiddle = random_orthogonal(jax.random.key(seed), dtype)
        bx, by, combined = (
            np.asarray(multiply(twiddle, v, method=method))
            for v in (x, y, a * x + b * y)
        )
    np.testing.assert_allclose(combined, a * bx + b * by, atol=1e-13)
    np.testing.assert_allclose(np.vdot(bx, by), x @ y, atol=1e-12)
    np.testing.assert_allclose(np.vdot(bx, bx), x @ x, rtol=1e-12)


def random_orthogonal(key, dtype):
    return jax.jit(
        transforms.random_butterfly, static_argnums=(1,), static_argnames="dtype"
    )(key, 16, dtype=dtype)


def test_random_matrices_are_uniform(key):
    """Means of rotations and reflections vanish; the determinant has both signs."""
    twiddle = np.asarray(transforms.random_butterfly(key, 1024)).reshape(-1, 2, 2)
    assert np.max(np.abs(np.mean(twiddle, axis=0))) < 0.05
    assert 0.4 < np.mean(np.linalg.det(twiddle) > 0) < 0.6


@pytest.mark.parametrize("method", METHODS)
def test_gradients(method, rng, x64):
    twiddle, x = random_twiddle(rng, 32), rng.standard_normal((3, 32))

    def loss(twiddle, x, by_matrix=False):
        if by_matrix:
            identity = jnp.eye(32)
            matrix = transforms.butterfly_multiply(twiddle, identity, method="levels")
            return jnp.sum(jnp.sin(x @ matrix))
        y = transforms.butterfly_multiply(twiddle, x, method=method)
        return jnp.sum(jnp.sin(y))

    gradients = jax.jit(jax.grad(loss, (0, 1)))(twiddle, x)
    by_matrix = jax.grad(lambda t, x: loss(t, x, by_matrix=True), (0, 1))
    expected = jax.jit(by_matrix)(twiddle, x)
    for ours, theirs in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    step = 1e-6 * rng.standard_normal(twiddle.shape)
    difference = (loss(twiddle + step, x) - loss(twiddle - step, x)) / 2
    np.testing.assert_allclose(difference, np.vdot(gradients[0], step), rtol=1e-6)


def test_vmap_over_factors(rng, x64):
    twiddles = np.stack([random_twiddle(rng, 8) for _ in range(3)])
    x = rng.standard_normal((3, 8))
    got = jax.vmap(transforms.butterfly_multiply)(twiddles, x)
    expected = [dense(t) @ v for t, v in zip(twiddles, x, strict=True)]
    np.testing.assert_allclose(got, expected, atol=1e-13)


def test_bad_input(key):
    name = r"jaxcore.transforms.butterfly_multiply: "
    twiddle, x = jnp.zeros((3, 4, 2, 2)), jnp.zeros(8)
    multiply = transforms.butterfly_multiply
    with pytest.raises(
        TypeError, match=name + r"`twiddle` must be a floating-point or"
    ):
        multiply(jnp.zeros((3, 4, 2, 2), jnp.int32), x)
    with pytest.raises(
        TypeError, match=name + r"`x` must be a floating-point or complex"
    ):
        multiply(twiddle, jnp.arange(8))
    with pytest.raises(ValueError, match=name + r"the length .* power of two, got 6"):
        multiply(twiddle, jnp.zeros(6))
    with pytest.raises(
        ValueError, match=name + r"`twiddle` must be .* \(3, 4, 2, 2\) a"
    ):
        multiply(twiddle, jnp.zeros(16))
    with pytest.raises(
        ValueError, match=name + r"`method` must be one of auto, levels"
    ):
        multiply(twiddle, x, method="dense")
    name = r"jaxcore.transforms.butterfly_transform: "
    factors = transforms.fft_butterfly(8)
    with pytest.raises(
        ValueError, match=name + r".* the 8 entries of .* got shape \(4,\)"
    ):
        transforms.butterfly_transform(factors, jnp.zeros(4))
    with pytest.raises(
        TypeError, match=name + r"`x` must be a floating-point or complex"
    ):
        transforms.butterfly_transform(factors, jnp.arange(8))
    for function in ("fft_butterfly", "hadamard_butterfly", "dct_butterfly"):
        make = getattr(transforms, function)
        with pytest.raises(
            ValueError, match=function + ": `n` must be an integer of at"
        ):
            make(1)
        with pytest.raises(ValueError, match=function + ": `n` must be a power of two"):
            make(12)
    with pytest.raises(
        ValueError, match=r"random_butterfly: `n` must be a power of two"
    ):
        transforms.random_butterfly(key, 12)
    with pytest.raises(
        TypeError, match=r"random_butterfly: `dtype` must be .* got int32"
    ):
        transforms.random_butterfly(key, 8, dtype=jnp.int32)
