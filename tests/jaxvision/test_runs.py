"""Runs in folders: training, going on, evaluating, exporting, by the command line."""

import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

import jaxvision
from jaxvision import cli, data, registry, runs


pytest.importorskip("flatbuffers")
SMALL = [
    "network.image_size=8", "network.in_channels=1", "network.channels=[8]",
    "network.latent=2", "network.network=perceptron", "batch_size=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten gray pictures and a damaged one."""
    found = tmp_path_factory.mktemp("pictures")
    pixels = np.random.default_rng(0).integers(0, 256, (10, 8, 8), np.uint8)
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(found / f"{i}.png")
    (found / "z.png").write_bytes(b"no picture")
    return found


def train(folder, out, *more):
    paths = ["--data", str(folder), "--out", str(out)]
    options = ["--preset", "digits_bs_beta_1", "--damaged", "skip", "--set", *SMALL]
    return cli.main(["train", "beta_sigma_vae", *paths, *options, *more])


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "a"
    code = train(folder, out, "--steps", "5", "--ema", "0.5", "--holdout", "0.2")
    assert code == 0
    return out


def test_train_says_what_came_out(folder, run, capsys):
    files = {path.name for path in run.iterdir()}
    assert {"recipe.json", "state.safetensors", "ema.safetensors"} <= files
    assert json.loads((run / "recipe.json").read_text())["config"]["batch_size"] == 4
    assert train(folder, run, "--steps", "6", "--ema", "0.5", "--holdout", "0.2") == 0
    out, err = capsys.readouterr()
    assert re.search(r"went on from step +5\n", out)
    assert re.search(r"evaluate/bound +-?\d", out)
    assert re.search(r"warning: .*left out: cannot read .*z\.png", err)


def test_a_run_loads_as_it_was(run):
    found = runs.load(run)
    config = found.recipe.config
    assert (config.batch_size, config.network.channels) == (4, (8,))
    assert config.num_images == 8
    average = runs.load(run, ema=True)
    first, second = (jax.tree.leaves(r.state["params"])[0] for r in (found, average))
    assert np.abs(np.asarray(first) - np.asarray(second)).max() > 0


def test_evaluation_is_that_of_the_task(folder, run, capsys):
    """Over all images at once, whatever the batches."""
    command = ["evaluate", str(run), "--data", str(folder), "--damaged", "skip"]
    found = []
    for more in ([], ["--batch-size", "1"]):
        assert cli.main([*command, "--json", *more]) == 0
        found.append(json.loads(capsys.readouterr().out))
    loaded = runs.load(run)
    with pytest.warns(UserWarning, match=r"left out: cannot read .*z\.png"):
        arrays = data.read_image_folder(folder, 8, channels=1, damaged="skip")
    metrics = loaded.recipe.task().evaluate(loaded.state, dict(arrays))
    for name in ("bound", "bound_half", "rate", "mse"):
        expected = pytest.approx(float(metrics[name]), rel=1e-5)
        assert [each[name] for each in found] == [expected] * 2
    assert cli.main(["evaluate", str(run), "--data", str(folder)]) == 2
    assert re.search(r"error: .*cannot read .*z\.png", capsys.readouterr().err)


def test_exported_network_is_the_network(run, tmp_path, capsys):
    path = tmp_path / "deep" / "model.stablehlo"
    options = ["--batch-size", "3", "--platforms", "cpu", "cuda"]
    assert cli.main(["export", str(run), "--out", str(path), *options]) == 0
    assert str(path) in capsys.readouterr().out
    restored = jax.export.deserialize(bytearray(path.read_bytes()))
    assert restored.platforms == ("cpu", "cuda")
    loaded = runs.load(run)
    graph, _, _ = jaxvision.layers.split(
        nnx.eval_shape(lambda: loaded.recipe.network(rngs=nnx.Rngs(0)))
    )
    model = nnx.merge(graph, loaded.state["params"], loaded.state["statistics"])
    model.eval()
    x, key = jax.random.uniform(jax.random.key(1), (3, 8, 8, 1)), jax.random.key(2)
    for ours, theirs in zip(model(x, key), restored.call(x, key), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_another_run_is_not_overwritten(folder, run, capsys):
    assert train(folder, run, "--steps", "6", "--seed", "1") == 2
    err = capsys.readouterr().err
    assert "must be new or hold this run, got one that differs in" in err
    assert "`--seed` (0, now 1)" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "epoch=3"], "have the fields .*'epochs'.*, got 'epoch'"),
        (["--set", "epochs=x"], "`epochs` must be int, as 60, got 'x'"),
        (["--set", "epochs"], "`--set` must be NAME=VALUE, got 'epochs'"),
        (["--set", "network.latent=0"], "`latent` must be a positive integer, got 0"),
        (["--preset", "digits"], "`--preset` must be one of .*, got 'digits'"),
        (["--holdout", "1.5"], r"`--holdout` must be in \[0, 1\), got 1.5"),
        (
            ["--holdout", "0.7"],
            "at least the batch size, 4, got 3",
        ),
        (["--devices", "99"], "`--devices` must be between 1 and the 4"),
    ],
)
def test_bad_input(folder, tmp_path, capsys, more, message):
    assert train(folder, tmp_path / "a", *more) == 2
    assert re.search("error: .*(" + message + ")", capsys.readouterr().err)


