"""Spectral normalization: a kernel divided by its largest singular value."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from jaxvision.layers._checks import positive
from jaxvision.layers.parameters import split


OWNER = "jaxvision.layers.SpectralNorm"
TINY = 1e-12  # as PyTorch: keeps the norm of a kernel of zeros off 0


class Singular(nnx.BatchStat):
    """A singular vector that power iteration follows: kept, saved, not trained."""


class SpectralNorm(nnx.Module):
    """Runs a layer with `kernel / sigma`, sigma its largest singular value.

    The kernel counts as a matrix W (everything but the outputs, outputs). Each call in
    training does `num_steps` of power iteration,

        v = W u / |W u|,   u = W^T v / |W^T v|,   sigma = v^T W u,

    from the vectors of the call before, which are kept beside the running statistics;
    in evaluation sigma is that of the kept vectors. Gradients go through W in sigma,
    not through the iteration. A kernel of zeros stays as it is. `model.train()` and
    `model.eval()` switch; a new layer trains.

    Args:
        layer: with a `kernel` (..., outputs), such as `nnx.Linear` or `conv`; its bias
            stays as it is.
        num_steps: of power iteration a call.
        warmup: of power iteration at the start, from a random vector.
        rngs: random keys.

    Raises:
        TypeError: `layer` has no kernel.
        ValueError: a number of steps that is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = nnx.Linear(3, 2, use_bias=False, rngs=nnx.Rngs(0))
        >>> layer.kernel[...] = jnp.zeros((3, 2)).at[0, 0].set(5.0)
        >>> SpectralNorm(layer, rngs=nnx.Rngs(0))(jnp.ones((1, 3))).tolist()
        [[1.0, 0.0]]

    Source: Miyato et al., Spectral Normalization for GANs, ICLR 2018, algorithm 1.
    """

    def __init__(
        self,
        layer: nnx.Module,
        *,
        num_steps: int = 1,
        warmup: int = 15,
        rngs: nnx.Rngs,
    ):
        if not isinstance(getattr(layer, "kernel", None), nnx.Param):
            raise TypeError(
                f"{OWNER}: `layer` must have a `kernel`, got {type(layer).__name__}"
            )
        positive(OWNER, num_steps=num_steps, warmup=warmup)
        self.layer: Any = layer
        self.num_steps = num_steps
        matrix = self._matrix()
        u = jax.random.normal(rngs.params(), matrix.shape[1:], matrix.dtype)
        u, v = _iterate(matrix, u, warmup)
        self.u, self.v = Singular(u), Singular(v)
        self.use_running_average = False

    def sigma(self) -> Float[Array, ""]:
        """Returns `v^T W u` with the kept vectors."""
        u, v = map(lax.stop_gradient, (self.u[...], self.v[...]))
        matrix = self._matrix()
        return v.astype(matrix.dtype) @ matrix @ u.astype(matrix.dtype)

    def __call__(self, x: Array) -> Array:
        """Returns what the layer makes of `x` with the normalized kernel."""
        if not self.use_running_average:
            wide = lax.stop_gradient(self._matrix()).astype(self.u[...].dtype)
            self.u[...], self.v[...] = _iterate(wide, self.u[...], self.num_steps)
        graph, params, rest = split(self.layer)
        sigma = self.sigma()
        kernel = params["kernel"] / jnp.where(sigma == 0, 1, sigma)
        params = {**params, "kernel": kernel}
        return nnx.merge(graph, params, rest, copy=True)(x)

    def _matrix(self) -> Float[Array, "m n"]:
        kernel = self.layer.kernel[...]
        return kernel.reshape(-1, kernel.shape[-1])


def _iterate(matrix: Array, u: Array, steps: int) -> tuple[Array, Array]:
    """Returns u and v after some power iteration; no gradient goes through it."""
    matrix = lax.stop_gradient(matrix)

    def step(_, vectors):
        u, _ = vectors
        v = _unit(matrix @ u)
        return _unit(matrix.T @ v), v

    start = (lax.stop_gradient(u), jnp.zeros(matrix.shape[:1], matrix.dtype))
    if steps == 1:
        return step(0, start)
    return lax.fori_loop(0, steps, step, start)


def _unit(x: Array) -> Array:
    return x / jnp.maximum(jnp.linalg.norm(x), TINY)
