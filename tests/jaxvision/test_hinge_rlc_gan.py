"""HingeRLC-GAN: sizes, labels, what a step does, and what is refused."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxvision
from jaxcore.training import ArrayBatches, Checkpoint, fit
from jaxvision import cli, layers, losses
from jaxvision.models import HingeRLCGAN, HingeRLCGANOptions
from jaxvision.recipes._adversarial_task import Objective, adversarial_task
from jaxvision.recipes._image_keys import image_keys
from jaxvision.recipes.hinge_rlc_gan import CIFAR, HingeRLCGANRecipe, read, report


NAME = "hinge_rlc_gan"
TINY = HingeRLCGANOptions(8, 1, 3, latent=2, width=4, embedding=2)


def built(options):
    return HingeRLCGAN(options, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("changes", "discriminator"),
    [
        ({}, 1_538_165),
        ({"discriminator": "notebook"}, 1_187_969),
        # Six more tables of scales and biases, for ten classes each.
        ({"discriminator_norm": "conditional"}, 1_538_165 + 6 * 20 * 128),
    ],
)
def test_parameters(changes, discriminator):
    """Those of the text and the code, at full size, by shapes alone."""
    options = HingeRLCGANOptions(**changes)
    gan = nnx.eval_shape(partial(built, options))
    assert layers.count_parameters(gan.generator) == 1_218_307
    assert layers.count_parameters(gan.discriminator) == discriminator
    first, block = gan.generator.first, gan.generator.blocks[0]
    assert layers.count_parameters(first) == 264_192
    assert layers.count_parameters(block) == 316_800


def convolutions(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation.params
        for leaf in jax.tree.leaves(tuple(equation.params.values())):
            inner = getattr(leaf, "jaxpr", leaf)
            if hasattr(inner, "eqns"):
                yield from convolutions(inner)


def test_generator_has_no_transposed_convolution():
    graph, params, rest = layers.split(nnx.eval_shape(partial(built, TINY)))

    def run(params, rest, z, label):
        return nnx.merge(graph, params, rest, copy=True)(z, label)

    jaxpr = jax.make_jaxpr(run)(params, rest, jnp.ones((1, 2)), jnp.zeros(1, int))
    found = list(convolutions(jaxpr.jaxpr))
    assert len(found) == 4
    assert {c["lhs_dilation"] for c in found} == {(1, 1)}


@pytest.fixture(scope="module")
def tiny():
    """A network drawn by NumPy, as parameters: fast on any machine."""
    rng = np.random.default_rng(0)
    graph, params, rest = layers.split(nnx.eval_shape(partial(built, TINY)))
    draw = lambda s: jnp.asarray(rng.normal(size=s.shape), s.dtype)  # noqa: E731
    positive = lambda s: 0.5 + jnp.abs(draw(s))  # noqa: E731
    return graph, jax.tree.map(draw, params), jax.tree.map(positive, rest)


def test_labels_matter(tiny, rng):
    """Images and scores change with the label, and with their own label alone."""
    graph, params, rest = tiny
    z = jnp.asarray(rng.normal(size=(3, 2)), "float32")
    x = jnp.asarray(rng.uniform(-1, 1, (3, 8, 8, 1)), "float32")

    @jax.jit
    def run(params, label):
        gan = nnx.merge(graph, params, rest, copy=True)
        gan.eval()
        return gan(z, label), gan.discriminator(x, label)

    first, second = jnp.array([0, 1, 2]), jnp.array([0, 1, 1])
    for a, b in zip(run(params, first), run(params, second), strict=True):
        moved = np.abs(a - b).reshape(3, -1).max(1)
        np.testing.assert_array_equal(moved > 1e-3, [False, False, True])
    assert float(jnp.abs(run(params, first)[0]).max()) <= 1
    # A pure function of its parameters: mapped over and differentiated.
    both = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)
    mapped = jax.jit(jax.vmap(run, (0, None)))(both, first)
    np.testing.assert_allclose(mapped[0][0], run(params, first)[0], atol=1e-5)


def test_the_discriminator_of_the_notebook_sees_no_label():
    gan = nnx.eval_shape(partial(built, replace(TINY, discriminator="notebook")))
    assert gan.discriminator.label_map is None
    graph, params, rest = layers.split(gan.discriminator)
    shapes = (jnp.ones((1, 8, 8, 1)), jnp.zeros(1, int))

    def run(params, rest, x, label):
        return nnx.merge(graph, params, rest, copy=True)(x, label)

    jaxpr = jax.make_jaxpr(run)(params, rest, *shapes)
    label = jaxpr.jaxpr.invars[-1]
    used = [v for equation in jaxpr.eqns for v in equation.invars]
    assert label not in used


class Points(nnx.Module):
    """A GAN of points: two small networks with smooth layers, labels as numbers."""

    def __init__(self, rngs):
        self.generator = Part(2, 2, rngs)
        self.discriminator = Part(2, 1, rngs)


class Part(nnx.Module):
    def __init__(self, width, wide, rngs):
        self.first = nnx.Linear(width + 1, 5, rngs=rngs)
        self.last = nnx.Linear(5, wide, rngs=rngs)

    def __call__(self, x, label):
        x = jnp.concatenate([x, label[:, None].astype(x.dtype)], 1)
        return self.last(jnp.tanh(self.first(x)))


def by_hand(params, x, label):
    x = jnp.concatenate([x, label[:, None].astype(x.dtype)], 1)
    for name in ("first", "last"):
        layer = params[name]
        x = x @ layer["kernel"] + layer["bias"][None]
        x = jnp.tanh(x) if name == "first" else x
    return x


def task(objective, optimizer=None, **options):
    return adversarial_task(
        "test",
        lambda key: Points(nnx.Rngs(params=key)),
        2,
        optimizer or optax.sgd(0.1),
        objective,
        prepare=lambda x: 2 * x,
        **options,
    )


@pytest.fixture
def batch(rng):
    return {
        "image": jnp.asarray(rng.normal(size=(8, 2)), "float32"),
        "label": jnp.asarray(rng.integers(0, 2, 8)),
    }


def codes(key):
    each = (jax.random.fold_in(jax.random.fold_in(key, 0), i) for i in range(8))
    return jnp.stack([jax.random.normal(k, (2,)) for k in each])


def test_a_step_by_hand(batch):
    """The generator moves first; the discriminator sees the new one's images of z."""
    objective, key = (
        Objective("nonsaturating", "nonsaturating", weight=0.3),
        jax.random.key(5),
    )
    step = task(objective)
    state = jax.jit(step.init)(jax.random.key(0))
    after, metrics = jax.jit(step.step)(state, batch, key)
    z, label, params = codes(key), batch["label"], state["params"]

    @jax.jit
    def expected(g, d):
        def generator(g):
            return jax.nn.softplus(-by_hand(d, by_hand(g, z, label), label)).mean()

        g = jax.tree.map(lambda p, s: p - 0.1 * s, g, jax.grad(generator)(g))
        fake = by_hand(g, z, label)

        def discriminator(d):
            real, false = by_hand(d, 2 * batch["image"], label), by_hand(d, fake, label)
            return jax.nn.softplus(-real).mean() + jax.nn.softplus(false).mean()

        def total(d):
            squares = jax.tree.map(lambda s: (s**2).sum(), jax.grad(discriminator)(d))
            return discriminator(d) + 0.3 * sum(jax.tree.leaves(squares))

        value, slope = jax.value_and_grad(total)(d)
        return g, jax.tree.map(lambda p, s: p - 0.1 * s, d, slope), value

    g, d, value = expected(params["generator"], params["discriminator"])
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, after["params"], {"generator": g, "discriminator": d})
    close(metrics["loss"], value)
    close(metrics["loss"], metrics["discriminator_loss"] + 0.3 * metrics["penalty"])


