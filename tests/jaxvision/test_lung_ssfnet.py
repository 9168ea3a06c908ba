"""LungSSFNet end to end: sizes, blocks, recipe, training, PyTorch beside it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from flax import nnx

import jaxvision
from benchmarks import _lung_ssfnet_torch as peer
from jaxcore.training import ArrayBatches, fit
from jaxvision import data, layers, losses, metrics, runs, weights
from jaxvision.models import LungSSFNet, LungSSFOptions
from jaxvision.recipes import lung_ssfnet as recipes


NAME = "lung_ssfnet"
TINY = LungSSFOptions(3, 3, (32, 8), 1, 1, narrowest=16, frequencies=2)


def filled(model, seed=0):
    """An abstract network with arrays drawn by NumPy, in evaluation."""
    rng = np.random.default_rng(seed)

    def draw(name, shape):
        values = rng.normal(size=shape) / 3
        if name.endswith("var"):
            return 0.5 + np.abs(values)
        return values + 1.0 if name.endswith("scale") else values

    arrays = weights.named_arrays(model)
    state = {n: draw(n, x.shape).astype("float32") for n, x in arrays.items()}
    assert weights.set_weights(model, state).complete
    model.eval()
    return model


def build(options):
    return nnx.eval_shape(lambda: LungSSFNet(options, rngs=nnx.Rngs(0)))


def call(model, *inputs):
    graph, state = nnx.split(model)
    run = jax.jit(lambda s, *x: nnx.merge(graph, s, copy=True)(*x))
    return run(state, *inputs)


@pytest.fixture(scope="module")
def tiny():
    return filled(build(TINY))


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(3), (3, 16, 24, 3))


def test_parameters_at_full_size():
    """The counts of the authors' network, with its fusion and one class."""
    model = build(LungSSFOptions(num_classes=1, fusion="repository"))
    assert layers.count_parameters(model) == 50_518_913
    stages = [layers.count_parameters(stage) for stage in model.decoder]
    assert stages[3:] == [5_349_192, 1_380_616, 388_040, 129_704]
    blocks = [layers.count_parameters(stage.attention) for stage in model.decoder[3:]]
    assert blocks == [1_217_350, 346_886, 129_222, 64_806]
    # Frequencies are constants, not arrays of the network.
    assert not [n for n, x in weights.named_arrays(model).items() if 112 in x.shape]
    # In the paper's fusion 7 x 7 convolutions of two maps take the place of 1 x 1 ones.
    paper = build(LungSSFOptions(num_classes=1))
    inner = sum(max(c // 2**s, 64) for c in (32, 64, 128, 256) for s in range(3))
    assert layers.count_parameters(paper) == 50_518_913 - inner + 12 * 98


def test_shapes_at_full_size():
    shape = nnx.eval_shape(
        lambda x: LungSSFNet(LungSSFOptions(), rngs=nnx.Rngs(0)).encoder(x),
        jnp.ones((1, 512, 512, 3)),
    )
    assert [m.shape[1] for m in shape] == [512, 256, 128, 64, 32, 16, 8, 4]
    assert [m.shape[3] for m in shape] == [32, 64, 128, 256, 512, 512, 512, 512]


@pytest.mark.slow
def test_a_pure_function(tiny, images):
    """Mapped over images, differentiated; rows do not depend on each other."""
    graph, params, rest = layers.split(tiny)

    def total(params, x, chosen):
        model = nnx.merge(graph, params, rest, copy=True)
        out = jax.vmap(lambda row: model(row[None])[0])(x)
        return jnp.sum(out[chosen] ** 2), out

    slope = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))
    (_, out), (by_params, by_image) = slope(params, images, 1)
    np.testing.assert_allclose(out, call(tiny, images), rtol=1e-3, atol=1e-3)
    changed = jnp.abs(by_image).max((1, 2, 3))
    assert changed[1] > 0
    assert changed[0] == changed[2] == 0
    assert min(float(jnp.abs(g).max()) for g in jax.tree.leaves(by_params)) > 0
    others = call(tiny, images.at[1].set(images[1] * 2 + 1))
    np.testing.assert_allclose(others[::2], out[::2], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("fusion", ["paper", "repository"])
def test_logits_are_those_of_pytorch(fusion, images):
    """A network written from the same description, with the same arrays."""
    torch = pytest.importorskip("torch")
    options = replace(TINY, fusion=fusion, channels=(32, 8, 8))
    model = filled(build(options))
    # Gray images are repeated.
    images = images[..., :1] if fusion == "paper" else images
    module = peer.build(torch, options, image_per_channel=fusion == "repository")
    state = peer.state_of(weights.named_arrays(model))
    found = module.load_state_dict(
        {k: torch.as_tensor(v.copy()) for k, v in state.items()}, strict=False
    )
    assert not found.unexpected_keys
    assert all(k.endswith("num_batches_tracked") for k in found.missing_keys)
    with torch.no_grad():
        x = np.moveaxis(np.asarray(images), -1, 1).repeat(4 - images.shape[-1], 1)
        x = torch.from_numpy(x[:, :3].copy())
        expected = np.moveaxis(module(x).numpy(), 1, -1)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(
        call(model, images), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max()
    )


def test_fusion_without_difference_is_the_concatenation():
    from jaxvision.models.lung_ssfnet import Concatenation

    rng = np.random.default_rng(1)
    deep = jnp.asarray(rng.normal(size=(1, 4, 5, 6)), "float32")
    skip = jnp.asarray(rng.normal(size=(1, 8, 10, 4)), "float32")
    unit = filled(nnx.eval_shape(lambda: layers.FusionUnit(6, 4, rngs=nnx.Rngs(0))))
    unit.alpha[...], unit.beta[...] = jnp.ones(()), jnp.zeros(())
    plain = filled(nnx.eval_shape(lambda: Concatenation(6, 4, rngs=nnx.Rngs(0))))
    shared = {
        name: array
        for name, array in weights.named_arrays(unit).items()
        if name.startswith("joint")
    }
    assert weights.set_weights(plain, shared).complete
    expected = call(plain, layers.simam(deep), skip)
    np.testing.assert_allclose(call(unit, deep, skip), expected, rtol=1e-5, atol=1e-6)
    # And the difference itself: equal maps give the answer to zero.
    unit.alpha[...], unit.beta[...] = jnp.zeros(()), jnp.full((), 2.0)
    large = layers.resize_bilinear(layers.simam(deep), 8, 10)
    equal = call(unit.project, large)
    expected = 2 * call(unit.difference, jnp.zeros_like(equal))
    np.testing.assert_allclose(call(unit, deep, equal), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fusion", ["paper", "repository"])
def test_ssf_without_kernels_returns_its_input(fusion):
    block = filled(
        nnx.eval_shape(
            lambda: layers.SSFBlock(
                8, fusion=fusion, narrowest=16, frequencies=2, rngs=nnx.Rngs(0)
            )
        )
    )
    x = jax.random.normal(jax.random.key(0), (2, 16, 20, 8))
    assert float(jnp.abs(call(block, x) - x).max()) > 0.01
    zeros = {
        name: np.zeros(array.shape, "float32")
        for name, array in weights.named_arrays(block).items()
        if name.endswith(("kernel", "scale", "bias"))
    }
    weights.set_weights(block, zeros, partial=True)
    np.testing.assert_array_equal(call(block, x), x)


def test_images_of_a_batch_are_independent_in_evaluation(rng):
    """Of a fusion unit and an SSF block, to the bit."""

    def build():
        return nnx.List(
            [
                layers.FusionUnit(6, 8, rngs=nnx.Rngs(0)),
                layers.SSFBlock(8, narrowest=16, frequencies=2, rngs=nnx.Rngs(0)),
            ]
        )

    graph, state = nnx.split(filled(nnx.eval_shape(build)))

    @jax.jit
    def run(state, deep, skip):
        fusion, block = nnx.merge(graph, state, copy=True)
        return block(fusion(deep, skip))

    deep, skip = (
        jnp.asarray(rng.normal(size=(3, side, side, width)), "float32")
        for side, width in ((8, 6), (16, 8))
    )
    out = run(state, deep, skip)
    others = run(state, deep.at[1].mul(3), skip.at[1].add(2))
    assert float(jnp.abs(others[1] - out[1]).max()) > 0.1
    np.testing.assert_array_equal(others[::2], out[::2])


def test_loss_is_the_sum_of_its_parts(rng):
    config = recipes.RINGS
    logits = jnp.asarray(rng.normal(size=(2, 4, 5, 1)), "float32")
    label = jnp.asarray(rng.integers(0, 2, (2, 4, 5)))
    value, parts = config.loss(logits, label)
    z, t = np.float64(logits[..., 0]), np.asarray(label)
    p = 1 / (1 + np.exp(-z))
    entropy = -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))
    overlap = 1 - (2 * (p * t).sum() + 1e-5) / (p.sum() + t.sum() + 1e-5)
    np.testing.assert_allclose(value, entropy + overlap, rtol=1e-5)
    np.testing.assert_allclose(parts["soft_dice"], overlap, rtol=1e-5)
    # Three classes: softmax, the background left out of the overlap.
    config = replace(config, network=replace(config.network, num_classes=3))
    logits = jnp.asarray(rng.normal(size=(2, 4, 5, 3)), "float32")
    label = jnp.asarray(rng.integers(0, 3, (2, 4, 5)))
    value, _ = config.loss(logits, label)
    shares, target = jax.nn.softmax(logits), jax.nn.one_hot(label, 3)
    expected = losses.soft_dice_loss(shares, target, background=0) - jnp.mean(
        jnp.sum(target * jnp.log(shares), -1)
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_augmentation_has_the_probabilities_of_nnunet(rng):
    """The share of images with nothing but flips; labels go with their images."""
    image = np.tile(rng.normal(size=(1, 6, 6, 1)), (500, 1, 1, 1)).astype("float32")
    label = np.tile(np.arange(36).reshape(1, 6, 6), (500, 1, 1))
    found, moved = jax.jit(recipes.augmented)(jax.random.key(0), image, label)
    flips = [np.s_[:, ::i, ::j] for i in (1, -1) for j in (1, -1)]
    same = [np.abs(found - image[f]).max((1, 2, 3)) < 1e-4 for f in flips]
    for rows, f in zip(same, flips, strict=True):
        np.testing.assert_array_equal(moved[rows], label[f][rows])
    # Affine 0.2 twice, noise, blur of a half, brightness, contrast, a half of low
    # resolution, two gammas.
    expected = 0.8**2 * 0.9 * 0.9 * 0.85**2 * 0.875 * 0.9 * 0.7
    assert np.mean(same, axis=1).sum() == pytest.approx(expected, abs=0.06)
    assert np.mean(same, axis=1).min() > expected / 4 / 2


def test_presets():
    paper = jaxvision.recipe(NAME)
    assert paper.preset == "paper"
    config = paper.config
    assert (config.batch_size, config.epochs, config.image_size) == (7, 500, 512)
    assert (config.momentum, config.weight_decay) == (0.99, 3e-5)
    assert config.steps == 500 * 35
    rates = config.rate(jnp.asarray([0, 34, 35, 35 * 250, 17_500]))
    expected = [0.01 * (1 - e / 500) ** 0.9 for e in (0, 0, 1, 250, 500)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    unet = jaxvision.recipe(NAME, preset="paper_unet").config.network
    assert (unet.fusion_stages, unet.ssf_stages) == (0, 0)
    (info,) = (s for s in jaxvision.list_systems() if s.name == NAME)
    assert info.parameters == layers.count_parameters(build(LungSSFOptions()))


def small_recipe(fusion_stages, **changes):
    network = LungSSFOptions(1, 1, (4, 8), fusion_stages, 0)
    return jaxvision.recipe(
        NAME,
        preset="small",
        network=network,
        image_size=48,
        batch_size=4,
        num_images=8,
        **changes,
    )


def test_step_is_nesterov_on_the_loss():
    """One step, written out: weight decay, then Nesterov's momentum."""
    recipe = small_recipe(0, weight_decay=0.1, momentum=0.5, learning_rate=0.2)
    config, task = recipe.config, recipe.task()
    batch = data.synthetic_rings(4, 48, seed=0)
    state = task.init(jax.random.key(0))
    after, found = jax.jit(task.step)(state, batch, jax.random.key(1))
    graph, _, _ = layers.split(nnx.eval_shape(lambda: recipe.network(rngs=nnx.Rngs(0))))

    def loss(params):
        model = nnx.merge(graph, params, state["statistics"], copy=True)
        model.train()
        value, _ = config.loss(model(data.standardize(batch["image"])), batch["label"])
        return value

    value, slope = jax.jit(jax.value_and_grad(loss))(state["params"])
    np.testing.assert_allclose(found["loss"], value, rtol=1e-4)
    expected = jax.tree.map(
        lambda p, g: p - 0.2 * 1.5 * (g + 0.1 * p), state["params"], slope
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        after["params"],
        expected,
    )
    assert set(found) == {"loss", "cross_entropy", "soft_dice"}


@pytest.mark.slow
def test_training_learns_rings_and_resumes_exactly(tmp_path):
    """Below the loss at the start; stopped or on four devices, it ends alike."""
    recipe = small_recipe(1)
    arrays = data.synthetic_rings(8, 48, seed=0)
    batches = ArrayBatches(arrays, 4, seed=0, last="drop")
    task, key = recipe.task(), jax.random.key(0)
    seen = []
    whole = fit(
        task, batches, 12, key=key, chunk=4,
        callbacks=[lambda p: seen.extend(p.metrics["loss"]) or False],
    )  # fmt: skip
    assert np.mean(seen[-4:]) < np.mean(seen[:4])
    fit(task, batches, 8, key=key, chunk=4, checkpoint=tmp_path)
    again = fit(task, batches, 12, key=key, chunk=4, checkpoint=tmp_path)
    assert again.resumed == 8
    jax.tree.map(np.testing.assert_array_equal, whole.state, again.state)
    one, four = (
        fit(task, batches, 2, key=key, chunk=4, **where)
        for where in ({}, {"parallel": "sharded", "devices": 4})
    )
    assert one.metrics["loss"] == pytest.approx(four.metrics["loss"], rel=1e-4)
    for kind in ("params", "statistics"):  # over the whole batch, not a device's part
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4),
            one.state[kind],
            four.state[kind],
        )
    padded = ArrayBatches(arrays, 3, shuffle=False, last="pad")
    found = jax.jit(task.evaluate)(whole.state, padded.read(2, slice(0, 3)))
    figures = recipes.summarize(recipe.config, found)
    assert 0 <= figures["iou_1"] <= figures["dice_1"] <= 1
    # The augmentation is a part of the step: the shapes come out as they were.
    step = small_recipe(1, augment=True).task().step
    after, _ = jax.eval_shape(step, whole.state, batches.read(0, slice(0, 4)), key)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, whole.state)
    with pytest.raises(ValueError, match="must drop the rest of an epoch"):
        fit(task, padded, 1, key=key)


