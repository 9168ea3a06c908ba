"""Alternating least squares: the linear output layers, one axis at a time.

Where the hidden layers stay as they are (fixed bases, or networks as drawn), a CP or
tensor-train function is linear in the output layer of every single axis, and a linear
residual with it: the loss is a quadratic function of that layer. `solve_als` minimizes
it exactly, axis by axis, right to left and back. Nothing forms a grid: the quadratic
functions come from the automata of `pinns.factored`, see `_environments`.

The normal equations square the condition of the residual operator. What keeps them
accurate: bases that are orthonormal on every axis, orthonormal interfaces between the
axes, matrices equilibrated to a unit diagonal, and solves that correct the present
coefficients instead of computing new ones, so that rounding is relative to the
correction. The loss itself is a difference of large numbers and stops meaning
anything at its floor, a few eps times what is subtracted; the coefficients go on
improving below it, which is why the stopping rule looks at them.

What decides how many sweeps it takes is the balance of residual and conditions.
Functions that satisfy the equation but not the conditions cost little in a loss
where, say, the squared Laplacian has thousands of times the size of the squared
boundary values; low-rank functions then reach the minimum along a narrow curved
valley, in thousands of sweeps. So the first sweeps weigh the conditions more, by a
factor that is estimated (`balance`) and falls to one: a consistent problem has the
same solution for all weights, and the last sweeps minimize the loss as it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pinns.domain import AxisPoints, precision
from pinns.factored.loss import FactoredLoss
from pinns.problem import Problem
from pinns.separable import CP, Params, Separable, TensorTrain
from pinns.solvers._als_options import check, check_linear
from pinns.solvers._bases import (
    Bases,
    all_grams,
    feature_jets,
    orthonormal,
    with_outputs,
)
from pinns.solvers._environments import (
    Axis,
    Chain,
    CPAxis,
    Network,
    TrainAxis,
    half_sweep,
    links_of,
    mirrored,
    mirrored_network,
    no_sides,
)
from pinns.solvers._subspaces import reduced


# Relative to the unit diagonal of an equilibrated local matrix. The ridge draws to the
# present coefficients, so it does not bias the solution; it bounds the condition, and
# keeps the terms of a CP model from growing against each other.
RIDGE = 1e-10
# Directions of the features with singular values below this, relatively, are left out.
TRUNCATION = 1e-11
# Random part of the start, relative to the constant part, times sqrt(dimension).
SPREAD = 1.0
# Share of the sweeps (and seconds) in which conditions weigh more than in the loss.
BALANCED_SHARE = 0.75
# Ends of tensor trains are padded to local systems of at most this size.
PADDED_SIZE = 512
# For what runs once and takes longer to compile than to run.
UNOPTIMIZED = {"xla_backend_optimization_level": 0}


class AlternatingInfo(NamedTuple):
    """How a solve went.

    stopped: "tolerance", "sweeps", "seconds" or "gain". best: the start that was kept.
    start_losses: (starts, sweeps). steps: (sweeps,) largest relative change of the
    residual in any local solve of the kept start. condition: largest estimate over
    the local matrices of the last sweep, after equilibration. refused: local solves
    that were not finite and were skipped. features: numbers of independent features,
    smallest and largest over the axes. floor: losses of the kept start below this are
    rounding noise. balance: weight of the conditions in the first sweeps, relative to
    the loss. loss_of_zero: that of u = 0. setup_seconds: planning, Gram matrices and
    compilation. solve_seconds: the sweeps.
    """

    stopped: str
    best: int
    start_losses: np.ndarray
    steps: np.ndarray
    condition: float
    refused: int
    features: tuple[int, int]
    floor: float
    balance: float
    loss_of_zero: float
    setup_seconds: float
    solve_seconds: float


class AlternatingResult(NamedTuple):
    """params: of the best start. losses: (sweeps,) of it. info: see there."""

    params: Params
    losses: np.ndarray
    info: AlternatingInfo


class _State(NamedTuple):
    """One start: what sweeps change, oriented for a sweep to the right."""

    cores: Any
    sides: Any


def solve_als(
    problem: Problem,
    model: Separable,
    points: Sequence[AxisPoints],
    *,
    key: Array,
    sweeps: int,
    starts: int = 1,
    tolerance: float = 1e-10,
    balance: float | None = None,
    seconds: float | None = None,
    report: Callable[[int, float], None] | None = None,
    loss: FactoredLoss | None = None,
    subspace: int | None = None,
    gain: float = 0.0,
) -> AlternatingResult:
    """Returns parameters that minimize the squared residual, by alternating solves.

    One sweep visits all axes from right to left and back. On every axis it minimizes

        sum_groups weight || residual ||^2

    over the output layer of that axis exactly, so the loss never rises (up to
    rounding). Hidden layers stay as `model.init` draws them.

    Args:
        problem: linear, separable residuals and conditions, soft or hard.
        model: CP or tensor train, with any factor network.
        points: quadrature points and weights per axis, float64, concrete.
        key: typed random key of the hidden layers and the starting coefficients.
        sweeps: at most this many.
        starts: independent starts, solved together; the one with the lowest loss is
            kept.
        tolerance: stop when no local solve of a sweep changes the residual by more
            than this fraction, in any start.
        balance: how much more the conditions weigh in the first sweeps, at least 1;
            estimated by default. The factor falls to 1 over three quarters of the
            sweeps or seconds, or earlier once the tolerance is met.
        seconds: stop after the sweep in which this much time has passed; planning and
            compilation are not counted.
        report: called with the number of sweeps done and the lowest loss.
        loss: a `FactoredLoss` for this problem, model and points, to save its set-up
            when solving again with another key.
        subspace: solve in spaces of this many functions per axis, chosen for the
            problem among all that the model has (see `_subspaces`); for polynomials
            and Fourier functions. By default in all of them.
        gain: go on to the next weights of the conditions, or stop, when a sweep lowers
            the loss by less than this fraction. 0 goes on through plateaus.

    Returns:
        Parameters, losses after each sweep, and how it went.

    Raises:
        TypeError: a model that is neither CP nor tensor train.
        ValueError: a term that is not separable or not linear in the unknowns, data at
            scattered points, or numbers that make no sense.

    Example:
        >>> import pinns
        >>> problem = pinns.problems.poisson(dimension=4)
        >>> model = pinns.TensorTrain(rank=2, network="legendre", hidden=(8,))
        >>> with jax.enable_x64(True):
        ...     points = problem.box.points(12, "gauss_legendre", dtype="float64")
        ...     key = jax.random.key(0)
        ...     found = solve_als(problem, model, points, key=key, sweeps=20)
        >>> bool(found.losses[-1] < 1e-8)
        True
    """
    began = time.perf_counter()
    check(problem, model, sweeps, starts, tolerance, balance, seconds, subspace, gain)
    with precision("float64"):
        if loss is None:
            loss = FactoredLoss(problem, model, points, choose="factored")
        check_linear(loss)
        solver = _solver(loss, subspace)
        run = _Run(solver, jax.random.split(key, starts), tolerance, gain, report)
        jax.block_until_ready(run.begin(1.0)[2])  # compiles what the sweeps run
        ready = time.perf_counter()
        deadline = None if seconds is None else ready + seconds
        stopped = run.phases(sweeps, balance, deadline)
        losses = np.stack(run.losses, axis=1)
        # A loss below its floor says no more than the floor.
        reached = np.abs(losses[:, -1]) + run.floor
        best = int(np.argmin(np.where(np.isfinite(reached), reached, np.inf)))
        found = solver.finish(best, run.params, run.bases, run.cores)
    kept = np.asarray(run.bases.kept)[best].sum(-1)
    info = AlternatingInfo(
        stopped=stopped,
        best=best,
        start_losses=losses,
        steps=np.stack(run.steps)[:, best],
        condition=float(run.condition[best]),
        refused=int(run.refused[best]),
        features=(int(kept.min()), int(kept.max())),
        floor=float(run.floor[best]),
        balance=run.balance,
        loss_of_zero=run.solver.known,
        setup_seconds=ready - began,
        solve_seconds=time.perf_counter() - ready,
    )
    return AlternatingResult(found, losses[best], info)


class _Run:
    """The sweeps of one call and what they report."""

    def __init__(self, solver: _Solver, keys: Array, tolerance, gain, report):
        self.solver, self.report = solver, report
        self.tolerance, self.gain = tolerance, gain
        self.params, self.bases, self.grams, state = solver.start(keys, solver.data)
        self.cores, self.blank = state
        self.losses: list[np.ndarray] = []
        self.steps: list[np.ndarray] = []
        self.balance = 1.0
        self.condition: Any = None
        self.floor: Any = None
        self.refused: Any = 0

    def begin(self, balance: float) -> tuple[Network, Network, _State, Array]:
        """Returns networks with conditions weighted `balance` times as in the loss."""
        network = self.solver.network(self.grams, balance)
        # The environments hold the weights: build them anew, from the left.
        state = _State(self.cores, self.blank)
        state, values, _ = self.solver.half(network, state, active=False)
        return network, _mirrored_network(network), state, values

    def phases(self, sweeps: int, balance: float | None, deadline) -> str:
        """Sweeps with falling weights of the conditions, at the end those of the loss.

        The phases before the last have a fixed share of sweeps and time.
        """
        if balance is None:
            balance = self.solver.balance(self.begin(1.0)[-1])
        count = min(math.ceil(math.log10(balance)), sweeps // 4)
        self.balance = balance if count else 1.0
        began = time.perf_counter()
        for i in range(count):
            share = BALANCED_SHARE * (i + 1) / count
            until = None if deadline is None else began + share * (deadline - began)
            number = math.ceil(share * sweeps) - len(self.losses)
            if self.phase(number, balance ** (1.0 - i / count), until) == "tolerance":
                break
        return self.phase(sweeps - len(self.losses), 1.0, deadline)

    def phase(self, sweeps: int, balance: float, deadline: float | None) -> str:
        """Sweeps until one of the limits is met, which it returns."""
        network, turned, state, _ = self.begin(balance)
        stopped = "sweeps"
        for done in range(sweeps):
            state, _, back = self.solver.half(turned, state)
            state, values, forth = self.solver.half(network, state)
            self._follow(*jax.device_get((values, back, forth)))
            if np.max(self.steps[-1]) <= self.tolerance:
                stopped = "tolerance"
            elif deadline is not None and time.perf_counter() > deadline:
                stopped = "seconds"
            elif done and self._stands_still():
                stopped = "gain"
            if stopped != "sweeps":
                break
        self.cores = self.solver.turned(state).cores
        return stopped

    def _stands_still(self) -> bool:
        before, now = np.min(self.losses[-2]), np.min(self.losses[-1])
        return bool(self.gain and before - now < self.gain * abs(before))

    def _follow(self, values, back, forth) -> None:
        loss, self.floor = self.solver.loss_of(values)
        self.losses.append(loss)
        self.steps.append(
            np.maximum(np.max(back.step, axis=1), np.max(forth.step, axis=1))
        )
        self.condition = np.max(forth.condition, axis=1)
        self.refused = self.refused + np.sum(back.refused + forth.refused, axis=1)
        if self.report is not None:
            self.report(len(self.losses), float(np.min(self.losses[-1])))


class _Solver:
    """What is the same for all keys: a plan, its arrays and compiled functions."""

    def __init__(self, loss: FactoredLoss, subspace: int | None = None):
        self.loss, self.model = loss, loss.model
        self.axis: Axis = CPAxis if isinstance(loss.model, CP) else TrainAxis
        self.dimension = loss.forms.dimension
        d, model = self.dimension, loss.model
        self.runs = model.runs(d)
        self.shapes = [model.shapes(d)[run[0]] for run in self.runs]
        # One program for all axes of a train, if its small ends are not worth two more.
        widest = model.shapes(d)[d // 2]
        self.padded = (
            isinstance(model, TensorTrain)
            and [len(run) for run in self.runs] == [1, d - 2, 1]
            and widest[0] == widest[-1]
            and math.prod(widest) * (subspace or model.net.num_features) <= PADDED_SIZE
        )
        if self.padded:
            self.runs, self.shapes = [range(d)], [widest]
        self.data = loss.forms.data("float64")
        self.bases = None if subspace is None else self._reduced(subspace)
        self.scales = np.asarray(list(loss.plan.group_weights.values()))
        residual = loss.problem.residual_groups
        groups = loss.plan.group_weights
        self.conditions = np.asarray([g not in residual for g in groups])
        self.known = float(np.sum(self.scales * loss.plan.known_norms()))
        self.links = {
            form.left + form.right: links_of(form)
            for form in loss.plan.bilinear
            if form.left
        }
        self.start = jax.jit(
            jax.vmap(self._start, in_axes=(0, None)), compiler_options=UNOPTIMIZED
        )
        self.finish = jax.jit(self._finish, compiler_options=UNOPTIMIZED)

    def half(self, network: Network, state: _State, *, active: bool = True):
        cores, sides, values, found = _half(self.axis, network, *state, RIDGE, active)
        return _State(cores, sides), values, found

    def turned(self, state: _State) -> _State:
        """Returns a state for a sweep in the other direction; see `mirrored`."""
        return _State(*_turned(self.axis, *state))

    def balance(self, values: Array) -> float:
        """Returns how much stronger the residual is than the conditions, squared.

        From the quadratic parts of both at the starting coefficients, times the
        square of the dimension, over which conditions on faces are averaged twice.
        """
        mean = np.mean(np.asarray(values), axis=0)[0, : len(self.scales)] * self.scales
        weak = np.sum(mean[self.conditions])
        strong = np.sum(mean[~self.conditions])
        if not (weak > 0.0 and strong > weak):
            return 1.0
        return float(self.dimension**2 * strong / weak)

    def loss_of(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the loss of every start from its parts per group, and its floor."""
        quadratic, linear, sizes = values[:, :, : len(self.scales)].swapaxes(0, 1)
        floor = 4.0 * np.finfo(np.float64).eps * (self.known + sizes @ self.scales)
        return self.known + (quadratic + linear) @ self.scales, floor

    def _start(self, key: Array, data) -> tuple[Params, Bases, dict, _State]:
        k_params, k_cores = jax.random.split(key)
        forms = self.loss.forms
        params = self.model.init(
            k_params,
            forms.plan.problem.box,
            unknowns=forms.unknowns,
            dtype="float64",
        )
        jets = feature_jets(forms, params, data)
        bases = self.bases
        if bases is None:
            bases = orthonormal(jets[0], data.weights["interior"], TRUNCATION)
        grams = all_grams(forms, jets, bases, data)
        cores = self._cores(k_cores, bases)
        states = {key: links.shape[-1] for key, links in self.links.items()}
        sides = no_sides(states, cores)
        return params, bases, grams, _State(cores, sides)

    def _reduced(self, size: int) -> Bases:
        """Returns spaces of a few functions; the features do not depend on a key."""
        box, unknowns = self.loss.problem.box, self.loss.forms.unknowns

        def features(key):
            params = self.model.init(key, box, unknowns=unknowns, dtype="float64")
            return feature_jets(self.loss.forms, params, self.data)

        jets = jax.jit(features, compiler_options=UNOPTIMIZED)(jax.random.key(0))
        return reduced(self.loss.plan, [np.asarray(j) for j in jets], size, TRUNCATION)

    def network(self, grams: dict[tuple[int, ...], Array], balance: float) -> Network:
        """Returns the forms, weighted by group, with Gram matrices of all starts."""
        chains = {}
        scales = np.where(self.conditions, balance, 1.0) * self.scales
        for key, links in self.links.items():
            start, end = (np.zeros(links.shape[-1]) for _ in range(2))
            start[0], end[: len(scales)] = 1.0, scales
            chains[key] = Chain(
                jnp.asarray(links), grams[key], jnp.asarray(start), jnp.asarray(end)
            )
        return Network(
            {key: chain for key, chain in chains.items() if len(key) == 2},
            {key: chain for key, chain in chains.items() if len(key) == 1},
        )

    def _cores(self, key: Array, bases: Bases) -> list[Array]:
        """Returns coefficients of functions near a constant, per run (l, u, *shape).

        The random part is 1/sqrt(d) of it on every axis: so the norm of their
        product, and its overlap with smooth functions, do not depend on d.
        """
        out = []
        decay = (
            SPREAD / np.sqrt(self.dimension) / (1.0 + np.arange(bases.kept.shape[-1]))
        )
        spread = jnp.where(bases.kept, jnp.asarray(decay), 0.0)
        keys = jax.random.split(key, len(self.runs))
        for run, shape, k in zip(self.runs, self.shapes, keys, strict=True):
            axes = slice(run[0], run[-1] + 1)
            ones, own = (x[:, axes].swapaxes(0, 1) for x in (bases.ones, spread))
            # Inner cores of a train start as the identity: parallel constants.
            inner = len(shape) == 2 and 1 not in shape
            flat = jnp.eye(shape[0], shape[1]) if inner else jnp.ones(shape)
            noise = jax.random.normal(k, (*ones.shape, *shape))
            wide = (*ones.shape, *(1,) * len(shape))
            core = ones.reshape(wide) * flat.reshape(1, 1, 1, *shape)
            core = core + own.reshape(wide) * noise
            out.append(core if len(shape) == 1 else core.swapaxes(2, 3))
        if not self.padded:
            return out
        (core,) = out
        edge = jnp.sum(core[:1], axis=2, keepdims=True)
        core = core.at[:1].set(_pad(edge, 2, core.shape[2]))
        edge = jnp.sum(core[-1:], axis=4, keepdims=True)
        return [core.at[-1:].set(_pad(edge, 4, core.shape[4]))]

    def _finish(self, best: Array, params: Params, bases: Bases, cores) -> Params:
        """Returns the parameters of one start, with its output layers."""
        params, bases, cores = jax.tree.map(lambda x: x[best], (params, bases, cores))
        return with_outputs(self.model, params, self.outputs(bases, cores))

    def outputs(self, bases: Bases, cores: list[Array]) -> list[Array]:
        """Returns the matrices of the output layers, per run (u, l, h, *shape)."""
        train = self.axis is TrainAxis
        subscripts = "uahk,auxky->uahxy" if train else "uahk,aukr->uahr"
        if self.padded:
            core = cores[0]
            cores = [core[:1, :, :1], core[1:-1], core[-1:, ..., :1]]
        done, out = 0, []
        for core in cores:
            transform = bases.transform[:, done : done + core.shape[0]]
            done += core.shape[0]
            out.append(jnp.einsum(subscripts, transform, core))
        return out


