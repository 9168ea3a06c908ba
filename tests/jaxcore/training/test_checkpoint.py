import dataclasses
import json
import random
import re
import shutil
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcore import training
from jaxcore.training._steps import difference_of_tables
from tests.jaxcore.training import _simple, _toy


def save(folder: Path, steps: int = 12, **options):
    settings = {"every": 4, "keep_last": 3}
    settings |= {k: options.pop(k) for k in list(options) if k in FIELDS}
    return _simple.fit(
        steps, checkpoint=training.Checkpoint(folder, **settings), **options
    )


FIELDS = {f.name for f in dataclasses.fields(training.Checkpoint)}


def steps(folder: Path) -> list[int]:
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of 12 steps with checkpoints at 4, 8 and 12; to be copied."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    result = save(folder, ema=0.5)
    return folder, result


@pytest.fixture
def copy(trained, tmp_path):
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


@pytest.mark.parametrize("parallel", ["none", "pmap", "sharded"])
@pytest.mark.parametrize("kind", ["simple", "network"])
def test_resume_is_exact_to_the_bit(kind, parallel, tmp_path):
    def run(steps, folder=None):
        options = {"parallel": parallel, "ema": 0.9, "checkpoint": folder}
        if kind == "simple":
            return _simple.fit(steps, **options)
        return training.fit(
            _toy.task("adam"), _toy.batches(), steps, key=jax.random.key(7), **options
        )

    whole = run(20)
    for stop in (7, 13):  # in the middle of an epoch, and of nothing in particular
        assert run(stop, tmp_path).step == stop
    resumed = run(20, tmp_path)
    assert resumed.resumed == 13
    assert _simple.digest(resumed.state, resumed.ema) == _simple.digest(
        whole.state, whole.ema
    )
    assert _simple.digest(whole.state) != _simple.digest(run(19).state)


@pytest.mark.parametrize("devices", [("pmap", 4), ("sharded", 2), ("none", 1)])
def test_resume_on_other_devices(devices, tmp_path):
    options = {"key": jax.random.key(7), "ema": 0.9}
    arguments = (_toy.task("sgd"), _toy.batches())
    whole = training.fit(*arguments, 30, **options)
    saving = {**options, "checkpoint": tmp_path}
    training.fit(*arguments, 10, parallel="sharded", devices=4, **saving)
    parallel, count = devices
    found = training.fit(*arguments, 30, parallel=parallel, devices=count, **saving)
    assert found.resumed == 10
    assert _toy.relative(found.state, whole.state) < 1e-5
    assert _toy.relative(found.ema, whole.ema) < 1e-5


def test_a_finished_run_is_returned(copy, trained):
    again = save(copy, ema=0.5)
    assert again.resumed == again.step == 12
    assert _simple.digest(again.state, again.ema) == _simple.digest(
        trained[1].state, trained[1].ema
    )


def test_fewer_steps_than_saved_are_refused(copy):
    with pytest.raises(
        ValueError, match="`steps` must be at least the 12 of the check"
    ):
        save(copy, 5, ema=0.5)


def test_keeps_last_and_best(tmp_path):
    losses = {4: 3.0, 8: 1.0, 12: 2.0, 16: 5.0, 20: 4.0}

    def step(state, batch, key):
        return state + 1, {"score": jnp.take(TABLE, state)}

    TABLE = jnp.array([losses.get(i + 1, 9.0) for i in range(20)])
    task = training.Task(lambda key: jnp.int32(0), step)
    options = {"keep_last": 1, "keep_best": 2, "metric": "score", "chunk": 1}
    save(tmp_path / "min", 12, task=task, **options)
    save(tmp_path / "min", 20, task=task, **options)  # knows what was saved before
    assert steps(tmp_path / "min") == [8, 12, 20]
    save(tmp_path / "max", 20, task=task, mode="max", **options)
    assert steps(tmp_path / "max") == [16, 20]


