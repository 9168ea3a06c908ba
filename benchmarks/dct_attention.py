"""Frequency statistics, folded against direct: `python -m benchmarks.dct_attention`.

Prints a table and writes `benchmarks/results/dct_attention.json` (`--dry` does not).
"direct" is our own scan over the 16 frequencies with fused products and reductions,
"vectorized" lets XLA handle all of them in one expression; both go through the same
pooling. Maps at the grid itself come in batches of 4; the maps of a segmentation
network for 512 x 512 images, which are pooled first, in batches of 1.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import _results
from jaxcore import transforms


FREQUENCIES = transforms.frequency_list("top", 16)
# (batch, side, channels, grid): maps that need no pooling, then those of the network.
MAPS = ((4, 112, 64, 112), (4, 56, 64, 56), (4, 28, 128, 28), (4, 14, 256, 14))
NETWORK = (
    *((1, 512, 64, 112), (1, 256, 64, 112), (1, 256, 64, 56), (1, 128, 64, 56)),
    *((1, 128, 128, 28), (1, 64, 64, 28), (1, 128, 64, 28)),
    *((1, 64, 256, 14), (1, 32, 128, 14), (1, 64, 64, 14)),
)
REPEATS = 9
# The vectorized form materializes in the gradient: only where that is affordable.
LARGEST_VECTORIZED = 56


def vectorized(x: jax.Array, grid: int) -> transforms.FrequencyStatistics:
    """Returns the statistics by one expression over all frequencies at once."""
    bases = np.stack(
        [
            np.outer(*(_row(frequency, grid) for frequency in pair))
            for pair in FREQUENCIES
        ]
    )
    products = x[:, None] * jnp.asarray(bases, x.dtype)[None, ..., None]
    return transforms.FrequencyStatistics(
        *(f(products, axis=(2, 3)).mean(axis=1) for f in (jnp.mean, jnp.max, jnp.min))
    )


def _row(frequency: int, grid: int) -> np.ndarray:
    k = frequency * (grid // 7)
    scale = np.sqrt((2 if k else 1) / grid)
    return scale * np.cos(np.pi * k * (np.arange(grid) + 0.5) / grid)


def measure(
    batch: int, side: int, channels: int, grid: int, repeats: int = REPEATS
) -> list[dict[str, Any]]:
    """Returns the rows of one shape: forward, and value with gradient."""
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (batch, side, side, channels))
    weights = jax.random.normal(keys[1], (3, batch, channels))
    forms: dict[str, Callable[..., Any]] = {
        name: partial(
            transforms.multi_frequency_statistics,
            frequencies=FREQUENCIES,
            grid=grid,
            method=name,
        )
        for name in ("auto", "direct")
    }
    if side == grid <= LARGEST_VECTORIZED:
        forms["vectorized"] = partial(vectorized, grid=grid)
    rows = []
    for kind in ("forward", "gradient"):
        programs, compiled, memory = {}, {}, {}
        for name, form in forms.items():

            def loss(x: jax.Array, form: Callable[..., Any] = form) -> jax.Array:
                return jnp.vdot(jnp.stack(form(x)), weights)

            target = form if kind == "forward" else jax.value_and_grad(loss)
            start = time.perf_counter()
            program = jax.jit(target).lower(x).compile()
            compiled[name] = time.perf_counter() - start
            memory[name] = _temporary_bytes(program)
            programs[name] = partial(program, x)
        difference = _difference(programs["auto"](), programs["direct"]())
        times = _results.interleave(programs, repeats)
        rows.append(
            {
                "batch": batch,
                "side": side,
                "channels": channels,
                "grid": grid,
                "kind": kind,
                "seconds": {n: _results.summarize(t) for n, t in times.items()},
                "compile_seconds": compiled,
                "temporary_bytes": memory,
                "map_bytes": 4 * batch * grid**2 * channels,
                "largest_difference": difference,
                "direct_over_auto": _results.summarize(
                    np.asarray(times["direct"]) / np.asarray(times["auto"])
                ),
            }
        )
    return rows


def _temporary_bytes(program: Any) -> int:
    return int(program.memory_analysis().temp_size_in_bytes)


def _difference(a: Any, b: Any) -> float:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(jnp.max(jnp.abs(x - y))) for x, y in pairs)


def line(row: dict[str, Any]) -> str:
    """Returns a row as text."""
    milliseconds = " ".join(
        f"{name} {1e3 * seconds['median']:8.2f} ms"
        for name, seconds in row["seconds"].items()
    )
    return (
        f"{row['batch']} x {row['side']}^2 x {row['channels']} -> {row['grid']:3} "
        f"{row['kind']:8} {milliseconds}  x{row['direct_over_auto']['median']:.2f}, "
        f"difference {row['largest_difference']:.0e}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.dct_attention")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args(arguments)
    rows = []
    for case in (*MAPS, *NETWORK):
        for row in measure(*case, options.repeats):
            print(line(row), flush=True)
            rows.append(row)
    if not options.dry:
        path = _results.write(
            "dct_attention",
            rows,
            claim="Folded frequency statistics are at least four times as fast as the "
            "direct form at grids of 56 and 112, and six times with their gradient",
            notes=[
                "16 frequencies, float32; forms in turns in one process",
                "side: of the map that is pooled to the grid",
                "temporary_bytes: what XLA plans for the program besides arguments and "
                "results; map_bytes: one pooled map",
                "largest_difference: of auto and direct, values and gradients",
            ],
        )
        print(path)


if __name__ == "__main__":
    main()
