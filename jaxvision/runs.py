"""Runs of recipes in folders: what `jaxvision train`, `evaluate` and `export` do.

A folder of a run holds `recipe.json` (what is trained, on what), the checkpoints and
the log of `jaxcore.training.fit`, and at the end `state.safetensors`; `ema.safetensors`
besides where an average of the parameters was kept.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.flax import load_file
from safetensors.numpy import save_file

from jaxcore.training import ArrayBatches, Batches, Checkpoint, Log, Result, fit
from jaxcore.training.ema import Ema
from jaxvision import _claims, registry
from jaxvision._claims import CHECKPOINTS, RECIPE
from jaxvision._claims import RunError as RunError
from jaxvision.layers._checks import positive
from jaxvision.starts import check_arrays, divided, holds_network, network_of, start


STATE, EMA = "state.safetensors", "ema.safetensors"
MODEL = "model.stablehlo"


class Run(NamedTuple):
    """A finished run: its recipe, its state, the steps it took, its seed, its data.

    Of the data, what `recipe.json` says: a digest of each array; None if it does not.
    """

    recipe: registry.Recipe
    state: Any
    step: int
    seed: int = 0
    data: Mapping[str, Any] | None = None


def configured(
    recipe: registry.Recipe, changes: Mapping[str, Any], where: str
) -> registry.Recipe:
    """Returns a recipe with fields changed, those of dataclasses in it by dots.

    Example:
        >>> import jaxvision
        >>> recipe = jaxvision.recipe("beta_sigma_vae")
        >>> changed = configured(recipe, {"network.latent": 8, "epochs": 3}, "example")
        >>> changed.config.network.latent, changed.config.epochs
        (8, 3)
    """
    nested: dict[str, Any] = {}
    for name, value in changes.items():
        *parents, last = name.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return dataclasses.replace(recipe, config=_replaced(recipe.config, nested, where))


def train(
    recipe: registry.Recipe,
    arrays: Mapping[str, np.ndarray],
    folder: str | Path,
    *,
    steps: int | None = None,
    seed: int = 0,
    holdout: float = 0.0,
    checkpoint_every: int = 1000,
    evaluate_every: int | None = None,
    progress: bool | None = None,
    weights: str | Path | None = None,
    source: str = "jaxvision",
    partial: bool = False,
    **options: Any,
) -> Result:
    """Trains a recipe on arrays and writes the run; a run that was stopped goes on.

    Args:
        recipe: see `jaxvision.recipe`.
        arrays: with equal first axes, as the recipe's task takes them.
        folder: of the run; what it holds must be of this recipe and these arrays. A
            start that fails, because of an argument say, leaves nothing in it.
        steps: in all; default those of the recipe. With more than before a finished
            run goes on, with fewer it is refused.
        seed: of parameters, order and noise, and of what is held out.
        holdout: share of the rows that are evaluated and not trained on.
        checkpoint_every, evaluate_every: steps; evaluations by default at the end.
        progress: show a progress bar; default: on a terminal.
        weights, source, partial: file that the network starts from, see `starts.start`.
        options: of `jaxcore.training.fit`: `devices`, `parallel`, `precision`, `ema`,
            `accumulate`, `nonfinite`.

    Raises:
        ValueError: an argument is out of range, or there are too few rows; weights are
            missing, or do not fit; or arrays that the recipe does not take, such as
            labels out of range.
        TypeError: labels that are no integers.
        RunError: the folder is a file, or holds another run, of other arrays or with
            other options: what differs is named.
    """
    where, folder = "jaxvision.runs.train", Path(folder)
    last = recipe.config.steps if steps is None else steps
    positive(where, steps=last)
    if evaluate_every is not None:
        positive(where, evaluate_every=evaluate_every)
    _claims.check_seed(where, seed)
    check_holdout(where, holdout)
    check_arrays(f"{where}({recipe.name!r})", recipe, arrays)
    system = registry.find(where, recipe.name)
    if system.check_options is not None:
        system.check_options(where, recipe.config, options)
    key = jax.random.key(seed)
    others: dict[str, Any] = {"seed": seed, "holdout": holdout}
    if weights is not None:
        others["weights"] = {"path": str(weights), "source": source}
    description = _claims.describe(recipe, arrays, options, **others)
    _claims.check(where, folder, description)
    state = start(recipe, weights, key=key, source=source, partial=partial)
    batches, held_out = _batches(where, recipe, state, arrays, holdout, seed)
    evaluation: dict[str, Any] = {}
    if held_out is not None:
        evaluation = {
            "evaluate_every": last if evaluate_every is None else evaluate_every,
            "evaluate_on": held_out,
        }
    elif evaluate_every is not None:
        raise ValueError(
            f"{where}: `evaluate_every` must be left out where `holdout` is 0, which "
            f"leaves nothing to evaluate, got {evaluate_every}"
        )
    with _claims.claimed(folder, description):
        result = fit(
            recipe.task(),
            batches,
            last,
            key=key,
            state=state,
            checkpoint=Checkpoint(folder / CHECKPOINTS, every=checkpoint_every),
            log=Log(folder, bar=progress),
            **evaluation,
            **options,
        )
    _save(folder / STATE, result.state, result.step)
    if result.ema is not None:
        given = options["ema"]
        average = given if isinstance(given, Ema) else Ema(given)
        _save(folder / EMA, average.into_state(result.state, result.ema), result.step)
    return result


def _batches(
    where: str,
    recipe: registry.Recipe,
    state: Any,
    arrays: Mapping[str, np.ndarray],
    holdout: float,
    seed: int,
) -> tuple[Batches, Batches | None]:
    """Returns what to train on and what to evaluate on."""
    system = registry.find(where, recipe.name)
    if system.batches is not None:
        if holdout:
            raise ValueError(
                f"{where}: `holdout` must be 0 for {recipe.name!r}, whose recipe says "
                f"what is held out, got {holdout}"
            )
        return system.batches(recipe.config, arrays, seed)
    batch_size = recipe.config.batch_size
    shown, hidden = divided(recipe, state, arrays, holdout, seed)
    rows, held = (len(next(iter(part.values()))) for part in (shown, hidden))
    if rows < batch_size:
        raise ValueError(
            f"{where}: `arrays` must have at least {batch_size} rows to train on, a "
            f"batch, got {rows}"
        )
    batches: Any = ArrayBatches(shown, batch_size, seed=seed, last="drop")
    if not held:
        if holdout:
            raise ValueError(
                f"{where}: `holdout` must leave rows to evaluate, or be 0, got "
                f"{holdout!r} of {rows} rows"
            )
        return batches, None
    held_out: Any = ArrayBatches(
        hidden, min(batch_size, held), shuffle=False, last="pad"
    )
    return batches, held_out


def check_holdout(where: str, holdout: float) -> None:
    """Raises ValueError unless a share is in [0, 1)."""
    if not 0 <= holdout < 1:
        raise ValueError(f"{where}: `holdout` must be in [0, 1), got {holdout!r}")


def load(folder: str | Path, *, ema: bool = False) -> Run:
    """Returns a finished run.

    Args:
        folder: of the run.
        ema: with the averaged parameters.

    Raises:
        RunError: there is none, it is not finished, or a file is damaged.
    """
    where, folder = "jaxvision.runs.load", Path(folder)
    try:
        description = json.loads((folder / RECIPE).read_text("utf-8"))
        recipe = registry.recipe(description["system"], preset=description["preset"])
        recipe = configured(recipe, description["config"], where)
        seed = description["seed"]
    except FileNotFoundError:
        raise RunError(f"{where}: {folder} must hold a run, got no {RECIPE}") from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{where}: cannot read {folder / RECIPE}: {error}") from error
    path = folder / (EMA if ema else STATE)
    if not path.is_file():
        why = (
            "was it trained with an average (ema)?"
            if ema
            else "train it to its end first: the same command goes on"
        )
        raise RunError(f"{where}: {folder} must hold {path.name}, got none; {why}")
    try:
        arrays = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise RunError(f"{where}: cannot read {path}: {error}") from error
    step = int(arrays.pop("step", np.zeros((), int)))
    shapes = jax.eval_shape(recipe.task().init, jax.random.key(0))
    wanted = _named(shapes)
    found = {name: array.shape for name, array in arrays.items()}
    expected = {name: leaf.shape for name, leaf in wanted.items()}
    if found != expected:
        apart = sorted(dict(found.items() ^ expected.items()))
        raise RunError(
            f"{where}: {path} must hold the state of its recipe, got other arrays for "
            f"{', '.join(apart[:5])}"
        )
    leaves = [jnp.asarray(arrays[name], leaf.dtype) for name, leaf in wanted.items()]
    state = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
    return Run(recipe, state, step, seed, description.get("data"))


def evaluate(
    run: Run, arrays: Mapping[str, np.ndarray], *, batch_size: int | None = None
) -> dict[str, Any]:
    """Returns the metrics of a run's task on arrays, means over their rows.

    What the system computes from such means, as recall of a class, comes after them.
    Numbers, and lists where a metric is an array. A system with batches of its own is
    evaluated on the part that these hold out of the data of its training; a warning
    says where a run does not know which these were.

    Raises:
        RunError: the task has nothing to evaluate; or, where the system has batches of
            its own, `batch_size` is given or the data are not those of the training.
        ValueError, TypeError: a batch size that is no positive integer, or arrays that
            the recipe does not take.
    """
    where, name = "jaxvision.runs.evaluate", run.recipe.name
    if batch_size is not None:
        positive(where, batch_size=batch_size)
    check_arrays(f"{where}({name!r})", run.recipe, arrays)
    task = run.recipe.task()
    if task.evaluate is None:
        raise RunError(
            f"{where}: {name!r} must have metrics to evaluate, got a task without"
        )
    system = registry.find(where, name)
    batches: Any
    if system.batches is not None:
        if batch_size is not None:
            raise RunError(
                f"{where}: `batch_size` must be left alone for {name!r}, whose batches "
                f"are its own, got {batch_size}"
            )
        _claims.check_data(where, name, run.data, arrays)
        _, batches = system.batches(run.recipe.config, arrays, run.seed)
    else:
        count = len(next(iter(arrays.values())))
        size = run.recipe.config.batch_size if batch_size is None else batch_size
        size = min(size, count)
        batches = ArrayBatches(dict(arrays), size, shuffle=False, last="pad")
    step, rows = jax.jit(task.evaluate), 0.0
    sums: dict[str, Any] = {}
    for i in range(batches.num_batches or 0):
        batch = batches.read(i, slice(0, batches.batch_size))
        weight = float(batch["mask"].sum()) if "mask" in batch else 1.0
        for metric, value in step(run.state, batch).items():
            part = weight * np.asarray(value, np.float64)
            sums[metric] = sums.get(metric, 0.0) + part
        rows += weight
    found = {metric: (value / rows).tolist() for metric, value in sums.items()}
    return summarized(run.recipe, found)


def summarized(
    recipe: registry.Recipe, found: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any]:
    """Returns metrics with those of an evaluation as the system summarizes them.

    Args:
        recipe: see `jaxvision.recipe`.
        found: means that the task's evaluation found, by names with the prefix, and
            others, which stay as they are.
        prefix: of these names, `"evaluate/"` among the metrics of a training.
    """
    system = registry.find("jaxvision.runs.summarized", recipe.name)
    means = {k[len(prefix) :]: v for k, v in found.items() if k.startswith(prefix)}
    if system.summarize is None or not means:
        return dict(found)
    others = {k: v for k, v in found.items() if not k.startswith(prefix)}
    new = system.summarize(recipe.config, means)
    return {**others, **{prefix + name: value for name, value in new.items()}}


def export(
    run: Run,
    path: str | Path,
    *,
    batch_size: int = 1,
    platforms: Sequence[str] | None = None,
) -> Path:
    """Writes the trained network, in evaluation, as StableHLO; returns the path.

    `jax.export.deserialize(path.read_bytes()).call(*inputs)` runs it without this
    package. The parameters are part of it.

    Args:
        run: see `load`.
        path: of the file.
        batch_size: rows of its inputs.
        platforms: to compile for, `("cpu", "cuda", "tpu")`; default the present one.

    Raises:
        RunError: the state of this system is not that of one network.
        ValueError: a batch size that is not positive, or an unknown platform.
    """
    from jax import export as exporting

    where = "jaxvision.runs.export"
    try:
        importlib.import_module("flatbuffers")
    except ImportError:
        raise RunError(
            f"{where}: needs flatbuffers, which is not installed; pip install "
            "'separax[export]'"
        ) from None
    if batch_size < 1:
        raise ValueError(
            f"{where}: `batch_size` must be a positive integer, got {batch_size}"
        )
    known = ("cpu", "cuda", "rocm", "tpu")
    for platform in platforms or ():
        if platform not in known:
            raise ValueError(
                f"{where}: `platforms` must be among {known}, got {platform!r}"
            )
    recipe, state = run.recipe, run.state
    if not holds_network(state):
        raise RunError(
            f"{where}: {recipe.name!r} must have one network, with `params` and "
            "`statistics`, got a state of another form"
        )
    system = registry.find(where, recipe.name)

    def run_network(*inputs: Any) -> Any:
        model = network_of(recipe, state)
        return system.predict(recipe.config, model, *inputs)

    shapes = [
        jax.ShapeDtypeStruct((batch_size, *s.shape[1:]) if s.shape else (), s.dtype)
        for s in system.inputs_of(recipe.config)
    ]
    exported = exporting.export(
        jax.jit(run_network), platforms=tuple(platforms) if platforms else None
    )(*shapes)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(exported.serialize())
    return partial.replace(path)


def _replaced(config: Any, changes: Mapping[str, Any], where: str) -> Any:
    """Returns a dataclass with fields changed at once, because they are checked so."""
    known = [field.name for field in dataclasses.fields(config)]
    values = {}
    for name, value in changes.items():
        if name not in known:
            raise ValueError(
                f"{where}: recipes have the fields {', '.join(map(repr, known))}, got "
                f"{name!r}"
            )
        old = getattr(config, name)
        if dataclasses.is_dataclass(old) and isinstance(value, Mapping):
            value = _replaced(old, value, where)
        elif isinstance(old, tuple) and isinstance(value, list):
            value = tuple(value)
        elif isinstance(old, float) and type(value) is int:
            value = float(value)
        elif old is not None and type(value) is not type(old):
            raise ValueError(
                f"{where}: `{name}` must be {type(old).__name__}, as {old!r}, got "
                f"{value!r}"
            )
        values[name] = value
    return dataclasses.replace(config, **values)


def _named(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _save(path: Path, state: Any, step: int) -> None:
    arrays = {k: np.array(v, order="C") for k, v in _named(state).items()}
    partial = path.with_name(path.name + ".partial")
    save_file({**arrays, "step": np.asarray(step)}, partial)
    partial.replace(path)
