"""Separable models: CP, tensor-train and Tucker functions with 1-D network factors.

A model is a hashable description; its parameters are a pytree made by `init`. For
every axis `i` a one-dimensional network maps coordinates (n_i,) to a factor array
(n_i, *shape_i), and the model contracts the factors (Kolda & Bader 2009):

- `CP`:          shape_i = (R,);            u = sum_r prod_i A_i[:, r]
- `TensorTrain`: shape_i = (r_{i-1}, r_i);  u = A_1 A_2 ... A_d, r_0 = r_d = 1
- `Tucker`:      shape_i = (R_i,) and a trained core C (R_1, ..., R_d);
                 u = C x_1 A_1 ... x_d A_d

Contraction is exposed as `prefix`/`suffix` sweeps that absorb one axis at a time:
every partial result is linear in each factor, which is what lets
`pinns.contraction` share work among the terms of a residual.

Networks of equal output size are stacked over axes (and unknowns) and mapped with
`vmap`, so neither parameters nor compile time grow in number with the dimension.

Source: functional tensor decompositions for PINNs (ICPR 2024), section 3; SPINN
(NeurIPS 2023) for CP. Where the papers leave the bond axes of the tensor train open,
the first index of a factor is the bond to the previous axis of the box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pinns.derivatives import jet, product
from pinns.domain import Box, positive_integer
from pinns.factors import FactorNetwork, network
from pinns.factors import envelope as envelope_of


Params = dict[str, Any]
Rank = int | tuple[int, ...]


@dataclass(frozen=True)
class Separable:
    """What CP, tensor train and Tucker share; use one of these three.

    Args:
        rank: see the subclass.
        network: kind of the factor networks, one of `pinns.factors.NETWORKS`.
        hidden: hidden widths; by default three layers as wide as the (largest) rank.
        activation: `tanh` by default; see `pinns.factors.ACTIVATIONS`.
        initializer: of the Dense kernels; Glorot normal for CP and Tucker, Glorot
            uniform for the tensor train by default (the authors' released code).
        normalize: map coordinates to [-1, 1] before the network; default by kind.
        omega: frequency scale, `siren` only. sigma: `fourier_features` only.

    Raises:
        ValueError: an unknown name, a rank or width that is no positive integer, or
            an option that the chosen network does not have.
    """

    rank: Rank = 32
    network: str = "mlp"
    hidden: tuple[int, ...] | None = None
    activation: str | None = None
    initializer: str | None = None
    normalize: bool | None = None
    omega: float | None = None
    sigma: float | None = None
    net: FactorNetwork = field(init=False, repr=False, compare=False)

    name: ClassVar[str] = "separable"
    pointwise: ClassVar[bool] = False
    default_initializer: ClassVar[str] = "glorot_normal"

    def __post_init__(self):
        owner = f"pinns.{type(self).__name__}"
        ranks = self.rank if isinstance(self.rank, (tuple, list)) else (self.rank,)
        if not ranks:
            raise ValueError(f"{owner}: `rank` must not be empty, got {self.rank!r}")
        for rank in ranks:
            positive_integer(rank, owner, "rank")
        if isinstance(self.rank, list):
            object.__setattr__(self, "rank", tuple(self.rank))
        if isinstance(self.hidden, list):
            object.__setattr__(self, "hidden", tuple(self.hidden))
        width = max(ranks)
        hidden = (width, width, width) if self.hidden is None else self.hidden
        net = network(
            owner,
            self.network,
            hidden=hidden,
            activation=self.activation,
            initializer=self.initializer,
            default_initializer=self.default_initializer,
            normalize=self.normalize,
            omega=self.omega,
            sigma=self.sigma,
        )
        object.__setattr__(self, "net", net)

    def shapes(self, dimension: int) -> tuple[tuple[int, ...], ...]:
        """Returns the trailing shape of every axis' factor."""
        raise NotImplementedError  # every public model has its own

    def core_shape(self, dimension: int) -> tuple[int, ...] | None:
        """Returns the shape of the trained core, or None."""
        return None

    def prefix(self, core: Array | None, dtype) -> Float[Array, "1 q"]:
        """Returns the empty left part, to be grown by `absorb`."""
        return jnp.ones((1, 1), dtype)

    def absorb(self, left: Float[Array, "m q"], factor: Array) -> Float[Array, "mn p"]:
        """Returns the left part with one more axis."""
        raise NotImplementedError

    def suffix(self, dtype) -> Float[Array, "1 q"]:
        """Returns the empty right part, to be grown by `absorb_right`."""
        return jnp.ones((1, 1), dtype)

    def absorb_right(self, factor: Array, right: Array) -> Float[Array, "nm q"]:
        """Returns the right part with one more axis on its left.

        Right parts are stored points first, (m, q), so that left @ right.T is the
        full contraction.
        """
        raise NotImplementedError

    def bond(self, split: int, dimension: int) -> int:
        """Returns the width q that left and right parts share when cut at `split`."""
        raise NotImplementedError

    def absorb_cost(self, axis: int, dimension: int) -> int:
        """Returns the products per resulting row when a sweep absorbs an axis."""
        return self.bond(axis, dimension)

    def pointwise_contraction(
        self, core: Array | None, factors: Sequence[Float[Array, "n *w"]]
    ) -> Float[Array, " n"]:
        """Returns the contraction at n scattered points, factors given at each."""
        raise NotImplementedError

    def init(self, key: Array, box: Box, *, unknowns: int = 1, dtype="float32"):
        """Returns fresh parameters.

        Args:
            key: typed random key.
            box: the domain; its dimension and intervals shape the networks.
            unknowns: number of functions, each with networks of its own.
            dtype: `"float32"` or `"float64"`.

        Raises:
            ValueError: the rank does not fit the dimension of the box.
        """
        groups = self.groups(box.dimension, unknowns)
        k_factors, k_core = jax.random.split(key)
        keys = jax.random.split(k_factors, (unknowns, box.dimension))
        params: Params = {}
        for width, members in groups.items():
            ends = _intervals(box, [axis for _, axis in members], dtype)
            stacked = jnp.stack([keys[unknown, axis] for unknown, axis in members])
            make = lambda k, e, width=width: self.net.init(k, width, e, dtype)  # noqa: E731
            params[f"factors_{width}"] = jax.vmap(make)(stacked, ends)
        shape = self.core_shape(box.dimension)
        if shape is not None:
            params["core"] = jax.vmap(lambda k: _orthogonal_core(k, shape, dtype))(
                jax.random.split(k_core, unknowns)
            )
        return params

    def core(self, params: Params, unknown: int = 0) -> Array | None:
        return params["core"][unknown] if "core" in params else None

    def factors(
        self,
        params: Params,
        box: Box,
        coordinates: Sequence[Float[Array, " n"]],
        orders: Sequence[int] | int = 0,
        *,
        unknowns: int = 1,
        envelope: np.ndarray | None = None,
    ) -> list[list[tuple[Float[Array, "n *w"], ...]]]:
        """Returns the factor jets `[unknown][axis][order]`, each (n_i, *shape_i).

        Args:
            params: parameters from `init`.
            box: the domain.
            coordinates: one array (n_i,) per axis; lengths may differ.
            orders: highest derivative per axis. Axes mapped together share the
                highest order among them.
            unknowns: number of functions in `params`.
            envelope: flags (unknowns, d, 3) of hard conditions, see `pinns.hard`.
        """
        d = box.dimension
        orders = [orders] * d if isinstance(orders, int) else list(orders)
        shapes = self.shapes(d)
        out: list[list[Any]] = [[None] * d for _ in range(unknowns)]
        for width, members in self.groups(d, unknowns).items():
            by_length: dict[int, list[int]] = {}
            for position, (_, axis) in enumerate(members):
                by_length.setdefault(coordinates[axis].shape[0], []).append(position)
            for positions in by_length.values():
                chosen = [members[p] for p in positions]
                stack = params[f"factors_{width}"]
                if len(chosen) < len(members):
                    index = np.asarray(positions)
                    stack = jax.tree.map(lambda leaf, i=index: leaf[i], stack)
                x = jnp.stack([coordinates[axis] for _, axis in chosen])
                ends = _intervals(box, [axis for _, axis in chosen], x.dtype)
                order = max(orders[axis] for _, axis in chosen)
                flags = (
                    None
                    if envelope is None
                    else jnp.asarray([envelope[member] for member in chosen], x.dtype)
                )
                one = partial(self._jet, order, False)
                jets = jax.vmap(one)(stack, x, ends, flags)
                # One split with one concatenation as its transpose, where slices
                # would each be padded and added up in the backward pass.
                rows = [jax.lax.split(j, (1,) * len(chosen)) for j in jets]
                for (unknown, axis), *parts in zip(chosen, *rows, strict=True):
                    out[unknown][axis] = tuple(
                        part.reshape(x.shape[1], *shapes[axis]) for part in parts
                    )
        return out

    def runs(self, dimension: int) -> list[range]:
        """Returns the axes in runs of consecutive ones whose factors have one shape."""
        shapes = self.shapes(dimension)
        starts = [k for k in range(dimension) if k == 0 or shapes[k] != shapes[k - 1]]
        return [
            range(a, b) for a, b in zip(starts, [*starts[1:], dimension], strict=True)
        ]

    def stacked_factors(
        self,
        params: Params,
        box: Box,
        coordinates: Float[Array, "d n"],
        order: int,
        *,
        unknowns: int = 1,
        envelope: np.ndarray | None = None,
        features: bool = False,
    ) -> list[tuple[Float[Array, "u l n *w"], ...]]:
        """Returns per run of axes (see `runs`) the jets `(unknowns, axes, n, *shape)`.

        The same numbers as `factors`, with equally many coordinates on every axis and
        without taking the axes apart: the graph does not grow with the dimension.
        With `features`, jets of the inputs of the networks' last layers,
        (unknowns, axes, n, h).
        """
        d = box.dimension
        shapes, runs = self.shapes(d), self.runs(d)
        out: list[Any] = [None] * len(runs)
        for width, members in self.groups(d, unknowns).items():
            axes = [axis for _, axis in members]
            x = coordinates[np.asarray(axes)]
            flags = (
                None
                if envelope is None
                else jnp.asarray([envelope[member] for member in members], x.dtype)
            )
            ends = _intervals(box, axes, x.dtype)
            stack = params[f"factors_{width}"]
            one = partial(self._jet, order, features)
            jets = jax.vmap(one)(stack, x, ends, flags)
            position = {member: i for i, member in enumerate(members)}
            for number, run in enumerate(runs):
                if math.prod(shapes[run[0]]) != width:
                    continue
                index = [[position[u, k] for k in run] for u in range(unknowns)]
                width_shape = (self.net.num_features,) if features else shapes[run[0]]
                shape = (unknowns, len(run), x.shape[1], *width_shape)
                out[number] = tuple(
                    _rows(jet, np.asarray(index).reshape(-1)).reshape(shape)
                    for jet in jets
                )
        return out

    def num_parameters(self, box: Box, unknowns: int = 1) -> int:
        """Returns the number of trained numbers, without allocating them.

        Example:
            >>> CP(rank=32).num_parameters(Box.cube(3))
            9696
        """
        shapes = jax.eval_shape(
            lambda k: self.init(k, box, unknowns=unknowns), jax.random.key(0)
        )
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))

    def _jet(
        self, order: int, features: bool, params: Params, x: Array, ends: Array, flags
    ):
        found = self.net.jets(params, x, ends, order, features=features)
        if flags is None:
            return found
        return product(jet(lambda s: envelope_of(s, ends, flags), x, order), found)

    def groups(self, dimension: int, unknowns: int = 1) -> dict[int, list[tuple]]:
        """Returns by width which (unknown, axis) are stacked in `factors_<width>`."""
        groups: dict[int, list[tuple[int, int]]] = {}
        shapes = self.shapes(dimension)
        for unknown in range(unknowns):
            for axis, shape in enumerate(shapes):
                groups.setdefault(math.prod(shape), []).append((unknown, axis))
        return groups

    def _single_rank(self) -> int:
        if isinstance(self.rank, tuple):
            raise ValueError(
                f"pinns.{type(self).__name__}: `rank` must be one integer, "
                f"got {self.rank!r}"
            )
        return self.rank

    def _ranks(self, count: int, what: str) -> tuple[int, ...]:
        if isinstance(self.rank, int):
            return (self.rank,) * count
        if len(self.rank) != count:
            raise ValueError(
                f"pinns.{type(self).__name__}: `rank` must be one integer or one per "
                f"{what} ({count} here), got {self.rank!r}"
            )
        return self.rank


