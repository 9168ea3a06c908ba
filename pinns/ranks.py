"""Rank tools: round, convert and grow separable models as functions.

A trained model is a tensor of one-dimensional functions. `rounded` finds a model of
the smallest ranks that stays within a tolerance in the L2 norm of the box;
`converted` writes a CP, tensor-train or Tucker model in another of the three formats;
`grow` adds ranks. In all cases the new factors are linear combinations of the old
ones. Every factor network ends in a linear layer, so only its matrix changes: the
result is a model like any other, to be evaluated, saved or trained on.

Norms are integrals by Gauss-Legendre quadrature, with the factors of hard conditions
included and the lift of their values left out: it does not change.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pinns._conversions import (
    CONVERSIONS,
    Held,
    Map,
    TooLargeError,
    both_sides,
    columns,
    common_rank,
    padded,
    tt_layout,
)
from pinns._cp_rounding import reduced
from pinns._sweeps import Cut, multiply, tt_bond_cuts, tt_sides, tucker_axis_cuts
from pinns.domain import precision, real_number
from pinns.evaluation import Model
from pinns.factors import FactorNetwork, envelope
from pinns.problem import Problem
from pinns.separable import CP, MODELS, Params, Rank, Separable, TensorTrain, Tucker


# Quadrature points per axis: at least this many, and twice the width of the last
# hidden layer.
MIN_POINTS = 64


def rounded(
    problem: Problem,
    model: Model,
    params: Params,
    tolerance: float,
    *,
    points: int | None = None,
) -> tuple[Separable, Params]:
    """Returns a model and parameters of lower rank, close in the L2 norm of the box.

        ||u - u_rounded|| <= tolerance ||u||     (u without the lift)

    Tensor train: every bond is cut by the singular values of its unfolding, each to
    `tolerance / sqrt(d - 1)`; the ranks are the smallest that guarantee the bound.
    Tucker: the same for every axis, to `tolerance / sqrt(d)`. CP: no smallest rank
    can be computed; terms are selected and refitted, and the error is measured.
    Several unknowns share their ranks: the largest that any of them needs.

    Args:
        problem: for the box, the unknowns and the hard conditions.
        model: CP, tensor train or Tucker.
        params: its parameters.
        tolerance: relative error, from 0 to 1. Singular values at rounding level go
            in any case. In float32 parameters the result is rounded to float32.
        points: Gauss-Legendre points per axis.

    Returns:
        The new model, with the same networks but for the width of their last layer,
        and its parameters.

    Raises:
        ValueError: a model that is not separable, or a bad tolerance.

    Example:
        >>> import jax, pinns
        >>> problem = pinns.problems.poisson(dimension=2)
        >>> model = pinns.TensorTrain(rank=8, network="chebyshev", hidden=(4,))
        >>> params = model.init(jax.random.key(0), problem.box)
        >>> rounded(problem, model, params, 1e-5)[0].rank
        4

    Source: Oseledets, Tensor-train decomposition, SIAM J. Sci. Comput. 33 (2011);
    Gorodetsky, Karaman & Marzouk, A continuous analogue of the tensor-train
    decomposition, Comput. Methods Appl. Mech. Eng. 347 (2019).
    """
    owner = "pinns.ranks.rounded"
    model = _separable(owner, model)
    number = real_number(tolerance)
    if number is None or not 0.0 <= number < 1.0:
        raise ValueError(
            f"{owner}: `tolerance` must be a number from 0 to 1, got {tolerance!r}"
        )
    factors, cores = weighted(problem, model, params, points)
    if isinstance(model, TensorTrain):
        rank, maps = _rounded_tt(factors, number)
        return _rebuilt(problem, model, params, _like(model, model, rank), maps)
    if isinstance(model, Tucker):
        rank, maps, cores = _rounded_tucker(factors, cores, number)
        return _rebuilt(problem, model, params, _like(model, model, rank), maps, cores)
    found = [reduced(own, number) for own in factors]
    width = max(rank for rank, _ in found)
    maps = [[columns(padded(m, width)) for m in own] for _, own in found]
    return _rebuilt(problem, model, params, _like(model, model, width), maps)


def converted(
    problem: Problem, model: Model, params: Params, form: str
) -> tuple[Separable, Params]:
    """Returns the same function as a model of another format, equal to rounding.

    | from, to | ranks |
    |---|---|
    | CP to tensor train | R on every bond |
    | CP to Tucker | R on every axis, superdiagonal core |
    | tensor train to Tucker | rank of every unfolding, at most r_k-1 r_k |
    | tensor train to CP | product of the bonds |
    | Tucker to tensor train | products of the ranks on either side of a bond |
    | Tucker to CP | product of all ranks but the largest |

    Args:
        problem: for the box, the unknowns and the hard conditions.
        model: CP, tensor train or Tucker.
        params: its parameters.
        form: `"cp"`, `"tt"` or `"tucker"`.

    Raises:
        ValueError: an unknown format, a model that is not separable, or ranks that
            become too large; `rounded` first makes them smaller.

    Example:
        >>> import jax, pinns
        >>> problem = pinns.problems.poisson(dimension=3)
        >>> model = pinns.CP(rank=4, hidden=(8,))
        >>> params = model.init(jax.random.key(0), problem.box)
        >>> converted(problem, model, params, "tt")[0].shapes(3)
        ((1, 4), (4, 4), (4, 1))
    """
    owner = "pinns.ranks.converted"
    model = _separable(owner, model)
    if form not in MODELS:
        raise ValueError(
            f"{owner}: `form` must be one of {', '.join(MODELS)}, got {form!r}"
        )
    if model.name == form:
        return model, params
    held = Held(
        model.shapes(problem.box.dimension),
        len(problem.unknowns),
        list(np.asarray(params["core"], np.float64)) if "core" in params else [],
        lambda: weighted(problem, model, params)[0],
    )
    try:
        rank, maps, cores = CONVERSIONS[model.name, form](held)
    except TooLargeError as error:
        raise ValueError(
            f"{owner}: {error}, got rank {model.rank!r}; round the model first"
        ) from None
    new = _like(MODELS[form], model, rank)
    return _rebuilt(problem, model, params, new, maps, cores)


def grow(
    problem: Problem,
    model: Model,
    params: Params,
    rank: Rank,
    key: Array,
    *,
    scale: float = 0.0,
) -> tuple[Separable, Params]:
    """Returns the same function as a model of higher rank, ready to be trained on.

    New components get random factors of the size of the present ones, except in one
    place of every product that contains them: the last axis (CP), the block that
    leads back to the old bond (tensor train), the core (Tucker). There they start at
    `scale` times that size: with 0 the function is unchanged and the gradient with
    respect to these entries is not zero, so training takes the new components up.

    Args:
        problem: for the box and the number of unknowns.
        model: CP, tensor train or Tucker.
        params: its parameters.
        rank: the new rank, in the form that the model takes.
        key: typed random key.
        scale: non-negative size of the new components.

    Raises:
        ValueError: a model that is not separable, a rank below the present one, or
            a bad `scale`.

    Example:
        >>> import jax, pinns
        >>> problem = pinns.problems.poisson(dimension=3)
        >>> model = pinns.CP(rank=2, hidden=(8,))
        >>> params = model.init(jax.random.key(0), problem.box)
        >>> grow(problem, model, params, 5, jax.random.key(1))[0].rank
        5
    """
    owner = "pinns.ranks.grow"
    model = _separable(owner, model)
    number = real_number(scale)
    if number is None or not (math.isfinite(number) and number >= 0.0):
        raise ValueError(
            f"{owner}: `scale` must be a finite non-negative number, got {scale!r}"
        )
    d, unknowns = problem.box.dimension, len(problem.unknowns)
    new = _like(type(model), model, rank)
    old_shapes, new_shapes = model.shapes(d), new.shapes(d)
    fits = all(
        m <= n
        for old, wide in zip(old_shapes, new_shapes, strict=True)
        for m, n in zip(old, wide, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{owner}: `rank` must not be below the present rank {model.rank!r}, "
            f"got {rank!r}"
        )
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    maps = [
        [_growth(model, d, k, new_shapes[k], rng, number) for k in range(d)]
        for _ in range(unknowns)
    ]
    cores = None
    if isinstance(model, Tucker):
        cores = [
            _grown_core(core, new_shapes, rng, number)
            for core in np.asarray(params["core"], np.float64)
        ]
    return _rebuilt(problem, model, params, new, maps, cores)


def weighted(
    problem: Problem,
    model: Separable,
    params: Params,
    points: int | Sequence[int] | None = None,
) -> tuple[list[list[np.ndarray]], list[np.ndarray] | None]:
    """Returns factor values times square roots of quadrature weights, and cores.

    Args:
        problem, model, params: what to evaluate, hard conditions included.
        points: Gauss-Legendre points per axis.

    Returns:
        `[unknown][axis]` arrays (n, *shape) in float64, weights summing to one per
        axis; and the Tucker cores by unknown, or None.
    """
    box, net = problem.box, model.net
    d, unknowns = box.dimension, len(problem.unknowns)
    count = max(MIN_POINTS, 2 * net.num_features) if points is None else points
    flags = problem.hard.exponents()
    flags = np.zeros((unknowns, d, 3)) if flags is None else flags
    shapes = model.shapes(d)
    factors: list[list[Any]] = [[None] * d for _ in range(unknowns)]
    with precision("float64"):
        rule = box.points(count, "gauss_legendre", dtype="float64")
        for (u, k), own in _networks(model, params, d, unknowns).items():
            x, weights = rule[k]
            ends = jnp.asarray(box.intervals[k])
            # A matrix of one column instead: equal shapes for all ranks.
            bare = net.with_output(own, jnp.zeros((net.num_features, 1)))
            values = np.asarray(_features(net, bare, x, ends, jnp.asarray(flags[u, k])))
            values = values @ np.asarray(net.output(own))
            values = np.sqrt(np.asarray(weights))[:, None] * values
            factors[u][k] = values.reshape(-1, *shapes[k])
    cores = list(np.asarray(params["core"], np.float64)) if "core" in params else None
    return factors, cores


@partial(jax.jit, static_argnums=0)
def _features(net: FactorNetwork, params: Params, x, ends, flags) -> Array:
    return envelope(x, ends, flags) * net.features(params, x, ends)


def _networks(
    model: Separable, params: Params, d: int, unknowns: int
) -> dict[tuple[int, int], Params]:
    """Returns the parameters of every network by (unknown, axis), in float64."""
    # Sliced by NumPy: nothing is compiled for the shapes of one model.
    double = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    return {
        member: jax.tree.map(
            lambda leaf, i=i: jnp.asarray(leaf[i]), double[f"factors_{width}"]
        )
        for width, members in model.groups(d, unknowns).items()
        for i, member in enumerate(members)
    }


def _rounded_tt(factors, tolerance: float) -> tuple[Rank, list[list[Map]]]:
    all_cuts = []
    wanted = np.ones(len(factors[0]) - 1, int)
    for own in factors:
        cores = tt_layout(own)
        norm = np.linalg.norm(tt_sides(cores)[0][-1])
        cuts = tt_bond_cuts(cores)
        allowed = tolerance * norm / max(len(cuts), 1) ** 0.5
        wanted = np.maximum(wanted, [c.rank(allowed) for c in cuts])
        all_cuts.append(cuts)
    maps = []
    for cuts in all_cuts:
        pairs = [_balanced(c, int(r)) for c, r in zip(cuts, wanted, strict=True)]
        left = [np.eye(1), *(n for _, n in pairs)]
        right = [*(m for m, _ in pairs), np.eye(1)]
        maps.append([both_sides(a, b) for a, b in zip(left, right, strict=True)])
    return common_rank(wanted), maps


def _balanced(cut: Cut, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the maps of a cut with the singular values shared by both sides."""
    m, n = cut.maps(rank)
    roots = np.ones(rank)
    given = cut.values[:rank]
    roots[: given.size] = np.sqrt(np.where(given > cut.floor, given, 1.0))
    return m * roots[None, :], n / roots[:, None]


