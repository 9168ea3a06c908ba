"""The squared norm of a factored residual without inner products of its terms.

`||Lu - f||^2` as a sum of inner products of factors subtracts numbers of the size of
`||f||^2`, and rounds at `eps ||f||^2`. Here the residual is one chain of factors (see
`pinns.factored.chain`), read axis by axis: partial products of the columns of a node
with the factors of the next axis, weighted by the root of the quadrature weights, are
a tall matrix, of which only the triangular factor goes on,

    M_k = [X_{k-1} o A_k],   M_k = Q_k X_k,   ||r||^2 = || X_{d-1} o A_d ||_F^2 .

At the last axis the terms of the residual are added up, and their sum is squared: like
the norm on the grid, it rounds at `(eps ||f||)^2`. Matrices that are wider than tall
go on as they are, and the rows of an axis are first replaced by the triangular factor
of all its factors, where it has more points than these have columns.

- CP: columns multiplied by factors, `X[a, r] A[n, r]`.
- tensor train: `sum_r X[a, r] A[n, r, s]`; this is left-orthogonalization.
- Tucker: columns are entries of the core, whose indices are contracted in turn.

The derivative needs no derivative of Q: only `X^T X = M^T M` matters for what follows,
so `dX = Q^T dM` has the right inner products with X, at matrices of any rank. Second
derivatives are not those of the norm, and are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pinns.factored.chain import Chain, End, Part, Terms, chain
from pinns.factored.forms import Data, Forms, Side
from pinns.factored.plan import Family


# Partial products of a node: (rows, columns, bond) by family.
Node = dict[Family, Array]
# Factor versions of one axis on the points of a measure: (V, n, *shape) by family.
Rows = dict[Family, Array]


class OrthogonalNorm:
    """Evaluates the squared norms of all groups of a plan.

    Args:
        forms: for factor versions and cores.
    """

    def __init__(self, forms: Forms):
        self.forms = forms
        self.plan, self.model = forms.plan, forms.model
        self.chain: Chain = chain(forms.plan)
        self.with_core = {
            family
            for family in forms.plan.versions
            if forms.tucker and forms.members(family)
        }
        self.used = [self._used(run) for run in forms.runs]

    def __call__(self, side: Side, data: Data) -> Float[Array, " g"]:
        """Returns the weighted sum of squares of every group."""
        axes = self._axes(side, data)
        nodes = [self._start(side, data)]
        for blocks, parts, rows in zip(
            self.chain.blocks, self.chain.nodes, axes[:-1], strict=True
        ):
            absorbed = [
                self._block(nodes[b.source], b.columns, rows[b.measure]) for b in blocks
            ]
            nodes = [_shortened(_stacked(own, absorbed)) for own in parts]
        zero = jnp.zeros((), data.coordinates.dtype)
        totals = [zero] * self.forms.groups
        for end in self.chain.ends:
            residual = self._end(nodes[end.source], end, axes[-1][end.measure])
            totals[end.group] = totals[end.group] + end.share * jnp.sum(residual**2)
        return jnp.stack(totals)

    def _used(self, run: range) -> dict[Family, list[int]]:
        """Returns which versions are used inside the intervals of some axes."""
        found: dict[Family, set[int]] = {}
        last = self.forms.dimension - 1
        for level in run:
            if level == last:
                every = [
                    (e.measure, f, [t])
                    for e in self.chain.ends
                    for f, t in e.terms.items()
                ]
            else:
                every = [
                    (b.measure, f, columns)
                    for b in self.chain.blocks[level]
                    for f, columns in b.columns.items()
                ]
            for measure, family, columns in every:
                if measure == "interior":
                    used = {v for terms in columns for _, v, _ in terms}
                    found.setdefault(family, set()).update(used)
        return {family: sorted(used) for family, used in sorted(found.items())}

    def _axes(self, side: Side, data: Data) -> list[dict[str, Rows]]:
        """Returns the weighted factors of every axis by measure."""
        inner = data.coordinates.shape[1] - 2
        out: list[dict[str, Rows]] = []
        for number, run in enumerate(self.forms.runs):
            own = {f: v[number] for f, v in side.versions.items()}
            levels = slice(run[0], run[-1] + 1)
            roots = {m: jnp.sqrt(w[levels]) for m, w in data.weights.items()}
            spans = {
                "interior": slice(0, inner),
                "lower": slice(inner, inner + 1),
                "upper": slice(inner + 1, inner + 2),
                "ends": slice(inner, inner + 2),
            }
            found = {
                m: {f: _weighted(a, roots[m], span) for f, a in own.items()}
                for m, span in spans.items()
            }
            found["interior"] = _compressed(found["interior"], self.used[number])
            out += [
                {m: {f: a[i] for f, a in rows.items()} for m, rows in found.items()}
                for i in range(len(run))
            ]
        return out

    def _start(self, side: Side, data: Data) -> Node:
        node: Node = {}
        for family in self.chain.families:
            core = side.cores[family]
            width = side.versions[family][0].shape[3]
            if core is not None:
                first = core.reshape(1, 1, -1)
            else:
                first = jnp.ones((1, 1, width), data.coordinates.dtype)
            scale = side.scales.get(family)
            node[family] = first if scale is None else scale * first
        return node

    def _block(
        self, node: Node, columns: Mapping[Family, Sequence[Terms]], rows: Rows
    ) -> Node:
        """Returns the products with the factors of one axis, rows in front."""
        out: Node = {}
        for family, own in columns.items():
            x, a = node[family], rows[family]
            made = [
                sum(
                    self._absorb(family, x[:, c], factor)
                    for c, factor in _by_column(terms, a)
                )
                for terms in own
            ]
            wide = jnp.stack(made, axis=2)
            out[family] = wide.reshape(-1, *wide.shape[2:])
        return out

    def _absorb(self, family: Family, x: Array, factor: Array) -> Float[Array, "p n q"]:
        if factor.ndim == 3:
            return jnp.einsum("pa,nab->pnb", x, factor)
        if family in self.with_core:
            split = x.reshape(x.shape[0], factor.shape[1], -1)
            return jnp.einsum("paq,na->pnq", split, factor)
        return x[:, None, :] * factor[None, :, :]

    def _end(self, node: Node, end: End, rows: Rows) -> Float[Array, "p n"]:
        parts = []
        for family, terms in end.terms.items():
            x, a = node[family], rows[family]
            for c, factor in _by_column(terms, a):
                flat = factor.reshape(*factor.shape[:2])
                parts.append(jnp.einsum("pa,na->pn", x[:, c], flat))
        return sum(parts[1:], start=parts[0])


def _weighted(versions: Array, roots: Array, span: slice) -> Float[Array, "l v n *w"]:
    own = roots[:, span]
    wide = own.reshape(own.shape[0], 1, -1, *(1,) * (versions.ndim - 3))
    return versions[:, :, span] * wide


def _compressed(rows: Rows, used: Mapping[Family, Sequence[int]]) -> Rows:
    """Replaces points by fewer rows with the same inner products, where it pays."""
    if not used:
        return rows
    parts, shapes = [], []
    for family, versions in used.items():
        chosen = rows[family][:, jnp.asarray(versions)]
        shapes.append(chosen.shape)
        flat = jnp.moveaxis(chosen, 2, 1)
        parts.append(flat.reshape(*flat.shape[:2], -1))
    matrix = jnp.concatenate(parts, axis=2)
    if matrix.shape[1] <= matrix.shape[2]:
        return rows
    out = dict(rows)
    split = jnp.split(
        triangle(matrix), [*_cumulated(p.shape[2] for p in parts)][:-1], axis=2
    )
    for (family, versions), flat, shape in zip(
        used.items(), split, shapes, strict=True
    ):
        fewer = flat.reshape(*flat.shape[:2], len(versions), *shape[3:])
        short = jnp.moveaxis(fewer, 1, 2)
        whole = (rows[family].shape[1], *short.shape[2:])
        empty = jnp.zeros((short.shape[0], *whole), short.dtype)
        out[family] = empty.at[:, jnp.asarray(versions)].set(short)
    return out


def _cumulated(widths) -> list[int]:
    total, out = 0, []
    for width in widths:
        total += width
        out.append(total)
    return out


def _by_column(terms: Terms, factors: Array) -> list[tuple[int, Array]]:
    """Returns per column before the sum of the factors that multiply it."""
    found: dict[int, Array] = {}
    for column, version, weight in terms:
        value = factors[version] if weight == 1.0 else weight * factors[version]
        found[column] = found[column] + value if column in found else value
    return list(found.items())


def _stacked(parts: Sequence[Part], blocks: Sequence[Node]) -> Node:
    """Puts the rows of a node's parts below each other."""
    if len(parts) == 1:
        return blocks[parts[0].block]  # a block that goes on as it is
    out: Node = {}
    for family in parts[0].columns:
        rows = []
        for part in parts:
            block = blocks[part.block][family]
            columns = [
                block[:, c] if scale == 1.0 else scale * block[:, c]
                for c, scale in part.columns[family]
            ]
            rows.append(jnp.stack(columns, axis=1))
        out[family] = jnp.concatenate(rows)
    return out


