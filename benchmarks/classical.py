"""The classical line: spectral collocation on the four problems of the PINN tables.

`python -m benchmarks.classical` solves each problem with NumPy alone, prints the table
and writes `benchmarks/results/classical.json`. Every results page carries these rows,
so that a trained network is never compared with other trained networks only.

The solvers see what a PINN sees: the equation, its source and the initial and boundary
values. The exact solution supplies these values and measures the error: relative L2 and
largest error on a grid of 100 points per axis (32 in five dimensions), equally spaced
with the ends included, reached by barycentric interpolation. Seconds count everything
from the bare arguments to the values at the collocation points, matrices included, but
not the evaluation on the test grid.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from typing import TypedDict

import numpy as np


Slabs = Iterable[tuple[np.ndarray, np.ndarray]]

TEST_POINTS = 100
TEST_POINTS_5D = 32
HELMHOLTZ_MODES = (4, 4, 3)
FLOW_MAX_SPEED = 0.385
MAX_ITERATIONS = 100
REPEATS = 7


class Row(TypedDict):
    """What is reported of one solve."""

    relative_l2: float
    linf: float
    seconds: float
    unknowns: int
    method: str


def helmholtz3d(n: int = 40) -> Row:
    """Solve the Helmholtz problem on `n^3` Chebyshev points and return its errors."""
    seconds, values = _timed(partial(solve_helmholtz3d, n))
    test = np.linspace(-1, 1, TEST_POINTS)
    computed = _along_axes(values, [_interpolation(n, -1, 1, test)] * 3)
    slabs = [(computed, _helmholtz_exact(test, test, test))]
    method = "Chebyshev collocation, fast diagonalization"
    return _row(slabs, seconds, unknowns=(n - 2) ** 3, method=method)


def poisson5d(n: int = 13) -> Row:
    """Solve the five-dimensional Poisson problem and return its errors."""
    seconds, values = _timed(partial(solve_poisson5d, n))
    test = np.linspace(0, 1, TEST_POINTS_5D)
    matrix = _interpolation(n, 0, 1, test)

    def slabs() -> Slabs:
        # One test point of the first axis at a time: the grid has 3.4e7 points.
        for x, row in zip(test, matrix, strict=True):
            computed = _along_axes(np.tensordot(row, values, axes=1), [matrix] * 4)
            yield computed, _poisson_exact(np.array([x]), *[test] * 4)[0]

    method = "Chebyshev collocation, fast diagonalization"
    return _row(slabs(), seconds, unknowns=(n - 2) ** 5, method=method)


def klein_gordon(n_x: int = 8, n_t: int = 16, windows: int = 10) -> Row:
    """Solve the Klein-Gordon problem in time windows and return its errors.

    The exact solution is bilinear in space, which is why few points per spatial axis
    are enough.
    """
    seconds, values = _timed(partial(solve_klein_gordon, n_x, n_t, windows))
    test = np.linspace(-1, 1, TEST_POINTS)
    space = _interpolation(n_x, -1, 1, test)
    times = np.linspace(0, 10, TEST_POINTS)
    edges = np.linspace(0, 10, windows + 1)
    window = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, windows - 1)

    def slabs() -> Slabs:
        for k in range(windows):
            t = times[window == k]
            matrix = _interpolation(n_t, edges[k], edges[k + 1], t)
            computed = _along_axes(values[k], [matrix, space, space])
            yield computed, _klein_gordon_exact(t, test, test)

    unknowns = windows * n_t * (n_x - 2) ** 2
    method = "Chebyshev collocation, fixed point in time windows"
    return _row(slabs(), seconds, unknowns=unknowns, method=method)


def flow_mixing(n: int = 128, steps_per_interval: int = 2) -> Row:
    """Solve the flow-mixing problem on `n^2` points in space and return its errors."""
    seconds, values = _timed(partial(solve_flow_mixing, n, steps_per_interval))
    test = np.linspace(-4, 4, TEST_POINTS)
    matrix = _interpolation(n, -4, 4, test)
    times = np.linspace(0, 4, TEST_POINTS)
    computed = _along_axes(values, [np.eye(TEST_POINTS), matrix, matrix])
    slabs = [(computed, _flow_exact(times, test, test))]
    method = "Chebyshev collocation, RK4"
    return _row(slabs, seconds, unknowns=(n - 2) ** 2, method=method)


def solve_helmholtz3d(n: int) -> np.ndarray:
    """Return `u` with `laplacian(u) + u = q`, `u = 0` on the faces of `[-1, 1]^3`."""
    x = _points(n, -1, 1)
    factor = 1 - np.pi**2 * sum(mode**2 for mode in HELMHOLTZ_MODES)
    source = factor * _helmholtz_exact(x, x, x)
    values = np.zeros((n,) * 3)
    inside = (slice(1, -1),) * 3
    second = _second_derivative(n, -1, 1)
    values[inside] = _solve_laplace(second, source[inside], shift=1.0)
    return values


def solve_poisson5d(n: int) -> np.ndarray:
    """Return `u` with `laplacian(u) = f` on `[0, 1]^5`, given on the ten faces."""
    x = _points(n, 0, 1)
    values = _poisson_exact(*[x] * 5)
    source = -(np.pi**2) / 4 * values
    inside = (slice(1, -1),) * 5
    values[inside] = 0.0  # what is left are the values on the faces
    second = _second_derivative(n, 0, 1)
    lifted = source[inside].copy()
    for axis in range(5):
        # Only the two end points of this axis carry values on the lines inside.
        ends = tuple(slice(None) if k == axis else slice(1, -1) for k in range(5))
        faces = np.take(values[ends], [0, -1], axis=axis)
        lifted -= _along_axis(faces, second[1:-1, [0, -1]], axis)
    values[inside] = _solve_laplace(second, lifted, shift=0.0)
    return values


def solve_klein_gordon(n_x: int, n_t: int, windows: int) -> np.ndarray:
    """Return `u` with `u_tt - u_xx - u_yy + u^2 = f`, `(windows, n_t, n_x, n_x)`.

    In every window `w = u_tt` is the unknown: `u = u_0 + t v_0 + J^2 w` with the
    spectral integration matrix `J`, so no differentiation in time loses digits. The
    Laplacian is diagonalized in space and inverted with `J^2` in time; the square is
    iterated to a fixed point.
    """
    x = _points(n_x, -1, 1)
    second = _second_derivative(n_x, -1, 1)
    inner = second[1:-1, 1:-1]
    eigenvalues, modes = _real_eigenvectors(inner)
    inverse_modes = np.linalg.inv(modes)
    to_modes = partial(_along_last_axes, matrix=inverse_modes)
    from_modes = partial(_along_last_axes, matrix=modes)
    laplacian = eigenvalues[:, None] + eigenvalues

    length = 10 / windows
    once = _integration(n_t, length)
    twice = once @ once
    implicit = np.eye(n_t) - laplacian[:, :, None, None] * twice
    inverse = np.linalg.inv(implicit)
    local = _points(n_t, 0, length)[:, None, None]

    values = np.empty((windows, n_t, n_x, n_x))
    start = _klein_gordon_exact(np.zeros(1), x, x)[0, 1:-1, 1:-1]
    velocity = 2 * x[1:-1, None] * x[1:-1]
    for k in range(windows):
        exact = _klein_gordon_exact(k * length + local.ravel(), x, x)
        source = (exact**2 - 4 * exact)[:, 1:-1, 1:-1]
        u = values[k]
        u[:] = exact
        u[:, 1:-1, 1:-1] = 0.0  # what is left are the values on the four sides
        sides = second[1:-1] @ u[:, :, 1:-1] + u[:, 1:-1] @ second[1:-1].T
        free = start + local * velocity
        known = source + sides + _apply_laplacian(inner, free)
        inside = free
        for _ in range(MAX_ITERATIONS):
            forcing = to_modes(known - inside**2)
            w = from_modes(np.einsum("ijts,sij->tij", inverse, forcing))
            previous, inside = inside, free + np.tensordot(twice, w, axes=1)
            if np.max(np.abs(inside - previous)) < 1e-14:
                break
        else:
            raise RuntimeError(
                f"klein_gordon: no fixed point in window {k} after {MAX_ITERATIONS} "
                f"iterations, got windows={windows}; use more of them"
            )
        u[:, 1:-1, 1:-1] = inside
        start = inside[-1]
        velocity = velocity + np.tensordot(once[-1], w, axes=1)
    return values


def solve_flow_mixing(n: int, steps_per_interval: int) -> np.ndarray:
    """Return `u` with `u_t + a u_x + b u_y = 0` at the test times, `(100, n, n)`.

    Fourth-order Runge-Kutta with a fixed number of steps between test times. The points
    crowd at the sides, where the flow has died out, so they do not limit the step.
    """
    x = _points(n, -4, 4)
    first = _derivative(n, -4, 4)
    omega = _flow_omega(x[:, None], x)
    a, b = -omega * x, omega * x[:, None]
    times = np.linspace(0, 4, TEST_POINTS)
    step = (times[1] - times[0]) / steps_per_interval
    sides = np.ones((n, n), dtype=bool)
    sides[1:-1, 1:-1] = False
    x_sides, y_sides = (grid[sides] for grid in np.meshgrid(x, x, indexing="ij"))

    def slope(u: np.ndarray) -> np.ndarray:
        return -(a * (first @ u) + b * (u @ first.T))

    def impose(u: np.ndarray, t: float) -> np.ndarray:
        u[sides] = _flow_value(t, x_sides, y_sides)
        return u

    values = np.empty((TEST_POINTS, n, n))
    u = values[0] = _flow_exact(np.zeros(1), x, x)[0]
    for interval, t0 in enumerate(times[:-1]):
        for k in range(steps_per_interval):
            t = t0 + k * step
            k1 = slope(u)
            k2 = slope(impose(u + step / 2 * k1, t + step / 2))
            k3 = slope(impose(u + step / 2 * k2, t + step / 2))
            k4 = slope(impose(u + step * k3, t + step))
            u = impose(u + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4), t + step)
        values[interval + 1] = u
    return values


def _helmholtz_exact(*axes: np.ndarray) -> np.ndarray:
    modes = zip(axes, HELMHOLTZ_MODES, strict=True)
    return reduce(np.multiply, np.ix_(*(np.sin(k * np.pi * x) for x, k in modes)))


def _poisson_exact(*axes: np.ndarray) -> np.ndarray:
    return reduce(np.add, np.ix_(*(np.sin(np.pi * x / 2) for x in axes)))


def _klein_gordon_exact(t: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    t, x, y = np.ix_(t, x, y)
    return (x + y) * np.cos(2 * t) + x * y * np.sin(2 * t)


def _flow_exact(t: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _flow_value(*np.ix_(t, x, y))


def _flow_value(t: float | np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    angle = _flow_omega(x, y) * t
    return -np.tanh(y / 2 * np.cos(angle) - x / 2 * np.sin(angle))


def _flow_omega(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the angular speed `v / (r v_max)`, continued by its limit at `r = 0`."""
    r = np.maximum(np.hypot(x, y), 1e-8)
    return np.tanh(r) / np.cosh(r) ** 2 / (r * FLOW_MAX_SPEED)


