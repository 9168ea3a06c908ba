"""Which way a convolution goes, from its static sizes and the backend.

The numbers follow from `benchmarks/results/fft_convolution.json`. A backend that has no
rows there takes one FFT.
"""

import jax

from jaxcore.transforms._linear import fast_length


METHODS = ("direct", "blocks", "fft", "monarch")
SPARSE_METHODS = ("fft", "matmul", "monarch")
MAX_DIRECT_TAPS = 512
MAX_PARTITIONS = 8
# Every block of the shorter signal is one product in the program.
MAX_REQUESTED_PARTITIONS = 256

# Measured on CPU, float32.
CPU_DIRECT_TAPS = 64
CPU_SMALLEST_BLOCK = 256
CPU_LARGEST_BLOCK = 32768
CPU_MATMUL_FREQUENCIES = 48


def choose(n: int, taps: int) -> str:
    """Return the method for `n` samples and `taps` taps on the default backend."""
    if jax.default_backend() != "cpu":
        return "fft"
    if taps <= CPU_DIRECT_TAPS:
        return "direct"
    return "blocks" if 2 * default_block(n, taps) <= n else "fft"


def default_block(n: int, taps: int) -> int:
    """Return the block for `n` samples and `taps` taps.

    One block for the whole kernel while it fits into the cache; at most eight, because
    the number of products grows with the square of the number of blocks.
    """
    shorter = min(n, taps)
    wanted = min(shorter, max(CPU_LARGEST_BLOCK, -(-shorter // MAX_PARTITIONS)))
    return fast_length(max(wanted, min(CPU_SMALLEST_BLOCK, n)))


def choose_sparse(frequencies: int) -> str:
    """Return the method for a kernel of so many frequencies on the default backend."""
    few = frequencies <= CPU_MATMUL_FREQUENCIES
    return "matmul" if few and jax.default_backend() == "cpu" else "fft"
