"""The command line: `jaxvision list`, `jaxvision info NAME`.

Exit codes: 0; 2 bad input; 130 interrupted. Tables go to standard output, errors to
standard error.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

import jax
import tyro
from flax import nnx
from rich.console import Console
from rich.table import Table

from jaxvision import registry
from jaxvision.layers import count_parameters
from jaxvision.system import System


OK, BAD_INPUT, INTERRUPTED = 0, 2, 130
DESCRIPTION = "Networks for images, their losses and recipes."
WIDTH = 400  # tables are as wide as their content where no terminal limits them


@dataclass(frozen=True)
class List:
    """List the systems."""


@dataclass(frozen=True)
class Info:
    """Show sizes, options, presets and the paper's figures of a system."""

    name: tyro.conf.Positional[str]
    """Name of the system."""


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Info, tyro.conf.subcommand("info")]
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
        _complain(f"error: {_what(errors.getvalue())}; see jaxvision --help")
        return BAD_INPUT
    if isinstance(command, List):
        return _list()
    try:
        system = registry.find("jaxvision info", command.name)
    except ValueError as error:
        _complain(f"error: {error}")
        return BAD_INPUT
    return _info(system)


def _what(text: str) -> str:
    """Returns what a boxed message says after its title, on one line."""
    lines = [line.strip("│╭╮╰╯─- ") for line in text.splitlines()]
    while lines[1:] and not lines[1]:  # without a box a rule follows the title
        del lines[1]
    end = lines.index("", 1) if "" in lines[1:] else len(lines)
    return " ".join(lines[1:end]).rstrip(".") or "no such arguments"


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
    _print(("figure", "in the paper"), list(system.paper_figures.items()))
    return OK


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
