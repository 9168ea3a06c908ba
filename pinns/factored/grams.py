"""Inner products of the factors of one axis, `A_v^T diag(w) B_w`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from pinns.factored.plan import Family, Form


def split_rows(measure: str, array: Array, axis: int) -> Array:
    """Returns the rows of a measure: the points, or both ends."""
    n = array.shape[axis] - 2
    start, stop = (0, n) if measure == "interior" else (n, n + 2)
    return lax.slice_in_dim(array, start, stop, axis=axis)


def gram_matrices(
    form: Form, a: Array, b: Array, weights, shared: SharedGram | None = None
) -> list[Float[Array, "l r s"]]:
    """Returns `A_v^T diag(w) B_w` of every combination the form uses, on some axes.

    With `shared`, they are taken from there.
    """
    if shared is not None:
        return [
            shared.matrix(measure, (form.left, v), (form.right, w))
            for measure, v, w in form.combos
        ]
    found: dict[str, Array] = {}
    for measure in dict.fromkeys(m for m, _, _ in form.combos):
        one, other = (split_rows(measure, x, 2) for x in (a, b))
        weighted = other * split_rows(measure, weights[measure], 1)[:, None, :, None]
        found[measure] = jnp.einsum("lvnr,lwns->lvwrs", one, weighted)
    return [found[m][:, v, w] for m, v, w in form.combos]


class SharedGram:
    """All inner products of the factors of some axes with each other.

    Inside the intervals they are one symmetric matrix product. Arrays are split once
    instead of sliced at each use: the transpose of many slices are sums of arrays
    padded with zeros, which took more time than all matrix products.

    Args:
        versions: (l, V, N, r) by family.
        weights: (l, N) by measure.
    """

    def __init__(self, versions: dict[Family, Array], weights: dict[str, Array]):
        self.weights = weights
        self.position: dict[tuple[Family, int], int] = {}
        inner: list[Array] = []
        self.ends: list[list[Array]] = []
        for family, own in versions.items():
            _, count, number, _ = own.shape
            for v, part in enumerate(lax.split(own, (1,) * count, axis=1)):
                self.position[family, v] = len(inner)
                points, *ends = lax.split(part[:, 0], (number - 2, 1, 1), axis=1)
                inner.append(points)
                self.ends.append([end[:, 0] for end in ends])
        self.widths = [x.shape[2] for x in inner]
        matrix = jnp.concatenate(inner, axis=2)
        own = split_rows("interior", weights["interior"], 1)
        rows = lax.split(_gram(matrix, own[:, :, None]), self.widths, axis=1)
        self.blocks = [lax.split(row, self.widths, axis=2) for row in rows]

    def matrix(
        self, measure: str, left: tuple[Family, int], right: tuple[Family, int]
    ) -> Float[Array, "l r s"]:
        """Returns the inner products of two factor versions under a measure."""
        i, j = self.position[left], self.position[right]
        if measure == "interior":
            return self.blocks[i][j]
        ends = {"lower": (0,), "upper": (1,)}.get(measure, (0, 1))
        parts = []
        for end in ends:
            scale = self.weights[measure][:, end - 2, None, None]
            outer = self.ends[i][end][:, :, None] * self.ends[j][end][:, None, :]
            parts.append(scale * outer)
        return sum(parts[1:], start=parts[0])


@jax.custom_jvp
def _gram(matrix: Float[Array, "l n c"], weights: Float[Array, "l n 1"]) -> Array:
    return jnp.einsum("lnc,lnd->lcd", matrix, weights * matrix)


def _gram_jvp(primals, tangents):
    # One product and its transpose, where the plain rule has two products.
    (matrix, weights), (moved, changed) = primals, tangents
    gram = _gram(matrix, weights)
    total = jnp.zeros_like(gram)
    if not isinstance(moved, SymbolicZero):
        half = jnp.einsum("lnc,lnd->lcd", weights * matrix, moved)
        total = half + half.mT
    if not isinstance(changed, SymbolicZero):  # not while solving
        total = total + jnp.einsum("lnc,lnd->lcd", matrix, changed * matrix)
    return gram, total


_gram.defjvp(_gram_jvp, symbolic_zeros=True)


__all__ = ["SharedGram", "gram_matrices", "split_rows"]
