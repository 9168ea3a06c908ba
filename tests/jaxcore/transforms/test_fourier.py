"""The Monarch transform against `numpy.fft`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcore import transforms


FACTORS = (
    (1,), (7,), (2, 2), (4, 3), (3, 4), (16, 16), (1, 5), (9, 11),
    (4, 4, 4), (2, 3, 5), (2, 2, 2, 2, 2), (8, 1, 3), (3, 2, 4, 5),
)  # fmt: skip

each_factoring = pytest.mark.parametrize("factors", FACTORS, ids=str)
forward = jax.jit(transforms.monarch_fft, static_argnums=1, static_argnames="permuted")
inverse = jax.jit(transforms.monarch_ifft, static_argnums=1, static_argnames="permuted")


def signal(rng, shape, dtype=np.complex128):
    real = rng.standard_normal(shape)
    if np.issubdtype(dtype, np.complexfloating):
        real = real + 1j * rng.standard_normal(shape)
    return real.astype(dtype)


@each_factoring
@pytest.mark.parametrize(
    ("dtype", "batch"), [(np.float64, (2, 3)), (np.complex128, ())], ids=str
)
def test_equals_numpy(factors, dtype, batch, rng, x64):
    x = signal(rng, (*batch, np.prod(factors)), dtype)
    expected = np.fft.fft(x)
    scale = np.sqrt(x.shape[-1])
    np.testing.assert_allclose(
        forward(x, factors) / scale, expected / scale, atol=1e-13
    )
    permuted = forward(x, factors, permuted=True)
    order = transforms.monarch_order(factors)
    np.testing.assert_allclose(
        permuted / scale, expected[..., order] / scale, atol=1e-13
    )
    np.testing.assert_allclose(inverse(x, factors), np.fft.ifft(x), atol=1e-13)
    np.testing.assert_allclose(inverse(permuted, factors, permuted=True), x, atol=1e-13)


@pytest.mark.parametrize("n", [2**4, 2**10, 3 * 5 * 7 * 11, 2**20])
def test_default_factors(n, rng, x64):
    x = signal(rng, n)
    expected = np.fft.fft(x)
    got = forward(x, None)
    assert got.dtype == jnp.complex128
    assert np.linalg.norm(got - expected) < 1e-14 * np.linalg.norm(expected)


@pytest.mark.parametrize("n", [2**4, 2**10, 2**15])
def test_float32(n, rng):
    x = signal(rng, n, np.complex64)
    expected = np.fft.fft(x.astype(np.complex128))
    got = np.asarray(forward(x, None))
    assert got.dtype == np.complex64
    assert np.linalg.norm(got - expected) < 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("dtype", "expected"), [(jnp.bfloat16, jnp.complex64), (jnp.float16, jnp.complex64)]
)
def test_short_floats_are_computed_in_float32(dtype, expected, rng):
    x = jnp.asarray(rng.standard_normal(12), dtype)
    got = transforms.monarch_fft(x)
    assert got.dtype == expected
    np.testing.assert_allclose(got, np.fft.fft(np.asarray(x, np.float64)), atol=1e-5)


def test_no_jit_and_vmap(rng, x64):
    x = signal(rng, (3, 24))
    expected = np.fft.fft(x)
    np.testing.assert_allclose(transforms.monarch_fft(x), expected, atol=1e-13)
    mapped = jax.vmap(transforms.monarch_fft)(jnp.asarray(x))
    np.testing.assert_allclose(mapped, expected, atol=1e-13)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1), factors=st.sampled_from(((4, 4), (3, 5), (2, 3, 4)))
)
def test_laws(seed, factors):
    """Linearity, inverse, Parseval, adjoint and shift."""
    rng = np.random.default_rng(seed)
    n = int(np.prod(factors))
    with jax.enable_x64(True):
        x, y = signal(rng, n), signal(rng, n)
        a, b = signal(rng, ()), signal(rng, ())
        fx, fy = np.asarray(forward(x, factors)), np.asarray(forward(y, factors))
        combined = forward(a * x + b * y, factors)
        back = inverse(fx, factors)
        shifted = forward(np.roll(x, 1), factors)
        adjoint = n * inverse(y, factors)
    np.testing.assert_allclose(combined, a * fx + b * fy, atol=1e-11)
    np.testing.assert_allclose(back, x, atol=1e-13)
    np.testing.assert_allclose(np.vdot(fx, fx), n * np.vdot(x, x), rtol=1e-12)
    np.testing.assert_allclose(np.vdot(fx, y), np.vdot(x, adjoint), rtol=1e-10)
    phase = np.exp(-2j * np.pi * np.arange(n) / n)
    np.testing.assert_allclose(shifted, phase * fx, atol=1e-12)


def test_gradient_is_the_adjoint(rng, x64):
    x, weight = jnp.asarray(signal(rng, 30, np.float64)), jnp.asarray(signal(rng, 30))
    ours, theirs = (
        jax.grad(lambda x, fft=fft: jnp.sum((fft(x) * weight).real))(x)
        for fft in (transforms.monarch_fft, jnp.fft.fft)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_order_is_bit_reversal_for_twos():
    expected = [0, 4, 2, 6, 1, 5, 3, 7]
    assert transforms.monarch_order((2, 2, 2)).tolist() == expected


@pytest.mark.parametrize(
    ("n", "order", "expected"),
    [
        (1, None, (1,)), (64, None, (8, 8)), (2**16, None, (256, 256)),
        (2**20, None, (128, 128, 64)), (1021, None, (1021,)), (2**20, 2, (1024, 1024)),
        (60, 3, (5, 4, 3)), (7, 1, (7,)),
    ],
)  # fmt: skip
def test_factors(n, order, expected):
    factors = transforms.monarch_factors(n, order=order)
    assert factors == expected


def test_precision_reaches_the_products():
    x = jnp.ones(16)
    for precision in jax.lax.Precision.HIGHEST, jax.lax.Precision.DEFAULT:
        text = str(
            jax.make_jaxpr(
                lambda x, p=precision: transforms.monarch_fft(x, precision=p)
            )(x)
        )
        assert text.count(f"Precision.{precision.name}") >= 2, text


@pytest.mark.parametrize("function", ["monarch_fft", "monarch_ifft"])
def test_bad_input(function):
    call, name = getattr(transforms, function), rf"jaxcore.transforms.{function}: "
    with pytest.raises(TypeError, match=name + r"`.*` must be a floating-point or com"):
        call(jnp.arange(4))
    with pytest.raises(ValueError, match=name + r"`.*` must have at least 1 axis"):
        call(jnp.float32(1))
    with pytest.raises(ValueError, match=name + r"`.*` must not be empty, got shape "):
        call(jnp.zeros((3, 0)))
    with pytest.raises(ValueError, match=r"multiply to the length 6 .* product 8"):
        call(jnp.zeros(6), (2, 4))
    with pytest.raises(ValueError, match=r"non-empty sequence of integers .* got \(\)"):
        call(jnp.zeros(6), ())
    with pytest.raises(ValueError, match=r"integers from 1 to 2048, got \(1.5, 4\)"):
        call(jnp.zeros(6), (1.5, 4))
    with pytest.raises(ValueError, match=r"prime factors are at most 2048, got 2053"):
        call(jnp.zeros(2053))


def test_bad_factors():
    name = r"jaxcore.transforms.monarch_factors: "
    with pytest.raises(
        ValueError, match=name + r"`n` must be an integer of at least 1"
    ):
        transforms.monarch_factors(0)
    with pytest.raises(ValueError, match=name + r"`order` must be an integer .* 'two'"):
        transforms.monarch_factors(4, order="two")
    with pytest.raises(ValueError, match=name + r".* product of some factors .* 2053"):
        transforms.monarch_factors(2053)
    with pytest.raises(ValueError, match=r"monarch_order: `factors` must be .*4096"):
        transforms.monarch_order((4096,))
