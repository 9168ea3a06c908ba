"""Tables of the training engine, as Markdown with a line on what their figures are."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


Results = Mapping[str, Any]
Row = Mapping[str, Any]


def reliability(results: Results) -> str:
    """Returns what was tried and what was lost."""
    (kills,), (signals,) = _rows(results, "kills"), _rows(results, "signals")
    damages = _rows(results, "damages")
    lines = [
        (
            "kill -9 while saving all the time",
            kills["kills"],
            f"{kills['inside_a_write']} inside a write",
            f"{kills['acknowledged_steps_lost']} acknowledged steps lost, "
            f"{kills['unreadable_latest']} unreadable, {kills['wrong_values']} wrong",
        ),
        (
            "SIGTERM",
            signals["signals"],
            f"{signals['in_the_first_call']} within the first call or compilation",
            f"{signals['saved_and_exit_0']} saved the last step and exited with 0",
        ),
        *(
            (
                f"{row['damage']} in a checkpoint's file",
                row["trials"],
                f"{row['fell_back']} fell back a step, {row['harmless']} harmless, "
                f"{row['refused']} refused",
                f"{row['wrong_numbers']} wrong numbers",
            )
            for row in damages
        ),
    ]
    header = ("what happened", "times", "how", "outcome")
    caption = (
        f"State of {kills['state_bytes'] / 1e6:.1f} MB for the kills; damages go "
        f"through all {damages[0]['files']} files of a checkpoint. Every state that "
        "came back is compared with the known one, number by number. "
        + _setting(results["reliability"])
    )
    return "\n".join([*markdown(header, lines, left=4), "", caption])


def training_overhead(results: Results) -> str:
    """Returns time per step of a bare loop and of `fit` on one device."""
    rows = [row for row in _rows(results, "overhead") if row["devices"] == 1]
    return _overhead(results, rows, "Bare loop: a jitted step with donated state. ")


def training_scaling(results: Results) -> str:
    """Returns the same on several host devices."""
    rows = [row for row in _rows(results, "overhead") if row["devices"] > 1]
    caption = (
        "Host devices share the cores of one CPU: the table is about overhead, not "
        "speed-up. Bare loop: the same step under `jax.jit` with a sharded batch, "
        "waited for one by one. "
    )
    return _overhead(results, rows, caption)


def _overhead(results: Results, rows: Sequence[Row], caption: str) -> str:
    header = ("devices", "parallel", "bare ms", "fit ms", "overhead %", "CPU time %")
    lines = [
        (
            row["devices"],
            row["parallel"],
            f"{1e3 * row['bare_seconds']['median']:.2f}",
            f"{1e3 * row['fit_seconds']['median']:.2f}",
            _percent(row["overhead"]),
            _percent(row["processor_overhead"]),
        )
        for row in rows
    ]
    result = results[_file("overhead")]
    samples = rows[0]["overhead"]["n"]
    caption += (
        f"Median and half the quartile range of {samples} turns; the bare loop has its "
        "batches on the devices, `fit` reads and logs. The last column is the overhead "
        "in seconds of the processor, all threads together. "
    )
    return "\n".join([*markdown(header, lines, left=2), "", caption + _setting(result)])


def _percent(summary: Row) -> str:
    return f"{100 * summary['median']:.1f} (± {50 * summary['iqr']:.1f})"


def _rows(results: Results, kind: str) -> list[Row]:
    name = _file(kind)
    rows = [row for row in results[name]["rows"] if row["kind"] == kind]
    if not rows:
        raise ValueError(f"{name}.json has no rows of kind `{kind}`")
    return rows


def _file(kind: str) -> str:
    return "training_overhead" if kind == "overhead" else "reliability"


def _setting(result: Row) -> str:
    here = result["environment"]
    hardware = "; ".join(dict.fromkeys(row["hardware"] for row in result["rows"]))
    return (
        f"{hardware}; JAX {here['jax']}, NumPy {here['numpy']}, Python "
        f"{here['python']}; {here['date']}."
    )


def markdown(
    header: Sequence[str], rows: Iterable[Sequence[Any]], *, left: int
) -> list[str]:
    """Returns the lines of a Markdown table; columns after `left` align right."""
    marks = ["---" if i < left else "---:" for i in range(len(header))]
    return [f"| {' | '.join(map(str, line))} |" for line in (header, marks, *rows)]


TABLES: dict[str, Callable[[Results], str]] = {
    "reliability": reliability,
    "training_overhead": training_overhead,
    "training_scaling": training_scaling,
}
