"""Values from the texts that were typed, with errors that name the option."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Sequence
from typing import Any

from pinns import problems
from pinns.cli.arguments import MODEL_CLASSES, Solve, Words
from pinns.evaluation import Model


# The default grid has about as many points in any dimension as 64^3.
DEFAULT_POINTS = 64
BOOLS = {"true": True, "false": False}


def problem_options(owner: str, problem: str, pairs: Sequence[str]) -> dict[str, Any]:
    """Returns options of a built-in problem from `name=value` texts.

    Args:
        owner: the command, for errors.
        problem: key of `pinns.problems.PROBLEMS`, whose signature gives the types.
        pairs: texts; tuples as `2,2,1`, bools as `true` or `false`.

    Raises:
        ValueError: no `=`, a repeated or unknown name, a value of another type.

    Example:
        >>> problem_options("pinns solve", "helmholtz3d", ["a=2,2,1", "hard=true"])
        {'a': (2, 2, 1), 'hard': True}
    """
    function = problems.PROBLEMS[problem]
    hints = typing.get_type_hints(function)
    allowed = list(inspect.signature(function).parameters)
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"{owner}: `-p` must be NAME=VALUE, got {pair!r}")
        if name not in allowed:
            raise ValueError(
                f"{owner}: {problem} has no option {name!r}, its options are "
                f"{', '.join(allowed)}"
            )
        if name in options:
            raise ValueError(f"{owner}: `-p {name}` must be given once, got {pair!r}")
        hint = hints.get(name, str)
        try:
            options[name] = _typed(text.strip(), hint)
        except ValueError:
            raise ValueError(
                f"{owner}: `-p {name}` must be {type_name(hint)}, got {text!r}"
            ) from None
    return options


def _typed(text: str, hint: Any) -> Any:
    """Returns the text as a value of the annotated type, or raises ValueError."""
    if hint is bool:
        if text.lower() not in BOOLS:
            raise ValueError(text)
        return BOOLS[text.lower()]
    if typing.get_origin(hint) is tuple:
        kinds = [k for k in typing.get_args(hint) if k is not Ellipsis]
        parts = text.strip("()").removesuffix(",").split(",")
        last = len(kinds) - 1
        return tuple(
            _typed(part.strip(), kinds[min(i, last)]) for i, part in enumerate(parts)
        )
    return hint(text)


def type_name(hint: Any) -> str:
    """Returns what is to be typed for a value of the annotated type."""
    if typing.get_origin(hint) is tuple:
        kinds = [type_name(k) for k in typing.get_args(hint) if k is not Ellipsis]
        more = ",..." if Ellipsis in typing.get_args(hint) else ""
        return ",".join(kinds) + more
    return "true or false" if hint is bool else getattr(hint, "__name__", str(hint))


def shown(value: Any) -> str:
    """Returns a default as it would be typed after `-p name=`."""
    if isinstance(value, tuple):
        return ",".join(shown(entry) for entry in value)
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def build_model(owner: str, command: Solve) -> Model | None:
    """Returns the model that the options describe; None if they describe none.

    Raises:
        ValueError: no such model, or an option that it does not have.
    """
    described = (
        command.rank,
        command.network,
        command.hidden,
        command.activation,
        command.initializer,
    )
    if command.model is None and all(value is None for value in described):
        return None
    name = "cp" if command.model is None else command.model
    if name not in MODEL_CLASSES:
        raise ValueError(
            f"{owner}: `--model` must be one of {', '.join(MODEL_CLASSES)}, "
            f"got {name!r}"
        )
    rank = integers(owner, "rank", command.rank)
    hidden = integers(owner, "hidden", command.hidden)
    given = {
        "rank": rank,
        "network": command.network,
        "hidden": (hidden,) if isinstance(hidden, int) else hidden,
        "activation": command.activation,
        "initializer": command.initializer,
    }
    kind = MODEL_CLASSES[name]
    known = {field.name for field in dataclasses.fields(kind) if field.init}
    options = {name: value for name, value in given.items() if value is not None}
    for option, value in options.items():
        if option not in known:
            raise ValueError(
                f"{owner}: `--{option}` does not apply to --model {name}, got {value!r}"
            )
    return kind(**options)


def basis_of(owner: str, words: Words | None) -> str | dict[str, str] | None:
    """Returns one name, or names by axis of `axis=name` texts; None if not given.

    Raises:
        ValueError: several words of which one has no `=`.
    """
    if words is None or (len(words) == 1 and "=" not in words[0]):
        return None if words is None else words[0]
    return dict(_by_axis(owner, "basis", "NAME", words))


def cluster_of(
    owner: str, words: Words | None
) -> dict[str, tuple[float, float]] | None:
    """Returns center and width by axis of `axis=center,width` texts.

    Raises:
        ValueError: a text of another form.
    """
    if words is None:
        return None
    out = {}
    for axis, text in _by_axis(owner, "cluster", "CENTER,WIDTH", words):
        try:
            center, width = (float(part) for part in text.split(","))
        except ValueError:
            raise ValueError(
                f"{owner}: `--cluster` must be AXIS=CENTER,WIDTH, got "
                f"{axis + '=' + text!r}"
            ) from None
        out[axis] = (center, width)
    return out


def _by_axis(
    owner: str, option: str, value: str, words: Words
) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for word in words:
        axis, equals, text = word.partition("=")
        if not (axis and equals and text) or axis in dict(out):
            raise ValueError(
                f"{owner}: `--{option}` must be AXIS={value}, once for each axis, got "
                f"{' '.join(words)!r}"
            )
        out.append((axis, text))
    return out


def integers(
    owner: str, name: str, words: Words | None
) -> int | tuple[int, ...] | None:
    """Returns one integer, a tuple of several, or None if the option is not given."""
    if words is None:
        return None
    try:
        numbers = tuple(int(word) for group in words for word in group.split(","))
    except ValueError:
        numbers = ()
    if not numbers:
        raise ValueError(
            f"{owner}: `--{name}` must be one or more integers, got {' '.join(words)!r}"
        )
    return numbers[0] if len(numbers) == 1 else numbers
