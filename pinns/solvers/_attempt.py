"""What solves in fixed bases share: axes, sizes, the report, the model made of it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pinns.conditions import Periodic
from pinns.domain import positive_integer, precision
from pinns.problem import Problem
from pinns.separable import Params, Tucker
from pinns.solvers._axes import Axis, make_axis
from pinns.solvers._kinds import Kind, kinds_of
from pinns.solvers._kronecker import contract
from pinns.solvers._paths import SOLVERS, Outcome
from pinns.solvers._system import System
from pinns.solvers._tables import Table


DTYPES = ("float32", "float64")
# Values of all tables together, coefficients and known functions.
MAX_VALUES = 10**8
# A condition number above it leaves no digits, or few.
SINGULAR, ILL_CONDITIONED = 1e15, 1e12
# Relative residual at unseen points from which a solution is called unresolved.
UNRESOLVED = 0.1
# Sizes that the automatic choice starts from, and its limits.
START = {1: 24, 2: 16, 3: 16, 4: 10, 5: 8, 6: 6}
LARGEST = 1000
MAX_SIZE, MAX_UNKNOWNS = 192, 400_000
RANDOM_SIZES = {1: 80, 2: 80, 3: 64, 4: 40, 5: 24}


class Attempt:
    """One solve with given sizes."""

    def __init__(
        self, system: System, unseen, points, outcome: Outcome, core, windows, compiling
    ):
        self.system, self.outcome, self.core = system, outcome, core
        self.unseen, self.points = unseen, points
        self.windows, self.compiling = windows, compiling

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(axis.count for axis in self.system.axes)

    def basis(self) -> Any:
        """Returns the kind of all axes, or that of each where they differ."""
        kinds = tuple(axis.kind for axis in self.system.axes)
        return kinds[0] if len(set(kinds)) == 1 else kinds

    def tail(self) -> tuple[float, ...]:
        """Returns the last tenth of the coefficients per axis, relative."""
        largest = np.abs(self.core).max(initial=0.0)
        out = []
        for k, n in enumerate(self.core.shape):
            last = np.take(self.core, range(n - max(2, n // 10), n), axis=k)
            out.append(float(np.abs(last).max() / largest) if largest else 0.0)
        return tuple(out)

    def unresolved(self) -> float:
        """Returns the residual at unseen points, relative to the size of its terms."""
        residual, size = self._interior
        return residual / size if size else 0.0

    @cached_property
    def _interior(self) -> tuple[float, float]:
        values, size = self._values(self.unseen[0])
        return math.sqrt(_mean_square(values)), size

    def report(self) -> dict[str, Any]:
        system, outcome = self.system, self.outcome
        faces = self.unseen[1:]
        misfit: dict[str, list[float]] = {}
        for table in faces:
            gaps, _ = self._values(table)
            misfit.setdefault(table.term.group, []).append(_mean_square(gaps))
        return {
            "path": outcome.path,
            "basis": self.basis(),
            "sizes": self.sizes,
            "ranks": self.core.shape,
            "unknowns": math.prod(system.shape),
            "iterations": outcome.iterations,
            "windows": self.windows,
            "condition": outcome.condition,
            "preconditioned_condition": outcome.preconditioned,
            "algebraic_residual": outcome.residual,
            "residual": self._interior[0],
            "relative_residual": self.unresolved(),
            "misfit": {g: math.sqrt(np.mean(m)) for g, m in misfit.items()},
            "tail": self.tail(),
            "compile_seconds": self.compiling,
        }

    def _values(self, table: Table) -> tuple[np.ndarray, float]:
        """Returns a term at unseen points, (e, *grid), and the size of its parts."""
        parts = [table.known]
        for e in range(table.known.shape[0]):
            rows = self.system.rows(table, self.points, None, e)
            parts.append(rows.apply(self.core)[None] + 0.0 * table.known)
        if table.known.shape[0] == 1:
            total = parts[0] + parts[1]
        else:
            total = parts[0] + np.concatenate([p[:1] for p in parts[1:]])
        rows = self.system.rows(table, self.points)
        size = _mean_square(table.known)
        for piece in rows.pieces:
            alone = type(rows)(rows.shape, rows.columns, (piece,))
            size += _mean_square(alone.apply(self.core))
        return total, math.sqrt(size)


def _mean_square(values: np.ndarray) -> float:
    return float(np.mean(np.square(values)))


def make_axes(
    owner: str,
    problem: Problem,
    kinds: Sequence[Kind],
    sizes: Sequence[int],
    waves: Any,
) -> list[Axis]:
    """Returns the trial functions of every axis, hard conditions included."""
    box = problem.box
    flags = problem.hard.exponents()
    flags = np.zeros((1, box.dimension, 3)) if flags is None else flags
    axes = [
        make_axis(
            kinds[k].name,
            sizes[k],
            box.intervals[k],
            flags[0, k],
            None
            if waves is None
            else (waves[0][k, : sizes[k]], waves[1][k, : sizes[k]]),
            (kinds[k].center, kinds[k].sharpness),
        )
        for k in range(box.dimension)
    ]
    _check_memory(owner, problem, axes, sizes)
    return axes


def larger_sizes(found: Attempt, tolerance: float) -> tuple[int, ...]:
    """Returns more functions on the axes whose coefficients exceed a tolerance."""
    short = [t > tolerance for t in found.tail()]
    sizes = tuple(
        min(MAX_SIZE, math.ceil(1.5 * n)) if s else n
        for n, s in zip(found.sizes, short, strict=True)
    )
    return found.sizes if math.prod(sizes) > MAX_UNKNOWNS else sizes


def unseen_points(box) -> list[np.ndarray]:
    """Returns random coordinates per axis, about two thousand points together."""
    count = max(3, int(2000 ** (1.0 / box.dimension)))
    rng = np.random.default_rng(20)
    return [np.sort(a + (b - a) * rng.random(count)) for a, b in box.intervals]


def drawn_waves(kinds: Sequence[Kind], key, count: int):
    """Returns frequencies and phases of random features, (d, count) each, or None."""
    if not is_random(kinds):
        return None
    dimension = len(kinds)
    sigma = Tucker(rank=1, network=kinds[0].name, hidden=(1,)).net.sigma
    with precision("float64"):
        k_frequency, k_phase = jax.random.split(key)
        shape = (dimension, count)
        frequencies = sigma * jax.random.normal(k_frequency, shape, jnp.float64)
        phases = jax.random.uniform(k_phase, shape, jnp.float64, 0.0, 2.0 * jnp.pi)
        return np.asarray(frequencies), np.asarray(phases)


def tucker(found: Attempt, waves, dtype: str) -> tuple[Tucker, Params]:
    """Returns the Tucker model with the coefficients as its core.

    Output kernels are the identity, cut to the size of the axis. Those of random
    features hold their orthonormal combinations, which keeps the core small.
    """
    axes, core = found.system.axes, found.core
    count = max(axis.count for axis in axes)
    plain = isinstance(found.basis(), str) and not any(a.stretch[1] for a in axes)
    basis = axes[0].kind if plain else "spectral"
    if basis == "random_features":
        kernels = [axis.transform for axis in axes]
    else:
        core = contract(core, [axis.transform for axis in axes])
        kernels = [np.eye(axis.count) for axis in axes]
    ranks = tuple(kernel.shape[1] for kernel in kernels)
    model = Tucker(rank=ranks, network=basis, hidden=(count,))
    params: dict[str, Any] = {}
    for width in dict.fromkeys(ranks):
        own = [k for k, rank in enumerate(ranks) if rank == width]
        kernel = np.zeros((len(own), count, width))
        for i, k in enumerate(own):
            kernel[i, : len(kernels[k])] = kernels[k]
        params[f"factors_{width}"] = {"kernel": kernel}
        if basis == "spectral":
            columns = [(axes[k].kind == "fourier", *axes[k].stretch) for k in own]
            names = ("periodic", "center", "sharpness")
            flat = zip(names, np.array(columns, np.float64).T, strict=True)
            params[f"factors_{width}"].update(flat)
        if waves is not None:
            params[f"factors_{width}"]["frequencies"] = waves[0][own]
            params[f"factors_{width}"]["phases"] = waves[1][own]
    params["core"] = core[None]
    with precision(dtype):
        return model, jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)


def is_random(kinds: Sequence[Kind]) -> bool:
    """Are these random features, whose size is not found automatically."""
    return kinds[0].name == "random_features"


def sizes_of(owner: str, problem: Problem, kinds, size) -> tuple[int, ...]:
    """Returns the basis functions of every axis, checked."""
    d = problem.box.dimension
    if size is None:
        table, least = (RANDOM_SIZES, 16) if is_random(kinds) else (START, 5)
        return (table.get(d, least),) * d
    entries = tuple(size) if isinstance(size, (tuple, list)) else (size,) * d
    if len(entries) != d:
        raise ValueError(
            f"{owner}: `size` must be one integer or one for each of the {d} axes "
            f"{problem.box.names}, got {size!r}"
        )
    sizes = tuple(positive_integer(n, owner, "size") for n in entries)
    if max(sizes) > LARGEST:
        raise ValueError(f"{owner}: `size` must be at most {LARGEST}, got {size!r}")
    return sizes


def check(owner: str, problem, basis, cluster, key, dtype, path) -> tuple[Kind, ...]:
    """Returns the basis of every axis; raises where options of a solve are wrong."""
    if not isinstance(problem, Problem):
        raise TypeError(f"{owner}: `problem` must be a pinns.Problem, got {problem!r}")
    if len(problem.unknowns) > 1 or problem.equations > 1:
        raise ValueError(
            f"{owner}: `problem` must be one equation for one unknown, got "
            f"{problem.equations} for ({', '.join(problem.unknowns)}); the methods "
            "adam and lbfgs work"
        )
    kinds = kinds_of(owner, problem.box, basis, cluster)
    for name, value, allowed in (
        ("dtype", dtype, DTYPES),
        ("path", path, ("auto", *SOLVERS)),
    ):
        if value not in allowed:
            raise ValueError(
                f"{owner}: `{name}` must be one of {', '.join(allowed)}, got {value!r}"
            )
    periodic = {
        name for c in problem.conditions if isinstance(c, Periodic) for name in c.axes
    }
    others = [
        name
        for name, kind in zip(problem.box.names, kinds, strict=True)
        if kind.name == "fourier" and name not in periodic
    ]
    if others:
        raise ValueError(
            f"{owner}: basis='fourier' is for axes along which the problem is "
            f"periodic, got no pinns.Periodic on {', '.join(others)}"
        )
    typed = isinstance(key, jax.Array) and key.shape == ()
    typed = typed and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if is_random(kinds) and not typed:
        raise TypeError(
            f"{owner}: `key` must be a typed random key such as jax.random.key(0) with "
            f"basis='random_features', got {key!r}"
        )
    if not is_random(kinds) and key is not None:
        raise ValueError(
            f"{owner}: `key` belongs to basis='random_features', got {key!r} with "
            f"basis={basis!r}"
        )
    return kinds


def _check_memory(owner: str, problem: Problem, axes: Sequence[Axis], sizes) -> None:
    grid = math.prod(float(len(axis.nodes)) for axis in axes)
    values = grid * (problem.box.dimension + 2)
    if values > MAX_VALUES:
        raise ValueError(
            f"{owner}: `size` must give fewer than {MAX_VALUES:.0e} tabulated "
            f"values, got {sizes!r} with about {values:.1e}; the methods lbfgs and "
            "adam do not need the grid"
        )


def refuse_singular(owner: str, problem: Problem, outcome: Outcome) -> None:
    """Raises ValueError where the equations have no unique solution."""
    condition = max(outcome.condition, outcome.preconditioned or 1.0)
    if not condition < SINGULAR:
        raise ValueError(
            f"{owner}: `problem` must determine its solution, but the equations of "
            f"{problem.name!r} in this basis are singular to working precision "
            f"(condition number about {condition:.1e}): a condition may be "
            "missing, an eigenvalue may be met, or the data may be too few"
        )


def warn(
    owner: str, found: Attempt, info: dict[str, Any], tolerance: float, size
) -> None:
    """Warns of a result that few digits of can be trusted."""
    if info["condition"] > ILL_CONDITIONED:
        _say(
            owner,
            f"the equations are ill-conditioned (about {info['condition']:.1e}); few "
            "digits can be trusted",
        )
    if not found.outcome.converged:
        solver = "GMRES" if info["path"] == "iterative" else "LSQR"
        _say(
            owner,
            f"{solver} stopped after {info['iterations']} iterations at a residual of "
            f"{info['algebraic_residual']:.1e}, short of the tolerance {tolerance:g}",
        )
    largest = max(info["tail"])
    automatic = size is None and info["basis"] != "random_features"
    if automatic and largest > math.sqrt(tolerance):
        _say(
            owner,
            f"the coefficients fall to {largest:.1e} only with sizes {info['sizes']}, "
            f"the largest that are tried; the tolerance is {tolerance:g}",
        )
    if info["relative_residual"] > UNRESOLVED and found.outcome.path != "least_squares":
        _say(
            owner,
            f"the residual at unseen points is {info['relative_residual']:.1e} of its "
            "terms: the basis does not resolve the solution; a larger `size` may",
        )


def _say(owner: str, what: str) -> None:
    warnings.warn(f"{owner}: {what}", UserWarning, stacklevel=4)
