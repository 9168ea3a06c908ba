"""Rows of a long benchmark: kept as soon as they are measured, renewed one by one."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from benchmarks import _results


Row = dict[str, Any]


def hardware() -> str:
    """Returns what JAX computes on, in words."""
    here = _results.environment()
    if jax.default_backend() == "cpu":
        return f"{here['cpu']}, {here['cores']} cores"
    return str(here["device"])


@contextmanager
def compiled_programs() -> Iterator[None]:
    """Keeps compiled programs on disk, from one seed to the next, in an empty cache."""
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
    )
    before = [getattr(jax.config, name) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        for name, value in zip(names, (folder, 0.1), strict=True):
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        try:
            yield
        finally:
            for name, value in zip(names, before, strict=True):
                jax.config.update(name, value)
            compilation_cache.reset_cache()


class Ledger:
    """The rows of one result file; a row is known by the values of some of its keys.

    Args:
        name, claim, notes: of the file, see `_results.write`.
        keys: of a row that tell it from all others.
        folder: where results lie; None keeps the rows in memory only.
    """

    def __init__(
        self,
        name: str,
        *,
        claim: str,
        keys: Sequence[str],
        notes: Sequence[str] = (),
        folder: Path | None = _results.RESULTS,
    ):
        self.name, self.claim, self.keys = name, claim, tuple(keys)
        self.notes, self.folder = tuple(notes), folder
        self.rows: list[Row] = []
        if folder is not None and (folder / f"{name}.json").is_file():
            text = (folder / f"{name}.json").read_text(encoding="utf-8")
            self.rows = json.loads(text)["rows"]

    def key(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """Returns what tells this row from others; None where a key is missing."""
        return tuple(row.get(name) for name in self.keys)

    def find(self, row: Mapping[str, Any]) -> Row | None:
        """Returns the kept row with the same keys, or None."""
        wanted = self.key(row)
        return next((kept for kept in self.rows if self.key(kept) == wanted), None)

    def put(self, row: Mapping[str, Any]) -> None:
        """Adds a row, or renews it in its place, and saves.

        The row gets commit and date, because rows of one file may be of several runs.
        """
        here = _results.environment()
        new = {**row, "commit": here["commit"], "date": here["date"]}
        wanted = self.key(new)
        for i, kept in enumerate(self.rows):
            if self.key(kept) == wanted:
                self.rows[i] = new
                break
        else:
            self.rows.append(new)
        self.save()

    def arrange(self, plan: Sequence[Mapping[str, Any]], *, drop: bool) -> None:
        """Orders rows as planned and saves; `drop` leaves out what is not planned."""
        order: dict[tuple[Any, ...], int] = {}
        for row in plan:
            order.setdefault(self.key(row), len(order))
        rows = [r for r in self.rows if not drop or self.key(r) in order]
        self.rows = sorted(rows, key=lambda r: order.get(self.key(r), len(order)))
        self.save()

    def save(self) -> None:
        """Writes the file, unless the rows are for memory only or there are none."""
        if self.folder is not None and self.rows:
            _results.write(
                self.name,
                self.rows,
                claim=self.claim,
                notes=self.notes,
                folder=self.folder,
            )