def test_best_by_an_evaluation_is_evaluated_when_saved(tmp_path):
    options = {"evaluate_every": 100, "evaluate_on": _simple.batches()}
    result = save(tmp_path, 8, keep_best=1, metric="evaluate/loss", **options)
    assert [r["step"] for r in result.history if "evaluate/loss" in r] == [4, 8]
    manifest = json.loads((tmp_path / "8" / "manifest.json").read_text())
    assert manifest["metrics"]["evaluate/loss"] == result.metrics["evaluate/loss"]


def test_metrics_and_configuration_lie_beside(copy):
    manifest = json.loads((copy / "12" / "manifest.json").read_text())
    assert manifest["step"] == 12
    assert manifest["metrics"]["loss"] > 0
    assert manifest["config"]["ema"] == {"decay": 0.5, "of": "params"}
    assert manifest["config"]["batches"]["seed"] == 1
    assert ["['state']['params']['b']", [2], "float32"] in manifest["leaves"]


def test_zero_size_and_integer_leaves_come_back(tmp_path):
    def init(key):
        return {
            "none": jnp.zeros((0, 3)),
            "count": jnp.int8(0),
            "half": jnp.bfloat16(1),
        }

    def step(state, batch, key):
        return {**state, "count": state["count"] + 1, "half": state["half"] * 2}, {}

    task = training.Task(init, step)
    save(tmp_path, 3, task=task)
    state = save(tmp_path, 5, task=task).state
    assert state["none"].shape == (0, 3)
    assert (int(state["count"]), float(state["half"])) == (5, 32.0)


DAMAGES = {
    "flip": lambda path, other, where: path.write_bytes(
        (data := bytearray(path.read_bytes()))[:where]
        + bytes([data[where] ^ 4])
        + data[where + 1 :]
    ),
    "truncate": lambda path, other, where: path.write_bytes(path.read_bytes()[:where]),
    "zero": lambda path, other, where: path.write_bytes(bytes(path.stat().st_size)),
    "delete": lambda path, other, where: path.unlink(),
    "swap": lambda path, other, where: shutil.copyfile(other, path),
}


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_falls_back_with_one_warning(damage, copy, trained):
    draw = random.Random(damage)
    path = draw.choice(
        [p for p in files(copy / "12" / "state") if p.stat().st_size > 9]
    )
    other = copy / "8" / "manifest.json"
    DAMAGES[damage](path, other, draw.randrange(1, path.stat().st_size))
    with pytest.warns(
        UserWarning, match="damaged in .*: step 12 .* step 8 is used"
    ) as w:
        result = save(copy, ema=0.5)
    assert len(w) == 1
    assert f"step 12 ({path.relative_to(copy / '12')} " in str(w[0].message)
    assert result.resumed == 8
    assert _simple.digest(result.state, result.ema) == _simple.digest(
        trained[1].state, trained[1].ema
    )
    assert steps(copy) == [4, 8, 12]
    assert [p.name.split("-")[0] for p in (copy / "damaged").iterdir()] == ["12"]
    with warnings.catch_warnings():  # and the new one is good
        warnings.simplefilter("error")
        assert save(copy, ema=0.5).resumed == 12


@pytest.mark.slow
def test_every_file_can_be_lost(trained, tmp_path):
    # Orbax's own notes about times may go; nothing that numbers are read from may.
    names = [p.relative_to(trained[0] / "12") for p in files(trained[0] / "12")]
    assert len(names) > 8
    for i, name in enumerate(names):
        folder = Path(shutil.copytree(trained[0], tmp_path / str(i)))
        (folder / "12" / name).unlink()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            result = save(folder, ema=0.5)
        assert result.resumed in (8, 12)
        assert _simple.digest(result.state, result.ema) == _simple.digest(
            trained[1].state, trained[1].ema
        )


def test_a_checkpoint_under_another_step_is_damage(copy):
    shutil.rmtree(copy / "12")
    shutil.copytree(copy / "4", copy / "12")
    with pytest.warns(UserWarning, match=r"step 12 \(it is the checkpoint of step 4\)"):
        assert save(copy, ema=0.5).resumed == 8


