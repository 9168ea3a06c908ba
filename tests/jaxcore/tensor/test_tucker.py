import jax.numpy as jnp
import numpy as np
import pytest

from jaxcore.tensor import tucker


def test_matrix_case_is_a_bilinear_form(rng, x64):
    core, a, b = (rng.standard_normal(shape) for shape in ((2, 3), (5, 2), (4, 3)))
    tensor = jnp.asarray(core), [jnp.asarray(a), jnp.asarray(b)]
    np.testing.assert_allclose(tucker.to_dense(*tensor), a @ core @ b.T, rtol=1e-12)
    spectral = np.linalg.svd(a @ core @ b.T)[1]
    got = tucker.norm_squared(tensor, orthogonalize=True)
    np.testing.assert_allclose(got, np.sum(spectral**2), rtol=1e-12)


def test_norm_of_orthonormal_factors_is_that_of_the_core(rng, x64):
    core = jnp.asarray(rng.standard_normal((2, 3, 2)))
    factors = [
        jnp.asarray(np.linalg.qr(rng.standard_normal((6, r)))[0]) for r in (2, 3, 2)
    ]
    for orthogonalize in (False, True):
        got = tucker.norm_squared((core, factors), orthogonalize=orthogonalize)
        np.testing.assert_allclose(got, jnp.sum(core**2), rtol=1e-12)


FUNCTIONS = {
    "to_dense": lambda a: tucker.to_dense(*a),
    "at_points": lambda a: tucker.at_points(*a),
    "inner": lambda a: tucker.inner(a, a),
    "norm_squared": tucker.norm_squared,
    "add": lambda a: tucker.add(a, a),
    "scale": lambda a: tucker.scale(a, 2.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_core_must_fit_the_factors(name):
    where = rf"jaxcore\.tensor\.tucker\.{name}: `(a|core, factors)` must "
    expected = where + r"be a non-empty sequence of arrays \(n_i, R\), got shapes"
    for factors in ([], [jnp.ones(3)]):
        with pytest.raises(ValueError, match=expected):
            FUNCTIONS[name]((jnp.ones(2), factors))
    expected = (
        where + r"have a core of the shape \(2,\) of the factors' ranks, got \(3,\)"
    )
    with pytest.raises(ValueError, match=expected):
        FUNCTIONS[name]((jnp.ones(3), [jnp.ones((4, 2))]))
