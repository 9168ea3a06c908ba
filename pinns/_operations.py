"""One operation of a traced residual, and how it is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Operation:
    """One array operation; values are numbered."""

    primitive: Any
    params: dict[str, Any]
    inputs: tuple[Any, ...]  # int: a value; Constant: a literal
    outputs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Constant:
    """A literal operand."""

    value: Any


def bind(operation: Operation, inputs: list) -> list:
    """Returns the results of an operation."""
    params = operation.primitive.get_bind_params(operation.params)
    result = operation.primitive.bind(*inputs, **params)
    return list(result) if operation.primitive.multiple_results else [result]


def run_operation(operation: Operation, env: dict[int, Any]) -> None:
    """Writes the results of an operation beside its operands."""
    inputs = [i.value if isinstance(i, Constant) else env[i] for i in operation.inputs]
    env.update(zip(operation.outputs, bind(operation, inputs), strict=True))