def _points(n: int, a: float, b: float) -> np.ndarray:
    """Return `n` ascending Chebyshev points of the second kind on `[a, b]`."""
    x = np.sin(np.pi * np.arange(1 - n, n, 2) / (2 * (n - 1)))
    return a + (b - a) * (x + 1) / 2


def _barycentric_weights(n: int) -> np.ndarray:
    weights = (-1.0) ** np.arange(n)
    weights[[0, -1]] /= 2
    return weights


def _interpolation(n: int, a: float, b: float, x: np.ndarray) -> np.ndarray:
    """Return the matrix from values at the `n` Chebyshev points to values at `x`."""
    distance = x[:, None] - _points(n, a, b)
    hit = distance == 0
    matrix = _barycentric_weights(n) / np.where(hit, 1.0, distance)
    on_point = np.any(hit, axis=1)
    matrix[on_point] = hit[on_point]
    return matrix / np.sum(matrix, axis=1, keepdims=True)


def _derivative(n: int, a: float, b: float) -> np.ndarray:
    """Return the differentiation matrix on the Chebyshev points of `[a, b]`."""
    # Differences of the points as products of sines, and a diagonal that makes the
    # derivative of a constant vanish, keep the rounding errors small.
    angle = np.pi * np.arange(n) / (n - 1)
    total, difference = np.add.outer(angle, angle), np.subtract.outer(angle, angle)
    distance = 2 * np.sin(total / 2) * np.sin(difference / 2)
    np.fill_diagonal(distance, 1.0)
    weights = _barycentric_weights(n)
    matrix = weights / weights[:, None] / distance
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -np.sum(matrix, axis=1))
    return 2 / (b - a) * matrix


