"""Residual programs: a residual traced once, split by what it depends on.

`trace` records a residual as a flat list of array operations on coordinates and
*leaves* (derivatives of the unknowns). Two facts then make it fast:

- operations on coordinates alone (sources, coefficients, boundary values) are
  evaluated once per draw of the points, not once per step (`Program.prepare`);
- linear combinations of leaves, also with coefficients that vary along one axis, are
  kept as lists of separable terms and contracted together (`Program.evaluate`).
  Anything else (products of fields, jnp functions of them) acts on grid values.

The residual is ordinary jnp code: this module works on its jaxpr (see "Writing
custom jaxpr interpreters" in the JAX documentation).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core as jex
from jaxtyping import Array

from pinns._operations import Constant, Operation, bind, run_operation


Shape = tuple[int, ...]
# What identifies a leaf: (unknown, orders, point selector per axis).
LeafKey = tuple[int, tuple[int, ...], tuple[str, ...]]
_INLINED = ("jit", "pjit", "closed_call", "core_call")


@dataclass
class LinearTerms:
    """`sum_k c_k mult_k D^{a_k} u + rest` on the grid, not yet contracted.

    terms: `{(leaf index, multiplier ids per axis): coefficient}`; a multiplier is a
    value of the program that varies along that axis only. rest: an array or None.
    """

    terms: dict[tuple[int, tuple[tuple[int, ...], ...]], float]
    rest: Array | None = None


@dataclass(frozen=True)
class Program:
    """A traced residual on points of a fixed shape; see `trace`.

    leaves: the derivatives it uses. hoisted: ids of the values that depend on
    coordinates only and are handed from `prepare` to `evaluate`; the first
    `num_fixed` of them do not vary along the first axis. given: axes of the leaves
    whose values are handed to `evaluate` (parameters), by their index; free: ids of
    what depends on these and on coordinates only.
    """

    shape: Shape
    leaves: tuple[LeafKey, ...]
    operations: tuple[Operation, ...]
    coordinate_ids: tuple[int, ...]
    leaf_ids: tuple[int, ...]
    constants: dict[int, Array]
    outputs: tuple[Any, ...]
    known: frozenset[int]
    hoisted: tuple[int, ...]
    num_fixed: int
    aliases: dict[int, Any]
    given: dict[int, tuple[int, ...]]
    free: frozenset[int]

    def prepare(self, coordinates: Sequence[Array]) -> tuple[Array, ...]:
        """Returns the hoisted values for coordinates of shapes (1, .., n_i, .., 1)."""
        env: dict[int, Any] = dict(self.constants)
        env.update(zip(self.coordinate_ids, coordinates, strict=True))
        for operation in self.operations:
            if all(output in self.known for output in operation.outputs):
                run_operation(operation, env)
        return tuple(env[i] for i in self.hoisted)

    def denominators(self, hoisted: Sequence[Array]) -> list[Array]:
        """Returns the values of coordinates alone that something is divided by."""
        known = dict(zip(self.hoisted, hoisted, strict=True))
        found = [
            known.get(op.inputs[1])
            for op in self.operations
            if op.primitive.name == "div"
            and not isinstance(op.inputs[1], Constant)
            and not all(output in self.known for output in op.outputs)
        ]
        return [value for value in found if value is not None]

    def evaluate(
        self,
        hoisted: Sequence[Array],
        contract: Callable[[dict, dict[int, Array]], Array],
        given: Mapping[int, Array] | None = None,
    ) -> list[Array]:
        """Returns the residual of every equation on the grid.

        Args:
            hoisted: values from `prepare`.
            contract: returns grid values of linear terms
                `{(leaf index, multiplier ids per axis): coefficient}`, given the
                values the ids stand for.
            given: values of the leaves in `Program.given`, of length one along the
                axes that these do not vary along.
        """
        known = dict(zip(self.hoisted, hoisted, strict=True))
        return _Evaluation(self, known, contract, given or {}).run()

    def linear(
        self, hoisted: Sequence[Array]
    ) -> tuple[LinearTerms, dict[int, Array]] | None:
        """Returns the only equation as linear terms, with the values of their ids.

        None if there are several equations or something is not linear in the leaves.
        """
        several = len(self.outputs) != 1 or isinstance(self.outputs[0], Constant)
        if several or self.given:
            return None
        known = dict(zip(self.hoisted, hoisted, strict=True))
        evaluation = _Evaluation(self, known, _refuse, {})
        try:
            evaluation.run_steps()
        except _NotLinearError:
            return None
        found = evaluation.env[self.outputs[0]]
        return (found, known) if isinstance(found, LinearTerms) else None


def trace(
    function: Callable[[Callable, Sequence[Array]], list],
    shape: Shape,
    dtype,
    coordinate_shapes: Sequence[Shape],
    partial: Mapping[int, tuple[int, ...]] | None = None,
) -> Program:
    """Returns the program of `function(leaf, coordinates) -> [array per equation]`.

    Args:
        function: calls `leaf(unknown, orders, selectors)` for the leaf values it
            needs and returns one array per equation.
        shape: shape of the grid, which is that of every leaf.
        dtype: dtype of coordinates and leaves.
        coordinate_shapes: shape of each coordinate array.
        partial: axes of the unknowns that vary along some axes only, by their number:
            their leaves have length one along the others.
    """
    keys: dict[LeafKey, None] = {}
    partial = {} if partial is None else partial

    def leaf_shape(key: LeafKey) -> Shape:
        axes = partial.get(key[0], range(len(shape)))
        return tuple(n if k in axes else 1 for k, n in enumerate(shape))

    def discover(*coordinates):
        def leaf(*key):
            keys.setdefault(key)
            return jnp.zeros(leaf_shape(key), dtype)

        return function(leaf, coordinates)

    dtype = jnp.dtype(dtype)
    structs = [jax.ShapeDtypeStruct(s, dtype) for s in coordinate_shapes]
    jax.eval_shape(discover, *structs)
    leaves = tuple(keys)

    def run(coordinates, values):
        lookup = dict(zip(leaves, values, strict=True))
        return function(lambda *key: lookup[key], coordinates)

    inputs = [jax.ShapeDtypeStruct(leaf_shape(key), dtype) for key in leaves]
    closed = jax.make_jaxpr(run)(structs, inputs)
    return _build(closed, shape, leaves, len(structs), partial)


def _build(closed, shape: Shape, leaves, num_coordinates: int, partial) -> Program:
    flat = _Flattener()
    inputs = [flat.fresh(v) for v in closed.jaxpr.invars]
    constants = {
        flat.fresh(v): c
        for v, c in zip(closed.jaxpr.constvars, closed.consts, strict=True)
    }
    flat.add(closed.jaxpr)
    outputs = tuple(flat.reference(v) for v in closed.jaxpr.outvars)
    used = flat.drop_unused(outputs)
    coordinates, leaf_ids = inputs[:num_coordinates], inputs[num_coordinates:]

    kept = [i for i, leaf in enumerate(leaf_ids) if leaf in used]
    kept = kept or list(range(len(leaves)))
    leaves = tuple(leaves[i] for i in kept)
    leaf_ids = [leaf_ids[i] for i in kept]
    given = {i: partial[k[0]] for i, k in enumerate(leaves) if k[0] in partial}
    known, varies_first = set(constants) | set(coordinates), set(coordinates[:1])
    within = known | {leaf_ids[i] for i in given}
    for operation in flat.operations:
        ids = [i for i in operation.inputs if not isinstance(i, Constant)]
        if all(i in known for i in ids):
            known.update(operation.outputs)
        if all(i in within for i in ids):
            within.update(operation.outputs)
        if any(i in varies_first for i in ids):
            varies_first.update(operation.outputs)
    aliases = _broadcast_aliases(flat)
    needed: dict[int, None] = {}
    for operation in flat.operations:
        if not all(o in known for o in operation.outputs):
            for i in operation.inputs:
                if not isinstance(i, Constant) and i in known:
                    needed.setdefault(i)
                    alias = aliases.get(i)
                    if alias is not None and not isinstance(alias, Constant):
                        needed.setdefault(alias)
    for i in outputs:
        if not isinstance(i, Constant) and i in known:
            needed.setdefault(i)
    fixed = [i for i in needed if i not in varies_first]
    moving = [i for i in needed if i in varies_first]
    return Program(
        shape=shape,
        leaves=leaves,
        operations=tuple(flat.operations),
        coordinate_ids=tuple(coordinates),
        leaf_ids=tuple(leaf_ids),
        constants=constants,
        outputs=outputs,
        known=frozenset(known),
        hoisted=tuple(fixed + moving),
        num_fixed=len(fixed),
        aliases={i: a for i, a in aliases.items() if i in within},
        given=given,
        free=frozenset(within - known),
    )


class _Flattener:
    """Inlines nested jits and numbers every value."""

    def __init__(self):
        self.ids: dict[Any, Any] = {}
        self.operations: list[Operation] = []
        self.shapes: dict[int, Shape] = {}
        self.count = 0

    def fresh(self, variable) -> int:
        self.ids[variable] = self.count
        self.shapes[self.count] = tuple(variable.aval.shape)
        self.count += 1
        return self.count - 1

    def drop_unused(self, outputs) -> set[int]:
        """Leaves out what no output needs, such as the other equations of a system.

        Returns the ids that are needed.
        """
        used = {i for i in outputs if not isinstance(i, Constant)}
        kept = []
        for operation in reversed(self.operations):
            if not operation.outputs or used.intersection(operation.outputs):
                used.update(i for i in operation.inputs if not isinstance(i, Constant))
                kept.append(operation)
        self.operations = kept[::-1]
        return used

    def reference(self, atom):
        if isinstance(atom, jex.Literal):
            return Constant(atom.val)
        return self.ids[atom]

    def add(self, jaxpr) -> None:
        for eqn in jaxpr.eqns:
            inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr")
            if eqn.primitive.name in _INLINED and inner is not None:
                self._inline(eqn, inner)
            else:
                inputs = tuple(self.reference(v) for v in eqn.invars)
                outputs = tuple(self.fresh(v) for v in eqn.outvars)
                self.operations.append(
                    Operation(eqn.primitive, eqn.params, inputs, outputs)
                )

    def _inline(self, eqn, inner) -> None:
        jaxpr = getattr(inner, "jaxpr", inner)
        arguments = [self.reference(v) for v in eqn.invars]
        outer = self.ids
        self.ids = dict(zip(jaxpr.invars, arguments, strict=True))
        for variable, value in zip(
            jaxpr.constvars, getattr(inner, "consts", ()), strict=True
        ):
            self.ids[variable] = Constant(value)
        self.add(jaxpr)
        results = [self.reference(v) for v in jaxpr.outvars]
        self.ids = outer
        for variable, value in zip(eqn.outvars, results, strict=True):
            self.ids[variable] = value


def _broadcast_aliases(flat: _Flattener) -> dict[int, Any]:
    """Maps a mere broadcast (scalar, or along axes of length one) to its operand."""
    aliases: dict[int, Any] = {}
    for operation in flat.operations:
        if operation.primitive.name != "broadcast_in_dim":
            continue
        source, output = operation.inputs[0], operation.outputs[0]
        rank = len(flat.shapes[output])
        dims = tuple(operation.params["broadcast_dimensions"])
        if dims == () or dims == tuple(range(rank)):
            known = not isinstance(source, Constant)
            aliases[output] = aliases.get(source, source) if known else source
    return aliases


class _NotLinearError(Exception):
    """Grid values of linear terms were asked for where none can be had."""


def _refuse(terms, known):
    raise _NotLinearError


class _Evaluation:
    """One pass over the operations that depend on the unknowns."""

    def __init__(self, program: Program, known: dict[int, Array], contract, given):
        # Values of parameters may multiply linear terms as known ones do.
        self.program, self.known, self.contract = program, known, contract
        self.rank = len(program.shape)
        no_multipliers: tuple[tuple[int, ...], ...] = ((),) * self.rank
        self.env: dict[int, Any] = dict(known)
        for index, i in enumerate(program.leaf_ids):
            if index in program.given:
                self.env[i] = self.known[i] = given[index]
            else:
                self.env[i] = LinearTerms({(index, no_multipliers): 1.0})
        self.contracted: dict[int, Array] = {}

    def run(self) -> list[Array]:
        self.run_steps()
        return [self.value(i) for i in self.program.outputs]

    def run_steps(self) -> None:
        for operation in self.program.operations:
            if not all(o in self.program.known for o in operation.outputs):
                self._step(operation)
                for o in operation.outputs:
                    if o in self.program.free:
                        self.known[o] = self.env[o]

    def value(self, reference) -> Array:
        """Returns grid values, contracting linear terms on first use."""
        if isinstance(reference, Constant):
            return jnp.asarray(reference.value)
        value = self.env[reference]
        if not isinstance(value, LinearTerms):
            return value
        if reference not in self.contracted:
            self.contracted[reference] = self._contract(value)
        return self.contracted[reference]

    def _contract(self, linear: LinearTerms) -> Array:
        grid = self.contract(linear.terms, self.known)
        return grid if linear.rest is None else grid + linear.rest

    def _step(self, operation: Operation) -> None:
        rule = _RULES.get(operation.primitive.name)
        if rule is not None:
            result = rule(self, operation)
            if result is not None:
                self.env[operation.outputs[0]] = result
                return
        inputs = [self.value(i) for i in operation.inputs]
        self.env.update(zip(operation.outputs, bind(operation, inputs), strict=True))

    def operand(self, reference):
        """Returns (kind, payload): linear terms, an array, or a scalar constant."""
        if isinstance(reference, Constant):
            return reference.value
        return self.env[reference]

    def coefficient(self, reference) -> tuple[int, int] | float | None:
        """Returns (axis, id) of a one-axis multiplier, a float, or None."""
        alias = reference
        if not isinstance(reference, Constant):
            alias = self.program.aliases.get(reference, reference)
        if isinstance(alias, Constant):
            return _as_float(alias.value)
        if alias not in self.known:
            return None
        varying = [k for k, n in enumerate(self.known[alias].shape) if n > 1]
        if len(varying) > 1 or self.known[alias].ndim not in (0, self.rank):
            return None
        return (varying[0] if varying else 0, alias)


def _as_float(value) -> float | None:
    return float(value) if jnp.ndim(value) == 0 else None


def _sum_rule(sign: float):
    def rule(evaluation: _Evaluation, operation: Operation):
        a, b = (evaluation.operand(i) for i in operation.inputs)
        if not (isinstance(a, LinearTerms) or isinstance(b, LinearTerms)):
            return None
        total = a if isinstance(a, LinearTerms) else LinearTerms({}, a)
        other = b if isinstance(b, LinearTerms) else LinearTerms({}, b)
        terms = dict(total.terms)
        for term, coefficient in other.terms.items():
            terms[term] = terms.get(term, 0.0) + sign * coefficient
        return LinearTerms(terms, _add_rest(total.rest, other.rest, sign))

    return rule


def _add_rest(a, b, sign: float):
    if b is None:
        return a
    signed = b if sign == 1.0 else -b
    return signed if a is None else a + signed


def _negate(evaluation: _Evaluation, operation: Operation):
    return _scaled(evaluation.operand(operation.inputs[0]), -1.0)


def _scaled(linear, factor: float):
    if not isinstance(linear, LinearTerms):
        return None
    terms = {term: factor * c for term, c in linear.terms.items()}
    return LinearTerms(terms, None if linear.rest is None else factor * linear.rest)


def _multiply(evaluation: _Evaluation, operation: Operation):
    for linear_ref, other_ref in (operation.inputs, operation.inputs[::-1]):
        linear = evaluation.operand(linear_ref)
        if not isinstance(linear, LinearTerms):
            continue
        coefficient = evaluation.coefficient(other_ref)
        if coefficient is None:
            continue
        if isinstance(coefficient, float):
            return _scaled(linear, coefficient)
        axis, multiplier = coefficient
        return _with_multiplier(linear, axis, multiplier, evaluation.known)
    return None


def _divide(evaluation: _Evaluation, operation: Operation):
    linear = evaluation.operand(operation.inputs[0])
    coefficient = evaluation.coefficient(operation.inputs[1])
    if isinstance(linear, LinearTerms) and isinstance(coefficient, float):
        return _scaled(linear, 1.0 / coefficient)
    return None


def _with_multiplier(linear: LinearTerms, axis: int, i: int, known) -> LinearTerms:
    terms = {
        (leaf, (*m[:axis], tuple(sorted((*m[axis], i))), *m[axis + 1 :])): c
        for (leaf, m), c in linear.terms.items()
    }
    rest = None if linear.rest is None else linear.rest * known[i]
    return LinearTerms(terms, rest)


def _same_shape(evaluation: _Evaluation, operation: Operation):
    operand = evaluation.operand(operation.inputs[0])
    if not isinstance(operand, LinearTerms):
        return None
    params = operation.params
    shape = params["shape"] if "shape" in params else params["new_sizes"]
    return operand if tuple(shape) == evaluation.program.shape else None


_RULES: dict[str, Callable] = {
    "add": _sum_rule(1.0),
    "add_any": _sum_rule(1.0),
    "sub": _sum_rule(-1.0),
    "neg": _negate,
    "mul": _multiply,
    "div": _divide,
    "broadcast_in_dim": _same_shape,
    "reshape": _same_shape,
    "copy": lambda evaluation, operation: evaluation.operand(operation.inputs[0]),
}
