"""Which weighting schemes there are, and which of them a call asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pinns.weighting.causal import Causal
from pinns.weighting.gradient_norm import GradientNorm
from pinns.weighting.ntk import NTK
from pinns.weighting.relobralo import Relobralo
from pinns.weighting.scheme import Scheme
from pinns.weighting.self_adaptive import SelfAdaptive


SCHEMES: dict[str, type[Scheme]] = {
    s.name: s for s in (SelfAdaptive, Causal, GradientNorm, NTK, Relobralo)
}


def scheme(weighting: Any, owner: str) -> Scheme | None:
    """Returns the scheme of that name, the scheme itself, or None.

    Raises:
        ValueError: no scheme has that name. TypeError: neither name nor scheme.

    Example:
        >>> scheme("relobralo", "pinns.solve")
        Relobralo(temperature=0.1, alpha=0.999, rho=0.999)
    """
    if weighting is None or isinstance(weighting, Scheme):
        return weighting
    if not isinstance(weighting, str):
        raise TypeError(
            f"{owner}: `weighting` must be a name, a scheme of pinns.weighting or "
            f"None, got {weighting!r}"
        )
    if weighting not in SCHEMES:
        raise ValueError(
            f"{owner}: `weighting` must be one of {', '.join(SCHEMES)}, "
            f"got {weighting!r}"
        )
    return SCHEMES[weighting]()


def restored(described: Mapping[str, Any] | None) -> Scheme | None:
    """Returns the scheme that `Scheme.describe` has described."""
    if described is None:
        return None
    options = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in described.items()
        if name != "name"
    }
    return SCHEMES[described["name"]](**options)