def test_every_option_reaches_the_engine(folder, tmp_path, monkeypatch):
    seen = {}

    def record(task, batches, steps, **options):
        seen.update(options, steps=steps, batch_size=batches.batch_size)
        raise ValueError("enough")

    monkeypatch.setattr(runs, "fit", record)
    given = {
        "devices": 2,
        "parallel": "sharded",
        "precision": "bfloat16",
        "ema": 0.9,
        "accumulate": 2,
        "nonfinite": "skip",
        "steps": 9,
    }
    more = [x for k, v in given.items() for x in (f"--{k}", str(v))]
    more += ["--holdout", "0.3", "--evaluate-every", "3", "--checkpoint-every", "4"]
    assert train(folder, tmp_path / "a", *more, "--seed", "5") == 2
    assert given.items() <= seen.items()
    assert seen["checkpoint"].every == 4
    assert seen["evaluate_every"] == 3
    assert seen["evaluate_on"].count == 3
    np.testing.assert_array_equal(
        jax.random.key_data(seen["key"]), jax.random.key_data(jax.random.key(5))
    )


def test_folders_that_are_no_runs(run, tmp_path):
    with pytest.raises(runs.RunError, match=r"must hold a run, got no recipe.json"):
        runs.load(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "recipe.json").write_text("{")
    with pytest.raises(runs.RunError, match=r"cannot read .*recipe.json: "):
        runs.load(broken)
    recipe = registry.recipe("beta_sigma_vae")
    with pytest.raises(runs.RunError, match=r"cannot read .*recipe.json: "):
        runs.train(recipe, {"image": np.zeros((600, 1))}, broken)
    (broken / "recipe.json").write_text((run / "recipe.json").read_text())
    with pytest.raises(runs.RunError, match=r"state.safetensors, got none; train it"):
        runs.load(broken)
    with pytest.raises(runs.RunError, match=r"ema.safetensors, got none; was it"):
        runs.load(broken, ema=True)
    content = (run / "state.safetensors").read_bytes()
    (broken / "state.safetensors").write_bytes(content[:-30])
    with pytest.raises(runs.RunError, match=r"cannot read .*state.safetensors: "):
        runs.load(broken)
    text = (run / "recipe.json").read_text().replace('"latent": 2', '"latent": 3')
    (broken / "recipe.json").write_text(text)
    (broken / "state.safetensors").write_bytes(content)
    with pytest.raises(runs.RunError, match="of its recipe, got other arrays for"):
        runs.load(broken)


