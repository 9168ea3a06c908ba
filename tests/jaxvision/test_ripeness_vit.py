"""Ripeness grading by a ViT: recipe, frozen encoder, augmentation, runs, trials."""

import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from sklearn import metrics as sklearn_metrics

import jaxvision
from jaxcore.training import ArrayBatches, Task, fit
from jaxvision import cli, data, layers, runs, starts, trials, weights
from jaxvision.models import RipenessViTOptions, predict_ripeness, ripeness_vit
from jaxvision.recipes import _transfer
from jaxvision.recipes import ripeness_vit as recipes


NAME = "ripeness_vit"
SIZES = {
    "patch": 8, "depth": 1, "hidden": 8, "num_heads": 2, "mlp_hidden": 8,
    "image_size": 16,
}  # fmt: skip
TINY = RipenessViTOptions(**SIZES)


def tiny(preset, **changes):
    changes = {"batch_size": 8, "num_images": 16, "magnitude": 1.0, **changes}
    return jaxvision.recipe(NAME, preset=preset, network=TINY, **changes)


@pytest.fixture(scope="module")
def fruit():
    found = data.synthetic_fruit(24, 16, views=2, seed=0)
    return {"image": found["image"], "label": found["label"]}


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """An encoder as torchvision would save it: another grid and another head."""
    other = replace(TINY, image_size=24, num_classes=7)
    model = nnx.eval_shape(lambda: ripeness_vit(other, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(5)
    drawn = {
        name: (rng.normal(size=x.shape) / 3).astype("float32")
        for name, x in weights.named_arrays(model).items()
    }
    assert weights.set_weights(model, drawn).complete
    path = tmp_path_factory.mktemp("weights") / "vit.npz"
    np.savez(path, **weights.to_foreign(model, "torchvision"))
    return path


@pytest.fixture(scope="module")
def frozen(weights_file):
    """A recipe with a frozen encoder, its state at the start, and its task."""
    recipe = tiny("small_pretrained")
    with pytest.warns(UserWarning, match="resized: positions"):
        state = starts.start(
            recipe, weights_file, key=jax.random.key(0), source="torchvision"
        )
    return recipe, state, recipe.task()


def test_presets():
    presets = recipes.SYSTEM.presets
    assert next(iter(presets)) == "b16_pretrained_augmented"
    assert len(presets) == 4 * 3 * 2 + 1
    config = jaxvision.recipe(NAME).config
    assert (config.epochs, config.num_images, config.copies) == (30, 587, 1)
    assert config.steps == 30 * (2 * 587 // 32)
    huge = presets["h14_scratch"]
    assert (huge.network.image_size, huge.network.depth, huge.copies) == (518, 32, 0)
    assert (huge.pretrained, huge.finetune, huge.learning_rate) == (False, "full", 1e-3)
    full = presets["l16_full_augmented"]
    assert (full.learning_rate, full.layer_decay, full.network.dropout) == (
        1e-5, 0.75, 0.1,
    )  # fmt: skip
    made = nnx.eval_shape(lambda: jaxvision.create(NAME, **SIZES, rngs=nnx.Rngs(0)))
    assert isinstance(made, layers.ViT)
    assert made.head.kernel.shape == (8, 4)


def test_a_frozen_encoder_stays(frozen, fruit):
    """No gradient, no place in the optimizer; features and images train alike."""
    recipe, state, task = frozen
    moments = jax.tree.leaves(state["optimizer"])
    head = jax.tree.leaves(state["params"]["head"])
    assert [m.shape for m in moments if m.ndim] == 2 * [h.shape for h in head]
    step, key = jax.jit(task.step), jax.random.key(1)
    image = {k: v[:8] for k, v in fruit.items()}
    features = recipes._features(recipe.config, state, image["image"])
    cached = {"feature": features, "label": image["label"]}
    ends = []
    for batch in (image, cached):
        new = state
        for i in range(2):
            new, _ = step(new, batch, jax.random.fold_in(key, i))
        ends.append(new)
    for name, values in state["params"].items():
        for new in ends:
            if name == "head":
                assert np.abs(new["params"]["head"]["kernel"]).max() > 0
            else:
                jax.tree.map(np.testing.assert_array_equal, new["params"][name], values)
    heads = (new["params"]["head"] for new in ends)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *heads)
    with pytest.raises(ValueError, match="must have images for finetune='full', got f"):
        jax.eval_shape(tiny("small_full").task().step, state, cached, key)


def test_weights_start_everything_but_the_head(frozen, weights_file):
    _, state, _ = frozen
    with np.load(weights_file) as file:
        kernel, old = file["conv_proj.weight"], file["encoder.pos_embedding"]
    np.testing.assert_array_equal(
        state["params"]["embed"]["kernel"], kernel.transpose(2, 3, 1, 0)
    )
    np.testing.assert_allclose(
        state["params"]["positions"], layers.resize_positions(old, 2), rtol=1e-6
    )
    assert state["params"]["head"]["kernel"].shape == (8, 4)
    assert not np.any(state["params"]["head"]["kernel"])


def test_wrong_weights_are_named(tmp_path, weights_file):
    recipe, key = tiny("small_full"), jax.random.key(0)
    with np.load(weights_file) as file:
        arrays = dict(file)
    del arrays["encoder.ln.bias"]
    path = tmp_path / "wrong.npz"
    np.savez(path, **arrays, extra=np.zeros(2))
    match = "missing: encoder.norm.bias; unexpected: extra"
    with pytest.raises(ValueError, match=match):
        starts.start(recipe, path, key=key, source="torchvision")
    with pytest.warns(UserWarning, match=r"missing: |unexpected: |resized: ") as said:
        starts.start(recipe, path, key=key, source="torchvision", partial=True)
    texts = [str(w.message) for w in said]
    for part in ("missing: encoder.norm.bias", "unexpected: extra", "resized: pos"):
        assert any(part in text for text in texts)
    wider = recipe.replace(network=replace(TINY, hidden=16, num_heads=2))
    with pytest.raises(ValueError, match=r"embed.kernel: \(8, 8, 3, 16\), \(8, 8, 3"):
        starts.start(wider, weights_file, key=key, source="torchvision")
    with pytest.raises(FileNotFoundError, match="safetensors or npz, got "):
        starts.start(recipe, tmp_path / "none", key=key)
    with pytest.raises(ValueError, match="`weights` must be a file for a recipe with"):
        starts.start(recipe, None, key=key)
    scratch = tiny("small_scratch")
    assert starts.start(scratch, None, key=key) is None
    with pytest.raises(ValueError, match="must be left out for a recipe with pretrai"):
        starts.start(scratch, path, key=key)


def test_weights_are_for_networks(monkeypatch, weights_file):
    recipe = tiny("small_full")
    task = Task(lambda key: jnp.zeros(2), lambda *x: x)
    monkeypatch.setattr(jaxvision.Recipe, "task", lambda self: task)
    with pytest.raises(ValueError, match="must be for one network, got a system with"):
        starts.start(recipe, weights_file, key=jax.random.key(0))


def test_early_layers_are_slower():
    params = layers.split(
        nnx.eval_shape(lambda: ripeness_vit(replace(TINY, depth=3), rngs=nnx.Rngs(0)))
    )[1]
    ones = jax.tree.map(lambda x: jnp.ones(()), params)
    slower = _transfer.slower_below(3, 0.5)
    found, _ = slower.update(ones, slower.init(ones))
    assert set(map(float, jax.tree.leaves(found["head"]))) == {1.0}
    assert set(map(float, jax.tree.leaves(found["encoder"]["norm"]))) == {1.0}
    blocks = found["encoder"]["blocks"]
    shares = [set(map(float, jax.tree.leaves(b))) for b in blocks.values()]
    assert shares == [{1 / 8}, {1 / 4}, {1 / 2}]
    assert float(found["positions"]) == float(found["class_token"]) == 1 / 16
    assert float(found["embed"]["kernel"]) == 1 / 16
    # It is the last thing before a step: rate and decay of weights shrink with it.
    config = jaxvision.recipe(NAME, preset="small_full").config
    moved, _ = config.optimizer().update(
        ones, config.optimizer().init(ones), jax.tree.map(jnp.zeros_like, ones)
    )
    ratio = moved["positions"] / moved["head"]["bias"]
    assert float(ratio) == pytest.approx(0.75**5, rel=1e-5)


def test_augmentation(rng):
    image = jnp.asarray(rng.uniform(size=(60, 16, 16, 3)), "float32")
    change = jax.jit(lambda key, x: recipes.augmented(key, x, magnitude=2.0))
    found = change(jax.random.key(0), image)
    assert found.shape == image.shape
    assert found.dtype == image.dtype
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    np.testing.assert_allclose(found[:9], change(jax.random.key(0), image[:9]), 1e-5)

    def count(other):
        gaps = jnp.abs(found - other).max((1, 2, 3))
        return int((gaps == 0).sum())

    # About a fifth of them each, as far as these can be told apart.
    assert 3 <= count(image[:, :, ::-1]) <= 25
    assert 3 <= count(image[:, ::-1]) <= 25
    bright = found / image
    even = jnp.abs(bright / bright[:, :1, :1, :1] - 1).max((1, 2, 3)) < 1e-4
    assert 1 <= int(even.sum()) <= 25
    assert count(image) == 0


def test_copies_are_of_the_training_images(fruit):
    config = tiny("small_scratch_augmented", copies=2).config
    shown, hidden = recipes.divide(config, None, fruit, 0.25, 3)
    assert len(shown["image"]) == 18 * 3
    np.testing.assert_array_equal(shown["label"], np.tile(shown["label"][:18], 3))
    first, second = data.stratified_split(fruit["label"], 0.25, seed=[3, 1])
    np.testing.assert_array_equal(shown["image"][:18], fruit["image"][first])
    np.testing.assert_array_equal(hidden["image"], fruit["image"][second])
    copies = shown["image"][18:].reshape(2, 18, 16, 16, 3)
    assert np.abs(copies[0] - copies[1]).max() > 0
    again, _ = recipes.divide(config, None, fruit, 0.25, 3)
    np.testing.assert_array_equal(again["image"], shown["image"])
    grouped = {**fruit, "group": np.arange(24) // 2}
    shown, hidden = recipes.divide(replace(config, copies=0), None, grouped, 0.25, 0)
    pairs = [{image.tobytes() for image in part["image"]} for part in (shown, hidden)]
    for twin in fruit["image"].reshape(12, 2, 16, 16, 3):
        assert len({twin[0].tobytes(), twin[1].tobytes()} & pairs[0]) in (0, 2)


def test_figures_are_those_of_sklearn(rng):
    config = tiny("small_full").config
    label, guess = rng.integers(0, 4, 200), rng.integers(0, 3, 200)
    counts = sklearn_metrics.confusion_matrix(label, guess, labels=range(4)) / 200
    found = recipes.summarize(
        config,
        {
            f"confusion/{a}/{b}": counts[i, j]
            for i, a in enumerate(config.classes)
            for j, b in enumerate(config.classes)
        },
    )
    expected = sklearn_metrics.precision_recall_fscore_support(
        label, guess, labels=range(4), zero_division=np.nan
    )
    for kind, values in zip(("precision", "recall", "f1"), expected, strict=False):
        for name, value in zip(config.classes, values, strict=True):
            ours = found[f"{kind}/{name}"]
            assert ours == pytest.approx(value, rel=1e-5, nan_ok=True)
    # Never predicted: undefined, and there all the same.
    assert np.isnan(found[f"precision/{config.classes[3]}"])


def test_evaluation_counts(frozen, fruit):
    """The confusion matrix of a run against that of its predictions."""
    recipe, state, _ = frozen
    state = jax.tree.map(lambda x: x, state)
    kernel = np.random.default_rng(1).normal(size=(8, 4)).astype("float32")
    state["params"]["head"] = {**state["params"]["head"], "kernel": jnp.asarray(kernel)}
    found = runs.evaluate(runs.Run(recipe, state, 0), fruit, batch_size=10)
    grade = jax.jit(lambda s, x: predict_ripeness(starts.network_of(recipe, s), x))
    grades = grade(state, fruit["image"])
    np.testing.assert_allclose(grades.probability.sum(-1), 1, rtol=1e-5)
    names, guess = recipe.config.classes, np.asarray(grades.label)
    matrix = sklearn_metrics.confusion_matrix(fruit["label"], guess, labels=range(4))
    for i, true in enumerate(names):
        for j, said in enumerate(names):
            share = found[f"confusion/{true}/{said}"]
            assert share == pytest.approx(matrix[i, j] / 24, abs=1e-6)
    assert found["accuracy"] == pytest.approx((guess == fruit["label"]).mean())
    logits = np.log(np.asarray(grades.probability))
    loss = -logits[np.arange(24), fruit["label"]].mean()
    assert found["loss"] == pytest.approx(loss, rel=1e-4)


def test_network_is_a_pure_function(frozen, fruit):
    """One head per lane and one gradient per image, around one encoder."""
    recipe, state, _ = frozen
    graph, params, rest = layers.split(starts.network_of(recipe, state))

    def loss(head, image, label):
        model = nnx.merge(graph, {**params, "head": head}, rest, copy=True)
        return -jax.nn.log_softmax(model(data.normalize(image[None]))[0])[label]

    slopes = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))
    found = slopes(params["head"], fruit["image"][:5], fruit["label"][:5])
    # Softmax of zeros: the gradient of a bias is 1/4, less 1 at the label.
    expected = 0.25 - np.eye(4)[fruit["label"][:5]]
    np.testing.assert_allclose(found["bias"], expected, atol=1e-6)


def test_stopped_runs_go_on_exactly(fruit, tmp_path):
    """With dropout; a step on padded batches is refused."""
    recipe = tiny("small_scratch")
    batches = ArrayBatches(fruit, 8, seed=0, last="drop")
    task, key = recipe.task(), jax.random.key(0)
    whole = fit(task, batches, 6, key=key, chunk=3)
    fit(task, batches, 3, key=key, chunk=3, checkpoint=tmp_path)
    again = fit(task, batches, 6, key=key, chunk=3, checkpoint=tmp_path)
    assert again.resumed == 3
    jax.tree.map(np.testing.assert_array_equal, whole.state, again.state)
    with pytest.raises(ValueError, match="must drop the rest of an epoch"):
        task.step(whole.state, {**fruit, "mask": np.ones(24)}, key)


@pytest.fixture(scope="module")
def folder(fruit, tmp_path_factory):
    """Photographs in class folders, named after their fruit."""
    found = tmp_path_factory.mktemp("fruit")
    for i, (image, label) in enumerate(zip(*fruit.values(), strict=True)):
        path = found / recipes.GRADES[label] / f"fruit{i // 2}_{i % 2}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((255 * image).astype(np.uint8)).save(path)
    return found


def command(folder, out, *more, preset="small_pretrained_augmented"):
    sets = [f"network.{k}={v}" for k, v in SIZES.items()]
    sets += ["batch_size=8", "magnitude=1", r"group=^(fruit\d+)_"]
    return cli.main(
        ["train", NAME, "--data", str(folder), "--out", str(out), "--preset", preset,
         *more, "--set", *sets]
    )  # fmt: skip


def test_on_a_folder(folder, weights_file, tmp_path, capsys):
    """Train, go on, evaluate, export, by the command line."""
    pytest.importorskip("flatbuffers")
    out = tmp_path / "run"
    file = ("--weights", str(weights_file), "--source", "torchvision")
    assert command(folder, out, *file, "--steps", "2", "--holdout", "0.25") == 0
    assert "resized: positions" in capsys.readouterr().err
    assert command(folder, out, *file, "--steps", "4", "--holdout", "0.25") == 0
    said = capsys.readouterr().out
    assert re.search(r"went on from step +2\n", said)
    assert "evaluate/accuracy" in said
    described = json.loads((out / "recipe.json").read_text())
    assert described["weights"]["source"] == "torchvision"
    assert described["config"]["num_images"] == 18
    assert cli.main(["evaluate", str(out), "--data", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    cells = [v for k, v in found.items() if k.startswith("confusion")]
    assert (len(cells), sum(cells)) == (16, pytest.approx(1))
    assert "recall/unripe" in found
    assert cli.main(["export", str(out), "--batch-size", "2"]) == 0
    restored = jax.export.deserialize(bytearray((out / runs.MODEL).read_bytes()))
    image = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3))
    run = runs.load(out)
    grade = jax.jit(lambda s, x: predict_ripeness(starts.network_of(run.recipe, s), x))
    shares = jax.nn.softmax(restored.call(image), axis=-1)
    expected = grade(run.state, image).probability
    np.testing.assert_allclose(shares, expected, rtol=1e-4, atol=1e-5)
    # The same run from another file of weights is another run.
    assert command(folder, out, "--weights", str(weights_file), "--steps", "4") == 2


def test_folders_that_do_not_fit(folder, weights_file, tmp_path, capsys):
    def error(data, *more, **options):
        assert command(data, tmp_path / "run", *more, **options) == 2
        return capsys.readouterr().err

    empty = tmp_path / "empty"
    empty.mkdir()
    assert "must hold a folder per class, got none" in error(empty)
    for name in recipes.GRADES:
        (empty / name).mkdir()
    assert "unripe must hold images, got none" in error(empty)
    (empty / "unripe").rmdir()
    assert "must hold the folders unripe, ripe, overripe_ok, over" in error(empty)
    assert "`--weights` must be a file for a recipe with pretrained" in error(folder)
    assert "must be a file of safetensors or npz, got nowhere" in error(
        folder, "--weights", "nowhere"
    )
    np.savez(tmp_path / "a.npz", image=np.zeros((8, 16, 16, 3)))
    assert "`group` must be empty for a file" in error(tmp_path / "a.npz")


def test_arrays_that_do_not_fit(fruit, tmp_path):
    config = tiny("small_scratch").config
    np.savez(tmp_path / "c.npz", **fruit)
    found = recipes.read(config, tmp_path / "c.npz")
    np.testing.assert_array_equal(found["label"], fruit["label"])
    np.savez(tmp_path / "k.npz", x_train=fruit["image"], x_test=fruit["image"][:2])
    assert len(recipes.read(config, tmp_path / "k.npz", split="test")["image"]) == 2
    assert recipes.SYSTEM.splits == ("train", "test")
    with pytest.raises(ValueError, match=r"`split` must be left out for .*, got 'all'"):
        recipes.read(config, tmp_path, split="all")
    larger = replace(config, network=replace(TINY, image_size=24))
    with pytest.raises(data.DataError, match=r"must hold images \(24, 24, 3\), got"):
        recipes.read(larger, tmp_path / "c.npz")
    batch = {"image": np.zeros((8, 8, 8, 3), "float32"), "label": fruit["label"][:8]}
    task, key = tiny("small_scratch").task(), jax.random.key(0)
    state = jax.eval_shape(task.init, key)
    with pytest.raises(ValueError, match="must be 16 high and wide, got shape"):
        jax.eval_shape(task.step, state, batch, key)


def test_trials(frozen, weights_file, fruit):
    """Rows, mean and sample deviation; a trial is what a run is."""
    recipe = frozen[0].replace(epochs=1)
    with pytest.warns(UserWarning, match="resized: positions"):
        found = trials.trials(
            recipe, fruit, 2, weights=weights_file, source="torchvision", holdout=0.5
        )
    values = [row["accuracy"] for row in found.rows]
    assert len(values) == 2
    assert found.mean["accuracy"] == pytest.approx(np.mean(values))
    assert found.deviation["accuracy"] == pytest.approx(np.std(values, ddof=1))
    assert {"loss", "accuracy", "confusion/ripe/unripe"} <= found.mean.keys()
    with pytest.raises(ValueError, match="`count` must be a positive integer, got 0"):
        trials.trials(recipe, fruit, 0)
    scratch = tiny("small_scratch", epochs=1)
    with pytest.raises(ValueError, match="`holdout` must leave rows to evaluate, got"):
        trials.trials(scratch, fruit, 1, holdout=0.0)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"classes": ("a", "b")}, "`classes` must be 4 different names, .*'b'"),
        ({"classes": ("a",) * 4}, "`classes` must be 4 different names"),
        ({"finetune": "all"}, "`finetune` must be one of .*, got 'all'"),
        ({"pretrained": False}, "`finetune` must be 'full' with pretrained=False"),
        ({"layer_decay": 0.5}, "`layer_decay` must be 1 with finetune='head'"),
        ({"copies": -1}, "`copies` must be 0 or a positive integer, got -1"),
        ({"magnitude": 30.0}, "`magnitude` must be from 0 to 28 pixels, .*got 30"),
        ({"num_images": 15}, "`num_images` must fill a batch of 32, .*, got 15"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive, got 0"),
        ({"weight_decay": -1.0}, "`weight_decay` must not be negative, got -1"),
        ({"finetune": "full", "layer_decay": 2.0}, r"must be in \(0, 1\], got 2"),
        ({"epochs": 0}, "`epochs` must be a positive integer, got 0"),
    ],
)
def test_recipe_is_checked(changes, match):
    with pytest.raises(ValueError, match=match):
        jaxvision.recipe(NAME, **changes)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"image_size": 225},
            "`image_size` must be a multiple of `patch`, 16, got 225",
        ),
        ({"num_heads": 5}, "`hidden` must be a multiple of `num_heads`, 5, got 768"),
        ({"depth": 0}, "`depth` must be a positive integer, got 0"),
        ({"num_classes": 0}, "`num_classes` must be a positive integer, got 0"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\), got 1.0"),
    ],
)
def test_options_are_checked(options, match):
    with pytest.raises(ValueError, match=match):
        jaxvision.create(NAME, rngs=nnx.Rngs(0), **options)
    with pytest.raises(ValueError, match=r"`variant` must be one of .*, got 'S/16'"):
        RipenessViTOptions.of("S/16", 224)