def _shortened(node: Node) -> Node:
    """Replaces rows by those of a triangular matrix, if these are fewer."""
    rows = next(iter(node.values())).shape[0]
    widths = [math.prod(x.shape[1:]) for x in node.values()]
    if rows <= sum(widths):
        return node
    matrix = jnp.concatenate([x.reshape(rows, -1) for x in node.values()], axis=1)
    split = jnp.split(triangle(matrix), _cumulated(widths)[:-1], axis=1)
    return {
        family: flat.reshape(-1, *x.shape[1:])
        for (family, x), flat in zip(node.items(), split, strict=True)
    }


@jax.custom_jvp
def triangle(matrix: Float[Array, "*l m q"]) -> Float[Array, "*l k q"]:
    """Returns R of the QR factorization of matrices, k = min(m, q) rows.

    For functions of `R^T R = M^T M`, whose derivative `dR = Q^T dM` gives exactly,
    whatever the rank of M. Second derivatives are refused.
    """
    return jnp.linalg.qr(matrix, mode="r")


@triangle.defjvp
def _triangle_jvp(primals, tangents):
    (matrix,), (tangent,) = primals, tangents
    basis, upper = _factorized(matrix)
    return upper, jnp.einsum("...mk,...mq->...kq", basis, tangent)


@jax.custom_jvp
def _factorized(matrix: Array) -> tuple[Array, Array]:
    return jnp.linalg.qr(matrix)


@_factorized.defjvp
def _refuse(primals, tangents):
    raise NotImplementedError(
        "pinns.factored: an orthogonalized norm has first derivatives only; take "
        "loss='factored' for second ones"
    )


__all__ = ["OrthogonalNorm", "triangle"]
