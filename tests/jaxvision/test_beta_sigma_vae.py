"""The beta-sigma VAE end to end: sizes, modes, recipe, training, its baseline."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sklearn.datasets import load_digits

import jaxvision
from jaxcore.training import ArrayBatches, fit
from jaxvision import layers
from jaxvision.models import BetaSigmaVAE, BetaSigmaVAEOptions
from jaxvision.recipes import beta_sigma_vae as recipes
from jaxvision.recipes._image_keys import image_keys
from jaxvision.recipes.beta_sigma_vae import BetaSigmaVAERecipe, augmented


NAME = "beta_sigma_vae"
MNIST = BetaSigmaVAEOptions(28, 1, (32, 64, 128), 32)
SMALL = BetaSigmaVAEOptions(7, 1, (4, 6), 3)
TINY = BetaSigmaVAEOptions(8, 1, (16,), 2, "perceptron")


@pytest.mark.parametrize(
    ("options", "sides", "parameters"),
    [
        (BetaSigmaVAEOptions(), (64, 32, 16, 8, 4), (3_329_504, 1_853_539)),
        (MNIST, (28, 14, 7, 4), (822_112, 469_409)),
        (SMALL, (7, 4, 2), None),
        (TINY, (8, 4), (64 * 16 + 16 + 16 * 4 + 4, 2 * 16 + 16 + 16 * 64 + 64)),
    ],
)
def test_sizes_come_back(options, sides, parameters):
    counts = []

    def run(x, key):
        model = BetaSigmaVAE(options, rngs=nnx.Rngs(0))
        counts.extend(map(layers.count_parameters, (model.encoder, model.decoder)))
        return model(x, key)

    shape = (options.image_size, options.image_size, options.in_channels)
    x, *latent = nnx.eval_shape(run, jnp.ones((2, *shape)), jax.random.key(0))
    assert options.sides == sides
    assert x.shape == (2, *shape)
    assert [z.shape for z in latent] == [(2, options.latent)] * 2
    assert parameters is None or tuple(counts[:2]) == parameters


def test_samples_decode_standard_normal_codes():
    model = BetaSigmaVAE(TINY, rngs=nnx.Rngs(0))
    codes = jax.random.normal(jax.random.key(1), (5, 2))
    found = model.sample(jax.random.key(1), 5)
    assert found.shape == (5, 8, 8, 1)
    np.testing.assert_allclose(found, model.decode(codes), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def small():
    """Graph and trees of a small network, drawn by NumPy: fast on any machine."""
    rng = np.random.default_rng(0)
    graph, params, rest = layers.split(
        nnx.eval_shape(lambda: BetaSigmaVAE(SMALL, rngs=nnx.Rngs(0)))
    )
    draw = lambda s: jnp.asarray(rng.normal(size=s.shape) / 3, s.dtype)  # noqa: E731
    positive = lambda s: 0.5 + jnp.abs(draw(s))  # noqa: E731
    return graph, jax.tree.map(draw, params), jax.tree.map(positive, rest)


def test_training_and_evaluation_modes(small, rng):
    graph, params, rest = small
    x = jnp.asarray(rng.uniform(size=(6, 7, 7, 1)), "float32")

    def run(train):
        def apply(params, rest, x):
            model = nnx.merge(graph, params, rest, copy=True)
            model.train() if train else model.eval()
            out = model(x, jax.random.key(1))
            return out, layers.statistics_of(model)

        return jax.jit(apply)

    trained, after = run(True)(params, rest, x)
    evaluated, same = run(False)(params, rest, x)
    jax.tree.map(np.testing.assert_array_equal, rest, same)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), rest, after)
    assert min(jax.tree.leaves(moved)) > 0
    assert float(jnp.abs(trained[0] - evaluated[0]).max()) > 1e-2
    # In evaluation an image does not depend on its neighbors.
    alone, _ = run(False)(params, rest, x[:1])
    np.testing.assert_allclose(alone[0], evaluated[0][:1], rtol=1e-4, atol=1e-5)
    # A pure function of its parameters: mapped over, differentiated.
    both = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)
    mapped, _ = jax.vmap(run(False), (0, None, None))(both, rest, x[:1])
    np.testing.assert_allclose(mapped[0][0], alone[0], rtol=1e-4, atol=1e-5)


def test_a_draw_from_the_posterior(small, rng):
    """The reconstruction decodes mean + exp(log_variance / 2) * noise."""
    graph, params, rest = small
    x = jnp.asarray(rng.uniform(size=(2, 7, 7, 1)), "float32")

    @jax.jit
    def run(params):
        model = nnx.merge(graph, params, rest, copy=True)
        model.eval()
        (mean, logs), key = model.encode(x), jax.random.key(2)
        noise = jnp.stack(
            [jax.random.normal(jax.random.fold_in(key, i), (3,)) for i in range(2)]
        )
        keys = jax.random.split(key, 2)
        own = jnp.stack([jax.random.normal(k, (3,)) for k in keys])
        drawn = [model.decode(mean + jnp.exp(logs / 2) * z) for z in (noise, own)]
        return (model(x, key)[0], model(x, keys)[0]), tuple(drawn)

    for out, expected in zip(*run(params), strict=True):
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


def recipe(**changes):
    found = jaxvision.recipe(NAME, preset="digits_bs_beta_1", **changes)
    return found.replace(network=replace(found.config.network, channels=(64,)))


def test_presets():
    """Every row of the paper's table, with its setting."""
    default = jaxvision.recipe(NAME)
    assert default.preset == "celeba_bs_beta_1"
    assert default.config == BetaSigmaVAERecipe()
    assert default.config.steps == 50 * (162_770 // 512)
    row = jaxvision.recipe(NAME, preset="mnist_constant_beta_0.01").config
    assert (row.variance, row.beta, row.network) == ("constant", 0.01, MNIST)
    assert (row.learning_rate, row.weight_decay, row.batch_size) == (1e-3, 1e-5, 512)
    assert (default.config.augment, row.augment) == ("celeba", "mnist")
    assert recipe().config.augment == "none"
    (info,) = (s for s in jaxvision.list_systems() if s.name == NAME)
    assert info.parameters == 5_183_043


def test_augmentation_of_the_paper(rng):
    """Half of the faces mirrored; digits turned and cut, and only a little."""
    faces = np.tile(rng.uniform(size=(1, 6, 6, 3)), (200, 1, 1, 1)).astype("float32")
    found = np.asarray(augmented("celeba", jax.random.key(0), faces))
    turned = np.all(found == faces[:, :, ::-1], axis=(1, 2, 3))
    assert np.all(turned | np.all(found == faces, axis=(1, 2, 3)))
    assert turned.mean() == pytest.approx(0.5, abs=0.1)
    rows, columns = np.indices((28, 28), float) - 13.5
    planes = np.tile(np.stack([rows, columns], -1), (300, 1, 1, 1)).astype("float32")
    change = jax.jit(augmented, static_argnums=0)
    out = np.asarray(change("mnist", jax.random.key(0), planes), np.float64)
    # The slopes of a plane in the middle are the matrix of rotation and scaling.
    down = (out[:, 18, 14] - out[:, 10, 14]) / 8
    right = (out[:, 14, 18] - out[:, 14, 10]) / 8
    angle = np.degrees(np.arctan2(down[:, 1], down[:, 0]))
    area = down[:, 0] * right[:, 1] - down[:, 1] * right[:, 0]
    ratio = np.linalg.norm(right, axis=1) / np.linalg.norm(down, axis=1)
    assert 9 < np.abs(angle).max() < 10.01
    assert 0.8999 < area.min() < 0.91 < 0.98 < area.max() < 1.0001
    assert 0.899 < ratio.min() < 0.92 < 1.08 < ratio.max() < 1.101
    np.testing.assert_array_equal(
        augmented("none", jax.random.key(0), faces[:1]), faces[:1]
    )


def test_steps_see_changed_images_and_tests_only_if_asked(monkeypatch, rng):
    """What the network gets is what the loss compares with; noise stays as it was."""
    calls = []

    def invert(kind, key, x):
        calls.append((kind, key))
        return x if kind == "none" else 1 - x

    monkeypatch.setattr(recipes, "augmented", invert)
    same = lambda key, x: jax.random.split(key, len(x))  # noqa: E731
    monkeypatch.setattr(recipes, "image_keys", same)
    x = jnp.asarray(rng.uniform(size=(4, 8, 8, 1)), "float32")
    key = jax.random.key(3)
    plain, celeba, tested = (
        recipe(**changes).task()
        for changes in (
            {},
            {"augment": "celeba"},
            {"augment": "celeba", "augment_test": True},
        )
    )
    state = jax.jit(plain.init)(jax.random.key(0))

    def loss(task, image):
        step = jax.jit(lambda image: task.step(state, {"image": image}, key)[1])
        return step(image)["loss"]

    def error(task, image):
        return jax.jit(task.evaluate)(state, {"image": image})["mse"]

    close = partial(np.testing.assert_allclose, rtol=1e-5)
    # The step sees the changed images, an evaluation those that there are.
    close(loss(celeba, x), loss(plain, 1 - x))
    assert abs(loss(plain, x) - loss(plain, 1 - x)) > 0.1
    close(error(celeba, x), error(plain, x))
    close(error(tested, x), error(plain, 1 - x))
    assert {kind for kind, _ in calls} == {"none", "celeba"}


@pytest.mark.parametrize("test", [False, True])
def test_evaluation_draws_by_what_an_image_is(test, rng):
    """No figure hangs on batches or order, and no two images share their noise."""
    task = recipe(augment="mnist", augment_test=test).task()
    x = jnp.asarray(rng.uniform(size=(8, 8, 8, 1)), "float32")
    state = jax.jit(task.init)(jax.random.key(0))
    evaluate = jax.jit(lambda x: task.evaluate(state, {"image": x}))
    whole, turned = evaluate(x), evaluate(x[::-1])
    alone = jax.jit(jax.vmap(lambda x: task.evaluate(state, {"image": x[None]})))(x)
    for name, value in whole.items():
        np.testing.assert_allclose(turned[name], value, rtol=1e-5)
        np.testing.assert_allclose(np.mean(alone[name]), value, rtol=1e-5)


def test_keys_of_images(rng):
    """The documented word, by Python's integers; equal for equal images alone."""
    x = rng.uniform(size=(64, 4, 3, 2)).astype("float32")
    x[1], x[2] = x[0], x[0, ::-1]
    x[3] = x[0]
    x[3, 0, 0, 0] = np.nextafter(x[3, 0, 0, 0], np.float32(1))

    def mixed(word):
        word = (word ^ word >> 16) * 0x85EBCA6B % 2**32
        word = (word ^ word >> 13) * 0xC2B2AE35 % 2**32
        return word ^ word >> 16

    words = [
        sum(mixed(bits ^ mixed(i)) for i, bits in enumerate(image)) % 2**32
        for image in x.view(np.uint32).reshape(64, -1).tolist()
    ]
    assert words[0] == words[1]
    assert len(set(words)) == 63
    key = jax.random.key(5)
    expected = jax.vmap(partial(jax.random.fold_in, key))(np.asarray(words, np.uint32))
    found = jax.jit(image_keys)(key, x)
    np.testing.assert_array_equal(*map(jax.random.key_data, (found, expected)))


def test_restarts_of_the_learning_rate():
    """Two periods of steps // 2 + 1, as PyTorch's cosine annealing with restarts."""
    config = BetaSigmaVAERecipe(epochs=1, batch_size=10, num_images=100)
    period, rates = 6, [float(config.rate(step)) for step in range(config.steps)]
    expected = [
        1e-3 * (1 + np.cos(np.pi * (step % period) / period)) / 2 for step in range(10)
    ]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    assert rates[0] == rates[6] == pytest.approx(1e-3)


def test_step_follows_the_loss(rng):
    """One AdamW step on the gradient of the recipe's loss, written out."""
    config = recipe(beta=2.0).config
    batch = {"image": jnp.asarray(rng.uniform(size=(5, 8, 8, 1)), "float32")}
    key = jax.random.key(3)
    task = recipe(beta=2.0).task()
    state = jax.jit(task.init)(jax.random.key(0))
    after, metrics = jax.jit(task.step)(state, batch, key)
    graph, _, _ = layers.split(
        nnx.eval_shape(lambda: BetaSigmaVAE(config.network, rngs=nnx.Rngs(0)))
    )

    def loss(params):
        x = batch["image"]
        mean, m, v = nnx.merge(graph, params, {}, copy=True)(x, key)
        square = ((x - mean) ** 2).mean((1, 2, 3))
        kl = 0.5 * (m**2 + jnp.exp(v) - 1 - v).sum(1)
        return (32 * (jnp.log(2 * jnp.pi * square + 1e-5) + 1) + 2 * kl).mean()

    value, slope = jax.jit(jax.value_and_grad(loss))(state["params"])
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    total = metrics["distortion"] + 2 * metrics["rate"]
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-6)

    def close(new, old, g):
        # The first step of Adam is the sign of the gradient, where it is not tiny.
        step = -1e-3 * (g / (jnp.abs(g) + 1e-8) + 1e-5 * old)
        np.testing.assert_allclose(new - old, step, atol=2e-6)

    jax.tree.map(close, after["params"], state["params"], slope)


