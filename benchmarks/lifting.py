"""Wavelet and Hadamard transforms beside PyWavelets and beside what JAX users write.

`python -m benchmarks.lifting` measures `wavedec` with two levels on two axes of images,
one level on a long last axis, the inverse and the gradient, prints the rows and writes
`benchmarks/results/lifting.json`.

Peers: PyWavelets (symmetric half-sample extension for Haar, whole-sample otherwise; it
returns some more coefficients at the ends and has no gradient), and the two filters as
one strided convolution (`lax.conv_general_dilated`) on the mirrored signal. For the
Hadamard transform: sums and differences level by level, and one dense product.
All in one process, in turns; compilation is timed apart.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pywt

from benchmarks import _results
from benchmarks._rows import Row, hardware
from jaxcore import transforms
from jaxcore.transforms._filters import Taps, taps_of
from jaxcore.transforms._wavelets import WAVELETS


Function = Callable[..., Any]

REPEATS = 15
PEERS = {"haar": "haar", "5/3": "bior2.2", "9/7": "bior4.4"}
IMAGES = ((8, 512, 512), (64, 64, 64))
SIGNALS = ((64, 2**14),)
HADAMARD = ((512, 64), (128, 1024), (16, 2**14))
QUICK_IMAGES, QUICK_SIGNALS, QUICK_HADAMARD = ((2, 16, 16),), ((2, 64),), ((2, 16),)
# One dense matrix beyond this would be slower than anything else and fill the memory.
LARGEST_DENSE = 1024


def conv_dwt(x: jax.Array, wavelet: str, axis: int) -> tuple[jax.Array, jax.Array]:
    """Returns both bands by one strided convolution of the mirrored signal."""
    scheme = WAVELETS[wavelet]
    taps = taps_of(scheme.steps, scheme.low, scheme.high)
    first = min(k for band in taps for k, _ in band)
    last = max(k for band in taps for k, _ in band)
    filters = np.stack([_dense(band, first, last) for band in taps])
    moved = jnp.moveaxis(x, axis, -1)
    n = moved.shape[-1]
    flat = moved.reshape(-1, 1, n)
    mode = "reflect" if scheme.symmetric else "edge"
    wide = jnp.pad(flat, [(0, 0), (0, 0), (-first, max(0, last - 1))], mode=mode)
    kernel = jnp.asarray(filters[:, None], x.dtype)
    bands = jax.lax.conv_general_dilated(wide, kernel, (2,), "VALID")[:, :, : n // 2]
    shape = (*moved.shape[:-1], n // 2)
    low, high = (jnp.moveaxis(bands[:, k].reshape(shape), -1, axis) for k in (0, 1))
    return low, high


def _dense(taps: Taps, first: int, last: int) -> np.ndarray:
    values = np.zeros(last - first + 1)
    for offset, factor in taps:
        values[offset - first] = factor
    return values


def conv_wavedec(x: jax.Array, wavelet: str, levels: int) -> list[Any]:
    """Returns two-dimensional coefficients by strided convolutions."""
    details: list[Any] = []
    for _ in range(levels):
        low, high = conv_dwt(x, wavelet, x.ndim - 2)
        (x, ad), (da, dd) = (conv_dwt(b, wavelet, x.ndim - 1) for b in (low, high))
        details.insert(0, {"ad": ad, "da": da, "dd": dd})
    return [x, *details]


def measure_images(shape: tuple[int, ...], wavelet: str, repeats: int) -> Iterator[Row]:
    """Yields the rows of two levels on the last two axes."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    ours = partial(transforms.wavedec, wavelet=wavelet, levels=2, axes=(-2, -1))
    inverse = partial(transforms.waverec, wavelet=wavelet, axes=(-2, -1))
    by_conv = partial(conv_wavedec, wavelet=wavelet, levels=2)
    options = {"wavelet": PEERS[wavelet], "mode": _mode(wavelet), "axes": (-2, -1)}
    analyzed = pywt.wavedecn(x, level=2, **options)
    coefficients = jax.jit(ours)(x)
    jax_ways: dict[str, tuple[Function, Any]] = {
        "ours": (ours, x),
        "ours lifting": (partial(ours, method="lifting"), x),
        "convolution": (by_conv, x),
        "ours|inverse": (inverse, coefficients),
    }
    numpy_ways: dict[str, Function] = {
        "PyWavelets|forward": partial(pywt.wavedecn, x, level=2, **options),
        "PyWavelets|inverse": partial(pywt.waverecn, analyzed, **options),
    }
    case = {"kind": "image", "shape": list(shape), "transform": wavelet}
    yield from _rows(case, jax_ways, numpy_ways, repeats)


