"""Tables of the transform benchmarks, as Markdown with a line on what they show."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks._pinn_tables import _milliseconds, _setting, _table


Results = Mapping[str, Any]
Row = Mapping[str, Any]


def dct(results: Results) -> str:
    """Returns one row per shape and precision: forward and gradient side by side."""
    result = results["dct"]
    lines = _table(
        (
            *("batch × length", "precision", "forward: ours ms", "jax ms", "SciPy ms"),
            *("jax / ours", "SciPy / ours"),
            *("gradient: ours ms", "jax ms", "SciPy, two transforms, ms"),
            *("jax / ours", "SciPy / ours", "largest error"),
        ),
        [
            (
                " × ".join(str(length) for length in forward["shape"]),
                forward["dtype"],
                *_dct_cells(forward),
                *_dct_cells(gradient),
                f"{max(forward['largest_error'], gradient['largest_error']):.0e}",
            )
            for forward, gradient in _kinds(result["rows"], ("shape", "dtype"))
        ],
        left=2,
    )
    caption = (
        'DCT-II of all axes but the first, orthonormal; ours with `method="auto"`, '
        "`jax.scipy.fft.dctn`, and SciPy with one worker on the same arrays, in turns "
        "in one process. Gradient: of half the squared sum of the coefficients, a "
        "transform and its adjoint; SciPy: `dctn`, then `idctn`. Milliseconds are "
        "medians without compilation; ratios are medians over calls of the same round, "
        "in brackets smallest and largest. Largest error: against SciPy forward, "
        f"against the input back. {_samples(result['rows'])} "
        f"SciPy {result['environment']['peers']['scipy']}; "
        f"{_setting(result, result['rows'])}"
    )
    return "\n".join([*lines, "", caption])


def dct_attention(results: Results) -> str:
    """Returns one row per shape: forward and gradient side by side."""
    result = results["dct_attention"]
    keys = ("batch", "side", "channels", "grid")
    lines = _table(
        (
            *("batch × side² × channels", "grid", "forward: ours ms", "direct ms"),
            *("all at once ms", "direct / ours", "gradient: ours ms", "direct ms"),
            *("all at once ms", "direct / ours"),
            "memory of the gradient, maps: ours, direct, all at once",
        ),
        [
            (
                f"{forward['batch']} × {forward['side']}² × {forward['channels']}",
                forward["grid"],
                *_attention_cells(forward),
                *_attention_cells(gradient),
                ", ".join(
                    f"{gradient['temporary_bytes'][name] / gradient['map_bytes']:.1f}"
                    for name in gradient["seconds"]
                ),
            )
            for forward, gradient in _kinds(result["rows"], keys)
        ],
        left=1,
    )
    difference = max(row["largest_difference"] for row in result["rows"])
    caption = (
        "Average, maximum and minimum over 16 frequencies, float32. Direct: a scan "
        "over the frequencies with fused products and reductions. All at once: one "
        "expression over all frequencies, at small grids only. Where the side differs "
        "from the grid, all forms pool first. Gradient: value and gradient of a random "
        "combination. Milliseconds are medians without compilation; ratios are medians "
        "over calls of the same round, in brackets smallest and largest. Memory: what "
        "XLA plans besides arguments and results, in units of one pooled map. Ours and "
        f"direct differ by at most {difference:.0e}. {_samples(result['rows'])} "
        f"{_setting(result, result['rows'])}"
    )
    return "\n".join([*lines, "", caption])


def _kinds(rows: Sequence[Row], keys: Sequence[str]) -> list[tuple[Row, Row]]:
    """Returns the pairs of forward and gradient rows with equal keys, in order."""

    def key(row: Row) -> str:
        return str([row[name] for name in keys])

    gradients = {key(row): row for row in rows if row["kind"] == "gradient"}
    forwards = [row for row in rows if row["kind"] == "forward"]
    return [(row, gradients[key(row)]) for row in forwards]


def _dct_cells(row: Row) -> list[str]:
    times = [_milliseconds(row["seconds"][name]) for name in ("ours", "jax", "scipy")]
    return [*times, _ratio(row["jax_over_ours"]), _ratio(row["scipy_over_ours"])]


def _attention_cells(row: Row) -> list[str]:
    times = [
        _milliseconds(row["seconds"][name]) if name in row["seconds"] else "–"
        for name in ("auto", "direct", "vectorized")
    ]
    return [*times, _ratio(row["direct_over_auto"])]


def _ratio(summary: Row) -> str:
    return f"{summary['median']:.1f} ({summary['min']:.1f}–{summary['max']:.1f})"


def _samples(rows: Sequence[Row]) -> str:
    found = sorted({s["n"] for row in rows for s in row["seconds"].values()})
    return f"Samples: {' or '.join(str(n) for n in found)}."


TABLES: dict[str, Callable[[Results], str]] = {
    "dct": dct,
    "dct_attention": dct_attention,
}
