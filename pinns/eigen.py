"""`ground_state(problem, model)`: smallest eigenvalue and eigenfunction of an operator.

Minimizes the Rayleigh quotient `<u, H u> / <u, u>` over the functions a separable model
can represent. Both forms are evaluated factored (`pinns.factored.quotient`): a step
costs one sweep over the axes in any dimension. For a symmetric operator the quotient is
an upper bound of the smallest eigenvalue, up to quadrature.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from pinns.certificate import OverfitWarning
from pinns.domain import AxisPoints, positive_integer, positive_number, precision
from pinns.eigenproblem import Eigenproblem
from pinns.factored import FactoredLoss
from pinns.factored.quotient import RayleighQuotient, finite
from pinns.factored.sums import NotSeparableError
from pinns.factors import FIXED as FIXED_NETWORKS
from pinns.separable import Params, Separable, TensorTrain
from pinns.solution import History, Solution


METHODS = ("auto", "alternating", "lbfgs")
# What `pinns.solve` calls them.
SOLVE_METHODS = {"auto": "auto", "als": "alternating", "lbfgs": "lbfgs"}
STEPS = {"alternating": 50, "lbfgs": 2000}
MIN_POINTS = 64
# L-BFGS steps per compiled block; the tolerance is tested after each.
BLOCK = 50
# Largest relative change of the energy by a finer quadrature without a warning.
MAX_CHANGE = 1e-4
# Without a model: functions per axis, largest rank, and the relative fall of the
# energy that is not worth another rank.
FUNCTIONS, MAX_RANK, SETTLED = 48, 4, 1e-9
# Directions of smaller relative norm than this carry no information in a local solve.
NULL = 1e-13


class GroundState(NamedTuple):
    """What `ground_state` found.

    energy: the Rayleigh quotient, integrated with twice as many points as it was
    minimized on. solution: the eigenfunction, its square integrating
    to one, positive in the mean; the problem has the energy in its residual.
    residual: `||H u - E u|| / ||u||`; for a symmetric operator some eigenvalue lies
    within this distance of the energy (Krylov-Weinstein). energies: after every sweep
    or block of steps. converged: the last change was below the tolerance.
    """

    energy: float
    solution: Solution
    residual: float
    energies: np.ndarray
    converged: bool


def ground_state(
    problem: Eigenproblem,
    model: Separable,
    method: str = "auto",
    *,
    key: Array,
    points: int | Sequence[int] | Mapping[str, int] | None = None,
    steps: int | None = None,
    tolerance: float = 1e-12,
) -> GroundState:
    """Returns the smallest eigenvalue of the problem's operator, and its eigenfunction.

    Methods:

    - `"alternating"`: the last linear layers are unknown, one axis at a time. In each
      the quotient is a small symmetric eigenproblem `A x = E M x`, solved exactly;
      A and M are Hessians of the two forms. For fixed bases this is all there is to
      find; hidden layers of networks stay as they were drawn.
    - `"lbfgs"`: all parameters by L-BFGS with line search.
    - `"auto"`: alternating for fixed bases, else lbfgs.

    Works in float64. In tensor-train form the local problems have the size
    `basis functions * r^2`; keep it to a few hundred.

    Args:
        problem: with `Dirichlet(0.0, hard=True)` on all faces.
        model: CP, tensor train or Tucker.
        method: one of `METHODS`.
        key: typed random key for the parameters to start from.
        points: Gauss-Legendre points per axis; by default 64, or three times the
            width of the last hidden layer. Too few, and the quotient can fall below
            the eigenvalue.
        steps: sweeps over all axes (alternating, default 50) or steps (lbfgs, 2,000).
        tolerance: stop when the energy changes by less, relative to its size.

    Warns:
        OverfitWarning: the energy changes by more than 1e-4 of its size when
            integrated with twice as many points.

    Raises:
        TypeError: not an `Eigenproblem`, a separable model or a typed key.
        ValueError: bad options, other conditions, an operator that is not linear or
            cannot be factored.
        FloatingPointError: the energy became NaN or Inf.

    Example:
        >>> import jax, pinns
        >>> problem = pinns.problems.harmonic_oscillator(dimension=2)
        >>> model = pinns.CP(rank=1, network="legendre", hidden=(30,))
        >>> found = ground_state(problem, model, key=jax.random.key(0))
        >>> round(found.energy, 5)
        1.0

    Source: Beylkin & Mohlenkamp, Algorithms for numerical analysis in high
    dimensions, SIAM J. Sci. Comput. 26 (2005); for tensor trains Holtz, Rohwedder &
    Schneider, The alternating linear scheme for tensor optimization in the
    tensor-train format, SIAM J. Sci. Comput. 34 (2012).
    """
    owner = "pinns.ground_state"
    method, steps = _check(owner, problem, model, method, key, steps, tolerance)
    box = problem.box
    width = 3 * model.net.num_features
    wanted = max(MIN_POINTS, width) if points is None else points
    counts = box.counts(wanted, owner=owner)
    began = time.perf_counter()
    with precision("float64"):
        rule = box.points(counts, "gauss_legendre", dtype="float64")
        try:
            quotient = RayleighQuotient(problem, model, rule)
        except NotSeparableError as error:
            raise ValueError(
                f"{owner}: the operator is not separable: {error}"
            ) from None
        params = model.init(key, box, dtype="float64")
        run = _alternating if method == "alternating" else _lbfgs
        params, energies, converged = run(
            quotient, model, params, steps, float(tolerance)
        )
        energy = float(energies[-1])
        if not (math.isfinite(energy) and finite(params)):
            raise FloatingPointError(
                f"{owner}: the energy became {energy} after {len(energies)} "
                "sweeps or blocks; other points, bases or another key may help"
            )
        finer = box.points(
            [2 * n + 1 for n in counts], "gauss_legendre", dtype="float64"
        )
        energy = _checked(owner, problem, model, params, finer, energy)
        params = _normalized(quotient, model, params, rule)
        found = problem.with_energy(energy)
        residual = _residual(found, model, params, finer)
    spent = time.perf_counter() - began
    solution = Solution(
        problem=found,
        model=model,
        params=params,
        dtype="float64",
        history=History(problem.groups),
        result="finished",
        step=len(energies),
        settings={
            "method": method,
            "points": list(counts),
            "tolerance": float(tolerance),
            "learning_rate": None,
        },
        timings={
            "build_seconds": 0.0,
            "compile_seconds": 0.0,  # counted with the solve
            "solve_seconds": spent,
            "steps_per_second": len(energies) / max(spent, 1e-9),
        },
    )
    return GroundState(energy, solution, residual, energies, converged)


def solve_eigenproblem(
    problem: Eigenproblem,
    model: Any,
    method: str,
    key: Any,
    points: int | Sequence[int] | Mapping[str, int] | None,
    steps: int | None,
    others: Mapping[str, Any],
) -> Solution:
    """Returns the ground state as a solution; what `pinns.solve` does by itself.

    Without a model: tensor trains of rising rank in `FUNCTIONS` Legendre polynomials
    per axis, up to one that lowers the energy by less than `SETTLED` of it.

    Raises:
        ValueError: one of `others`, arguments of `pinns.solve`, is given; a method
            that minimizes the residual, which is least at u = 0.
    """
    if method not in SOLVE_METHODS:
        raise ValueError(
            f"pinns.solve: `method` of an eigenproblem must be one of "
            f"{', '.join(SOLVE_METHODS)}, got {method!r}: its equation is homogeneous, "
            "and other methods would find u = 0"
        )
    method = SOLVE_METHODS[method]
    for name, value in others.items():
        if value is not None:
            raise ValueError(
                f"pinns.solve: `{name}` does not belong to an eigenproblem, which "
                "pinns.ground_state solves (by model, key, points and steps), got "
                f"{value!r}"
            )
    why = "an eigenproblem: its smallest eigenvalue"
    if model is not None:
        found = ground_state(
            problem, model, method, key=key, points=points, steps=steps
        )
    else:
        energies: list[float] = []
        largest = MAX_RANK if problem.box.dimension > 1 else 1
        for rank in range(1, largest + 1):
            one = TensorTrain(rank=rank, network="legendre", hidden=(FUNCTIONS,))
            tried = ground_state(
                problem, one, method, key=key, points=points, steps=steps
            )
            energies.append(tried.energy)
            if rank == 1 or tried.energy < found.energy:
                found = tried
            fall = energies[-2] - energies[-1] if rank > 1 else math.inf
            if fall <= SETTLED * abs(energies[-1]):
                break
        tries = ", ".join(f"{e:.10g}" for e in energies)
        why += f", with rank 1 to {len(energies)}: {tries}"
    solution = found.solution
    solution.settings.update(
        reason=why,
        energy=found.energy,
        residual=found.residual,
        loss="quotient",
        dtype="float64",
        sampling=["gauss_legendre"] * problem.box.dimension,
        redraw_every=None,
        key=np.asarray(jax.random.key_data(key)).tolist(),
        key_impl=str(jax.random.key_impl(key)),
    )
    return solution


def _check(owner, problem, model, method, key, steps, tolerance) -> tuple[str, int]:
    if not isinstance(problem, Eigenproblem):
        raise TypeError(
            f"{owner}: `problem` must be a pinns.Eigenproblem, got {problem!r}"
        )
    if not isinstance(model, Separable):
        raise TypeError(
            f"{owner}: `model` must be pinns.CP, TensorTrain or Tucker, got {model!r}"
        )
    if method not in METHODS:
        raise ValueError(
            f"{owner}: `method` must be one of {', '.join(METHODS)}, got {method!r}"
        )
    typed = isinstance(key, jax.Array) and key.shape == ()
    if not typed or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"{owner}: `key` must be a typed random key such as jax.random.key(0), "
            f"got {key!r}"
        )
    positive_number(tolerance, owner, "tolerance")
    if method == "auto":
        method = "alternating" if model.network in FIXED_NETWORKS else "lbfgs"
    steps = STEPS[method] if steps is None else positive_integer(steps, owner, "steps")
    flags = problem.hard.exponents()
    everywhere = flags is not None and flags[0][:, [0, 2]].all()
    if len(problem.terms) > 1 or problem.lifts[0] is not None or not everywhere:
        raise ValueError(
            f"{owner}: the conditions must be Dirichlet(0.0, hard=True) on all faces, "
            f"got {problem!r}"
        )
    return method, steps


def _alternating(quotient, model, params, steps: int, tolerance: float):
    blocks = _blocks(quotient, params)
    data = quotient.data()
    local = jax.jit(partial(_local, quotient, model), static_argnums=2)
    energies: list[float] = []
    for _ in range(steps):
        for group, position in blocks:
            forms = local(params, data, group, position)
            energy, block = _lowest(*map(np.asarray, forms))
            params = _replaced(model, params, group, position, jnp.asarray(block))
        energies.append(energy)
        if _settled(energies, tolerance):
            return params, np.asarray(energies), True
    return params, np.asarray(energies), False


def _blocks(quotient: RayleighQuotient, params: Params) -> list[tuple[str, int]]:
    """Returns (group, position) of every axis in order; the Tucker core comes last."""
    model = quotient.forms.model
    places: dict[int, tuple[str, int]] = {}
    for width, members in model.groups(quotient.forms.dimension, 1).items():
        for position, (_, axis) in enumerate(members):
            places[axis] = (f"factors_{width}", position)
    blocks = [places[axis] for axis in sorted(places)]
    return blocks + ([("core", 0)] if "core" in params else [])


def _block(model: Separable, params: Params, group: str, position) -> Array:
    if group == "core":
        return params["core"][0]
    one = jax.tree.map(lambda leaf: leaf[position], params[group])
    return model.net.output(one)


def _replaced(model: Separable, params: Params, group: str, position, block) -> Params:
    if group == "core":
        return {**params, "core": block.reshape(params["core"].shape)}
    one = jax.tree.map(lambda leaf: leaf[position], params[group])
    shape = model.net.output(one).shape
    one = model.net.with_output(one, block.reshape(shape))
    stack = jax.tree.map(lambda s, p: s.at[position].set(p), params[group], one)
    return {**params, group: stack}


def _local(quotient, model, params, data, group: str, position) -> Array:
    """Returns the symmetric matrices (2, m, m) of both forms in one block."""

    def forms(flat):
        return quotient(_replaced(model, params, group, position, flat), data)

    flat = _block(model, params, group, position).reshape(-1)
    return 0.5 * jax.hessian(forms)(flat)


def _lowest(applied: np.ndarray, mass: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns the smallest eigenvalue of `A x = E M x` and its x, of norm one in M."""
    scale = np.sqrt(np.maximum(np.diag(mass), 0.0))
    inverse = np.where(scale > 0.0, 1.0 / np.where(scale > 0.0, scale, 1.0), 0.0)
    sizes, vectors = np.linalg.eigh(inverse[:, None] * mass * inverse[None, :])
    kept = sizes > NULL * sizes[-1]
    basis = inverse[:, None] * vectors[:, kept] / np.sqrt(sizes[kept])[None, :]
    values, states = np.linalg.eigh(basis.T @ applied @ basis)
    return float(values[0]), basis @ states[:, 0]


