"""The update rule of every scheme against its formula in NumPy."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from pinns import Box, Data, Dirichlet, Initial, Problem
from pinns.weighting import (
    NTK,
    SCHEMES,
    Causal,
    GradientNorm,
    Relobralo,
    SelfAdaptive,
    causal,
    gradient_norm,
    relobralo,
    self_adaptive,
)
from pinns.weighting.choice import restored, scheme


def softmax(x):
    e = [math.exp(v - max(x)) for v in x]
    return np.array(e) / sum(e)


@pytest.mark.parametrize("epsilon", [0.1, 2.0])
def test_causal_weights_equal_the_printed_formula(epsilon, rng, x64):
    losses, times = rng.uniform(size=9), rng.permutation(9) / 3.0
    initial = 0.3
    expected = [
        math.exp(-epsilon * (initial + sum(losses[k] for k in range(9)
                                           if times[k] < times[i])))
        for i in range(9)
    ]  # fmt: skip
    found = causal.weights(jnp.array(losses), jnp.array(times), epsilon, initial)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_relobralo_equals_its_formulas_over_steps(rng, x64):
    temperature, alpha = 0.7, 0.8
    losses = rng.uniform(0.5, 2.0, size=(6, 3))
    keep = [True, False, True, True, False, True]
    state, weights = relobralo.init(3, "float64"), np.ones(3)
    for t in range(6):
        state = relobralo.update(
            state, jnp.array(losses[t]), jnp.array(keep[t]),
            temperature=temperature, alpha=alpha,
        )  # fmt: skip
        if t:
            recent = 3 * softmax(losses[t] / (temperature * losses[t - 1]))
            first = 3 * softmax(losses[t] / (temperature * losses[0]))
            history = weights if keep[t] else first
            weights = alpha * history + (1 - alpha) * recent
        np.testing.assert_allclose(state.weights, weights, rtol=1e-13)
        np.testing.assert_allclose(jnp.sum(state.weights), 3.0, rtol=1e-13)


def test_relobralo_bears_losses_that_vanish():
    state = relobralo.init(2)
    for losses in ([1.0, 0.0], [1.0, 1.0], [0.5, 0.0]):
        state = relobralo.update(state, jnp.array(losses), jnp.array(False))
    assert np.isfinite(state.weights).all()


def test_balanced_sizes_are_equal_and_average_moves(rng, x64):
    sizes = jnp.array(rng.uniform(0.1, 10.0, size=4))
    weights = gradient_norm.balance(sizes)
    np.testing.assert_allclose(weights * sizes, jnp.full(4, jnp.sum(sizes)), rtol=1e-13)
    moved = gradient_norm.update(jnp.array([1.0, 2.0, 3.0, 4.0]), sizes, 0.75)
    expected = 0.75 * np.arange(1.0, 5.0) + 0.25 * sum(sizes) / np.array(sizes)
    np.testing.assert_allclose(moved, expected, rtol=1e-13)


def test_balance_bears_sizes_that_vanish():
    assert np.isfinite(gradient_norm.balance(jnp.array([1.0, 0.0]))).all()
    assert gradient_norm.balance(jnp.zeros(2)).tolist() == [1.0, 1.0]


def test_self_adaptive_weights_ascend_as_adam_does(x64):
    """The first steps of Adam by hand, with the sign of ascent."""
    rate, slopes = 0.01, [np.array([2.0, 0.5]), np.array([1.0, 3.0])]
    problem = Problem(Box(x=(0.0, 1.0)), lambda u, x: u.d("x") - u, [Dirichlet(1.0)])
    kind = SelfAdaptive(learning_rate=rate)
    state = kind.init(problem, (2,), pointwise=False, dtype="float64")
    weights, m, v = np.ones(2), np.zeros(2), np.zeros(2)
    for t, slope in enumerate(slopes, start=1):
        given = (((jnp.array(slope),), (jnp.zeros(2),)), ())
        state = kind.ascend(state, given)
        m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
        step = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        weights = weights + rate * step
        np.testing.assert_allclose(state.terms[0][0], weights, rtol=1e-12)
    assert (np.asarray(state.terms[0][0]) > 1.0).all()
    assert state.terms[1][0].tolist() == [1.0, 1.0]  # no slope, no step


def test_weights_have_the_shapes_of_the_points():
    box = Box(t=(0.0, 1.0), x=(0.0, 1.0))
    data = Data([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], [1.0, 2.0, 3.0])
    conditions = [Initial("t", 0.0), Dirichlet(0.0, axes="x"), data]
    problem = Problem(box, lambda u, t, x: u.d("t") - u, conditions)
    axes, measured = self_adaptive.init(problem, (4, 5), pointwise=False)
    assert [[w.shape for w in term] for term in axes] == [
        [(4,), (5,)], [(1,), (5,)], [(4,), (2,)],
    ]  # fmt: skip
    assert [w.shape for w in measured] == [(3,)]
    points, _ = self_adaptive.init(problem, (4, 5), pointwise=True)
    assert [[w.shape for w in term] for term in points] == [
        [(4, 5)],
        [(1, 5)],
        [(4, 2)],
    ]


@pytest.mark.parametrize("name", SCHEMES)
def test_described_schemes_come_back(name):
    given = scheme(name, "pinns.solve")
    assert type(given) is SCHEMES[name]
    assert restored(given.describe()) == given
    assert scheme(given, "pinns.solve") is given
    assert restored(None) is None


BAD = [
    (lambda: scheme("fair", "pinns.solve"), ValueError,
     "`weighting` must be one of self_adaptive, causal, .* got 'fair'"),
    (lambda: scheme(3, "pinns.solve"), TypeError, "`weighting` must be a name.* got 3"),
    (lambda: SelfAdaptive(learning_rate=0), ValueError, "`learning_rate` must be a "),
    (lambda: SelfAdaptive(power=0), ValueError, "`power` must be a positive integer"),
    (lambda: Causal(epsilon=-1.0), ValueError, "`epsilon` must be a positive number"),
    (lambda: Causal(epsilon=(1.0, 0.1)), ValueError, "`epsilon` must ascend.* 0.1"),
    (lambda: Causal(epsilon=()), ValueError, r"`epsilon` must ascend.* got \(\)"),
    (lambda: Causal(threshold=1.0), ValueError, "`threshold` .* between 0 and 1"),
    (lambda: Causal(axis=0), TypeError, "`axis` must be the name of an axis .* got 0"),
    (lambda: Causal(stop=1), TypeError, "`stop` must be True or False, got 1"),
    (lambda: GradientNorm(every=0), ValueError, "GradientNorm: `every` must be a posi"),
    (lambda: GradientNorm(decay=1.0), ValueError, "`decay` must be a number from 0"),
    (lambda: NTK(samples=0), ValueError, "NTK: `samples` must be a positive integer"),
    (lambda: Relobralo(temperature=0), ValueError, "`temperature` must be a positive"),
    (lambda: Relobralo(alpha=-0.1), ValueError, "`alpha` must be a number from 0"),
    (lambda: Relobralo(rho="often"), ValueError, "`rho` must be .* got 'often'"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "message"), BAD)
def test_bad_options(make, error, message):
    with pytest.raises(error, match=message):
        make()