def _rounded_tucker(factors, cores, tolerance: float):
    all_cuts = []
    wanted = np.ones(len(factors[0]), int)
    for own, core in zip(factors, cores, strict=True):
        cuts = tucker_axis_cuts(core, own)
        norm = np.linalg.norm(cuts[0].values)
        allowed = tolerance * norm / len(cuts) ** 0.5
        wanted = np.maximum(wanted, [c.rank(allowed) for c in cuts])
        all_cuts.append(cuts)
    maps, small = [], []
    for cuts, core in zip(all_cuts, cores, strict=True):
        pairs = [c.maps(int(r)) for c, r in zip(cuts, wanted, strict=True)]
        maps.append([columns(m) for m, _ in pairs])
        small.append(multiply(core, [n for _, n in pairs]))
    return common_rank(wanted), maps, small


def _growth(model, d: int, axis: int, shape, rng, scale: float) -> Map:
    def grown(out: np.ndarray) -> np.ndarray:
        size = float(np.sqrt(np.mean(out**2))) or out.shape[0] ** -0.5
        wide = size * rng.standard_normal((out.shape[0], *shape))
        if isinstance(model, TensorTrain):
            wide[:, out.shape[1] :, : out.shape[2]] *= scale
        elif isinstance(model, CP) and axis == d - 1:
            wide *= scale
        wide[tuple(slice(n) for n in out.shape)] = out
        return wide

    return grown


