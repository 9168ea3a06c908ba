"""Tables of the convolution and wavelet benchmarks, as Markdown with a caption."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


Results = Mapping[str, Any]
Row = Mapping[str, Any]
Key = tuple[Any, ...]

PARTS = ("forward", "gradient")


def convolution_long(results: Results) -> str:
    """Returns kernels as long as the signal: ours beside the peers."""
    peers = ("padded", "jax.scipy", "scipy fftconvolve")
    return _against(results["fft_convolution"], "long", peers)


def convolution_partial(results: Results) -> str:
    """Returns kernels shorter than the signal: ours beside the peers."""
    peers = ("padded", "jax.scipy", "scipy oaconvolve")
    return _against(results["fft_convolution"], "partial", peers)


def convolution_circular(results: Results) -> str:
    """Returns circular convolutions beside the FFT of the very length."""
    return _against(results["fft_convolution"], "circular", ("plain",))


def convolution_methods(results: Results) -> str:
    """Returns every method of long and partial convolutions by its own name."""
    return _by_method(
        results["fft_convolution"],
        ("long", "partial"),
        ("direct", "blocks", "fft", "monarch"),
    )


def convolution_sparse(results: Results) -> str:
    """Returns every method of frequency-sparse convolutions."""
    return _by_method(
        results["fft_convolution"], ("sparse",), ("fft", "matmul", "monarch")
    )


def wavelets(results: Results) -> str:
    """Returns wavelet transforms: ours, PyWavelets and strided convolutions."""
    return _transforms(
        results["lifting"],
        ("image", "signal"),
        ("ours", "ours lifting", "convolution", "PyWavelets"),
        ("forward", "inverse", "gradient"),
    )


def hadamard(results: Results) -> str:
    """Returns Walsh-Hadamard transforms: dense factors, levels, one product."""
    ways = ("ours", "level by level", "one dense product")
    return _transforms(results["lifting"], ("hadamard",), ways, PARTS)


def _against(result: Row, kind: str, peers: Sequence[str]) -> str:
    header = ["signals", "length", "taps", "auto is", "ours ms"]
    header += [f"{peer} ms" for peer in peers]
    header += [f"speed-up over {peers[0]}"]
    lines = []
    for case, found in _cases(result, (kind,), ("batch", "channels", "n", "taps")):
        ours, first = (
            [found.get((name, part)) for part in PARTS]
            for name in ("ours auto", peers[0])
        )
        lines.append(
            [
                f"{case[0]} x {case[1]}",
                f"{case[2]:,}",
                f"{case[3]:,}",
                found["ours auto", "forward"]["chosen"],
                *(_pair(found, name) for name in ("ours auto", *peers)),
                " / ".join(_ratio(a, b) for a, b in zip(first, ours, strict=True)),
            ]
        )
    caption = (
        "Forward / gradient with respect to signal and kernel (forward included), "
        "float32, medians; a peer without gradient has one number. Speed-up: ratio of "
        "the least times, which other work on the machine disturbs least. Signals: "
        "batch x channels, one kernel per channel. "
    )
    return _table(header, lines, 1, caption + _setting(result))


def _by_method(result: Row, kinds: Sequence[str], methods: Sequence[str]) -> str:
    what = "frequencies" if kinds == ("sparse",) else "taps"
    header = ["signals", "length", what, "auto is", *(f"{m} ms" for m in methods)]
    lines = [
        [
            f"{case[0]} x {case[1]}",
            f"{case[2]:,}",
            f"{case[3]:,}",
            found["ours auto", "forward"]["chosen"],
            *(_pair(found, f"ours {method}") for method in methods),
        ]
        for case, found in _cases(result, kinds, ("batch", "channels", "n", "taps"))
    ]
    caption = (
        "Forward / gradient, float32, medians. A dash: not measured, because it would "
        "take too long. "
    )
    return _table(header, lines, 1, caption + _setting(result))


def _transforms(
    result: Row, kinds: Sequence[str], ways: Sequence[str], parts: Sequence[str]
) -> str:
    header = ["array", "transform", "part", *(f"{way} ms" for way in ways)]
    lines = []
    for case, found in _cases(result, kinds, ("shape", "transform")):
        for part in parts:
            cells = [_one(found.get((way, part))) for way in ways]
            if any(cell != "–" for cell in cells):
                shape = " x ".join(f"{n:,}" for n in case[0])
                lines.append([shape, case[1], part, *cells])
    caption = "float32, medians; the gradient includes the forward pass. "
    if "image" in kinds:
        caption += (
            "Three axes: two levels on the last two; two axes: one level on the last. "
            "Symmetric extension. PyWavelets returns some more coefficients at the "
            "ends, and has no gradient. "
        )
    return _table(header, lines, 3, caption + _setting(result))


def _cases(
    result: Row, kinds: Sequence[str], keys: Sequence[str]
) -> Iterable[tuple[Key, Mapping[tuple[str, str], Row]]]:
    """Returns the rows of each case by method and part, in order of the file."""
    cases: dict[tuple[str, Key], dict[tuple[str, str], Row]] = {}
    for row in result["rows"]:
        if row["kind"] in kinds:
            values = [row[key] for key in keys]
            case = tuple(tuple(v) if isinstance(v, list) else v for v in values)
            cases.setdefault((row["kind"], case), {})[row["method"], row["part"]] = row
    if not cases:
        raise ValueError(f"the results have no rows of kind {' or '.join(kinds)}")
    return [(case, found) for (_, case), found in cases.items()]


def _pair(found: Mapping[tuple[str, str], Row], method: str) -> str:
    cells = [_one(found.get((method, part))) for part in PARTS]
    if cells[1] == "–":
        return cells[0]
    return " / ".join(cells)


def _one(row: Row | None) -> str:
    return "–" if row is None else _three(1e3 * row["seconds"]["median"])


def _ratio(a: Row | None, b: Row | None) -> str:
    if a is None or b is None:
        return "–"
    return f"{a['seconds']['min'] / b['seconds']['min']:.1f}"


def _three(value: float) -> str:
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"


def _table(
    header: Sequence[str], lines: Iterable[Sequence[str]], left: int, caption: str
) -> str:
    marks = ["---" if i < left else "---:" for i in range(len(header))]
    rows = [f"| {' | '.join(line)} |" for line in (header, marks, *lines)]
    return "\n".join([*rows, "", caption])


def _setting(result: Row) -> str:
    """Returns samples, hardware, versions and date."""
    here = result["environment"]
    samples = sorted({row["seconds"]["n"] for row in result["rows"]})
    peers = "".join(f"{name} {number}, " for name, number in here["peers"].items())
    hardware = "; ".join(dict.fromkeys(row["hardware"] for row in result["rows"]))
    return (
        f"Samples per row: {' or '.join(map(str, samples))}. {hardware}; "
        f"JAX {here['jax']}, {peers}NumPy {here['numpy']}, Python {here['python']}; "
        f"{here['date']}."
    )


TABLES: dict[str, Callable[[Results], str]] = {
    "convolution_long": convolution_long,
    "convolution_partial": convolution_partial,
    "convolution_circular": convolution_circular,
    "convolution_methods": convolution_methods,
    "convolution_sparse": convolution_sparse,
    "wavelets": wavelets,
    "hadamard": hadamard,
}
