"""The symmetric Gram product has all derivatives of the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinns.factored.grams import _gram


@pytest.mark.parametrize("moving", [(0,), (1,), (0, 1)])
def test_derivatives_of_the_gram_product(moving, x64, rng):
    primals = (
        jnp.asarray(rng.normal(size=(2, 5, 3))),
        jnp.asarray(rng.random((2, 5, 1))),
    )
    target = jnp.asarray(rng.normal(size=(2, 3, 3)))

    def plain(matrix, weights):
        return jnp.einsum("lnc,lnd->lcd", matrix, weights * matrix)

    own, other = (
        jax.jit(
            jax.value_and_grad(lambda *a, f=f: jnp.sum(target * f(*a) ** 2), moving)
        )(*primals)
        for f in (_gram, plain)
    )
    for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    curvature = [
        jax.jit(jax.hessian(lambda m, f=f: jnp.sum(target * f(m, primals[1]) ** 2)))(
            primals[0]
        )
        for f in (_gram, plain)
    ]
    np.testing.assert_allclose(*curvature, rtol=1e-11, atol=1e-12)
