"""Statistics for channel attention against loops in NumPy, on every kind of grid."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcore import transforms
from jaxcore.transforms._adaptive_pool import matrix, pool_axis
from jaxcore.transforms._frequency_folds import basis


TOP = transforms.frequency_list("top", 16)
statistics = transforms.multi_frequency_statistics


def pooled(x, size):
    """Adaptive average pooling of (b, h, w, c), bin by bin."""
    b, h, w, c = x.shape
    out = np.zeros((b, size, size, c))
    for i in range(size):
        for j in range(size):
            rows = slice(i * h // size, -(-(i + 1) * h // size))
            columns = slice(j * w // size, -(-(j + 1) * w // size))
            out[:, i, j] = x[:, rows, columns].mean(axis=(1, 2))
    return out


def bases(pairs, size):
    """Basis images (k, p, p), as inverse transforms of unit vectors by SciPy."""
    images = []
    for u, v in pairs:
        one = np.zeros((size, size))
        one[u * (size // 7), v * (size // 7)] = 1.0
        images.append(scipy.fft.idctn(one, norm="ortho"))
    return np.stack(images)


def reference(x, pairs, size):
    maps = np.moveaxis(pooled(x, size), 3, 1)
    products = maps[:, :, None] * bases(pairs, size)
    parts = [f(products, axis=(3, 4)) for f in (np.mean, np.max, np.min)]
    return [part.mean(axis=2) for part in parts]


def methods(size):
    return ["auto", "separable", "direct"] + ["fold"] * (size % 7 == 0)


CASES = [
    (2, 5, 9, 2, 7),
    (1, 13, 64, 3, 14),
    (2, 16, 8, 1, 16),
    (1, 32, 40, 2, 28),
    (1, 35, 70, 2, 35),
    (2, 56, 56, 3, 56),
    (1, 150, 128, 1, 112),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_method_in_float64(case, x64, rng):
    *shape, size = case
    x = rng.standard_normal(shape)
    exact = reference(x, TOP, size)
    for method in methods(size):
        found = statistics(x, TOP, size, method=method)
        for ours, theirs in zip(found, exact, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [7, 14, 28, 56])
def test_float32_is_the_direct_form_to_rounding(size, rng):
    x = jnp.asarray(rng.standard_normal((2, size, size, 4)), jnp.float32)
    direct = statistics(x, TOP, size, method="direct")
    for method in ("auto", "separable", "fold"):
        found = statistics(x, TOP, size, method=method)
        for ours, theirs in zip(found, direct, strict=True):
            # Ulps of the extremes, which the averages are far smaller than.
            scale = np.abs(direct.maximum).max()
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("size", [16, 35])
def test_gradients_are_those_of_the_direct_form(size, x64, rng):
    x = rng.standard_normal((2, 20, 30, 2))
    weights = rng.standard_normal((3, 2, 2))

    def loss(x, method):
        found = statistics(x, TOP, size, method=method)
        return sum(jnp.vdot(w, part) for w, part in zip(weights, found, strict=True))

    gradients = {
        m: jax.jit(jax.grad(loss), static_argnums=1)(x, m) for m in methods(size)[1:]
    }
    for gradient in gradients.values():
        np.testing.assert_allclose(gradient, gradients["direct"], rtol=0, atol=1e-13)
    v, step = rng.standard_normal(x.shape), 1e-6
    numeric = (loss(x + step * v, "auto") - loss(x - step * v, "auto")) / (2 * step)
    np.testing.assert_allclose(jnp.vdot(gradients["direct"], v), numeric, rtol=1e-6)


def test_second_derivative_is_zero(rng):
    """Extremes are piecewise linear; forward over reverse goes through the rule."""
    x, v = rng.standard_normal((2, 1, 28, 28, 1)).astype(np.float32)

    def loss(x):
        return jnp.sum(statistics(x, TOP[:2], 28, method="fold").maximum)

    gradient, change = jax.jit(lambda x, v: jax.jvp(jax.grad(loss), (x,), (v,)))(x, v)
    assert np.abs(gradient).max() > 1e-3
    np.testing.assert_allclose(change, 0.0, atol=1e-7)


def test_ties_share_the_gradient():
    """On a constant map every position is the largest."""
    x = jnp.ones((1, 28, 28, 1))
    for method in ("fold", "direct"):

        def loss(x, method=method):
            return jnp.sum(statistics(x, [(0, 0)], 28, method=method).maximum)

        np.testing.assert_allclose(jax.jit(jax.grad(loss))(x), 1 / 28**3, rtol=1e-5)


def test_no_array_of_all_products():
    """Half the products of 16 frequencies with the map would be 8 maps."""
    size = 56
    x = jnp.ones((2, size, size, 8), jnp.float32)

    def loss(x, method):
        return sum(jnp.sum(part) for part in statistics(x, TOP, size, method=method))

    for method in methods(size)[1:]:
        for f in (loss, jax.grad(loss)):
            plan = jax.jit(f, static_argnums=1).lower(x, method).compile()
            assert plan.memory_analysis().temp_size_in_bytes < 8 * x.nbytes


@pytest.mark.parametrize(
    ("size", "same"), [(7, "direct"), (27, "direct"), (28, "fold"), (29, "separable")]
)
def test_auto(size, same):
    x = jnp.ones((1, size, size, 1))
    programs = [
        str(jax.make_jaxpr(lambda x, m=m: statistics(x, TOP[:2], size, method=m))(x))
        for m in ("auto", same)
    ]
    assert programs[0] == programs[1]


RACE = """
import time

