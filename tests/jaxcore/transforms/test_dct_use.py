"""DCT and DST in use: dtypes, devices, the choice of the method, bad arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxcore import transforms
from jaxcore.transforms import _trig
from jaxcore.transforms._trig_tables import Spec


ONE = ["dct", "idct", "dst", "idst"]
MANY = ["dctn", "idctn", "dstn", "idstn"]


@pytest.mark.parametrize("method", ["matmul", "fft"])
@pytest.mark.parametrize("name", ONE)
def test_float32(name, method, rng):
    """Within a few roundings of float32 of the largest value."""
    x = rng.standard_normal((3, 100)).astype(np.float32)
    for type in (1, 2, 3, 4):
        y = getattr(transforms, name)(x, type=type, method=method)
        exact = getattr(scipy.fft, name)(np.float64(x), type=type, norm="ortho")
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, exact, rtol=0, atol=2e-6 * np.abs(exact).max())


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("method", ["matmul", "fft"])
def test_half_precision_is_rounded_once(method, dtype, rng):
    x = jnp.asarray(rng.standard_normal((4, 24)), dtype)
    y = transforms.dct(x, method=method)
    wide = transforms.dct(x.astype(jnp.float32), method=method)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, wide.astype(dtype))
    gradient = jax.grad(lambda x: jnp.sum(transforms.dct(x, method=method)))(x)
    assert gradient.dtype == dtype


def test_without_jit(rng):
    x = rng.standard_normal((3, 5))
    with jax.disable_jit():
        y = transforms.dctn(x, method="fft")
    np.testing.assert_allclose(y, scipy.fft.dctn(x, norm="ortho"), atol=1e-6)


@pytest.mark.parametrize("method", ["matmul", "fft"])
def test_on_several_devices(method, rng):
    """Sharded along a batch axis, by jit, by shard_map and by pmap."""
    x = rng.standard_normal((4, 6, 10)).astype(np.float32)
    exact = scipy.fft.dctn(x, axes=(1, 2), norm="ortho")

    def f(x):
        return transforms.dctn(x, axes=(-2, -1), method=method)

    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    rows = PartitionSpec("data")
    sharded = jax.device_put(x, NamedSharding(mesh, rows))
    mapped = jax.shard_map(f, mesh=mesh, in_specs=rows, out_specs=rows)
    for run in (jax.jit(f), jax.jit(mapped), jax.pmap(f)):
        np.testing.assert_allclose(run(sharded), exact, atol=2e-6)
    gradient = jax.grad(lambda x: jnp.sum(mapped(x) ** 2))(sharded)
    np.testing.assert_allclose(gradient, 2 * x, atol=1e-5)


def test_one_operation_whatever_the_axes():
    """Derivatives do not go through gathers and products."""

    def f(x):
        return transforms.dctn(x, axes=(0, 2), method="fft")

    names = [e.primitive.name for e in jax.make_jaxpr(f)(jnp.ones((3, 4, 5))).eqns]
    assert names == ["trigonometric_transform"]
    backward = jax.make_jaxpr(jax.vjp(f, jnp.ones((3, 4, 5)))[1])(jnp.ones((3, 4, 5)))
    assert "gather" not in str(backward)


@pytest.mark.parametrize(
    ("n", "dtype", "platform", "expected"),
    [
        (128, jnp.float32, "cpu", True),
        (129, jnp.float32, "cpu", True),  # 43 is a factor
        (130, jnp.float32, "cpu", False),
        (64, jnp.float64, "cpu", True),
        (65, jnp.float64, "cpu", False),
        (257, jnp.float32, "cpu", True),  # a prime
        (521, jnp.float32, "cpu", False),
        (256, jnp.float32, "cuda", True),
        (257, jnp.float32, "tpu", False),
    ],
)
def test_choice(n, dtype, platform, expected):
    spec = Spec("cos", 2, "ortho")
    assert _trig.use_matmul(n, spec, jnp.dtype(dtype), platform) is expected


def test_choice_of_type_one_looks_at_the_extension():
    """129 points of a DCT-I are an FFT of length 256."""
    spec = Spec("cos", 1, "ortho")
    assert not _trig.use_matmul(129, spec, jnp.dtype(jnp.float32), "cpu")
    assert _trig.use_matmul(132, spec, jnp.dtype(jnp.float32), "cpu")


@pytest.mark.parametrize("n", [40, 200])
def test_auto_is_one_of_the_methods(n, rng):
    x = rng.standard_normal((2, n)).astype(np.float32)
    expected = "matmul" if n == 40 else "fft"
    other = "fft" if n == 40 else "matmul"
    auto = transforms.dct(x)
    np.testing.assert_array_equal(auto, transforms.dct(x, method=expected))
    assert np.any(auto != transforms.dct(x, method=other))


@pytest.mark.parametrize("name", ONE + MANY)
def test_complex_and_integers_are_refused(name):
    f = getattr(transforms, name)
    with pytest.raises(
        TypeError,
        match=rf"jaxcore.transforms.{name}: `x` must be real floating point, got dtype "
        "complex64; transform the real and the imaginary part",
    ):
        f(jnp.ones(4, jnp.complex64))
    with pytest.raises(TypeError, match="real floating point, got dtype int32"):
        f(jnp.arange(4))


@pytest.mark.parametrize("name", ONE + MANY)
def test_options_are_checked(name):
    f, x = getattr(transforms, name), jnp.ones((2, 4))
    for type in (0, 5, 2.0, True, "2"):
        with pytest.raises(ValueError, match=r"`type` must be 1, 2, 3 or 4, got"):
            f(x, type=type)
    for norm in ("orthonormal", "", 2):
        with pytest.raises(ValueError, match=r"`norm` must be 'ortho', 'backward', 'f"):
            f(x, norm=norm)
    with pytest.raises(ValueError, match=r"`method` must be one of .*, got 'fast'"):
        f(x, method="fast")


@pytest.mark.parametrize("name", ONE)
def test_axis_is_checked(name):
    f, x = getattr(transforms, name), jnp.ones((2, 4))
    for axis in (2, -3):
        with pytest.raises(
            ValueError, match=r"`axis` must be from -2 to 1 for an array of 2 axes, got"
        ):
            f(x, axis=axis)
    with pytest.raises(TypeError, match=r"`axis` must be of integers, got 1.5"):
        f(x, axis=1.5)
    with pytest.raises(ValueError, match=r"`x` must have an axis at least"):
        f(jnp.ones(()))


@pytest.mark.parametrize("name", MANY)
def test_axes_are_checked(name):
    f, x = getattr(transforms, name), jnp.ones((2, 4))
    with pytest.raises(ValueError, match=r"`axes` must be from -2 to 1"):
        f(x, axes=(0, 2))
    with pytest.raises(ValueError, match=r"`axes` must be distinct, got \(1, -1\)"):
        f(x, axes=(1, -1))
    with pytest.raises(TypeError, match=r"`axes` must be of integers, got None"):
        f(x, axes=(0, None))


@pytest.mark.parametrize("name", ONE + MANY)
def test_short_axes_are_refused(name):
    f = getattr(transforms, name)
    with pytest.raises(
        ValueError,
        match=r"`x` must have a length of at least 1 on every transformed axis, got "
        r"shape \(3, 0\)",
    ):
        f(jnp.ones((3, 0)))
    if "dct" in name:
        with pytest.raises(ValueError, match=r"at least 2 on .* with type 1"):
            f(jnp.ones((3, 1)), type=1)
    else:
        np.testing.assert_allclose(f(jnp.ones((1, 1)), type=1), 1.0, atol=1e-6)
