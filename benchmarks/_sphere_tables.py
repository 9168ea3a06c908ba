"""Tables of the benchmarks on the sphere, as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


Results = Mapping[str, Any]
Row = Mapping[str, Any]

DIRECTIONS = ("forward", "gradient")
GRIDS = ("e3nn_grid", "e3nn_grid_fft")


def gaunt(results: Results) -> str:
    """Returns our times by degree and direction, and how much longer others take."""
    result = results["gaunt"]
    rows = {(r["degree"], r["direction"], r["method"]): r for r in result["rows"]}
    lines = [
        "| L | | auto ms | dense | grid | Fourier | e3nn grid | e3nn all paths |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for degree in sorted({row["degree"] for row in result["rows"]}):
        for direction in DIRECTIONS:
            at = {
                m: r
                for (d, way, m), r in rows.items()
                if (d, way) == (degree, direction)
            }
            grids = [at[name] for name in GRIDS if name in at]
            best = min(grids, key=lambda row: row["seconds"]["median"])
            cells = [
                str(degree),
                direction,
                f"{1e3 * at['auto']['seconds']['median']:.2f}",
                *(_ratio(at.get(name)) for name in ("dense", "grid", "fourier")),
                _ratio(best),
                _ratio(at.get("e3nn_paths")),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    first = result["rows"][0]
    batch = " x ".join(map(str, first["batch"]))
    here = result["environment"]
    versions = f"JAX {here['jax']}, e3nn-jax {first['e3nn_jax']}"
    caption = (
        f"Both factors and the result of degree L, float32, {batch} coefficient "
        'vectors. Milliseconds are medians of `method="auto"`; the other columns say '
        "how many times longer a method takes, median of the ratios of the same turn, "
        "in brackets smallest and largest. Gradient: the product and the gradients of "
        "both factors. Fourier: the paper's route, here with exact tables and real "
        "transforms. e3nn grid: the faster of its two forms. e3nn all paths: every "
        "Clebsch-Gordan path with a result up to L as an output of its own, odd ones "
        "too, which is more than a Gaunt product can express. "
        f"{_samples(result['rows'])} samples per row. {first['hardware']}; {versions}, "
        f"Python {here['python']}; {first['date']}."
    )
    return "\n".join([*lines, "", caption])


def goals(results: Results) -> str:
    """Returns the stated goals with what was measured."""
    result = results["gaunt"]
    rows = {(r["degree"], r["direction"], r["method"]): r for r in result["rows"]}
    measured = sorted({row["degree"] for row in result["rows"]})
    lines = [
        "| goal | worst forward | worst gradient |",
        "| --- | ---: | ---: |",
    ]

    def ratios(degree: int, direction: str, names: Sequence[str]) -> list[float]:
        found = [rows.get((degree, direction, name)) for name in names]
        return [row["ratio"]["median"] for row in found if row is not None]

    def worst(degrees: Sequence[int], names: Sequence[str]) -> list[str]:
        cells = []
        for direction in DIRECTIONS:
            least = {
                degree: min(ratios(degree, direction, names))
                for degree in degrees
                if degree in measured
            }
            if not least:
                cells.append("not measured")
                continue
            degree = min(least, key=lambda degree: least[degree])
            cells.append(f"{least[degree]:.3g} (L = {degree})")
        return cells

    stated: list[tuple[str, Sequence[int], Sequence[str]]] = [
        (
            "fastest of our methods / auto, at least 1 / 1.2 = 0.83",
            measured,
            ("dense", "grid", "fourier"),
        ),
        ("Fourier route / auto, at least 10 for L = 4 to 8", range(4, 9), ("fourier",)),
        (
            "e3nn all paths / auto, at least 10 for L = 3 to 6",
            range(3, 7),
            ("e3nn_paths",),
        ),
        ("e3nn grid / auto, more than 1 for every L", measured, GRIDS),
    ]
    for text, degrees, names in stated:
        lines.append(f"| {text} | {' | '.join(worst(degrees, names))} |")
    return "\n".join(lines)


def _ratio(row: Row | None) -> str:
    if row is None:
        return "–"
    ratio = row["ratio"]
    return f"{ratio['median']:.3g} ({ratio['min']:.3g}–{ratio['max']:.3g})"


def _samples(rows: Sequence[Row]) -> str:
    return " or ".join(str(n) for n in sorted({row["seconds"]["n"] for row in rows}))


TABLES: dict[str, Callable[[Results], str]] = {"gaunt": gaunt, "gaunt_goals": goals}
