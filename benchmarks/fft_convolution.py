"""Long convolutions: every method of `jaxcore.transforms` beside what JAX users have.

`python -m benchmarks.fft_convolution` measures forward and gradient with respect to
signal and kernel, prints the rows and writes `benchmarks/results/fft_convolution.json`.

Peers: `padded`, the usual real FFT of twice the length written with `jnp.fft`;
`jax.scipy.signal.fftconvolve`, mapped over the leading axes; for the circular rows the
real FFT of the very length; SciPy's `fftconvolve` and, for short kernels, `oaconvolve`
(no gradient). All in one process, in turns; compilation is timed apart.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.signal

from benchmarks import _results
from benchmarks._rows import Row, hardware
from jaxcore import transforms
from jaxcore.transforms import _choice


Function = Callable[..., Any]

REPEATS = 11
# Beyond these sizes a method needs minutes or gigabytes.
LARGEST_DIRECT = 128
LARGEST_MONARCH = 2**12


class Case(NamedTuple):
    """Sizes of one row.

    Attributes:
      kind: "long", "partial", "circular" or "sparse".
      shape: of the signals, `(batch, channels, n)`.
      taps: of the kernels, one per channel; of "sparse" the number of frequencies.
    """

    kind: str
    shape: tuple[int, int, int]
    taps: int


LONG = (
    (8, 64, 2**4), (8, 64, 2**6), (8, 32, 2**8), (8, 16, 2**10), (4, 16, 2**12),
    (2, 8, 2**14), (1, 8, 2**16), (1, 4, 2**18), (1, 1, 2**20),
)  # fmt: skip
CASES = (
    *(Case("long", shape, shape[2]) for shape in LONG),
    *(Case("partial", (4, 16, 2**12), taps) for taps in (4, 16, 64, 128, 256, 1024)),
    *(Case("partial", (1, 8, 2**16), taps) for taps in (16, 64, 1024, 2**14)),
    *(Case("circular", (4, 16, n), n) for n in (1000, 1009, 4096, 4099)),
    *(Case("sparse", (4, 16, 2**12), f) for f in (8, 32, 128, 512)),
)
QUICK = (
    Case("long", (2, 3, 64), 64),
    Case("partial", (2, 3, 128), 8),
    Case("circular", (2, 3, 61), 61),
    Case("sparse", (2, 3, 64), 4),
)


def padded(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the causal convolution as it is usually written."""
    n = x.shape[-1]
    spectrum = jnp.fft.rfft(x, 2 * n) * jnp.fft.rfft(kernel, 2 * n)
    return jnp.fft.irfft(spectrum, 2 * n)[..., :n]