def _lbfgs(quotient, model, params, steps: int, tolerance: float):
    data = quotient.data()

    def objective(p):
        operator, identity = quotient(p, data)
        return operator / identity

    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)

    def step(carry, _):
        p, state = carry
        value, grad = value_and_grad(p, state=state)
        updates, state = optimizer.update(
            grad, state, p, value=value, grad=grad, value_fn=objective
        )
        return (optax.apply_updates(p, updates), state), value

    run = jax.jit(lambda carry: jax.lax.scan(step, carry, None, length=BLOCK))
    final = jax.jit(objective)
    carry = (params, optimizer.init(params))
    energies: list[float] = []
    for _ in range(-(-steps // BLOCK)):
        carry, _ = run(carry)
        energies.append(float(final(carry[0])))
        if _settled(energies, tolerance) or not math.isfinite(energies[-1]):
            return carry[0], np.asarray(energies), math.isfinite(energies[-1])
    return carry[0], np.asarray(energies), False


def _settled(energies: Sequence[float], tolerance: float) -> bool:
    if len(energies) < 2:
        return False
    last, before = energies[-1], energies[-2]
    return abs(last - before) <= tolerance * max(abs(last), abs(before))


def _normalized(quotient, model, params: Params, rule: Sequence[AxisPoints]) -> Params:
    """Returns u scaled so that its square integrates to one, its mean not negative."""
    box = quotient.plan.problem.box
    volume = math.prod(b - a for a, b in box.intervals)
    mean_square = float(jax.jit(quotient.__call__)(params, quotient.data())[1])

    @jax.jit
    def mean(p):
        jets = model.factors(
            p,
            box,
            [q.coordinates for q in rule],
            envelope=quotient.forms.envelope,
        )[0]
        # Every factor integrated: the contraction is linear in each.
        ones = [
            jnp.tensordot(jnp.asarray(q.weights), values, axes=(0, 0))[None]
            for (values,), q in zip(jets, rule, strict=True)
        ]
        return model.pointwise_contraction(model.core(p), ones)[0]

    scale = 1.0 / math.sqrt(mean_square * volume)
    if float(mean(params)) < 0.0:
        scale = -scale
    group, position = _blocks(quotient, params)[0]
    block = _block(model, params, group, position)
    return _replaced(model, params, group, position, scale * block)


def _checked(owner, problem, model, params, rule, seen: float) -> float:
    """Returns the energy by a finer rule; warns where it differs from the one seen."""
    quotient = RayleighQuotient(problem, model, rule)
    operator, identity = np.asarray(jax.jit(quotient.__call__)(params, quotient.data()))
    energy = float(operator / identity)
    if not abs(energy - seen) <= MAX_CHANGE * abs(energy):
        warnings.warn(
            f"{owner}: the energy is {seen:.6g} with the quadrature points it was "
            f"minimized on and {energy:.6g} with twice as many: the function hides "
            "between the points; take more points, or another network or basis",
            OverfitWarning,
            stacklevel=3,
        )
    return energy


def _residual(problem, model, params, rule: Sequence[AxisPoints]) -> float:
    loss = FactoredLoss(problem, model, rule, choose="factored")
    _, groups = jax.jit(loss.__call__)(params, loss.prepare(rule))
    volume = math.prod(b - a for a, b in problem.box.intervals)
    return math.sqrt(max(float(groups[0]) * volume, 0.0))


__all__ = ["GroundState", "ground_state"]
