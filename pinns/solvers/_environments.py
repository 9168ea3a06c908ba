"""Half a sweep of alternating least squares: the axes from left to right, once.

The squared residual is a quadratic function of the coefficients of every single axis,

    sum_{e, e'} C_e N_{ee'} C_e' + 2 sum_e g_e C_e + known,

whose matrix is a sum over the edges of the plan's automaton (weight w, from state s
to state t, Gram matrix K) of `w L_s x K x R_t`. The environments L_s and R_t hold the
axes to the left and to the right, one small array per state:

- CP: L_s, R_t are (rank, rank) and multiply elementwise; C is (k, rank).
- tensor train: L_s is (r, r), R_t is (r', r'); C is (r, k, r'). First and last core
  may be padded with zeros to the shape of those between: entries without a diagonal
  are left as they are.

A sweep to the left is a sweep to the right of the mirrored network (`mirrored`), so
one compiled program serves both. Axes of equal shape are scanned: the program does
not grow with their number.

After each solve the coefficients are normalized and what is taken out moves to the
next axis: CP columns to unit length, tensor-train cores to orthonormal columns (QR;
the basis is orthonormal, so this is orthogonality of functions). Nothing overflows
and the local matrices keep their condition, however many axes there are.

Source: Holtz, Rohwedder & Schneider, The alternating linear scheme for tensor
optimization in the tensor train format, 2012, section 3; Beylkin & Mohlenkamp,
Algorithms for numerical analysis in high dimensions, 2005, section 3, for CP.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


# Corrections per local system: each repeats the solve with the residual recomputed.
CORRECTIONS = 2


class Chain(NamedTuple):
    """One form along the axes, with everything that sweeps leave as it is.

    links: (d, combos, S, S) weights of the edges, from state to state. grams:
    (d, combos, k, k), or (d, combos, k) against known functions. start, end: (S,).
    """

    links: Array
    grams: Array
    start: Array
    end: Array


class Network(NamedTuple):
    """quadratic: {(unknown, unknown): Chain}. linear: {(unknown,): Chain}."""

    quadratic: dict[tuple[int, int], Chain]
    linear: dict[tuple[int], Chain]


class Found(NamedTuple):
    """What a solve reports.

    step: change of the residual relative to its linear part. condition: of the
    equilibrated matrix, estimated from its Cholesky factor. refused: solves whose
    result was not finite and left the coefficients as they were.
    """

    step: Array
    condition: Array
    refused: Array


class CPAxis:
    """Local systems of CP: coefficients (k, rank), environments (rank, rank)."""

    @staticmethod
    def local(links, gram, left, right) -> Float[Array, "m m"]:
        states = jnp.einsum("kst,srq->ktrq", links, left)
        weights = jnp.einsum("ktrq,trq->krq", states, right)
        found = jnp.einsum("krq,khg->hrgq", weights, gram)
        return found.reshape(found.shape[0] * found.shape[1], -1)

    @staticmethod
    def local_known(links, vector, left, right) -> Float[Array, " m"]:
        weights = jnp.einsum("kst,sr,tr->kr", links, left, right)
        return jnp.einsum("kr,kh->hr", weights, vector).reshape(-1)

    @staticmethod
    def absorb(links, gram, a, b, left) -> Array:
        inner = jnp.einsum("hr,khg,gq->krq", a, gram, b)
        return jnp.einsum("kst,srq,krq->trq", links, left, inner)

    @staticmethod
    def absorb_known(links, vector, a, left) -> Array:
        inner = jnp.einsum("hr,kh->kr", a, vector)
        return jnp.einsum("kst,sr,kr->tr", links, left, inner)

    @staticmethod
    def edge(vector: Array, core: Array, other: Array | None) -> Array:
        shape = (core.shape[-1],) if other is None else (core.shape[-1],) * 2
        wide = vector.reshape(-1, *(1,) * len(shape))
        return jnp.broadcast_to(wide, (vector.size, *shape))

    @staticmethod
    def normalized(core) -> tuple[Array, Array]:
        size = jnp.linalg.norm(core, axis=0)
        safe = jnp.where(size > 0.0, size, 1.0)
        return core / safe[None, :], size

    @staticmethod
    def receive(taken, core) -> Array:
        return core * taken[None, :]

    @staticmethod
    def nothing(core) -> Array:
        """Returns what a first axis receives."""
        return jnp.ones(core.shape[-1], core.dtype)

    @staticmethod
    def mirrored(cores: Array) -> Array:
        return cores


class TrainAxis:
    """Local systems of the tensor train: coefficients (r, k, r')."""

    @staticmethod
    def local(links, gram, left, right) -> Float[Array, "m m"]:
        states = jnp.einsum("kst,sab->ktab", links, left)
        sides = jnp.einsum("ktab,tcd->kabcd", states, right)
        found = jnp.einsum("kabcd,khg->ahcbgd", sides, gram)
        return found.reshape(found.shape[0] * found.shape[1] * found.shape[2], -1)

    @staticmethod
    def local_known(links, vector, left, right) -> Float[Array, " m"]:
        sides = jnp.einsum("kst,sa,tc->kac", links, left, right)
        return jnp.einsum("kac,kh->ahc", sides, vector).reshape(-1)

    @staticmethod
    def absorb(links, gram, a, b, left) -> Array:
        states = jnp.einsum("kst,sab->ktab", links, left)
        half = jnp.einsum("ktab,ahc->ktbhc", states, a)
        full = jnp.einsum("ktbhc,khg->tbgc", half, gram)
        return jnp.einsum("tbgc,bgd->tcd", full, b)

    @staticmethod
    def absorb_known(links, vector, a, left) -> Array:
        states = jnp.einsum("kst,sa->kta", links, left)
        return jnp.einsum("kta,ahc,kh->tc", states, a, vector)

    @staticmethod
    def edge(vector: Array, core: Array, other: Array | None) -> Array:
        # Beyond the first index a padded first core has rows of zeros.
        width = core.shape[-3] - 1
        first = vector.reshape(-1, *(1,) * (1 if other is None else 2))
        return jnp.pad(first, ((0, 0), *((0, width),) * (first.ndim - 1)))

    @staticmethod
    def normalized(core) -> tuple[Array, Array]:
        r, k, s = core.shape
        q, taken = jnp.linalg.qr(core.reshape(r * k, s))
        missing = s - q.shape[1]
        q = jnp.pad(q, ((0, 0), (0, missing)))
        return q.reshape(r, k, s), jnp.pad(taken, ((0, missing), (0, 0)))

    @staticmethod
    def receive(taken, core) -> Array:
        return jnp.einsum("ca,akb->ckb", taken, core)

    @staticmethod
    def nothing(core) -> Array:
        return jnp.eye(core.shape[-3], dtype=core.dtype)

    @staticmethod
    def mirrored(cores: Array) -> Array:
        return cores.swapaxes(-3, -1)


Axis = type[CPAxis] | type[TrainAxis]
# Per run of axes of equal shape: coefficients (axes, unknowns, *shape), and per form
# the environments on one side of every axis, (axes, S, ...).
Cores = list[Array]
Sides = list[dict[Any, Array]]


def links_of(form) -> np.ndarray:
    """Returns the edges of a form's automaton as weights (d, combos, S, S)."""
    t = form.table
    depth = t.weight.shape[0]
    out = np.zeros((depth, len(form.combos), t.states, t.states))
    level = np.broadcast_to(np.arange(depth)[:, None], t.weight.shape)
    np.add.at(out, (level, t.symbol, t.source, t.target), t.weight)
    return out


def mirrored_network(network: Network) -> Network:
    """Returns the same network read from right to left; grams (starts, d, ...)."""

    def turn(chain: Chain) -> Chain:
        return Chain(
            chain.links[::-1].swapaxes(-1, -2),
            chain.grams[:, ::-1],
            chain.end,
            chain.start,
        )

    return Network(
        {key: turn(chain) for key, chain in network.quadratic.items()},
        {key: turn(chain) for key, chain in network.linear.items()},
    )


def mirrored(axis: Axis, cores: Cores, sides: Sides) -> tuple[Cores, Sides]:
    """Returns coefficients and environments for the mirrored network."""
    return (
        [axis.mirrored(c)[::-1] for c in cores[::-1]],
        [{key: side[::-1] for key, side in run.items()} for run in sides[::-1]],
    )


def no_sides(states: dict[Any, int], cores: Cores) -> Sides:
    """Returns zeros in place of environments on the right, for a start.

    `states`: of the automaton, by the keys of a network.
    """
    return [
        {
            key: jnp.zeros((run.shape[0], count, *run.shape[-1:] * len(key)))
            for key, count in states.items()
        }
        for run in cores
    ]


def half_sweep(
    axis: Axis, network: Network, cores: Cores, right: Sides, ridge, active
) -> tuple[Cores, Sides, Array, Found]:
    """Solves every axis once, from left to right.

    Args:
        axis: `CPAxis` or `TrainAxis`.
        network: the forms.
        cores: per run of axes (l, u, *shape); all but the first normalized.
        right: per run the environments to the right of its axes.
        ridge: relative to the diagonal of the equilibrated matrix; it draws to the
            present coefficients, not to zero, so that it does not move the solution.
        active: False only normalizes and builds the environments.

    Returns:
        New coefficients, all but the last normalized; the environments to the left
        of the axes; per final state of the automata the value of the quadratic
        function, (3, S): quadratic part, linear part, sum of the absolute values of
        what both are made of; what the solves report, in order.
    """
    first = cores[0][0]
    left: dict[Any, Array] = {
        key: axis.edge(chain.start, first[0], first[0])
        for key, chain in network.quadratic.items()
    }
    for key, chain in network.linear.items():
        left[key] = axis.edge(chain.start, first[0], None)
    taken = jax.vmap(axis.nothing)(first)
    total = sum(run.shape[0] for run in cores)
    done = 0
    out: Cores = []
    sides: Sides = []
    reports: list[Found] = []
    for run, own_right in zip(cores, right, strict=True):
        count = run.shape[0]
        levels = slice(done, done + count)
        done += count
        chains = jax.tree.map(
            lambda x, levels=levels: x[levels],
            [
                {k: (c.links, c.grams) for k, c in network.quadratic.items()},
                {k: (c.links, c.grams) for k, c in network.linear.items()},
            ],
        )
        last = jnp.arange(levels.start, levels.stop) == total - 1

        def body(carry, level):
            return _axis(axis, ridge, active, carry, level)

        inputs = (chains, run, own_right, last)
        if count == 1:
            one = jax.tree.map(lambda x: x[0], inputs)
            (left, taken), found = body((left, taken), one)
            found = jax.tree.map(lambda x: x[None], found)
        else:
            (left, taken), found = lax.scan(body, (left, taken), inputs)
        out.append(found[0])
        sides.append(found[1])
        reports.append(found[2])
    report = jax.tree.map(lambda *parts: jnp.concatenate(parts), *reports)
    return out, sides, _values(left), report


def _values(ends: dict[Any, Array]) -> Float[Array, "3 s"]:
    """Returns quadratic and linear part and what was added up to them, per state."""
    states = min(end.shape[0] for end in ends.values())
    total = jnp.zeros((3, states))
    for key, end in ends.items():
        flat = end[:states].reshape(states, -1)
        factor = 1.0 if len(key) == 2 else 2.0
        total = total.at[2 - len(key)].add(factor * flat.sum(1))
        total = total.at[2].add(factor * jnp.abs(flat).sum(1))
    return total


def _axis(axis: Axis, ridge, active, carry, level):
    """Solves one axis and moves on to the next."""
    left, taken = carry
    (quadratic, linear), core, right, last = level
    core = jax.vmap(axis.receive)(taken, core)
    unknowns, size = core.shape[0], core[0].size
    zero = jnp.zeros((size, size), core.dtype)
    blocks = [[zero] * unknowns for _ in range(unknowns)]
    for (u, v), (links, gram) in quadratic.items():
        blocks[u][v] = axis.local(links, gram, left[u, v], right[u, v])
    sides = [jnp.zeros(size, core.dtype)] * unknowns
    for (u,), (links, vector) in linear.items():
        sides[u] = axis.local_known(links, vector, left[u,], right[u,])
    matrix, side = jnp.block(blocks), jnp.concatenate(sides)
    solved, found = _solved(matrix, side, core.reshape(-1), ridge, active)
    core = solved.reshape(core.shape)
    normalized, taken = jax.vmap(axis.normalized)(core)
    core = jnp.where(last, core, normalized)
    following: dict[Any, Array] = {
        (u, v): axis.absorb(links, gram, core[u], core[v], left[u, v])
        for (u, v), (links, gram) in quadratic.items()
    }
    for (u,), (links, vector) in linear.items():
        following[u,] = axis.absorb_known(links, vector, core[u], left[u,])
    return (following, taken), (core, left, found)


def _solved(matrix, side, start, ridge, active) -> tuple[Array, Found]:
    """Minimizes `x^T matrix x + 2 side^T x`, drawn to `start` by the ridge."""
    diagonal = jnp.diagonal(matrix)
    there = diagonal > 1e-300
    inverse = jnp.where(there, lax.rsqrt(jnp.where(there, diagonal, 1.0)), 0.0)
    scaled = matrix * inverse[:, None] * inverse[None, :]
    scaled = 0.5 * (scaled + scaled.T)
    shift = jnp.where(there, ridge, 1.0)
    factor = jnp.linalg.cholesky(scaled + jnp.diag(shift), symmetrize_input=False)
    x = start
    for _ in range(CORRECTIONS):
        gap = -(matrix @ x + side) * inverse
        x = x + inverse * jax.scipy.linalg.cho_solve((factor, True), gap)
    fine = jnp.isfinite(x).all()
    x = jnp.where(fine & active, x, start)
    image = matrix @ x
    change = x - start
    size = jnp.sqrt(jnp.maximum(x @ image, 0.0))
    moved = jnp.sqrt(jnp.maximum(change @ (matrix @ change), 0.0))
    pivots = jnp.where(there, jnp.diagonal(factor), 1.0)
    found = Found(
        step=moved / jnp.where(size > 0.0, size, 1.0),
        condition=jnp.square(jnp.max(pivots) / jnp.min(pivots)),
        refused=(~fine).astype(jnp.int32),
    )
    return x, found
