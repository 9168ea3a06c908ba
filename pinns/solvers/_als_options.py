"""What alternating least squares accepts."""

from __future__ import annotations

from pinns.domain import positive_integer, positive_number
from pinns.factored.loss import FactoredLoss
from pinns.separable import CP, TensorTrain


# Bases that are the same for all keys.
SELECTABLE = ("chebyshev", "legendre", "fourier")


def check(
    problem, model, sweeps, starts, tolerance, balance, seconds, subspace, gain
) -> None:
    """Raises TypeError or ValueError for arguments that make no sense."""
    owner = "pinns.solve_als"
    if not isinstance(model, (CP, TensorTrain)):
        raise TypeError(
            f"{owner}: `model` must be a pinns.CP or pinns.TensorTrain, got {model!r}"
        )
    positive_integer(sweeps, owner, "sweeps")
    positive_integer(starts, owner, "starts")
    positive_number(tolerance, owner, "tolerance")
    if seconds is not None:
        positive_number(seconds, owner, "seconds")
    if balance is not None and positive_number(balance, owner, "balance") < 1.0:
        raise ValueError(f"{owner}: `balance` must be at least 1, got {balance!r}")
    if not 0.0 <= gain < 1.0:
        raise ValueError(f"{owner}: `gain` must be from 0 to below 1, got {gain!r}")
    if subspace is not None:
        positive_integer(subspace, owner, "subspace")
        if model.net.kind not in SELECTABLE:
            raise ValueError(
                f"{owner}: `subspace` is for models in {', '.join(SELECTABLE)}, "
                f"got {model.net.kind!r}"
            )
    if problem.data:
        raise ValueError(
            f"{owner}: data at scattered points are not separable, got "
            f"{problem.data[0][1].group(problem.box)!r}; the methods adam, lbfgs and "
            "ssbroyden take them"
        )


def check_linear(loss: FactoredLoss) -> None:
    """Raises ValueError naming a term that is not linear in the unknowns."""
    for i, families in loss.plan.families.items():
        if max(map(len, families), default=0) > 1:
            raise ValueError(
                f"pinns.solve_als: the term {loss.problem.terms[i].name!r} multiplies "
                "unknowns; alternating least squares needs terms that are linear in "
                "them. The methods adam, lbfgs and ssbroyden work with any term"
            )
