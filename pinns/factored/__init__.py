"""Losses that never form the grid: exact norms of separable residuals."""

from pinns.factored.error import relative_l2
from pinns.factored.loss import FactoredLoss
from pinns.factored.sums import NotSeparableError


__all__ = ["FactoredLoss", "NotSeparableError", "relative_l2"]
