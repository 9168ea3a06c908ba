"""Losses of adversarial networks, and the three readings of RLC, by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import losses


SCORES = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
soft = np.logaddexp  # softplus(x) = soft(0, x)


def test_hinge_by_hand(x64):
    """Values and slopes at scores -2, ..., 2, the kinks left out."""
    real, fake = jnp.asarray(SCORES + 0.1), jnp.asarray(SCORES - 0.1)
    value, slopes = jax.value_and_grad(losses.discriminator_loss, (0, 1))(real, fake)
    # relu(1 - r): 2.9, 1.9, 0.9, 0, 0; relu(1 + f): 0, 0, 0.9, 1.9, 2.9.
    assert float(value) == pytest.approx(2 * 5.7 / 5)
    np.testing.assert_allclose(slopes[0], [-0.2, -0.2, -0.2, 0, 0])
    np.testing.assert_allclose(slopes[1], [0, 0, 0.2, 0.2, 0.2])
    np.testing.assert_allclose(jax.grad(losses.generator_loss)(fake), -0.2)
    perfect = losses.discriminator_loss(jnp.array([1.5, 3.0]), jnp.array([-1.0]))
    assert float(perfect) == 0


@pytest.mark.parametrize("has_aux", [False, True])
def test_a_perfect_discriminator_has_no_penalty(x64, rng, has_aux):
    """All scores beyond the margin: the loss is flat, penalty and slope exactly 0."""
    real, fake = jnp.asarray(rng.uniform(2, 3, 6)), jnp.asarray(rng.uniform(-3, -2, 6))
    params = jnp.array([2.0, -2.0, 0.0, 0.0, 0.0])  # the scores are 3 tanh(2 x)

    @jax.jit
    def run(params, real):
        def loss(params):
            scores = perceptron(params, real), perceptron(params, fake)
            value = losses.discriminator_loss(*scores)
            return (value, scores) if has_aux else value

        def penalty(params):
            found, square = losses.rlc_gradient_penalty(loss, params, has_aux=has_aux)
            return square, found[0] if has_aux else found

        return jax.value_and_grad(penalty, has_aux=True)(params)

    (square, value), slope = run(params, real)
    assert float(value) == float(square) == 0
    np.testing.assert_array_equal(slope, 0)
    # One score within the margin, and it is there again.
    (square, value), slope = run(params, real.at[0].set(0.1))
    assert float(value) > 0
    assert float(square) > 0
    assert float(jnp.abs(slope).max()) > 0


@pytest.mark.parametrize(
    ("kind", "real", "fake", "generated"),
    [
        ("hinge", np.maximum(0, 1 - SCORES), np.maximum(0, 1 + SCORES), -SCORES),
        ("nonsaturating", soft(0, -SCORES), soft(0, SCORES), soft(0, -SCORES)),
        ("least_squares", (SCORES - 1) ** 2 / 2, SCORES**2 / 2, (SCORES - 1) ** 2 / 2),
        ("wasserstein", -SCORES, SCORES, -SCORES),
    ],
)
def test_kinds(x64, kind, real, fake, generated):
    """Every kind by its formula; the two terms are means of their own."""
    few = jnp.asarray(SCORES[:2])
    found = losses.discriminator_loss(jnp.asarray(SCORES), few, kind=kind)
    np.testing.assert_allclose(found, real.mean() + fake[:2].mean(), rtol=1e-12)
    found = losses.generator_loss(jnp.asarray(SCORES)[:, None], kind=kind)
    np.testing.assert_allclose(found, generated.mean(), rtol=1e-12, atol=1e-15)


def quadratic(x):
    """Its slope in a row x is 2 x."""
    return jnp.sum(x**2, axis=(1, 2))


def test_penalties_on_inputs(x64, rng):
    x, y = (jnp.asarray(rng.normal(size=(4, 3, 2))) for _ in range(2))
    found = losses.r1_penalty(quadratic, x)
    np.testing.assert_allclose(found, 4 * np.sum(x**2) / 4, rtol=1e-12)
    w = jnp.asarray(rng.uniform(size=4))
    between = np.stack([w[i] * x[i] + (1 - w[i]) * y[i] for i in range(4)])
    norms = 2 * np.sqrt((between**2).sum((1, 2)))
    found = jax.jit(partial(losses.interpolated_penalty, quadratic))(x, y, w)
    np.testing.assert_allclose(found, np.mean((norms - 1) ** 2), rtol=1e-12)
    # Where the slope vanishes the penalty is 1 and its own slope is finite.
    slope = jax.jit(
        jax.grad(
            lambda s: losses.interpolated_penalty(
                lambda x: s * quadratic(x), 0 * x, x, 1 + 0 * w
            )
        )
    )(1.0)
    assert float(slope) == 0
    found = losses.consistency_penalty(x, y)
    np.testing.assert_allclose(found, np.mean((x - y) ** 2), rtol=1e-12)


def perceptron(params, x):
    """A discriminator with five parameters."""
    hidden = jnp.tanh(x[:, None] * params[None, :2] + params[None, 2:4])
    return hidden @ jnp.array([1.0, -2.0]) + params[4]


def test_rlc_gradient_is_the_squared_slope_in_the_parameters(x64, rng):
    """Value ||g||^2 and gradient 2 H g, with the Hessian written out."""
    params = jnp.asarray(rng.normal(size=5))
    real, fake = (jnp.asarray(rng.normal(size=6)) for _ in range(2))

    def loss(params):
        scores = perceptron(params, real), perceptron(params, fake)
        return losses.discriminator_loss(*scores, kind="nonsaturating")

    def penalty(params):
        return losses.rlc_gradient_penalty(loss, params)[1]

    g, hessian = jax.jit(lambda p: (jax.grad(loss)(p), jax.hessian(loss)(p)))(params)
    value, slope = jax.jit(jax.value_and_grad(penalty))(params)
    np.testing.assert_allclose(value, g @ g, rtol=1e-12)
    np.testing.assert_allclose(slope, 2 * hessian @ g, rtol=1e-10)
    assert float(jnp.abs(slope).max()) > 1e-3


def test_rlc_gradient_of_a_linear_discriminator(x64, rng):
    """All samples active: g = (mean fake - mean real, 0), and its own slope is 0."""
    real, fake = (jnp.asarray(rng.uniform(-0.2, 0.2, (7, 3))) for _ in range(2))
    params = {"w": jnp.asarray(rng.uniform(-1, 1, 3)), "b": jnp.asarray(0.1)}

    def loss(p):
        scores = (x @ p["w"] + p["b"] for x in (real, fake))
        return losses.discriminator_loss(*scores), {"mean": jnp.ones(())}

    def penalty(p):
        return losses.rlc_gradient_penalty(loss, p, has_aux=True)[1]

    @jax.jit
    def everything(p):
        both = losses.rlc_gradient_penalty(loss, p, has_aux=True)
        return both, loss(p), jax.value_and_grad(penalty)(p)

    ((value, aux), _), alone, (found, slope) = everything(params)
    assert float(value) == pytest.approx(float(alone[0]))
    assert float(aux["mean"]) == 1
    gap = fake.mean(0) - real.mean(0)
    np.testing.assert_allclose(found, gap @ gap, rtol=1e-12)
    assert all(float(jnp.abs(s).max()) < 1e-15 for s in jax.tree.leaves(slope))


def test_rlc_gradient_on_several_devices(rng):
    """The penalty of the global batch, not the mean of those of its parts."""
    params = jnp.asarray(rng.normal(size=5), "float32")
    real, fake = (jnp.asarray(rng.normal(size=8), "float32") for _ in range(2))

    def total(params, real, fake):
        def loss(p):
            scores = perceptron(p, real), perceptron(p, fake)
            return losses.discriminator_loss(*scores, kind="nonsaturating")

        return losses.rlc_gradient_penalty(loss, params)[1]

    one = jax.jit(jax.value_and_grad(total))(params, real, fake)
    four = jax.pmap(
        lambda r, f: jax.lax.pmean(jax.value_and_grad(total)(params, r, f), "data"),
        axis_name="data",
    )(real.reshape(4, 2), fake.reshape(4, 2))
    for a, b in zip(one, four, strict=True):
        np.testing.assert_allclose(b[2], a, rtol=1e-4)


@pytest.mark.parametrize("start", [0, 3])
def test_anchors_follow_the_scores(x64, rng, start):
    """Against a loop: means themselves up to `start`, then averages."""
    steps = rng.normal(size=(6, 2))
    anchors, kept = losses.ScoreAnchors.zeros(), steps[0]
    for i, (real, fake) in enumerate(steps):
        anchors = anchors.follow(real, fake, decay=0.9, start=start)
        kept = steps[i] if i < max(start, 1) else 0.9 * kept + 0.1 * steps[i]
        np.testing.assert_allclose([anchors.real, anchors.fake], kept, rtol=1e-6)
    assert int(anchors.moves) == 6
    slope = jax.grad(lambda r: losses.ScoreAnchors.zeros().follow(r, r).real)(1.0)
    assert float(slope) == 0


def test_lecam_by_numpy(x64, rng):
    real, fake = rng.normal(size=(2, 9))
    anchors = losses.ScoreAnchors.zeros().follow(0.7, -0.4)
    above, below = real + np.float32(0.4), np.float32(0.7) - fake
    expected = {
        "relu": np.mean(np.maximum(above, 0) ** 2) + np.mean(np.maximum(below, 0) ** 2),
        "square": np.mean(above**2) + np.mean(below**2),
    }
    for form, value in expected.items():
        found = losses.lecam_penalty(
            jnp.asarray(real), jnp.asarray(fake), anchors, form=form
        )
        np.testing.assert_allclose(found, value, rtol=1e-7)
    slopes = jax.grad(losses.lecam_penalty, 2)(
        jnp.asarray(real), jnp.asarray(fake), anchors
    )
    assert all(float(s) == 0 for s in slopes)


def test_anchor_and_the_slip_of_the_notebook(x64, rng):
    real, fake = jnp.asarray(rng.normal(size=(2, 5)))
    images = jnp.asarray(rng.uniform(-1, 1, (5, 2, 2, 3)))
    found = losses.anchor_penalty(real, fake)
    expected = np.mean((real - 1) ** 2) + np.mean((fake - 1) ** 2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    found, slope = jax.value_and_grad(losses.anchor_penalty, 1)(
        real, images, notebook_compat=True
    )
    expected = np.mean((real - 1) ** 2) + np.mean((images - 1) ** 2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert float(jnp.abs(slope).max()) == 0
    assert float(jnp.abs(jax.grad(losses.anchor_penalty, 1)(real, fake)).max()) > 0


ONES = jnp.ones(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: losses.discriminator_loss(ONES, ONES, kind="hing"),
            r"discriminator_loss: `kind` must be one of \('hinge', .*, got 'hing'",
        ),
        (
            lambda: losses.generator_loss(ONES, kind="bce"),
            "generator_loss: `kind` must",
        ),
        (
            lambda: losses.generator_loss(jnp.ones((0, 1))),
            r"`fake` must be scores \(batch, ...\), not empty, got shape \(0, 1\)",
        ),
        (
            lambda: losses.lecam_penalty(
                ONES, ONES, losses.ScoreAnchors.zeros(), form="abs"
            ),
            r"`form` must be one of \('relu', 'square'\), got 'abs'",
        ),
        (
            lambda: losses.ScoreAnchors.zeros().follow(1.0, 1.0, decay=1.0),
            r"ScoreAnchors: `decay` must be in \[0, 1\), got 1.0",
        ),
        (
            lambda: losses.ScoreAnchors.zeros().follow(1.0, 1.0, start=-1),
            "ScoreAnchors: `start` must not be negative, got -1",
        ),
        (
            lambda: losses.consistency_penalty(ONES, jnp.ones(2)),
            r"`augmented` must have the shape of `score`, \(3,\), got \(2,\)",
        ),
        (
            lambda: losses.interpolated_penalty(
                quadratic, jnp.ones((2, 1, 1)), jnp.ones((2, 1, 1)), ONES
            ),
            r"`weights` must have shape \(2,\), one per row, got \(3,\)",
        ),
        (
            lambda: losses.r1_penalty(quadratic, ONES),
            r"r1_penalty: `x` must be \(batch",
        ),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_integers_are_no_scores():
    with pytest.raises(
        TypeError, match="`real` must be real floating point, got int32"
    ):
        losses.discriminator_loss(jnp.arange(3), ONES)