@jax.jit
def penalties(params, batch, key):
    """Every penalty by the functions of `losses`, and the mean scores."""
    label, real = batch["label"], 2 * batch["image"]
    fake = by_hand(params["generator"], codes(key), label)

    def score(x):
        return by_hand(params["discriminator"], x, label)

    keys = [jax.random.fold_in(jax.random.fold_in(key, 3), i) for i in range(8)]
    shares = jnp.stack([jax.random.uniform(k) for k in keys])
    of_real, of_fake = score(real), score(fake)
    anchors = losses.ScoreAnchors.zeros().follow(of_real.mean(), of_fake.mean())
    return {
        "lecam": losses.lecam_penalty(of_real, of_fake, anchors),
        "anchor": losses.anchor_penalty(of_real, of_fake),
        "anchor_notebook": losses.anchor_penalty(of_real, real),
        "r1": losses.r1_penalty(score, real),
        "interpolated": losses.interpolated_penalty(score, real, fake, shares),
        "consistency": losses.consistency_penalty(of_real, score(-real)),
        "noise": jnp.zeros(()),
    }, anchors


@pytest.mark.parametrize(
    "regularizer",
    [
        *("lecam", "anchor", "anchor_notebook"),
        *("r1", "interpolated", "consistency", "noise"),
    ],
)
def test_regularizers(batch, regularizer):
    objective = Objective("hinge", "wasserstein", regularizer, 0.5, start=1)
    flip = lambda key, x: -x  # noqa: E731
    step, key = task(objective, optax.sgd(0.0), augment=flip), jax.random.key(1)
    state, run = jax.jit(step.init)(jax.random.key(0)), jax.jit(step.step)
    after, metrics = run(state, batch, key)
    expected, anchors = penalties(state["params"], batch, key)
    if regularizer == "lecam":
        # The anchors of the step before, and no penalty before `start`.
        assert float(metrics["penalty"]) == 0
        np.testing.assert_allclose(after["anchors"], anchors, rtol=1e-5)
        _, metrics = run(after, batch, key)
    np.testing.assert_allclose(metrics["penalty"], expected[regularizer], rtol=1e-4)
    seen = abs(float(metrics["score_real"] - anchors.real))
    assert seen > 1e-4 if regularizer == "noise" else seen < 1e-5
    assert regularizer == "noise" or float(expected[regularizer]) > 0


