"""Wavelets by lifting against PyWavelets, and integers against a loop."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import pywt
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcore import transforms
from jaxcore.transforms import _wavelets


PEERS = {"haar": "haar", "5/3": "bior2.2", "9/7": "bior4.4"}
EXTENSIONS = ("symmetric", "periodic")
METHODS = ("auto", "filters", "lifting")
# The constants of the 9/7 scheme have 15 digits.
TOLERANCE = {"haar": 1e-14, "5/3": 1e-14, "9/7": 1e-11}

each_wavelet = pytest.mark.parametrize("wavelet", PEERS)
STATIC = ("axis", "axes", "extension", "levels", "method", "wavelet")
dwt, idwt, wavedec, waverec = (
    jax.jit(
        getattr(transforms, name), static_argnames=[n for n in STATIC if n in names]
    )
    for name, names in (
        ("dwt", ("wavelet", "axis", "extension", "method")),
        ("idwt", ("wavelet", "axis", "extension")),
        ("wavedec", ("wavelet", "levels", "axes", "extension", "method")),
        ("waverec", ("wavelet", "axes", "extension")),
    )
)


def reference(x, wavelet, extension, axis=-1):
    """One level by PyWavelets' convolution."""
    if extension == "periodic":
        return pywt.dwt(x, PEERS[wavelet], mode="periodization", axis=axis)
    n = x.shape[axis]
    # Mirrored by NumPy, far beyond the support; what belongs to the signal is cut out.
    pad = 32
    widths = [(pad, pad) if k == axis % x.ndim else (0, 0) for k in range(x.ndim)]
    mode = "reflect"
    if wavelet == "haar":
        # Pairs never look beyond their own; an odd last sample is paired with itself.
        mode = "symmetric"
    wide = np.pad(x, widths, mode=mode)
    wide = np.take(wide, range(wide.shape[axis] // 2 * 2), axis=axis)
    bands = pywt.dwt(wide, PEERS[wavelet], mode="periodization", axis=axis)
    counts = (n + 1) // 2, n // 2
    return tuple(
        np.take(band, range(pad // 2, pad // 2 + count), axis=axis)
        for band, count in zip(bands, counts, strict=True)
    )


@partial(jax.jit, static_argnames=("wavelet", "axis", "extension"))
def there_and_back(x, wavelet, axis, extension):
    """The bands by every method, and what the inverse makes of them."""
    options = {"wavelet": wavelet, "axis": axis, "extension": extension}
    bands = {m: transforms.dwt(x, method=m, **options) for m in METHODS}
    return bands, transforms.idwt(*bands["lifting"], **options)


@each_wavelet
@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 9, 16, 31])
def test_one_level_equals_pywavelets(wavelet, extension, n, rng, x64):
    n += n % 2 if extension == "periodic" else 0
    shape, axis = ((n,), -1) if n % 4 else ((2, n, 3), 1)
    x = rng.standard_normal(shape)
    expected = reference(x, wavelet, extension, axis)
    bands, back = there_and_back(x, wavelet, axis, extension)
    for method, got in bands.items():
        for ours, theirs in zip(got, expected, strict=True):
            np.testing.assert_allclose(
                ours, theirs, atol=TOLERANCE[wavelet], err_msg=method
            )
    np.testing.assert_allclose(back, x, atol=1e-13)


@each_wavelet
@pytest.mark.parametrize("axes", [(1,), (2, 0), (0, 1, 2)], ids=str)
@pytest.mark.filterwarnings("ignore:Level value of 2 is too high")
def test_levels_equal_pywavelets(wavelet, axes, rng, x64):
    x = rng.standard_normal((8, 16, 24))
    options = {"wavelet": wavelet, "axes": axes, "extension": "periodic"}
    got = wavedec(x, levels=2, **options)
    expected = pywt.wavedecn(
        x, PEERS[wavelet], mode="periodization", level=2, axes=axes
    )
    tolerance = 4 * TOLERANCE[wavelet]
    np.testing.assert_allclose(got[0], expected[0], atol=tolerance)
    for ours, theirs in zip(got[1:], expected[1:], strict=True):
        assert set(ours) == set(theirs)
        for name, value in ours.items():
            np.testing.assert_allclose(value, theirs[name], atol=tolerance)
    np.testing.assert_allclose(waverec(got, **options), x, atol=1e-13)


@each_wavelet
@pytest.mark.parametrize("shape", [(7, 5), (19, 12)], ids=str)
def test_odd_shapes_come_back(wavelet, shape, rng, x64):
    x = rng.standard_normal(shape)
    got = wavedec(x, wavelet=wavelet, axes=(0, 1))
    assert sum(value.size for value in jax.tree.leaves(got)) == x.size
    back = waverec(got, wavelet=wavelet, axes=(0, 1))
    np.testing.assert_allclose(back, x, atol=1e-12)


def test_default_levels():
    for n, extension, expected in (
        (2, "symmetric", 1), (3, "symmetric", 2), (64, "periodic", 6),
        (24, "periodic", 3), (9, "symmetric", 4),
    ):  # fmt: skip
        transform = partial(transforms.wavedec, wavelet="5/3", extension=extension)
        got = jax.eval_shape(transform, jnp.zeros(n))
        assert len(got) - 1 == expected


def naive_integers(x, wavelet):
    """The reversible steps, sample by sample, with mirrored indices."""
    n = len(x)
    y = [int(v) for v in x]

    def at(k):
        k = abs(k)
        return y[2 * (n - 1) - k if k >= n else k]

    if wavelet == "haar":
        for k in range(1, n, 2):
            y[k] -= y[k - 1]
            y[k - 1] += y[k] // 2
    else:
        for k in range(1, n, 2):
            y[k] -= (at(k - 1) + at(k + 1)) // 2
        for k in range(0, n, 2):
            y[k] += (at(k - 1) + at(k + 1) + 2) // 4
    return y[::2], y[1::2]


@pytest.mark.parametrize("wavelet", ["haar", "5/3"])
@pytest.mark.parametrize("n", [2, 3, 8, 51])
def test_integers_equal_a_loop(wavelet, n, rng):
    x = rng.integers(-500, 500, n).astype(np.int32)
    got = dwt(x, wavelet=wavelet)
    for ours, expected in zip(got, naive_integers(x, wavelet), strict=True):
        assert ours.dtype == jnp.int32
        np.testing.assert_array_equal(ours, expected)


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    wavelet=st.sampled_from(("haar", "5/3")),
    dtype=st.sampled_from((np.int8, np.int32)),
)
def test_integers_are_reversible(seed, wavelet, dtype):
    """Every bit comes back, over the whole range of the type."""
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(seed)
    x = rng.integers(limits.min, limits.max, (6, 5), dtype, endpoint=True)
    got = wavedec(x, wavelet=wavelet, axes=(0, 1))
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {jnp.dtype(dtype)}
    back = waverec(got, wavelet=wavelet, axes=(0, 1))
    np.testing.assert_array_equal(back, x)


def test_reversible_steps_round_what_lifting_computes(rng, x64):
    x = rng.integers(-1000, 1000, 101)
    for wavelet in ("haar", "5/3"):
        scheme = _wavelets.WAVELETS[wavelet]
        whole = dwt(x, wavelet=wavelet)
        real = dwt(x.astype(np.float64), wavelet=wavelet)
        scales = scheme.low, abs(scheme.high) * (-1 if scheme.high < 0 else 1)
        for ours, theirs, scale in zip(whole, real, scales, strict=True):
            assert np.max(np.abs(ours - theirs / scale)) <= 1.0


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    wavelet=st.sampled_from(tuple(PEERS)),
    extension=st.sampled_from(EXTENSIONS),
)
def test_laws(seed, wavelet, extension):
    """Linear, invertible, gain sqrt(2), shifts by 2; Parseval for Haar."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 16))
    a, b = rng.standard_normal(2)
    apply = partial(dwt, wavelet=wavelet, extension=extension)
    with jax.enable_x64(True):
        wx, wy, combined, moved, flat = (
            np.stack(apply(v))
            for v in (x, y, a * x + b * y, np.roll(x, 2), np.ones(16))
        )
        back = np.asarray(idwt(*wx, wavelet=wavelet, extension=extension))
    np.testing.assert_allclose(combined, a * wx + b * wy, atol=1e-12)
    np.testing.assert_allclose(back, x, atol=1e-12)
    np.testing.assert_allclose(flat, [[2**0.5] * 8, [0.0] * 8], atol=1e-11)
    if extension == "periodic":
        np.testing.assert_allclose(moved, np.roll(wx, 1, axis=-1), atol=1e-13)
    if wavelet == "haar":
        np.testing.assert_allclose(np.sum(wx**2), np.sum(x**2), rtol=1e-12)


@pytest.mark.parametrize(
    ("wavelet", "vanishing"), [("haar", 1), ("5/3", 2), ("9/7", 4)]
)
def test_vanishing_moments(wavelet, vanishing, x64):
    """Details of polynomials vanish away from the ends, and not one degree higher."""
    t = np.linspace(-1, 1, 64)
    for degree in range(vanishing + 1):
        _, high = dwt(t**degree, wavelet=wavelet)
        largest = np.max(np.abs(high[4:-4]))
        assert (largest < 1e-11) == (degree < vanishing), (degree, largest)


@each_wavelet
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_gradient_is_the_adjoint(wavelet, extension, rng, x64):
    x, dot = (jnp.asarray(v) for v in rng.standard_normal((2, 3, 12)))
    options = {"wavelet": wavelet, "axis": 1, "extension": extension}
    for method in METHODS:
        apply = partial(transforms.dwt, method=method, **options)
        pushed, image, pulled, cotangents = jax.jit(partial(both_modes, apply))(x, dot)
        for tangent, value in zip(pushed, image, strict=True):
            np.testing.assert_allclose(tangent, value, atol=1e-13)
        left = sum(jnp.vdot(a, b) for a, b in zip(cotangents, pushed, strict=True))
        np.testing.assert_allclose(left, jnp.vdot(pulled, dot), rtol=1e-12)
    back = partial(transforms.idwt, **options)
    _, tangent = jax.jit(partial(jax.jvp, back))(image, pushed)
    np.testing.assert_allclose(tangent, dot, atol=1e-12)


def both_modes(apply, x, dot):
    """Forward mode, the image of `dot`, reverse mode, and what that was given."""
    bands, pushed = jax.jvp(apply, (x,), (dot,))
    cotangents = tuple(jnp.cos(3 * band) for band in bands)
    (pulled,) = jax.vjp(apply, x)[1](cotangents)
    return pushed, apply(dot), pulled, cotangents


def test_learnable_steps(rng, x64):
    """Numbers of a scheme may be traced: gradients against finite differences."""
    x = jnp.asarray(rng.standard_normal(20))
    start = jnp.asarray([-0.5, 0.25, 1.4])

    def loss(values):
        a, b, scale = values
        scheme = transforms.Lifting(((a, a), (b, b)), scale, 1 / scale)
        low, high = transforms.dwt(x, scheme)
        return jnp.sum(low**4) + jnp.sum(jnp.sin(high))

    gradient = jax.jit(jax.grad(loss))(start)
    for k in range(3):
        step = 1e-6 * np.eye(3)[k]
        difference = (loss(start + step) - loss(start - step)) / 2e-6
        np.testing.assert_allclose(gradient[k], difference, rtol=1e-7)

    def cycle(values):
        a, b, scale = values
        scheme = transforms.Lifting(((a, a), (b, b)), scale, 1 / scale)
        return transforms.idwt(*transforms.dwt(x, scheme), scheme)

    np.testing.assert_allclose(jax.jit(cycle)(start), x, atol=1e-13)


def test_one_step_scheme_and_zero_step(rng, x64):
    x = rng.standard_normal(9)
    lazy = transforms.Lifting(((0.0, 0.0),))
    for method in METHODS:
        low, high = transforms.dwt(x, lazy, method=method)
        np.testing.assert_array_equal(low, x[::2])
        np.testing.assert_array_equal(high, x[1::2])


def test_vmap_and_dtypes(rng):
    x = rng.standard_normal((3, 10)).astype(np.float32)
    mapped = jax.vmap(partial(transforms.dwt, wavelet="9/7"))(jnp.asarray(x))
    for ours, theirs in zip(mapped, reference(x, "9/7", "symmetric"), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
    complex_bands = dwt(x + 1j * x, wavelet="5/3")
    for both, one in zip(complex_bands, dwt(x, wavelet="5/3"), strict=True):
        np.testing.assert_allclose(both, one + 1j * one, atol=1e-6)
    for dtype in (jnp.bfloat16, jnp.float16):
        short = jnp.asarray(x, dtype)
        bands = dwt(short, wavelet="9/7")
        assert {band.dtype for band in bands} == {jnp.dtype(dtype)}
        exact = reference(np.asarray(short, np.float64), "9/7", "symmetric")
        for ours, theirs in zip(bands, exact, strict=True):
            error = np.max(np.abs(np.asarray(ours, np.float64) - theirs))
            assert error < float(jnp.finfo(dtype).eps) * np.max(np.abs(theirs))


X = jnp.zeros((4, 5))
BAD = [
    (TypeError, r"`x` must be of floats, .* got bool", {"x": X > 0}),
    (TypeError, r"`x` must be of floats, .* got uint8", {"x": X.astype(jnp.uint8)}),
    (TypeError, r"integers need the wavelet 'haar' or '5/3', got '9/7' with int32",
     {"x": X.astype(jnp.int32), "wavelet": "9/7"}),
    (TypeError, r"integers need the wavelet .* got Lifting",
     {"x": X.astype(jnp.int32), "wavelet": transforms.Lifting(((0.0, 0.0),))}),
    (TypeError, r"`wavelet` must be a name or a Lifting, got int", {"wavelet": 97}),
    (ValueError, r"`wavelet` must be one of haar, 5/3, 9/7 or .* got 'db2'",
     {"wavelet": "db2"}),
    (ValueError, r"steps of two numbers each, got \(\)",
     {"wavelet": transforms.Lifting(())}),
    (ValueError, r"`x` must not be empty, got shape \(0, 4\)",
     {"x": jnp.zeros((0, 4))}),
    (ValueError, r"`extension` must be one of symmetric, periodic, got 'zero'",
     {"extension": "zero"}),
    (ValueError, r"`method` must be one of auto, filters, lifting, got 'f'",
     {"method": "f"}),
    (ValueError, r"method 'filters' is for floats .* got x of int32",
     {"x": X.astype(jnp.int32), "method": "filters"}),
]  # fmt: skip


@pytest.mark.parametrize("function", ["dwt", "wavedec"])
@pytest.mark.parametrize(("error", "message", "changes"), BAD)
def test_bad_input(function, error, message, changes):
    with pytest.raises(error, match=rf"jaxcore.transforms.{function}: .*{message}"):
        getattr(transforms, function)(**{"x": X, **changes})


def test_bad_axes_and_levels():
    name = r"jaxcore.transforms.dwt: "
    with pytest.raises(
        ValueError, match=name + r"`axis` must be an integer from -2 to 1"
    ):
        transforms.dwt(X, axis=2)
    with pytest.raises(
        ValueError, match=name + r"`axis` must be an integer .* got 0.5"
    ):
        transforms.dwt(X, axis=0.5)
    with pytest.raises(
        ValueError, match=name + r"the axis must have at least 2 samples"
    ):
        transforms.dwt(X[:, :1])
    with pytest.raises(
        ValueError, match=name + r"periodic extension needs an even .* 5"
    ):
        transforms.dwt(X, extension="periodic")
    name = r"jaxcore.transforms.wavedec: "
    with pytest.raises(
        ValueError, match=name + r"`axes` must be distinct .* \(1, -1\)"
    ):
        transforms.wavedec(X, axes=(1, -1))
    with pytest.raises(ValueError, match=name + r"`axes` must be distinct .* \(\)"):
        transforms.wavedec(X, axes=())
    for levels in (0, 3, -1):
        with pytest.raises(ValueError, match=name + r"`levels` must be .*, got .*\d"):
            transforms.wavedec(X, axes=(0, 1), levels=levels)
    with pytest.raises(
        ValueError, match=name + r"`levels` must be from 1 to 0 .* \(5,\)"
    ):
        transforms.wavedec(X, extension="periodic")
    with pytest.raises(ValueError, match=name + r"`levels` must be an integer .* 1.5"):
        transforms.wavedec(X, levels=1.5)


def test_bad_bands():
    name = r"jaxcore.transforms.idwt: "
    with pytest.raises(
        ValueError, match=name + r".* or longer by one .* \(4,\) and \(2,\)"
    ):
        transforms.idwt(jnp.zeros(4), jnp.zeros(2))
    with pytest.raises(
        ValueError, match=name + r".* as long as .* axis 0 and equal else"
    ):
        transforms.idwt(jnp.zeros(3), jnp.zeros(2), extension="periodic")
    with pytest.raises(ValueError, match=name + r".* got shapes \(2, 3\) and \(3,\)"):
        transforms.idwt(jnp.zeros((2, 3)), jnp.zeros(3))
    with pytest.raises(
        TypeError, match=name + r".* of integers both or neither, got int32"
    ):
        transforms.idwt(jnp.zeros(3, jnp.int32), jnp.zeros(3))
    name = r"jaxcore.transforms.waverec: "
    with pytest.raises(ValueError, match=name + r"`coefficients` must be \(low, coars"):
        transforms.waverec(())
    with pytest.raises(
        ValueError, match=name + r".* must have the details \['d'\] .* \['dd'"
    ):
        transforms.waverec((jnp.zeros(3), {"dd": jnp.zeros(3)}))
    with pytest.raises(
        ValueError, match=name + r".* must have the details .* got tuple"
    ):
        transforms.waverec((jnp.zeros(3), (jnp.zeros(3),)))