@dataclass(frozen=True)
class CP(Separable):
    """Canonical polyadic model `u(x) = sum_r prod_i A_i(x_i)_r` of one integer `rank`.

    Example:
        >>> import jax
        >>> box = Box(x=(0.0, 1.0), y=(0.0, 1.0))
        >>> model = CP(rank=4, hidden=(8,))
        >>> sorted(model.init(jax.random.key(0), box))
        ['factors_4']
    """

    name: ClassVar[str] = "cp"

    def __post_init__(self):
        super().__post_init__()
        self._single_rank()

    def shapes(self, dimension):
        return ((self._single_rank(),),) * dimension

    def bond(self, split, dimension):
        return self._single_rank()

    def prefix(self, core, dtype):
        return jnp.ones((1, self._single_rank()), dtype)

    def suffix(self, dtype):
        return jnp.ones((1, self._single_rank()), dtype)

    def absorb(self, left, factor):
        return _khatri_rao(left, factor)

    def absorb_right(self, factor, right):
        return _khatri_rao(factor, right)

    def pointwise_contraction(self, core, factors):
        return jnp.sum(math.prod(factors[1:], start=factors[0]), axis=-1)


@dataclass(frozen=True)
class TensorTrain(Separable):
    """Tensor-train model `u(x) = A_1(x_1) A_2(x_2) ... A_d(x_d)`.

    `rank` is one integer for all bonds or a tuple with one rank per bond (d - 1).

    Example:
        >>> TensorTrain(rank=(2, 3)).shapes(3)
        ((1, 2), (2, 3), (3, 1))
    """

    name: ClassVar[str] = "tt"
    default_initializer: ClassVar[str] = "glorot_uniform"

    def shapes(self, dimension):
        bonds = (1, *self._ranks(dimension - 1, "bond"), 1)
        return tuple(pairwise(bonds))

    def bond(self, split, dimension):
        return (1, *self._ranks(dimension - 1, "bond"), 1)[split]

    def absorb_cost(self, axis, dimension):
        return self.bond(axis, dimension) * self.bond(axis + 1, dimension)

    def absorb(self, left, factor):
        grown = jnp.einsum("aq,nqp->anp", left, factor)
        return grown.reshape(-1, factor.shape[2])

    def absorb_right(self, factor, right):
        grown = jnp.einsum("npq,bq->nbp", factor, right)
        return grown.reshape(-1, factor.shape[1])

    def pointwise_contraction(self, core, factors):
        state = factors[0][:, 0, :]
        for factor in factors[1:]:
            state = jnp.einsum("nq,nqp->np", state, factor)
        return state[:, 0]


