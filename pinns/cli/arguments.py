"""What may be typed: one dataclass per command, its fields being the options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg, subcommand

from pinns.domain import SAMPLINGS
from pinns.factors import ACTIVATIONS, BASES, INITIALIZERS, NETWORKS
from pinns.pointwise import MLP
from pinns.scattered import SCATTERED
from pinns.separable import MODELS
from pinns.settings import DTYPES, LOSSES, METHODS
from pinns.weighting import SCHEMES


MODEL_CLASSES: dict[str, type] = {**MODELS, MLP.name: MLP}

Words = tuple[str, ...]


def _choices(text: str, names: Iterable[str]) -> str:
    return f"{text}: {', '.join(names)}."


def _described(text: str, names: dict[str, str]) -> str:
    return f"{text}. " + "; ".join(f"{k}: {v}" for k, v in names.items()) + "."


def _default(text: str) -> str:
    return f"(default: {text})"


ProblemName = Annotated[str, arg(metavar="PROBLEM", help="A name from `pinns list`.")]
Folder = Annotated[Path, arg(metavar="FOLDER", help="As given to `solve --out`.")]
Options = Annotated[
    UseAppendAction[Words],
    arg(
        name="option",
        aliases=("-p",),
        metavar="NAME=VALUE",
        help="Option of the problem, see `pinns info PROBLEM`; may be repeated. Lists "
        "are written a=2,2,1 and switches hard=true.",
        help_behavior_hint=_default("those of the problem"),
    ),
]
Json = Annotated[
    bool, arg(help="Print one JSON record as the last line of standard output.")
]
NoProgress = Annotated[
    bool, arg(help="Show no progress bar; without a terminal there never is one.")
]
Seconds = Annotated[
    float | None,
    arg(
        metavar="SECONDS",
        help="Stop after this much solving time; compilation is not counted.",
        help_behavior_hint=_default("no limit"),
    ),
]


def _numbers(text: str, default: str, metavar: str = "N [N ...]") -> Any:
    return arg(metavar=metavar, help=text, help_behavior_hint=_default(default))


@dataclass(frozen=True)
class List:
    """List the built-in problems."""


@dataclass(frozen=True)
class Info:
    """Describe a built-in problem and its options."""

    problem: Positional[ProblemName]
    option: Options = ()


@dataclass(frozen=True)
class Solve:
    """Solve a built-in problem."""

    problem: Positional[ProblemName]
    option: Options = ()
    model: Annotated[
        str | None,
        _numbers(
            _choices("Kind of model", MODEL_CLASSES),
            "that of the method; cp if --rank, --network or --hidden is given",
            "NAME",
        ),
    ] = None
    rank: Annotated[
        Words | None,
        _numbers(
            "Rank: one number; for tt also one per bond, for tucker one per axis. Not "
            "for mlp.",
            "32",
        ),
    ] = None
    network: Annotated[
        str | None,
        _numbers(
            _choices("Networks of the factors, not for mlp", NETWORKS), "mlp", "NAME"
        ),
    ] = None
    hidden: Annotated[
        Words | None,
        _numbers("Widths of the hidden layers.", "rank rank rank; for mlp 64 64 64"),
    ] = None
    activation: Annotated[
        str | None, _numbers(_choices("Activation", ACTIVATIONS), "tanh", "NAME")
    ] = None
    initializer: Annotated[
        str | None,
        _numbers(
            _choices("Initial kernels", INITIALIZERS),
            "glorot_normal; for tt glorot_uniform",
            "NAME",
        ),
    ] = None
    points: Annotated[
        Words | None,
        _numbers(
            "Collocation points per axis: one number, or one for each axis.",
            "by method; for adam 64 in up to three dimensions, fewer above: 12 in five",
        ),
    ] = None
    sampling: Annotated[
        Words | None,
        _numbers(
            _choices("Point sets, one or one for each axis", SAMPLINGS)
            + " "
            + _choices("For mlp also scattered ones", SCATTERED),
            "uniform for adam, gauss_legendre for the others",
            "NAME [NAME ...]",
        ),
    ] = None
    redraw_every: Annotated[
        int | None,
        _numbers("Draw new random points every N steps.", "draw them once", "N"),
    ] = None
    steps: Annotated[
        int | None,
        _numbers("Largest number of steps or sweeps.", "by method; adam 10000", "N"),
    ] = None
    learning_rate: Annotated[float | None, _numbers("Of Adam.", "0.001", "RATE")] = None
    method: Annotated[
        str,
        arg(metavar="NAME", help=_described("How to solve", METHODS)),
    ] = "auto"
    loss: Annotated[
        str,
        arg(
            metavar="NAME",
            help=_choices("How the residual's norm is computed", LOSSES),
        ),
    ] = "auto"
    weighting: Annotated[
        str | None,
        _numbers(
            _choices("Weights of adam that adapt", SCHEMES), "those given once", "NAME"
        ),
    ] = None
    basis: Annotated[
        Words | None,
        _numbers(
            _choices("Fixed basis of direct, newton and als", BASES)
            + " For direct and newton also by axis: x=fourier.",
            "legendre for als, else chebyshev",
            "NAME",
        ),
    ] = None
    cluster: Annotated[
        Words | None,
        _numbers(
            "Layers that the functions of direct and newton crowd in, by axis: center "
            "and width.",
            "none",
            "AXIS=CENTER,WIDTH",
        ),
    ] = None
    size: Annotated[
        Words | None,
        _numbers("Basis functions per axis, of direct, newton and als.", "by method"),
    ] = None
    windows: Annotated[
        int | None,
        _numbers("March through time in N windows.", "one solve for all time", "N"),
    ] = None
    starts: Annotated[
        int | None, _numbers("Random starts of als, side by side.", "1", "N")
    ] = None
    dtype: Annotated[
        str | None,
        _numbers(
            _choices("Precision", DTYPES),
            "float32 for adam, float64 for the others",
            "NAME",
        ),
    ] = None
    seed: Annotated[
        int, arg(metavar="N", help="Of parameters and points, from 0 to 2^32 - 1.")
    ] = 0
    seconds: Seconds = None
    devices: Annotated[
        int | None, _numbers("Devices that share the grid of a step.", "1", "N")
    ] = None
    checkpoint: Annotated[
        Path | None,
        arg(
            metavar="FOLDER",
            help="Save the state of an iterative method here while it runs, and go on "
            "from what is found here; --steps are those in all.",
            help_behavior_hint=_default("none"),
        ),
    ] = None
    out: Annotated[
        Path | None,
        arg(
            metavar="FOLDER",
            help="Save the solution here, also when interrupted.",
            help_behavior_hint=_default("nothing is saved"),
        ),
    ] = None
    plot: Annotated[
        bool, arg(help="Draw solution.png and history.png into the folder of --out.")
    ] = False
    json: Json = False
    no_progress: NoProgress = False


@dataclass(frozen=True)
class Eval:
    """Measure a saved solution at points that were not used to find it."""

    folder: Positional[Folder]
    points: Annotated[
        Words | None,
        _numbers(
            "Points per axis for the errors: one number, or one for each axis.",
            "100 in up to three dimensions, fewer above",
        ),
    ] = None
    plot: Annotated[
        bool, arg(help="Draw solution.png and history.png into the folder.")
    ] = False
    json: Json = False


@dataclass(frozen=True)
class Resume:
    """Continue a saved solution where it ended, and save it in the same folder."""

    folder: Positional[Folder]
    steps: Annotated[int, arg(metavar="N", help="Number of further steps.")] = 10_000
    learning_rate: Annotated[
        float | None, _numbers("Of Adam.", "that of the saved run", "RATE")
    ] = None
    seconds: Seconds = None
    plot: Annotated[
        bool, arg(help="Draw solution.png and history.png into the folder.")
    ] = False
    json: Json = False
    no_progress: NoProgress = False


Command = (
    Annotated[List, subcommand("list")]
    | Annotated[Info, subcommand("info")]
    | Annotated[Solve, subcommand("solve")]
    | Annotated[Eval, subcommand("eval")]
    | Annotated[Resume, subcommand("resume")]
)
