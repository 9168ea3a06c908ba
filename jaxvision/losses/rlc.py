"""The three readings of "RLC", a regularizer of the discriminator of a GAN.

The paper of HingeRLC-GAN prints one equation, cites a paper with another, and its
published notebook runs a third. All are here, each under its own name:

- `rlc_gradient_penalty`: the equation, the squared slope of the discriminator's loss in
  its own parameters;
- `lecam_penalty`: the cited regularizer of Tseng et al., with `ScoreAnchors`;
- `anchor_penalty`: the notebook's, scores pulled to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxcore.training import axis_name, mean_over_devices
from jaxvision import _checks
from jaxvision._checks import Values
from jaxvision.losses.adversarial import checked_scores


FORMS = ("relu", "square")


def rlc_gradient_penalty(
    loss: Callable[[Any], Any], params: Any, *, has_aux: bool = False
) -> tuple[Any, Float[Array, ""]]:
    """Returns the loss and `||grad loss(params)||^2`, over all leaves of `params`.

    Its gradient is `2 H g`, with Hessian H and gradient g of the loss: the penalty has
    to be differentiated with the loss, so that training takes a second derivative.
    Under `pmap`, g is the gradient over the global batch: value and gradient of the
    penalty are those of one device, once they are averaged over devices as any loss.

    Args:
        loss: `params -> value`, or `params -> (value, aux)`: the discriminator's loss,
            a mean over the rows of the batch.
        params: of the discriminator, any pytree of floating arrays.
        has_aux: the loss returns `aux` too.

    Returns:
        `(value, penalty)`, or `((value, aux), penalty)`.

    Example:
        >>> import jax.numpy as jnp
        >>> value, penalty = rlc_gradient_penalty(lambda w: jnp.sum(w**2), jnp.ones(3))
        >>> float(value), float(penalty)
        (3.0, 12.0)

    Source: Goni et al., HingeRLC-GAN, ICPR 2024, the loss of the discriminator with
    RLC; the paper does not number its equations.
    """
    found, slope = jax.value_and_grad(loss, has_aux=has_aux)(params)
    if axis_name() is None:
        return found, _product(slope, slope)
    # A square is no mean over devices. This is linear in the slope of this device, has
    # the right value on average, and its gradient is 2 H g with g of all devices.
    overall = lax.stop_gradient(mean_over_devices(lax.stop_gradient(slope)))
    return found, 2 * _product(slope, overall) - _product(overall, overall)


def _product(a: Any, b: Any) -> Array:
    """Returns the inner product of two trees, in float32 at least."""

    def one(x, y):
        return jnp.sum(_checks.wide(x) * _checks.wide(y))

    return sum(jax.tree.leaves(jax.tree.map(one, a, b)), jnp.zeros(()))


class ScoreAnchors(NamedTuple):
    """Moving averages of the mean real and fake score, and how often they moved."""

    real: Float[Array, ""]
    fake: Float[Array, ""]
    moves: Float[Array, ""]

    @classmethod
    def zeros(cls) -> ScoreAnchors:
        """Returns anchors that have seen nothing."""
        return cls(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))

    def follow(
        self,
        real: Float[Values, ""],
        fake: Float[Values, ""],
        *,
        decay: float = 0.99,
        start: int = 0,
    ) -> ScoreAnchors:
        """Returns the anchors after one more step, `a <- decay a + (1 - decay) mean`.

        The first `start` times, and the first time of all, they are the means
        themselves. They are constants: no gradient goes through them.

        Args:
            real, fake: mean scores of the step, over all devices.
            decay: in [0, 1).
            start: steps before averaging begins.

        Raises:
            ValueError: a mean score is no single number, or `decay` or `start` is out
                of range.

        Example:
            >>> anchors = ScoreAnchors.zeros().follow(1.0, -1.0, decay=0.5)
            >>> float(anchors.follow(2.0, -1.0, decay=0.5).real)
            1.5
        """
        where = "jaxvision.losses.ScoreAnchors"
        _checks.fraction(where, "decay", decay)
        _checks.not_negative(where, "start", start)
        for name, score in (("real", real), ("fake", fake)):
            if jnp.ndim(score):
                raise ValueError(
                    f"{where}: `{name}` must be the mean score, one number, got shape "
                    f"{jnp.shape(score)}"
                )
        keep = jnp.where(self.moves < max(start, 1), 0.0, decay)

        def mix(old, new):
            new = jnp.asarray(new, old.dtype)
            return lax.stop_gradient(keep * old + (1 - keep) * new)

        return ScoreAnchors(mix(self.real, real), mix(self.fake, fake), self.moves + 1)


def lecam_penalty(
    real: Float[Values, "b *n"],
    fake: Float[Values, "c *n"],
    anchors: ScoreAnchors,
    *,
    form: str = "relu",
) -> Float[Array, ""]:
    """Returns how far scores are beyond the moving average of the other side.

    `mean relu(real - a_fake)^2 + mean relu(a_real - fake)^2`; with `form="square"` the
    same without relu, and with `fake - a_real`.

    Args:
        real, fake: scores (B, ...).
        anchors: of the steps before; no gradient goes to them.
        form: `"relu"`: the cited authors' code; `"square"`: their paper.

    Raises:
        TypeError: scores are not floating point.
        ValueError: there are no scores, or an unknown form.

    Example:
        >>> import jax.numpy as jnp
        >>> anchors = ScoreAnchors.zeros().follow(1.0, -1.0)
        >>> float(lecam_penalty(jnp.array([1.0]), jnp.array([3.0]), anchors))
        4.0

    Source: Tseng et al., Regularizing GANs under Limited Data, CVPR 2021, equation 3.
    """
    where = "jaxvision.losses.lecam_penalty"
    real, fake = checked_scores(where, real=real, fake=fake)
    if form not in FORMS:
        raise ValueError(f"{where}: `form` must be one of {FORMS}, got {form!r}")
    a_real, a_fake = map(lax.stop_gradient, (anchors.real, anchors.fake))
    above, below = real - a_fake, a_real - fake
    if form == "relu":
        above, below = jax.nn.relu(above), jax.nn.relu(below)
    return jnp.mean(above**2) + jnp.mean(below**2)


def anchor_penalty(
    real: Float[Values, "b *n"],
    fake: Float[Values, "c *m"],
    *,
    notebook_compat: bool = False,
) -> Float[Array, ""]:
    """Returns `mean (real - 1)^2 + mean (fake - 1)^2`, all scores pulled to 1.

    Args:
        real, fake: scores (B, ...).
        notebook_compat: as the published notebook calls it: it passes the batch of
            images in the place of `fake`, so that the second term is a constant. Pass
            them here; no gradient goes through them.

    Raises:
        TypeError: scores are not floating point.
        ValueError: there are no scores.

    Example:
        >>> import jax.numpy as jnp
        >>> float(anchor_penalty(jnp.array([3.0]), jnp.array([0.0])))
        5.0

    Source: notebook of Goni et al., HingeRLC-GAN, where its weight is 0.15.
    """
    where = "jaxvision.losses.anchor_penalty"
    real, fake = checked_scores(where, real=real, fake=fake)
    if notebook_compat:
        fake = lax.stop_gradient(fake)
    return jnp.mean((real - 1) ** 2) + jnp.mean((fake - 1) ** 2)
