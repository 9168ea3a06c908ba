"""What every peer is given: points, values and the grid that errors are measured on.

Needs NumPy alone, because each peer has an environment of its own.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


INTERIOR, FACE = 4096, 256
HIDDEN = (64, 64, 64)
LEARNING_RATE = 1e-3
TEST_POINTS = 50


@dataclass(frozen=True)
class Statement:
    """A problem on a box in three coordinates.

    faces: (axis, end) pairs that carry the exact value. exact: of points (n, 3).
    """

    intervals: tuple[tuple[float, float], ...]
    faces: tuple[tuple[int, int], ...]
    exact: Callable[[np.ndarray], np.ndarray]

    def interior(self, seed: int = 0) -> np.ndarray:
        """Returns uniform points (INTERIOR, 3), float32."""
        lower, upper = np.asarray(self.intervals).T
        unit = np.random.default_rng(seed).random((INTERIOR, 3))
        return (lower + (upper - lower) * unit).astype(np.float32)

    def boundary(self, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Returns FACE points on each face, and the exact values (n, 1) there."""
        lower, upper = np.asarray(self.intervals).T
        rng = np.random.default_rng(seed)
        faces = []
        for axis, end in self.faces:
            points = lower + (upper - lower) * rng.random((FACE, 3))
            points[:, axis] = self.intervals[axis][end]
            faces.append(points)
        points = np.concatenate(faces)
        values = self.exact(points)[:, None]
        return points.astype(np.float32), values.astype(np.float32)

    def test_grid(self) -> np.ndarray:
        """Returns the points (n, 3) of an equispaced grid."""
        axes = [np.linspace(*interval, TEST_POINTS) for interval in self.intervals]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)

    def error(self, predict: Callable[[np.ndarray], np.ndarray]) -> float:
        """Returns the relative L2 error of a function of points (n, 3)."""
        grid = self.test_grid()
        exact = self.exact(grid)
        found = np.asarray(predict(grid.astype(np.float32)), np.float64).reshape(-1)
        return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def _klein_gordon(points: np.ndarray) -> np.ndarray:
    t, x, y = points.T
    return (x + y) * np.cos(2 * t) + x * y * np.sin(2 * t)


def _helmholtz(points: np.ndarray) -> np.ndarray:
    x, y, z = np.pi * points.T
    return np.sin(4 * x) * np.sin(4 * y) * np.sin(3 * z)


# Constants of the equations: u_tt - u_xx - u_yy + u^2 = e^2 - 4 e with the exact e, and
# u_xx + u_yy + u_zz + u = HELMHOLTZ e.
HELMHOLTZ = 1.0 - (4**2 + 4**2 + 3**2) * np.pi**2
SIDES = tuple((axis, end) for axis in (1, 2) for end in (0, 1))
STATEMENTS = {
    "klein_gordon": Statement(
        ((0.0, 10.0), (-1.0, 1.0), (-1.0, 1.0)), ((0, 0), *SIDES), _klein_gordon
    ),
    "helmholtz": Statement(((-1.0, 1.0),) * 3, ((0, 0), (0, 1), *SIDES), _helmholtz),
}


def report(**found: object) -> None:
    """Prints the result as the last line, which `benchmarks.peers` reads."""
    print("RESULT " + json.dumps(found), flush=True)
