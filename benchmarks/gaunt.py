"""Gaunt products: our methods, the Fourier route of the paper, and e3nn-jax.

Two factors and a result of the same highest degree L, float32, 256 nodes with 64
channels, forward and with gradient. All methods of one degree run in one process, in
turns, each a single jitted call, compiled ahead.

    python -m benchmarks.gaunt                     # everything, and writes it
    python -m benchmarks.gaunt --degrees 3 4       # prints only
    python -m benchmarks.gaunt --degrees 3 --write # renews these rows
    python -m benchmarks.gaunt --quick             # small, prints only

Rows are kept as soon as they are measured. Persistent compilation caches are off.
"""

import argparse
import importlib.metadata
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import e3nn_jax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import _results
from benchmarks._rows import Ledger, Row, hardware
from jaxcore import sphere


DEGREES = tuple(range(1, 11))
BATCH = (256, 64)
QUICK_DEGREES, QUICK_BATCH = (2, 3), (8, 4)
# Largest degrees that are measured: beyond, a call takes seconds.
MAX_DENSE, MAX_PATHS = 6, 6
REPEATS = 7
TOLERANCE = 1e-4
KEYS = ("degree", "method", "direction")
# A sample is the mean of as many calls as take this long, so that clock and dispatch
# do not matter.
SAMPLE_SECONDS = 0.03
MAX_CALLS = 50
CLAIM = (
    "gaunt_product with method='auto' is the fastest Gaunt product in JAX on CPU: "
    "within 1.2 of its best method, ten times faster than the Fourier route, faster "
    "than the grid of e3nn-jax, and ten times faster than the Clebsch-Gordan product "
    "restricted to the same output degrees"
)
NOTES = (
    "auto, dense, grid, fourier: jaxcore.sphere.gaunt_product(x, y, L, L, L, method)",
    "fourier: the route of the paper with exact tables and half-plane (real) FFTs of "
    "size 4L+1; the complex FFTs of the paper take about twice as long",
    "e3nn_grid, e3nn_grid_fft: e3nn_jax.to_s2grid of both factors on the smallest "
    "exact Gauss-Legendre grid its interface takes, product, from_s2grid; with "
    "fft=False and fft=True",
    "e3nn_paths: e3nn_jax.tensor_product with filter_ir_out of all irreps up to L, of "
    "both parities: another operation, every path is an output of its own, odd ones "
    "too",
    "direction forward: one product; gradient: the product and the gradients of both "
    "factors for a given cotangent (jax.vjp)",
    f"dense up to L = {MAX_DENSE}, e3nn_paths up to L = {MAX_PATHS}",
    "seconds: of one jitted call; a sample is the mean of `calls` consecutive ones; "
    "methods take turns, in alternating order",
    "ratio: to auto, of the samples of the same turn",
    "each row has the commit and date of its own measurement",
)
Function = Callable[[jax.Array, jax.Array], jax.Array]


def ours(degree: int, method: str) -> Function:
    """Returns the product of this library."""
    return lambda x, y: sphere.gaunt_product(
        x, y, degree, degree, degree, method=method
    )


def irreps(degree: int) -> e3nn_jax.Irreps:
    """Returns the irreps of a function on the sphere: parity `(-1)^l`."""
    return e3nn_jax.Irreps.spherical_harmonics(degree)


def e3nn_grid(degree: int, *, fft: bool) -> Function:
    """Returns the product on the grid of e3nn-jax, `sqrt(4 pi)` times ours."""
    exact = 3 * degree
    num_theta, num_phi = exact // 2 + 1, exact + 1
    # Its grid wants an even number of polar angles and an odd one of azimuths.
    size = num_theta + num_theta % 2, num_phi + 1 - num_phi % 2

    def grid(x: jax.Array) -> e3nn_jax.SphericalSignal:
        coefficients = e3nn_jax.IrrepsArray(irreps(degree), x)
        return e3nn_jax.to_s2grid(
            coefficients, *size, normalization="integral",
            quadrature="gausslegendre", fft=fft,
        )  # fmt: skip

    def product(x: jax.Array, y: jax.Array) -> jax.Array:
        values = grid(x) * grid(y)
        return e3nn_jax.from_s2grid(
            values, irreps(degree), normalization="integral", fft=fft
        ).array

    return product


def e3nn_paths(degree: int) -> Function:
    """Returns all Clebsch-Gordan paths with results up to `degree`."""
    kept = [e3nn_jax.Irrep(i, p) for i in range(degree + 1) for p in (1, -1)]

    def product(x: jax.Array, y: jax.Array) -> jax.Array:
        a, b = (e3nn_jax.IrrepsArray(irreps(degree), c) for c in (x, y))
        return e3nn_jax.tensor_product(a, b, filter_ir_out=kept).array

    return product


def methods(degree: int) -> dict[str, Function]:
    """Returns everything that is measured at this degree, by name."""
    found = {"auto": ours(degree, "auto"), "grid": ours(degree, "grid")}
    if degree <= MAX_DENSE:
        found["dense"] = ours(degree, "dense")
    found["fourier"] = ours(degree, "fourier")
    found["e3nn_grid"] = e3nn_grid(degree, fft=False)
    found["e3nn_grid_fft"] = e3nn_grid(degree, fft=True)
    if degree <= MAX_PATHS:
        found["e3nn_paths"] = e3nn_paths(degree)
    return found