@pytest.mark.parametrize("regularizer", ["rlc_gradient", "lecam"])
def test_four_devices_train_as_one(batch, regularizer):
    step = task(Objective(regularizer=regularizer, weight=0.5, start=0))
    state, key = jax.jit(step.init)(jax.random.key(0)), jax.random.key(1)
    one = jax.jit(step.step)(state, batch, key)
    parts = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), batch)
    four = jax.pmap(step.step, axis_name="data", in_axes=(None, 0, None))(
        state, parts, key
    )
    params, metrics = four[0]["params"], four[1]
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: close(a[3], b), params, one[0]["params"])
    close(metrics["loss"].mean(), one[1]["loss"])


def test_training_goes_on_to_the_bit_and_is_evaluated(batch, tmp_path):
    step = task(Objective(regularizer="lecam", weight=0.3, start=2), optax.adam(1e-2))
    batches = ArrayBatches(jax.tree.map(np.asarray, batch), 4, last="drop")
    options: dict = {"key": jax.random.key(0), "ema": 0.5}
    whole = fit(step, batches, 6, **options)
    for steps in (3, 6):
        parts = fit(
            step, batches, steps, checkpoint=Checkpoint(tmp_path, every=3), **options
        )
    jax.tree.map(np.testing.assert_array_equal, whole.state, parts.state)
    jax.tree.map(np.testing.assert_array_equal, whole.ema, parts.ema)
    found = jax.jit(step.evaluate)(whole.state, batch)
    params, label = whole.state["params"], batch["label"]
    real = by_hand(params["discriminator"], 2 * batch["image"], label)
    draw = jax.vmap(lambda k: jax.random.normal(k, (2,)))
    z = draw(image_keys(jax.random.key(0), batch["image"]))
    fake = by_hand(params["generator"], z, label)
    false = by_hand(params["discriminator"], fake, label)
    np.testing.assert_allclose(found["score_real"], real.mean(), rtol=1e-4)
    np.testing.assert_allclose(found["score_fake"], false.mean(), rtol=1e-4)
    told = (np.mean(real > 0) + np.mean(false < 0)) / 2
    np.testing.assert_allclose(found["told_apart"], told, rtol=1e-6)
    # Padding does not count.
    half = {**batch, "mask": jnp.array([1.0] * 4 + [0.0] * 4)}
    part = jax.jit(step.evaluate)(whole.state, half)
    np.testing.assert_allclose(part["score_real"], real[:4].mean(), rtol=1e-4)
    # A code belongs to an image, wherever it is in a batch.
    half |= {name: batch[name][::-1] for name in batch}
    part = jax.jit(step.evaluate)(whole.state, half)
    np.testing.assert_allclose(part["score_fake"], false[4:].mean(), rtol=1e-4)


def test_presets():
    default = jaxvision.recipe(NAME)
    assert default.preset == "cifar_rlc_gradient"
    assert default.config == CIFAR == HingeRLCGANRecipe()
    assert default.config.steps == 100 * 390
    assert default.config.objective == Objective("hinge", "hinge", "rlc_gradient", 0.1)
    rates = [float(default.config.rate(step)) for step in (0, 80 * 390 - 1, 80 * 390)]
    np.testing.assert_allclose(rates, [2e-4, 2e-4, 5e-5], rtol=1e-6)
    row = jaxvision.recipe(NAME, preset="cifar_rlc_notebook").config
    assert row.network.discriminator == "notebook"
    assert row.objective.weight == 0.15
    row = jaxvision.recipe(NAME, preset="digits_wgan_gp").config
    assert row.objective == Objective(
        "wasserstein", "wasserstein", "interpolated", 10.0
    )
    assert row.network.image_size == 8
    (info,) = (s for s in jaxvision.list_systems() if s.name == NAME)
    assert info.parameters == 1_218_307 + 1_538_165


