"""The loss of a pointwise network on scattered points, and how they are drawn.

The residual is taken at points of the domain, conditions at points of their own on each
face. In a masked box all of them lie inside.

Sources: Wu, Zhu, Tan, Kartha and Lu 2023 (RAD); Daw, Bu, Wang, Perdikaris and Karpatne
2023 (R3), see `jaxcore.sampling.adaptive`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxcore import sampling
from pinns.conditions import Term
from pinns.domain import SAMPLINGS, Box, positive_integer
from pinns.losses import GridLoss
from pinns.masked import MaskedBox, drawn, face_share, kept
from pinns.pointwise import MLP
from pinns.problem import Problem
from pinns.slabs import Reduction


ADAPTIVE = ("rad", "r3")
DESIGNS = {
    "latin_hypercube": sampling.latin_hypercube,
    "sobol": sampling.sobol,
    "halton": sampling.halton,
}
# Kinds of scattered points: independent, by a design, or where the residual is large.
SCATTERED = ("scattered", *DESIGNS, *ADAPTIVE)
# Points of the residual if none are asked for.
POINTS = 2048
# RAD draws from so many times as many candidates.
CANDIDATES = 10
# Steps from one choice of adaptive points to the next, if none are asked for.
ADAPT_EVERY = 100


class PreparedPoints(NamedTuple):
    """interior: (N, d). faces: (M, d) of every term that is not interior, or None."""

    interior: Float[Array, "n d"]
    faces: tuple[Array | None, ...]


@dataclass(frozen=True)
class _Plan:
    """A term, and how many points it has besides those of the interior."""

    term: Term
    count: int


class PointLoss(GridLoss):
    """Mean-square loss of a pointwise network on scattered points.

    Args:
        problem: the problem.
        model: the network.
        count: points of the residual; a face has their root of order d / (d - 1).
        dtype: `"float32"` or `"float64"`.

    Raises:
        ValueError: a condition on a face of which no point lies in the domain.
    """

    def __init__(self, problem: Problem, model: MLP, count: int, dtype="float32"):
        self.problem, self.model = problem, model
        self.counts, self.dtype = (count,), jnp.dtype(dtype)
        self.data = problem.data
        d = problem.box.dimension
        share = 2 if d == 1 else math.ceil(count ** ((d - 1) / d))
        self.plans: list[Any] = [
            _Plan(term, 0 if _is_interior(term) else share) for term in problem.terms
        ]
        for plan in self.plans:
            if plan.count:
                _check_faces(problem.box, plan.term)

    def draw(self, key: Array, kind: str) -> PreparedPoints:
        """Returns points: `kind` is one of `SCATTERED`; adaptive ones start uniform."""
        box, (count,) = self.problem.box, self.counts
        inner, *keys = jax.random.split(key, 1 + len(self.plans))
        if kind in DESIGNS:
            share = getattr(box, "share", 1.0)
            candidates = count if share == 1.0 else int(1.5 * count / share) + 64
            if kind == "sobol":  # balanced for powers of two only
                candidates = 1 << (candidates - 1).bit_length()
            lower, upper = zip(*box.intervals, strict=True)
            points = DESIGNS[kind](inner, candidates, lower, upper)
            interior = kept(box, jnp.asarray(points, self.dtype), count)
        else:
            interior = drawn(box, inner, count, self.dtype)
        faces = [
            self._face_points(key, plan) if plan.count else None
            for key, plan in zip(keys, self.plans, strict=True)
        ]
        return PreparedPoints(interior, tuple(faces))

    def mean_squares(
        self,
        params: Any,
        prepared: Any,
        reductions: Mapping[int, Reduction] | None = None,
    ) -> list[Array]:
        """Returns the mean square of every term, then of every `Data` condition."""
        del reductions  # weighting schemes are for grids
        values = []
        for plan, face in zip(self.plans, prepared.faces, strict=True):
            points = prepared.interior if face is None else face
            squares = self._squares(params, plan.term, points)
            weight = self._weights(plan.term, points)
            mean = jnp.mean(squares) if weight is None else jnp.sum(weight * squares)
            values.append(mean)
        errors = [self.data_errors(params, i) for i in range(len(self.data))]
        return values + [jnp.mean(e**2) for e in errors]

    def residual(self, params: Any, points: Float[Array, "n d"]) -> Float[Array, " n"]:
        """Returns the root of the squared residual, summed over equations."""
        squares = self._squares(params, self.plans[0].term, points)
        return jnp.sqrt(squares.reshape(-1))

    def _squares(self, params: Any, term: Term, points: Array) -> Array:
        """Returns the squares of a term, (k, n): k is 2 on both ends, otherwise 1."""
        problem = self.problem
        model: Any = self.model
        columns = [points[:, i][None] for i in range(points.shape[1])]

        def place(selectors):
            ends = {"lower": slice(0, 1), "upper": slice(1, 2), "ends": slice(0, 2)}
            return [
                c
                if s == "interior"
                else jnp.asarray(interval[ends[s]], c.dtype)[:, None]
                for c, s, interval in zip(
                    columns, selectors, problem.box.intervals, strict=True
                )
            ]

        def source(unknown, orders, selectors):
            placed = place(selectors)
            if unknown in problem.parameters:
                return problem.parameters.value(params, unknown, orders, placed)
            derivative = model.derivative(problem, params, unknown, orders)
            value = derivative(*placed)
            lift = problem.lift_values(unknown, orders, placed)
            return value if lift is None else value + lift

        found = term.function(source, place(term.selectors))
        return sum((v**2 for v in found[1:]), start=found[0] ** 2)

    def _weights(self, term: Term, points: Array) -> Array | None:
        """Returns shares of the points in a mean over the volume of a mapped box."""
        box = self.problem.box
        factors = box.volume(list(points.T))
        if factors is None:
            return None
        free = [f for f, s in zip(factors, term.selectors, strict=True)
                if s == "interior"]  # fmt: skip
        density = math.prod(free, start=jnp.ones(points.shape[0], points.dtype))[None]
        sides = 2 if "ends" in term.selectors else 1
        return density / (sides * jnp.sum(density))

    def _face_points(self, key: Array, plan: _Plan) -> Array:
        box = self.problem.box
        axis, ends = _ends(box, plan.term)
        if len(ends) == 2 or box.inside([jnp.zeros(1)] * box.dimension) is None:
            return drawn(box, key, plan.count, self.dtype)
        return drawn(box, key, plan.count, self.dtype, pinned=(axis, ends[0]))


def adapted(
    loss: PointLoss, kind: str, params: Any, points: Float[Array, "n d"], key: Array
) -> Float[Array, "n d"]:
    """Returns the next points of a run, jit-able.

    `rad` draws them from ten times as many candidates by `rad_probabilities`; `r3`
    keeps those above the mean residual and replaces the others.
    """
    box, (n,) = loss.problem.box, loss.counts
    first, second = jax.random.split(key)
    if kind == "rad":
        candidates = drawn(box, first, CANDIDATES * n, points.dtype)
        return sampling.rad(second, candidates, loss.residual(params, candidates), n)
    stay = sampling.r3_kept(loss.residual(params, points))
    fresh = drawn(box, first, n, points.dtype)
    return jnp.where(stay[:, None], points, fresh)


def compiled_draw(loss: PointLoss, kind: str):
    """Returns key -> points; designs are SciPy's and stay on the host."""
    draw = partial(loss.draw, kind=kind)
    return draw if kind in DESIGNS else jax.jit(draw)


