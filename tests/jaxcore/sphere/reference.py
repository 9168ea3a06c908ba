"""Random rotations, and a Clebsch-Gordan product in NumPy with the tensors of e3nn."""

import e3nn_jax
import numpy as np


def random_rotation(rng, *shape, sign=1):
    q, r = np.linalg.qr(rng.standard_normal((*shape, 3, 3)))
    q = q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
    return q * (sign * np.sign(np.linalg.det(q)))[..., None, None]


def coupled(x, y, degrees, weights):
    """The sum over all paths of `weights[l1, l2, l3] C(x_l1, y_l2)`, path by path."""
    x, y = np.asarray(x), np.asarray(y)
    out = np.zeros((*x.shape[:-1], (degrees[2] + 1) ** 2))
    for l1 in range(degrees[0] + 1):
        for l2 in range(degrees[1] + 1):
            for l3 in range(abs(l1 - l2), min(l1 + l2, degrees[2]) + 1):
                a, b, c = (slice(l * l, (l + 1) ** 2) for l in (l1, l2, l3))
                tensor = weights[l1, l2, l3] * e3nn_jax.clebsch_gordan(l1, l2, l3)
                outer = x[..., a, None] * y[..., None, b]
                out[..., c] += np.tensordot(outer, tensor, axes=2)
    return out