def test_report(rng):
    real, fake = rng.normal(size=(2, 30, 3)).astype(np.float32)
    found = report(real, fake, key=jax.random.key(0), subsets=2, size=30)
    expected = jaxvision.metrics.kernel_distance(real, fake)
    assert found["kernel_distance"] == pytest.approx(float(expected), rel=1e-3)
    expected = jaxvision.metrics.frechet_distance(real, fake)
    assert found["frechet_distance"] == pytest.approx(float(expected))


def test_info(capsys):
    """Sizes of the paper, by shapes alone."""
    assert cli.main(["info", NAME]) == 0
    out = capsys.readouterr().out
    assert "float32[1, 32, 32, 3]" in out
    assert "2,756,472" in out


def test_reading(tmp_path, rng):
    arrays = {"image": rng.uniform(size=(6, 8, 8, 1)), "label": np.arange(6)}
    np.savez(tmp_path / "a.npz", **arrays)
    config = jaxvision.recipe(NAME, preset="digits_hinge").config
    found = read(config, tmp_path / "a.npz")
    np.testing.assert_allclose(found["image"], arrays["image"], rtol=1e-6)
    assert found["label"].tolist() == list(range(6))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "`epochs` must be a positive integer, got 0"),
        ({"drop_epoch": -1}, "`drop_epoch` must be a positive integer, got -1"),
        ({"num_images": 9}, "`num_images` must be at least the batch size, 128, got 9"),
        ({"dropped_rate": 0.0}, "`dropped_rate` must be positive, got 0.0"),
        ({"beta1": 1.0}, r"`beta1` must be in \[0, 1\), got 1.0"),
    ],
)
def test_recipe_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        jaxvision.recipe(NAME, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"discriminator": "bce"},
            r"`discriminator` must be one of \('hinge', .* 'bce'",
        ),
        ({"generator": "bce"}, "`generator` must be one of"),
        ({"regularizer": "rlc"}, r"`regularizer` must be one of .*, got 'rlc'"),
        ({"weight": 0.0}, "`weight` must be positive, got 0.0"),
        (
            {"regularizer": "none"},
            "`weight` must be 0 with regularizer='none', got 0.1",
        ),
        ({"decay": 1.0}, r"`decay` must be in \[0, 1\), got 1.0"),
        ({"start": -1}, "`start` must not be negative, got -1"),
    ],
)
def test_objective_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        Objective(**changes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "`width` must be a positive integer, got 0"),
        (
            {"image_size": 4},
            "`image_size` must be 4 times a power of 2, at least 8",
        ),
        ({"image_size": 28}, "`image_size` must be 4 times a power of 2, .*, got 28"),
        (
            {"discriminator": "paper2"},
            "`discriminator` must be one of .* got 'paper2'",
        ),
        ({"discriminator_norm": "batch"}, "`discriminator_norm` must be one of"),
        (
            {"discriminator": "notebook", "discriminator_norm": "conditional"},
            "`discriminator_norm` must be 'none' with discriminator='notebook'",
        ),
    ],
)
def test_network_refuses(options, message):
    with pytest.raises(ValueError, match="HingeRLCGAN: " + message):
        jaxvision.create(NAME, rngs=nnx.Rngs(0), **options)


def test_arrays_are_checked(batch):
    def apply(part, *arrays):
        return nnx.eval_shape(lambda *a: getattr(built(TINY), part)(*a), *arrays)

    one = jnp.zeros(1, int)
    with pytest.raises(ValueError, match=r"`z` must be \(batch, 2\), got shape"):
        apply("generator", jnp.ones((1, 3)), one)
    with pytest.raises(TypeError, match="`z` must be real floating point, got int32"):
        apply("generator", jnp.ones((1, 2), int), one)
    with pytest.raises(ValueError, match=r"`label` must have shape \(2,\), one"):
        apply("generator", jnp.ones((2, 2)), one)
    with pytest.raises(ValueError, match="`x` must be 8 high and wide, got shape"):
        apply("discriminator", jnp.ones((1, 8, 4, 1)), one)
    with pytest.raises(TypeError, match="sample: `label` must be integers, got f"):
        apply("sample", jax.random.key(0), jnp.ones(1))
    step = task(Objective())
    state = jax.eval_shape(step.init, jax.random.key(0))
    for run in (
        lambda s, b: step.step(s, b, jax.random.key(0)),
        lambda s, b: step.evaluate(s, b),
    ):
        with pytest.raises(ValueError, match="must have 'image' and 'label', "):
            jax.eval_shape(run, state, {"image": batch["image"]})
    padded = {**batch, "mask": jnp.ones(8)}
    with pytest.raises(ValueError, match="must drop the rest of an epoch"):
        jax.eval_shape(step.step, state, padded, jax.random.key(0))
    step = task(Objective(regularizer="consistency"))
    with pytest.raises(ValueError, match="`augment` must be given with regularizer="):
        jax.eval_shape(step.step, state, batch, jax.random.key(0))
