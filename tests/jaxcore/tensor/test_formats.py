"""One harness for CP, tensor train and Tucker: the same laws and references for all."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcore.tensor import cp, tensor_train, tucker


Rng = np.random.Generator


class Format(NamedTuple):
    """A module and how to make and densify its tensors independently of it."""

    name: str
    module: Any
    random: Callable[..., Any]  # (rng, sizes, rank) -> tensor, NumPy float64
    dense: Callable[[Any], np.ndarray]

    def to_dense(self, tensor):
        return self._unpack(self.module.to_dense, tensor)

    def at_points(self, tensor):
        return self._unpack(self.module.at_points, tensor)

    def _unpack(self, function, tensor):
        return function(*tensor) if self.name == "tucker" else function(tensor)


def random_cp(rng: Rng, sizes, rank=3):
    return tuple(rng.standard_normal((n, rank)) for n in sizes)


def random_tt(rng: Rng, sizes, rank=3):
    ranks = (1, *(rank + k % 2 for k in range(len(sizes) - 1)), 1)
    shapes = zip(ranks[:-1], sizes, ranks[1:], strict=True)
    return tuple(rng.standard_normal(shape) for shape in shapes)


def random_tucker(rng: Rng, sizes, rank=3):
    ranks = [rank - k % 2 for k in range(len(sizes))]
    factors = tuple(
        rng.standard_normal((n, r)) for n, r in zip(sizes, ranks, strict=True)
    )
    return rng.standard_normal(ranks), factors


def dense_cp(factors):
    dense = np.zeros([len(factor) for factor in factors])
    for index in np.ndindex(dense.shape):
        rows = [factor[k] for factor, k in zip(factors, index, strict=True)]
        dense[index] = np.sum(np.prod(rows, axis=0))
    return dense


def dense_tt(cores):
    dense = np.zeros([core.shape[1] for core in cores])
    for index in np.ndindex(dense.shape):
        product = np.eye(1)
        for core, k in zip(cores, index, strict=True):
            product = product @ core[:, k]
        dense[index] = product[0, 0]
    return dense


def dense_tucker(tensor):
    core, factors = tensor
    dense = np.zeros([len(factor) for factor in factors])
    for index in np.ndindex(dense.shape):
        for rank in np.ndindex(core.shape):
            term = core[rank]
            for factor, k, r in zip(factors, index, rank, strict=True):
                term = term * factor[k, r]
            dense[index] += term
    return dense


CP = Format("cp", cp, random_cp, dense_cp)
TT = Format("tensor_train", tensor_train, random_tt, dense_tt)
TUCKER = Format("tucker", tucker, random_tucker, dense_tucker)
FORMATS = (CP, TT, TUCKER)
SIZES = ((4,), (3, 5), (4, 1, 3), (3, 2, 2, 4), (2, 3, 2, 1, 3))

each_format = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
each_size = pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: f"d{len(sizes)}")


def to_jax(tensor, dtype=None):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype=dtype), tensor)


def gauss(sizes):
    return tuple(np.polynomial.legendre.leggauss(n)[1] for n in sizes)


def weighted_sum(values, weights):
    for w in weights[::-1]:
        values = values @ w
    return values


@each_format
@each_size
def test_dense_matches_loops(form, sizes, rng, x64):
    tensor = form.random(rng, sizes)
    dense = jax.jit(form.to_dense)(to_jax(tensor))
    np.testing.assert_allclose(dense, form.dense(tensor), rtol=1e-12, atol=1e-12)


@each_format
@each_size
def test_points_match_loops(form, sizes, rng, x64):
    points = 5
    tensor = form.random(rng, (points,) * len(sizes))
    values = jax.jit(form.at_points)(to_jax(tensor))
    diagonal = form.dense(tensor)[(np.arange(points),) * len(sizes)]
    np.testing.assert_allclose(values, diagonal, rtol=1e-12, atol=1e-12)


@each_format
@each_size
def test_inner_matches_the_grid(form, sizes, rng, x64):
    a, b = form.random(rng, sizes), form.random(rng, sizes, rank=2)
    product = form.dense(a) * form.dense(b)
    weights = gauss(sizes)
    inner = jax.jit(form.module.inner)
    got = inner(to_jax(a), to_jax(b), to_jax(weights))
    np.testing.assert_allclose(got, weighted_sum(product, weights), rtol=1e-12)
    plain = inner(to_jax(a), to_jax(b))
    np.testing.assert_allclose(plain, np.sum(product), rtol=1e-12)


@each_format
@each_size
@pytest.mark.parametrize("orthogonalize", [False, True])
def test_norm_matches_the_grid(form, sizes, orthogonalize, rng, x64):
    a = form.random(rng, sizes)
    norm = jax.jit(partial(form.module.norm_squared, orthogonalize=orthogonalize))
    weights = to_jax(gauss(sizes))
    square = form.dense(a) ** 2
    np.testing.assert_allclose(
        norm(to_jax(a), weights), weighted_sum(square, weights), rtol=1e-12
    )
    np.testing.assert_allclose(norm(to_jax(a)), np.sum(square), rtol=1e-12)


@each_format
@pytest.mark.parametrize("orthogonalize", [False, True])
def test_more_ranks_than_points(form, orthogonalize, rng, x64):
    a = form.random(rng, (2, 3, 2), rank=7)
    got = form.module.norm_squared(to_jax(a), orthogonalize=orthogonalize)
    np.testing.assert_allclose(got, np.sum(form.dense(a) ** 2), rtol=1e-12)


@each_format
def test_float32(form, rng):
    sizes = (6, 5, 4)
    a, b = form.random(rng, sizes), form.random(rng, sizes)
    a32, b32 = to_jax(a, jnp.float32), to_jax(b, jnp.float32)
    weights = gauss(sizes)
    dense, other = form.dense(a), form.dense(b)
    got = form.to_dense(a32)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, dense, rtol=1e-5, atol=1e-5)
    scale = np.sqrt(np.sum(dense**2) * np.sum(other**2))
    inner = form.module.inner(a32, b32, weights)
    assert inner.dtype == jnp.float32
    exact = weighted_sum(dense * other, weights)
    np.testing.assert_allclose(inner, exact, rtol=1e-5, atol=1e-5 * scale)
    for orthogonalize in (False, True):
        norm = form.module.norm_squared(a32, weights, orthogonalize=orthogonalize)
        assert norm.dtype == jnp.float32
        np.testing.assert_allclose(norm, weighted_sum(dense**2, weights), rtol=1e-5)


@each_format
@each_size
def test_add_and_scale_match_the_grid(form, sizes, rng, x64):
    a, b = form.random(rng, sizes), form.random(rng, sizes, rank=2)

    def combine(a, b, s):
        return form.to_dense(form.module.add(a, form.module.scale(b, s)))

    got = jax.jit(combine)(to_jax(a), to_jax(b), -2.5)
    expected = form.dense(a) - 2.5 * form.dense(b)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def laws(form, a, b, c, s):
    inner, add, scale = form.module.inner, form.module.add, form.module.scale
    left = inner(add(a, scale(b, s)), c)
    norm = form.module.norm_squared
    return {
        "linear": (left, inner(a, c) + s * inner(b, c)),
        "symmetric": (inner(a, b), inner(b, a)),
        "commutes": (form.to_dense(add(a, b)), form.to_dense(add(b, a))),
        "norm": (norm(a), norm(a, orthogonalize=True)),
        "homogeneous": (norm(scale(a, s)), s**2 * norm(a)),
        "parallelogram": (
            norm(add(a, b)) + norm(add(a, scale(b, -1.0))),
            2 * norm(a) + 2 * norm(b),
        ),
    }


JITTED = {form.name: jax.jit(partial(laws, form)) for form in FORMATS}


@each_format
@given(seed=st.integers(0, 2**32 - 1), s=st.floats(-10, 10))
def test_laws(form, seed, s):
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        a, b, c = (to_jax(form.random(rng, (3, 4, 2), rank=2)) for _ in range(3))
        pairs = JITTED[form.name](a, b, c, jnp.asarray(s))
        size = 1 + sum(float(form.module.norm_squared(x)) for x in (a, b, c))
        for name, (got, expected) in pairs.items():
            atol = 1e-12 * size * (1 + s**2)
            np.testing.assert_allclose(
                got, expected, rtol=1e-9, atol=atol, err_msg=name
            )


@each_format
@given(seed=st.integers(0, 2**32 - 1))
def test_permuting_points_changes_nothing(form, seed):
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        a = form.random(rng, (4, 3), rank=2)
        order = rng.permutation(4)
        weights = rng.uniform(size=4), rng.uniform(size=3)
        if form is TUCKER:
            permuted = a[0], (a[1][0][order], a[1][1])
        else:
            rows = a[0][:, order] if form is TT else a[0][order]
            permuted = (rows, a[1])
        norm = form.module.norm_squared
        got = norm(to_jax(permuted), (weights[0][order], weights[1]))
        np.testing.assert_allclose(got, norm(to_jax(a), weights), rtol=1e-10)


def finite_difference(function, tensor, direction, step=1e-5):
    shifted = [
        function(jax.tree.map(lambda x, d, s=s: x + s * d, tensor, direction))
        for s in (step, -step)
    ]
    return jax.tree.map(lambda ahead, behind: (ahead - behind) / (2 * step), *shifted)


@each_format
@pytest.mark.parametrize("orthogonalize", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_matches_finite_differences(form, orthogonalize, weighted, rng, x64):
    sizes = (4, 3, 5)
    a, direction = (to_jax(form.random(rng, sizes)) for _ in range(2))
    weights = to_jax(gauss(sizes)) if weighted else None

    @jax.jit
    def norm(a):
        return form.module.norm_squared(a, weights, orthogonalize=orthogonalize)

    expected = finite_difference(norm, a, direction)
    grad = jax.jit(jax.grad(norm))
    gradient = grad(a)
    along = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, direction)))
    np.testing.assert_allclose(along, expected, rtol=1e-7)
    forward = jax.jvp(norm, (a,), (direction,))[1]
    np.testing.assert_allclose(forward, expected, rtol=1e-7)
    curvature = jax.jvp(grad, (a,), (direction,))[1]
    chex.assert_trees_all_close(
        curvature, finite_difference(grad, a, direction), rtol=1e-6, atol=1e-6
    )


@each_format
def test_gradient_of_the_weights(form, rng, x64):
    a, sizes = to_jax(form.random(rng, (4, 3))), (4, 3)
    weights, direction = (
        to_jax(gauss(sizes)),
        to_jax(tuple(rng.uniform(size=n) for n in sizes)),
    )
    for orthogonalize in (False, True):
        norm = partial(form.module.norm_squared, a, orthogonalize=orthogonalize)
        along = jax.jvp(norm, (weights,), (direction,))[1]
        expected = finite_difference(norm, weights, direction)
        np.testing.assert_allclose(along, expected, rtol=1e-8)


@each_format
def test_gradient_of_points_and_dense(form, rng, x64):
    a, direction = (to_jax(form.random(rng, (3, 3, 3))) for _ in range(2))
    for function in (form.to_dense, form.at_points):
        tangent = jax.jvp(function, (a,), (direction,))[1]
        expected = finite_difference(function, a, direction)
        np.testing.assert_allclose(tangent, expected, rtol=1e-7, atol=1e-7)


@each_format
def test_vmap_over_leading_axes(form, rng, x64):
    sizes, weights = (3, 4, 2), gauss((3, 4, 2))
    tensors = [to_jax(form.random(rng, sizes)) for _ in range(6)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *tensors)
    batch = jax.tree.map(lambda x: x.reshape(3, 2, *x.shape[1:]), stacked)
    for orthogonalize in (False, True):
        norm = partial(
            form.module.norm_squared, weights=weights, orthogonalize=orthogonalize
        )
        norm = jax.jit(norm)
        got = jax.vmap(jax.vmap(norm))(batch)
        expected = [norm(a) for a in tensors]
        np.testing.assert_allclose(got.ravel(), expected, rtol=1e-12)


@pytest.mark.unchecked  # the variant without a device hands over NumPy arrays
class Variants(chex.TestCase):
    """The same number with and without jit, from NumPy arrays and on every device."""

    @chex.all_variants
    def test_norm(self):
        rng = np.random.default_rng(0)
        weights = [w.astype(np.float32) for w in gauss((3, 4))]
        for form in FORMATS:
            a = to_jax(form.random(rng, (3, 4)), jnp.float32)
            expected = weighted_sum(np.asarray(form.to_dense(a)) ** 2, weights)
            for orthogonalize in (False, True):
                norm = partial(form.module.norm_squared, orthogonalize=orthogonalize)
                got = self.variant(norm)(a, to_jax(weights))
                np.testing.assert_allclose(got, expected, rtol=1e-5)


@each_format
@pytest.mark.parametrize(
    ("dtype", "step", "gram_floor", "floor"),
    [(np.float64, 1e-11, 1e-9, 1e-14), (np.float32, 1e-5, 1e-4, 3e-6)],
)
def test_orthogonalizing_lowers_the_floor(form, dtype, step, gram_floor, floor, rng):
    """The norm of a difference of nearly equal tensors, relative to their own norm."""
    sizes, weights = (12, 11, 10), gauss((12, 11, 10))
    with jax.enable_x64(True):
        a, noise = (form.random(rng, sizes) for _ in range(2))
        nearly = jax.tree.map(lambda x, d: (x + step * d).astype(dtype), a, noise)
        a = jax.tree.map(lambda x: x.astype(dtype), a)
        # The exact difference to first order, from the rounded factors themselves:
        # its error is of relative size `step`.
        wide, shift = to_jax(a, float), jax.tree.map(np.subtract, nearly, a)
        change = jax.jvp(form.to_dense, (wide,), (to_jax(shift, float),))[1]
        exact = np.sqrt(weighted_sum(np.asarray(change) ** 2, weights))
        size = np.sqrt(weighted_sum(np.asarray(form.to_dense(wide)) ** 2, weights))

        minus = form.module.scale(to_jax(a), -1.0)
        difference = form.module.add(to_jax(nearly), minus)
        norm = partial(form.module.norm_squared, difference, weights)
        gram = np.sqrt(np.abs(float(norm())))
        swept = np.sqrt(float(norm(orthogonalize=True)))
    assert exact / size < gram_floor
    assert abs(swept - exact) / size < floor
    assert abs(swept - exact) < 0.05 * abs(gram - exact)


@each_format
def test_gradient_is_finite_where_the_difference_vanishes(form, rng, x64):
    a = to_jax(form.random(rng, (5, 4, 3)))

    def gap(b):
        difference = form.module.add(a, form.module.scale(b, -1.0))
        return form.module.norm_squared(difference, orthogonalize=True)

    value, gradient = jax.jit(jax.value_and_grad(gap))(a)
    assert 0 <= float(value) < 1e-26
    largest = max(float(jnp.max(jnp.abs(g))) for g in jax.tree.leaves(gradient))
    assert largest < 1e-11


@each_format
def test_grids_must_agree(form, rng):
    a, b = (to_jax(form.random(rng, sizes)) for sizes in ((3, 4), (3, 5)))
    for name in ("inner", "add"):
        where = rf"jaxcore\.tensor\.{form.name}\.{name}"
        message = where + r": `a` and `b` must live on the same grid, got \(3, 4\) and"
        with pytest.raises(ValueError, match=message):
            getattr(form.module, name)(a, b)


@each_format
@pytest.mark.parametrize("shapes", [[(3,)], [(3,), (5,)], [(3, 1), (4, 1)]])
def test_weights_must_fit(form, shapes, rng):
    a = to_jax(form.random(rng, (3, 4)))
    weights = [np.ones(shape) for shape in shapes]
    where = rf"jaxcore\.tensor\.{form.name}\."
    message = r": `weights` must hold one array \(n_i,\) per axis of the grid \(3, 4\)"
    with pytest.raises(ValueError, match=where + "inner" + message):
        form.module.inner(a, a, weights)
    with pytest.raises(ValueError, match=where + "norm_squared" + message):
        form.module.norm_squared(a, weights)


@each_format
def test_points_must_agree(form, rng):
    a = to_jax(form.random(rng, (3, 4)))
    message = (
        rf"jaxcore\.tensor\.{form.name}\.at_points: every axis must be evaluated at "
        r"the same points, got \(3, 4\) of them"
    )
    with pytest.raises(ValueError, match=message):
        form.at_points(a)
