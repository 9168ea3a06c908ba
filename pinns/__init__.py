"""Solve partial differential equations with separable tensor-decomposition networks."""

from pinns import baselines, problems, ranks, weighting
from pinns.boundary import Boundary
from pinns.certificate import Certificate, OverfitWarning, certify
from pinns.conditions import Data, Dirichlet, Initial, Neumann, Periodic, Robin
from pinns.domain import Box
from pinns.eigen import GroundState, ground_state
from pinns.eigenproblem import Eigenproblem
from pinns.field import Field
from pinns.inverse import Uncertainty, uncertainty
from pinns.mapped import MappedBox
from pinns.march import Marched, march
from pinns.masked import MaskedBox
from pinns.parameters import Unknown
from pinns.pointwise import MLP
from pinns.problem import Problem
from pinns.resume import resume
from pinns.round_domains import Annulus, Ball, Disk, SphericalShell
from pinns.separability import Separability, separability
from pinns.separable import CP, TensorTrain, Tucker
from pinns.solution import Solution
from pinns.solve import (
    NonFiniteLossError,
    NotConvergedError,
    SolveInterrupted,
    SolveTerminated,
    solve,
)
from pinns.storage import LoadError, load


__all__ = [
    "Box",
    "Annulus",
    "Disk",
    "SphericalShell",
    "Ball",
    "MappedBox",
    "MaskedBox",
    "Problem",
    "Field",
    "Unknown",
    "Dirichlet",
    "Neumann",
    "Robin",
    "Periodic",
    "Initial",
    "Data",
    "Boundary",
    "CP",
    "TensorTrain",
    "Tucker",
    "MLP",
    "solve",
    "resume",
    "march",
    "Marched",
    "Solution",
    "load",
    "problems",
    "weighting",
    "baselines",
    "ranks",
    "separability",
    "Separability",
    "uncertainty",
    "Uncertainty",
    "certify",
    "Certificate",
    "Eigenproblem",
    "ground_state",
    "GroundState",
    "LoadError",
    "OverfitWarning",
    "NonFiniteLossError",
    "NotConvergedError",
    "SolveInterrupted",
    "SolveTerminated",
]
