"""FedRewind end to end: networks, presets, data, training, its baselines, its runs."""

import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file
from sklearn.datasets import load_digits

import jaxvision
from jaxcore.training import fit
from jaxvision import _claims, cli, data, layers, runs, weights
from jaxvision.models import FedRewindClassifier, FedRewindOptions
from jaxvision.recipes import fedrewind


NAME = "fedrewind"


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        # torchvision's 11,689,512 with another last layer.
        (FedRewindOptions(), 11_689_512 - 513_000 + 5_130),
        (FedRewindOptions(num_classes=100), 11_689_512 - 513_000 + 51_300),
        (FedRewindOptions(28, 1), 11_181_642),
        (FedRewindOptions(8, 1, network="perceptron"), 64 * 64 + 64 + 64 * 10 + 10),
    ],
)
def test_sizes_come_back(options, parameters):
    def run(x):
        model = FedRewindClassifier(options, rngs=nnx.Rngs(0))
        assert layers.count_parameters(model) == parameters
        return model(x)

    shape = (2, options.image_size, options.image_size, options.in_channels)
    out = nnx.eval_shape(run, jnp.ones(shape))
    assert out.shape == (2, options.num_classes)


def test_gray_images_are_repeated(rng):
    options = FedRewindOptions(8, 1, 4)
    model = nnx.eval_shape(lambda: FedRewindClassifier(options, rngs=nnx.Rngs(0)))
    model.backbone = lambda x: x
    x = rng.uniform(size=(2, 8, 8, 1)).astype("float32")
    np.testing.assert_array_equal(model(x), np.concatenate([x, x, x], -1))


def test_presets():
    default = jaxvision.recipe(NAME)
    assert default.preset == "cifar10_cwt_rewind_10"
    config = default.config
    assert config.phases == (8, 1, 1)
    assert (config.rounds, config.steps, config.alpha) == (50, 50, 0.25)
    assert (config.learning_rate, config.batch_size) == (1e-3, 32)
    assert fedrewind.learner(config).decay == 1
    assert fedrewind.learner(replace(config, decay=0.9)).decay == 0.9
    row = jaxvision.recipe(NAME, preset="cifar100_fedavg_rewind_50").config
    assert (row.topology, row.rewind, row.num_nodes) == ("fedavg", "random", 50)
    assert row.network.num_classes == 100
    continual = jaxvision.recipe(NAME, preset="cifar100_continual_cwt_rewind").config
    assert (continual.num_tasks, continual.phases) == (10, (1, 1, 1))
    joint = jaxvision.recipe(NAME, preset="mnist_joint_10").config
    assert (joint.num_models, joint.network.in_channels) == (1, 1)


def digits():
    found = load_digits()
    images = found.images.astype(np.float32)[..., None] / 16
    return {"image": images, "label": found.target.astype(np.int32)}


def recipe(row="cwt_rewind", **changes):
    return jaxvision.recipe(NAME, preset=f"digits_{row}", **changes)