def scattered_kind(
    owner: str, problem: Problem, model: Any, method: str, sampling: Any
) -> Any:
    """Returns `sampling`, checked where points are scattered, as in a masked box.

    Raises:
        ValueError: scattered points for a separable model, or a tensor grid, or no
            pointwise network, in a masked box.
    """
    box = problem.box
    kind = isinstance(sampling, str) and sampling in SCATTERED
    if isinstance(box, MaskedBox):
        if not isinstance(model, MLP):
            box.refuse(owner, f"model={model!r}")
        if method not in ("auto", "adam"):
            box.refuse(owner, f"method={method!r}")
        if sampling is not None and not kind:
            raise ValueError(
                f"{owner}: `sampling` in {box!r} must be one of "
                f"{', '.join(SCATTERED)}, got {sampling!r}"
            )
        return "scattered" if sampling is None else sampling
    if kind and not isinstance(model, MLP):
        raise ValueError(
            f"{owner}: sampling={sampling!r} is for pointwise networks, pinns.MLP; "
            f"separable models take tensor grids ({', '.join(SAMPLINGS)}), got "
            f"model={model!r}"
        )
    return sampling


def scattered_count(owner: str, points: Any, sampling: str) -> int:
    """Returns the number of scattered points, by default `POINTS`.

    Raises:
        ValueError: not one positive integer.
    """
    if points is None:
        return POINTS
    if isinstance(points, bool) or not isinstance(points, (int, np.integer)):
        raise ValueError(
            f"{owner}: `points` must be one number with sampling={sampling!r}, of all "
            f"points of the residual together, got {points!r}"
        )
    return positive_integer(points, owner, "points")


def check_scattered(
    owner: str, sampling: str, loss: str, devices: int, weighting: Any
) -> None:
    """Raises ValueError for options that only a tensor grid has."""
    for name, value, plain in (
        ("loss", loss, "auto"), ("devices", devices, 1), ("weighting", weighting, None),
    ):  # fmt: skip
        if value != plain:
            raise ValueError(
                f"{owner}: `{name}` must be {plain!r} with sampling={sampling!r}, "
                f"got {value!r}"
            )


def _is_interior(term: Term) -> bool:
    return all(s == "interior" for s in term.selectors)


def _ends(box: Box, term: Term) -> tuple[int, Sequence[float]]:
    axis = next(i for i, s in enumerate(term.selectors) if s != "interior")
    a, b = box.intervals[axis]
    return axis, {"lower": [a], "upper": [b], "ends": [a, b]}[term.selectors[axis]]


def _check_faces(box: Box, term: Term) -> None:
    """Raises ValueError where a face lies outside the mask, even in part for both."""
    axis, ends = _ends(box, term)
    shares = [face_share(box, axis, end) for end in ends]
    name = box.names[axis]
    if min(shares) == 0.0:
        raise ValueError(
            f"pinns.solve: no point of the face {name} = "
            f"{ends[shares.index(0.0)]:g} of {term.name!r} lies inside {box!r}; state "
            "the condition on other faces, or at points of the boundary by "
            "pinns.Boundary"
        )
    if len(ends) == 2 and min(shares) < 1.0:
        raise ValueError(
            f"pinns.solve: the faces of {term.name!r} lie inside {box!r} only in part; "
            "state one condition for side='lower' and one for side='upper'"
        )
