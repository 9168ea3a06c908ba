"""Saving and loading solutions: a folder of safetensors arrays and one JSON file.

Built-in problems are rebuilt from their name and options, so a solution loads in a
new process without the script that made it. For a problem of the user's own, `load`
takes the `Problem`. Nothing is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pinns import problems
from pinns.domain import precision
from pinns.evaluation import initial_params
from pinns.fingerprint import describe_problem
from pinns.pointwise import MLP
from pinns.problem import Problem
from pinns.scattered import ADAPTIVE
from pinns.separable import MODELS
from pinns.solution import History, Solution
from pinns.solvers.adaptive import AdaptiveState
from pinns.solvers.weighted import WeightedState, no_rows
from pinns.weighting.choice import restored


FORMAT = 1
DESCRIPTION = "solution.json"
ARRAYS = "arrays.safetensors"


class LoadError(ValueError):
    """A folder does not hold a solution that can be loaded; the message says why."""


def save(solution: Solution, folder: str | Path) -> Path:
    """Writes `solution.json` and `arrays.safetensors`; returns the folder.

    Files are written beside and then moved, so a crash never leaves a half-written
    one under its final name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    history = solution.history
    arrays = {
        **_flatten("params", solution.params),
        **_flatten("optimizer", solution.optimizer_state),
        "history/steps": history.steps,
        "history/loss": history.loss,
        "history/groups": history.groups,
        "history/error_steps": history.error_steps,
        "history/errors": history.errors,
    }
    problem = solution.problem
    description = {
        "format": FORMAT,
        "problem": {
            "name": problem.name,
            "origin": list(problem.origin) if problem.origin else None,
            "axes": dict(zip(problem.box.names, problem.box.intervals, strict=True)),
            "unknowns": list(problem.unknowns),
            "parameters": problem.parameters.describe(),
            "groups": list(problem.groups),
            # A built-in problem is known by its options.
            "fingerprint": None if problem.origin else describe_problem(problem),
        },
        "model": {"name": solution.model.name, "options": _options(solution.model)},
        "dtype": solution.dtype,
        "result": solution.result,
        "step": solution.step,
        "settings": solution.settings,
        "timings": solution.timings,
        "versions": {"jax": jax.__version__, "optax": optax.__version__},
    }
    partial = folder / (ARRAYS + ".partial")
    save_file({k: np.array(v, order="C") for k, v in arrays.items()}, partial)
    partial.replace(folder / ARRAYS)
    partial = folder / (DESCRIPTION + ".partial")
    partial.write_text(json.dumps(description, indent=2) + "\n", encoding="utf8")
    partial.replace(folder / DESCRIPTION)
    return folder


def load(
    folder: str | Path,
    problem: Problem | None = None,
    *,
    optimizer: optax.GradientTransformation | None = None,
) -> Solution:
    """Returns the solution saved in a folder.

    Args:
        folder: as given to `save`.
        problem: needed for a problem that is not one of `pinns.problems`.
        optimizer: needed only to `resume` a run with an optax optimizer of your own.

    Raises:
        LoadError: missing or damaged files, arrays that do not fit the model, or a
            problem that differs from the saved one, in its functions and weights too.

    Example:
        >>> load("no/such/folder")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        LoadError: pinns.load: no solution in no/such/folder
    """
    folder = Path(folder)
    description = _read_description(folder)
    try:
        arrays = load_file(folder / ARRAYS)
    except (OSError, SafetensorError) as error:
        raise LoadError(
            f"pinns.load: cannot read {folder / ARRAYS}: {error}"
        ) from error
    try:
        problem = _problem(description["problem"], problem, folder)
        model = _model(description["model"])
        dtype = description["dtype"]
        with precision(dtype):
            params = _restore_params(problem, model, dtype, arrays)
            state = _restore_optimizer(
                problem, model, params, arrays, description, optimizer
            )
        history = History(
            problem.groups,
            **{
                name: arrays[f"history/{name}"]
                for name in ("steps", "loss", "groups", "error_steps", "errors")
            },
        )
        return Solution(
            problem=problem,
            model=model,
            params=params,
            dtype=dtype,
            history=history,
            result=description["result"],
            step=description["step"],
            settings=description["settings"],
            timings=description["timings"],
            optimizer_state=state,
        )
    except KeyError as error:
        raise LoadError(
            f"pinns.load: {folder} lacks the entry {error}; the folder is damaged or "
            "was written by another version"
        ) from error


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise LoadError(f"pinns.load: no solution in {folder}, expected {path}")
    try:
        description = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise LoadError(f"pinns.load: cannot read {path}: {error}") from error
    found = description.get("format") if isinstance(description, dict) else None
    if found != FORMAT:
        raise LoadError(
            f"pinns.load: {path} has format {found!r}, this version reads {FORMAT}"
        )
    return description