def test_what_cannot_be_exported_or_evaluated(run, tmp_path, monkeypatch):
    loaded = runs.load(run)
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
        runs.export(loaded, tmp_path / "m", batch_size=0)
    with pytest.raises(ValueError, match=r"`platforms` must be among .*, got 'gpu'"):
        runs.export(loaded, tmp_path / "m", platforms=("gpu",))
    with pytest.raises(runs.RunError, match="must have one network, with `params`"):
        runs.export(loaded._replace(state=jnp.zeros(2)), tmp_path / "m")
    task = loaded.recipe.task()._replace(evaluate=None)
    monkeypatch.setattr(registry.Recipe, "task", lambda self: task)
    with pytest.raises(runs.RunError, match="must have metrics to evaluate, got"):
        runs.evaluate(loaded, {"image": np.zeros((1, 8, 8, 1))})


def test_a_system_without_reader(monkeypatch, capsys, folder, tmp_path):
    from dataclasses import replace

    from jaxvision.recipes import beta_sigma_vae

    system = replace(beta_sigma_vae.SYSTEM, read=None)
    monkeypatch.setattr(beta_sigma_vae, "SYSTEM", system)
    assert train(folder, tmp_path / "a") == 2
    assert "must have a reader of folders, got none" in capsys.readouterr().err


def test_export_needs_its_extra(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(runs.RunError, match=r"needs flatbuffers, .*separax\[export\]"):
        runs.export(runs.load(run), tmp_path / "m")


def test_images_in_any_form(folder, tmp_path):
    clean = tmp_path / "clean"
    clean.mkdir()
    (clean / "0.png").write_bytes((folder / "0.png").read_bytes())
    found = data.read_images(clean, 8, channels=1)
    np.savez(tmp_path / "a.npz", image=found["image"])
    again = data.read_images(tmp_path / "a.npz", 8, channels=1)
    np.testing.assert_array_equal(found["image"], again["image"])
    with pytest.raises(data.DataError, match=r"must hold images \(9, 9, 1\), got"):
        data.read_images(tmp_path / "a.npz", 9, channels=1)


def test_published_test_sets_are_evaluated(run, tmp_path, monkeypatch, capsys):
    """MNIST's: train reads the training files, evaluate the others, and says so."""
    seen = []

    def record(path, size, *, channels, split=None, damaged="raise"):
        seen.append(split)
        return {"image": np.full((4, size, size, channels), 0.5, np.float32)}

    monkeypatch.setattr(data, "read_images", record)
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        (tmp_path / name).touch()
    assert train(tmp_path, tmp_path / "a", "--steps", "1") == 0
    assert re.search(r"data +.*, split train\n", capsys.readouterr().out)
    for more, split in (((), "test"), (("--split", "all"), "all")):
        evaluate = ["evaluate", str(run), "--data", str(tmp_path), *more]
        assert cli.main(evaluate) == 0
        assert re.search(rf"data +.*, split {split}\n", capsys.readouterr().out)
        assert cli.main([*evaluate, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["split"] == split
    assert seen == ["train", "test", "test", "all", "all"]
    monkeypatch.undo()
    (tmp_path / "train-images-idx3-ubyte").unlink()
    assert cli.main(["evaluate", str(run), "--data", str(tmp_path)]) == 2
    assert "t10k-images-idx3-ubyte must be an idx" in capsys.readouterr().err


def test_another_part_of_published_data_can_be_trained_on(tmp_path, capsys):
    (tmp_path / "t10k-images-idx3-ubyte").touch()
    options = ["--data", str(tmp_path), "--out", str(tmp_path / "run")]
    for more, message in (
        ([], "got none; --split test is there"),
        (["--split", "test"], "t10k-images-idx3-ubyte must be an idx file"),
    ):
        assert cli.main(["train", "beta_sigma_vae", *options, *more]) == 2
        assert message in capsys.readouterr().err
