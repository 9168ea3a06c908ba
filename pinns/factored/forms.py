"""Inner products of factored functions: one sweep over the axes, no grid.

A `Form` (see `pinns.factored.plan`) is a sum over pairs of words; the sweep carries
one partial inner product per state of its automaton:

- CP: an (R_a, R_b) matrix per state, multiplied elementwise by Gram matrices
  `A_v^T diag(w) B_w` of factor versions; O(d n R^2).
- tensor train: an (r_a, r_b) matrix per state, passed through the transfer
  `sum_n w(n) A_v(n)^T M B_w(n)`; O(d n r^3).
- Tucker: a tensor of the core's size per state, whose first index is contracted with
  a Gram matrix and comes back as the last one; O(d R^(d+1)).

Long runs of equal axes are swept by `lax.scan`: the program does not grow with d.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from pinns.factored.coefficients import parameter_core, with_parameters
from pinns.factored.grams import SharedGram, gram_matrices, split_rows
from pinns.factored.plan import Family, Form, Plan
from pinns.separable import Params, Separable


# Partial inner products by state of the automaton; zero where there is none.
States = dict[int, Array]
# Runs of more axes than this are scanned, shorter ones unrolled; the transfers of an
# axis of tensor trains are several times the program of a product of Gram matrices.
UNROLLED = 8
UNROLLED_TRANSFERS = 4


class Data(NamedTuple):
    """Arrays of a plan on a device. coordinates: (d, N). weights: (d, N) by measure.

    multipliers: (d, V, N) by family.
    """

    coordinates: Array
    weights: dict[str, Array]
    multipliers: dict[Family, Array]


class Side(NamedTuple):
    """One side of an inner product: factor versions per family and run, and cores.

    versions: per family one (levels, V, N, *shape) array per run of axes.
    cores: per family, for Tucker; None otherwise. scales: products of unknown numbers,
    per family that has any.
    """

    versions: dict[Family, list[Array]]
    cores: dict[Family, Array | None]
    scales: dict[Family, Array]


class Forms:
    """Evaluates the forms of a plan for a separable model.

    Args:
        plan: what to evaluate.
        model: CP, tensor train or Tucker.
    """

    def __init__(self, plan: Plan, model: Separable):
        self.plan, self.model = plan, model
        box = plan.problem.box
        self.dimension = box.dimension
        self.unknowns = len(plan.problem.unknowns)
        self.runs = model.runs(box.dimension)
        self.tucker = model.core_shape(box.dimension) is not None
        self.groups = len(plan.group_weights)
        self.envelope = plan.problem.hard.exponents()
        self.parameters = plan.problem.parameters

    def data(self, dtype) -> Data:
        """Returns the arrays that `side` and the forms need."""
        rows = self.plan.rows
        return Data(
            jnp.asarray(rows.coordinates, dtype),
            {m: jnp.asarray(w, dtype) for m, w in rows.weights.items()},
            {
                family: jnp.asarray(v.multipliers, dtype)
                for family, v in self.plan.versions.items()
            },
        )

    def side(self, params: Params, data: Data) -> Side:
        """Returns the factor versions for given parameters."""
        stacked = self.model.stacked_factors(
            params,
            self.plan.problem.box,
            data.coordinates,
            self.plan.order,
            unknowns=self.unknowns,
            envelope=self.envelope,
        )
        joined: Any = stacked
        if self.parameters.functions:
            joined = with_parameters(self, params, stacked, data.coordinates)
        versions = {
            family: [
                self.versions(family, jets, run, data)
                for jets, run in zip(joined, self.runs, strict=True)
            ]
            for family in self.plan.versions
        }
        cores = {family: self._core(params, family) for family in self.plan.versions}
        scales = {}
        for family in self.plan.versions:
            numbers = [u for u in family if self.parameters.axes.get(u) == ()]
            values = [self.parameters.scalar(params, u) for u in numbers]
            if values:
                scales[family] = math.prod(values[1:], start=values[0])
        return Side(versions, cores, scales)

    def quadratic(self, side: Side, data: Data) -> Float[Array, " g"]:
        """Returns the squared norm of every group, without its known part."""
        forms = [form for form in self.plan.quadratic if form.left or form.right]
        shared = None
        if self.model.name != "tt":
            shared = [
                SharedGram({f: v[i] for f, v in side.versions.items()}, w)
                for i, w in enumerate(self._weights(data))
            ]
        return self._total(forms, side, side, data, shared)

    def _known(self, run: range, data: Data) -> Array:
        return self._plain((), run, data)

    def _plain(self, family: Family, run: range, data: Data) -> Array:
        """Returns the known arrays of a family without factors."""
        known = data.multipliers[family][run[0] : run[-1] + 1]
        shape = self.model.shapes(self.dimension)[run[0]]
        return known.reshape(*known.shape, *(1,) * len(shape))

    def members(self, family: Family) -> list[int]:
        """Returns the members of a family that have factors: all but numbers."""
        return [u for u in family if self.parameters.axes.get(u) != ()]

    def bilinear(self, a: Side, b: Side, data: Data) -> Float[Array, " g"]:
        """Returns the inner products of two residuals, per group, known parts left out.

        Linear in the residual of either side: its derivative with respect to `b`
        at `b = a` is half the gradient of `quadratic`.
        """
        forms = [form for form in self.plan.bilinear if form.left or form.right]
        return self._total(forms, a, b, data)

    def _total(
        self,
        forms: Sequence[Form],
        a: Side,
        b: Side,
        data: Data,
        shared: Sequence[SharedGram] | None = None,
    ) -> Array:
        parts = []
        for form in forms:
            value = self._form(form, a, b, data, shared)
            for scales, family in ((a.scales, form.left), (b.scales, form.right)):
                value = value * scales[family] if family in scales else value
            parts.append(value)
        return sum(parts[1:], start=parts[0])

    def _weights(self, data: Data) -> list[dict[str, Array]]:
        """Returns the weights of the axes of every run."""
        spans = [slice(run[0], run[-1] + 1) for run in self.runs]
        return [{m: w[span] for m, w in data.weights.items()} for span in spans]

    def _core(self, params: Params, family: Family) -> Array | None:
        members = self.members(family)
        if not members or not self.tucker:
            return None
        cores = [
            parameter_core(self, unknown, params["core"].dtype)
            if unknown in self.parameters
            else params["core"][unknown]
            for unknown in members
        ]
        total = cores[0]
        for other in cores[1:]:
            total = jnp.kron(total, other)
        return total

    def versions(self, family: Family, jets, run: range, data: Data) -> Array:
        """Returns the factor versions of a family on a run of axes, (l, V, N, *shape).

        `jets` holds per order the factors (or any functions) of all unknowns on the
        axes of the run, (u, l, N, *shape), or a list of them if shapes differ.
        """
        if not self.members(family):
            return self._plain(family, run, data)
        spec = self.plan.versions[family]
        known = data.multipliers[family][run[0] : run[-1] + 1]
        out = []
        for v, leaves in enumerate(spec.keys):
            factors = [_rows(jets[order][u], ex) for u, order, ex in leaves]
            value = factors[0]
            for other in factors[1:]:
                value = _kron(value, other)
            if spec.multiplied[v]:
                own = known[:, v]
                value = value * own.reshape(*own.shape, *(1,) * (value.ndim - 2))
            out.append(value)
        return jnp.stack(out, axis=1)

    def _form(
        self,
        form: Form,
        a: Side,
        b: Side,
        data: Data,
        shared: Sequence[SharedGram] | None,
    ) -> Array:
        left, right = a.versions[form.left], b.versions[form.right]
        weights = self._weights(data)
        parts: States = {}
        if left[0].ndim == 5:
            for run, one, other, w in zip(self.runs, left, right, weights, strict=True):
                parts = _transfer(form, run, one, other, w, parts)
            return self._sums(parts, data)
        given = [None] * len(self.runs) if shared is None else shared
        grams = [
            gram_matrices(form, *pair)
            for pair in zip(left, right, weights, given, strict=True)
        ]
        cores = a.cores[form.left], b.cores[form.right]
        if any(core is not None for core in cores):
            return _tucker_sweep(form, cores, grams, self.groups)
        for run, gram in zip(self.runs, grams, strict=True):
            parts = _gram_product(form, run, gram, parts)
        return self._sums(parts, data)

    def _sums(self, parts: States, data: Data) -> Array:
        zero = jnp.zeros((), data.coordinates.dtype)
        return jnp.stack(
            [jnp.sum(parts[g]) if g in parts else zero for g in range(self.groups)]
        )


def _rows(array: Array, exchanged: bool) -> Array:
    if not exchanged:
        return array
    return jnp.concatenate([array[:, :-2], array[:, -1:], array[:, -2:-1]], axis=1)


def _kron(a: Array, b: Array) -> Array:
    """Row-wise Kronecker product of (levels, N, *shape) arrays."""
    if a.ndim == 3:
        return (a[..., :, None] * b[..., None, :]).reshape(*a.shape[:2], -1)
    wide = a[:, :, :, None, :, None] * b[:, :, None, :, None, :]
    return wide.reshape(*a.shape[:2], a.shape[2] * b.shape[2], -1)


def _edges(form: Form, level: int) -> list[tuple[int, int, int, float]]:
    t = form.table
    return [
        (int(f), int(to), int(k), float(w))
        for f, to, k, w in zip(
            t.source[level], t.target[level], t.symbol[level], t.weight[level],
            strict=True,
        )
        if w != 0.0
    ]  # fmt: skip


def _scaled(value: Array, weight: float) -> Array:
    return value if weight == 1.0 else value * weight


def _stacked(parts: States, states: int) -> Array:
    zero = jnp.zeros_like(next(iter(parts.values())))
    return jnp.stack([parts.get(s, zero) for s in range(states)])


def _by_level(grams: Sequence[Array], count: int) -> list[list[Array]]:
    """Returns the matrices of every axis, taken apart once."""
    parts = [lax.split(gram, (1,) * count) for gram in grams]
    return [[own[level][0] for own in parts] for level in range(count)]


def _gram_product(form: Form, run: range, grams, parts: States) -> States:
    """Sweeps a run of axes with elementwise products of Gram matrices."""
    if not parts:
        parts = {0: jnp.ones_like(grams[0][0])}
    if len(run) <= UNROLLED:
        for level, own in zip(run, _by_level(grams, len(run)), strict=True):
            following: States = {}
            for f, to, k, w in _edges(form, level):
                if f in parts:
                    value = _scaled(parts[f] * own[k], w)
                    following[to] = following[to] + value if to in following else value
            parts = following
        return parts
    states = form.table.states
    chosen = _one_hot(form, run, len(grams), grams[0].dtype)

    def body(state, level):
        gram, (source, symbol, target) = level
        flat = state.reshape(states, -1)
        product = (source @ flat) * (symbol @ gram.reshape(gram.shape[0], -1))
        return (target @ product).reshape(state.shape), None

    inputs = jnp.stack(grams, axis=1), chosen
    return dict(enumerate(lax.scan(body, _stacked(parts, states), inputs)[0]))


def _one_hot(form: Form, run: range, symbols: int, dtype) -> tuple[Array, ...]:
    """Edges as matrices: (l, E, S) sources, (l, E, K) symbols, (l, S, E) targets."""
    t, levels = form.table, np.asarray(run)
    eye = np.eye(t.states)
    target = eye[t.target[levels]] * t.weight[levels][..., None]
    return (
        jnp.asarray(eye[t.source[levels]], dtype),
        jnp.asarray(np.eye(symbols)[t.symbol[levels]], dtype),
        jnp.asarray(target.swapaxes(1, 2), dtype),
    )


def _transfer(form: Form, run: range, a, b, weights, parts: States) -> States:
    """Sweeps a run of tensor-train axes."""
    if not parts:
        parts = {0: jnp.ones((a.shape[3], b.shape[3]), a.dtype)}
    if len(run) <= UNROLLED_TRANSFERS:
        one = _taken_apart(a)
        other = one if a is b else _taken_apart(b)
        for offset, level in enumerate(run):
            own = {m: w[offset] for m, w in weights.items()}
            edges = _edges(form, level)
            pair = one[offset], other[offset]
            parts = _transfer_level(edges, form, *pair, own, parts)
        return parts
    state = _stacked(parts, form.table.states)
    coefficients = _dense(form, run, a.shape[1], b.shape[1], a.dtype)
    measures = jnp.stack([weights[m] for m in coefficients], axis=1)
    dense = jnp.stack(list(coefficients.values()), axis=1)

    def body(state, level):
        one, other, own, coefficient = level
        mixed = jnp.einsum("mtwsv,mn->twsvn", coefficient, own)
        x = jnp.einsum("sab,vnac->svncb", state, one)
        y = jnp.einsum("twsvn,svncb->twncb", mixed, x)
        return jnp.einsum("twncb,wnbd->tcd", y, other), None

    return dict(enumerate(lax.scan(body, state, (a, b, measures, dense))[0]))


def _taken_apart(versions: Array) -> list[list[Sequence[Array]]]:
    """Returns per axis and version the values on the points and at both ends."""
    axes, count, rows, *_ = versions.shape
    out = []
    for own in lax.split(versions, (1,) * axes):
        each = lax.split(own[0], (1,) * count)
        out.append([lax.split(x[0], (rows - 2, 2)) for x in each])
    return out


def _dense(form: Form, run: range, v: int, w: int, dtype) -> dict[str, Array]:
    """Edges as dense (levels, target, w, source, v) weights by measure."""
    states = form.table.states
    out: dict[str, np.ndarray] = {}
    for offset, level in enumerate(run):
        for f, to, k, weight in _edges(form, level):
            measure, left, right = form.combos[k]
            shape = (len(run), states, w, states, v)
            array = out.setdefault(measure, np.zeros(shape))
            array[offset, to, right, f, left] += weight
    return {m: jnp.asarray(x, dtype) for m, x in out.items()}


def _transfer_level(edges, form: Form, a, b, weights, parts: States) -> States:
    following: States = {}
    for ends in (False, True):
        used = [
            (f, to, *form.combos[k], w)
            for f, to, k, w in edges
            if f in parts and (form.combos[k][0] != "interior") == ends
        ]
        kind = "ends" if ends else "interior"
        partial: dict[tuple[int, int], Array] = {}
        sums: dict[tuple[int, int], Array] = {}
        for f, to, measure, v, w, weight in used:
            if (f, v) not in partial:
                partial[f, v] = jnp.einsum("ab,nac->ncb", parts[f], a[v][ends])
            scale = weight * split_rows(kind, weights[measure], 0)
            value = partial[f, v] * scale[:, None, None]
            sums[to, w] = sums[to, w] + value if (to, w) in sums else value
        for (to, w), value in sums.items():
            part = jnp.einsum("ncb,nbd->cd", value, b[w][ends])
            following[to] = following[to] + part if to in following else part
    return following


def _tucker_sweep(form: Form, cores, grams, groups: int) -> Array:
    """Contracts the right core with Gram matrices, then with the left core."""
    a, b = cores
    if a is None or b is None:
        # A known function has rank one: contract the core with vectors.
        core = b if a is None else a
        if _scannable(grams, core):
            # Vectors as matrices of one row: the new last index has one entry.
            rows = jnp.stack(grams[0], axis=1)
            rows = rows.reshape(*rows.shape[:2], 1, -1)
            wide = jnp.pad(rows, ((0, 0), (0, 0), (0, core.shape[0] - 1), (0, 0)))
            return _tucker_scan(form, core, wide)[:groups, 0]
        parts: dict[int, Any] = {0: core}
        for level, own in enumerate(_levels(grams)):
            gram = [g.reshape(-1) for g in own]
            parts = _tucker_level(form, level, parts, gram, "b,b...->...")
        return jnp.stack([parts.get(g, jnp.zeros(())) for g in range(groups)])
    if _scannable(grams, b):
        final = _tucker_scan(form, b, jnp.stack(grams[0], axis=1))
        return final[:groups] @ a.reshape(-1)
    parts = {0: b}
    for level, gram in enumerate(_levels(grams)):
        parts = _tucker_level(form, level, parts, gram, "ab,b...->...a")
    zero = jnp.zeros((), b.dtype)
    return jnp.stack(
        [jnp.sum(parts[g] * a) if g in parts else zero for g in range(groups)]
    )


def _levels(grams: Sequence[Sequence[Array]]) -> list[list[Array]]:
    return [own for run in grams for own in _by_level(run, run[0].shape[0])]


def _scannable(grams: Sequence[Any], core: Array) -> bool:
    return len(grams) == 1 and core.ndim > UNROLLED


def _tucker_level(form: Form, level: int, parts, gram, equation: str):
    """One axis: Gram matrices between the same states are added up first."""
    matrices: dict[tuple[int, int], Array] = {}
    for f, to, k, w in _edges(form, level):
        value = _scaled(gram[k], w)
        matrices[f, to] = matrices[f, to] + value if (f, to) in matrices else value
    following: dict[int, Array] = {}
    for (f, to), matrix in matrices.items():
        value = jnp.einsum(equation, matrix, parts[f])
        following[to] = following[to] + value if to in following else value
    return following


def _tucker_scan(form: Form, core: Array, grams: Array) -> Float[Array, "s q"]:
    states, rank = form.table.states, core.shape[0]
    d = core.ndim
    start = jnp.zeros((states, core.size), core.dtype).at[0].set(core.reshape(-1))
    source, symbol, target = _one_hot(form, range(d), grams.shape[1], grams.dtype)

    def body(state, level):
        gram, source, symbol, target = level
        between = jnp.einsum("ef,ek,te,kab->ftab", source, symbol, target, gram)
        wide = state.reshape(states, rank, -1)
        return jnp.einsum("ftab,fbq->tqa", between, wide).reshape(states, -1), None

    return lax.scan(body, start, (grams, source, symbol, target))[0]


__all__ = ["Data", "Forms", "Side", "gram_matrices"]
