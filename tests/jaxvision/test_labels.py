"""Labels that do not fit are refused before anything is compiled, in every system."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxvision
from jaxvision import cli, data, runs, starts, trials
from jaxvision.models import LungSSFOptions
from jaxvision.recipes import lung_ssfnet


LUNG = LungSSFOptions(1, 1, (8, 16), 0, 0)
RECIPES = {
    "lung_ssfnet": ("small", {"network": LUNG, "image_size": 8, "batch_size": 4}),
    "hinge_rlc_gan": ("digits_hinge", {"batch_size": 4}),
    "ripeness_vit": ("small_scratch", {}),
    "fedrewind": ("digits_cwt", {}),
}


def recipe(name):
    preset, changes = RECIPES[name]
    return jaxvision.recipe(name, preset=preset, **changes)


def arrays_for(name):
    """Images, labels that fit, and the least label that does not."""
    if name == "lung_ssfnet":
        image, label = np.zeros((4, 8, 8, 1)), np.ones((4, 8, 8), np.int32)
    elif name == "ripeness_vit":
        image, label = np.zeros((4, 32, 32, 3)), np.arange(4)
    else:
        image, label = np.zeros((4, 8, 8, 1)), np.arange(4)
    limit = {"lung_ssfnet": 2, "ripeness_vit": 4}.get(name, 10)
    return image.astype(np.float32), label, limit


def misfits(name):
    """Arrays that do not fit, and what is said of them."""
    image, label, limit = arrays_for(name)
    upper = limit - 1
    missing = "must have 'image' and 'label', .*, got "
    yield {"image": image}, ValueError, missing + "'image'"
    yield {"label": label}, ValueError, missing + "'label'"
    yield {}, ValueError, missing + "none"
    for other, error, message in (
        (label * 1.0, TypeError, "`label` must be integers, got float64"),
        (label > 0, TypeError, "`label` must be integers, got bool"),
        (label[1:], ValueError, r"`label` must have shape \(4,.*got \(3,"),
        (label[..., None], ValueError, r"must have shape \(4.*, got \(4.* 1"),
        (label * 0 + limit, ValueError, f"from 0 to {upper}, got .* {limit}"),
        (label.astype(int) - 2, ValueError, f"from 0 to {upper}, got values from -"),
        # Wider than JAX's integers, where it would be the label that fits.
        (label.astype(int) + 2**32, ValueError, f"from 0 to {upper}, got .*42949672"),
    ):
        yield {"image": image, "label": other}, error, message


@pytest.mark.parametrize("name", RECIPES)
def test_before_compiling(name, tmp_path, monkeypatch):
    """By `runs.train`, `runs.evaluate` and `trials`, which begin nothing."""

    def begun(*_, **__):
        raise AssertionError("begun")

    for module in (runs, trials):
        monkeypatch.setattr(module, "start", begun)
    monkeypatch.setattr(runs, "ArrayBatches", begun)
    chosen = recipe(name)
    run = runs.Run(chosen, None, 0)
    for function, before in (
        (lambda a: runs.train(chosen, a, tmp_path / "run"), "runs.train"),
        (lambda a: runs.evaluate(run, a), "runs.evaluate"),
        (lambda a: trials.trials(chosen, a, 1), "trials"),
    ):
        for arrays, error, message in misfits(name):
            where = rf"^jaxvision.{before}\('{name}'\): .*"
            with pytest.raises(error, match=where + message):
                function(arrays)
    assert not (tmp_path / "run").exists()
    image, label, _ = arrays_for(name)
    starts.check_arrays("these fit", chosen, {"image": image, "label": label})


@pytest.mark.parametrize("name", ["lung_ssfnet", "hinge_rlc_gan", "ripeness_vit"])
def test_in_a_step(name):
    """By the task alone: what shapes and types say, while it is traced."""
    image, label, _ = arrays_for(name)
    task, key = recipe(name).task(), jax.random.key(0)
    state = jax.eval_shape(task.init, key)
    for run in (task.step, lambda s, b, _: task.evaluate(s, b)):
        for batch, error, message in (
            ({"image": image}, ValueError, "must have 'image' and 'label', .*'image'"),
            (
                {"image": image, "label": label * 1.0},
                TypeError,
                "must be integers, got",
            ),
            ({"image": image, "label": label[1:]}, ValueError, r"must have shape \(4,"),
        ):
            with pytest.raises(error, match=message):
                jax.eval_shape(run, state, batch, key)


def test_one_map_of_logits_has_labels_0_and_1():
    """Others give NaN inside a step, where values are not known, and never a loss."""
    config, logits = recipe("lung_ssfnet").config, jnp.zeros((1, 2, 2, 1))
    label = jnp.array([[[0, 1], [1, 0]]])
    assert config.loss(logits, label)[0] == pytest.approx(np.log(2) + 0.5, abs=1e-3)
    assert np.isnan(config.loss(logits, 255 * label)[0])


def test_the_command_line_names_the_folder(tmp_path, capsys):
    image, label, _ = arrays_for("hinge_rlc_gan")
    path = tmp_path / "a.npz"
    np.savez(path, image=image, label=label + 9)
    command = ["train", "hinge_rlc_gan", "--data", str(path), "--out", str(tmp_path)]
    assert cli.main([*command, "--preset", "digits_hinge"]) == 2
    err = capsys.readouterr().err
    assert f"train --data {path}: `label` must be from 0 to 9, got values from 9" in err


@pytest.mark.parametrize("classes", [1, 2])
def test_values_of_masks(tmp_path, capsys, classes):
    """Black and white masks, by `--set mask_values=[0,255]`."""
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5] = 255
    for name, pixels in (("images", mask // 2), ("masks", mask)):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "a.png")

    def read(**changes):
        changes = {"network.num_classes": classes, **changes}
        changed = runs.configured(recipe("lung_ssfnet"), changes, "test")
        return lung_ssfnet.read(changed.config, tmp_path)["label"]

    label = read(mask_values=[0, 255])
    np.testing.assert_array_equal(label, mask[None] // 255)
    with pytest.raises(data.DataError, match=r"values among \[0, 7\], got \[255\]"):
        read(mask_values=[0, 7])
    if classes == 1:  # every value but 0 is foreground
        np.testing.assert_array_equal(read(), label)
    else:
        with pytest.raises(data.DataError, match="labels from 0 to 1, got 255; say"):
            read()
        paths = ["--data", str(tmp_path), "--out", str(tmp_path / "run")]
        more = ["--preset", "small", "--set", "network.num_classes=2"]
        assert cli.main(["train", "lung_ssfnet", *paths, *more]) == 2
        assert "stand for with --set mask_values=[0,255]\n" in capsys.readouterr().err


@pytest.mark.parametrize("values", [(0,), (1, 1), (0, -1), (0, 255.0), (0, 1, 2)])
def test_values_of_masks_are_checked(values):
    with pytest.raises(ValueError, match="`mask_values` must be 2 different integers"):
        recipe("lung_ssfnet").replace(mask_values=values)