def measure_signals(
    shape: tuple[int, ...], wavelet: str, repeats: int
) -> Iterator[Row]:
    """Yields the rows of one level on the last axis."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    ours = partial(transforms.dwt, wavelet=wavelet)
    bands = jax.jit(ours)(x)
    options = {"wavelet": PEERS[wavelet], "mode": _mode(wavelet)}
    analyzed = pywt.dwt(x, **options)
    jax_ways: dict[str, tuple[Function, Any]] = {
        "ours": (ours, x),
        "ours lifting": (partial(ours, method="lifting"), x),
        "convolution": (partial(conv_dwt, wavelet=wavelet, axis=-1), x),
        "ours|inverse": (
            lambda pair: transforms.idwt(pair[0], pair[1], wavelet),
            bands,
        ),
    }
    numpy_ways: dict[str, Function] = {
        "PyWavelets|forward": partial(pywt.dwt, x, **options),
        "PyWavelets|inverse": partial(pywt.idwt, *analyzed, **options),
    }
    case = {"kind": "signal", "shape": list(shape), "transform": wavelet}
    yield from _rows(case, jax_ways, numpy_ways, repeats)


def measure_hadamard(shape: tuple[int, ...], repeats: int) -> Iterator[Row]:
    """Yields the rows of the Walsh-Hadamard transform on the last axis."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    n = shape[-1]
    jax_ways: dict[str, tuple[Function, Any]] = {
        "ours": (transforms.hadamard_transform, x),
        "level by level": (
            partial(transforms.hadamard_transform, method="butterfly"),
            x,
        ),
    }
    if n <= LARGEST_DENSE:
        matrix = np.asarray(jax.jit(transforms.hadamard_transform)(jnp.eye(n)))
        exact = jax.lax.Precision.HIGHEST
        jax_ways["one dense product"] = (
            lambda x: jnp.matmul(x, matrix, precision=exact),
            x,
        )
    case = {"kind": "hadamard", "shape": list(shape), "transform": "natural"}
    yield from _rows(case, jax_ways, {}, repeats)


def _mode(wavelet: str) -> str:
    return "symmetric" if wavelet == "haar" else "reflect"


def _rows(
    case: Row,
    jax_ways: dict[str, tuple[Function, Any]],
    numpy_ways: dict[str, Function],
    repeats: int,
) -> Iterator[Row]:
    turns: dict[str, Function] = {}
    compile_seconds: dict[str, float] = {}
    values: dict[str, Any] = {}
    for name, (function, plain) in jax_ways.items():
        argument = jax.tree.map(jnp.asarray, plain)
        programs = {name if "|" in name else f"{name}|forward": function}
        if "|" not in name:
            programs[f"{name}|gradient"] = jax.grad(partial(_loss, function))
        for label, program in programs.items():
            start = time.perf_counter()
            ready = jax.jit(program).lower(argument).compile()
            compile_seconds[label] = time.perf_counter() - start
            turns[label] = partial(ready, argument)
            values[label] = jax.tree.leaves(ready(argument))
    _check(case, values)
    for label, seconds in _results.interleave({**turns, **numpy_ways}, repeats).items():
        method, part = label.split("|")
        yield {
            **case,
            "method": method,
            "part": part,
            "seconds": _results.summarize(seconds),
            "compile_seconds": compile_seconds.get(label),
            "hardware": hardware(),
        }


def _loss(function: Function, x: Any) -> jax.Array:
    leaves = jax.tree.leaves(function(x))
    return sum((jnp.sum(leaf**2) for leaf in leaves), jnp.zeros(()))


def _check(case: Row, values: dict[str, Any]) -> None:
    """Raises unless the ways of one part agree."""
    for part in ("forward", "gradient"):
        first, *others = (v for name, v in values.items() if name.endswith(part))
        for other in others:
            for a, b in zip(first, other, strict=True):
                error = float(jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(a)))
                if not error < 1e-4:
                    raise RuntimeError(f"lifting: {case} {part} differs by {error}")


def show(row: Row) -> str:
    """Returns a row as one line of text."""
    seconds = row["seconds"]
    return (
        f"{row['kind']:8s} {row['shape']!s:16s} {row['transform']:8s} "
        f"{row['part']:8s} {row['method']:18s} {1e3 * seconds['median']:9.3f} ms "
        f"(iqr {1e3 * seconds['iqr']:.3f})"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.lifting")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--quick", action="store_true", help="tiny; never writes")
    options = parser.parse_args(arguments)
    quick, repeats = options.quick, options.repeats
    rows = []
    measurements = [
        measure(shape, wavelet, repeats)
        for measure, shapes in (
            (measure_images, QUICK_IMAGES if quick else IMAGES),
            (measure_signals, QUICK_SIGNALS if quick else SIGNALS),
        )
        for shape in shapes
        for wavelet in PEERS
    ]
    measurements += [
        measure_hadamard(shape, repeats)
        for shape in (QUICK_HADAMARD if quick else HADAMARD)
    ]
    for measurement in measurements:
        for row in measurement:
            rows.append(row)
            print(show(row), flush=True)
    if quick:
        return
    _results.write(
        "lifting",
        rows,
        claim="Wavelet transforms are faster than PyWavelets and strided convolutions",
        notes=[
            "float32; image: two levels on the last two axes; signal: one level on the "
            "last axis; symmetric extension",
            "gradient: of the sum of squares of all coefficients, forward included",
            "compile_seconds: lowering and compilation, once, no cache",
        ],
        peers=["PyWavelets"],
    )


if __name__ == "__main__":
    main()
