"""The classical line of nonlinear evolution in one dimension: Fourier and ETDRK4.

Burgers' equation with odd data and the Allen-Cahn equation are periodic on [-1, 1]. In
NumPy alone: products on the grid of the transform, linear terms exactly by exponential
time differencing of fourth order, its coefficients as means over a circle.

Source: Kassam, Trefethen, Fourth-order time-stepping for stiff PDEs, SIAM J. Sci.
Comput. 26 (2005) 1214-1233.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


Row = dict[str, Any]
CIRCLE = 64  # points of the mean


class Equation(NamedTuple):
    """`u_t = L u + N(u)`: initial value, L by wave number, N in Fourier space."""

    initial: Callable[[np.ndarray], np.ndarray]
    linear: Callable[[np.ndarray], np.ndarray]
    nonlinear: Callable[[np.ndarray, np.ndarray], np.ndarray]


def _burgers(viscosity: float) -> Equation:
    return Equation(
        lambda x: -np.sin(np.pi * x),
        lambda k: -viscosity * k**2,
        lambda u, k: -0.5j * k * np.fft.rfft(np.fft.irfft(u) ** 2),
    )


EQUATIONS: dict[str, Equation] = {
    "burgers1d": _burgers(0.01 / np.pi),
    "allen_cahn": Equation(
        lambda x: x**2 * np.cos(np.pi * x),
        lambda k: 5.0 - 1e-4 * k**2,
        lambda u, k: -5.0 * np.fft.rfft(np.fft.irfft(u) ** 3),
    ),
}


def solve(
    equation: Equation, points: int, times: np.ndarray, steps_per_interval: int
) -> np.ndarray:
    """Returns Fourier coefficients at equally spaced times, (times, points / 2 + 1)."""
    x = -1.0 + 2.0 * np.arange(points) / points
    k = np.pi * np.arange(points // 2 + 1)
    k_odd = np.where(np.arange(k.size) == points // 2, 0.0, k)  # of first derivatives
    step = (times[1] - times[0]) / steps_per_interval
    linear = step * equation.linear(k)
    whole, half = np.exp(linear), np.exp(linear / 2.0)
    circle = np.exp(1j * np.pi * (np.arange(CIRCLE) + 0.5) / CIRCLE)
    z = linear[:, None] + circle
    q = step * np.mean((np.exp(z / 2) - 1) / z, axis=1).real
    f1 = step * np.mean((-4 - z + np.exp(z) * (4 - 3 * z + z**2)) / z**3, axis=1).real
    f2 = step * np.mean((2 + z + np.exp(z) * (z - 2)) / z**3, axis=1).real
    f3 = step * np.mean((-4 - 3 * z - z**2 + np.exp(z) * (4 - z)) / z**3, axis=1).real
    u = np.fft.rfft(equation.initial(x))
    found = [u]
    for _ in range(len(times) - 1):
        for _ in range(steps_per_interval):
            n = equation.nonlinear(u, k_odd)
            a = half * u + q * n
            n_a = equation.nonlinear(a, k_odd)
            b = half * u + q * n_a
            n_b = equation.nonlinear(b, k_odd)
            c = half * a + q * (2.0 * n_b - n)
            n_c = equation.nonlinear(c, k_odd)
            u = whole * u + f1 * n + 2.0 * f2 * (n_a + n_b) + f3 * n_c
        found.append(u)
    return np.stack(found)


def evaluate(coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns values at positions of [-1, 1], (times, positions)."""
    count = coefficients.shape[-1]
    waves = np.exp(1j * np.pi * np.outer(np.arange(count), x + 1.0))
    factor = np.where(np.isin(np.arange(count), (0, count - 1)), 1.0, 2.0)
    return (coefficients * factor @ waves).real / (2 * (count - 1))


def measure(
    problem: str,
    exact: Callable[[np.ndarray, np.ndarray], np.ndarray],
    points: int = 1024,
    steps_per_interval: int = 8,
    test_points: int = 200,
) -> Mapping[str, Any]:
    """Returns relative L2 error on an equispaced grid, seconds, unknowns, method."""
    times, x = np.linspace(0.0, 1.0, test_points), np.linspace(-1.0, 1.0, test_points)
    began = time.perf_counter()
    found = solve(EQUATIONS[problem], points, times, steps_per_interval)
    seconds = time.perf_counter() - began
    theirs = exact(times[:, None], x[None, :])
    gap = evaluate(found, x) - theirs
    return {
        "relative_l2": float(np.linalg.norm(gap) / np.linalg.norm(theirs)),
        "seconds": seconds,
        "unknowns": points,
        "method": "Fourier, ETDRK4",
    }