def images():
    found = load_digits().images.astype(np.float32)[..., None] / 16
    return found[:1400], found[1400:]


def test_trains_above_its_baseline():
    """At beta 1 the bound is far above that of a constant variance, same steps."""
    train, test = images()
    bounds = {}
    for variance in ("optimal", "constant"):
        task = recipe(variance=variance).task()
        batches = ArrayBatches({"image": train}, 100, last="drop")
        held_out = ArrayBatches({"image": test}, 100, last="pad")
        result = fit(
            task,
            batches,
            250,
            key=jax.random.key(0),
            evaluate_on=held_out,
            evaluate_every=250,
        )
        bounds[variance] = result.metrics["evaluate/bound"]
        if variance == "constant":
            # At variance 1/2 = beta / 2 two readings agree, the third does not.
            half = result.metrics["evaluate/bound_half"]
            assert half == pytest.approx(result.metrics["evaluate/bound_beta"])
            assert abs(half - bounds[variance]) > 10
    assert bounds["optimal"] > bounds["constant"] + 5


def test_four_devices_train_as_one():
    """One step on the global batch, noise and shared variance included."""
    task = recipe(sigma_scope="batch").task()
    state, key = jax.jit(task.init)(jax.random.key(0)), jax.random.key(1)
    batch = {"image": jnp.asarray(images()[0][:8])}
    one = jax.jit(task.step)(state, batch, key)
    split = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), batch)
    four = jax.pmap(task.step, axis_name="data", in_axes=(None, 0, None))(
        state, split, key
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a[3], b, rtol=1e-4, atol=1e-6),
        # Adam's first step is a sign: its moments, not the parameters, show gradients.
        (four[0]["optimizer"], four[1]),
        (one[0]["optimizer"], one[1]),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"variance": "learned"},
            r"`variance` must be one of \('optimal', 'constant'\)",
        ),
        ({"schedule": "linear"}, "`schedule` must be one of .*, got 'linear'"),
        ({"sigma_scope": "pixel"}, "`sigma_scope` must be one of .*, got 'pixel'"),
        ({"augment": "flip"}, "`augment` must be one of .*, got 'flip'"),
        (
            {"augment_test": True},
            "`augment_test` must be False with augment='none', got True",
        ),
        ({"beta": -1.0}, "`beta` must not be negative, got -1.0"),
        ({"learning_rate": 0}, "`learning_rate` must be positive, got 0"),
        ({"epochs": 0}, "`epochs` must be a positive integer, got 0"),
        (
            {"num_images": 99},
            "`num_images` must be at least the batch size, 100, got 99",
        ),
        (
            {"variance": "constant", "sigma_scope": "batch"},
            "`sigma_scope` and `epsilon` must be left as they are with variance='const",
        ),
        (
            {"variance": "constant", "epsilon": 0.1},
            "no use for them, got 'sample' and 0",
        ),
    ],
)
def test_recipe_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        jaxvision.recipe(NAME, preset="digits_bs_beta_1", **changes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": 0}, "`latent` must be a positive integer, got 0"),
        ({"channels": ()}, r"`channels` must have at least one entry, got \(\)"),
        ({"channels": (8, -1)}, "`channels` must be a positive integer, got -1"),
        ({"network": "unet"}, "`network` must be one of .*, got 'unet'"),
    ],
)
def test_network_refuses(options, message):
    with pytest.raises(ValueError, match="BetaSigmaVAE: " + message):
        jaxvision.create(NAME, rngs=nnx.Rngs(0), **options)


