import functools

import e3nn_jax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcore import sphere
from jaxcore.sphere import _sampling, gaunt
from tests.jaxcore.sphere.reference import coupled, random_rotation


METHODS = ("dense", "grid", "fourier")
DEGREES = [
    (0, 0, 0), (1, 1, 1), (2, 2, 2), (1, 2, 3), (3, 1, 2), (3, 3, 3), (4, 4, 8),
    (2, 5, 4), (5, 5, 5), (3, 1, 6), (6, 0, 6),
]  # fmt: skip


def pair(rng, degrees, *batch):
    x = rng.standard_normal((*batch, (degrees[0] + 1) ** 2))
    y = rng.standard_normal((*batch, (degrees[1] + 1) ** 2))
    return jnp.asarray(x), jnp.asarray(y)


@pytest.mark.parametrize("method", gaunt.METHODS)
@pytest.mark.parametrize("degrees", DEGREES)
def test_is_the_clebsch_gordan_product_with_closed_scales(x64, rng, degrees, method):
    x, y = pair(rng, degrees, 3)
    expected = coupled(x, y, degrees, sphere.gaunt_scales(*degrees))
    found = jax.jit(functools.partial(_product, degrees=degrees, method=method))(x, y)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (1, 2, 3), (3, 2, 2)])
def test_clebsch_gordan_product(x64, rng, degrees):
    x, y = pair(rng, degrees, 2, 3)
    weights = rng.standard_normal([degree + 1 for degree in degrees])
    found = sphere.cg_product(x, y[:, :1], *degrees, weights=jnp.asarray(weights))
    every = np.broadcast_to(y[:, :1], y.shape)
    np.testing.assert_allclose(found, coupled(x, every, degrees, weights), atol=1e-13)
    plain = sphere.cg_product(x, y[0], *degrees)
    every = np.broadcast_to(y[0], y.shape)
    np.testing.assert_allclose(
        plain, coupled(x, every, degrees, np.ones_like(weights)), atol=1e-13
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_path_is_that_of_e3nn(x64, rng, method):
    """One degree of each factor at a time, against e3nn's tensor product."""
    top = 3
    x, y = pair(rng, (top, top))
    product = jax.jit(functools.partial(_product, degrees=(3, 3, 6), method=method))
    scales = sphere.gaunt_scales(top, top, 2 * top)
    for l1 in range(top + 1):
        for l2 in range(top + 1):
            block1, block2 = (slice(l * l, (l + 1) ** 2) for l in (l1, l2))
            only_x = jnp.zeros_like(x).at[block1].set(x[block1])
            only_y = jnp.zeros_like(y).at[block2].set(y[block2])
            found = product(only_x, only_y)
            theirs = e3nn_jax.tensor_product(
                e3nn_jax.IrrepsArray(e3nn_jax.Irreps([(1, (l1, 1))]), x[block1]),
                e3nn_jax.IrrepsArray(e3nn_jax.Irreps([(1, (l2, 1))]), y[block2]),
                irrep_normalization="norm",
            )
            expected = np.zeros(found.shape)
            for (_, ir), chunk in zip(theirs.irreps, theirs.chunks, strict=True):
                # Their paths in this normalization have `sqrt((2l1+1)(2l2+1))` times
                # the coupling tensor of unit norm.
                size = np.sqrt((2 * l1 + 1) * (2 * l2 + 1))
                block = slice(ir.l**2, (ir.l + 1) ** 2)
                expected[block] = scales[l1, l2, ir.l] * chunk[0] / size
            np.testing.assert_allclose(found, expected, atol=1e-10)
            odd = [l for l in range(2 * top + 1) if (l1 + l2 + l) % 2]
            for l in odd:
                assert np.abs(found[l * l : (l + 1) ** 2]).max() < 1e-14


@pytest.mark.parametrize("degrees", [(2, 2, 2), (4, 3, 5), (9, 9, 9), (16, 16, 16)])
def test_methods_agree_in_float32(rng, degrees):
    x, y = (a.astype(jnp.float32) for a in pair(rng, degrees, 7))
    methods = METHODS if max(degrees) < 10 else METHODS[1:]
    found = [
        jax.jit(functools.partial(_product, degrees=degrees, method=method))(x, y)
        for method in methods
    ]
    assert all(z.dtype == jnp.float32 for z in found)
    scale = np.abs(found[0]).max()
    for z in found[1:]:
        np.testing.assert_allclose(z / scale, found[0] / scale, atol=3e-6)


def _product(x, y, degrees, method="auto"):
    return sphere.gaunt_product(x, y, *degrees, method=method)


def test_values_are_multiplied(x64, rng):
    """At degrees 12 and 20, on a grid."""
    degrees = (12, 20, 32)
    x, y = pair(rng, degrees)
    z = jax.jit(functools.partial(_product, degrees=degrees))(x, y)
    v = jnp.asarray(rng.standard_normal((5, 3)))
    f, g, h = (
        jnp.sum(c[None] * sphere.real_harmonics(v, degree), axis=-1)
        for c, degree in ((x, 12), (y, 20), (z, 32))
    )
    np.testing.assert_allclose(f * g, h, atol=1e-10)


_laws = {
    method: jax.jit(functools.partial(_product, degrees=(3, 3, 4), method=method))
    for method in METHODS
}
_rotate = {
    degree: jax.jit(functools.partial(sphere.rotate, degree=degree))
    for degree in (3, 4)
}


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 2**32 - 1), sign=st.sampled_from([1, -1]))
def test_laws(method, seed, sign):
    """Equivariance under rotations and reflections, symmetry, linearity, unit."""
    rng = np.random.default_rng(seed)
    x, y, w = rng.standard_normal((3, 16)).astype(np.float32)
    rotation = random_rotation(rng, sign=sign).astype(np.float32)
    product = _laws[method]
    z = product(x, y)
    turned = product(_rotate[3](x, rotation), _rotate[3](y, rotation))
    np.testing.assert_allclose(turned, _rotate[4](z, rotation), atol=2e-5)
    np.testing.assert_allclose(product(y, x), z, atol=5e-6)
    np.testing.assert_allclose(product(x, y + 2 * w), z + 2 * product(x, w), atol=2e-5)
    one = np.zeros(16, np.float32)
    one[0] = np.sqrt(4 * np.pi)
    np.testing.assert_allclose(product(one, x)[:16], x, atol=5e-6)
    assert np.abs(product(one, x)[16:]).max() < 5e-6