def with_gradient(function: Function) -> Callable[..., tuple[jax.Array, ...]]:
    """Returns the product and the gradients of both factors."""

    def call(x: jax.Array, y: jax.Array, c: jax.Array) -> tuple[jax.Array, ...]:
        z, pull = jax.vjp(function, x, y)
        return (z, *pull(c))

    return call


def repeated(call: Callable[[], Any], times: int) -> Any:
    """Calls so many times, one after the other; returns the last result."""
    for _ in range(times):
        out = jax.block_until_ready(call())
    return out


def calls_per_sample(call: Callable[[], Any]) -> int:
    """Returns how many calls make up a sample."""
    repeated(call, 2)
    start = time.perf_counter()
    repeated(call, 1)
    seconds = time.perf_counter() - start
    return min(MAX_CALLS, math.ceil(SAMPLE_SECONDS / seconds))


def check(degree: int, found: dict[str, Function], x: jax.Array, y: jax.Array) -> None:
    """Raises unless all Gaunt products have the same result."""
    reference = np.asarray(found["grid"](x[:2], y[:2]))
    for name, function in found.items():
        if name == "e3nn_paths":
            continue
        scale = math.sqrt(4 * math.pi) if name.startswith("e3nn") else 1.0
        result = np.asarray(function(x[:2], y[:2])) / scale
        error = np.abs(result - reference).max()
        if not error <= TOLERANCE * np.abs(reference).max():
            raise RuntimeError(
                f"gaunt: {name} differs by {error:.1e} at degree {degree}; "
                "these are not the same product"
            )


def measure(
    degree: int, batch: Sequence[int] = BATCH, repeats: int = REPEATS
) -> list[Row]:
    """Returns one row per method and direction."""
    rng = np.random.default_rng(degree)
    size = (degree + 1) ** 2
    x, y = (
        jnp.asarray(rng.standard_normal((*batch, size)), jnp.float32) for _ in range(2)
    )
    found = methods(degree)
    check(degree, found, x, y)
    rows = []
    for direction in ("forward", "gradient"):
        samplers, calls, compiled = {}, {}, {}
        for name, function in found.items():
            arguments: tuple[jax.Array, ...] = (x, y)
            call: Callable[..., Any] = function
            if direction == "gradient":
                out = jax.eval_shape(function, x, y)
                c = jnp.asarray(rng.standard_normal(out.shape), jnp.float32)
                call, arguments = with_gradient(function), (x, y, c)
            start = time.perf_counter()
            program = jax.jit(call).lower(*arguments).compile()
            compiled[name] = time.perf_counter() - start
            once = partial(program, *arguments)
            calls[name] = calls_per_sample(once)
            samplers[name] = partial(repeated, once, calls[name])
        seconds = {
            name: np.array(samples) / calls[name]
            for name, samples in _results.interleave(samplers, repeats).items()
        }
        for name, samples in seconds.items():
            rows.append(
                {
                    "degree": degree,
                    "method": name,
                    "direction": direction,
                    "batch": list(batch),
                    "seconds": _results.summarize(samples),
                    # Of the same turn: how many times slower than auto.
                    "ratio": _results.summarize(samples / seconds["auto"]),
                    "calls": calls[name],
                    "compile_seconds": compiled[name],
                    "hardware": hardware(),
                    "e3nn_jax": importlib.metadata.version("e3nn-jax"),
                }
            )
    return rows


def describe(row: Row) -> str:
    """Returns a line of the printed table."""
    return (
        f"L={row['degree']:<3} {row['direction']:9} {row['method']:14} "
        f"{1e3 * row['seconds']['median']:9.2f} ms   x{row['ratio']['median']:.2f} auto"
        f"   compile {row['compile_seconds']:.1f} s"
    )


def main(
    arguments: Sequence[str] | None = None, folder: Path = _results.RESULTS
) -> list[Row]:
    """Runs the command line; returns the rows measured."""
    parser = argparse.ArgumentParser(prog="benchmarks.gaunt", description=__doc__)
    parser.add_argument("--degrees", type=int, nargs="+")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--write", action="store_true", help="keep a subset too")
    parser.add_argument("--quick", action="store_true", help="small, never writes")
    options = parser.parse_args(arguments)
    if options.quick and options.write:
        parser.error("--quick never writes")
    if options.repeats < 1 or any(degree < 0 for degree in options.degrees or ()):
        parser.error("degrees must be 0 or more and repeats 1 or more")
    degrees = options.degrees or (QUICK_DEGREES if options.quick else DEGREES)
    batch = QUICK_BATCH if options.quick else BATCH
    keep = options.write or not (options.degrees or options.quick)
    ledger = Ledger(
        "gaunt", claim=CLAIM, keys=KEYS, notes=NOTES, folder=folder if keep else None
    )
    rows: list[Row] = []
    cached = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        for degree in degrees:
            for row in measure(degree, batch, options.repeats):
                print(describe(row), flush=True)
                rows.append(row)
                ledger.put(row)
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)
    ledger.arrange(sorted(ledger.rows, key=lambda row: row["degree"]), drop=False)
    return rows


if __name__ == "__main__":
    main()
