"""Soft Dice: overlap of predicted probabilities with masks."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxcore.training import axis_name, mean_over_devices
from jaxvision import _checks
from jaxvision._checks import Values


def soft_dice_loss(
    probabilities: Float[Values, "b *n k"],
    targets: Float[Values, "b *n k"],
    *,
    over_batch: bool = True,
    background: int | None = None,
    smooth: float = 1e-5,
) -> Float[Array, ""]:
    """Returns one minus the soft Dice coefficient, averaged over classes.

    With `p` the probabilities and `t` the targets of a class,

        dice = (2 sum p t + smooth) / (sum p + sum t + smooth),

    where sums go over positions and, with `over_batch`, over the images of the global
    batch on all devices; otherwise each image has a coefficient and their mean is
    taken. A class that is in neither `p` nor `t` has the coefficient 1.

    Args:
        probabilities: (B, ..., K), floating point in [0, 1], from a softmax or sigmoid.
        targets: of the same shape, one-hot or soft masks, floating point.
        over_batch: pool the sums over the batch.
        background: a class to leave out; None counts all.
        smooth: positive; what an empty class is compared with.

    Returns:
        A number in [0, 1].

    Raises:
        TypeError: an argument is not floating point.
        ValueError: shapes differ or are empty, `background` is no class or the only
            one, or `smooth` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> t = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])  # one image, two positions
        >>> print(f"{soft_dice_loss(t, t):.4f} {soft_dice_loss(1 - t, t):.4f}")
        0.0000 1.0000

    Source: Milletari et al., V-Net, 3DV 2016; with sums in place of sums of squares,
    pooled over the batch, as nnU-Net (Isensee et al., Nature Methods 2021) uses it.
    """
    where = "jaxvision.losses.soft_dice_loss"
    p = _checks.floating(where, "probabilities", probabilities)
    t = _checks.floating(where, "targets", targets)
    _checks.same_shape(where, probabilities=p, targets=t)
    _checks.rows(where, "probabilities", p)
    _checks.positive(where, "smooth", smooth)
    classes = p.shape[-1]
    if background is not None and not (0 <= background < classes and classes > 1):
        raise ValueError(
            f"{where}: `background` must be one of several classes, from 0 to "
            f"{classes - 1}, got {background!r} with {classes} in all"
        )
    p, t = _checks.wide(p), _checks.wide(t)
    axes = tuple(range(0 if over_batch else 1, p.ndim - 1))
    overlap, mass = jnp.sum(p * t, axes), jnp.sum(p, axes) + jnp.sum(t, axes)
    share = 1
    if over_batch:
        # Means over devices instead of sums: `smooth` is shared out with them.
        devices = mean_over_devices({"overlap": overlap, "mass": mass})
        overlap, mass = devices["overlap"], devices["mass"]
        share = _devices()
    dice = (2 * overlap + smooth / share) / (mass + smooth / share)
    if background is not None:
        dice = jnp.delete(dice, background, axis=-1, assume_unique_indices=True)
    return 1 - jnp.mean(dice)


def _devices() -> int:
    name = axis_name()
    return 1 if name is None else lax.axis_size(name)