@dataclass(frozen=True)
class Tucker(Separable):
    """Tucker model `u(x) = sum C[r_1..r_d] prod_i A_i(x_i)[r_i]` with a trained core.

    `rank` is one integer for all axes or a tuple with one rank per axis. The core
    has prod R_i entries and starts orthogonal.

    Example:
        >>> Tucker(rank=(2, 3)).core_shape(2)
        (2, 3)
    """

    name: ClassVar[str] = "tucker"

    def shapes(self, dimension):
        return tuple((rank,) for rank in self._ranks(dimension, "axis"))

    def core_shape(self, dimension):
        return self._ranks(dimension, "axis")

    def bond(self, split, dimension):
        return math.prod(self._ranks(dimension, "axis")[split:])

    def prefix(self, core, dtype):
        return core.reshape(1, -1)

    def absorb(self, left, factor):
        rank = factor.shape[1]
        split = left.reshape(left.shape[0], rank, -1)
        grown = jnp.einsum("arq,nr->anq", split, factor)
        return grown.reshape(-1, split.shape[2])

    def absorb_right(self, factor, right):
        grown = jnp.einsum("nr,bq->nbrq", factor, right)
        return grown.reshape(factor.shape[0] * right.shape[0], -1)

    def pointwise_contraction(self, core, factors):
        state = jnp.einsum("nr,rq->nq", factors[0], core.reshape(core.shape[0], -1))
        for factor in factors[1:]:
            split = state.reshape(state.shape[0], factor.shape[1], -1)
            state = jnp.einsum("nrq,nr->nq", split, factor)
        return state[:, 0]


def _khatri_rao(a: Float[Array, "m r"], b: Float[Array, "n r"]) -> Array:
    return (a[:, None, :] * b[None, :, :]).reshape(-1, a.shape[-1])


def _intervals(box: Box, axes: Sequence[int], dtype) -> Float[Array, "a 2"]:
    return jnp.asarray([box.intervals[axis] for axis in axes], dtype)


def _rows(array: Array, index: np.ndarray) -> Array:
    """Returns array[index], without a gather where the rows are consecutive."""
    if (index == np.arange(index[0], index[0] + len(index))).all():
        return array[index[0] : index[0] + len(index)]
    return array[index]


def _orthogonal_core(key: Array, shape: tuple[int, ...], dtype) -> Array:
    # One axis has no orthogonal matrix to draw; a unit row is its analogue.
    flat = shape if len(shape) > 1 else (1, *shape)
    core = jax.nn.initializers.orthogonal()(key, flat, jnp.dtype(dtype))
    return core.reshape(shape)


MODELS: dict[str, type[Separable]] = {"cp": CP, "tt": TensorTrain, "tucker": Tucker}
