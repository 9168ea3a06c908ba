"""DCT and DST against SciPy, over types, norms, lengths, axes and methods."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcore import transforms
from jaxcore.transforms import _trig_tables


KINDS = {"cos": "dct", "sin": "dst"}
TYPES = (1, 2, 3, 4)
NORMS = ("ortho", "backward", "forward", None)
METHODS = ("matmul", "fft")
LENGTHS = (2, 3, 4, 5, 7, 8, 9, 16, 31, 60)
pytestmark = pytest.mark.usefixtures("x64")

each_kind = pytest.mark.parametrize("kind", KINDS)
each_type = pytest.mark.parametrize("type", TYPES)
each_method = pytest.mark.parametrize("method", METHODS)
families = pytest.mark.parametrize("name", ["dct", "dst", "idct", "idst"])


def theirs(name, x, **options):
    return getattr(scipy.fft, name)(x, **options)


def ours(name, x, **options):
    return getattr(transforms, name)(x, **options)


def close(actual, desired):
    """To 1e-12 of the largest value: sums of n terms have no relative accuracy."""
    scale = max(1.0, np.max(np.abs(desired), initial=0.0))
    np.testing.assert_allclose(actual, desired, rtol=0, atol=1e-12 * scale)


@each_kind
@each_type
@pytest.mark.parametrize("norm", NORMS)
def test_matrices(kind, type, norm):
    """The tables behind both methods, for every length to 40."""
    for n in range(2 if (kind, type) == ("cos", 1) else 1, 41):
        exact = theirs(KINDS[kind], np.eye(n), type=type, norm=norm, axis=0)
        spec = _trig_tables.Spec(kind, type, norm or "backward", transposed=False)
        np.testing.assert_allclose(
            _trig_tables.matrix(spec, n), exact, rtol=0, atol=1e-14 * np.max(exact)
        )
        np.testing.assert_array_equal(
            _trig_tables.matrix(spec.transpose(), n), _trig_tables.matrix(spec, n).T
        )


@each_method
@each_type
@families
def test_every_length_and_norm(name, type, method, rng):
    """One program per family: norms take turns along the lengths."""
    xs = {n: rng.standard_normal((2, n)) for n in LENGTHS}
    if not (name.endswith("dct") and type == 1):
        xs[1] = rng.standard_normal((2, 1))
    norms = dict(zip(xs, itertools.cycle(NORMS), strict=False))

    @jax.jit
    def run(xs):
        return {
            n: ours(name, x, type=type, norm=norms[n], method=method)
            for n, x in xs.items()
        }

    for n, y in run(xs).items():
        assert y.dtype == np.float64
        close(y, theirs(name, xs[n], type=type, norm=norms[n]))


@each_method
@pytest.mark.parametrize("norm", NORMS)
@families
def test_every_norm_of_the_default_type(name, norm, method, rng):
    x = rng.standard_normal((3, 6))
    close(ours(name, x, norm=norm, method=method), theirs(name, x, norm=norm))


@each_method
@each_type
@pytest.mark.parametrize("name", ["dctn", "dstn", "idctn", "idstn"])
def test_axes(name, type, method, rng):
    x = rng.standard_normal((3, 4, 5, 6))
    choices = [(0,), (1, 3), (-1, 0), (2, 0, 1), (0, 1, 2, 3)]

    @jax.jit
    def run(x):
        some = [ours(name, x, type=type, axes=a, method=method) for a in choices]
        return [*some, ours(name, x, type=type, method=method)]

    for axes, y in zip([*choices, None], run(x), strict=True):
        close(y, theirs(name, x, type=type, axes=axes, norm="ortho"))


@each_method
def test_long_axes_of_unequal_length(method, rng):
    """Even times odd, and odd times even, in pairs of the two-dimensional FFT."""
    for shape in [(2, 96, 75), (77, 130), (127, 64)]:
        x = rng.standard_normal(shape)
        for name in ["dctn", "idctn", "dstn", "idstn"]:
            y = ours(name, x, axes=(-2, -1), method=method)
            close(y, theirs(name, x, axes=(-2, -1), norm="ortho"))


@pytest.mark.parametrize("n", [512, 1021, 2048])
@pytest.mark.parametrize("name", ["dct", "idct", "dst", "idst"])
def test_auto_for_long_axes(name, n, rng):
    x = rng.standard_normal(n)
    for type in TYPES:
        close(ours(name, x, type=type), theirs(name, x, type=type, norm="ortho"))


def test_axis_and_no_axes(rng):
    x = rng.standard_normal((4, 5, 3))
    for axis in (-3, -2, -1, 0, 1, 2):
        close(transforms.dct(x, axis=axis), theirs("dct", x, axis=axis, norm="ortho"))
    np.testing.assert_array_equal(transforms.dctn(x, axes=()), x)
    close(transforms.dctn(x, axes=1), theirs("dctn", x, axes=1, norm="ortho"))
    assert transforms.dct(np.zeros((0, 4))).shape == (0, 4)


@each_method
@each_type
@each_kind
def test_derivatives(kind, type, method, rng):
    """jvp is the transform itself, vjp the transposed matrix, to rounding."""
    name = KINDS[kind]
    cases = {6: "backward", 7: "forward", 8: "ortho"}
    points = {n: rng.standard_normal((2, 3, n)) for n in cases}

    @jax.jit
    def run(points):
        found = {}
        for n, norm in cases.items():
            f = partial(getattr(transforms, name), type=type, norm=norm, method=method)
            x, v = points[n]
            push = jax.jvp(f, (x,), (v,))[1]
            pull = jax.vjp(f, x)[1]
            twice = jax.linear_transpose(lambda v, pull=pull: pull(v)[0], v)
            found[n] = (
                push,
                pull(v)[0],
                twice(v)[0],
                jax.jacobian(jax.grad(half(f)))(x[0]),
            )
        return found

    for n, (push, pull, twice, hessian) in run(points).items():
        full = theirs(name, np.eye(n), type=type, norm=cases[n], axis=0)
        _, v = points[n]
        close(push, v @ full.T)
        close(pull, v @ full)
        close(twice, v @ full.T)
        close(hessian, full.T @ full)


def half(f):
    return lambda x: 0.5 * jnp.sum(f(x) ** 2)


@each_method
def test_batches_of_vmap_in_any_place(method, rng):
    x = rng.standard_normal((2, 6, 5, 3))
    for place in range(3):

        def f(x):
            return transforms.dctn(x, axes=(0, 2), method=method)

        moved = np.moveaxis(x, 3, place)
        y, pull = jax.vjp(jax.vmap(f, in_axes=place, out_axes=place), moved)
        exact = scipy.fft.dctn(x, axes=(0, 2), norm="ortho")
        close(np.moveaxis(y, place, 3), exact)
        # The adjoint is the inverse.
        close(pull(y)[0], moved)


@each_kind
@each_type
@given(data=st.data())
@settings(max_examples=25)
def test_laws(kind, type, data):
    """Parseval, inverse, linearity, adjoint, at random lengths and both methods."""
    n = data.draw(st.sampled_from((2, 5, 8, 9)))
    method = data.draw(st.sampled_from(METHODS))
    norm = data.draw(st.sampled_from(NORMS[:3]))
    seed = data.draw(st.integers(0, 2**32 - 1))
    x, y = np.random.default_rng(seed).standard_normal((2, n))
    name, options = KINDS[kind], {"type": type, "method": method}
    forward = ours(name, x, **options)
    close(forward @ forward, x @ x)
    close(
        ours("i" + name, ours(name, x, norm=norm, **options), norm=norm, **options), x
    )
    close(ours(name, 2 * x - y, **options), 2 * forward - ours(name, y, **options))
    close(forward @ y, x @ ours("i" + name, y, **options))


def test_lists_scalars_and_types_of_numpy():
    x = np.array([1.0, 2.0, 4.0], np.float32)
    np.testing.assert_allclose(
        transforms.dct([1.0, 2.0, 4.0]), transforms.dct(x), rtol=1e-6
    )
    np.testing.assert_array_equal(
        transforms.dctn(x[None], axes=np.array([0, 1])), transforms.dctn(x[None])
    )
    np.testing.assert_array_equal(
        transforms.dct(x, type=np.int64(3)), transforms.dct(x, type=3)
    )
    for bad in ("abc", None, [1, 2]):
        with pytest.raises(TypeError, match="`x` must be real floating point"):
            transforms.dct(bad)
    with pytest.raises(ValueError, match="`x` must have an axis at least"):
        transforms.dct(1.0)
    for wrong in (np.float32(2), np.array([1, 2]), True):
        with pytest.raises(ValueError, match="`type` must be 1, 2, 3 or 4"):
            transforms.dct(x, type=wrong)