def test_report():
    """Two lesions, a miss, a false alarm, worked out by hand."""
    label = np.zeros((4, 2, 4), int)
    label[0, 0, :2], label[1, 0, :4], label[2, 1, :2] = 1, 2, 2
    predicted = label.copy()
    predicted[0, 0, 1] = 0  # half of a lesion missed
    predicted[1, 0, :3] = 1  # called the other one
    predicted[3, 0, 0] = 2  # where there is none
    found = recipes.report(predicted, label, 3, positive_class=2)
    assert found["dice_1"] == pytest.approx(2 / 3)
    assert found["iou_1"] == pytest.approx(1 / 2)
    assert found["dice_2"] == pytest.approx((2 / 5 + 1) / 2)
    assert found["iou_1_with_background"] == pytest.approx((1 / 2 + 6 / 7) / 2)
    assert found["iou_1_with_background"] > found["dice_1"]
    assert found["accuracy"] == pytest.approx(2 / 4)
    # Positive are images 1 and 2; found positive are 2 and 3.
    assert found["precision"] == found["recall"] == found["f1"] == pytest.approx(0.5)
    # What no image has is NaN: no lesion, none decided as positive.
    names = set(found)
    found = recipes.report(0 * label[:1], 0 * label[:1], 3, positive_class=2)
    assert set(found) == names
    defined = {name: value for name, value in found.items() if not np.isnan(value)}
    assert defined == {"pixel_accuracy": 1.0, "accuracy": 1.0}