@pytest.mark.parametrize("method", METHODS)
def test_weights(x64, rng, method):
    degrees = (2, 3, 4)
    x, y = pair(rng, degrees, 2)
    u, v, w = (jnp.asarray(rng.standard_normal(degree + 1)) for degree in degrees)
    found = sphere.gaunt_product(
        x, y, *degrees, weights_x=u, weights_y=v, weights_out=w, method=method
    )
    path = u[:, None, None] * v[None, :, None] * w[None, None, :]
    scales = sphere.gaunt_scales(*degrees) * np.asarray(path)
    expected = coupled(x, y, degrees, scales)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    # One set of weights per channel.
    channels = sphere.gaunt_product(
        x[:, None], y[:, None], *degrees, weights_x=jnp.stack([u, 2 * u, 3 * u])
    )
    assert channels.shape == (2, 3, 25)
    np.testing.assert_allclose(channels[:, 2], 3 * channels[:, 0], rtol=1e-12)


@pytest.mark.parametrize("degrees", [(2, 2, 2), (8, 9, 10)])
def test_leading_axes_and_blocks(monkeypatch, rng, degrees):
    x, y = (a.astype(jnp.float32) for a in pair(rng, degrees, 6, 5))
    run = functools.partial(_product, degrees=degrees)
    whole = jax.jit(run)(x, y)
    single = jax.jit(lambda x, y: run(x, y))
    np.testing.assert_allclose(jax.jit(jax.vmap(run))(x, y), whole, atol=1e-5)
    one = jax.jit(run)(x, y[:, :1])
    np.testing.assert_allclose(one[2, 3], single(x[2, 3], y[2, 0]), atol=1e-5)
    none = jax.jit(run)(x, y[0])
    np.testing.assert_allclose(none[4, 1], single(x[4, 1], y[0, 1]), atol=1e-5)
    assert jax.eval_shape(run, x[:0], y[:0]).shape == whole[:0].shape

    def all_of(run):
        def call(x, y):
            slopes = jax.grad(lambda x, y: jnp.sum(run(x, y) ** 2), (0, 1))(x, y)
            _, tangent = jax.jvp(run, (x, y), (x, y))
            return run(x, y), run(x, y[:, :1]), run(x, y[0]), tangent, *slopes

        return jax.jit(call)(x, y)

    plain = all_of(run)
    np.testing.assert_allclose(plain[3], 2 * whole, atol=5e-5)
    # Blocks of seven rows, the last of which is not full.
    monkeypatch.setattr(_sampling, "MAX_BYTES", 0)
    size = 4 * _sampling.num_values(sum(degrees))
    monkeypatch.setattr(_sampling, "BLOCK_BYTES", 7 * size)
    gaunt._grid.clear_cache()  # traced before, without blocks
    blocked = functools.partial(run, method="grid")
    assert "scan" in str(jax.make_jaxpr(blocked)(x, y))
    in_blocks = all_of(blocked)
    for found, expected in zip(in_blocks, plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("degrees", [(2, 2, 2), (2, 3, 4)])
def test_gradient_is_the_exact_adjoint(x64, rng, method, degrees):
    """<c, x * y> is a symmetric form, so every slope is a Gaunt product again."""
    x, y = pair(rng, degrees)
    c = jnp.asarray(rng.standard_normal((degrees[2] + 1) ** 2))
    product = functools.partial(_product, degrees=degrees, method=method)
    dx, dy = jax.jit(lambda x, y: jax.vjp(product, x, y)[1](c))(x, y)
    a, b, d = degrees
    scales = sphere.gaunt_scales(a, b, d)
    expected = coupled(c, y, (d, b, a), scales.transpose(2, 1, 0))
    np.testing.assert_allclose(dx, expected, atol=1e-12)
    expected = coupled(x, c, (a, d, b), scales.transpose(0, 2, 1))
    np.testing.assert_allclose(dy, expected, atol=1e-12)

    def loss(x):
        return jnp.sum(product(x, y) ** 3)

    step = 1e-6 * jnp.eye(x.size)
    many = jax.jit(jax.vmap(loss))
    numerical = (many(x[None] + step) - many(x[None] - step)) / 2e-6
    slope = jax.jit(lambda x, v: jax.jvp(jax.grad(loss), (x,), (v,)))
    found, curvature = slope(x, y[: x.size])
    np.testing.assert_allclose(found, numerical, rtol=1e-6, atol=1e-6)
    shift = 1e-6 * y[: x.size]
    numerical = (slope(x + shift, x)[0] - slope(x - shift, x)[0]) / 2e-6
    np.testing.assert_allclose(curvature, numerical, rtol=1e-5, atol=1e-5)


def test_auto_takes_what_was_measured():
    for degree in range(1, 11):
        expected = "dense" if degree <= 2 else "grid"
        assert gaunt._fastest((degree,) * 3) == expected
    assert gaunt._fastest((10, 0, 10)) == "dense"


def test_mixed_types(rng):
    x = jnp.asarray(rng.standard_normal(9), jnp.bfloat16)
    y = jnp.asarray(rng.standard_normal(9), jnp.float32)
    assert _product(x, y, (2, 2, 2)).dtype == jnp.float32
    low = _product(x, x, (2, 2, 2))
    assert low.dtype == jnp.bfloat16
    exact = _product(x.astype(jnp.float32), x.astype(jnp.float32), (2, 2, 2))
    # bfloat16 has eight bits.
    np.testing.assert_allclose(low.astype(jnp.float32), exact, atol=0.05)


def test_half_precision_by_every_method(rng):
    x, y = (a.astype(jnp.bfloat16) for a in pair(rng, (2, 2, 2)))
    whole = _product(x.astype(jnp.float32), y.astype(jnp.float32), degrees=(2, 2, 2))
    for method in METHODS:
        found = _product(x, y, degrees=(2, 2, 2), method=method)
        assert found.dtype == jnp.bfloat16
        size = float(jnp.abs(whole).max())
        np.testing.assert_allclose(found.astype(jnp.float32), whole, atol=0.05 * size)