def test_a_changed_manifest_is_damage(copy):
    path = copy / "12" / "manifest.json"
    path.write_text(path.read_text().replace('"float32"', '"float64"', 1))
    with pytest.warns(UserWarning, match="does not have the SHA-256"):
        assert save(copy, ema=0.5).resumed == 8


def test_no_good_checkpoint_is_an_error(copy):
    for step in (4, 8, 12):
        (copy / str(step) / "manifest.json").unlink()
    with pytest.raises(
        training.CheckpointError, match=r"no checkpoint in .* step 4: mani"
    ):
        save(copy, ema=0.5)
    assert steps(copy) == [4, 8, 12]


def test_leftovers_are_removed(copy):
    left = copy / "16.orbax-checkpoint-tmp-1"
    left.mkdir()
    (left / "junk").write_text("x")
    (copy / "4" / "manifest.sha256").unlink()  # a deletion that was interrupted
    save(copy, ema=0.5)
    assert not left.exists()
    assert steps(copy) == [8, 12]


def test_resume_false_wants_an_empty_folder(copy, tmp_path):
    with pytest.raises(training.CheckpointError, match=r"must be empty.* \[4, 8, 12\]"):
        save(copy, ema=0.5, resume=False)
    assert save(tmp_path / "new", 4, resume=False).step == 4


def other_model(shape, name="b"):
    def init(key):
        state = _simple.init(key)
        state["params"] = {"a": state["params"]["a"], name: jnp.zeros(shape)}
        state["optimizer"] = _simple.ADAM.init(state["params"])
        return state

    def step(state, batch, key):
        return state, {"loss": jnp.zeros(())}

    return training.Task(init, step)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"task": other_model((3,))},
            r"leaf that differs is \['ema'\]\['b'\]: float32\[2\] became float32\[3\]",
        ),
        (
            {"task": other_model((2,), "c")},
            r"\['b'\]: float32\[2\] is missing; \['ema'\]\['c'\]: float32\[2\] is n",
        ),
        ({"ema": None}, r"differs is \['ema'\]\['a'\]: float32\[.*\] is missing"),
        ({"ema": 0.6}, r"configuration: ema\.decay was 0\.5 and is 0\.6"),
        ({"key": jax.random.key(3)}, r"configuration: key\[1\] was 2 and is 3"),
        ({"batches": _simple.batches(12)}, r"batches\.batch_size was 8 and is 12"),
        ({"precision": "bfloat16"}, "precision was 'float32' and is 'bfloat16'"),
        (
            {"config": {"width": 3}},
            r"configuration: config was None and is \{'width': 3\}",
        ),
    ],
)
def test_another_model_or_configuration_is_named(options, message, copy):
    with pytest.raises(training.CheckpointError, match=message):
        save(copy, **{"ema": 0.5, **options})
    assert steps(copy) == [4, 8, 12]


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (["a", "c"], r"\['b'\]: float32\[2\] is missing; \['c'\]: float32\[2\] is new"),
        (["a"], r"is \['b'\]: float32\[2\] is missing$"),
        (["a", "aa", "b"], r"differs is \['aa'\]: float32\[2\] is new$"),
        (["b", "a"], r"differs in order is \['a'\], now \['b'\]$"),
        (["a", "b"], None),
    ],
)
def test_differing_leaves_are_named(now, message):
    def table(names):
        return [[f"['{name}']", [2], "float32"] for name in names]

    found = difference_of_tables(table(["a", "b"]), table(now))
    assert (found is None) if message is None else re.search(message, found)


@dataclasses.dataclass(frozen=True)
class Config:
    width: int = 3
    rates: tuple = (0.1, 0.2)


