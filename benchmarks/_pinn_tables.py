"""Tables of the PINN benchmarks, as Markdown with a line on what their figures are."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


Results = Mapping[str, Any]
Row = Mapping[str, Any]

# Running processes above which times are marked: one more than the two cores.
BUSY = 3.0
NAMES = {
    "cp": "CP",
    "tt": "TT",
    "tucker": "Tucker",
    "klein_gordon": "Klein-Gordon",
    "helmholtz": "Helmholtz",
    "poisson": "Poisson",
    "flow_mixing": "flow mixing",
    "vanilla": "vanilla PINN",
    "g_pinn": "G-PINN",
    "sa_pinn": "SA-PINN",
    "causal_pinn": "causal PINN",
    "deepxde": "DeepXDE",
    "pina": "PINA",
    "jinns": "jinns",
}
FAULTS = {"one_face": "one face trained", "own_source": "source from the network"}


def pinn_step(results: Results) -> str:
    """Returns one row per problem, grid, model and rank: time, memory, compilation."""
    result = results["pinn_step"]
    rows = [row for row in result["rows"] if row["kind"] == "step"]
    if not rows:
        raise ValueError("pinn_step.json has no rows of kind `step`")
    lines = _table(
        (
            *("problem", "grid", "model", "rank", "ours ms", "SPINN's form ms"),
            *("speed-up", "peak MB ours / SPINN's", "compile s ours / SPINN's"),
        ),
        [
            (
                NAMES[row["problem"]],
                _power(row["grid"]),
                NAMES[row["model"]],
                row["rank"],
                _milliseconds(row["ours_seconds"]),
                _milliseconds(row["reference_seconds"]),
                _speed_up(row["ratio"]),
                " / ".join(
                    f"{row[f'{side}_bytes']['total'] / 1e6:.1f}"
                    for side in ("ours", "reference")
                ),
                f"{row['ours_compile_seconds']:.1f} / "
                f"{row['reference_compile_seconds']:.1f}",
            )
            for row in rows
        ],
        left=3,
    )
    caption = (
        "One training step: loss, gradient, Adam; float32; tanh networks with three "
        "hidden layers as wide as the rank. SPINN's form is nested `jvp` through the "
        "whole contraction, in our own code; losses and gradients of the two are "
        "tested equal. Both run in one process, in turns. Milliseconds are medians; "
        "the speed-up is the median of paired ratios, in brackets its smallest and "
        "largest. Samples per row: "
        f"{_span(row['ratio']['n'] for row in rows)}. Peak: what XLA plans for the "
        "executable, temporaries, arguments and outputs. Compilation: once, no cache. "
        f"{_setting(result, rows)}"
    )
    return "\n".join([*lines, "", caption])


def compile_dimension(results: Results) -> str:
    """Returns how compile time grows with the dimension."""
    result = results["pinn_step"]
    rows = [row for row in result["rows"] if row["kind"] == "compile"]
    if not rows:
        raise ValueError("pinn_step.json has no rows of kind `compile`")
    low, high = rows[0]["dimensions"]
    columns = [f"{side}, d = {d}" for side in ("ours", "SPINN's") for d in (low, high)]
    lines = _table(
        ("model", "rank", *(f"{c}, s" for c in columns), "growth ours", "SPINN's"),
        [
            (
                NAMES[row["model"]],
                row["rank"],
                *(_seconds(s) for s in row["ours_seconds"]),
                *(_seconds(s) for s in row["reference_seconds"]),
                f"{row['ours_growth']:.2f}",
                f"{row['reference_growth']:.2f}",
            )
            for row in rows
        ],
        left=1,
    )
    ours, theirs = (
        _span(s["n"] for row in rows for s in row[f"{side}_seconds"])
        for side in ("ours", "reference")
    )
    points = rows[0]["grid"].split("^")[0]
    caption = (
        f"Compile time of a full training step of the Poisson problem with {points} "
        f"points per axis, tracing included, caches cleared each time: medians, in "
        f"brackets smallest and largest of {ours} compilations of ours and {theirs} of "
        f"SPINN's form. Growth: from d = {low} to d = {high}. {_setting(result, rows)}"
    )
    return "\n".join([*lines, "", caption])


def paper_klein_gordon_helmholtz(results: Results) -> str:
    """Returns table 2 of the paper beside ours."""
    return _paper(results, ("klein_gordon", "helmholtz"))


def paper_poisson_flow(results: Results) -> str:
    """Returns table 3 of the paper beside ours."""
    return _paper(results, ("poisson", "flow_mixing"))


def classical(results: Results) -> str:
    """Returns what spectral collocation does on the same problems."""
    result = results["classical"]
    lines = _table(
        ("problem", "relative L2", "largest error", "ms", "unknowns", "method"),
        [
            (
                row["problem"],
                f"{row['relative_l2']:.1e}",
                f"{row['linf']:.1e}",
                _milliseconds(row["seconds"]),
                f"{row['unknowns']:,}",
                row["method"],
            )
            for row in result["rows"]
        ],
        left=1,
    )
    samples = _span(row["seconds"]["n"] for row in result["rows"])
    caption = (
        "NumPy, float64. Errors on 100 test points per axis, 32 in five dimensions; "
        "milliseconds of a whole solve without this evaluation, median of "
        f"{samples}. {_setting(result, result['rows'])}"
    )
    return "\n".join([*lines, "", caption])


def peers(results: Results) -> str:
    """Returns errors and speed of other libraries beside ours, in equal seconds."""
    result = results["peers"]
    lines = []
    for row in result["rows"]:
        name = NAMES.get(row["library"], row["library"])
        if "missing" in row:
            cells = (f"missing: {row['missing']}", *("–",) * 4)
        else:
            cells = (
                _error(row["relative_l2"]),
                f"{row['iterations']:,}",
                f"{row['iterations_per_second']:.3g}",
                f"{row['seconds']:.0f}",
                f"{row['setup_seconds']:.1f}",
            )
        version = row.get("version", "–")
        lines.append((NAMES[row["problem"]], name, version, *cells))
    table = _table(
        (
            *("problem", "library", "version", "relative L2", "iterations", "it/s"),
            *("solving s", "set-up s"),
        ),
        lines,
        left=3,
    )
    caption = (
        "Equal seconds of solving, compilation apart, one seed. Peers and `pinns, "
        "pointwise`: a network of hidden layers 64, 64, 64 with tanh by Adam 1e-3 on "
        "4,096 points inside and 256 on every face; `pinns`: a separable network of "
        "rank 6 (Klein-Gordon) or 4 (Helmholtz) by self-scaled Broyden steps, float64. "
        f"{_setting(result, result['rows'])}"
    )
    return "\n".join([*table, "", caption])


def _paper(results: Results, names: Sequence[str]) -> str:
    result = results["paper_tables"]
    chosen = [row for row in result["rows"] if row["problem"] in names]
    trained = [row for row in chosen if row["model"] != "classical"]
    lines: list[Sequence[Any]] = []
    for name in names:
        own = [row for row in chosen if row["problem"] == name]
        lines += [_paper_line(row) for row in own if row["model"] != "classical"]
        lines += [_classical_line(row) for row in own if row["model"] == "classical"]
    table = _table(
        (
            *("problem", "model", "rank", "points", "iterations"),
            *("relative L2, median", "every seed", "it/s", "compile s"),
            *("paper: relative L2", "paper: it/s"),
        ),
        lines,
        left=2,
    )
    caption = (
        "Relative L2 at the last iteration, Adam 1e-3, float32: median, in brackets "
        "smallest and largest of the seeds; every seed that was run is shown "
        f"({_span(len(row['runs']) for row in trained)} a row). it/s: median, "
        "without compilation. The columns of the paper (Vemuri et al., ICPR 2024) are "
        "its printed errors and its speed on a GTX 1080, after "
        f"{_span(row['paper']['iterations'] for row in trained)} iterations on the "
        f"points in brackets; ours are after {_span(r['iterations'] for r in trained)} "
        "iterations: the two errors may be compared only where iterations and points "
        "agree. "
    )
    if any(row["weights"] != "paper" for row in trained):
        caption += (
            "A star marks the loss of the released code: faces summed, the residual of "
            "flow mixing weighed by 10. "
        )
    if any(row.get("load", 0.0) > BUSY for row in trained):
        caption += (
            "A dagger marks times taken while the machine had other work, on which "
            "errors do not depend. "
        )
    if any(row.get("fault") for row in trained):
        caption += (
            "Rows with a fault run what the released code runs; the paper's figures "
            "beside them, and beside the mended rows of the same model, were made so. "
        )
    if any(row["rank"] is None for row in trained):
        caption += (
            "Pointwise networks: hidden layers 64, 64, 64; causal weights of Helmholtz "
            "run along x. "
        )
    if "klein_gordon" in names:
        caption += "Klein-Gordon without an initial velocity is under-determined. "
    if "poisson" in names:
        caption += (
            "The paper prints 24 × 3 points for Poisson, read as 24⁵; its code trains "
            "one of the ten faces, here all are except where it says so. "
        )
    caption += "Collocation: `benchmarks/classical.py` in the same process, float64"
    caption += ", given the initial velocity. " if "klein_gordon" in names else ". "
    caption += _setting(result, chosen)
    return "\n".join([*table, "", caption])


def _paper_line(row: Row) -> Sequence[Any]:
    star = "" if row["weights"] == "paper" else "*"
    fault = row.get("fault")
    star += "" if fault is None else f", fault: {FAULTS[fault]}"
    busy = "†" if row.get("load", 0.0) > BUSY else ""
    errors = row["relative_l2"]
    runs = [run["relative_l2"] for run in row["runs"]]
    published = row["paper"]
    speed = published["iterations_per_second"]
    return (
        NAMES[row["problem"]],
        NAMES[row["model"]] + star,
        row["rank"] or "–",
        f"{row['points']}{_superscript(row['dimension'])}",
        f"{row['iterations']:,}",
        "failed" if errors is None else _errors(errors),
        " ".join("failed" if run is None else _error(run) for run in runs),
        f"{_speed(row['iterations_per_second']['median'])}{busy}",
        f"{row['compile_seconds']:.1f}{busy}",
        f"{published['relative_l2']:.3f} "
        f"({published['points']}{_superscript(row['dimension'])})",
        "–" if speed is None else speed,
    )


def _classical_line(row: Row) -> Sequence[Any]:
    error = f"{row['relative_l2']:.1e}"
    seconds = f"{1e3 * row['seconds']:.0f} ms in all"
    name = NAMES[row["problem"]]
    return (name, "collocation", *("–",) * 3, error, "–", seconds, *("–",) * 3)


def _table(
    header: Sequence[str], rows: Iterable[Sequence[Any]], *, left: int
) -> list[str]:
    """Returns the lines of a Markdown table; columns after `left` align right."""
    marks = ["---" if i < left else "---:" for i in range(len(header))]
    lines = [header, marks, *rows]
    return [f"| {' | '.join(str(cell) for cell in line)} |" for line in lines]


def _setting(result: Row, rows: Sequence[Row]) -> str:
    """Returns hardware, versions and date."""
    here = result["environment"]
    own = dict.fromkeys(row["hardware"] for row in rows if "hardware" in row)
    hardware = "; ".join(own) or f"{here['cpu']}, {here['cores']} cores"
    return (
        f"{hardware}; JAX {here['jax']}, optax {here['optax']}, NumPy {here['numpy']}, "
        f"Python {here['python']}; {here['date']}."
    )


def _span(values: Iterable[float]) -> str:
    found = sorted(set(values))
    if len(found) < 3:
        return " or ".join(f"{value:,}" for value in found)
    return f"{found[0]:,} to {found[-1]:,}"


def _milliseconds(summary: Row) -> str:
    return _three(1e3 * summary["median"])


def _seconds(summary: Row) -> str:
    return f"{summary['median']:.2f} ({summary['min']:.2f}–{summary['max']:.2f})"


def _speed_up(ratio: Row) -> str:
    """Returns the inverse of ours / reference."""
    middle, low, high = (1 / ratio[name] for name in ("median", "max", "min"))
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def _three(value: float) -> str:
    """Returns three significant digits, without an exponent."""
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"


def _speed(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _error(value: float) -> str:
    return f"{value:.3f}" if value >= 0.01 else f"{value:.1e}"


def _errors(summary: Row) -> str:
    middle, low, high = (_error(summary[name]) for name in ("median", "min", "max"))
    return f"{middle} ({low}–{high})"


def _power(grid: str) -> str:
    points, dimension = grid.split("^")
    return points + _superscript(int(dimension))


def _superscript(dimension: int) -> str:
    return str(dimension).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


TABLES: dict[str, Callable[[Results], str]] = {
    "pinn_step": pinn_step,
    "compile_dimension": compile_dimension,
    "paper_klein_gordon_helmholtz": paper_klein_gordon_helmholtz,
    "paper_poisson_flow": paper_poisson_flow,
    "classical": classical,
    "peers": peers,
}