def _second_derivative(n: int, a: float, b: float) -> np.ndarray:
    first = _derivative(n, a, b)
    matrix = first @ first
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -np.sum(matrix, axis=1))
    return matrix


def _integration(n: int, length: float) -> np.ndarray:
    """Return the matrix of the integral from the left end to each Chebyshev point."""
    x = _points(n, -1, 1)
    chebyshev = np.polynomial.chebyshev
    coefficients = np.linalg.inv(chebyshev.chebvander(x, n - 1))
    integrals = chebyshev.chebint(coefficients, lbnd=-1, scl=1, axis=0)
    return length / 2 * chebyshev.chebvander(x, n) @ integrals


def _real_eigenvectors(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues, real for second derivatives, and the eigenvectors."""
    eigenvalues, vectors = np.linalg.eig(matrix)
    return eigenvalues.real, vectors.real


def _solve_laplace(
    second: np.ndarray, source: np.ndarray, *, shift: float
) -> np.ndarray:
    """Return the interior `u` of `laplacian(u) + shift * u = source`, zero outside."""
    eigenvalues, modes = _real_eigenvectors(second[1:-1, 1:-1])
    coefficients = _along_axes(source, [np.linalg.inv(modes)] * source.ndim)
    total = reduce(np.add, np.ix_(*[eigenvalues] * source.ndim))
    return _along_axes(coefficients / (total + shift), [modes] * source.ndim)


def _apply_laplacian(second: np.ndarray, values: np.ndarray) -> np.ndarray:
    return second @ values + values @ second.T


def _along_last_axes(values: np.ndarray, *, matrix: np.ndarray) -> np.ndarray:
    return matrix @ values @ matrix.T


def _along_axis(values: np.ndarray, matrix: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)


def _along_axes(values: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    # Each product moves its axis to the end; after all axes the order is the old one.
    for matrix in matrices:
        values = np.tensordot(values, matrix, axes=(0, 1))
    return values


def _timed(solve: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    values = solve()
    return time.perf_counter() - start, values


def _row(slabs: Slabs, seconds: float, *, unknowns: int, method: str) -> Row:
    difference, norm, largest = 0.0, 0.0, 0.0
    for computed, exact in slabs:
        error = computed - exact
        difference += float(np.vdot(error, error))
        norm += float(np.vdot(exact, exact))
        largest = max(largest, float(np.max(np.abs(error))))
    return {
        "relative_l2": float(np.sqrt(difference / norm)),
        "linf": largest,
        "seconds": seconds,
        "unknowns": unknowns,
        "method": method,
    }


PROBLEMS: dict[str, Callable[[], Row]] = {
    "Klein-Gordon (2+1)d": klein_gordon,
    "Helmholtz 3d": helmholtz3d,
    "flow mixing (2+1)d": flow_mixing,
    "Poisson 5d": poisson5d,
}


def main() -> None:
    """Time every problem, print the table and write the results."""
    # Here, because it imports JAX, which none of the solvers needs.
    from benchmarks import _results

    rows = []
    for problem, run in PROBLEMS.items():
        row = run()
        seconds = _results.summarize(run()["seconds"] for _ in range(REPEATS))
        rows.append({"problem": problem, **row, "seconds": seconds})
        print(
            f"{problem:20s} {row['relative_l2']:9.1e} {row['linf']:9.1e} "
            f"{1e3 * seconds['median']:8.1f} ms {row['unknowns']:8d}  {row['method']}"
        )
    _results.write(
        "classical",
        rows,
        claim="Spectral collocation solves the four problems in under a second each",
        notes=[
            "relative_l2, linf: on 100 equally spaced points per axis, 32 in 5-D",
            "seconds: one solve, matrices included, without evaluation on that grid",
            "Klein-Gordon: u_t(0) is given; the solution is bilinear in space",
        ],
    )


if __name__ == "__main__":
    main()