def test_user_configuration_is_compared(tmp_path):
    save(tmp_path, 4, config=Config())
    save(tmp_path, 5, config={"width": 3, "rates": [0.1, 0.2]})
    with pytest.raises(
        training.CheckpointError, match=r"config\.rates\[1\] was 0\.2 and"
    ):
        save(tmp_path, 6, config=Config(rates=(0.1, 0.3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "`every` must be an integer of at least 1, got 0"),
        ({"keep_last": 0}, "`keep_last` must be an integer of at least 1, got 0"),
        ({"keep_best": -1, "metric": "l"}, "`keep_best` must be .* at least 0, got -1"),
        ({"mode": "best"}, "`mode` must be 'min' or 'max', got 'best'"),
        ({"keep_best": 1}, "`metric` and `keep_best` must be given together"),
        ({"metric": "loss"}, "must be given together, got metric='loss'"),
        ({"config": {"f": print}}, "`config` must be a dataclass or mapping of JSON"),
        ({"every": True}, "`every` must be an integer of at least 1, got True"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        training.Checkpoint("x", **options)


def test_refused_kinds():
    with pytest.raises(TypeError, match="Checkpoint: `folder` must be a folder, got 3"):
        training.Checkpoint(3)
    with pytest.raises(TypeError, match=r"`config` must be a dataclass or .* got 3"):
        training.Checkpoint("x", config=3)


def test_scalars_of_numpy_and_jax_as_options(tmp_path):
    settings = {"every": np.int64(2), "keep_last": np.int32(2)}
    options = {"accumulate": np.int8(2), "chunk": jnp.int32(2)}
    result = save(tmp_path, np.int64(4), ema=np.float32(0.5), **settings, **options)
    assert result.step == 4
    again = save(tmp_path, 6, ema=jnp.float32(0.5), accumulate=2)
    assert (again.resumed, type(again.step)) == (4, int)


def test_a_metric_that_gives_no_order_is_refused(tmp_path):
    def vector(state, batch, key=None):
        metrics = {"groups": batch["x"][:2]}
        return metrics if key is None else (state, metrics)

    task = training.Task(_simple.init, vector, vector)
    evaluated = {"evaluate_every": 4, "evaluate_on": _simple.batches()}
    for metric in ("groups", "evaluate/groups"):
        with pytest.raises(ValueError, match=rf"got '{metric}' of shape \(2,\)"):
            save(tmp_path, task=task, keep_best=1, metric=metric, **evaluated)


@pytest.mark.parametrize(
    ("metric", "options", "message"),
    [
        ("accuracy", {}, "`checkpoint.metric` must be one of loss.* got 'accuracy'"),
        (
            "evaluate/x",
            {"evaluate_every": 4, "evaluate_on": _simple.batches()},
            "must be one of evaluate/loss, got 'evaluate/x'",
        ),
    ],
)
def test_unknown_metric_is_refused(metric, options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        save(tmp_path, keep_best=1, metric=metric, **options)


def test_damage_inside_orbax_is_damage_too(copy, monkeypatch):
    import orbax.checkpoint as ocp

    def broken(*arguments, **options):
        raise RuntimeError("cannot decode chunk")

    whole = ocp.StandardCheckpointHandler.restore
    calls = []

    def once(*arguments, **options):
        calls.append(1)
        return (broken if len(calls) == 1 else whole)(*arguments, **options)

    monkeypatch.setattr(ocp.StandardCheckpointHandler, "restore", once)
    with pytest.warns(UserWarning, match="Orbax: RuntimeError: cannot decode chunk"):
        assert save(copy, ema=0.5).resumed == 8


def test_saved_values_are_the_ones_trained(trained):
    # What lies on the disk, read without this package.
    import orbax.checkpoint as ocp

    folder, result = trained
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        found = reader.restore(folder.absolute() / "12" / "state")
    leaves = json.loads((folder / "12" / "manifest.json").read_text())["leaves"]
    index = [row[0] for row in leaves].index("['state']['params']['b']")
    expected = np.asarray(result.state["params"]["b"])
    assert np.array_equal(found[f"leaf_{index:05d}"], expected)
