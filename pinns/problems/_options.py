"""What the benchmark problems share: checks of options, and the record of them."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from pinns.problem import Problem


Options = ParamSpec("Options")
Made = TypeVar("Made", bound=Problem)


def benchmark(build: Callable[Options, Made]) -> Callable[Options, Made]:
    """Returns `build`, made to write down its name and options in the problem.

    `Problem.name` becomes the function's name and `Problem.origin` the pair of that
    name and all options, defaults filled in, as JSON-able values: enough to make the
    problem again with `pinns.problems.create`.
    """

    @functools.wraps(build)
    def built(*args: Options.args, **kwargs: Options.kwargs) -> Made:
        problem = build(*args, **kwargs)
        options = inspect.signature(build).bind(*args, **kwargs)
        options.apply_defaults()
        problem.name = build.__name__
        problem.origin = (
            build.__name__,
            {name: _plain(value) for name, value in options.arguments.items()},
        )
        return problem

    return built


def check_flags(owner: str, **flags: bool) -> None:
    """Raises ValueError for an option that is neither True nor False."""
    for name, value in flags.items():
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(
                f"pinns.problems.{owner}: `{name}` must be True or False, got {value!r}"
            )


def check_number(
    owner: str,
    name: str,
    value: float,
    lower: float = 0.0,
    upper: float = math.inf,
    *,
    closed: bool = False,
) -> float:
    """Returns `value` as a float if it is a finite number in the given range.

    Args:
        owner, name: the problem and the option, for the error.
        value: what was given.
        lower, upper: ends of the range; by default all positive numbers.
        closed: the ends belong to the range.

    Raises:
        ValueError: anything else.
    """
    number = isinstance(value, (int, float, np.integer, np.floating))
    if number and not isinstance(value, bool):
        inside = lower <= value <= upper if closed else lower < value < upper
        if inside and math.isfinite(value):
            return float(value)
    if upper < math.inf:
        expected = f"a number from {lower:g} to {upper:g}"
    else:
        expected = "a finite non-negative number" if closed else "a positive number"
    raise ValueError(
        f"pinns.problems.{owner}: `{name}` must be {expected}, got {value!r}"
    )


def check_wavenumber(owner: str, name: str, value: int) -> int:
    """Returns `value` if it is a positive integer, else raises ValueError."""
    if not _is_wavenumber(value):
        raise ValueError(
            f"pinns.problems.{owner}: `{name}` must be a positive integer, "
            f"got {value!r}"
        )
    return int(value)


def check_wavenumbers(
    owner: str, name: str, values: Sequence[int], count: int
) -> tuple[int, ...]:
    """Returns `values` as a tuple if they are `count` positive integers.

    Raises:
        ValueError: anything else.
    """
    sequence = isinstance(values, (tuple, list, np.ndarray))
    entries = tuple(values) if sequence else ()
    if len(entries) != count or not all(_is_wavenumber(entry) for entry in entries):
        raise ValueError(
            f"pinns.problems.{owner}: `{name}` must be {count} positive integers, "
            f"got {values!r}"
        )
    return tuple(int(entry) for entry in entries)


def _is_wavenumber(value: object) -> bool:
    integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return integer and value >= 1  # type: ignore[operator]


def _plain(value: Any) -> Any:
    """Returns the JSON-able equal of an option."""
    if isinstance(value, (tuple, list, np.ndarray)):
        return [_plain(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value
