"""Unknown numbers and coefficient functions of an equation, found along with it.

An `Unknown` is a field that varies along some of the axes only: along none, it is a
number; along one or more, a coefficient or source. A residual takes it by name and
uses it like the unknown function itself, with `+ - * /`, powers and derivatives.

Its trained numbers live in the parameter tree of the model, under `parameters`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pinns.derivatives import jet, partial
from pinns.domain import Box, real_number
from pinns.functions import bind_coordinates
from pinns.separable import CP


# Where the parameters are in the tree of a model's parameters.
ENTRY = "parameters"
# A coefficient function of one axis is this many Legendre polynomials by default,
# one of several axes a sum of so many products of them.
POLYNOMIALS, RANK = 8, 4
# Factors of functions of several axes start at this share of the networks' own scale.
START_SCALE = 0.3


@dataclass(frozen=True)
class Unknown:
    """An unknown number, or an unknown function of some of the axes.

    Args:
        start: where the search begins: the number, or the constant that a function
            starts from (in several axes: near).
        positive: keep it positive: what is trained is `log(value / start)`, for
            functions the logarithms of their factors.
        axes: names of the axes that a function varies along; none for a number.
        model: `pinns.CP` for a function: its factor networks; on one axis its rank
            must be one. By default Legendre polynomials of degree 0 to 7 per axis, in
            several axes 4 products of them.
        exact: the true number, or a function of the axes, where it is known: for
            tests and benchmarks.

    Raises:
        ValueError: a start that is not finite, or not positive for `positive=True`;
            axes that repeat; a model where there are no axes; a wrong rank.
        TypeError: a model that is not CP, or flags and names of another type.

    Example:
        >>> Unknown(0.1, positive=True)
        Unknown(0.1, positive=True)
        >>> Unknown(2.5, axes="x")
        Unknown(2.5, axes=('x',))
    """

    start: float
    positive: bool = False
    axes: str | tuple[str, ...] = ()
    model: CP | None = None
    exact: Callable[..., Any] | float | None = None

    def __post_init__(self):
        owner = "pinns.Unknown"
        start = real_number(self.start)
        if start is None or not math.isfinite(start):
            raise ValueError(
                f"{owner}: `start` must be a finite number, got {self.start!r}"
            )
        if not isinstance(self.positive, bool):
            raise TypeError(
                f"{owner}: `positive` must be True or False, got {self.positive!r}"
            )
        if self.positive and start <= 0.0:
            raise ValueError(
                f"{owner}: `start` must be positive with positive=True, "
                f"got {self.start!r}"
            )
        axes = (self.axes,) if isinstance(self.axes, str) else self.axes
        if not isinstance(axes, (tuple, list)) or not all(
            isinstance(a, str) for a in axes
        ):
            raise TypeError(f"{owner}: `axes` must be names of axes, got {self.axes!r}")
        if len(set(axes)) != len(axes):
            raise ValueError(f"{owner}: `axes` must differ, got {self.axes!r}")
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "axes", tuple(axes))
        self._check_model(owner)

    def _check_model(self, owner: str) -> None:
        if not self.axes:
            if self.model is not None:
                raise ValueError(
                    f"{owner}: `model` belongs to a function, which has `axes`; "
                    f"got {self.model!r} for a number"
                )
            return
        if self.model is None:
            rank = 1 if len(self.axes) == 1 else RANK
            model = CP(rank=rank, network="legendre", hidden=(POLYNOMIALS,))
            object.__setattr__(self, "model", model)
        if not isinstance(self.model, CP):
            raise TypeError(f"{owner}: `model` must be a pinns.CP, got {self.model!r}")
        if len(self.axes) == 1 and self.model.rank != 1:
            raise ValueError(
                f"{owner}: a function of one axis needs a `model` of rank 1, "
                f"got {self.model!r}"
            )

    def __repr__(self) -> str:
        parts = [f"{self.start:g}"]
        parts += ["positive=True"] if self.positive else []
        parts += [f"axes={self.axes!r}"] if self.axes else []
        return f"Unknown({', '.join(parts)})"


class Parameters:
    """The unknowns of a problem beside its functions, on their axes of a box.

    Args:
        box: the domain of the problem.
        unknowns: by name, in the order of their numbers.
        taken: names of the unknown functions; parameters are numbered on from them.

    Raises:
        ValueError: names that are no identifiers or taken, axes the box lacks.
        TypeError: not `Unknown`s.
    """

    def __init__(
        self,
        box: Box,
        unknowns: Mapping[str, Unknown],
        taken: Sequence[str],
    ):
        owner = "pinns.Problem"
        if not isinstance(unknowns, Mapping):
            raise TypeError(
                f"{owner}: `parameters` must map names to pinns.Unknown, "
                f"got {unknowns!r}"
            )
        for name, unknown in unknowns.items():
            if not isinstance(unknown, Unknown):
                raise TypeError(
                    f"{owner}: `parameters[{name!r}]` must be a pinns.Unknown, "
                    f"got {unknown!r}"
                )
            free = isinstance(name, str) and name.isidentifier()
            if not free or name in (*taken, *box.names):
                raise ValueError(
                    f"{owner}: `parameters` must have names that are neither axes "
                    f"({', '.join(box.names)}) nor unknowns ({', '.join(taken)}), "
                    f"got {name!r}"
                )
        self.box, self.first = box, len(taken)
        self.unknowns = tuple(unknowns.values())
        self.names = tuple(unknowns)
        # Axes by number of the unknown, counted on from the functions of the problem.
        self.axes: dict[int, tuple[int, ...]] = {
            self.first + i: tuple(
                box.axis(axis, owner=f"{owner}: `parameters[{name!r}]`")
                for axis in unknown.axes
            )
            for i, (name, unknown) in enumerate(unknowns.items())
        }
        self.exact = tuple(
            self._bound(name, unknown) for name, unknown in unknowns.items()
        )

    def __bool__(self) -> bool:
        return bool(self.names)

    def __contains__(self, number: int) -> bool:
        return number in self.axes

    @property
    def scalars(self) -> tuple[str, ...]:
        """Names of the unknown numbers."""
        pairs = zip(self.names, self.unknowns, strict=True)
        return tuple(name for name, unknown in pairs if not unknown.axes)

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of the unknown coefficient functions."""
        return tuple(name for name in self.names if name not in self.scalars)

    def number(self, name: str) -> int:
        """Returns the number of an unknown, as leaves of a residual have it."""
        return self.first + self.names.index(name)

    def rank(self, number: int) -> int:
        """Returns the number of products that a parameter is a sum of."""
        unknown = self.unknowns[number - self.first]
        if len(unknown.axes) < 2:
            return 1
        return int(unknown.model.rank) + _has_constant(unknown)  # type: ignore[union-attr, arg-type]

    def own_box(self, number: int) -> Box:
        """Returns the box of the axes that a function varies along."""
        axes = self.unknowns[number - self.first].axes
        return Box(**{name: self.box.interval(name) for name in axes})

    def init(self, key: Array, dtype: str) -> dict[str, Any]:
        """Returns what is trained, by name."""
        return {
            name: self._init(unknown, k, dtype)
            for name, unknown, k in zip(
                self.names,
                self.unknowns,
                jax.random.split(key, max(len(self.names), 1)),
                strict=False,
            )
        }

    def scalar(self, params: Mapping[str, Any], number: int) -> Float[Array, ""]:
        """Returns the value of an unknown number."""
        unknown = self.unknowns[number - self.first]
        trained = params[ENTRY][self.names[number - self.first]]
        return unknown.start * jnp.exp(trained) if unknown.positive else trained

    def factors(
        self,
        params: Mapping[str, Any],
        number: int,
        coordinates: Mapping[int, Float[Array, " n"]],
        orders: Mapping[int, int],
    ) -> dict[int, tuple[Float[Array, "n r"], ...]]:
        """Returns by axis the factor jets of a function, (n, rank) per order.

        Args:
            params: of the model, with those of the unknowns.
            number: of the function.
            coordinates: by axis of the box, at least those of the function.
            orders: highest derivative by axis.
        """
        unknown = self.unknowns[number - self.first]
        own = params[ENTRY][self.names[number - self.first]]
        out = {}
        for position, axis in enumerate(self.axes[number]):
            x = coordinates[axis]
            values = self._factor(unknown, own, position, x.dtype)
            out[axis] = jet(values, x, orders[axis])
        return out

    def value(
        self,
        params: Mapping[str, Any],
        number: int,
        orders: Sequence[int],
        coordinates: Sequence[Array],
    ) -> Array:
        """Returns a parameter, or a derivative of it, where coordinates broadcast.

        An axis along which it does not vary has length one in the result.
        """
        ndim = coordinates[0].ndim
        axes = self.axes[number]
        if any(order for k, order in enumerate(orders) if k not in axes):
            return jnp.zeros((1,) * ndim, coordinates[0].dtype)
        if not axes:
            return self.scalar(params, number).reshape((1,) * ndim)
        flat = {axis: coordinates[axis].reshape(-1) for axis in axes}
        jets = self.factors(params, number, flat, dict(enumerate(orders)))
        parts = [
            jets[axis][orders[axis]].reshape(*coordinates[axis].shape, -1)
            for axis in axes
        ]
        return jnp.sum(math.prod(parts[1:], start=parts[0]), axis=-1)

    def exact_value(
        self, number: int, orders: Sequence[int], coordinates: Sequence[Array]
    ) -> Array:
        """Returns the true parameter as `value` does.

        Raises:
            ValueError: it is not known.
        """
        exact = self.exact[number - self.first]
        if exact is None:
            name = self.names[number - self.first]
            raise ValueError(
                f"pinns: the true {name!r} is needed here and not known (give `exact=` "
                "to its pinns.Unknown)"
            )
        axes = self.axes[number]
        if not axes:
            ndim = coordinates[0].ndim
            value = jnp.full((1,) * ndim, exact, coordinates[0].dtype)
            return value if not any(orders) else 0.0 * value
        own = [coordinates[axis] for axis in axes]
        return partial(exact, [orders[axis] for axis in axes])(*own)

    def describe(self) -> dict[str, Any]:
        """Returns JSON-able values that differ for unknowns that differ."""
        return {
            name: {
                "start": unknown.start,
                "positive": unknown.positive,
                "axes": list(unknown.axes),
                "model": repr(unknown.model),
            }
            for name, unknown in zip(self.names, self.unknowns, strict=True)
        }

    def _bound(self, name: str, unknown: Unknown) -> Any:
        owner = f"pinns.Problem: `parameters[{name!r}]`"
        if unknown.exact is None:
            return None
        if not unknown.axes:
            number = real_number(unknown.exact)
            if number is None or not math.isfinite(number):
                raise ValueError(
                    f"{owner}: `exact` must be a finite number, got {unknown.exact!r}"
                )
            return number
        box = Box(**{axis: self.box.interval(axis) for axis in unknown.axes})
        return bind_coordinates(unknown.exact, box, owner, "exact")

    def _init(self, unknown: Unknown, key: Array, dtype: str) -> Any:
        if not unknown.axes:
            return jnp.asarray(0.0 if unknown.positive else unknown.start, dtype)
        model: Any = unknown.model
        box = Box(**{axis: self.box.interval(axis) for axis in unknown.axes})
        fresh = model.init(key, box, dtype=dtype)[f"factors_{model.rank}"]
        scale = 0.0 if len(unknown.axes) == 1 else START_SCALE

        def small(one):
            return model.net.with_output(one, scale * model.net.output(one))

        return jax.vmap(small)(fresh)

    def _factor(self, unknown: Unknown, own: Any, position: int, dtype: Any):
        """Returns one axis' factor as a function (n,) -> (n, rank)."""
        model: Any = unknown.model
        interval = self.box.interval(unknown.axes[position])
        ends = jnp.asarray(interval, dtype)
        one = jax.tree.map(lambda leaf: leaf[position], own)
        single = len(unknown.axes) == 1

        def values(x):
            found = model.net.apply(one, x, ends)
            if unknown.positive:
                # The start is shared out among the products, on the first axis.
                share = unknown.start / model.rank if position == 0 else 1.0
                return share * jnp.exp(found)
            if single:
                return unknown.start + found
            if not _has_constant(unknown):
                return found
            constant = unknown.start if position == 0 else 1.0
            wide = jnp.full_like(found[:, :1], constant)
            return jnp.concatenate([found, wide], axis=1)

        return values


def _has_constant(unknown: Unknown) -> bool:
    """Says if the start of a function of several axes is a product of its own."""
    return not unknown.positive and unknown.start != 0.0


__all__ = ["ENTRY", "Parameters", "Unknown"]
