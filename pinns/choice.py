"""Which method fits a problem: `method="auto"`, from the structure of its terms."""

from __future__ import annotations

from dataclasses import dataclass

from pinns.domain import precision
from pinns.evaluation import Model
from pinns.factored import FactoredLoss
from pinns.factors import FIXED
from pinns.pointwise import MLP
from pinns.problem import Problem
from pinns.separable import CP, Separable, TensorTrain
from pinns.solvers.quasi_newton import MAX_DENSE


# Points per axis on which the structure of a problem is looked at, and up to which
# dimension known functions of all axes can be tabulated there.
PROBE_POINTS, MAX_PROBE_DIMENSION, FEW_PROBE_POINTS = 24, 3, 8
# From here on a coefficient for every product of basis functions is too many.
MAX_DIRECT_DIMENSION = 5
# Up to so many trained numbers Gauss-Newton steps, which sweep once for each of them,
# are the quickest for inverse problems.
MAX_GAUSS_NEWTON = 500


@dataclass(frozen=True)
class Structure:
    """What a solver may use of a problem.

    obstacles: terms that are not separable, with the reason. nonlinear: terms that
    multiply unknowns.
    """

    obstacles: dict[str, str]
    nonlinear: tuple[str, ...]

    @property
    def linear(self) -> bool:
        return not self.obstacles and not self.nonlinear


def structure(problem: Problem) -> Structure:
    """Returns which terms stay factored and which are linear, seen on a few points.

    A known function of two or three axes that needs as many products as there are
    points is not resolved by them: a jump or a kink across axes, say.
    """
    d = problem.box.dimension
    count = PROBE_POINTS if d <= MAX_PROBE_DIMENSION else FEW_PROBE_POINTS
    with precision("float64"):
        points = problem.box.points(
            problem.box.counts(count), "gauss_legendre", key=None, dtype="float64"
        )
        probe = FactoredLoss(problem, CP(rank=1, hidden=(1,)), points, "float64")
    obstacles = dict(probe.grid_terms)
    for name, found in probe.plan.compressions.items():
        rank = max(c.rank for c in found)
        if count == PROBE_POINTS and rank >= count - 2:
            obstacles[name] = (
                f"a known function of several axes needs {rank} products on {count} "
                "points per axis"
            )
    nonlinear = [
        problem.terms[i].name
        for i, families in probe.plan.families.items()
        if max((len(f) for f in families), default=0) > 1
    ]
    return Structure(obstacles, tuple(nonlinear))


def default_model(
    method: str, basis: str | None, size: int | None, inverse: bool = False
) -> Separable:
    """Returns the model of a method if none is given.

    Few polynomials smooth noisy measurements, so inverse problems begin with them.
    """
    if inverse:
        return CP(rank=4, network="legendre", hidden=(12,))
    if method == "als":
        hidden = (12 if size is None else int(size),)
        return TensorTrain(rank=3, network=basis or "legendre", hidden=hidden)
    return CP(rank=6, network="siren", omega=12.0, hidden=(24,))


def choose_method(
    problem: Problem, model: Model | None, first: list[str], iterative: list[str]
) -> tuple[str, str]:
    """Returns (method, reason) for `method="auto"`.

    Args:
        problem, model: what is to be solved, with what.
        first: names of the arguments given that only first-order steps have.
        iterative: names of those given that a direct solve does not have.
    """
    if first:
        return "adam", f"{' and '.join(first)} given"
    if isinstance(model, MLP):
        return "adam", "a pointwise network has no factors"
    found = structure(problem)
    if problem.parameters:
        return _choose_inverse(problem, model, found)
    d = problem.box.dimension
    several = len(problem.unknowns) > 1
    if model is None:
        direct = d <= MAX_DIRECT_DIMENSION and not iterative
        if found.linear and not several and direct:
            return "direct", f"linear and separable in {d} axes, no model given"
        if found.linear and not several and not problem.data:
            return "als", f"linear and separable in {d} axes, no model given"
        why = "nonlinear" if found.nonlinear else "not separable"
        why = "measured data" if found.linear else why
        why = "several unknowns" if several else why
        return "ssbroyden", f"{why}, no model given"
    alternating = model.name in ("cp", "tt") and not problem.data
    if model.network in FIXED and found.linear and alternating:
        return "als", "fixed bases: the problem is linear in every factor"
    for name, why in found.obstacles.items():
        return "adam", f"{name!r} is not separable ({why})"
    count = model.num_parameters(problem.box, len(problem.unknowns))
    if found.nonlinear and _products_too_large(model):
        return "adam", f"{found.nonlinear[0]!r} multiplies unknowns of a large rank"
    if count <= MAX_DENSE:
        return "ssbroyden", f"a separable residual; {count} parameters"
    return "lbfgs", f"a separable residual; {count} parameters"


def _choose_inverse(
    problem: Problem, model: Model | None, found: Structure
) -> tuple[str, str]:
    """Returns (method, reason) for a problem with unknown parameters."""
    what = f"unknown parameters ({', '.join(problem.parameters.names)})"
    for name, why in found.obstacles.items():
        return "adam", f"{what}; {name!r} is not separable ({why})"
    if model is None:
        model = default_model("auto", None, None, inverse=True)
    count = model.num_parameters(problem.box, len(problem.unknowns))
    what = f"{what}; {count} weights"
    if count <= MAX_GAUSS_NEWTON:
        return "gauss_newton", what
    return "ssbroyden" if count <= MAX_DENSE else "lbfgs", what


def _products_too_large(model: Separable) -> bool:
    rank = model.rank if isinstance(model.rank, int) else max(model.rank)
    return rank > (12 if model.name == "cp" else 4)
