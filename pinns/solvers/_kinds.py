"""Which fixed basis each axis has: `basis` and `cluster` of a solve, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pinns.domain import Box, positive_number, real_number
from pinns.factors import BASES


# Kinds that may stand beside each other on different axes.
MIXED = ("chebyshev", "fourier")


class Kind(NamedTuple):
    """The basis of one axis.

    name: one of `pinns.factors.BASES`. center, sharpness: of a layer, in the
    coordinate that is mapped to [-1, 1]; see `pinns.factors.stretched`.
    """

    name: str
    center: float = 0.0
    sharpness: float = 0.0


def kinds_of(owner: str, box: Box, basis: Any, cluster: Any = None) -> tuple[Kind, ...]:
    """Returns the kind of basis of every axis.

    Args:
        owner: named in errors.
        box: the domain.
        basis: a name for all axes, or names by axis (Chebyshev on the others).
        cluster: by axis (center, width) of a layer that functions are to crowd in.

    Raises:
        ValueError: an unknown basis or axis, a center outside the box, a width that is
            no positive number, a cluster on an axis without Chebyshev polynomials.
    """
    if isinstance(basis, Mapping):
        for name, kind in basis.items():
            box.axis(name, owner=owner)
            if kind not in MIXED:
                raise ValueError(
                    f"{owner}: `basis` by axis must be {' or '.join(MIXED)}, got "
                    f"{kind!r} for {name!r}"
                )
        names = tuple(basis.get(name, "chebyshev") for name in box.names)
    elif basis in BASES:
        names = (basis,) * box.dimension
    else:
        raise ValueError(
            f"{owner}: `basis` must be one of {', '.join(BASES)}, or such names by "
            f"axis, got {basis!r}"
        )
    kinds = [Kind(name) for name in names]
    if cluster is None:
        return tuple(kinds)
    if not isinstance(cluster, Mapping):
        raise ValueError(
            f"{owner}: `cluster` must map axes to (center, width), got {cluster!r}"
        )
    for name, layer in cluster.items():
        k = box.axis(name, owner=owner)
        if names[k] != "chebyshev":
            raise ValueError(
                f"{owner}: `cluster` is for axes with basis='chebyshev', got "
                f"{names[k]!r} on {name!r}"
            )
        kinds[k] = Kind("chebyshev", *_layer(owner, name, layer, box.intervals[k]))
    return tuple(kinds)


def _layer(owner: str, name: str, layer: Any, interval) -> tuple[float, float]:
    """Returns center and sharpness in the coordinate of [-1, 1]."""
    pair = tuple(layer) if isinstance(layer, (tuple, list)) else ()
    center = real_number(pair[0]) if len(pair) == 2 else None
    a, b = interval
    if center is None or not a <= center <= b:
        raise ValueError(
            f"{owner}: `cluster` must give (center, width) with a center in "
            f"[{a:g}, {b:g}] for {name!r}, got {layer!r}"
        )
    width = positive_number(pair[1], owner, f"cluster[{name!r}][1]")
    half = 0.5 * (b - a)
    return (center - a) / half - 1.0, half / width


__all__ = ["MIXED", "Kind", "kinds_of"]
