"""What every benchmark script shares: turns, summaries, and the file with the figures.

times = interleave({"ours": lambda: ours(x), "scipy": lambda: theirs(x)})
rows = [{"method": name, "seconds": summarize(t)} for name, t in times.items()]
write("dct_speed", rows, claim="The DCT is as fast as SciPy's", peers=["scipy"])
"""

import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np


ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"


def interleave(
    functions: Mapping[str, Callable[[], Any]], repeats: int = 7, warmup: int = 1
) -> dict[str, list[float]]:
    """Returns the seconds of each call, by name, with the functions taking turns.

    Every second round runs in reverse (A B, B A, A B, ...), so that drift of the
    machine and the state of its caches meet all functions alike. A call ends when its
    result is ready. Calls of the warm-up, which hold the compilation, are not counted.
    """
    if repeats < 1:
        raise ValueError(f"interleave: `repeats` must be at least 1, got {repeats}")
    for function in functions.values():
        for _ in range(warmup):
            jax.block_until_ready(function())
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    order = list(functions)
    for _ in range(repeats):
        for name in order:
            start = time.perf_counter()
            jax.block_until_ready(functions[name]())
            seconds[name].append(time.perf_counter() - start)
        order.reverse()
    return seconds


def summarize(samples: Iterable[float]) -> dict[str, float | int]:
    """Returns median, min, max, interquartile range `iqr` and number `n` of samples."""
    values = np.asarray(list(samples), dtype=np.float64)
    if values.size == 0:
        raise ValueError("summarize: `samples` must not be empty")
    lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75])
    return {
        "median": float(median),
        "min": float(values.min()),
        "max": float(values.max()),
        "iqr": float(upper - lower),
        "n": int(values.size),
    }


def environment(peers: Iterable[str] = ()) -> dict[str, Any]:
    """Returns what a figure depends on besides the code that printed it.

    Args:
      peers: names of the distributions that were measured against, for their versions.
    """
    libraries = ("jax", "jaxlib", "numpy", "optax")
    return {
        "separax": _own_version(),
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in libraries},
        "peers": {name: importlib.metadata.version(name) for name in peers},
        "device": jax.devices()[0].device_kind,
        "cpu": _cpu(),
        "cores": _cores(),
        "os": _os(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }


def write(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    claim: str,
    notes: Sequence[str] = (),
    peers: Iterable[str] | None = None,
    folder: Path = RESULTS,
) -> Path:
    """Writes `<folder>/<name>.json` and returns its path.

    Args:
      name: of the claim, in lower case letters, digits and underscores.
      rows: one mapping per measurement; numbers, text, lists and mappings, finite.
      claim: the sentence that the rows are to prove, or to disprove.
      notes: what a reader has to know: sizes, settings, what is left out.
      peers: names of the distributions measured against.
      folder: where results lie.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"write: `name` must be of a-z, 0-9 and _, got {name!r}")
    if not rows or not claim.strip():
        raise ValueError(f"write: {name} must have a `claim` and at least one row")
    result = {
        "claim": claim,
        "environment": environment(peers or ()),
        "notes": list(notes),
        "rows": [dict(row) for row in rows],
    }
    return _store(name, result, folder)


def _store(name: str, result: Mapping[str, Any], folder: Path) -> Path:
    try:
        text = json.dumps(
            result, indent=2, ensure_ascii=False, allow_nan=False, default=_plain
        )
    except ValueError as error:
        raise ValueError(f"write: {name} has a value that is not finite") from error
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(text + "\n", encoding="utf-8")
    return path


def judged(verdicts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Prints what was expected and whether it holds; returns rows of kind `verdict`.

    A verdict has `what`, `figure` and `holds`.
    """
    rows = [{"kind": "verdict", **verdict} for verdict in verdicts]
    for row in rows:
        print(f"{row['holds']!s:5} {row['what']}: {row['figure']}")
    return rows


def judge_again(
    name: str,
    verdicts: Callable[[list[dict[str, Any]]], Iterable[Mapping[str, Any]]],
    *,
    folder: Path = RESULTS,
) -> Path:
    """Writes a file with the verdicts on its rows as they are drawn now.

    For claims that are put in other words: nothing is measured, so that everything else
    in the file stays as it is, machine and date of the rows included.

    Args:
      name: of the file.
      verdicts: of the rows that are no verdicts, as `judged` takes them.
      folder: where results lie.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        raise ValueError(f"judge_again: {path} must hold rows, got no such file")
    result = json.loads(path.read_text(encoding="utf-8"))
    rows = [row for row in result["rows"] if row.get("kind") != "verdict"]
    return _store(name, {**result, "rows": rows + judged(verdicts(rows))}, folder)


def _plain(value: object) -> object:
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return np.asarray(value).tolist()
    raise TypeError(f"write: no JSON for {value!r} of type {type(value).__name__}")


def _own_version() -> str:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def _commit(root: Path = ROOT) -> str:
    """The commit, with "+dirty" if anything but earlier results differs from it."""
    changed = ["status", "--porcelain", "--", ".", ":(exclude)benchmarks/results"]
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+dirty" if _git(root, *changed) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        text = info.read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE):
            return found.group(1).strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _os() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = f"{platform.system()} {platform.release()}"
    return f"{name} ({platform.machine()})"