def test_arrays_are_checked():
    def apply(method, *arrays):
        def run(*arrays):
            model = BetaSigmaVAE(TINY, rngs=nnx.Rngs(0))
            return getattr(model, method)(*arrays)

        return nnx.eval_shape(run, *arrays)

    with pytest.raises(ValueError, match=r"must be 8 high and wide, got .*8, 7, 1\)"):
        apply("encode", jnp.ones((1, 8, 7, 1)))
    with pytest.raises(ValueError, match="must have 1 channels, last"):
        apply("encode", jnp.ones((1, 8, 8, 3)))
    with pytest.raises(TypeError, match="must be real floating point, got uint8"):
        apply("encode", jnp.ones((1, 8, 8, 1), jnp.uint8))
    with pytest.raises(
        ValueError, match=r"`z` must be \(batch, 2\), got shape \(1, 4\)"
    ):
        apply("decode", jnp.ones((1, 4)))
    keys = jax.random.split(jax.random.key(0), 3)
    with pytest.raises(ValueError, match=r"one key, or 2, one of each .*shape \(3,\)"):
        apply("__call__", jnp.ones((2, 8, 8, 1)), keys)


def test_padded_batches_are_refused():
    batches = ArrayBatches({"image": images()[0][:50]}, 20, last="pad")
    with pytest.raises(ValueError, match="must drop the rest of an epoch"):
        fit(recipe().task(), batches, 1, key=jax.random.key(0))