def _problem(saved: dict, given: Problem | None, folder: Path) -> Problem:
    if given is None and saved["origin"] is None:
        raise LoadError(
            f"pinns.load: {folder} solves {saved['name']!r}, which is not one of "
            "pinns.problems; pass its Problem: pinns.load(folder, problem)"
        )
    if given is None:
        name, options = saved["origin"]
        given = problems.create(name, **options)
    axes = {n: tuple(i) for n, i in saved["axes"].items()}
    if saved["origin"] is not None and given.origin is not None:
        origin = json.loads(json.dumps(given.origin))
        if origin != saved["origin"]:
            raise LoadError(
                f"pinns.load: {folder} solves {saved['origin']}, the given problem is "
                f"{origin}"
            )
    if given.name != saved["name"]:
        raise LoadError(
            f"pinns.load: {folder} solves {saved['name']!r}, the given problem is "
            f"{given.name!r}"
        )
    actual = dict(zip(given.box.names, given.box.intervals, strict=True))
    # Folders of earlier versions know no parameters.
    own = saved.get("parameters", {})
    expected = (axes, tuple(saved["unknowns"]), own, tuple(saved["groups"]))
    found = (actual, given.unknowns, given.parameters.describe(), given.groups)
    for what, a, b in zip(
        ("axes", "unknowns", "parameters", "loss groups"), expected, found, strict=True
    ):
        if a != b:
            raise LoadError(
                f"pinns.load: {folder} was saved with {what} {a}, "
                f"the given problem has {b}"
            )
    _check_fingerprint(saved.get("fingerprint"), given, folder)
    return given


def _check_fingerprint(saved: dict | None, given: Problem, folder: Path) -> None:
    """Raises LoadError for a problem of the user's own that has changed; says where.

    Traced functions can be compared within one version of JAX only.
    """
    if saved is None or given.origin is not None or saved["jax"] != jax.__version__:
        return
    found = json.loads(json.dumps(describe_problem(given)))
    if saved["hard"] != found["hard"]:
        raise LoadError(
            f"pinns.load: {folder} was saved with the hard conditions {saved['hard']}, "
            f"the given problem has {found['hard']}"
        )
    changed = [
        name
        for name in {**saved["terms"], **found["terms"]}
        if saved["terms"].get(name) != found["terms"].get(name)
    ]
    if changed:
        raise LoadError(
            f"pinns.load: {folder} solves another {saved['problem']!r} than the given "
            f"one: they differ in {', '.join(map(repr, changed))} (function, constants "
            "or weight)"
        )


def _model(saved: dict):
    models = {**MODELS, MLP.name: MLP}
    if saved["name"] not in models:
        raise LoadError(
            f"pinns.load: unknown model {saved['name']!r}, expected one of "
            f"{', '.join(models)}"
        )
    options = {
        k: tuple(v) if isinstance(v, list) else v for k, v in saved["options"].items()
    }
    return models[saved["name"]](**options)


def _options(model) -> dict[str, Any]:
    return {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.init}


def _restore_params(problem: Problem, model, dtype: str, arrays: dict):
    template = jax.eval_shape(
        lambda key: initial_params(problem, model, key, dtype),
        jax.random.key(0),
    )
    return _unflatten("params", template, arrays)


def _restore_optimizer(problem, model, params, arrays, description, optimizer):
    """Returns the optimizer state, or None if its optimizer is not known."""
    settings = description["settings"]
    rate = settings.get("learning_rate")
    if settings.get("remade"):  # rounded, converted or grown
        return None
    if optimizer is None and isinstance(rate, (int, float)):
        optimizer = optax.adam(rate)
    if optimizer is None:
        return None
    template = jax.eval_shape(optimizer.init, params)
    if settings["sampling"][0] in ADAPTIVE:
        shape = (settings["points"][0], problem.box.dimension)
        points: Any = jax.ShapeDtypeStruct(shape, description["dtype"])
        template = AdaptiveState(template, points)
    scheme = restored(settings.get("weighting"))
    if scheme is not None:
        weights = jax.eval_shape(
            lambda: scheme.init(
                problem,
                tuple(settings["points"]),
                pointwise=model.pointwise,
                dtype=description["dtype"],
            )
        )
        none = jax.eval_shape(lambda: no_rows(problem, description["dtype"]))
        template = WeightedState(template, weights, none)
    return _unflatten("optimizer", template, arrays)


def _flatten(prefix: str, tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {prefix + jax.tree_util.keystr(p): np.asarray(v) for p, v in leaves}


def _unflatten(prefix: str, template: Any, arrays: dict) -> Any:
    paths, structure = jax.tree_util.tree_flatten_with_path(template)
    leaves = []
    for path, expected in paths:
        name = prefix + jax.tree_util.keystr(path)
        value = arrays.get(name)
        if value is None or (value.shape, value.dtype) != (
            expected.shape,
            expected.dtype,
        ):
            found = "nothing" if value is None else f"{value.shape} {value.dtype}"
            raise LoadError(
                f"pinns.load: array {name!r} should be {expected.shape} "
                f"{expected.dtype}, found {found}"
            )
        leaves.append(jax.numpy.asarray(value))
    return jax.tree.unflatten(structure, leaves)
