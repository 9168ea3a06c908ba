"""What every program here does alike: reads arguments, complains, ends."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import tyro


OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def parse(
    kind: Any, prog: str, description: str, argv: Sequence[str], commands: Sequence[str]
) -> Any:
    """Returns what was asked for, or the exit code if there is nothing to do.

    Args:
        kind: dataclass, or union of one per command.
        prog: name of the program. description: first line of its help.
        argv: arguments.
        commands: names of the commands, none for a program without.
    """
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(
                kind,
                prog=prog,
                description=description,
                args=list(argv),
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
            )
    except SystemExit as end:
        if not end.code:
            return OK
        known = f"{argv[0]} " if argv and argv[0] in commands else ""
        what = _first_paragraph(errors.getvalue())
        complain(f"error: {what}; see {prog} {known}--help")
        return BAD_INPUT


def guarded(work: Callable[[], int]) -> int:
    """Returns the exit code of `work`, or reports why it ended and returns that one."""
    try:
        code = work()
        sys.stdout.flush()  # a closed pipe shows here, not while Python exits
        return code
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # as in `pinns list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        complain("error: out of memory; try fewer --points or a smaller --rank")
        return FAILED
    except (ValueError, TypeError, OSError) as error:
        # Messages about arguments name their function; anything else is a bug of ours
        # and deserves its traceback.
        if not isinstance(error, OSError) and not str(error).startswith("pinns"):
            raise
        complain(f"error: {' '.join(str(error).split())}")
        return BAD_INPUT


def complain(message: str) -> None:
    """Prints one line to standard error, after all that was printed before."""
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)


def leave(code: int) -> int:
    """Returns the exit code, but ends the process here and now if it is INTERRUPTED.

    An orderly exit may crash while it takes apart what the compiler was building when
    it was interrupted (seen with jax 0.10.2).
    """
    if code == INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _first_paragraph(text: str) -> str:
    """Returns what a message says after its title, on one line.

    The message comes in a box, or without one where standard output is not UTF-8;
    rules and empty lines separate its paragraphs.
    """
    lines = [
        line.strip("│╭╮╰╯").strip().strip("─").strip() for line in text.splitlines()
    ]
    rest = lines[1:]
    while rest and not rest[0].strip("-"):
        del rest[0]
    end = next((i for i, line in enumerate(rest) if not line.strip("-")), None)
    return " ".join(rest[:end]).rstrip(".")
