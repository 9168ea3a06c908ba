"""All linear conditions on the faces of a box, contracted together.

A linear condition on face i is `E_i` (rows of the factor of axis i at one or both
ends, derivatives combined) contracted with the plain factors of all other axes, plus
known values. Contracting 2d faces one by one costs O(d^2) products to form, and as
many kernels to compile. Here the axes are cut in two halves and each half is swept
once, carrying two partial contractions: the plain one, and one whose rows are *all*
faces met so far,

    faces_k = [faces_{k-1} x F_k ; plain_{k-1} x E_k],   plain_k = plain_{k-1} x F_k.

Two matrix products, faces of one half with the plain part of the other, then give
the values on every face. Rows of the right half are ordered with the axes reversed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pinns.contraction import best_split
from pinns.program import Program
from pinns.separable import Separable


@dataclass(frozen=True)
class FaceForm:
    """A linear condition on one axis: which derivatives at which ends it combines."""

    unknown: int
    axis: int
    selector: str
    orders: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of points on the axis: both ends or one."""
        return 2 if self.selector == "ends" else 1


class FaceValues(NamedTuple):
    """Coordinate-only values of one face.

    coefficients: (count,) per order of the form. rest: what is added, an array that
    broadcasts to the face.
    """

    coefficients: tuple[Float[Array, " c"], ...]
    rest: Array


class PreparedFaces(NamedTuple):
    """Per half: coefficients of its faces, known values, weights of rows, columns.

    left: known values (rows of all left faces, right points); right: (left points,
    rows of all right faces). Halves without faces are None.
    """

    coefficients: tuple[tuple[Array, ...], ...]
    left: tuple[Array, Array, Array] | None
    right: tuple[Array, Array, Array] | None


def face_form(program: Program, hoisted: Sequence[Any]) -> FaceForm | None:
    """Returns the form of a program on a face; None if it does not have one.

    Args:
        program: of a term with one axis held at its ends.
        hoisted: shapes and dtypes of the values that `Program.prepare` returns.
    """
    found: list[FaceForm] = []

    def inspect(*values):
        linear = program.linear(values)
        if linear is not None:
            form = _form(program, linear[0].terms, linear[1])
            found.extend([] if form is None else [form])
        return 0

    jax.eval_shape(inspect, *hoisted)
    return found[0] if found else None


def face_values(form: FaceForm, program: Program, hoisted: Sequence[Array]):
    """Returns the `FaceValues` of a program that has the given form."""
    linear = program.linear(hoisted)
    if linear is None:
        raise ValueError(f"pinns.faces: expected a linear face program, got {program}")
    terms, known = linear[0], linear[1]
    dtype = hoisted[0].dtype if hoisted else jnp.float32
    totals = {order: jnp.zeros(form.count, dtype) for order in form.orders}
    for (leaf, multipliers), coefficient in terms.terms.items():
        value = jnp.full(form.count, coefficient, dtype)
        for i in itertools.chain.from_iterable(multipliers):
            value = value * known[i].reshape(-1)
        totals[program.leaves[leaf][1][form.axis]] += value
    rest = jnp.zeros((1,) * len(program.shape), dtype)
    if terms.rest is not None:
        rest = rest + terms.rest
    return FaceValues(tuple(totals[order] for order in form.orders), rest)


def _form(program: Program, terms, known) -> FaceForm | None:
    leaves = [program.leaves[leaf] for leaf, _ in terms]
    unknowns = {unknown for unknown, _, _ in leaves}
    selectors = {selectors for _, _, selectors in leaves}
    if len(unknowns) != 1 or len(selectors) != 1:
        return None
    (own,) = selectors
    held = [i for i, s in enumerate(own) if s != "interior"]
    if len(held) != 1:
        return None
    (axis,) = held
    for (_, multipliers), (_, orders, _) in zip(terms, leaves, strict=True):
        elsewhere = [i for i in range(len(own)) if i != axis]
        varying = (known[k].size > 1 for i in elsewhere for k in multipliers[i])
        if any(orders[i] for i in elsewhere) or any(varying):
            return None
    orders = sorted({orders[axis] for _, orders, _ in leaves})
    return FaceForm(unknowns.pop(), axis, own[axis], tuple(orders))


