"""Frequency-sparse convolutions against a masked NumPy spectrum."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcore import transforms
from jaxcore.transforms import sparse_convolution


METHODS = ("auto", "fft", "matmul", "monarch")
CASES = [
    (1, (0,)),
    (2, (0, 1)),
    (7, (0, 3)),
    (16, (0, 1, 2)),
    (16, (3, 8)),
    (36, (0, 5, 6, 7, 18)),
    (45, tuple(range(23))),
    (256, tuple(range(10))),
    (256, (16, 32, 48)),
    (1000, (1, 10, 499, 500)),
]
convolve = jax.jit(
    transforms.sparse_convolve, static_argnums=2, static_argnames="method"
)


def reference(x, spectrum, frequencies):
    full = np.zeros((*spectrum.shape[:-1], x.shape[-1] // 2 + 1), complex)
    full[..., list(frequencies)] = spectrum
    return np.fft.irfft(np.fft.rfft(x) * full, x.shape[-1])


def values(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@pytest.mark.parametrize(("n", "frequencies"), CASES, ids=str)
@pytest.mark.parametrize("batch", [(), (2, 3)], ids=str)
def test_equals_masked_spectrum(n, frequencies, batch, rng, x64):
    x = rng.standard_normal((*batch, n))
    spectrum = values(rng, *batch[1:], len(frequencies))
    expected = reference(x, spectrum[None] if batch else spectrum, frequencies)
    for method in METHODS:
        got = convolve(x, spectrum, frequencies, method=method)
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, expected, atol=1e-13, err_msg=method)


def test_long_and_float32(rng):
    n, frequencies = 2**14, tuple(range(0, 200, 3))
    x = rng.standard_normal((2, n))
    spectrum = values(rng, 1, len(frequencies))
    expected = reference(x, spectrum, frequencies)
    for method in METHODS:
        got = convolve(
            x.astype(np.float32), spectrum.astype(np.complex64), frequencies,
            method=method,
        )  # fmt: skip
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, expected, atol=2e-6)


def test_all_frequencies_are_the_circular_convolution(rng, x64):
    x, kernel = rng.standard_normal((2, 30))
    everything = range(16)
    spectrum = transforms.kernel_spectrum(kernel[:20], 30, everything)
    expected = transforms.circular_convolve(x, kernel[:20])
    for method in METHODS:
        got = transforms.sparse_convolve(x, spectrum, everything, method=method)
        np.testing.assert_allclose(got, expected, atol=1e-13)


def test_spectrum_of_some_frequencies(rng, x64):
    kernel = rng.standard_normal((2, 9))
    for frequencies in ((0, 4, 10), (2, 3, 4)):
        got = transforms.kernel_spectrum(kernel, 20, frequencies)
        expected = np.fft.rfft(kernel, 20)[:, list(frequencies)]
        np.testing.assert_allclose(got, expected, atol=1e-14)


def test_monarch_leaves_empty_blocks_out():
    """64 frequencies of 4096 in 64 x 64 digits: 33 rows, two columns of 64."""
    layout = sparse_convolution._layout(4096, tuple(range(64)))
    assert layout.plan.shape == (33, 2)
    comb = sparse_convolution._layout(4096, tuple(range(0, 2048, 64)))
    assert comb.plan.shape == (1, 63)

    def operations(method):
        lowered = convolve.lower(
            jnp.zeros((8, 4096)), jnp.zeros(64, jnp.complex64), tuple(range(64)),
            method=method,
        )  # fmt: skip
        return lowered.compile().cost_analysis()["flops"]

    dense = jax.jit(partial(transforms.circular_convolve, method="monarch"))
    all_blocks = dense.lower(jnp.zeros((8, 4096)), jnp.zeros(4096)).compile()
    assert operations("monarch") < 0.5 * all_blocks.cost_analysis()["flops"]
    assert operations("monarch") < operations("matmul")


@pytest.mark.parametrize("method", METHODS)
def test_gradient_is_the_adjoint(method, rng, x64):
    frequencies = (0, 2, 6)
    x, y, dot = (jnp.asarray(v) for v in rng.standard_normal((3, 2, 12)))
    spectrum = jnp.asarray(values(rng, 3))
    apply = jax.jit(lambda x: convolve(x, spectrum, frequencies, method=method))
    _, pullback = jax.vjp(apply, x)
    np.testing.assert_allclose(
        jnp.vdot(apply(dot), y), jnp.vdot(dot, pullback(y)[0]), rtol=1e-12
    )

    # With respect to the spectrum: the same by all methods.
    def loss(re, im):
        z = convolve(x, re + 1j * im, frequencies, method=method)
        return jnp.vdot(z, y)

    step = 1e-6
    gradients = jax.grad(loss, (0, 1))(spectrum.real, spectrum.imag)
    for k in range(3):
        unit = step * np.eye(3)[k]
        for gradient, pair in zip(
            gradients, ((unit, 0 * unit), (0 * unit, unit)), strict=True
        ):
            above = loss(spectrum.real + pair[0], spectrum.imag + pair[1])
            below = loss(spectrum.real - pair[0], spectrum.imag - pair[1])
            np.testing.assert_allclose(
                gradient[k], (above - below) / (2 * step), atol=1e-7
            )


@settings(max_examples=50)
@given(
    seed=st.integers(0, 2**32 - 1),
    shift=st.integers(0, 23),
    method=st.sampled_from(METHODS),
)
def test_laws(seed, shift, method):
    """Linear, commutes with shifts, and applying the identity twice is a projection."""
    rng = np.random.default_rng(seed)
    frequencies = (0, 1, 5, 12)
    x, y = rng.standard_normal((2, 24))
    a, b = rng.standard_normal(2)
    spectrum, ones = values(rng, 4), np.ones(4, complex)
    with jax.enable_x64(True):
        hx, hy, combined, moved, once = (
            np.asarray(convolve(*arguments, frequencies, method=method))
            for arguments in (
                (x, spectrum), (y, spectrum), (a * x + b * y, spectrum),
                (np.roll(x, shift), spectrum), (x, ones),
            )
        )  # fmt: skip
        twice = np.asarray(convolve(once, ones, frequencies, method=method))
    np.testing.assert_allclose(combined, a * hx + b * hy, atol=1e-12)
    np.testing.assert_allclose(moved, np.roll(hx, shift), atol=1e-12)
    np.testing.assert_allclose(twice, once, atol=1e-13)
    np.testing.assert_allclose(once @ once, once @ x, atol=1e-12)


BAD = [
    (TypeError, r"`x` must be a real floating", {"x": jnp.zeros(8, jnp.complex64)}),
    (TypeError, r"`spectrum` must be a complex array", {"spectrum": jnp.ones(2)}),
    (ValueError, r"one value for each of the 3 freq", {"frequencies": (0, 1, 2)}),
    (ValueError, r"integers from 0 to 4, got \(0, 5\)", {"frequencies": (0, 5)}),
    (ValueError, r"ascending integers .* got \(1, 0\)", {"frequencies": (1, 0)}),
    (ValueError, r"ascending integers .* got \(-1, 0\)", {"frequencies": (-1, 0)}),
    (ValueError, r"ascending integers .* got \(\)", {"frequencies": ()}),
    (ValueError, r"ascending integers .* got 3", {"frequencies": 3}),
    (ValueError, r"`method` must be one of auto, fft, .*, got 'd'", {"method": "d"}),
    (ValueError, r"must broadcast, got x \(3, 8\), spectrum \(2, 2\)",
     {"x": jnp.zeros((3, 8)), "spectrum": jnp.ones((2, 2), jnp.complex64)}),
    (ValueError, r"two factors of at most 2048, got 4099",
     {"x": jnp.zeros(4099), "method": "monarch"}),
]  # fmt: skip


@pytest.mark.parametrize(("error", "message", "changes"), BAD)
def test_bad_input(error, message, changes):
    arguments = {
        "x": jnp.zeros(8),
        "spectrum": jnp.ones(2, jnp.complex64),
        "frequencies": (0, 1),
        **changes,
    }
    with pytest.raises(
        error, match=rf"jaxcore.transforms.sparse_convolve: .*{message}"
    ):
        transforms.sparse_convolve(**arguments)


def test_bad_kernel():
    name = r"jaxcore.transforms.kernel_spectrum: "
    with pytest.raises(ValueError, match=name + r"`kernel` must have at most n=3 samp"):
        transforms.kernel_spectrum(jnp.zeros(4), 3, (0,))
    with pytest.raises(
        ValueError, match=name + r"`n` must be an integer of at least 1"
    ):
        transforms.kernel_spectrum(jnp.zeros(4), 0, (0,))
    with pytest.raises(
        ValueError, match=name + r"`frequencies` .*, got range\(0, 99\)"
    ):
        transforms.kernel_spectrum(jnp.zeros(4), 4, range(99))
