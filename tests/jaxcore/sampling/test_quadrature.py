import numpy as np
import pytest
import scipy.integrate
from hypothesis import given
from hypothesis import strategies as st

from jaxcore import sampling


RULES = {
    "gauss_legendre": sampling.gauss_legendre,
    "chebyshev": sampling.chebyshev,
    "equispaced": sampling.equispaced,
}
DEGREES = {
    "gauss_legendre": lambda n: 2 * n - 1,
    "chebyshev": lambda n: n - 1,
    "equispaced": lambda n: 1,
}
each_rule = pytest.mark.parametrize("name", RULES)
intervals = st.tuples(
    st.floats(-100, 100, allow_nan=False), st.floats(1e-2, 100, allow_nan=False)
).map(lambda pair: (pair[0], pair[0] + pair[1]))


@each_rule
@given(n=st.integers(2, 60), interval=intervals)
def test_rules_are_well_formed(name, n, interval):
    a, b = interval
    nodes, weights = RULES[name](n, a, b)
    assert nodes.shape == weights.shape == (n,)
    assert nodes.dtype == weights.dtype == np.float64
    assert np.all(np.diff(nodes) > 0)
    assert np.all(weights > 0)
    assert a <= nodes[0]
    assert nodes[-1] <= b
    np.testing.assert_allclose(np.sum(weights), b - a, rtol=1e-14)
    np.testing.assert_allclose(
        nodes + nodes[::-1], a + b, atol=1e-13 * (abs(a) + b - a)
    )
    np.testing.assert_allclose(weights, weights[::-1], rtol=1e-10)


@each_rule
@given(n=st.integers(2, 30), seed=st.integers(0, 2**32 - 1))
def test_exact_up_to_the_degree(name, n, seed):
    """A random polynomial of the highest degree, in the Chebyshev basis."""
    degree = DEGREES[name](n)
    coefficients = np.random.default_rng(seed).standard_normal(degree + 1)
    polynomial = np.polynomial.Chebyshev(coefficients, domain=[-2, 5])
    nodes, weights = RULES[name](n, -2, 5)
    antiderivative = polynomial.integ()
    exact = antiderivative(5) - antiderivative(-2)
    np.testing.assert_allclose(weights @ polynomial(nodes), exact, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5, 16])
def test_gauss_degree_is_the_highest(n):
    nodes, weights = sampling.gauss_legendre(n)
    error = abs(weights @ nodes ** (2 * n) - 2 / (2 * n + 1))
    assert error > 1e-11


@pytest.mark.parametrize("n", [1, 2, 7, 64, 257])
def test_gauss_matches_numpy(n):
    nodes, weights = sampling.gauss_legendre(n, -1, 1)
    x, w = np.polynomial.legendre.leggauss(n)
    np.testing.assert_allclose(nodes, x, atol=1e-15)
    np.testing.assert_allclose(weights, w, rtol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4, 9, 32, 129])
def test_chebyshev_points_and_weights(n):
    """Against the closed form of the points and integrals of cardinal functions."""
    nodes, weights = sampling.chebyshev(n)
    x = -np.cos(np.pi * np.arange(n) / (n - 1))
    np.testing.assert_allclose(nodes, x, atol=1e-15)
    basis = np.polynomial.chebyshev.chebvander(x, n - 1)
    degrees = np.arange(n)
    moments = np.where(degrees % 2, 0, 2 / (1 - (degrees - degrees % 2) ** 2.0))
    np.testing.assert_allclose(weights, np.linalg.solve(basis.T, moments), atol=1e-13)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_equispaced_is_the_trapezoid_rule(n):
    nodes, weights = sampling.equispaced(n, 0.0, 2.0)
    np.testing.assert_array_equal(nodes, np.linspace(0, 2, n))
    expected = scipy.integrate.trapezoid(np.exp(nodes), nodes)
    np.testing.assert_allclose(weights @ np.exp(nodes), expected, rtol=1e-14)


@each_rule
def test_integral_of_a_smooth_function(name):
    nodes, weights = RULES[name](40, 0.0, 3.0)
    exact = scipy.integrate.quad(lambda x: np.exp(-x) * np.cos(3 * x), 0, 3)[0]
    error = abs(weights @ (np.exp(-nodes) * np.cos(3 * nodes)) - exact)
    # The trapezoid rule has an error of h^2 / 12 * (f'(3) - f'(0)) here.
    assert error < (1e-3 if name == "equispaced" else 1e-13)


@each_rule
def test_rules_are_shared_and_read_only(name):
    first, second = RULES[name](6, 0, 1), RULES[name](np.int64(6), 0.0, 1.0)
    assert first[0] is second[0]
    for array in first:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0


@each_rule
@pytest.mark.parametrize("n", [0, -3, 2.5, "4", None])
def test_number_of_points_is_checked(name, n):
    RULES[name](4)  # 4.0 == 4 as a key of a cache
    smallest = 1 if name == "gauss_legendre" else 2
    message = (
        rf"jaxcore\.sampling\.{name}: `n` must be an integer of at least {smallest}"
    )
    with pytest.raises(ValueError, match=message + f", got {n!r}"):
        RULES[name](n)
    with pytest.raises(ValueError, match=message):
        RULES[name](4.0)


@pytest.mark.parametrize("name", ["chebyshev", "equispaced"])
def test_rules_with_ends_need_two_points(name):
    with pytest.raises(ValueError, match="`n` must be an integer of at least 2, got 1"):
        RULES[name](1)


@each_rule
@pytest.mark.parametrize(("a", "b"), [(1, 1), (2, 1), (0, np.inf), (np.nan, 1)])
def test_interval_is_checked(name, a, b):
    message = (
        rf"jaxcore\.sampling\.{name}: `a` and `b` must be finite with a < b, got a="
    )
    with pytest.raises(ValueError, match=message):
        RULES[name](3, a, b)
