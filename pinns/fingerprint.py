"""What a checkpoint remembers of a problem and an optimizer, to know them again.

Functions cannot be compared, but what they do to arrays can: a residual or a condition
is traced, and its operations, literals and constants are hashed. Texts of this kind
change with the version of JAX, which is therefore part of the result.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import jax
import numpy as np
import optax

from pinns.domain import precision
from pinns.evaluation import along, with_lifts
from pinns.problem import Problem
from pinns.program import Constant, Program, trace


ADDRESS = re.compile(r"0x[0-9a-f]+")


def describe_problem(problem: Problem) -> dict[str, Any]:
    """Returns JSON-able values that differ for problems that differ.

    Example:
        >>> import pinns
        >>> box = pinns.Box(x=(0.0, 1.0))
        >>> one, other = (
        ...     describe_problem(pinns.Problem(box, lambda u, x: u.d("x") - a * x))
        ...     for a in (1.0, 2.0)
        ... )
        >>> one["terms"] == other["terms"], one["box"] == other["box"]
        (False, True)
    """
    terms: dict[str, list[Any]] = {}
    for term in problem.terms:
        digest = _digest(_program(problem, term))
        terms.setdefault(term.name, []).append([digest, float(term.weight)])
    for unknown, data in problem.data:
        digest = _digest([unknown, np.asarray(data.points), np.asarray(data.values)])
        terms.setdefault("data", []).append([digest, float(data.weight)])
    box = problem.box
    return {
        "jax": jax.__version__,
        "problem": problem.name,
        "box": {
            name: [float(v) for v in interval]
            for name, interval in zip(box.names, box.intervals, strict=True)
        },
        "unknowns": list(problem.unknowns),
        **({"parameters": own.describe()} if (own := problem.parameters) else {}),
        "hard": [c.group(box) for c in problem.conditions if getattr(c, "hard", False)],
        "terms": terms,
    }


def describe_optimizer(optimizer: optax.GradientTransformation, params: Any) -> str:
    """Returns a text that differs for optimizers that differ in what they do."""
    init = jax.eval_shape(optimizer.init, params)
    extended = optax.with_extra_args_support(optimizer)

    def update(gradient, state, params):
        return extended.update(
            gradient, state, params, value=0.0, grad=gradient, value_fn=lambda _: 0.0
        )

    jaxpr = jax.make_jaxpr(update)(params, init, params)
    return _digest([str(jaxpr), *map(np.asarray, jaxpr.consts)])


def _program(problem: Problem, term: Any) -> list[Any]:
    d = problem.box.dimension
    shape = (2,) * d
    axes = [along(2, k, d) for k in range(d)]
    with precision("float64"):
        partial = problem.parameters.axes
        program = trace(with_lifts(problem, term), shape, "float64", axes, partial)
    return [*term.selectors, *_parts(program)]


def _parts(program: Program) -> list[Any]:
    parts: list[Any] = [program.leaves, program.outputs]
    for operation in program.operations:
        parts += [str(operation.primitive), sorted(operation.params.items(), key=str)]
        parts += [operation.inputs, operation.outputs]
    return parts + [[k, v] for k, v in sorted(program.constants.items())]


def _digest(parts: Any) -> str:
    found = hashlib.sha256()
    _feed(found, parts)
    return found.hexdigest()[:16]


def _feed(found: Any, part: Any) -> None:
    if isinstance(part, Constant):
        part = part.value
    if isinstance(part, list | tuple):
        found.update(b"(")
        for one in part:
            _feed(found, one)
        found.update(b")")
    elif isinstance(part, np.ndarray | np.generic | jax.Array):
        array = np.asarray(part)
        found.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    else:
        found.update(ADDRESS.sub("", repr(part)).encode() + b";")