class Stub(nnx.Module):
    """Decides for the class that the image says, 0, 1 or 2 halves."""

    def __init__(self, options, *, rngs):
        self.scale = nnx.Param(jnp.ones(()))

    def __call__(self, x):
        return -((2 * x - jnp.arange(3.0).reshape(1, 1, 1, 3)) ** 2)


def test_evaluation_prints_the_figures_of_the_tables(monkeypatch):
    """In batches with a padded one, and on four devices, as for all images at once."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, (7, 4, 4)).astype(np.int32)
    label[:2], label[2:4][label[2:4] == 2] = 0, 0  # without lesions, without one of two
    wrong = rng.uniform(size=label.shape) < 0.4
    predicted = np.where(wrong, rng.integers(0, 3, label.shape), label)
    arrays = {"image": (predicted / 2).astype("float32")[..., None], "label": label}

    # The network and what it is given, in place of ones whose answers nobody knows.
    monkeypatch.setattr(recipes.data, "standardize", lambda x: x)
    monkeypatch.setattr(recipes, "LungSSFNet", Stub)
    recipe = jaxvision.recipe(NAME, positive_class=1)
    state = recipe.task().init(jax.random.key(0))
    run = runs.Run(recipe, state, 1)
    expected = recipes.report(predicted, label, 3, positive_class=1)
    assert len(expected) == 11
    for batch_size in (2, 3, 7):
        found = runs.evaluate(run, arrays, batch_size=batch_size)
        assert found == pytest.approx(expected, rel=1e-5)
    assert found["dice_1"] == pytest.approx(
        np.mean(
            [
                2 * np.sum((p == 1) & (t == 1)) / (np.sum(p == 1) + np.sum(t == 1))
                for p, t in zip(predicted, label, strict=True)
                if np.any(t == 1)
            ]
        )
    )
    assert found["f1"] == pytest.approx(
        sklearn.metrics.f1_score(
            metrics.majority_label(label, 3) == 1,
            metrics.majority_label(predicted, 3) == 1,
        )
    )
    padded = {name: np.concatenate([a, a[:1]]) for name, a in arrays.items()}
    padded["mask"] = np.arange(8) < 7
    shared = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), padded)
    each = jax.pmap(recipe.task().evaluate, axis_name="data", in_axes=(None, 0))
    # Each device has its share of the sums, as `masked_mean` says.
    means = {k: float(np.mean(v)) for k, v in each(state, shared).items()}
    assert recipes.summarize(recipe.config, means) == pytest.approx(expected, rel=1e-5)
    # As the metrics of a training have them, and among others.
    mixed = {"loss": 1.0, **{f"evaluate/{k}": v for k, v in means.items()}}
    shown = runs.summarized(recipe, mixed, "evaluate/")
    assert shown.pop("loss") == 1.0
    assert shown["evaluate/iou_2"] == pytest.approx(expected["iou_2"], rel=1e-5)
    assert set(shown) == {f"evaluate/{name}" for name in expected}


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"channels": (4,)}, r"`channels` must have at least two entries, got \(4,\)"),
        ({"ssf_stages": 8}, "`ssf_stages` must be from 0 to 7, .*, got 8"),
        ({"fusion_stages": -1}, "`fusion_stages` must be from 0 to 7, .*, got -1"),
        ({"fusion": "sum"}, "`fusion` must be one of .*, got 'sum'"),
        ({"num_classes": 0}, "`num_classes` must be a positive integer, got 0"),
        ({"channels": (4, 0)}, "`channels` must be a positive integer, got 0"),
    ],
)
def test_options_are_checked(options, match):
    with pytest.raises(ValueError, match=match):
        jaxvision.create(NAME, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"image_size": 500}, "`image_size` must be divisible by 128, .*, got 500"),
        ({"image_size": 128}, "`image_size` must be at least 256, .*, got 128"),
        ({"num_images": 3}, "`num_images` must be at least the batch size, 7, got 3"),
        ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\), got 1.0"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive, got 0.0"),
        ({"dice_weight": -1.0}, "`dice_weight` must not be negative, got -1.0"),
        ({"epochs": 0}, "`epochs` must be a positive integer, got 0"),
        ({"positive_class": 3}, "`positive_class` must be from 0 to 2, got 3"),
    ],
)
def test_recipe_is_checked(changes, match):
    with pytest.raises(ValueError, match=match):
        jaxvision.recipe(NAME, **changes)


def test_inputs_are_checked():
    def run(shape):
        return nnx.eval_shape(
            lambda x: LungSSFNet(TINY, rngs=nnx.Rngs(0))(x), jnp.ones(shape)
        )

    with pytest.raises(ValueError, match=r"sides divisible by 2, .*\(1, 17, 16, 3\)"):
        run((1, 17, 16, 3))
    with pytest.raises(ValueError, match=r"two positions .*, sides of 2 and 4 or mor"):
        run((1, 2, 2, 3))
    with pytest.raises(ValueError, match="must have 3 channels, last, got shape"):
        run((1, 16, 16, 2))
    with pytest.raises(ValueError, match="`fusion` must be one of"):
        layers.SSFBlock(8, fusion="none", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="`channels` must have at least one entry"):
        layers.UNetEncoder(3, (), rngs=nnx.Rngs(0))