import jax
import jax.numpy as jnp
from jaxcore import transforms

x = jax.random.normal(jax.random.key(0), (4, 112, 112, 64))
pairs = transforms.frequency_list("top", 16)
for kind in ("forward", "gradient"):
    programs, times = {}, {"fold": [], "direct": []}
    for method in times:

        def run(x, method=method):
            found = transforms.multi_frequency_statistics(x, pairs, 112, method=method)
            return found if kind == "forward" else sum(map(jnp.sum, found))

        target = run if kind == "forward" else jax.value_and_grad(run)
        programs[method] = jax.jit(target).lower(x).compile()
    for _ in range(9):
        for method, program in programs.items():
            start = time.process_time()
            jax.block_until_ready(program(x))
            times[method].append(time.process_time() - start)
    print(min(times["direct"]) / min(times["fold"]))
"""


@pytest.mark.slow
def test_folding_takes_a_third_of_the_time():
    """At 112 x 112, in processor time of alternating runs: other load is no matter.

    In a process with XLA's own options: those of the tests compile fast, not fast code.
    """
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    found = subprocess.run(
        [sys.executable, "-c", RACE],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    forward, gradient = map(float, found.stdout.split())
    assert forward > 3
    assert gradient > 3


def test_average_of_inputs_smaller_and_larger_than_the_grid(x64, rng):
    small, large = (
        rng.standard_normal((1, 9, 8, 2)),
        rng.standard_normal((1, 99, 98, 2)),
    )
    for x in (small, large):
        found = statistics(x, TOP, 28)
        np.testing.assert_allclose(found.average, reference(x, TOP, 28)[0], atol=1e-15)


@pytest.mark.parametrize("method", ["fold", "separable", "direct"])
def test_transformations(method, rng):
    x = jnp.asarray(rng.standard_normal((3, 2, 28, 28, 2)), jnp.float32)

    def f(x):
        return jnp.stack(statistics(x, TOP[:4], 28, method=method))

    whole = f(x)
    assert whole.shape == (3, 3, 2, 2)
    np.testing.assert_allclose(jax.jit(f)(x), whole, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(f, 1, 2)(x), whole, atol=1e-6)
    np.testing.assert_allclose(f(x[0, 0]), whole[:, 0, 0], atol=1e-6)
    _, push = jax.jvp(f, (x,), (x,))  # homogeneous of degree one
    np.testing.assert_allclose(push, whole, atol=1e-6)


def test_one_frequency_is_the_mean(x64, rng):
    """The lowest basis image is 1 / P everywhere."""
    x = rng.standard_normal((2, 30, 23, 3))
    found = statistics(x, [(0, 0)], 28)
    maps = pooled(x, 28)
    np.testing.assert_allclose(found.average, maps.mean((1, 2)) / 28, atol=1e-15)
    np.testing.assert_allclose(found.maximum, maps.max((1, 2)) / 28, atol=1e-15)
    np.testing.assert_allclose(found.minimum, maps.min((1, 2)) / 28, atol=1e-15)


def test_half_precision(rng):
    x = jnp.asarray(rng.standard_normal((2, 28, 28, 2)), jnp.bfloat16)
    found = statistics(x, TOP, 28)
    wide = statistics(x.astype(jnp.float32), TOP, 28)
    for ours, theirs in zip(found, wide, strict=True):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_array_equal(ours, theirs.astype(jnp.bfloat16))


@given(
    size=st.sampled_from([14, 28]),
    method=st.sampled_from(["fold", "separable", "direct"]),
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(0.1, 10.0),
)
@settings(max_examples=20)
def test_laws(size, method, seed, scale):
    """Order of extremes; sign, scale and order of channels."""
    x = np.random.default_rng(seed).standard_normal((2, size, size, 3))
    x = x.astype(np.float32)
    average, maximum, minimum = statistics(x, TOP[:6], size, method=method)
    assert np.all(minimum <= average)
    assert np.all(average <= maximum)
    less = statistics(-np.float32(scale) * x, TOP[:6], size, method=method)
    np.testing.assert_allclose(less.maximum, -scale * minimum, rtol=1e-5)
    np.testing.assert_allclose(less.minimum, -scale * maximum, rtol=1e-5)
    np.testing.assert_allclose(less.average, -scale * average, atol=1e-5)
    order = [2, 0, 1]
    swapped = statistics(x[..., order], TOP[:6], size, method=method)
    np.testing.assert_allclose(swapped.maximum, maximum[:, order], rtol=1e-6)


@pytest.mark.parametrize(
    ("length", "size"), [(64, 14), (13, 7), (5, 7), (12, 6), (4, 8)]
)
def test_pooling(length, size, x64, rng):
    x = rng.standard_normal((2, length, 3))
    exact = np.stack(
        [
            x[:, i * length // size : -(-(i + 1) * length // size)].mean(axis=1)
            for i in range(size)
        ],
        axis=1,
    )
    np.testing.assert_allclose(pool_axis(jnp.asarray(x), 1, size), exact, atol=1e-14)
    np.testing.assert_allclose(matrix(length, size).sum(axis=1), 1.0, atol=1e-15)
    found = transforms.adaptive_average_pool(x, size, axis=-2)
    np.testing.assert_allclose(found, exact, atol=1e-14)


def test_pooling_is_checked():
    pool = transforms.adaptive_average_pool
    with pytest.raises(TypeError, match="`x` must be real floating point, got dtype i"):
        pool(jnp.ones(3, int), 1, axis=0)
    with pytest.raises(
        ValueError, match="`size` must be an integer of at least 1, got"
    ):
        pool(jnp.ones(3), 0, axis=0)
    with pytest.raises(
        ValueError, match="`axis` must be an integer from -1 to 0 for 1"
    ):
        pool(jnp.ones(3), 1, axis=1)
    with pytest.raises(ValueError, match=r"not be empty along axis 1, got .*\(2, 0\)"):
        pool(jnp.ones((2, 0)), 1, axis=1)
    assert pool(jnp.ones((2, 3), jnp.bfloat16), 2, axis=1).dtype == jnp.bfloat16


@pytest.mark.parametrize("size", [7, 14, 50, 112])
def test_bases_are_orthonormal(size):
    np.testing.assert_allclose(basis(size) @ basis(size).T, np.eye(7), atol=1e-14)


@pytest.mark.parametrize(("shape", "size"), [((2, 13, 20, 8), 14), ((7, 7, 4), 7)])
def test_groups_of_channels(shape, size, x64, rng):
    x = rng.standard_normal(shape)
    pairs = TOP[:4]
    maps = pooled(x.reshape(-1, *shape[-3:]), size)
    groups = np.repeat(bases(pairs, size), shape[-1] // 4, axis=0)
    exact = np.einsum("bhwc,chw->bc", maps, groups).reshape(*shape[:-3], shape[-1])
    f = jax.jit(lambda x: transforms.grouped_frequency_coefficients(x, pairs, size))
    np.testing.assert_allclose(f(x), exact, rtol=0, atol=1e-12)
    v = rng.standard_normal(x.shape)
    np.testing.assert_allclose(jax.jvp(f, (x,), (v,))[1], f(v), atol=1e-12)
    ct = rng.standard_normal(exact.shape)
    pull = jax.vjp(f, x)[1](ct)[0]
    np.testing.assert_allclose(np.vdot(pull, v), np.vdot(ct, f(v)), rtol=1e-11)


def test_lists():
    for name in ("top", "low", "bottom"):
        pairs = transforms.frequency_list(name, 32)
        assert len(set(pairs)) == 32
        assert all(0 <= f < 7 for pair in pairs for f in pair)
        assert pairs[:16] == transforms.frequency_list(name)
    # The last row of the published lists.
    ends = [transforms.frequency_list(n, 32)[-1] for n in ("top", "low", "bottom")]
    assert ends == [(1, 3), (4, 3), (6, 3)]


def test_bad_lists():
    with pytest.raises(
        ValueError,
        match=r"jaxcore.transforms.frequency_list: `name` must be one of 'top', 'low', "
        "'bottom', got 'bot'",
    ):
        transforms.frequency_list("bot")
    for count in (0, 33, 1.5, None):
        with pytest.raises(ValueError, match="`count` must be an integer from 1 to 32"):
            transforms.frequency_list("top", count)


BOTH = pytest.mark.parametrize(
    "name", ["multi_frequency_statistics", "grouped_frequency_coefficients"]
)


@BOTH
def test_arguments_are_checked(name):
    f, x = getattr(transforms, name), jnp.ones((8, 8, 2))
    with pytest.raises(
        TypeError, match=rf"jaxcore.transforms.{name}: `x` must be real floating point"
    ):
        f(x.astype(jnp.complex64), TOP, 7)
    for shape in [(8, 8), (0, 8, 2), (8, 0, 2), (8, 8, 0)]:
        with pytest.raises(
            ValueError, match=r"`x` must be maps .* not empty, got shape"
        ):
            f(jnp.ones(shape), TOP[:2], 7)
    for grid in (6, 0, -7, 7.0, None):
        with pytest.raises(ValueError, match="`grid` must be an integer of at least 7"):
            f(x, TOP[:2], grid)
    for pairs in ([], [(0, 7)], [(-1, 0)], [(0.5, 1)], [(1, 2, 3)], [3], None):
        with pytest.raises(
            ValueError,
            match="`frequencies` must be pairs of integers from 0 to 6, at le",
        ):
            f(x, pairs, 7)


def test_options_are_checked():
    x = jnp.ones((8, 8, 3))
    with pytest.raises(ValueError, match=r"`method` must be one of .*, got 'scan'"):
        statistics(x, TOP, 7, method="scan")
    with pytest.raises(ValueError, match="`grid` must be a multiple of 7 to be folded"):
        statistics(x, TOP, 8, method="fold")
    with pytest.raises(
        ValueError,
        match=r"`x` must have a multiple of 2 channels, a group per frequency, got sha",
    ):
        transforms.grouped_frequency_coefficients(x, TOP[:2], 7)


@pytest.mark.parametrize("grid", [14, 28, 56])
def test_empty_batches(grid):
    frequencies = transforms.frequency_list("top", 4)
    found = transforms.multi_frequency_statistics(
        jnp.ones((0, 56, 56, 4)), frequencies, grid
    )
    assert {part.shape for part in found} == {(0, 4)}
    grouped = transforms.grouped_frequency_coefficients(
        jnp.ones((0, 56, 56, 4)), frequencies, grid
    )
    assert grouped.shape == (0, 4)
