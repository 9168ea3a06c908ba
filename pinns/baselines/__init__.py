"""Pointwise networks to compare with: vanilla, gradient-enhanced, adaptive, causal."""

from pinns.baselines.gradient_enhanced import gradient_enhanced
from pinns.baselines.recipes import (
    BASELINES,
    Recipe,
    causal_pinn,
    g_pinn,
    sa_pinn,
    vanilla,
)


__all__ = [
    "vanilla",
    "g_pinn",
    "sa_pinn",
    "causal_pinn",
    "gradient_enhanced",
    "BASELINES",
    "Recipe",
]