def test_nodes_share_the_data():
    arrays = digits()
    config = recipe(num_nodes=4).config
    found = fedrewind.nodes(config, arrays, 3)
    joint = fedrewind.nodes(replace(config, topology="joint", rewind="none"), arrays, 3)
    counts = found.train["valid"].sum(1), found.test["valid"].sum(1)
    assert sum(map(sum, counts)) == 1797
    for kept, held in zip(*counts, strict=True):
        assert kept == int(0.75 * (kept + held))
    # The union has the rows that the nodes have; tests are the same.
    assert joint.train["valid"].shape == (1, counts[0].sum())
    jax.tree.map(np.testing.assert_array_equal, joint.test, found.test)
    labels = [n.train["rows"]["label"][n.train["valid"]] for n in (found, joint)]
    np.testing.assert_array_equal(*map(np.bincount, labels))
    even = fedrewind.nodes(recipe(num_nodes=4, partition="iid").config, arrays, 3)
    assert np.ptp(even.train["valid"].sum(1)) <= 1
    train, test = found.batches()
    assert (train.batch_size, test.batch_size) == (4, 4)
    half = train.read(7, slice(0, 2))
    np.testing.assert_array_equal(half["valid"], found.train["valid"][:2])
    tasks = recipe(num_nodes=4, num_tasks=5, rounds=6).config
    cut = fedrewind.nodes(tasks, arrays, 3).train
    np.testing.assert_array_equal(cut["task"], cut["rows"]["label"] // 2)
    assert cut["schedule"].shape == (4, 6)
    with pytest.raises(ValueError, match=r"must have 'image' and 'label', .* got 'im"):
        fedrewind.nodes(config, {"image": arrays["image"]}, 0)
    with pytest.raises(TypeError, match="`label` must be integers, got float32"):
        fedrewind.nodes(config, {**arrays, "label": arrays["image"][:, 0, 0, 0]}, 0)
    with pytest.raises(ValueError, match="`label` must be from 0 to 9, got values"):
        fedrewind.nodes(config, {**arrays, "label": arrays["label"] + 5}, 0)


def accuracy_of(params, test):
    """Mean accuracy of all models at all nodes, in NumPy."""
    first, last = (params["backbone"]["layers"][i] for i in (0, 1))
    shares = []
    for image, label, valid in zip(*test["rows"].values(), test["valid"], strict=True):
        x = image[valid].reshape(valid.sum(), -1)
        hidden = np.maximum(x @ first["kernel"] + first["bias"][:, None], 0)
        logits = hidden @ last["kernel"] + last["bias"][:, None]
        shares.append((logits.argmax(-1) == label[valid]).mean(-1))
    return np.mean(shares)


def test_trains_above_its_baselines():
    """Rewinding above the plain ring above no exchange, in the mean of three seeds."""
    arrays, accuracy = digits(), {}
    for row in ("cwt_rewind", "cwt", "standalone"):
        config = recipe(row, num_nodes=5).config
        found = [fedrewind.nodes(config, arrays, seed, size=400) for seed in range(3)]
        train = jax.tree.map(lambda *x: np.stack(x), *(n.train for n in found))
        task, key = fedrewind.task(config), jax.random.key(0)
        state = jax.vmap(task.init)(jax.random.split(key, 3))
        step = jax.jit(jax.vmap(task.step, (0, 0, None)))
        for i in range(4):
            state, metrics = step(state, train, jax.random.fold_in(key, i))
        params = jax.device_get(state["models"]["params"])
        accuracy[row] = np.mean(
            [
                accuracy_of(jax.tree.map(lambda x: x[k], params), n.test)  # noqa: B023
                for k, n in enumerate(found)
            ]
        )
        expected = [10 * (-(-n.train["valid"].sum(1) // 32)).sum() for n in found]
        assert metrics["gradient_steps"].tolist() == expected
    assert accuracy["cwt_rewind"] > accuracy["cwt"] + 0.02
    assert accuracy["cwt"] > accuracy["standalone"] + 0.02


@pytest.fixture(scope="module")
def small():
    """Four nodes with few images each: task, data, and four rounds of training."""
    arrays = {name: array[:200] for name, array in digits().items()}
    network = FedRewindOptions(8, 1, network="perceptron", widths=(8,))
    options = {"num_nodes": 4, "epochs": 3, "rounds": 4, "min_size": 4}
    chosen = recipe("rwt_random", network=network, **options)
    task = chosen.task()
    train, test = fedrewind.nodes(chosen.config, arrays, 0).batches()
    options = {"evaluate_on": test, "evaluate_every": 2, "key": jax.random.key(0)}
    return task, train, options, fit(task, train, 4, **options)


def test_resuming_is_exact(small, tmp_path):
    task, train, options, whole = small
    fit(task, train, 2, checkpoint=tmp_path, key=options["key"])
    again = fit(task, train, 4, checkpoint=tmp_path, key=options["key"])
    assert again.resumed == 2
    jax.tree.map(np.testing.assert_array_equal, whole.state, again.state)
    assert np.shape(whole.metrics["evaluate/accuracy"]) == (4, 4)
    evaluated = [row["step"] for row in whole.history if "evaluate/accuracy" in row]
    assert evaluated == [2, 4]


def test_four_devices_are_one(small):
    task, train, options, one = small
    four = fit(task, train, 4, parallel="sharded", devices=4, **options)
    np.testing.assert_array_equal(one.state["source"], four.state["source"])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        one.state["models"],
        four.state["models"],
    )
    for name, value in one.metrics.items():
        np.testing.assert_allclose(value, four.metrics[name], rtol=1e-5)
    with pytest.raises(ValueError, match=r"'none' or 'sharded', .*, got 'pmap'"):
        fit(task, train, 1, parallel="pmap", devices=2, key=options["key"])


def test_weights_of_torchvision(tmp_path):
    """Everything but the last layer is that of the file, in all models."""
    options = FedRewindOptions(8, 3, 7, widths=(2,))
    rng = np.random.default_rng(0)
    model = nnx.eval_shape(
        lambda: layers.ResNet(18, num_classes=5, width=2, rngs=nnx.Rngs(0))
    )
    given = {
        name: rng.normal(size=array.shape).astype("float32")
        for name, array in weights.named_arrays(model).items()
    }
    weights.set_weights(model, given)
    path = tmp_path / "resnet18.safetensors"
    foreign = weights.to_foreign(model, "torchvision")
    save_file({name: np.ascontiguousarray(x) for name, x in foreign.items()}, path)
    config = jaxvision.recipe(NAME, network=options, weights=str(path), num_nodes=2)
    state = jax.jit(config.task().init)(jax.random.key(0))
    graph, *_ = layers.split(
        nnx.eval_shape(lambda: FedRewindClassifier(options, rngs=nnx.Rngs(0)))
    )
    models = state["models"]
    found = weights.named_arrays(
        nnx.merge(graph, models["params"], models["statistics"]).backbone
    )
    assert found["head.kernel"].shape == (2, 16, 7)
    for name, array in given.items():
        if not name.startswith("head"):
            np.testing.assert_array_equal(found[name], np.stack([array, array]))
    with pytest.raises(FileNotFoundError, match="safetensors or npz, got "):
        config.replace(weights=str(tmp_path / "none")).task()


def test_a_round_of_the_paper_is_traced():
    """ResNets one after another; nothing is allocated."""
    config = jaxvision.recipe(NAME, preset="cifar10_fedavg_10", num_nodes=2).config
    task, key = fedrewind.task(config), jax.random.key(0)
    state, shape = jax.eval_shape(task.init, key), jax.ShapeDtypeStruct
    image, label = shape((2, 96, 32, 32, 3), "float32"), shape((2, 96), "int32")
    batch = {"rows": {"image": image, "label": label}, "valid": shape((2, 96), bool)}
    after, _ = jax.eval_shape(task.step, state, batch, key)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    count = sum(x.size for x in jax.tree.leaves(after["models"]["params"]))
    assert count == 2 * 11_181_642


def test_the_recipe_holds_out_itself(tmp_path, monkeypatch):
    """It reads training and test set of what is published in two, whoever asks."""
    monkeypatch.setattr(data, "read_images", lambda *_, split, **__: split)
    config = recipe().config
    assert fedrewind.read(config, tmp_path) is None
    (tmp_path / "test_batch.bin").touch()
    assert fedrewind.read(config, tmp_path) == "all"
    assert fedrewind.SYSTEM.splits == ("all", "all")
    with pytest.raises(ValueError, match=r"`split` must be 'all', .*, got 'test'"):
        fedrewind.read(config, tmp_path, split="test")


def test_runs_by_the_command_line(tmp_path, capsys):
    arrays = {name: array[:200] for name, array in digits().items()}
    np.savez(tmp_path / "a.npz", **arrays)
    where = ["--data", str(tmp_path / "a.npz")]
    changes = [
        "num_nodes=3",
        "rounds=2",
        "epochs=3",
        "network.widths=[8]",
        "min_size=4",
    ]
    command = ["train", NAME, *where, "--preset", "digits_rwt_rewind", "--out"]
    command += [str(tmp_path / "run"), "--seed", "4", "--set", *changes]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert re.search(r"evaluate/scored +after_exchange\n", out)
    assert re.search(r"evaluate/federated_accuracy_percent +\d\d?\.\d", out)
    assert "3 x 3 numbers, see --json" in out
    assert cli.main(["evaluate", str(tmp_path / "run"), *where, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # The same nodes were held out in training.
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, log) if "evaluate/accuracy" in row]
    shares = np.array(rows[-1]["evaluate/accuracy"])
    np.testing.assert_allclose(found["accuracy_percent"], 100 * shares, rtol=1e-6)
    assert found["federated_accuracy_percent"] == pytest.approx(100 * shares.mean())
    assert {"federated_forgetting_percent", "personalized_accuracy_percent"} < set(
        found
    )
    assert found["scored"] == "after_exchange"
    np.savez(tmp_path / "b.npz", **{k: a[:150] for k, a in arrays.items()})
    other = [str(tmp_path / "b") if x == str(tmp_path / "run") else x for x in command]
    for more, message in (
        (
            [*other, "--holdout", "0.5"],
            "`--holdout` must be 0 for 'fed",
        ),
        (
            ["evaluate", str(tmp_path / "run"), *where, "--batch-size", "3"],
            "`--batch-size` must be left alone for 'fedrewind'",
        ),
        (
            [*other, "--weights", str(tmp_path / "a.npz")],
            "name the file in its recipe, weights='FILE' in Python and --set weights=",
        ),
        (["export", str(tmp_path / "run")], "must have one network, with `params`"),
        (
            ["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "b.npz")],
            "evaluate: `--data` must be those that 'fedrewind' was trained on",
        ),
        ([*other, "--ema", "0.9"], "train: `--ema` must be left alone for 'fedrewind'"),
    ):
        assert cli.main(more) == 2
        assert message in capsys.readouterr().err
    assert runs.load(tmp_path / "run").seed == 4


def test_other_data_are_not_dealt_anew():
    """A fresh partition would give a node rows that it has never had to do with."""
    arrays = {name: array[:200] for name, array in digits().items()}
    run = runs.Run(recipe(num_nodes=3), None, 2, 0, _claims.digests(arrays))
    more = {name: np.concatenate([a, a[:9]]) for name, a in arrays.items()}
    for other, apart in (
        ({**arrays, "image": arrays["image"][::-1]}, r"`data.image` \(other values\)$"),
        (more, r"`data.image` \(float32\[200, 8, 8, 1\], now float32\[209,.*label"),
    ):
        where = r"^jaxvision.runs.evaluate: `arrays` must be those that 'fedrewind' was"
        with pytest.raises(runs.RunError, match=f"{where}.* differ in {apart}"):
            runs.evaluate(run, other)
    with pytest.warns(UserWarning, match="does not say what 'fedrewind' was trained"):
        _claims.check_data("here", NAME, None, arrays)
    _claims.check_data("here", NAME, run.data, {k: +a for k, a in arrays.items()})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "bfloat16"}, "`precision` must be left alone .*, got 'bfloat16"),
        ({"accumulate": 2}, "`accumulate` must be left alone for .*, got 2"),
        ({"ema": 0.9}, "`ema` must be left alone for .* one model, got 0.9"),
        ({"parallel": "pmap"}, "`parallel` must be 'none' or 'sharded' for 'fedr"),
        ({"parallel": "sharded"}, "`devices` must divide the number .*, 3, got 4"),
        ({"parallel": "sharded", "devices": 2}, "`devices` must divide .*, 3, got 2"),
        ({"parallel": "sharded", "devices": [0, 1]}, "`devices` must divide .*got 2"),
        ({"parallel": "sharded", "devices": 0}, "`devices` must be between 1 and"),
    ],
)
def test_options_of_the_engine(options, message, tmp_path):
    """Those about one model are refused before anything is made, in words of nodes."""
    with pytest.raises(ValueError, match=message):
        runs.train(recipe(num_nodes=3), digits(), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"partition": "shards"}, r"`partition` must be one of \('dirichlet', 'iid'\)"),
        ({"alpha": 0.0}, "`alpha` must be positive, got 0.0"),
        (
            {"partition": "iid", "alpha": 0.1},
            "`alpha`, `min_size` and `balance` must be left as they are with partit",
        ),
        ({"train_share": 1.0}, r"`train_share` must be in \(0, 1\), got 1.0"),
        ({"num_tasks": 3}, "`num_tasks` must divide the 10 classes, got 3"),
        ({"num_tasks": 5, "rounds": 4}, "`num_tasks` must be at most the 4 rounds"),
        ({"learning_rate": -1.0}, "`learning_rate` must be positive, got -1.0"),
        ({"decay": 1.5}, r"`decay` must be in \(0, 1\], got 1.5"),
        ({"rounds": 0}, "`rounds` must be a positive integer, got 0"),
        ({"weights": "a"}, "`weights` must be empty for a perceptron, got 'a'"),
        ({"nodes_at_once": 3}, "`nodes_at_once` must be 0 or divide the 10 nodes"),
        ({"topology": "fedavg"}, "`rewind` must be 'random' or 'none' with topology="),
    ],
)
def test_recipe_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        recipe(**changes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "vit"}, "`network` must be one of .*, got 'vit'"),
        ({"in_channels": 2}, "`in_channels` must be 1 or 3 for a ResNet, got 2"),
        ({"widths": (4, 4)}, r"`widths` must have one entry for a ResNet, .*\(4, 4\)"),
        ({"widths": (0,)}, "`widths` must be a positive integer, got 0"),
        ({"num_classes": 0}, "`num_classes` must be a positive integer, got 0"),
    ],
)
def test_network_refuses(options, message):
    with pytest.raises(ValueError, match="FedRewindClassifier: " + message):
        jaxvision.create(NAME, rngs=nnx.Rngs(0), **options)


def test_images_are_checked():
    def run(shape):
        options = FedRewindOptions(8, 1, network="perceptron")
        return nnx.eval_shape(
            lambda x: FedRewindClassifier(options, rngs=nnx.Rngs(0))(x), jnp.ones(shape)
        )

    with pytest.raises(ValueError, match=r"must be 8 high and wide, got .*8, 7, 1\)"):
        run((1, 8, 7, 1))
    with pytest.raises(ValueError, match="must have 1 channels, last"):
        run((1, 8, 8, 3))
    with pytest.raises(ValueError, match=r"must have at least two entries, got \(3,\)"):
        layers.Perceptron((3,), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="`widths` must be a positive integer, got 0"):
        layers.Perceptron((3, 0), rngs=nnx.Rngs(0))
