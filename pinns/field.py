"""`Field`: the unknown function as a residual sees it.

A field is a polynomial in *leaves*, partial derivatives of the unknowns:

    u.d("x", 2) - 3 * u.d("t") + u**2

Derivatives act on the polynomial by the product rule, so `(u**2).d("x")` works.
Where a value is needed (a jnp function, a coordinate-dependent coefficient) the field
turns into an ordinary array. `LeafSource` says where leaf values come from: a traced
program input, a pointwise function, or scattered points; a residual never knows.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pinns.domain import Box


# (unknown index, derivative order along every axis)
Leaf = tuple[int, tuple[int, ...]]
LeafSource = Callable[[int, tuple[int, ...]], Array]
# {(leaf, leaf, ...) in sorted order: coefficient}; the empty product is a constant.
Polynomial = Mapping[tuple[Leaf, ...], float]


class Symbolic(NamedTuple):
    """A polynomial in leaves, where their values come from, and the box.

    partial: axes of the unknowns that vary along some axes only, by their number.
    coordinates: of the points, one array per axis, where they are known.
    """

    source: LeafSource
    box: Box
    polynomial: Polynomial
    partial: Mapping[int, tuple[int, ...]] = MappingProxyType({})
    coordinates: tuple[Array, ...] = ()


@jax.tree_util.register_pytree_node_class
class Field:
    """A function on the box: values on the current points and exact derivatives.

    Supports `+ - * /` with fields, numbers and arrays, integer powers, any jnp
    function (`jnp.sin(u)` gives values), and `d` for derivatives. Fields that were
    combined with coordinate arrays keep their values but can no longer be
    differentiated: apply the product rule by hand, `x * u.d("x") + u`.
    """

    # NumPy scalars and arrays leave mixed arithmetic to the field.
    __array_ufunc__ = None

    def __init__(self, symbolic: Symbolic | None, values: Array | None = None):
        self._symbolic, self._values = symbolic, values

    @classmethod
    def unknown(
        cls,
        source: LeafSource,
        box: Box,
        index: int,
        partial: Mapping[int, tuple[int, ...]] = MappingProxyType({}),
        coordinates: Any = (),
    ) -> Field:
        """Returns the field of one unknown; `partial` as in `Symbolic`."""
        leaf = (index, (0,) * box.dimension)
        symbolic = Symbolic(source, box, {(leaf,): 1.0}, partial, tuple(coordinates))
        return cls(symbolic)

    def d(self, axis: str, order: int = 1) -> Field:
        """Returns the derivative of the given order along the named axis.

        Raises:
            ValueError: no such axis, a bad order, or a field that was combined with
                coordinate arrays and so has values only.
        """
        if self._symbolic is None:
            raise ValueError(
                "pinns.Field.d: this field has values only, because it was combined "
                "with an array or a jnp function; only sums, products and powers of "
                "unknowns and Python numbers can be differentiated. Differentiate the "
                "unknowns first, for example x * u.d('x') + u for d(x u)/dx"
            )
        if isinstance(order, bool) or not isinstance(order, int) or order < 1:
            raise ValueError(
                f"pinns.Field.d: `order` must be a positive integer, got {order!r}"
            )
        box, polynomial = self._symbolic.box, self._symbolic.polynomial
        partial = self._symbolic.partial
        if axis in box.physical_names:
            raise ValueError(
                f"pinns.Field.d: {axis!r} is no axis of {box!r}; derivatives along "
                f"({', '.join(box.physical_names)}) are those of "
                "u.gradient('cartesian'), and u.laplacian() is their sum"
            )
        position = box.axis(axis, owner="pinns.Field.d")
        constant = {u for u, axes in partial.items() if position not in axes}
        for _ in range(order):
            polynomial = _differentiate(polynomial, position, constant)
        return Field(self._symbolic._replace(polynomial=polynomial))

    def laplacian(self) -> Field:
        """Returns the Laplacian in space: over all axes but `t`.

        In a plain box the sum of second derivatives, in a mapped one that of its
        coordinates: in polar ones `u_rr + u_r / r + u_pp / r^2`, whose value can not be
        differentiated once more.

        Raises:
            ValueError: a field that has values only.

        Example:
            >>> import pinns
            >>> ring = pinns.Annulus(r=(1.0, 2.0))
            >>> pinns.Problem(ring, lambda u: u.laplacian() - 1.0).groups
            ('residual', 'periodic(theta)')
        """
        symbolic = self._differentiable("laplacian")
        return symbolic.box.laplacian(self, symbolic.coordinates)

    def gradient(self, frame: str = "axes") -> tuple[Field, ...]:
        """Returns the derivatives per unit length in space, over all axes but `t`.

        Args:
            frame: `"axes"`: along the axes of the box, in polar coordinates
                `(u_r, u_p / r)`; `"cartesian"`: along those of the physical space.

        Raises:
            ValueError: a field that has values only, or no such frame.
        """
        symbolic = self._differentiable("gradient")
        return symbolic.box.gradient(self, symbolic.coordinates, frame)

    def _differentiable(self, what: str) -> Symbolic:
        if self._symbolic is None:
            raise ValueError(
                f"pinns.Field.{what}: this field has values only, because it was "
                "combined with an array or a jnp function; take derivatives of the "
                "unknowns first"
            )
        return self._symbolic

    @property
    def values(self) -> Array:
        """The values on the current points."""
        if self._values is None and self._symbolic is not None:
            self._values = _evaluate(self._symbolic)
        return jnp.asarray(self._values)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self):
        return self.values.dtype

    @property
    def ndim(self) -> int:
        return self.values.ndim

    def __jax_array__(self) -> Array:
        return self.values

    def tree_flatten(self):
        return (self.values,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(None, children[0])

    def __add__(self, other: Any):
        return self._binary(other, jnp.add, _add)

    def __radd__(self, other: Any):
        return self + other

    def __sub__(self, other: Any):
        return self._binary(other, jnp.subtract, lambda a, b: _add(a, _scale(b, -1.0)))

    def __rsub__(self, other: Any):
        return -(self - other)

    def __mul__(self, other: Any):
        return self._binary(other, jnp.multiply, _multiply)

    def __rmul__(self, other: Any):
        return self * other

    def __truediv__(self, other: Any):
        if isinstance(other, numbers.Real):
            return self * (1.0 / float(other))
        return self._binary(other, jnp.divide, None)

    def __rtruediv__(self, other: Any):
        return Field(None, jnp.divide(other, self.values))

    def __neg__(self):
        return self * -1.0

    def __pos__(self):
        return self

    def __abs__(self):
        return Field(None, jnp.abs(self.values))

    def __pow__(self, power: Any):
        whole = isinstance(power, numbers.Real) and float(power).is_integer()
        if self._symbolic is not None and whole and 1 <= power <= 32:
            return math.prod([self] * (int(power) - 1), start=self)
        return Field(None, jnp.power(self.values, _array(power)))

    def __rpow__(self, base: Any):
        return Field(None, jnp.power(_array(base), self.values))

    def __lt__(self, other: Any) -> Array:
        return self.values < _array(other)

    def __le__(self, other: Any) -> Array:
        return self.values <= _array(other)

    def __gt__(self, other: Any) -> Array:
        return self.values > _array(other)

    def __ge__(self, other: Any) -> Array:
        return self.values >= _array(other)

    def __repr__(self) -> str:
        if self._symbolic is None:
            return f"Field(values {self.values.shape})"
        return f"Field({len(self._symbolic.polynomial)} terms on {self._symbolic.box})"

    def _binary(self, other, on_values, on_polynomials):
        own, polynomial = self._symbolic, _polynomial(other)
        if own is not None and polynomial is not None and on_polynomials is not None:
            combined = on_polynomials(own.polynomial, polynomial)
            return Field(own._replace(polynomial=combined))
        return Field(None, on_values(self.values, _array(other)))


def _polynomial(value: Any) -> Polynomial | None:
    if isinstance(value, Field):
        return value._symbolic.polynomial if value._symbolic is not None else None
    return {(): float(value)} if isinstance(value, numbers.Real) else None


def _evaluate(symbolic: Symbolic) -> Array:
    source, box, polynomial = symbolic[:3]
    total: Any = 0.0
    for leaves, coefficient in polynomial.items():
        value: Any = coefficient
        if leaves:
            factors = [source(*leaf) for leaf in leaves]
            value = math.prod(factors[1:], start=factors[0])
            value = value if coefficient == 1.0 else coefficient * value
        total = value if isinstance(total, float) and total == 0.0 else total + value
    if isinstance(total, float):
        # An empty or constant polynomial still has the shape of the points.
        total = jnp.full_like(source(0, (0,) * box.dimension), total)
    return total


def _array(value: Any) -> Any:
    return value.values if isinstance(value, Field) else value


def _add(a: Polynomial, b: Polynomial) -> Polynomial:
    total = dict(a)
    for leaves, coefficient in b.items():
        total[leaves] = total.get(leaves, 0.0) + coefficient
    return {leaves: c for leaves, c in total.items() if c != 0.0}


def _scale(a: Polynomial, factor: float) -> Polynomial:
    return {leaves: factor * coefficient for leaves, coefficient in a.items()}


def _multiply(a: Polynomial, b: Polynomial) -> Polynomial:
    total: dict[tuple[Leaf, ...], float] = {}
    for left, x in a.items():
        for right, y in b.items():
            leaves = tuple(sorted(left + right))
            total[leaves] = total.get(leaves, 0.0) + x * y
    return total


def _differentiate(
    polynomial: Polynomial, axis: int, constant: Collection[int]
) -> Polynomial:
    total: dict[tuple[Leaf, ...], float] = {}
    for leaves, coefficient in polynomial.items():
        for i, (unknown, orders) in enumerate(leaves):
            if unknown in constant:
                continue
            raised = (*orders[:axis], orders[axis] + 1, *orders[axis + 1 :])
            product = tuple(sorted((*leaves[:i], (unknown, raised), *leaves[i + 1 :])))
            total[product] = total.get(product, 0.0) + coefficient
    return total