def _grown_core(core: np.ndarray, shapes, rng, scale: float) -> np.ndarray:
    shape = tuple(width for (width,) in shapes)
    size = float(np.sqrt(np.mean(core**2)))
    wide = scale * size * rng.standard_normal(shape)
    wide[tuple(slice(n) for n in core.shape)] = core
    return wide


def _like(form: Any, model: Separable, rank: Rank) -> Separable:
    """Returns a model of the given class with the networks of `model`."""
    options = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
    options.pop("net")
    made = form if isinstance(form, type) else type(form)
    return made(**{**options, "rank": rank, "hidden": model.net.hidden})


def _rebuilt(
    problem: Problem,
    model: Separable,
    params: Params,
    new: Separable,
    maps: Sequence[Sequence[Map]],
    cores: Sequence[np.ndarray] | None = None,
) -> tuple[Separable, Params]:
    """Returns `new` and its parameters: networks with mapped output layers."""
    d, unknowns = problem.box.dimension, len(problem.unknowns)
    dtype = str(jax.tree.leaves(params)[0].dtype)
    shapes = model.shapes(d)
    out: Params = {}
    with precision("float64"):
        networks = _networks(model, params, d, unknowns)
        for width, members in new.groups(d, unknowns).items():
            changed = []
            for unknown, axis in members:
                net = networks[unknown, axis]
                matrix = np.asarray(model.net.output(net)).reshape(-1, *shapes[axis])
                mapped = maps[unknown][axis](matrix).reshape(-1, width)
                changed.append(model.net.with_output(net, jnp.asarray(mapped)))
            out[f"factors_{width}"] = jax.tree.map(lambda *x: np.stack(x), *changed)
        if cores is not None:
            out["core"] = np.stack(cores)
    with precision(dtype):
        return new, jax.tree.map(lambda x: jnp.asarray(x, dtype), out)


def _separable(owner: str, model: Model) -> Separable:
    if not isinstance(model, Separable):
        raise ValueError(
            f"{owner}: `model` must be pinns.CP, TensorTrain or Tucker, got {model!r}"
        )
    return model


__all__ = ["converted", "grow", "rounded", "weighted"]
