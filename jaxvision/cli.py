"""The command line: `jaxvision list`, `info`, `train`, `evaluate` and `export`.

Exit codes: 0; 1 training ended without a result; 2 bad input; 130 interrupted. Tables
go to standard output, errors to standard error.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import tyro
from flax import nnx
from rich.console import Console
from rich.table import Table

from jaxcore.training import Interrupted, NonFiniteError, StorageError
from jaxvision import data, registry, runs
from jaxvision._words import in_options, of_parser
from jaxvision.layers import count_parameters
from jaxvision.starts import check_arrays
from jaxvision.system import System


OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
DESCRIPTION = "Networks for images, their losses and recipes."
WIDTH = 400  # tables are as wide as their content where no terminal limits them

Name = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True)
class List:
    """List the systems."""


@dataclass(frozen=True)
class Info:
    """Show sizes, options, presets and the paper's figures of a system."""

    name: Name
    """Name of the system."""


@dataclass(frozen=True)
class Train:
    """Train a system on your data; the same command goes on with a stopped run."""

    name: Name
    """Name of the system."""
    data: Path
    """Folder or file with the training data."""
    out: Path
    """Folder of the run."""
    preset: str | None = None
    """Recipe to start from; default the system's first."""
    set: tuple[str, ...] = ()
    """Fields of the recipe, as batch_size=8 network.channels=[8,16]."""
    weights: Path | None = None
    """File of weights to start from, safetensors or npz."""
    source: Literal["jaxvision", "torchvision", "timm"] = "jaxvision"
    """Whose names the weights have; with --weights."""
    partial: bool = False
    """Take what fits of the weights, if anything does, and name the rest."""
    steps: int | None = None
    """Steps in all; default those of the recipe for as many images as there are. With
    more than before a finished run goes on, with fewer it is refused."""
    seed: int = 0
    """Of parameters, order and noise."""
    split: Literal["train", "test", "all"] | None = None
    """Of data that come in parts; default the one that the system is trained on."""
    holdout: float = 0.0
    """Share of the images to evaluate on instead of training."""
    evaluate_every: int | None = None
    """Steps between evaluations of what is held out; default at the end."""
    checkpoint_every: int = 1000
    """Steps between checkpoints."""
    devices: int | None = None
    """How many devices to use."""
    parallel: Literal["none", "pmap", "sharded"] = "none"
    """How devices share the work."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of losses and their gradients."""
    ema: float | None = None
    """Decay of an average of the parameters that is kept besides."""
    accumulate: int = 1
    """Microbatches of a step."""
    nonfinite: Literal["stop", "skip"] = "stop"
    """What a step with NaN or Inf does."""
    damaged: Literal["raise", "skip"] = "raise"
    """What a damaged file does."""


@dataclass(frozen=True)
class Evaluate:
    """Print the metrics of a finished run on your data."""

    run: Folder
    """Folder of the run."""
    data: Path
    """Folder or file with the data."""
    ema: bool = False
    """Evaluate the averaged parameters."""
    batch_size: int | None = None
    """Images at once; default as in training."""
    json: bool = False
    """Print JSON."""
    split: Literal["train", "test", "all"] | None = None
    """Of data that come in parts; default the one that the system is evaluated on."""
    damaged: Literal["raise", "skip"] = "raise"
    """What a damaged file does."""


