"""A table that compares runs: `python -m jaxcore.training runs/*`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxcore.training.logging import FILE, OWNER


SKIPPED = {"step", "time", "event", "steps_per_second"}


def read_log(folder: str | Path) -> list[dict[str, Any]]:
    """Returns the rows of a run's log; a last line cut off by a crash is left out.

    Where a run was resumed, rows of steps that it repeated are left out too.

    Raises:
        ValueError: there is no log, or a line in it is no JSON object.
    """
    path = Path(folder)
    path = path / FILE if path.is_dir() else path
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except OSError as error:
        raise ValueError(f"{OWNER}.read_log: no log in {folder}: {error}") from None
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):
                break
            row = None
        if not isinstance(row, dict):
            raise ValueError(
                f"{OWNER}.read_log: line {number} of {path} must be a JSON object, got "
                f"{line.strip()[:60]!r}"
            )
        if row.get("event") == "start":
            rows = [r for r in rows if r["step"] <= row["step"]]
        rows.append(row)
    return rows


def runs(folders: str | Path | Sequence[str | Path]) -> str:
    """Returns a table with one line per run: steps, speed, last metrics, how it ended.

    Args:
        folders: of runs, each with a `log.jsonl`; or the folder of one.

    Raises:
        ValueError: a folder without a log, or none at all.
    """
    if isinstance(folders, str | Path):
        folders = [folders]
    if not folders:
        raise ValueError(f"{OWNER}.runs: `folders` must not be empty")
    found = [(str(folder), _summary(read_log(folder))) for folder in folders]
    names = list(dict.fromkeys(n for _, summary in found for n in summary["metrics"]))
    header = ["run", "steps", "steps/s", *names, "result"]
    lines = [
        [
            name,
            str(summary["step"]),
            _number(summary["rate"]),
            *(_number(summary["metrics"].get(n)) for n in names),
            summary["result"],
        ]
        for name, summary in found
    ]
    widths = [
        max(len(line[i]) for line in [header, *lines]) for i in range(len(header))
    ]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i in (0, len(header) - 1) else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [header, *lines]
    )


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "step": 0, "rate": None, "metrics": {}, "result": "running or killed",
    }  # fmt: skip
    for row in rows:
        summary["step"] = max(summary["step"], row["step"])
        if row.get("event") == "end":
            summary["result"] = row["result"]
        elif row.get("event") == "start":
            summary["result"] = "running or killed"
        elif "event" not in row:
            summary["rate"] = row.get("steps_per_second", summary["rate"])
            summary["metrics"].update(
                {k: v for k, v in row.items() if k not in SKIPPED}
            )
    return summary


def _number(value: Any) -> str:
    if isinstance(value, int | float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table of the folders named; returns the exit status."""
    folders = sys.argv[1:] if arguments is None else list(arguments)
    try:
        print(runs(folders))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
