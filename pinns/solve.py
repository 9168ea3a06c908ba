"""`solve(problem, model) -> Solution`: finds the parameters of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import optax
from jaxtyping import Array

from jaxcore.training import Checkpoint, Log
from pinns.domain import precision
from pinns.eigen import solve_eigenproblem
from pinns.eigenproblem import Eigenproblem
from pinns.engine import Engine
from pinns.evaluation import Model
from pinns.iterate import (
    NonFiniteLossError,
    Run,
    SolveInterrupted,
    SolveTerminated,
)
from pinns.linear import alternate, solve_directly
from pinns.nonlinear import NotConvergedError, solve_nonlinear
from pinns.problem import Problem
from pinns.separable import Separable
from pinns.settings import LearningRate, check
from pinns.solution import Solution
from pinns.weighting import Scheme


def solve(
    problem: Problem,
    model: Model | None = None,
    method: str = "auto",
    *,
    key: Array | None = None,
    points: int | Sequence[int] | Mapping[str, int] | None = None,
    steps: int | None = None,
    learning_rate: LearningRate | None = None,
    optimizer: optax.GradientTransformation | None = None,
    sampling: str | Mapping[str, str] | None = None,
    redraw_every: int | None = None,
    seconds: float | None = None,
    dtype: str | None = None,
    loss: str = "auto",
    weighting: str | Scheme | None = None,
    basis: str | Mapping[str, str] | None = None,
    cluster: Mapping[str, tuple[float, float]] | None = None,
    size: int | tuple[int, ...] | None = None,
    starts: int | None = None,
    devices: int | Sequence[jax.Device] | None = None,
    checkpoint: str | Path | Checkpoint | None = None,
    log: str | Path | Log | None = None,
    on_error: str = "raise",
    progress: bool | None = None,
    throw: bool = True,
    start: Solution | None = None,
) -> Solution:
    """Returns a `Solution` of the problem.

    Minimizes the weighted mean squares of residual and conditions on tensor-product
    points, `sum_i w_i mean(r_i^2)`. For separable residuals that norm is computed from
    one-dimensional inner products and no grid is formed (`loss="factored"`). Steps
    run in blocks under `jaxcore.training.fit`, the engine of all training here.

    Args:
        problem: what to solve.
        model: `CP`, `TensorTrain`, `Tucker`, or the pointwise baseline `MLP`; None
            leaves it to the method.
        method: see `pinns.settings.METHODS`:
            `"auto"`: picks one of the others, see `Solution.settings["reason"]`;
            `"direct"`: a linear solve in fixed bases, for linear separable problems;
            `"newton"`: Newton's method in fixed bases, for one unknown;
            `"als"`: alternating least squares on the last layers of CP and TT, for
            linear separable problems in any dimension;
            `"ssbroyden"`, `"lbfgs"`: quasi-Newton methods, for any problem;
            `"gauss_newton"`: for separable residuals, also with products of unknowns;
            `"varpro"`: linear coefficients eliminated, for linear separable problems;
            `"adam"`: first-order steps.
        key: typed random key, `jax.random.key(seed)`; for parameters and points.
            Only solves in polynomials or Fourier functions, direct or by Newton's
            method, need none.
        points: collocation points per axis: one number, one per axis, or by name (one
            number in all if scattered, see `sampling`, 2,048 by default). By
            default 64 for Adam in up to three dimensions (fewer above), else three
            times the widest hidden layer, from 32 to 128.
        steps: number of steps or sweeps at most (of further ones when continuing from
            `start`); default by method, 10,000 for Adam.
        learning_rate: of Adam: a number (default 1e-3) or an optax schedule.
        optimizer: any optax transformation instead of Adam.
        sampling: point sets, see `Box.points`: `uniform`, `stratified` (random),
            `chebyshev`, `gauss_legendre`, `equispaced` (quadrature rules, whose
            weights turn mean squares into squared L2 norms over the volume). Default:
            uniform for Adam, Gauss-Legendre otherwise. For `MLP` also scattered points,
            `points` of them in all: `scattered` (uniform), `latin_hypercube`, `sobol`,
            `halton`, and `rad` and `r3`, which every `redraw_every` (default 100) steps
            follow the residual.
        redraw_every: draw new random points every so many steps of Adam (SPINN: 100);
            by default they are drawn once.
        seconds: stop after this much solving time, compilation not counted.
        dtype: `"float32"` (default for Adam) or `"float64"` (otherwise).
        loss: how the norm of residuals is computed, see `pinns.factored`:
            `"auto"`: factored for the terms where that is possible and cheaper;
            `"factored"`: by inner products of factors for all terms;
            `"orthogonalized"`: by QR factorizations of factors, which measures
            residuals that are rounding noise to inner products, at a higher cost;
            `"grid"`: on the tensor grid.
        weighting: of Adam, on the grid: weights of terms or points that adapt, one of
            `self_adaptive`, `causal`, `gradient_norm`, `ntk`, `relobralo`, or a scheme
            of `pinns.weighting` with its options. `Solution.history.loss` is then the
            weighted loss, its groups stay the plain mean squares.
        basis, size: of `direct`, `newton`, and `als` without a model: kind of fixed
            basis (see `pinns.factors.BASES`) and number of functions per axis. Of
            `direct` and `newton` also by axis: `{"x": "fourier"}`, Chebyshev on others.
        cluster: of `direct` and `newton` in Chebyshev polynomials: by axis the center
            and width of a layer to crowd the functions in, `{"x": (0.0, 0.01)}`.
        starts: of `als`: random starts run side by side, the best is kept.
        devices: of the iterative methods: how many, or which; the grid is split among
            them along its first axis. Default: one.
        checkpoint: of the iterative methods: folder or `jaxcore.training.Checkpoint`.
            The state is saved there while solving, and a call that finds one goes on
            from it, equal to the bit to one that was never stopped; `steps` are then
            those in all, and `history` begins where it went on.
        log: of the iterative methods: folder or `jaxcore.training.Log` for a log file
            of JSON lines; by default that of `checkpoint`, if any.
        on_error: `"raise"`, or `"continue"` (with a warning) where a checkpoint or log
            cannot be written.
        progress: show a progress bar; by default only on a terminal.
        throw: raise when the loss becomes NaN or Inf, or Newton's method does not
            converge; otherwise return what was reached, with `Solution.result` saying
            so.
        start: a solution of the same problem and model to continue from, with its
            optimizer state and its points.

    Raises:
        ValueError, TypeError: bad arguments, before anything compiles.
        CheckpointError: `checkpoint` holds a run of another problem or model.
        StorageError: a checkpoint or log could not be written; its `solution` is what
            was reached.
        NonFiniteLossError, NotConvergedError: see `throw`.
        SolveInterrupted, SolveTerminated: on Ctrl-C and SIGTERM, at the end of the
            present call into the compiled steps; they carry the solution so far.

    Example:
        >>> import jax, pinns
        >>> problem = pinns.problems.poisson(dimension=1)
        >>> solution = pinns.solve(
        ...     problem,
        ...     pinns.CP(rank=4),
        ...     "adam",
        ...     points=8,
        ...     steps=2,
        ...     key=jax.random.key(0),
        ... )
        >>> solution.result, solution.step
        ('finished', 2)
    """
    if isinstance(problem, Eigenproblem):
        others = {
            "learning_rate": learning_rate, "optimizer": optimizer,
            "sampling": sampling, "redraw_every": redraw_every, "seconds": seconds,
            "weighting": weighting, "basis": basis, "size": size, "starts": starts,
            "devices": devices, "checkpoint": checkpoint, "log": log, "start": start,
        }  # fmt: skip
        others |= {
            "dtype": None if dtype == "float64" else dtype,
            "loss": None if loss == "auto" else loss,
        }
        return solve_eigenproblem(problem, model, method, key, points, steps, others)
    settings, chosen = check(
        problem, model, method, key, points, steps, learning_rate, optimizer,
        sampling, redraw_every, seconds, dtype, loss, basis, size, starts, start,
        progress, Engine(devices, checkpoint, log, on_error), weighting, cluster,
    )  # fmt: skip
    with precision(settings.dtype):
        if optimizer is None:
            rate = settings.learning_rate
            optimizer = optax.adam(1e-3 if rate is None else rate)
        if settings.method == "newton":
            return solve_nonlinear(problem, settings, throw)
        if settings.method == "direct" or chosen is None:
            return solve_directly(problem, settings)
        if settings.method == "als" and isinstance(chosen, Separable):
            grow = model is None and size is None and points is None
            return alternate(problem, chosen, settings, progress, grow=grow)
        run = Run(problem, chosen, settings, optimizer, start)
        return run.solve(progress, throw)


__all__ = [
    "NonFiniteLossError",
    "NotConvergedError",
    "SolveInterrupted",
    "SolveTerminated",
    "solve",
]