@dataclass(frozen=True)
class Export:
    """Write the network of a finished run as StableHLO."""

    run: Folder
    """Folder of the run."""
    out: Path | None = None
    """File to write; default model.stablehlo in the folder."""
    batch_size: int = 1
    """Rows of the inputs."""
    platforms: tuple[Literal["cpu", "cuda", "rocm", "tpu"], ...] = ()
    """To compile for; default the present one."""
    ema: bool = False
    """Export the averaged parameters."""


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Info, tyro.conf.subcommand("info")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Export, tyro.conf.subcommand("export")]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    try:
        code = _main(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()  # a closed pipe shows here, not while Python exits
        return code
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # as in `jaxvision list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _main(argv: list[str]) -> int:
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            command = tyro.cli(
                Command, prog="jaxvision", description=DESCRIPTION, args=argv
            )
    except SystemExit as end:
        if not end.code:
            return OK
        _complain(f"error: {of_parser(errors.getvalue())}; see jaxvision --help")
        return BAD_INPUT
    commands: dict[type, Callable[[Any], int]] = {
        List: lambda _: _list(),
        Info: lambda c: _info(registry.find("jaxvision info", c.name)),
        Train: _train,
        Evaluate: _evaluate,
        Export: _export,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)  # one line for each file
            warnings.showwarning = partial(_warn, command)
            return commands[type(command)](command)
    except Interrupted as end:
        _complain(str(end))
        return int(end.code or 0)
    except (NonFiniteError, StorageError) as error:
        _complain(f"error: {_said(command, error)}")
        return FAILED
    except (ValueError, TypeError, OSError) as error:
        _complain(f"error: {_said(command, error)}")
        return BAD_INPUT


def _list() -> int:
    rows = [
        (row.name, row.task, f"{row.parameters:,}", row.paper, row.status)
        for row in registry.list_systems()
    ]
    _print(("name", "task", "parameters", "paper", "status"), rows)
    return OK


def _info(system: System) -> int:
    options = system.options()
    inputs = system.inputs(options)
    outputs, operations = _forward(system, options, inputs)
    parameters = count_parameters(lambda: system.build(options, rngs=nnx.Rngs(0)))
    rows = [
        ("paper", system.paper),
        ("task", system.task),
        ("status", system.status),
        ("input", _shapes(inputs)),
        ("output", _shapes(outputs)),
        ("parameters", f"{parameters:,}"),
        ("operations", f"{operations:.3g} for one image, by XLA's count"),
    ]
    _print(("", ""), rows)
    print()
    defaults = ((f.name, getattr(options, f.name)) for f in fields(options))
    _print(("option", "default"), [(key, repr(value)) for key, value in defaults])
    print()
    _print(("preset",), [(preset,) for preset in system.presets])
    print()
    figures = [
        (what, figure, _figure(system, what))
        for what, figure in system.paper_figures.items()
    ]
    _print(("figure", "in the paper", "here"), figures)
    return OK


def _figure(system: System, name: str) -> str:
    found = system.figures.get(name, "–")
    return found if isinstance(found, str) else found()


def _train(command: Train) -> int:
    where = "jaxvision train"
    system = registry.find(where, command.name)
    runs.check_holdout("jaxvision.runs.train", command.holdout)
    recipe = registry.recipe(command.name, preset=command.preset)
    changes = _changes(where, command.set)
    recipe = runs.configured(recipe, changes, where)
    split = command.split or _split(system, command.data, training=True)
    arrays = _read(where, system, recipe, command, split)
    count = len(next(iter(arrays.values())))
    names = {field.name for field in fields(recipe.config)}
    if "num_images" in names and "num_images" not in changes:
        # Schedules are lengths in epochs: they follow what there is to train on.
        shown = count - round(command.holdout * count)
        recipe = runs.configured(recipe, {"num_images": shown}, where)
    result = runs.train(
        recipe,
        arrays,
        command.out,
        steps=command.steps,
        seed=command.seed,
        weights=command.weights,
        source=command.source,
        partial=command.partial,
        holdout=command.holdout,
        evaluate_every=command.evaluate_every,
        checkpoint_every=command.checkpoint_every,
        devices=command.devices,
        parallel=command.parallel,
        precision=command.precision,
        ema=command.ema,
        accumulate=command.accumulate,
        nonfinite=command.nonfinite,
    )
    rows = [("data", _data(command.data, split)), ("images", f"{count}")]
    rows.append(("steps", f"{result.step}"))
    if result.resumed:
        rows.append(("went on from step", f"{result.resumed}"))
    found = runs.summarized(recipe, result.metrics, "evaluate/")
    rows += [(name, _number(value)) for name, value in found.items()]
    _print(("", ""), [*rows, ("written to", str(command.out))])
    return OK


def _evaluate(command: Evaluate) -> int:
    where = "jaxvision evaluate"
    run = runs.load(command.run, ema=command.ema)
    system = registry.find(where, run.recipe.name)
    split = command.split or _split(system, command.data, training=False)
    arrays = _read(where, system, run.recipe, command, split)
    found = runs.evaluate(run, arrays, batch_size=command.batch_size)
    if command.json:
        whole = _finite({"step": run.step, "split": split, **found})
        print(json.dumps(whole, allow_nan=False))
        return OK
    rows = [("data", _data(command.data, split)), ("step", str(run.step))]
    rows += [(name, _number(value)) for name, value in found.items()]
    _print(("metric", "value"), rows)
    return OK


def _finite(value: Any) -> Any:
    """Returns what JSON has: null in place of NaN, text in place of infinity."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _split(system: System, path: Path, *, training: bool) -> str | None:
    """Returns the part that a system trains on or is evaluated on, if there are any."""
    if system.splits is None or not data.splits_of(path):
        return None
    return system.splits[0 if training else 1]


def _data(path: Path, split: str | None) -> str:
    """Returns what was read as text, with the part of data that are in parts."""
    return str(path) if split is None else f"{path}, split {split}"


def _number(value: Any) -> str:
    """Returns a metric as text, of an array its shape."""
    if isinstance(value, str):
        return value
    if np.ndim(value) == 0:
        return f"{float(value):.6g}"
    return " x ".join(map(str, np.shape(value))) + " numbers, see --json and the log"


def _export(command: Export) -> int:
    run = runs.load(command.run, ema=command.ema)
    path = runs.export(
        run,
        command.out or command.run / runs.MODEL,
        batch_size=command.batch_size,
        platforms=command.platforms or None,
    )
    print(f"{path}: {path.stat().st_size:,} bytes")
    return OK


def _read(
    where: str,
    system: System,
    recipe: registry.Recipe,
    command: Train | Evaluate,
    split: str | None,
) -> dict[str, Any]:
    if system.read is None:
        raise ValueError(
            f"{where}: {recipe.name!r} must have a reader of folders, got none; train "
            "it from Python"
        )
    path = command.data
    if not path.exists():
        raise ValueError(f"{where}: `--data` must be a folder or file, got {path}")
    arrays = system.read(recipe.config, path, split=split, damaged=command.damaged)
    check_arrays(f"{where} --data {path}", recipe, arrays)
    return arrays


def _changes(where: str, texts: Sequence[str]) -> dict[str, Any]:
    """Returns fields and values of `name=value`; values as JSON, or else as text."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ValueError(f"{where}: `--set` must be NAME=VALUE, got {text!r}")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _said(command: Any, message: Any) -> str:
    """Returns what an error or warning says, in the words of a command."""
    names = [field.name for field in fields(command)]
    return in_options(str(message), type(command).__name__.lower(), names)


def _warn(command: Any, message: Warning | str, *_: Any, **__: Any) -> None:
    _complain(f"warning: {_said(command, message)}")


def _forward(
    system: System, options: Any, inputs: tuple[Any, ...]
) -> tuple[Any, float]:
    """Returns the shapes of the outputs and the floating-point operations.

    Nothing is allocated and nothing compiled.
    """
    model = nnx.eval_shape(lambda: system.build(options, rngs=nnx.Rngs(0)))
    model.eval()
    graph, state = nnx.split(model)

    def forward(state: Any, *inputs: Any) -> Any:
        return nnx.merge(graph, state, copy=True)(*inputs)

    lowered = jax.jit(forward).lower(state, *inputs)
    found = lowered.cost_analysis() or {}
    return jax.eval_shape(forward, state, *inputs), float(found.get("flops", 0))


def _shapes(tree: Any) -> str:
    return ", ".join(
        f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(tree)
    )


def _print(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(header)
    )
    for title in header:
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    if sys.stdout.isatty():
        Console(markup=False, highlight=False).print(table)
        return
    plain = Console(file=io.StringIO(), width=WIDTH, markup=False, highlight=False)
    with plain.capture() as capture:
        plain.print(table)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def _complain(message: str) -> None:
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)
