"""Convolutions against SciPy and NumPy: every method at every kind of length."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcore import transforms
from jaxcore.transforms import _choice, _linear


METHODS = ("auto", "direct", "blocks", "fft", "monarch")
SMALL = [
    (n, taps)
    for n in (1, 2, 16, 17, 60, 127)
    for taps in sorted({1, min(5, n), n})
]  # fmt: skip


@partial(jax.jit, static_argnames=("methods",))
def every_method(x, kernel, methods=METHODS):
    """All functions by all methods, `(method, ...)` each."""
    modes = {
        mode: [transforms.convolve(x, kernel, mode=mode, method=m) for m in methods]
        for mode in ("full", "same", "valid")
    }
    results = {
        **modes,
        "causal": [transforms.causal_convolve(x, kernel, method=m) for m in methods],
        "circular": [
            transforms.circular_convolve(x, kernel, method=m) for m in methods
        ],
    }
    return {name: jnp.stack(values) for name, values in results.items()}


def reference(x, kernel, modes=("full", "same", "valid")):
    n = x.shape[-1]
    full = scipy.signal.fftconvolve(x, kernel, axes=-1)
    wrapped = np.fft.irfft(np.fft.rfft(x) * np.fft.rfft(kernel, n), n)
    modes = {
        mode: scipy.signal.fftconvolve(x, kernel, mode=mode, axes=-1) for mode in modes
    }
    return {**modes, "causal": full[..., :n], "circular": wrapped}


def pair(rng, n, taps, batch=(2, 3), dtype=np.float64):
    """A signal `(2, 3, n)` and a kernel `(3, taps)` of norm about 1."""
    x = rng.standard_normal((*batch, n)).astype(dtype)
    kernel = rng.standard_normal((*batch[1:], taps)) / np.sqrt(taps)
    return x, kernel.astype(dtype)


def expand(kernel, ndim):
    return kernel.reshape((1,) * (ndim - kernel.ndim) + kernel.shape)


@pytest.mark.parametrize(("n", "taps"), SMALL)
def test_equals_scipy(n, taps, rng, x64):
    x, kernel = pair(rng, n, taps)
    expected = reference(x, expand(kernel, x.ndim))
    got = every_method(x, kernel)
    for name, values in got.items():
        for method, value in zip(METHODS, values, strict=True):
            np.testing.assert_allclose(
                value, expected[name], atol=2e-14, err_msg=f"{name} {method}"
            )


LONG = [
    *((n, n, METHODS[2:]) for n in (2**5, 2**9, 2**13, 2**17, 3**7, 5003)),
    (2**13, 2**10, METHODS[2:]),
    (5003, 700, METHODS[2:]),
    (2**20, 2**20, ("auto",)),
    (2**20 - 1, 2**12, ("auto",)),
]


@pytest.mark.parametrize(("n", "taps", "methods"), LONG)
def test_long_lengths_equal_scipy(n, taps, methods, rng, x64):
    x, kernel = pair(rng, n, taps, batch=(1,))
    kernel = kernel.reshape(1, taps)
    expected = reference(x, kernel, modes=())
    causal, circular = long_methods(x, kernel, methods)
    for values, name in ((causal, "causal"), (circular, "circular")):
        for method, value in zip(methods, values, strict=True):
            error = np.max(np.abs(value - expected[name]))
            assert error < 1e-14 * np.sqrt(np.log2(n)), (name, method, error)


@partial(jax.jit, static_argnums=2)
def long_methods(x, kernel, methods):
    return (
        [transforms.causal_convolve(x, kernel, method=m) for m in methods],
        [transforms.circular_convolve(x, kernel, method=m) for m in methods],
    )


@pytest.mark.parametrize(("n", "taps"), [(16, 16), (257, 30), (1024, 1024)])
def test_float32(n, taps, rng):
    x, kernel = pair(rng, n, taps, dtype=np.float32)
    wide = x.astype(np.float64), expand(kernel, x.ndim).astype(np.float64)
    expected = reference(*wide)
    got = every_method(x, kernel, tuple(m for m in METHODS if m != "direct"))
    for name, values in got.items():
        assert values.dtype == jnp.float32
        np.testing.assert_allclose(values, np.stack([expected[name]] * 4), atol=1e-5)


@pytest.mark.parametrize("block", [1, 3, 7, 16, 50, 64])
def test_any_block_gives_the_same(block, rng, x64):
    x, kernel = pair(rng, 50, 23)
    for name, function in (
        ("full", transforms.convolve),
        ("causal", transforms.causal_convolve),
        ("circular", transforms.circular_convolve),
    ):
        got = jax.jit(partial(function, method="blocks", block=block))(x, kernel)
        expected = reference(x, kernel[None])[name]
        np.testing.assert_allclose(got, expected, atol=2e-14)


@partial(jax.jit, static_argnames="method")
def linear_ways(x, kernel, method):
    modes = {
        mode: transforms.convolve(x, kernel, mode=mode, method=method)
        for mode in ("full", "same", "valid")
    }
    return {**modes, "causal": transforms.causal_convolve(x, kernel, method=method)}


@pytest.mark.parametrize("method", METHODS)
def test_kernel_longer_than_signal(method, rng, x64):
    x, kernel = pair(rng, 9, 40)
    expected = reference(x, kernel[None])
    for name, got in linear_ways(x, kernel, method).items():
        np.testing.assert_allclose(got, expected[name], atol=2e-14, err_msg=name)


@pytest.mark.parametrize(
    ("shape", "kernel_shape"),
    [((40,), (7,)), ((2, 3, 40), (7,)), ((40,), (3, 7)), ((2, 1, 40), (5, 7))],
    ids=str,
)
@pytest.mark.parametrize("method", METHODS)
def test_leading_axes_broadcast(shape, kernel_shape, method, rng, x64):
    x, kernel = rng.standard_normal(shape), rng.standard_normal(kernel_shape)
    ndim = max(x.ndim, kernel.ndim)
    batch = np.broadcast_shapes(shape[:-1], kernel_shape[:-1])
    got = causal(x, kernel, method)
    wide = np.broadcast_to(expand(x, ndim), (*batch, 40)).reshape(-1, 40)
    taps = np.broadcast_to(expand(kernel, ndim), (*batch, 7)).reshape(-1, 7)
    expected = [np.convolve(a, b)[:40] for a, b in zip(wide, taps, strict=True)]
    np.testing.assert_allclose(got.reshape(-1, 40), expected, atol=1e-13)


def test_gates(rng, x64):
    x, kernel = pair(rng, 33, 12)
    gate_in, gate_out = rng.standard_normal((2, 2, 3, 33))
    expected = gate_out * reference(gate_in * x, kernel[None])["causal"]
    gated = jax.jit(transforms.gated_convolve, static_argnames="method")
    for method in METHODS:
        got = gated(x, kernel, gate_in, gate_out, method=method)
        np.testing.assert_allclose(got, expected, atol=2e-14)
    one = transforms.gated_convolve(x[0, 0], kernel[0], gate_in[0, 0], gate_out[0, 0])
    np.testing.assert_allclose(one, expected[0, 0], atol=2e-14)


@pytest.mark.parametrize("taps", [3, 21])
@pytest.mark.parametrize("method", METHODS)
def test_derivatives(method, taps, rng, x64):
    """Reverse mode is the transpose of forward mode, and both are those of the sums."""
    x, kernel = (jnp.asarray(a) for a in pair(rng, 30, taps))
    x_dot, kernel_dot = (jnp.asarray(a) for a in pair(rng, 30, taps))
    convolve = jax.jit(partial(transforms.causal_convolve, method=method))
    y_dot = jax.jvp(convolve, (x, kernel), (x_dot, kernel_dot))[1]
    expected = reference(x_dot, kernel[None])["causal"]
    expected = expected + reference(x, kernel_dot[None])["causal"]
    np.testing.assert_allclose(y_dot, expected, atol=1e-13)
    y, pullback = jax.vjp(convolve, x, kernel)
    cotangent = jnp.asarray(rng.standard_normal(y.shape))
    x_bar, kernel_bar = pullback(cotangent)
    left = jnp.vdot(cotangent, y_dot)
    right = jnp.vdot(x_bar, x_dot) + jnp.vdot(kernel_bar, kernel_dot)
    np.testing.assert_allclose(left, right, rtol=1e-12)


def test_derivative_of_one_argument_leaves_the_other_alone(rng, x64):
    x, kernel = (jnp.asarray(a) for a in pair(rng, 30, 5))
    for argument, dot in enumerate((x, kernel)):

        def loss(value, argument=argument):
            pair = (value, kernel) if argument == 0 else (x, value)
            return jnp.sum(transforms.causal_convolve(*pair, method="direct") ** 2)

        gradient = jax.grad(loss)((x, kernel)[argument])
        step = 1e-6 * dot
        difference = loss(dot + step) - loss(dot - step)
        np.testing.assert_allclose(difference / 2, jnp.vdot(gradient, step), rtol=1e-8)
    text = str(
        jax.make_jaxpr(
            jax.grad(
                lambda x: jnp.sum(
                    transforms.causal_convolve(x, kernel, method="direct")
                )
            )
        )(x)
    )
    assert "fft" not in text


def test_second_derivative(rng, x64):
    x, kernel = (jnp.asarray(a) for a in pair(rng, 12, 5, batch=(1,)))

    def loss(kernel, method):
        y = transforms.causal_convolve(x, kernel.reshape(1, -1), method=method)
        return jnp.sum(jnp.sin(y))

    hessian = jax.jit(jax.hessian(loss), static_argnums=1)
    direct, fft = (hessian(kernel.ravel(), m) for m in ("direct", "fft"))
    np.testing.assert_allclose(direct, fft, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_vmap(method, rng, x64):
    x, kernel = (jnp.asarray(a) for a in pair(rng, 20, 6))
    got = jax.jit(
        jax.vmap(
            jax.vmap(partial(transforms.causal_convolve, method=method)),
            in_axes=(0, None),
        )
    )(x, kernel)
    expected = reference(x, kernel[None])["causal"]
    np.testing.assert_allclose(got, expected, atol=1e-14)


@partial(jax.jit, static_argnums=2)
def circular(x, kernel, method):
    return transforms.circular_convolve(x, kernel, method=method)


@partial(jax.jit, static_argnums=2)
def causal(x, kernel, method):
    return transforms.causal_convolve(x, kernel, method=method)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from((12, 17)),
    shift=st.integers(0, 16),
    method=st.sampled_from(METHODS),
)
def test_laws_of_the_circular_convolution(seed, n, shift, method):
    """Linearity, commutativity, shift, adjoint, and the norm for a kernel of gain 1."""
    rng = np.random.default_rng(seed)
    x, y, kernel = rng.standard_normal((3, n))
    a, b = rng.standard_normal(2)
    with jax.enable_x64(True):
        hx, hy, combined, swapped, moved, adjoint = (
            np.asarray(circular(*arguments, method))
            for arguments in (
                (x, kernel), (y, kernel), (a * x + b * y, kernel), (kernel, x),
                (np.roll(x, shift), kernel), (y, np.roll(kernel[::-1], 1)),
            )
        )  # fmt: skip
        unit = np.fft.rfft(kernel)
        allpass = np.fft.irfft(unit / np.abs(unit), n)
        kept = np.asarray(circular(x, allpass, method))
    np.testing.assert_allclose(combined, a * hx + b * hy, atol=1e-12)
    np.testing.assert_allclose(swapped, hx, atol=1e-12)
    np.testing.assert_allclose(moved, np.roll(hx, shift), atol=1e-12)
    np.testing.assert_allclose(hx @ y, x @ adjoint, atol=1e-11)
    if n % 2:  # at an even length irfft drops the phase of the highest frequency
        np.testing.assert_allclose(kept @ kept, x @ x, rtol=1e-11)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    cut=st.integers(1, 39),
    method=st.sampled_from(METHODS),
)
def test_causal(seed, cut, method):
    """What comes after `cut` does not reach what comes before, beyond rounding."""
    rng = np.random.default_rng(seed)
    x, kernel = rng.standard_normal((2, 40))
    other = np.where(np.arange(40) < cut, x, rng.standard_normal(40))
    with jax.enable_x64(True):
        a, b = (np.asarray(causal(z, kernel, method)) for z in (x, other))
    np.testing.assert_allclose(a[:cut], b[:cut], atol=1e-12)
    assert abs(a[cut] - b[cut]) > 1e-12 or abs(x[cut] - other[cut]) < 1e-10


def test_partial_kernel_needs_less_memory():
    """The kernel is transformed at its own length; so is what gradients keep of it."""
    x, kernel = jnp.zeros((1, 2**12)), jnp.zeros((64, 2**8))

    def gradient(x, kernel, method):
        y = transforms.causal_convolve(x, kernel, method=method)
        return jnp.sum(y**2)

    peak = {
        method: jax.jit(jax.grad(partial(gradient, method=method), (0, 1)))
        .lower(x, kernel).compile().memory_analysis().temp_size_in_bytes
        for method in ("blocks", "fft")
    }  # fmt: skip
    assert peak["blocks"] < peak["fft"], peak
    text = str(jax.make_jaxpr(lambda x, kernel: causal(x, kernel, "blocks"))(x, kernel))
    assert set(re.findall(r"fft_lengths=\((\d+)", text)) == {"256"}


def test_monarch_has_no_fft_and_permutes_nothing():
    x = jnp.zeros((4, 256))
    text = str(
        jax.make_jaxpr(lambda x: transforms.causal_convolve(x, x, method="monarch"))(x)
    )
    assert "dot_general" in text
    for word in ("fft[", "gather", "sort"):
        assert word not in text


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_short_floats(dtype, rng):
    x, kernel = (jnp.asarray(a, dtype) for a in pair(rng, 64, 64))
    wide = [np.asarray(a, np.float64) for a in (x, kernel)]
    expected = reference(wide[0], wide[1][None])["causal"]
    for method in METHODS:
        got = causal(x, kernel, method)
        assert got.dtype == dtype
        error = np.max(np.abs(np.asarray(got, np.float64) - expected))
        assert error < float(jnp.finfo(dtype).eps) * np.max(np.abs(expected))


def test_fast_lengths():
    smooth = [n for n in range(1, 400) if _linear.is_fast(n)]
    assert smooth[:14] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 15, 16]
    for n in range(1, 379):
        assert _linear.fast_length(n) == next(m for m in smooth if m >= n)


def test_auto_on_unmeasured_backends_is_one_fft(monkeypatch):
    monkeypatch.setattr(_choice.jax, "default_backend", lambda: "gpu")
    assert _choice.choose(2**16, 3) == "fft"
    assert _choice.choose_sparse(3) == "fft"


BAD = [
    (TypeError, r"`x` must be a real floating-point array, got int32",
     {"x": jnp.arange(4)}),
    (TypeError, r"`kernel` must be a real .* got complex64",
     {"kernel": jnp.ones(4, jnp.complex64)}),
    (ValueError, r"`x` must have at least 1 axis, got shape \(\)",
     {"x": jnp.float32(1)}),
    (ValueError, r"`kernel` must not be empty, got shape \(0,\)",
     {"kernel": jnp.zeros(0)}),
    (ValueError, r"axes must broadcast, got x \(2, 4\), kernel \(3, 4\)",
     {"x": jnp.zeros((2, 4)), "kernel": jnp.zeros((3, 4))}),
    (ValueError, r"`method` must be one of auto, direct, .*, got 'winograd'",
     {"method": "winograd"}),
    (ValueError, r"`block` must be an integer of at least 1, got 0",
     {"block": 0, "method": "blocks"}),
    (ValueError, r"`block` is for method 'blocks' only, got block=4 with method='fft'",
     {"block": 4, "method": "fft"}),
    (ValueError, r"`block` must cut the shorter signal into at most 256 .* got 600",
     {"x": jnp.zeros(700), "kernel": jnp.zeros(600), "block": 1, "method": "blocks"}),
    (ValueError, r"'direct' is for kernels of at most 512 taps, got 600",
     {"x": jnp.zeros(600), "kernel": jnp.zeros(600), "method": "direct"}),
]  # fmt: skip


@pytest.mark.parametrize(
    "function", ["convolve", "causal_convolve", "circular_convolve"]
)
@pytest.mark.parametrize(("error", "message", "changes"), BAD)
def test_bad_input(function, error, message, changes):
    arguments = {"x": jnp.zeros(4), "kernel": jnp.zeros(4), **changes}
    with pytest.raises(error, match=rf"jaxcore.transforms.{function}: .*{message}"):
        getattr(transforms, function)(**arguments)


def test_more_bad_input():
    x = jnp.zeros(4)
    with pytest.raises(
        ValueError, match=r"\.convolve: `mode` must be one of full, same"
    ):
        transforms.convolve(x, x, mode="wrap")
    with pytest.raises(
        ValueError, match=r"not be longer than the 4 samples of `x`, got"
    ):
        transforms.circular_convolve(x, jnp.zeros(5))
    with pytest.raises(ValueError, match=r"`gate_out` must have the 4 samples of `x`"):
        transforms.gated_convolve(x, x, x, jnp.zeros(1))
    with pytest.raises(TypeError, match=r"gated_convolve: `gate_in` must be a real"):
        transforms.gated_convolve(x, x, jnp.arange(4), x)
