"""All benchmark problems by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pinns.problem import Problem
from pinns.problems.allen_cahn import allen_cahn
from pinns.problems.annulus import annulus
from pinns.problems.burgers1d import burgers1d
from pinns.problems.flow_mixing import flow_mixing
from pinns.problems.fokker_planck import fokker_planck
from pinns.problems.harmonic_oscillator import harmonic_oscillator
from pinns.problems.heat2d import heat2d
from pinns.problems.helmholtz3d import helmholtz3d
from pinns.problems.klein_gordon import klein_gordon
from pinns.problems.navier_stokes import navier_stokes
from pinns.problems.parametric_diffusion import parametric_diffusion
from pinns.problems.poisson import poisson
from pinns.problems.spherical_shell import spherical_shell
from pinns.problems.unknown_burgers import unknown_burgers
from pinns.problems.unknown_diffusion import unknown_diffusion
from pinns.problems.unknown_source import unknown_source
from pinns.problems.wave1d import wave1d


PROBLEMS: dict[str, Callable[..., Problem]] = {
    function.__name__: function
    for function in (
        klein_gordon,
        helmholtz3d,
        flow_mixing,
        poisson,
        heat2d,
        wave1d,
        burgers1d,
        allen_cahn,
        navier_stokes,
        fokker_planck,
        parametric_diffusion,
        harmonic_oscillator,
        unknown_diffusion,
        unknown_burgers,
        unknown_source,
        annulus,
        spherical_shell,
    )
}


def create(name: str, **options: Any) -> Problem:
    """Returns the benchmark problem called `name`.

    Args:
        name: a key of `PROBLEMS`.
        **options: options of that problem; the others keep their defaults.

    Raises:
        ValueError: no such problem or option, or a value outside its range.

    Example:
        >>> problem = create("poisson", dimension=2)
        >>> problem.name, problem.origin
        ('poisson', ('poisson', {'dimension': 2, 'hard': False}))
    """
    if name not in PROBLEMS:
        raise ValueError(
            f"pinns.problems.create: `name` must be one of {', '.join(PROBLEMS)}, "
            f"got {name!r}"
        )
    allowed = tuple(inspect.signature(PROBLEMS[name]).parameters)
    for option in options:
        if option not in allowed:
            raise ValueError(
                f"pinns.problems.create: {name} has no option {option!r}, its options "
                f"are {', '.join(allowed)}"
            )
    return PROBLEMS[name](**options)
