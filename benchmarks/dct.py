"""DCT-II against jax.scipy.fft.dctn and SciPy: `python -m benchmarks.dct`.

Prints a table and writes `benchmarks/results/dct.json` (`--dry` does not). All three
run in turns in one process on the same arrays; SciPy has one worker. "gradient" is the
gradient of half the squared sum of coefficients: a forward transform and its adjoint.
SciPy has no gradient; beside it stand two transforms, `dctn` and `idctn`.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

from benchmarks import _results
from jaxcore import transforms


# Blocks and images of about 2^20 elements, batch x n x n; 8 x 512 x 512 is 2^21.
SIZES = (4, 8, 12, 16, 32, 64, 97, 128, 251, 256, 512, 1000, 1024, 2048)
ELEMENTS = 2**20
REPEATS = 15
Function = Callable[[jax.Array], jax.Array]


def shape(n: int, dimensions: int, elements: int = ELEMENTS) -> tuple[int, ...]:
    """Returns batch and lengths; 512 x 512 comes in batches of 8."""
    batch = 8 if (n, dimensions) == (512, 2) and elements == ELEMENTS else 0
    return (batch or max(1, elements // n**dimensions), *(n,) * dimensions)


def half_square(f: Function) -> Function:
    """Returns half the sum of squares of `f`."""
    return lambda x: 0.5 * jnp.sum(f(x) ** 2)


def measure(
    dims: tuple[int, ...], dtype: str = "float32", repeats: int = REPEATS
) -> list[dict[str, Any]]:
    """Returns the rows of one shape, `(batch, n)` or `(batch, n, n)`."""
    axes = tuple(range(1, len(dims)))
    host = np.random.default_rng(0).standard_normal(dims).astype(dtype)
    x = jnp.asarray(host)

    def ours(x: jax.Array) -> jax.Array:
        return transforms.dctn(x, axes=axes)

    def theirs(x: jax.Array) -> jax.Array:
        return jax.scipy.fft.dctn(x, axes=axes, norm="ortho")

    def forward() -> np.ndarray:
        return scipy.fft.dctn(host, axes=axes, norm="ortho", workers=1)

    def both() -> np.ndarray:
        return scipy.fft.idctn(forward(), axes=axes, norm="ortho", workers=1)

    rows = []
    for kind, scipy_call in (("forward", forward), ("gradient", both)):
        functions: dict[str, Callable[[], Any]] = {"scipy": scipy_call}
        compiled = {}
        for name, f in (("ours", ours), ("jax", theirs)):
            target = f if kind == "forward" else jax.grad(half_square(f))
            start = time.perf_counter()
            program = jax.jit(target).lower(x).compile()
            compiled[name] = time.perf_counter() - start
            functions[name] = partial(program, x)
        exact = forward() if kind == "forward" else host
        error = np.max(np.abs(np.asarray(functions["ours"]()) - exact))
        times = _results.interleave(functions, repeats)
        seconds = {name: _results.summarize(t) for name, t in times.items()}
        rows.append(
            {
                "shape": list(dims),
                "n": dims[-1],
                "dimensions": len(axes),
                "dtype": dtype,
                "kind": kind,
                "seconds": seconds,
                "compile_seconds": compiled,
                "largest_error": float(error),
                **{
                    f"{name}_over_ours": _ratio(times[name], times["ours"])
                    for name in ("jax", "scipy")
                },
            }
        )
    return rows


def _ratio(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float | int]:
    """Returns the summary of ratios of calls in the same round."""
    return _results.summarize(np.asarray(theirs) / np.asarray(ours))


def line(row: dict[str, Any]) -> str:
    """Returns a row as text."""
    milliseconds = " ".join(
        f"{name} {1e3 * row['seconds'][name]['median']:8.2f} ms"
        for name in ("ours", "jax", "scipy")
    )
    return (
        f"{row['shape']!s:18} {row['dtype']} {row['kind']:8} {milliseconds}  "
        f"x{row['jax_over_ours']['median']:.2f} of jax, "
        f"x{row['scipy_over_ours']['median']:.2f} of scipy, "
        f"error {row['largest_error']:.0e}"
    )


def plan() -> list[tuple[tuple[int, ...], str]]:
    """Returns what is measured: all sizes in float32, some in float64."""
    both = [(shape(n, d), "float32") for d in (2, 1) for n in SIZES]
    double = [(shape(n, 2), "float64") for n in (8, 64, 512, 1024)]
    return both + double


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.dct", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="write nothing")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args(arguments)
    rows = []
    for dims, dtype in plan():
        with jax.enable_x64(dtype == "float64"):
            for row in measure(dims, dtype, options.repeats):
                print(line(row), flush=True)
                rows.append(row)
    if not options.dry:
        path = _results.write(
            "dct",
            rows,
            claim="The DCT-II is never slower than jax.scipy.fft.dctn at sizes from 4 "
            "to 2048, and in float32 at least four times as fast for blocks of 8 to "
            "64 on two axes",
            notes=[
                "gradient: of half the squared sum, a transform and its adjoint; for "
                "SciPy dctn followed by idctn",
                "ratios: of calls in the same round",
                "largest_error: against SciPy (forward) or the input (gradient)",
            ],
            peers=["scipy"],
        )
        print(path)


if __name__ == "__main__":
    main()