def _pad(array: Array, axis: int, size: int) -> Array:
    widths = [(0, size - n if k == axis else 0) for k, n in enumerate(array.shape)]
    return jnp.pad(array, widths)


# Links are the same for all starts, Gram matrices are not: networks are drawn.
_LINKS = Chain(None, 0, None, None)  # type: ignore[arg-type]


@partial(jax.jit, static_argnums=0)
def _half(axis: Axis, network: Network, cores, sides, ridge, active):
    def one(network, cores, sides):
        cores, left, values, found = half_sweep(
            axis, network, cores, sides, ridge, active
        )
        return *mirrored(axis, cores, left), values, found

    axes = jax.tree.map(
        lambda _: _LINKS, network, is_leaf=lambda x: isinstance(x, Chain)
    )
    return jax.vmap(one, in_axes=(axes, 0, 0))(network, cores, sides)


@partial(jax.jit, static_argnums=0)
def _turned(axis: Axis, cores, sides):
    return jax.vmap(partial(mirrored, axis))(cores, sides)


_mirrored_network = jax.jit(mirrored_network)


@lru_cache(maxsize=4)
def _solver(loss: FactoredLoss, subspace: int | None) -> _Solver:
    return _Solver(loss, subspace)


__all__ = ["AlternatingInfo", "AlternatingResult", "solve_als"]
