"""Distances between sets of features against SciPy and loops; coverage by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.spatial.distance import pdist

from jaxvision import metrics


def by_sqrtm(x, y):
    (mx, sx), (my, sy) = ((a.mean(0), np.cov(a, rowvar=False)) for a in (x, y))
    root = sqrtm(sx @ sy).real
    return np.sum((mx - my) ** 2) + np.trace(sx + sy - 2 * root)


def test_frechet_distance_against_scipy(x64, rng):
    mix = rng.normal(size=(4, 4))
    x, y = rng.normal(size=(50, 4)), 0.5 + rng.normal(size=(30, 4)) @ mix
    expected = by_sqrtm(x, y)
    found = metrics.frechet_distance(jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    moments = [m for a in (x, y) for m in (a.mean(0), np.cov(a, rowvar=False))]
    found = metrics.frechet_distance_of_moments(*moments)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    narrow = metrics.frechet_distance(*(jnp.asarray(a, "float32") for a in (x, y)))
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, expected, rtol=1e-5)
    for a in (x, y):
        found = metrics.frechet_distance(jnp.asarray(a), jnp.asarray(a))
        np.testing.assert_allclose(found, 0, atol=1e-12)


def test_frechet_distance_with_fewer_rows_than_features(x64, rng):
    """Both sets on one line: the distance of two normal distributions on it."""
    direction = rng.normal(size=5)
    direction /= np.linalg.norm(direction)
    a, b = rng.normal(size=3), 2 + 3 * rng.normal(size=4)
    x, y = (jnp.asarray(np.outer(t, direction)) for t in (a, b))
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    np.testing.assert_allclose(metrics.frechet_distance(x, y), expected, rtol=1e-10)
    # Closed form for diagonal Gaussians.
    deviations = jnp.array([1.0, 2.0]), jnp.array([3.0, 0.0])
    found = metrics.frechet_distance_of_moments(
        jnp.zeros(2),
        jnp.diag(deviations[0] ** 2),
        jnp.ones(2),
        jnp.diag(deviations[1] ** 2),
    )
    np.testing.assert_allclose(found, 2 + 4 + 4, rtol=1e-12)


def test_kernel_distance_against_loops(x64, rng):
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))

    def mean(a, b, same):
        values = [
            (float(p @ q) / 3 + 1) ** 3
            for i, p in enumerate(a)
            for j, q in enumerate(b)
            if not (same and i == j)
        ]
        return np.mean(values)

    expected = mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)
    found = metrics.kernel_distance(jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_kernel_distance_is_unbiased(rng):
    """Over splits of one distribution its mean is 0 within four standard errors."""
    sets = jnp.asarray(rng.normal(size=(2, 400, 8, 3)), "float32")
    found = np.asarray(jax.jit(jax.vmap(metrics.kernel_distance))(*sets))
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean()) < 4 * error
    assert found.min() < 0
    apart = np.asarray(jax.jit(jax.vmap(metrics.kernel_distance))(sets[0], 1 + sets[1]))
    assert apart.mean() > 20 * error


def test_kernel_distance_over_subsets(rng):
    x, y = (jnp.asarray(rng.normal(size=(12, 3)), "float32") for _ in range(2))
    # Subsets of all rows are the whole sets, in another order.
    mean, spread = metrics.kernel_distance_over_subsets(
        jax.random.key(0), x, y, subsets=3, size=12
    )
    np.testing.assert_allclose(mean, metrics.kernel_distance(x, y), rtol=1e-4)
    np.testing.assert_allclose(spread, 0, atol=1e-5)


def test_mode_coverage():
    centers = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    near = [[0.05, 0.0]] * 3 + [[1.0, 0.1]] * 2 + [[0.5, 0.5]] * 5
    found = jax.jit(
        lambda x: metrics.mode_coverage(x, centers, radius=0.1001, least=3)
    )(jnp.asarray(near))
    assert found.counts.tolist() == [3, 2, 0]
    assert int(found.covered) == 1
    assert float(found.share) == pytest.approx(0.5)


def test_balance_and_distance_within_classes(x64, rng):
    assert float(metrics.kl_to_uniform(jnp.array([5, 5, 5]))) == pytest.approx(0)
    shares = np.array([0.5, 0.3, 0.2])
    expected = np.sum(shares * np.log(3 * shares))
    np.testing.assert_allclose(metrics.kl_to_uniform(10 * shares), expected, rtol=1e-12)
    x, labels = rng.normal(size=(9, 4)), np.array([0, 1, 0, 1, 1, 0, 0, 2, 1])
    found = metrics.distance_within_classes(jnp.asarray(x), jnp.asarray(labels), 4)
    np.testing.assert_allclose(
        found[:2], [pdist(x[labels == k]).mean() for k in (0, 1)]
    )
    assert np.isnan(found[2:]).all()


X = jnp.ones((3, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: metrics.frechet_distance(X, X[:1]),
            r"frechet_distance: `y` must be \(rows, numbers\), at least 2 rows, got",
        ),
        (
            lambda: metrics.frechet_distance(X, jnp.ones((3, 4))),
            "`y` must be as wide as `x`, 2, got 4",
        ),
        (
            lambda: metrics.frechet_distance_of_moments(X[0], X, X[0], X),
            r"`mean_x` and `covariance_x` must be \(d,\) and \(d, d\), got \(2,\) and",
        ),
        (lambda: metrics.kernel_distance(X, X, degree=0), "`degree` must be positive"),
        (
            lambda: metrics.kernel_distance_over_subsets(jax.random.key(0), X, X),
            "`size` must be from 2 to the number of rows, 3, got 1000",
        ),
        (
            lambda: metrics.kernel_distance_over_subsets(
                jax.random.key(0), X, X, size=2, subsets=0
            ),
            "`subsets` must be positive, got 0",
        ),
        (
            lambda: metrics.mode_coverage(X, X, radius=0.0),
            "mode_coverage: `radius` must be positive, got 0.0",
        ),
        (
            lambda: metrics.mode_coverage(X, X, radius=1.0, least=0),
            "mode_coverage: `least` must be positive, got 0",
        ),
        (
            lambda: metrics.kl_to_uniform(X),
            r"kl_to_uniform: `counts` must be \(K,\), one per class, got shape",
        ),
        (
            lambda: metrics.distance_within_classes(X, jnp.zeros(2, int), 2),
            r"`labels` must have shape \(3,\), one per row, got \(2,\)",
        ),
        (
            lambda: metrics.distance_within_classes(X, jnp.array([0, 1, 2]), 2),
            "`labels` must be from 0 to 1, got values from 0 to 2",
        ),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
