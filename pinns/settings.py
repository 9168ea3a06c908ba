"""What `solve` was asked for: checked arguments, and the choice of a method."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from pinns.choice import choose_method, default_model
from pinns.domain import positive_integer, positive_number, real_number
from pinns.engine import Engine, check_engine
from pinns.evaluation import Model
from pinns.factors import BASES
from pinns.pointwise import MLP
from pinns.problem import Problem
from pinns.scattered import SCATTERED, check_scattered, scattered_count, scattered_kind
from pinns.separable import Separable
from pinns.solvers._kinds import kinds_of
from pinns.weighting.choice import restored, scheme
from pinns.weighting.scheme import Scheme


# What each method is, for help texts and errors.
METHODS: dict[str, str] = {
    "auto": "chosen by problem and model",
    "adam": "first-order steps with Adam, a schedule, or any optax optimizer",
    "lbfgs": "limited-memory quasi-Newton steps",
    "ssbroyden": "quasi-Newton steps with a dense self-scaled Broyden inverse",
    "gauss_newton": "damped Gauss-Newton (Levenberg-Marquardt) steps, factored",
    "varpro": "ssbroyden on the nonlinear weights, linear ones eliminated exactly",
    "als": "alternating least squares on the networks' last layers",
    "direct": "a linear solve in fixed bases, nothing is trained",
    "newton": "Newton's method in fixed bases, for nonlinear problems",
}
# Those that make their own model.
FIXED = ("direct", "newton")
ITERATIVE = ("adam", "lbfgs", "ssbroyden", "gauss_newton", "varpro")
# Those that find unknown parameters along with the solution.
INVERSE = ("adam", "lbfgs", "ssbroyden", "gauss_newton")
LOSSES = ("auto", "factored", "orthogonalized", "grid")
# Those that take no term to the grid.
STRICT = ("factored", "orthogonalized")
DTYPES = ("float32", "float64")
LearningRate = float | Callable[[Any], Any]
# A loss that walks the grid visits every value in each step.
MAX_GRID_VALUES = 10**11
# Steps of a method, if none are asked for.
STEPS = {
    "adam": 10_000,
    "lbfgs": 20_000,
    "ssbroyden": 10_000,
    "gauss_newton": 300,
    "varpro": 2_000,
    "als": 100,
    "newton": 50,
}


@dataclass(frozen=True)
class Settings:
    """Checked arguments of `solve`. reason: why this method, if it was chosen."""

    method: str
    reason: str
    key: Array | None
    counts: tuple[int, ...]
    samplings: tuple[str, ...]
    steps: int
    learning_rate: LearningRate | None
    custom_optimizer: bool
    redraw_every: int | None
    seconds: float | None
    dtype: str
    loss: str
    options: dict[str, Any] = field(default_factory=dict)
    engine: Engine = field(default_factory=lambda: Engine())
    weighting: Scheme | None = None

    def describe(self) -> dict[str, Any]:
        """Returns JSON-able values; functions appear as `"custom"`."""
        rate: Any = self.learning_rate
        if self.method == "adam":
            rate = 1e-3 if rate is None else rate
        if self.custom_optimizer or callable(rate):
            rate = "custom"
        described = {
            "method": self.method,
            "reason": self.reason,
            "points": list(self.counts),
            "sampling": list(self.samplings),
            "learning_rate": rate,
            "redraw_every": self.redraw_every,
            "dtype": self.dtype,
            "loss": self.loss,
            **self.options,
        }
        if self.weighting is not None:
            described["weighting"] = self.weighting.describe()
        if self.key is not None:
            described["key"] = np.asarray(jax.random.key_data(self.key)).tolist()
            described["key_impl"] = str(jax.random.key_impl(self.key))
        return described


def _check_parameters(owner: str, problem: Problem, method: str) -> None:
    """Raises for methods without unknown parameters; warns if nothing is measured."""
    if not problem.parameters:
        return
    names = ", ".join(problem.parameters.names)
    if method not in INVERSE:
        raise ValueError(
            f"{owner}: method={method!r} solves for the unknowns only, and the term "
            f"{problem.terms[0].name!r} has unknown parameters ({names}). Take "
            f"method={', '.join(map(repr, INVERSE[:-1]))} or {INVERSE[-1]!r}"
        )
    if not problem.data:
        warnings.warn(
            f"{owner}: {problem.name!r} has unknown parameters ({names}) and no Data: "
            "unless its conditions determine them, they stay near where they start",
            stacklevel=4,
        )


def check(
    problem, model, method, key, points, steps, learning_rate, optimizer, sampling,
    redraw_every, seconds, dtype, loss, basis, size, starts, start, progress,
    engine, weighting, cluster=None,
) -> tuple[Settings, Model | None]:  # fmt: skip
    """Returns the settings and the model, or raises naming the argument at fault."""
    owner = "pinns.solve"
    if not isinstance(problem, Problem):
        raise TypeError(f"{owner}: `problem` must be a pinns.Problem, got {problem!r}")
    if model is not None and not isinstance(model, (Separable, MLP)):
        raise TypeError(
            f"{owner}: `model` must be pinns.CP, TensorTrain, Tucker or MLP, "
            f"got {model!r}"
        )
    if method not in METHODS:
        raise ValueError(
            f"{owner}: `method` must be one of {', '.join(METHODS)}, got {method!r}"
        )
    for name, value in (("learning_rate", learning_rate), ("seconds", seconds)):
        if value is None or (name == "learning_rate" and callable(value)):
            continue
        positive_number(value, owner, name)
    for name, value, allowed in (("loss", loss, LOSSES), ("dtype", dtype, DTYPES)):
        if value is not None and value not in allowed:
            raise ValueError(
                f"{owner}: `{name}` must be one of {', '.join(allowed)}, got {value!r}"
            )
    if not isinstance(progress, (bool, NoneType)):
        raise TypeError(
            f"{owner}: `progress` must be True, False or None, got {progress!r}"
        )
    sampling = scattered_kind(owner, problem, model, method, sampling)
    scattered = isinstance(sampling, str) and sampling in SCATTERED
    first = {
        "sampling": sampling if scattered else None,
        "learning_rate": learning_rate,
        "optimizer": optimizer,
        "redraw_every": redraw_every,
        "weighting": weighting,
    }
    chosen = scheme(weighting, owner)
    given = [name for name, value in first.items() if value is not None]
    others = {"points": points, "steps": steps, "sampling": sampling, "start": start}
    iterative = [name for name, value in others.items() if value is not None]
    reason = "as asked"
    if start is not None and start.settings.get("method") == method:
        reason = start.settings.get("reason", reason)
    if method == "auto":
        method, reason = choose_method(problem, model, given, iterative)
    _check_parameters(owner, problem, method)
    if given and method != "adam":
        raise ValueError(
            f"{owner}: `{given[0]}` belongs to method='adam', got "
            f"{first[given[0]]!r} with method={method!r}"
        )
    if method == "newton":
        iterative = [name for name in iterative if name != "steps"]
    if method in FIXED and iterative:
        raise ValueError(
            f"{owner}: method={method!r} has no `{iterative[0]}` (`size` is the number "
            f"of basis functions per axis), got {others[iterative[0]]!r}"
        )
    if method == "als" and start is not None:
        raise ValueError(
            f"{owner}: method='als' starts anew and has no `start`, got {start!r}"
        )
    for name, value, owners in (
        ("basis", basis, ("als", *FIXED)),
        ("size", size, ("als", *FIXED)),
        ("cluster", cluster, FIXED),
        ("starts", starts, ("als",)),
    ):
        if value is not None and method not in owners:
            raise ValueError(
                f"{owner}: `{name}` belongs to method={' or '.join(map(repr, owners))}"
                f", got {name}={value!r} with method={method!r}"
            )
    if method in FIXED:
        kinds_of(owner, problem.box, basis or "chebyshev", cluster)
    elif basis is not None and basis not in BASES:
        raise ValueError(
            f"{owner}: `basis` must be one of {', '.join(BASES)}, got {basis!r}"
        )
    _check_key(owner, key, optional=method in FIXED and basis != "random_features")
    _check_model(owner, problem, model, method, basis, size)
    if model is None and method not in FIXED:
        model = default_model(method, basis, size, bool(problem.parameters))
    if steps is not None:
        positive_integer(steps, owner, "steps")
    if redraw_every is not None:
        positive_integer(redraw_every, owner, "redraw_every")
    if starts is not None:
        positive_integer(starts, owner, "starts")
    _check_optimizer(owner, optimizer, learning_rate)
    if dtype is None:
        dtype = "float32" if method == "adam" else "float64"
    if model is not None:
        model.num_parameters(problem.box)  # a rank that does not fit the box raises
    if sampling is None:
        sampling = "uniform" if method == "adam" else "gauss_legendre"
    if scattered:
        samplings: tuple[str, ...] = (str(sampling),)
        counts: tuple[int, ...] = (scattered_count(owner, points, samplings[0]),)
        check_scattered(owner, samplings[0], loss, engine.count, chosen)
    else:
        points = default_points(problem, model, method) if points is None else points
        counts = problem.box.counts(points, owner=owner)
        samplings = problem.box.samplings(sampling)
    random = {"uniform", "stratified", *SCATTERED} & set(samplings)
    if redraw_every is not None and not random:
        raise ValueError(
            f"{owner}: `redraw_every` needs a random `sampling` (uniform or "
            f"stratified on some axis, or scattered), got {sampling!r}"
        )
    if chosen is not None:
        chosen.check(owner, problem, redraw_every)
    if scattered:
        loss = "points"
    else:
        loss = _loss(owner, loss, method, model, redraw_every, engine, chosen)
    if engine.given:
        check_engine(owner, engine, method, problem, counts, start, ITERATIVE)
    if loss == "grid" and method in ITERATIVE:
        check_grid(owner, counts)
    rate = real_number(learning_rate)
    settings = Settings(
        method=method,
        reason=reason,
        key=key,
        counts=counts,
        samplings=samplings,
        steps=int(STEPS.get(method, 0) if steps is None else steps),
        learning_rate=rate if rate is not None else learning_rate,
        custom_optimizer=optimizer is not None,
        redraw_every=redraw_every,
        seconds=seconds,
        dtype=dtype,
        loss=loss,
        options={
            name: value
            for name, value in (
                ("basis", basis),
                ("size", size),
                ("starts", starts),
                ("cluster", cluster),
            )
            if value is not None
        },
        engine=engine,
        weighting=chosen,
    )
    if start is not None:
        _check_start(owner, start, problem, model, settings)
    return settings, model


def check_grid(owner: str, counts: Sequence[int]) -> None:
    """Raises ValueError for a grid too large to walk."""
    if math.prod(counts) > MAX_GRID_VALUES:
        raise ValueError(
            f"{owner}: `points` makes a grid of {math.prod(counts):.1e} values, more "
            f"than {MAX_GRID_VALUES:.0e}; take fewer than {max(counts)} per axis"
        )


def default_points(problem: Problem, model: Model | None, method: str) -> int:
    """Returns the points per axis if none are given.

    On a grid 64 in up to three dimensions, fewer above. Factored norms cost little
    per point: three times as many as the widest hidden layer, from 32 to 128.
    """
    d = problem.box.dimension
    if method == "adam" or isinstance(model, (MLP, NoneType)):
        return 64 if d <= 3 else max(2, int(64 ** (3 / d)))
    return int(np.clip(3 * max(model.net.hidden), 32, 128))


def _loss(
    owner: str, loss: str, method: str, model, redraw_every, engine: Engine, weighting
) -> str:
    spread = engine.count > 1 and method in ("adam", "lbfgs", "ssbroyden")
    if weighting is not None or isinstance(model, MLP) or redraw_every or spread:
        if loss in STRICT:
            what = "a pointwise model" if isinstance(model, MLP) else "redrawn points"
            what = f"{engine.count} devices" if spread else what
            what = what if weighting is None else f"weighting={weighting.name!r}"
            raise ValueError(
                f"{owner}: loss={loss!r} needs a separable model, points that stay "
                f"the same, one device and no weighting, got {what}"
            )
        return "grid"
    if method == "newton":
        if loss != "auto":
            raise ValueError(
                f"{owner}: `loss` must be 'auto' with method='newton', which solves "
                f"equations on the grid and minimizes nothing, got {loss!r}"
            )
        return "grid"
    if loss == "orthogonalized" and method not in ITERATIVE:
        raise ValueError(
            f"{owner}: loss='orthogonalized' belongs to method="
            f"{' or '.join(map(repr, ITERATIVE))}, got it with method={method!r}, "
            "which corrects its coefficients by inner products"
        )
    if method in ("gauss_newton", "varpro", "als", "direct"):
        if loss == "grid":
            raise ValueError(
                f"{owner}: method={method!r} works on factored residuals only, got "
                "loss='grid'; take method='ssbroyden', 'lbfgs' or 'adam'"
            )
        return loss if loss == "orthogonalized" else "factored"
    return loss


def _check_key(owner: str, key, optional: bool) -> None:
    if key is None and optional:
        return
    typed = isinstance(key, jax.Array) and key.shape == ()
    if not typed or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"{owner}: `key` must be a typed random key such as jax.random.key(0), "
            f"got {key!r}"
        )


def _check_model(owner, problem: Problem, model, method: str, basis, size) -> None:
    if model is not None and (basis is not None or size is not None):
        raise ValueError(
            f"{owner}: `basis` and `size` describe the model of method={method!r}; "
            f"give either them or a `model`, got {model!r} too"
        )
    if method in FIXED and model is not None:
        raise ValueError(
            f"{owner}: method={method!r} makes its own model of `basis` and `size`; "
            f"`model` must be None, got {model!r}"
        )
    if isinstance(model, MLP) and method not in ("adam", "lbfgs"):
        raise ValueError(
            f"{owner}: method={method!r} needs a separable model; a pointwise network "
            "is trained by method='adam' or 'lbfgs'"
        )
    if method == "als" and model is not None and model.name not in ("cp", "tt"):
        raise ValueError(
            f"{owner}: method='als' is for pinns.CP and TensorTrain, got {model!r}"
        )
    if size is not None and isinstance(size, int):
        positive_integer(size, owner, "size")


def _check_optimizer(owner: str, optimizer, learning_rate) -> None:
    if optimizer is not None and learning_rate is not None:
        raise ValueError(
            f"{owner}: `learning_rate` is Adam's; give it inside `optimizer` instead, "
            f"got both"
        )
    if optimizer is not None and not hasattr(optimizer, "update"):
        raise TypeError(
            f"{owner}: `optimizer` must be an optax.GradientTransformation, "
            f"got {optimizer!r}"
        )


def _check_start(owner, start, problem, model, settings: Settings) -> None:
    before, now = (
        (p.name, p.origin, p.box, p.groups) for p in (start.problem, problem)
    )
    if (start.model, start.dtype, *before) != (model, settings.dtype, *now):
        raise ValueError(
            f"{owner}: `start` must be a solution of the same problem, model and "
            f"dtype, got {start!r} with {start.model!r} in {start.dtype} of "
            f"{start.problem.origin or start.problem!r}"
        )
    held = restored(start.settings.get("weighting"))
    if settings.weighting != held:
        raise ValueError(
            f"{owner}: `weighting` must be that of `start`, {held!r}, "
            f"got {settings.weighting!r}"
        )
    if held is not None and list(settings.counts) != start.settings["points"]:
        raise ValueError(
            f"{owner}: `points` must be those of `start` with a weighting, "
            f"{start.settings['points']}, got {list(settings.counts)}"
        )
    adam = settings.method == "adam" and start.settings.get("method") == "adam"
    remade = start.settings.get("remade", False)  # rounded, converted or grown
    if adam and start.optimizer_state is None and not remade:
        raise ValueError(
            f"{owner}: the solution carries no optimizer state to continue from; load "
            "it with pinns.load(folder, optimizer=...), the optimizer that made it"
        )


Points = int | Sequence[int] | Mapping[str, int]
Optimizer = optax.GradientTransformation
