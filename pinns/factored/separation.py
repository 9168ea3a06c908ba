"""Residuals as sums of products of one-dimensional functions.

`separate` interprets a traced residual (`pinns.program`) on the collocation points
and returns, per equation, a `SeparableSum`

    r(x) = sum_t c_t prod_j [ m_{t,j}(x_j) prod_l D^{a_l}_j u_l ](x_j)

with words `t` that name the leaves (derivatives of unknowns) they multiply and, per
axis, a known one-dimensional array `m_{t,j}`. No array with more than one axis is
formed for anything that is separable as written: sums, products, quotients by
functions of one coordinate, integer powers, and exponentials of sums.

A known function that is not separable as written (a coefficient such as
sqrt(x^2 + y^2)) is tabulated on the points of its own axes and split by singular
value decompositions to a stated relative tolerance. Where that takes too many terms,
or a nonlinear function is applied to an unknown, `NotSeparableError` says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

from pinns.factored.sums import (
    NotSeparableError,
    SeparableSum,
    Word,
    added,
    outer,
    scaled,
    split,
)
from pinns.program import Constant, Operation, Program


# Largest table of a known function that is split by singular value decompositions.
MAX_TABLE = 4_000_000
MAX_COMPRESSED_RANK = 64
MAX_DEGREE = 2
# Known functions of more products than this are tabulated and split anew, which finds
# the smallest number; sums of more products than MAX_WORDS are refused.
COMPACT_WORDS = 16
MAX_WORDS = 20_000
_ELEMENTWISE = frozenset(
    """add add_any sub mul div neg sin cos tan tanh sinh cosh asin acos atan asinh acosh
    atanh atan2 exp exp2 log log1p expm1 sqrt rsqrt cbrt pow integer_pow square abs
    sign max min logistic erf erfc erf_inv lgamma digamma floor ceil round rem
    select_n eq ne lt le gt ge and or not xor is_finite convert_element_type copy
    clamp stop_gradient nextafter""".split()  # noqa: SIM905
)
_IDENTITIES = frozenset({"copy", "convert_element_type", "stop_gradient"})
_SHAPED = frozenset({"broadcast_in_dim", "reshape", "squeeze", "expand_dims"})


@dataclass(frozen=True)
class Compression:
    """A known function split numerically: its axes, rank and relative error."""

    axes: tuple[int, ...]
    rank: int
    error: float


@dataclass
class _Table:
    """A known function tabulated on the points of some axes (others have length 1)."""

    array: np.ndarray


@dataclass
class Separation:
    """What `separate` found for one term.

    equations: one sum per equation. arrays: (n_j,) values by key, on the points of
    the axis. compressions: known functions that were split numerically.
    """

    equations: list[SeparableSum]
    arrays: dict[bytes, np.ndarray]
    compressions: list[Compression] = field(default_factory=list)


def separate(
    program: Program, coordinates: Sequence[np.ndarray], tolerance: float
) -> Separation:
    """Returns the residual of every equation as a separable sum.

    Args:
        program: traced in float64 on points of the given numbers.
        coordinates: (n_j,) float64 per axis.
        tolerance: relative to the largest value, for functions that are tabulated.

    Raises:
        NotSeparableError: an operation that does not keep products of
            one-dimensional functions, named in the message.
    """
    return _Interpreter(program, coordinates, tolerance).run()


class _Interpreter:
    def __init__(self, program: Program, coordinates, tolerance: float):
        self.program, self.tolerance = program, tolerance
        self.sizes = [len(x) for x in coordinates]
        self.rank = len(self.sizes)
        self.arrays: dict[bytes, np.ndarray] = {}
        self.compressions: list[Compression] = []
        self.env: dict[int, Any] = {}
        for i, array in program.constants.items():
            self.env[i] = self._constant(np.asarray(array))
        for axis, (i, x) in enumerate(
            zip(program.coordinate_ids, coordinates, strict=True)
        ):
            self.env[i] = self._one_axis(axis, np.asarray(x, np.float64))
        for index, i in enumerate(program.leaf_ids):
            self.env[i] = SeparableSum({((index,), ()): 1.0})

    def run(self) -> Separation:
        for operation in self.program.operations:
            self._step(operation)
        equations = [
            self._compact_known(self._sum(self._value(o))) for o in self.program.outputs
        ]
        return Separation(equations, self.arrays, self.compressions)

    def _value(self, reference) -> Any:
        if isinstance(reference, Constant):
            return self._constant(np.asarray(reference.value))
        return self.env[reference]

    def _constant(self, array: np.ndarray) -> Any:
        """A literal: a number, an array along one axis, or raw data of other shape."""
        if array.size == 1 and np.issubdtype(array.dtype, np.number):
            return SeparableSum({((), ()): float(array.reshape(()))})
        if array.ndim == self.rank:
            varying = [k for k, n in enumerate(array.shape) if n > 1]
            if len(varying) == 1 and np.issubdtype(array.dtype, np.floating):
                return self._one_axis(varying[0], array.reshape(-1))
        return _Table(array)

    def _one_axis(self, axis: int, array: np.ndarray) -> SeparableSum:
        array = np.ascontiguousarray(array)
        if not np.issubdtype(array.dtype, np.floating):
            return _OneAxisRaw({((), ((axis, self._key(array)),)): 1.0})
        return SeparableSum({((), ((axis, self._key(array)),)): 1.0})

    def _key(self, array: np.ndarray) -> bytes:
        key = array.dtype.str.encode() + array.tobytes()
        self.arrays.setdefault(key, array)
        return key

    def _step(self, operation: Operation) -> None:
        values = [self._value(i) for i in operation.inputs]
        name = operation.primitive.name
        if name in _SHAPED:
            result = self._reshaped(operation, values[0])
        elif all(isinstance(v, (_Table, SeparableSum)) and _known(v) for v in values):
            result = self._known_operation(operation, values)
        else:
            result = self._linear_operation(name, operation, values)
        outputs = result if isinstance(result, list) else [result]
        self.env.update(zip(operation.outputs, outputs, strict=True))

    # -- operations on known values ------------------------------------------------

    def _known_operation(self, operation: Operation, values: list) -> Any:
        name = operation.primitive.name
        numbers = [_number(v) for v in values]
        axes = sorted({a for v in values for a in self._axes(v)})
        tables = any(isinstance(v, _Table) for v in values)
        if name not in _ELEMENTWISE:
            if tables or not axes:
                return self._tabulated(operation, values)
            raise NotSeparableError(
                f"{name!r} acts on whole arrays of coordinates, not value by value"
            )
        if len(axes) <= 1 and not tables:
            arrays = [self._on_axis(v, axes) for v in values]
            result = np.asarray(_bind(operation, arrays)[0])
            if axes:
                return self._one_axis(axes[0], result)
            if np.issubdtype(result.dtype, np.number):
                return SeparableSum({((), ()): float(result)})
            return _Table(result)
        if not tables:
            if name in _IDENTITIES:
                return values[0]
            exact = self._sum_operation(name, operation, values)
            exact = None if exact is None else self._compact(exact)
            if exact is None and name == "exp" and numbers[0] is None:
                exact = self._exponential(values[0])
            if exact is not None:
                return exact
        return self._tabulated(operation, values)

    def _on_axis(self, value: SeparableSum, axes: list[int]) -> np.ndarray:
        """Returns a value of at most one axis as (n,) or ()."""
        total: Any = None
        for (_, muls), coefficient in value.words.items():
            array = self.arrays[muls[0][1]] if muls else np.float64(1.0)
            part = array if coefficient == 1.0 else coefficient * array
            total = part if total is None else total + part
        if total is None:
            total = np.float64(0.0)
        shape = (self.sizes[axes[0]],) if axes else ()
        return np.broadcast_to(total, shape)

    def _exponential(self, value: SeparableSum) -> SeparableSum | None:
        """exp of a sum of functions of one coordinate each: a product."""
        by_axis: dict[int, np.ndarray] = {}
        constant = 0.0
        for (_, muls), coefficient in value.words.items():
            if len(muls) > 1:
                return None
            if not muls:
                constant += coefficient
                continue
            axis, key = muls[0]
            part = coefficient * self.arrays[key]
            by_axis[axis] = by_axis[axis] + part if axis in by_axis else part
        muls = tuple((a, self._key(np.exp(v))) for a, v in sorted(by_axis.items()))
        return SeparableSum({((), muls): math.exp(constant)})

    def _tabulated(self, operation: Operation, values: list) -> Any:
        arrays = [self._table(v) for v in values]
        name = operation.primitive.name
        if name in _ELEMENTWISE:
            shape = np.broadcast_shapes(*(a.shape for a in arrays))
            if math.prod(shape) > MAX_TABLE:
                raise _too_large(name, shape)
            arrays = [np.broadcast_to(a, shape) for a in arrays]
        results = [np.asarray(r) for r in _bind(operation, arrays)]
        if len(results) > 1:
            return [_Table(r) for r in results]
        return self._simplify(results[0])

    def _simplify(self, array: np.ndarray) -> Any:
        varying = [k for k, n in enumerate(array.shape) if n > 1]
        if array.ndim == self.rank and len(varying) == 1:
            return self._one_axis(varying[0], array.reshape(-1))
        if array.size == 1 and np.issubdtype(array.dtype, np.number):
            return SeparableSum({((), ()): float(array.reshape(()))})
        return _Table(array)

    def _table(self, value) -> np.ndarray:
        if isinstance(value, _Table):
            return value.array
        axes = sorted(self._axes(value))
        shape = tuple(self.sizes[k] if k in axes else 1 for k in range(self.rank))
        if math.prod(shape) > MAX_TABLE:
            raise _too_large("a function of several coordinates", shape)
        total = None
        for (_, muls), coefficient in value.words.items():
            part: Any = np.float64(coefficient)
            for axis, key in muls:
                wide = [1] * self.rank
                wide[axis] = -1
                array = self.arrays[key].reshape(wide)
                part = array if isinstance(value, _OneAxisRaw) else part * array
            total = part if total is None else total + part
        if not axes:
            return np.asarray(0.0 if total is None else total)
        return np.broadcast_to(np.asarray(total), shape)

    def _axes(self, value) -> set[int]:
        if isinstance(value, _Table):
            shape = value.array.shape
            return {k for k, n in enumerate(shape) if n > 1}
        return {axis for _, muls in value.words for axis, _ in muls}

    def _reshaped(self, operation: Operation, value) -> Any:
        params = operation.params
        if operation.primitive.name == "broadcast_in_dim":
            shape, dims = params["shape"], tuple(params["broadcast_dimensions"])
            if isinstance(value, _Table):
                return self._raw_shape(operation, value)
            same = dims == tuple(range(self.rank)) or dims == ()
            if len(shape) == self.rank and (same or _number(value) is not None):
                return value
        elif isinstance(value, _Table):
            return self._raw_shape(operation, value)
        elif (
            _number(value) is not None or len(params.get("new_sizes", ())) == self.rank
        ):
            return value
        raise NotSeparableError(
            f"{operation.primitive.name!r} changes the axes of an array"
        )

    def _raw_shape(self, operation: Operation, value: _Table) -> Any:
        """Reshapes data that is not on the points' axes yet, or keeps a table."""
        array = value.array
        if array.ndim == self.rank and operation.primitive.name == "broadcast_in_dim":
            return value
        return self._constant(np.asarray(_bind(operation, [array])[0]))

    # -- operations that involve unknowns ----------------------------------------

    def _linear_operation(self, name: str, operation: Operation, values: list) -> Any:
        if name in _IDENTITIES:
            return values[0]
        values = [self._sum(v) for v in values]
        result = self._sum_operation(name, operation, values)
        if result is not None:
            return result
        if name == "div" and values[1].known:
            inverse = self._sum(_Table(1.0 / self._table(values[1])))
            return self._product(values[0], inverse)
        raise NotSeparableError(
            f"{name!r} is applied to an unknown; sums, products and integer powers up "
            f"to {MAX_DEGREE} of unknowns are separable"
        )

    def _compact(self, value: SeparableSum) -> SeparableSum:
        """Returns a known sum with as few products as the tolerance allows."""
        if not value.known or len(value.words) <= COMPACT_WORDS:
            return value
        axes = self._axes(value)
        if math.prod(self.sizes[k] for k in axes) > MAX_TABLE:
            return value
        if all(len(muls) <= 1 for _, muls in value.words):
            return value  # functions of one coordinate each: an automaton has 2 states
        found = self._sum(_Table(self._table(value)))
        return found if len(found.words) < len(value.words) else value

    def _compact_known(self, value: SeparableSum) -> SeparableSum:
        known = SeparableSum({w: c for w, c in value.words.items() if not w[0]})
        rest = SeparableSum({w: c for w, c in value.words.items() if w[0]})
        return added(self._compact(known), rest, 1.0)

    def _sum_operation(
        self, name: str, operation: Operation, values: list
    ) -> SeparableSum | None:
        if name in ("add", "add_any"):
            return added(values[0], values[1], 1.0)
        if name == "sub":
            return added(values[0], values[1], -1.0)
        if name == "neg":
            return scaled(values[0], -1.0)
        if name == "mul":
            return self._product(values[0], values[1])
        if name == "div":
            return self._quotient(values[0], values[1])
        if name == "square":
            return self._product(values[0], values[0])
        if name == "integer_pow" and 1 <= operation.params["y"] <= 4:
            total = values[0]
            for _ in range(operation.params["y"] - 1):
                total = self._product(total, values[0])
            return total
        return None

    def _product(self, a: SeparableSum, b: SeparableSum) -> SeparableSum:
        words: dict[Word, float] = {}
        a, b = self._compact(a), self._compact(b)
        count = len(a.words) * len(b.words)
        if count > MAX_WORDS:
            raise NotSeparableError(
                f"a product of sums with {len(a.words)} and {len(b.words)} terms; up "
                f"to {MAX_WORDS} products are kept factored"
            )
        for (leaves, left), x in a.words.items():
            for (others, right), y in b.words.items():
                joined = tuple(sorted(leaves + others))
                degree = self._degree(joined)
                if degree > MAX_DEGREE:
                    raise NotSeparableError(
                        f"a product of {degree} unknowns; up to {MAX_DEGREE} "
                        "are kept factored"
                    )
                word = (joined, self._joined(left, right))
                words[word] = words.get(word, 0.0) + x * y
        return SeparableSum(words)

    def _degree(self, leaves: tuple[int, ...]) -> int:
        """Returns how many functions a word multiplies; of parameters, as many more.

        Unknown numbers do not count: they only scale a word.
        """
        given = self.program.given
        fields = sum(leaf not in given for leaf in leaves)
        return max(fields, sum(bool(given.get(leaf)) for leaf in leaves))

    def _joined(self, left, right):
        muls = dict(left)
        for axis, key in right:
            if axis in muls:
                key = self._key(self.arrays[muls[axis]] * self.arrays[key])
            muls[axis] = key
        return tuple(sorted(muls.items()))

    def _quotient(self, a: SeparableSum, b: SeparableSum) -> SeparableSum | None:
        number = _number(b)
        if number is not None:
            return scaled(a, 1.0 / number)
        if not b.known or len(b.words) != 1:
            return None
        ((_, muls), coefficient), *_ = b.words.items()
        with np.errstate(divide="ignore"):  # the plan looks for what is not finite
            inverse = tuple((axis, self._key(1.0 / self.arrays[k])) for axis, k in muls)
        return self._product(a, SeparableSum({((), inverse): 1.0 / coefficient}))

    def _sum(self, value) -> SeparableSum:
        """Returns a value as a sum of products, splitting a table if it is one."""
        if isinstance(value, SeparableSum):
            return value
        array = np.asarray(value.array, np.float64)
        axes = [k for k, n in enumerate(array.shape) if n > 1]
        if not np.isfinite(array).all():
            raise NotSeparableError("a coordinate function is not finite")
        parts = split(array.reshape([array.shape[k] for k in axes]), self.tolerance)
        if len(parts) > MAX_COMPRESSED_RANK:
            raise NotSeparableError(
                f"a known function of axes {tuple(axes)} needs {len(parts)} products "
                f"at relative tolerance {self.tolerance:g}, more than "
                f"{MAX_COMPRESSED_RANK}"
            )
        approximate = sum(outer(p) for p in parts) if parts else np.zeros(())
        size = np.abs(array).max()
        gap = np.abs(array.reshape(np.shape(approximate)) - approximate).max()
        self.compressions.append(
            Compression(tuple(axes), len(parts), float(gap / size) if size else 0.0)
        )
        words: dict[Word, float] = {}
        for part in parts:
            muls = tuple((k, self._key(v)) for k, v in zip(axes, part, strict=True))
            words[((), muls)] = 1.0
        return SeparableSum(words)


class _OneAxisRaw(SeparableSum):
    """Booleans or integers along one axis: what comparisons of coordinates give."""


def _known(value) -> bool:
    return isinstance(value, _Table) or value.known


def _number(value) -> float | None:
    if isinstance(value, (_Table, _OneAxisRaw)):
        return None
    if not value.words:
        return 0.0
    if set(value.words) == {((), ())}:
        return value.words[((), ())]
    return None


def _bind(operation: Operation, arrays: Sequence[np.ndarray]) -> list:
    params: Mapping[str, Any] = operation.params
    params = operation.primitive.get_bind_params(params)
    result = operation.primitive.bind(*(jnp.asarray(a) for a in arrays), **params)
    return list(result) if operation.primitive.multiple_results else [result]


def _too_large(what: str, shape) -> NotSeparableError:
    return NotSeparableError(
        f"{what} would need a table of {math.prod(shape):.1e} values, more than "
        f"{MAX_TABLE:.0e}"
    )


__all__ = [
    "Compression",
    "NotSeparableError",
    "SeparableSum",
    "Separation",
    "Word",
    "separate",
]