def jax_scipy(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the causal convolution by the function that comes with JAX."""
    one = jax.vmap(jax.scipy.signal.fftconvolve)
    full = jax.vmap(one, in_axes=(0, None))(x, kernel[0])
    return full[..., : x.shape[-1]]


def plain_circular(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the circular convolution by a real FFT of its own length."""
    n = x.shape[-1]
    return jnp.fft.irfft(jnp.fft.rfft(x) * jnp.fft.rfft(kernel), n)


def functions(case: Case) -> tuple[dict[str, Function], dict[str, Function]]:
    """Returns what is measured with JAX and what with NumPy arrays."""
    n, taps = case.shape[-1], case.taps
    if case.kind == "sparse":
        frequencies = tuple(range(taps))
        return {
            f"ours {method}": partial(_sparse, frequencies=frequencies, method=method)
            for method in ("auto", *_choice.SPARSE_METHODS)
        }, {}
    circular = case.kind == "circular"
    ours = transforms.circular_convolve if circular else transforms.causal_convolve
    fits = {
        "direct": taps <= LARGEST_DIRECT,
        "blocks": not circular,
        "monarch": n <= LARGEST_MONARCH,
    }
    found: dict[str, Function] = {
        f"ours {method}": partial(ours, method=method)
        for method in ("auto", *_choice.METHODS)
        if fits.get(method, True)
    }
    if circular:
        return {**found, "plain": plain_circular}, {}
    found |= {"padded": padded, "jax.scipy": jax_scipy}
    numpy: dict[str, Function] = {
        "scipy fftconvolve": partial(_scipy, way=scipy.signal.fftconvolve)
    }
    if case.kind == "partial":
        numpy["scipy oaconvolve"] = partial(_scipy, way=scipy.signal.oaconvolve)
    return found, numpy


def _sparse(
    x: jax.Array, kernel: jax.Array, frequencies: tuple[int, ...], method: str
) -> jax.Array:
    spectrum = jax.lax.complex(kernel, jnp.zeros_like(kernel))
    return transforms.sparse_convolve(x, spectrum, frequencies, method=method)


def _scipy(x: np.ndarray, kernel: np.ndarray, way: Function) -> np.ndarray:
    return way(x, kernel, axes=-1)[..., : x.shape[-1]]


def measure(case: Case, repeats: int) -> Iterator[Row]:
    """Yields one row per method, forward and gradient, of one case."""
    rng = np.random.default_rng(0)
    batch, channels, n = case.shape
    x = rng.standard_normal(case.shape).astype(np.float32)
    kernel = rng.standard_normal((1, channels, case.taps)) / np.sqrt(case.taps)
    kernel = kernel.astype(np.float32)
    by_jax, by_numpy = functions(case)
    arguments = jnp.asarray(x), jnp.asarray(kernel)
    compiled: dict[str, Function] = {}
    compile_seconds: dict[str, float] = {}
    for name, function in by_jax.items():
        for part, program in (
            ("forward", function),
            ("gradient", jax.grad(partial(_loss, function), (0, 1))),
        ):
            start = time.perf_counter()
            ready = jax.jit(program).lower(*arguments).compile()
            compile_seconds[f"{name}|{part}"] = time.perf_counter() - start
            compiled[f"{name}|{part}"] = ready
    _check(case, compiled, arguments, by_numpy, (x, kernel))
    turns: dict[str, Callable[[], Any]] = {
        name: partial(program, *arguments) for name, program in compiled.items()
    }
    for name, function in by_numpy.items():
        turns[f"{name}|forward"] = partial(function, x, kernel)
    for name, seconds in _results.interleave(turns, repeats).items():
        method, part = name.split("|")
        yield {
            "kind": case.kind,
            "batch": batch,
            "channels": channels,
            "n": n,
            "taps": case.taps,
            "method": method,
            "part": part,
            "seconds": _results.summarize(seconds),
            "compile_seconds": compile_seconds.get(name),
            "chosen": _chosen(case) if method == "ours auto" else None,
            "hardware": hardware(),
        }


def _loss(function: Function, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.sum(function(x, kernel) ** 2)


def _chosen(case: Case) -> str:
    if case.kind == "sparse":
        return _choice.choose_sparse(case.taps)
    return _choice.choose(case.shape[-1], case.taps)


def _check(
    case: Case,
    compiled: Mapping[str, Function],
    arguments: tuple[jax.Array, jax.Array],
    by_numpy: Mapping[str, Function],
    plain: tuple[np.ndarray, np.ndarray],
) -> None:
    """Raises unless everything that is timed computes the same."""
    values = {
        name: np.asarray(program(*arguments))
        for name, program in compiled.items()
        if name.endswith("|forward")
    }
    values |= {name: function(*plain) for name, function in by_numpy.items()}
    first, *others = values.items()
    scale = np.max(np.abs(first[1]))
    for name, value in others:
        error = np.max(np.abs(value - first[1])) / scale
        if not error < 1e-4:
            raise RuntimeError(
                f"fft_convolution: {case}: {name} differs from {first[0]} by {error}"
            )


def show(row: Row) -> str:
    """Returns a row as one line of text."""
    size = f"({row['batch']}, {row['channels']}, {row['n']})"
    seconds = row["seconds"]
    return (
        f"{row['kind']:8s} {size:16s} {row['taps']:8d} {row['part']:8s} "
        f"{row['method']:18s} {1e3 * seconds['median']:9.3f} ms "
        f"(iqr {1e3 * seconds['iqr']:.3f})"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.fft_convolution")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--kinds", nargs="+", help="some kinds of rows; never writes")
    parser.add_argument("--quick", action="store_true", help="tiny; never writes")
    options = parser.parse_args(arguments)
    cases = QUICK if options.quick else CASES
    kinds = {case.kind for case in cases}
    if unknown := set(options.kinds or ()) - kinds:
        parser.error(f"--kinds must be of {sorted(kinds)}, got {sorted(unknown)}")
    rows = []
    for case in cases:
        if options.kinds and case.kind not in options.kinds:
            continue
        for row in measure(case, options.repeats):
            rows.append(row)
            print(show(row), flush=True)
    if options.quick or options.kinds:
        return
    _results.write(
        "fft_convolution",
        rows,
        claim="Convolutions with implicit padding and blocks beat the padded real FFT",
        notes=[
            "float32; kernels (1, channels, taps); gradient: of the sum of squares by "
            "signal and kernel, forward included",
            "sparse: taps is the number of lowest frequencies that the kernel has",
            "compile_seconds: lowering and compilation, once, no cache",
        ],
        peers=["scipy"],
    )


if __name__ == "__main__":
    main()