class FaceBatch:
    """The faces of one unknown.

    Args:
        model: the separable model.
        counts: collocation points per axis.
        forms: one per face, in any order; results come in this order.
    """

    def __init__(
        self, model: Separable, counts: tuple[int, ...], forms: Sequence[FaceForm]
    ):
        self.model, self.counts, self.forms = model, counts, tuple(forms)
        self.split = best_split(model, counts)
        numbered = list(enumerate(forms))
        # The order in which a sweep appends them: inward from both ends of the box.
        self.left = [i for i, f in numbered if f.axis < self.split]
        self.left.sort(key=lambda i: forms[i].axis)
        self.right = [i for i, f in numbered if f.axis >= self.split]
        self.right.sort(key=lambda i: -forms[i].axis)

    def prepare(
        self, values: Sequence[FaceValues], weights: Sequence[Array] | None, dtype
    ) -> PreparedFaces:
        """Returns known values and weights in the layout of the two products."""
        known = [self._matrix(f, v) for f, v in zip(self.forms, values, strict=True)]
        d = len(self.counts)
        plain = [
            self._weights(axes, None, weights, dtype)
            for axes in (range(self.split), reversed(range(self.split, d)))
        ]
        left = right = None
        if self.left:
            rows = [
                self._weights(range(self.split), self.forms[i], weights, dtype)
                for i in self.left
            ]
            left = (
                jnp.concatenate([known[i] for i in self.left], axis=0),
                jnp.concatenate(rows),
                plain[1],
            )
        if self.right:
            rows = [
                self._weights(
                    reversed(range(self.split, d)), self.forms[i], weights, dtype
                )
                for i in self.right
            ]
            right = (
                jnp.concatenate([known[i] for i in self.right], axis=1),
                jnp.concatenate(rows),
                plain[0],
            )
        return PreparedFaces(tuple(v.coefficients for v in values), left, right)

    def mean_squares(
        self, core: Array | None, table: Sequence, prepared: PreparedFaces
    ) -> list[Array]:
        """Returns the mean square on every face.

        Args:
            core: of the model, or None.
            table: `[axis][order]`, factor rows at (collocation points, both ends).
            prepared: from `prepare`.
        """
        d = len(self.counts)
        ends = [
            _end_rows(form, table[form.axis], coefficients)
            for form, coefficients in zip(
                self.forms, prepared.coefficients, strict=True
            )
        ]
        dtype = table[0][0][0].dtype
        plain_left, faces_left = self._sweep(
            self.model.prefix(core, dtype), range(self.split), self.left, ends, table,
            self.model.absorb,
        )  # fmt: skip
        plain_right, faces_right = self._sweep(
            self.model.suffix(dtype), reversed(range(self.split, d)), self.right, ends,
            table, self._append,
        )  # fmt: skip
        out: list[Any] = [None] * len(self.forms)
        if prepared.left is not None:
            known, rows, columns = prepared.left
            square = jnp.square(faces_left @ plain_right.T + known)
            sums = rows * jnp.sum(square * columns[None, :], axis=1)
            self._scatter(out, self.left, sums, range(self.split))
        if prepared.right is not None:
            known, columns, rows = prepared.right
            square = jnp.square(plain_left @ faces_right.T + known)
            sums = columns * jnp.sum(square * rows[:, None], axis=0)
            self._scatter(out, self.right, sums, range(self.split, d))
        return out

    def _sweep(self, start, axes, members, ends, table, absorb):
        plain, faces = start, None
        for axis in axes:
            inner = table[axis][0][0]
            parts = [] if faces is None else [absorb(faces, inner)]
            parts += [
                absorb(plain, ends[i]) for i in members if self.forms[i].axis == axis
            ]
            if parts:
                faces = parts[0] if len(parts) == 1 else jnp.concatenate(parts)
            plain = absorb(plain, inner)
        return plain, faces

    def _append(self, right: Array, factor: Array) -> Array:
        """`absorb_right` with the new axis running fastest."""
        grown = self.model.absorb_right(factor, right)
        wide = grown.reshape(factor.shape[0], right.shape[0], -1)
        return wide.swapaxes(0, 1).reshape(grown.shape)

    def _shape(self, form: FaceForm) -> tuple[int, ...]:
        return tuple(
            form.count if i == form.axis else n for i, n in enumerate(self.counts)
        )

    def _matrix(self, form: FaceForm, values: FaceValues) -> Array:
        """Returns the known values as (left points, right points reversed)."""
        shape = self._shape(form)
        d = len(shape)
        order = (*range(self.split), *reversed(range(self.split, d)))
        wide = jnp.broadcast_to(values.rest, shape).transpose(order)
        return wide.reshape(math.prod(shape[: self.split]), -1)

    def _weights(self, axes, form: FaceForm | None, weights, dtype) -> Array:
        """Returns the product weights of the points over some axes."""
        total = jnp.ones(1, dtype)
        for axis in axes:
            if form is not None and axis == form.axis:
                own = jnp.full(form.count, 1.0 / form.count, dtype)
            elif weights is None:
                own = jnp.full(self.counts[axis], 1.0 / self.counts[axis], dtype)
            else:
                own = weights[axis]
            total = jnp.outer(total, own).reshape(-1)
        return total

    def _scatter(self, out: list, members: Sequence[int], sums: Array, axes) -> None:
        """Adds up the rows of each face and puts the sums where they belong."""
        sizes = [
            math.prod(self._shape(self.forms[i])[axis] for axis in axes)
            for i in members
        ]
        own = np.repeat(np.eye(len(members)), sizes, axis=1)
        totals = jnp.asarray(own, sums.dtype) @ sums
        for position, i in enumerate(members):
            out[i] = totals[position]


def _end_rows(form: FaceForm, jets: Sequence, coefficients: Sequence[Array]) -> Array:
    """Returns E: derivatives of the factor at the ends, combined."""
    parts = []
    for order, coefficient in zip(form.orders, coefficients, strict=True):
        rows = jets[order][1]
        rows = {"lower": rows[:1], "upper": rows[1:], "ends": rows}[form.selector]
        parts.append(rows * coefficient.reshape(-1, *(1,) * (rows.ndim - 1)))
    return sum(parts[1:], start=parts[0])
