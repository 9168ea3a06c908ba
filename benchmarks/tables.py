"""Tables of README and docs, rendered from `benchmarks/results/*.json`.

A table stands between two lines, the first of which names it:

    <!-- table:NAME -->
    | ... |
    <!-- /table -->

and a figure within a line, as in a cell of a table, between two marks:

    <!-- figure:NAME -->3.2<!-- /figure -->

`python -m benchmarks.tables` renews all of them; `--check` changes nothing, names those
that are out of date and exits with 1.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    _convolution_tables,
    _factored_tables,
    _inverse_tables,
    _nonlinear_tables,
    _pinn_tables,
    _sphere_tables,
    _system_figures,
    _training_tables,
    _transform_tables,
    _vision_tables,
)


ROOT = Path(__file__).resolve().parent.parent

# Name of a table -> what renders it, given all results by the names of their files.
Render = Callable[[Mapping[str, Any]], str]
TABLES: dict[str, Render] = {
    **_pinn_tables.TABLES,
    **_factored_tables.TABLES,
    **_nonlinear_tables.TABLES,
    **_inverse_tables.TABLES,
    **_transform_tables.TABLES,
    **_convolution_tables.TABLES,
    **_sphere_tables.TABLES,
    **_training_tables.TABLES,
    **_vision_tables.TABLES,
    **_system_figures.FIGURES,
}

BLOCK = re.compile(
    r"^<!-- table:(?P<name>[\w-]+) -->\n(?P<body>.*?)^<!-- /table -->$",
    re.MULTILINE | re.DOTALL,
)
INLINE = re.compile(
    r"<!-- figure:(?P<name>[\w-]+) -->(?P<body>[^\n]*?)<!-- /figure -->"
)
INLINE_MARK = re.compile(r"<!-- (?:figure:[\w-]+|/figure) -->")
MARK = re.compile(r"^<!-- (?:table:.*|/table) -->$", re.MULTILINE)


class Results(dict[str, Any]):
    """Results by name; asking for one that was never measured says so."""

    def __missing__(self, name: str) -> Any:
        raise ValueError(f"no benchmarks/results/{name}.json: run its benchmark first")


def load(root: Path = ROOT) -> Results:
    """Returns the content of every result file by its name without `.json`."""
    files = sorted((root / "benchmarks" / "results").glob("*.json"))
    return Results({file.stem: json.loads(file.read_text("utf-8")) for file in files})


def documents(root: Path = ROOT) -> list[Path]:
    """Returns the files that may hold tables, as far as they exist."""
    readme = root / "README.md"
    return [readme] * readme.is_file() + sorted((root / "docs").glob("**/*.md"))


def refresh(
    text: str, results: Mapping[str, Any], tables: Mapping[str, Render]
) -> tuple[str, list[str]]:
    """Returns the text with its tables rendered, and the names of all that changed."""
    if len(MARK.findall(text)) != 2 * len(BLOCK.findall(text)):
        raise ValueError("a table mark has no partner or stands inside a table")
    if len(INLINE_MARK.findall(text)) != 2 * len(INLINE.findall(text)):
        raise ValueError("a figure mark has no partner in its line")
    changed = []

    def rendered(block: re.Match[str], end: str) -> str:
        name = block["name"]
        if name not in tables:
            known = ", ".join(sorted(tables)) or "none"
            raise ValueError(f"table `{name}` has no render function (known: {known})")
        body = tables[name](results).strip("\n") + end
        if body != block["body"]:
            changed.append(name)
        return body

    def table(block: re.Match[str]) -> str:
        body = rendered(block, "\n")
        return f"<!-- table:{block['name']} -->\n{body}<!-- /table -->"

    def figure(block: re.Match[str]) -> str:
        body = rendered(block, "")
        return f"<!-- figure:{block['name']} -->{body}<!-- /figure -->"

    return INLINE.sub(figure, BLOCK.sub(table, text)), changed


def renew(
    root: Path = ROOT, tables: Mapping[str, Render] = TABLES, *, check: bool = False
) -> list[str]:
    """Rewrites the documents unless `check`; returns all that was stale, by file."""
    results, stale = load(root), []
    for path in documents(root):
        name = path.relative_to(root).as_posix()
        try:
            text, changed = refresh(path.read_text(encoding="utf-8"), results, tables)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        stale += [f"{name}: {table}" for table in changed]
        if changed and not check:
            path.write_text(text, encoding="utf-8")
    return stale


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args(arguments).check
    try:
        stale = renew(check=check)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for line in stale:
        print(f"{'out of date' if check else 'renewed'}: {line}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
