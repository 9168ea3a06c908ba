import itertools
from fractions import Fraction

import e3nn_jax
import numpy as np
import pytest
import sympy.physics.wigner

from jaxcore import sphere
from jaxcore.sphere import _sampling, harmonics
from jaxcore.sphere.coefficients import gaunt_tensor


TRIPLES = list(itertools.product(range(5), range(5), range(9)))


@pytest.mark.parametrize(
    "symbol",
    [
        (1, 1, 2, 0, 0, 0), (2, 2, 2, 1, 1, -2), (3, 4, 5, -2, 3, -1),
        (4, 4, 4, 0, 0, 0), (3, 3, 5, 0, 0, 0), (6, 5, 8, 1, -1, 0),
        (20, 15, 18, 3, -7, 4), (50, 50, 50, 10, -30, 20), (2, 2, 5, 0, 0, 0),
        (1, 1, 1, 1, 1, 1), (2, 2, 2, 3, -3, 0),
    ],
)  # fmt: skip
def test_3j_symbols_are_exact(symbol):
    found = sphere.wigner_3j_squared(*symbol)
    assert isinstance(found, Fraction)
    m = symbol[3:]
    inside = all(abs(m) <= l for l, m in zip(symbol[:3], m, strict=True))
    if not inside or sum(m):
        assert found == 0
        return
    expected = sympy.physics.wigner.wigner_3j(*symbol)
    assert abs(found) == Fraction(str(expected**2))
    assert (found > 0) == bool(expected > 0)


def test_3j_symbols_are_orthogonal():
    """sum_{m1 m2} (2 l3 + 1) 3j^2 = 1, exactly."""
    for l1, l2, l3 in ((2, 3, 4), (5, 5, 0), (4, 2, 3)):
        m3 = min(l3, 1)
        total = sum(
            abs(sphere.wigner_3j_squared(l1, l2, l3, m1, -m1 - m3, m3))
            for m1 in range(-l1, l1 + 1)
        )
        assert (2 * l3 + 1) * total == 1


def test_clebsch_gordan_is_that_of_e3nn():
    for path in TRIPLES:
        found, expected = sphere.clebsch_gordan(*path), e3nn_jax.clebsch_gordan(*path)
        np.testing.assert_allclose(found, expected, atol=1e-14, err_msg=str(path))


@pytest.mark.parametrize("path", [(5, 4, 3), (6, 6, 6), (7, 2, 8), (10, 9, 4)])
def test_unit_norm_and_equal_shares(path):
    tensor = sphere.clebsch_gordan(*path)
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        gram = np.tensordot(tensor, tensor, axes=(others, others))
        share = np.eye(2 * path[axis] + 1) / (2 * path[axis] + 1)
        np.testing.assert_allclose(gram, share, atol=1e-15)


def test_gaunt_coefficients_are_integrals():
    degree = 6
    points, weights = _sampling.rule(3 * degree)
    table = harmonics.harmonics_table(degree, points)
    expected = np.einsum("ag,bg,cg,g->abc", table, table, table, weights)
    found = gaunt_tensor(degree, degree, degree)
    np.testing.assert_allclose(found, expected, atol=1e-14)
    assert not found.flags.writeable
    for l1, l2, l3 in itertools.product(range(degree + 1), repeat=3):
        block = tuple(slice(l * l, (l + 1) ** 2) for l in (l1, l2, l3))
        single = sphere.gaunt_coefficients(l1, l2, l3)
        np.testing.assert_array_equal(single, found[block])
        if (l1 + l2 + l3) % 2:
            assert not single.any()


def test_scales_are_the_ratio_of_both():
    scales = sphere.gaunt_scales(4, 4, 8)
    for path in TRIPLES:
        expected = scales[path] * sphere.clebsch_gordan(*path)
        np.testing.assert_allclose(
            sphere.gaunt_coefficients(*path), expected, atol=1e-15
        )
        even = sum(path) % 2 == 0 and abs(path[0] - path[1]) <= path[2] <= sum(path[:2])
        assert (scales[path] > 0) == even


def test_every_odd_path_has_a_vector_scale():
    scales = sphere.vector_gaunt_scales(9, 9, 9)
    for path in itertools.product(range(10), repeat=3):
        odd = sum(path) % 2 == 1 and abs(path[0] - path[1]) <= path[2] <= sum(path[:2])
        assert (scales[path] != 0) == odd, path


def test_number_of_paths():
    """Known counts of paths with all degrees up to L: all, and of even sum."""
    for degree, total, even in ((2, 15, 11), (4, 65, 42), (6, 175, 106), (8, 369, 215)):
        scales = sphere.gaunt_scales(degree, degree, degree)
        odd = sphere.vector_gaunt_scales(degree, degree, degree)
        assert np.count_nonzero(scales) == even
        assert np.count_nonzero(scales) + np.count_nonzero(odd) == total
