"""Cross-entropies, soft Dice and Gaussian likelihoods against SciPy, sklearn, loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from jaxvision import losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_softmax_cross_entropy(rng, x64, smoothing):
    logits, labels = rng.normal(size=(3, 5, 4)) * 3, rng.integers(0, 4, (3, 5))
    found = jax.jit(
        lambda z, t: losses.softmax_cross_entropy(z, t, label_smoothing=smoothing)
    )(logits, labels)
    soft = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
    logs = scipy.special.log_softmax(logits, axis=-1)
    np.testing.assert_allclose(found, -(soft * logs).sum(-1), rtol=1e-12)
    if smoothing == 0:
        flat = scipy.special.softmax(logits.reshape(-1, 4), axis=-1)
        expected = log_loss(labels.ravel(), flat, labels=range(4))
        np.testing.assert_allclose(found.mean(), expected, rtol=1e-12)


def test_labels_out_of_range():
    """Named outside of jit, NaN inside, where values are not known."""
    logits = jnp.zeros((2, 3))
    with pytest.raises(ValueError, match="`labels` must be from 0 to 2, got values"):
        losses.softmax_cross_entropy(logits, jnp.array([0, 3]))
    found = jax.jit(losses.softmax_cross_entropy)(logits, jnp.array([-1, 3]))
    assert np.isnan(found).all()
    # More classes than the dtype has numbers for.
    many, label = jnp.zeros((2, 1000)), np.array([-1, 7], "int8")
    found = jax.jit(losses.softmax_cross_entropy)(many, label)
    np.testing.assert_allclose(found, [np.nan, np.log(1000)], rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_cross_entropy(rng, x64, smoothing):
    logits, targets = rng.normal(size=(4, 5)) * 3, rng.uniform(size=(4, 5))
    found = losses.binary_cross_entropy(logits, targets, label_smoothing=smoothing)
    p, t = scipy.special.expit(logits), (1 - smoothing) * targets + smoothing / 2
    expected = -scipy.special.xlogy(t, p) - scipy.special.xlog1py(1 - t, -p)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    extreme = losses.binary_cross_entropy(jnp.array([800.0, -800.0]), jnp.ones(2))
    assert extreme.tolist() == [0.0, 800.0]


@pytest.mark.parametrize("over_batch", [True, False])
@pytest.mark.parametrize("background", [None, 0, 2])
def test_soft_dice(rng, x64, over_batch, background):
    p, t = rng.uniform(size=(2, 3, 4, 3)), rng.integers(0, 2, (2, 3, 4, 3)) * 1.0
    groups = [slice(None)] if over_batch else [slice(i, i + 1) for i in range(2)]
    coefficients = []
    for group in groups:
        for k in range(3):
            if k != background:
                a, b = p[group, ..., k], t[group, ..., k]
                top = 2 * (a * b).sum() + 1e-5
                coefficients.append(top / (a.sum() + b.sum() + 1e-5))
    found = losses.soft_dice_loss(p, t, over_batch=over_batch, background=background)
    np.testing.assert_allclose(found, 1 - np.mean(coefficients), rtol=1e-12)


def test_soft_dice_of_empty_classes_and_devices(rng):
    zeros = jnp.zeros((4, 3, 1))
    assert float(losses.soft_dice_loss(zeros, zeros)) == 0
    p = jnp.asarray(rng.uniform(size=(8, 3, 2)), "float32")
    t = jnp.asarray(rng.integers(0, 2, (8, 3, 2)), "float32")
    whole = losses.soft_dice_loss(p, t, smooth=0.5)
    parts = jax.pmap(
        lambda p, t: losses.soft_dice_loss(p, t, smooth=0.5), axis_name="data"
    )(p.reshape(4, 2, 3, 2), t.reshape(4, 2, 3, 2))
    np.testing.assert_allclose(parts, np.full(4, whole), rtol=1e-5)


def test_gaussian_kl(rng, x64):
    mean, logs = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    found = losses.gaussian_kl(mean, logs)
    for i in range(2):
        total = 0.0
        for m, v in zip(mean[i], logs[i], strict=True):
            q = scipy.stats.norm(m, np.exp(v / 2))
            total += q.expect(
                lambda z, q=q: q.logpdf(z) - scipy.stats.norm.logpdf(z),
                lb=m - 12 * np.exp(v / 2),
                ub=m + 12 * np.exp(v / 2),
            )
        np.testing.assert_allclose(found[i], total, rtol=1e-8)
    assert losses.gaussian_kl(jnp.zeros((1, 4)), jnp.zeros((1, 4)))[0] == 0
    # v^2 / 4 for small v, where exp(v) - 1 - v in float32 is all rounding.
    tiny = losses.gaussian_kl(jnp.zeros((1, 1)), jnp.full((1, 1), 1e-5))
    np.testing.assert_allclose(tiny, 2.5e-11, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_gaussian_losses_in_half_precision(rng, dtype):
    """Sums of thousands of terms in float32, as the same numbers give in float64."""
    x, y = (jnp.asarray(rng.normal(size=(2, 4000)) * scale, dtype) for scale in (6, 1))
    wide = [np.float64(z.astype("float32")) for z in (x, y)]
    expected = 0.5 * (wide[0] ** 2 + np.exp(wide[1]) - 1 - wide[1]).sum(1)
    found = losses.gaussian_kl(x, y)
    assert found.dtype == jnp.float32
    assert expected.min() > 66_000  # more than float16 has
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    variance = jnp.asarray([0.3, 7.0], dtype)
    v = np.float64(variance.astype("float32"))
    square = ((wide[0] - wide[1]) ** 2).sum(1)
    expected = square / (2 * v) + 2000 * np.log(2 * np.pi * v)
    found = losses.gaussian_nll(x, y, variance)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_gaussian_nll(rng, x64):
    x, mean = rng.normal(size=(2, 3, 4, 1)), rng.normal(size=(2, 3, 4, 1))
    for variance in (0.3, jnp.array([0.3, 2.0])):
        each = np.broadcast_to(variance, 2)
        expected = [
            -scipy.stats.norm(m, np.sqrt(v)).logpdf(a).sum()
            for a, m, v in zip(x, mean, each, strict=True)
        ]
        found = losses.gaussian_nll(x, mean, variance)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@settings(max_examples=50)
@given(st.integers(0, 10**6))
def test_optimal_variance_is_the_minimum(seed):
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        x, mean = rng.normal(size=(2, 3, 5))
        best = losses.optimal_variance(x, mean)
        np.testing.assert_allclose(best, ((x - mean) ** 2).mean(1), rtol=1e-12)

        def total(v):
            return losses.gaussian_nll(x, mean, v).sum()

        slope, curvature = jax.grad(total)(best), jax.hessian(total)(best)
        np.testing.assert_allclose(slope, 0, atol=1e-10)
        np.testing.assert_allclose(np.diag(curvature), 2.5 / best**2, rtol=1e-9)
        shared = losses.optimal_variance(x, mean, scope="batch")
        np.testing.assert_allclose(shared, np.full(3, best.mean()), rtol=1e-12)


ONE, TWO = jnp.ones((2, 3)), jnp.ones((2, 2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: losses.softmax_cross_entropy(ONE, jnp.zeros(3, int)),
            ValueError,
            r"`labels` must have the shape of `logits` \(2, 3\) without .* got \(3,\)",
        ),
        (
            lambda: losses.softmax_cross_entropy(ONE, jnp.zeros(2)),
            TypeError,
            "`labels` must be integers, got float32",
        ),
        (
            lambda: losses.softmax_cross_entropy(
                ONE, jnp.zeros(2, int), label_smoothing=1.0
            ),
            ValueError,
            r"`label_smoothing` must be in \[0, 1\), got 1.0",
        ),
        (
            lambda: losses.binary_cross_entropy(ONE, jnp.ones((2, 3), int)),
            TypeError,
            "`targets` must be real floating point, got int32",
        ),
        (
            lambda: losses.binary_cross_entropy(ONE, TWO),
            ValueError,
            r"`targets` must have the shape of `logits`, \(2, 3\), got \(2, 2\)",
        ),
        (
            lambda: losses.soft_dice_loss(jnp.ones(3), jnp.ones(3)),
            ValueError,
            r"`probabilities` must be \(batch, ...\) .* got shape \(3,\)",
        ),
        (
            lambda: losses.soft_dice_loss(ONE, ONE, background=3),
            ValueError,
            "`background` must be one of several classes, from 0 to 2, got 3 with 3",
        ),
        (
            lambda: losses.soft_dice_loss(ONE, ONE, smooth=0.0),
            ValueError,
            "`smooth` must be positive, got 0.0",
        ),
        (
            lambda: losses.gaussian_kl(ONE, TWO),
            ValueError,
            "`log_variance` must have the shape of `mean`",
        ),
        (
            lambda: losses.gaussian_nll(ONE, ONE, -1.0),
            ValueError,
            "`variance` must be positive, got -1.0",
        ),
        (
            lambda: losses.gaussian_nll(ONE, ONE, jnp.ones(3)),
            ValueError,
            r"`variance` must be a number or have shape \(2,\), .* got \(3,\)",
        ),
        (
            lambda: losses.optimal_variance(ONE, ONE, scope="pixel"),
            ValueError,
            r"`scope` must be one of \('sample', 'batch'\), got 'pixel'",
        ),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
