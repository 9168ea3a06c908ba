"""What a folder of a run is for: data, options and recipe; failed starts leave nothing.

Nothing is trained here: in place of `fit` stands a function that makes its files.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import jaxvision
from jaxvision import cli, runs, starts, trials


CHANGES = {"batch_size": 4, "epochs": 2, "num_images": 8}
IMAGE = np.random.default_rng(0).uniform(size=(8, 8, 8, 1)).astype(np.float32)


@pytest.fixture
def fitted(monkeypatch):
    """What the engine was given, call by call."""
    seen = []

    def fit(task, batches, steps, *, checkpoint, **options):
        seen.append({**options, "steps": steps})
        checkpoint.folder.mkdir(exist_ok=True)
        ema = None if options.get("ema") is None else np.ones(2)
        return SimpleNamespace(
            state={"params": np.zeros(2)}, step=steps, ema=ema, resumed=0, metrics={}
        )

    monkeypatch.setattr(runs, "fit", fit)
    return seen


def recipe(**changes):
    return jaxvision.recipe(
        "beta_sigma_vae", preset="digits_bs_beta_1", **{**CHANGES, **changes}
    )


def train(folder, image=IMAGE, *, changes=(), **options):
    return runs.train(recipe(**dict(changes)), {"image": image}, folder, **options)


def command(tmp_path, *more, image=IMAGE):
    np.savez(tmp_path / "a.npz", image=image)
    paths = ["--data", str(tmp_path / "a.npz"), "--out", str(tmp_path / "run")]
    options = ["--preset", "digits_bs_beta_1", "--set", "batch_size=4", "epochs=2"]
    return ["train", "beta_sigma_vae", *paths, *options, *more]


def test_other_data_are_refused(tmp_path, fitted):
    train(tmp_path / "run", steps=4)
    train(tmp_path / "run", IMAGE.copy(order="F"), steps=4)
    assert len(fitted) == 2
    other = IMAGE.copy()
    other[3, 2, 1, 0] = 0.5
    for image, message in (
        (other, r"`data.image` \(other values\)"),
        (IMAGE[::-1], r"`data.image` \(other values\)"),
        (IMAGE[:6], r"`data.image` \(float32\[8, 8, 8, 1\], now float32\[6, 8, 8, 1"),
        (IMAGE.astype(float), r"`data.image` \(float32\[8.*\], now float64\[8"),
    ):
        for steps in (4, 8):  # with equal steps nothing would be trained
            with pytest.raises(runs.RunError, match="differs in " + message + ".*$"):
                train(tmp_path / "run", image, steps=steps)
    arrays = {"image": IMAGE, "group": np.arange(8, dtype=np.int32)}
    with pytest.raises(runs.RunError, match=r"`data.group` \(none, now int32\[8\]\)"):
        runs.train(recipe(), arrays, tmp_path / "run", steps=4)
    assert len(fitted) == 2


def test_runs_of_before_go_on(tmp_path, fitted):
    """Without a digest, without options, without fields that came later."""
    train(tmp_path / "run", steps=4)
    path = tmp_path / "run" / "recipe.json"
    found = json.loads(path.read_text())
    for name in ("data", "ema", "precision", "accumulate", "nonfinite"):
        del found[name]
    del found["config"]["learning_rate"], found["config"]["network"]["latent"]
    path.write_text(json.dumps(found))
    train(tmp_path / "run", IMAGE + 1, steps=8, ema=0.5)
    assert [call["steps"] for call in fitted] == [4, 8]
    with pytest.raises(runs.RunError, match=r"`config.batch_size` \(4, now 8\)$"):
        train(tmp_path / "run", changes={"batch_size": 8})


@pytest.mark.parametrize(
    ("options", "python", "line"),
    [
        ({"ema": 0.5}, "`ema` (None, now {'decay': 0.5, 'of': 'params'})", "`--ema` "),
        (
            {"precision": "bfloat16"},
            "`precision` ('float32', now 'bfloat16')",
            "`--precision` ('float32', now 'bfloat16')",
        ),
        ({"accumulate": 2}, "`accumulate` (1, now 2)", "`--accumulate` (1, now 2)"),
        ({"nonfinite": "skip"}, "`nonfinite` ('stop', now 'skip')", "`--nonfinite` "),
    ],
)
def test_other_options_are_named(tmp_path, fitted, capsys, options, python, line):
    assert cli.main(command(tmp_path, "--steps", "4")) == 0
    with pytest.raises(runs.RunError) as caught:
        train(tmp_path / "run", steps=4, **options)
    assert str(caught.value).endswith("differs in " + python)
    more = [x for name, value in options.items() for x in (f"--{name}", str(value))]
    assert cli.main(command(tmp_path, *more)) == 2
    assert "run, got one that differs in " + line in capsys.readouterr().err
    assert len(fitted) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--ema", "1.5"], "`--ema` must be in [0, 1), got 1.5"),
        (["--steps", "-1"], "train: `--steps` must be a positive integer, got -1"),
        (["--steps", "0"], "train: `--steps` must be a positive integer, got 0"),
        (["--checkpoint-every", "0"], "`--checkpoint-every` must be an integer of at"),
        (["--seed", "-1"], "`--seed` must be an integer from 0 to 2**63 - 1, got -1"),
        (["--evaluate-every", "1"], "`--evaluate-every` must be left out where"),
        (
            ["--evaluate-every", "0", "--holdout", "0.5"],
            "`--evaluate-every` must be a positive integer, got 0",
        ),
        (["--holdout", "0.01"], "`--holdout` must leave rows to evaluate, or be 0"),
        (["--holdout", "0.6"], "`num_images` must be at least the batch size, 4"),
        (["--source", "timm"], "`--weights` must be a file where there is `--source` "),
        (["--partial"], "`--weights` must be a file where there is `--partial`, got"),
        (["--devices", "99"], "train: `--devices` must be between 1 and"),
        (["--accumulate", "3"], "must be divisible by `--devices` times `--accumulate"),
    ],
)
def test_a_failed_start_leaves_nothing(tmp_path, capsys, more, message):
    """With the engine itself, which is the one to refuse some of them."""
    assert cli.main(command(tmp_path, *more)) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "jaxcore" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz"]


def test_a_failed_start_keeps_what_was_there(tmp_path, monkeypatch):
    def fit(*_, **__):
        assert (tmp_path / "runs" / "a" / "recipe.json").is_file()
        raise ValueError("enough")

    monkeypatch.setattr(runs, "fit", fit)
    (tmp_path / "runs").mkdir()
    for _ in range(2):
        with pytest.raises(ValueError, match="enough"):
            train(tmp_path / "runs" / "a")
        assert not list((tmp_path / "runs").iterdir())
    (tmp_path / "runs" / "a").mkdir()
    (tmp_path / "runs" / "a" / "notes.txt").touch()
    with pytest.raises(ValueError, match="enough"):
        train(tmp_path / "runs" / "a")
    assert [p.name for p in (tmp_path / "runs" / "a").iterdir()] == ["notes.txt"]


def test_several_processes_may_take_it_back(tmp_path, monkeypatch):
    def fit(*_, **__):
        (tmp_path / "run" / "recipe.json").unlink()
        raise ValueError("enough")

    monkeypatch.setattr(runs, "fit", fit)
    with pytest.raises(ValueError, match="enough"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_interrupted_run_keeps_its_folder(tmp_path, monkeypatch):
    def fit(*_, checkpoint, **__):
        checkpoint.folder.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run")
    assert (tmp_path / "run" / "recipe.json").is_file()


def test_a_file_is_no_folder_of_a_run(tmp_path, fitted, capsys):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(runs.RunError, match=r"`folder` must be a folder, there or new"):
        train(path)
    with pytest.raises(runs.RunError, match=r"file/run; .*file is a file$"):
        train(path / "run")
    assert cli.main(command(tmp_path, "--out", str(path))) == 2
    expected = (
        f"error: jaxvision train: `--out` must be a folder, there or new, got {path}"
    )
    assert expected in capsys.readouterr().err
    assert not fitted


def test_arguments_from_python(tmp_path, fitted):
    for options, message in (
        (
            {"changes": {"batch_size": 8}, "holdout": 0.5},
            "`arrays` must have at least 8",
        ),
        ({"seed": 2**63}, r"`seed` must be an integer from 0 to 2\*\*63 - 1, got 92"),
        ({"seed": True}, "`seed` must be an integer from 0 .*, got True"),
        ({"seed": 1.0}, "`seed` must be an integer from 0 .*, got 1.0"),
        ({"steps": 0}, "`steps` must be a positive integer, got 0"),
        ({"evaluate_every": 2}, "`evaluate_every` must be left out where `holdout`"),
    ):
        with pytest.raises(ValueError, match="^jaxvision.runs.train: " + message):
            train(tmp_path / "run", **options)
    with pytest.raises(ValueError, match=r"^jaxvision.trials: `seed` must be an"):
        trials.trials(recipe(), {"image": IMAGE}, seed=-1)
    with pytest.raises(
        ValueError, match=r"starts.*: `weights` must be a file where the"
    ):
        starts.start(recipe(), None, key=None, source="timm")
    train(tmp_path / "run", steps=np.int64(3), seed=np.int64(2), accumulate=np.int32(1))
    train(tmp_path / "run", holdout=0.0, steps=3, seed=2)
    assert len(fitted) == 2
    run = runs.Run(recipe(), None, 0)
    with pytest.raises(
        ValueError, match="`batch_size` must be a positive integer, got 0"
    ):
        runs.evaluate(run, {"image": IMAGE}, batch_size=0)
