"""`Eigenproblem`: an operator whose smallest eigenvalue is sought."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from pinns.conditions import Condition
from pinns.domain import Box, real_number
from pinns.problem import Problem


class Eigenproblem(Problem):
    """`H u = E u` with a linear operator H, for `pinns.ground_state`.

    A problem in its own right: its residual is `H u - energy u`. With a known (or
    found) energy, residuals, plots and certificates mean what they mean for any
    problem. Minimizing it would find u = 0, so `pinns.solve` hands it to
    `ground_state`.

    Args:
        box: the domain, with named axes.
        operator: `operator(u, x, ...)`: as the residual of a `Problem`, linear in the
            field u and without a source.
        conditions: `Dirichlet(0.0, hard=True)` for `ground_state`.
        energy: E of the residual; 0 by default.
        exact: the eigenfunction of the smallest eigenvalue if known, of norm one:
            the integral of its square over the box.
        name: shown in tables; by default that of the operator.

    Raises:
        ValueError, TypeError: as `Problem`; an energy that is no finite number.

    Example:
        >>> box = Box(x=(0.0, 1.0))
        >>> Eigenproblem(box, lambda u: -u.d("x", 2), energy=9.87).energy
        9.87
    """

    def __init__(
        self,
        box: Box,
        operator: Callable[..., Any],
        conditions: Sequence[Condition] = (),
        *,
        energy: float = 0.0,
        exact: Callable[..., Any] | None = None,
        name: str | None = None,
    ):
        number = real_number(energy)
        if number is None or not math.isfinite(number):
            raise ValueError(
                f"pinns.Eigenproblem: `energy` must be a finite number, got {energy!r}"
            )
        if getattr(box, "physical_names", ()):
            raise ValueError(
                "pinns.Eigenproblem: the quotient is an integral over a plain "
                f"pinns.Box, got {box!r}"
            )
        self.energy = number

        @functools.wraps(operator)
        def residual(u, *coordinates):
            return operator(u, *coordinates) - self.energy * u

        super().__init__(box, residual, conditions, exact=exact, name=name)
        self.operator = operator
        self._arguments = (box, operator, conditions)

    def with_energy(self, energy: float) -> Eigenproblem:
        """Returns the same problem with another energy in its residual."""
        box, operator, conditions = self._arguments
        other = Eigenproblem(box, operator, conditions, energy=energy, name=self.name)
        other.exact, other.origin = self.exact, copy.deepcopy(self.origin)
        return other
