"""The Walsh-Hadamard transform against the matrix."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcore import transforms


METHODS = ("auto", "matmul", "butterfly")
OPTIONS = ("axis", "order", "norm", "method")
transform = jax.jit(transforms.hadamard_transform, static_argnames=OPTIONS)


def matrix(n, order):
    """SciPy's matrix; for sequency its rows sorted by counted sign changes."""
    natural = scipy.linalg.hadamard(n).astype(np.float64)
    if order == "natural":
        return natural
    changes = np.count_nonzero(np.diff(natural, axis=1), axis=1)
    return natural[np.argsort(changes)]


@partial(jax.jit, static_argnames=("axis", "order"))
def every_way(x, axis, order):
    return {
        (method, norm): transforms.hadamard_transform(
            x, axis=axis, order=order, norm=norm, method=method
        )
        for method in METHODS
        for norm in ("ortho", "backward", "forward")
    }


@pytest.mark.parametrize("order", ["natural", "sequency"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((1,), 0), ((2,), -1), ((16,), 0), ((3, 64), 1), ((128, 2), 0), ((2, 512, 3), 1)],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_equals_the_matrix(order, shape, axis, dtype, rng, x64):
    x = rng.standard_normal(shape).astype(dtype)
    if dtype is np.complex128:
        x = x + 1j * rng.standard_normal(shape)
    n = shape[axis]
    product = np.tensordot(matrix(n, order), x, axes=(1, axis))
    expected = np.moveaxis(product, 0, axis)
    scales = {"ortho": n**-0.5, "backward": 1.0, "forward": 1 / n}
    for (method, norm), got in every_way(x, axis, order).items():
        wanted = expected * scales[norm]
        assert got.dtype == dtype
        np.testing.assert_allclose(got, wanted, atol=1e-12, err_msg=method)


def test_long_and_float32(rng):
    n = 2**14
    x = rng.standard_normal(n).astype(np.float32)
    a, b = (np.asarray(transform(x, method=m)) for m in ("matmul", "butterfly"))
    np.testing.assert_allclose(a, b, atol=2e-6)
    # One row of the matrix: the sign is the parity of the shared bits.
    for k in (0, 1, 5001, n - 1):
        row = np.array([1 - 2 * ((k & j).bit_count() % 2) for j in range(n)])
        np.testing.assert_allclose(a[k], row @ x.astype(np.float64) / 2**7, atol=1e-5)


def test_sequency_order_counts_sign_changes():
    for n in (1, 2, 8, 64):
        rows = scipy.linalg.hadamard(n)[transforms.sequency_order(n)]
        changes = np.count_nonzero(np.diff(rows, axis=1), axis=1)
        assert changes.tolist() == list(range(n))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    mask=st.integers(0, 31),
    order=st.sampled_from(("natural", "sequency")),
    method=st.sampled_from(METHODS),
)
def test_laws(seed, mask, order, method):
    """Linear, its own inverse and adjoint, Parseval; dyadic shifts become signs."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 32))
    a, b = rng.standard_normal(2)
    apply = partial(transform, order=order, method=method)
    with jax.enable_x64(True):
        hx, hy, combined, moved = (
            np.asarray(apply(v)) for v in (x, y, a * x + b * y, x[np.arange(32) ^ mask])
        )
        twice = np.asarray(apply(hx))
    np.testing.assert_allclose(combined, a * hx + b * hy, atol=1e-13)
    np.testing.assert_allclose(twice, x, atol=1e-14)
    np.testing.assert_allclose(hx @ hx, x @ x, rtol=1e-13)
    np.testing.assert_allclose(hx @ y, x @ hy, atol=1e-13)
    k = transforms.sequency_order(32) if order == "sequency" else np.arange(32)
    signs = np.array([1 - 2 * ((int(i) & mask).bit_count() % 2) for i in k])
    np.testing.assert_allclose(moved, signs * hx, atol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_gradient_is_the_transform(method, rng, x64):
    x, weight = (jnp.asarray(v) for v in rng.standard_normal((2, 16)))
    apply = partial(transforms.hadamard_transform, order="sequency", method=method)
    gradient = jax.jit(jax.grad(lambda x: jnp.vdot(apply(x), weight)))(x)
    np.testing.assert_allclose(gradient, apply(weight), atol=1e-14)
    mapped = jax.jit(jax.vmap(apply))(jnp.stack([x, weight]))
    np.testing.assert_allclose(mapped[1], gradient, atol=1e-14)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_short_floats(dtype, rng):
    x = jnp.asarray(rng.standard_normal(64), dtype)
    got = transform(x)
    assert got.dtype == dtype
    expected = matrix(64, "natural") @ np.asarray(x, np.float64) / 8
    error = np.max(np.abs(np.asarray(got, np.float64) - expected))
    assert error < float(jnp.finfo(dtype).eps) * np.max(np.abs(expected))


BAD = [
    (TypeError, r"`x` must be a floating-point or complex array, got int32",
     {"x": jnp.arange(4)}),
    (ValueError, r"`x` must have at least 1 axis", {"x": jnp.float32(1)}),
    (ValueError, r"the length of axis 0 must be a power of two, got 6",
     {"x": jnp.zeros(6)}),
    (ValueError, r"`axis` must be an integer from -1 to 0 .*, got 1", {"axis": 1}),
    (ValueError, r"`order` must be one of natural, sequency, got 'p'", {"order": "p"}),
    (ValueError, r"`norm` must be one of ortho, .* got None", {"norm": None}),
    (ValueError, r"`method` must be one of auto, .* got 'fft'", {"method": "fft"}),
]  # fmt: skip


@pytest.mark.parametrize(("error", "message", "changes"), BAD)
def test_bad_input(error, message, changes):
    name = r"jaxcore.transforms.hadamard_transform: "
    with pytest.raises(error, match=name + message):
        transforms.hadamard_transform(**{"x": jnp.zeros(4), **changes})


def test_bad_order():
    with pytest.raises(
        ValueError, match=r"sequency_order: `n` must be an integer of at"
    ):
        transforms.sequency_order(0)
    with pytest.raises(ValueError, match=r"sequency_order: `n` must be a power of two"):
        transforms.sequency_order(12)
