"""Orthonormal bases of the factor networks' features, and their Gram matrices.

The functions a network with fixed hidden layers can represent on one axis are the
span of its features. The least-squares problem is solved in a basis of that span that
is orthonormal in the quadrature inner product, found by a singular value
decomposition of the weighted feature values: sqrt(w) Phi = U S V^T, basis Phi V / S.
Directions with S below a relative truncation are left out, so features may be as
dependent as they like.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from pinns.factored.forms import Data, Forms, gram_matrices
from pinns.factored.plan import Family
from pinns.separable import Params, Separable


class Bases(NamedTuple):
    """Orthonormal functions per unknown and axis.

    transform: (u, d, h, k) maps coefficients in the basis to those of the features.
    kept: (u, d, k), which of them exist. ones: (u, d, k), coefficients of the
    constant 1, as far as it can be represented.
    """

    transform: Float[Array, "u d h k"]
    kept: Bool[Array, "u d k"]
    ones: Float[Array, "u d k"]


def feature_jets(
    forms: Forms, params: Params, data: Data
) -> tuple[Float[Array, "u d n h"], ...]:
    """Returns the features' values and derivatives on the rows of the plan."""
    stacked = forms.model.stacked_factors(
        params,
        forms.plan.problem.box,
        data.coordinates,
        forms.plan.order,
        unknowns=forms.unknowns,
        envelope=forms.envelope,
        features=True,
    )
    return tuple(jnp.concatenate(parts, axis=1) for parts in zip(*stacked, strict=True))


def orthonormal(
    features: Float[Array, "u d n h"],
    weights: Float[Array, "d n"],
    truncation: float,
) -> Bases:
    """Returns the bases; singular values below `truncation` of the largest are cut."""
    roots = jnp.sqrt(weights)[None, :, :, None]
    left, sizes, right = jnp.linalg.svd(roots * features, full_matrices=False)
    kept = sizes > truncation * sizes[..., :1]
    inverse = jnp.where(kept, 1.0 / jnp.where(kept, sizes, 1.0), 0.0)
    transform = right.swapaxes(-1, -2) * inverse[..., None, :]
    ones = jnp.einsum("udnk,dn->udk", left, roots[0, :, :, 0])
    return Bases(transform, kept, jnp.where(kept, ones, 0.0))


def all_grams(
    forms: Forms, jets: tuple[Array, ...], bases: Bases, data: Data
) -> dict[tuple[int, ...], Array]:
    """Returns `Psi_v^T diag(w) Psi_w` per axis for the bilinear forms of the plan.

    By unknowns: {(u, v): (d, combos, k, k)}, and {(u,): (d, combos, k)} against the
    known functions.
    """
    jets = tuple(jnp.einsum("udnh,udhk->udnk", j, bases.transform) for j in jets)
    axes = range(forms.dimension)
    versions: dict[Family, Array] = {
        family: data.multipliers[()][..., None]
        if not family
        else forms.versions(family, jets, axes, data)
        for family in forms.plan.versions
    }
    out = {}
    for form in forms.plan.bilinear:
        if form.left:
            a, b = versions[form.left], versions[form.right]
            found = jnp.stack(gram_matrices(form, a, b, data.weights), axis=1)
            out[form.left + form.right] = found if form.right else found[..., 0]
    return out


def with_outputs(
    model: Separable, params: Params, outputs: list[Float[Array, "u l h *w"]]
) -> Params:
    """Returns parameters with other last layers, given per run of axes."""
    dimension = sum(run.shape[1] for run in outputs)
    unknowns = outputs[0].shape[0]
    flat: dict[tuple[int, int], Array] = {}
    for run, own in zip(model.runs(dimension), outputs, strict=True):
        for i, axis in enumerate(run):
            for u in range(unknowns):
                flat[u, axis] = own[u, i].reshape(own.shape[2], -1)
    out = dict(params)
    for width, members in model.groups(dimension, unknowns).items():
        stacked = jnp.stack([flat[member] for member in members])
        name = f"factors_{width}"
        out[name] = jax.vmap(model.net.with_output)(params[name], stacked)
    return out
