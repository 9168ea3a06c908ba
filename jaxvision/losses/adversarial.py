"""Losses of generative adversarial networks, from the scores of a discriminator.

Scores are raw numbers, no probabilities, of any shape with the batch first: large for
images that the discriminator takes for real. `real` are those of images of the data,
`fake` those of generated ones, from any number of each.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision import _checks
from jaxvision._checks import Values


ADVERSARIAL = ("hinge", "nonsaturating", "least_squares", "wasserstein")


def discriminator_loss(
    real: Float[Values, "b *n"], fake: Float[Values, "c *n"], *, kind: str = "hinge"
) -> Float[Array, ""]:
    """Returns what the discriminator minimizes: one mean over real, one over fake.

    ===============  ====================================  =========================
    kind             of real scores r                      of fake scores f
    ===============  ====================================  =========================
    hinge            relu(1 - r)                           relu(1 + f)
    nonsaturating    softplus(-r), which is -log p         softplus(f), -log(1 - p)
    least_squares    (r - 1)^2 / 2                         f^2 / 2
    wasserstein      -r                                    f
    ===============  ====================================  =========================

    with `p = sigmoid(score)`: `"nonsaturating"` is the binary cross-entropy.

    Args:
        real, fake: scores, see the module.
        kind: see the table.

    Raises:
        TypeError: scores are not floating point.
        ValueError: there are no scores, or an unknown kind.

    Example:
        >>> import jax.numpy as jnp
        >>> float(discriminator_loss(jnp.array([2.0, 0.0]), jnp.array([-0.5])))
        1.0

    Source: Lim and Ye, Geometric GAN, 2017 (hinge); Goodfellow et al., NeurIPS 2014
    (nonsaturating); Mao et al., ICCV 2017 (least squares); Arjovsky et al., ICML 2017
    (Wasserstein, which needs a penalty besides).
    """
    where = "jaxvision.losses.discriminator_loss"
    real, fake = checked_scores(where, real=real, fake=fake)
    _known(where, kind)
    if kind == "hinge":
        return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))
    if kind == "nonsaturating":
        return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))
    if kind == "least_squares":
        return (jnp.mean((real - 1) ** 2) + jnp.mean(fake**2)) / 2
    return jnp.mean(fake) - jnp.mean(real)


def generator_loss(
    fake: Float[Values, "b *n"], *, kind: str = "hinge"
) -> Float[Array, ""]:
    """Returns what the generator minimizes, a mean over the scores of its images.

    `-f` for hinge and Wasserstein, `softplus(-f)` for nonsaturating, `(f - 1)^2 / 2`
    for least squares. Arguments are those of `discriminator_loss`.

    Raises:
        TypeError: scores are not floating point.
        ValueError: there are no scores, or an unknown kind.

    Example:
        >>> import jax.numpy as jnp
        >>> float(generator_loss(jnp.array([2.0, -1.0])))
        -0.5

    Source: those of `discriminator_loss`; nonsaturating is the form that Goodfellow et
    al. (NeurIPS 2014, section 3) train with in place of `log(1 - p)`.
    """
    where = "jaxvision.losses.generator_loss"
    (fake,) = checked_scores(where, fake=fake)
    _known(where, kind)
    if kind == "nonsaturating":
        return jnp.mean(jax.nn.softplus(-fake))
    if kind == "least_squares":
        return jnp.mean((fake - 1) ** 2) / 2
    return -jnp.mean(fake)


def r1_penalty(
    score: Callable[[Array], Array], x: Float[Values, "b *n"]
) -> Float[Array, ""]:
    """Returns `mean_b ||grad_x score(x)_b||^2`, the zero-centered penalty on inputs.

    R1 is `gamma / 2` times this, on real images; GP-0 is the same with another factor.
    It is a penalty on the slope in the *image*; that in the parameters is
    `rlc_gradient_penalty`.

    Args:
        score: `x -> (B, ...)`, one or more scores per row, of which no row depends on
            another.
        x: (B, ...), floating point.

    Raises:
        TypeError: `x` is not floating point.
        ValueError: `x` has no rows.

    Example:
        >>> import jax.numpy as jnp
        >>> float(r1_penalty(lambda x: x @ jnp.array([3.0, 4.0]), jnp.zeros((2, 2))))
        25.0

    Source: Mescheder et al., ICML 2018, equation 9.
    """
    slopes = _slopes("jaxvision.losses.r1_penalty", score, x)
    return jnp.mean(jnp.sum(slopes**2, axis=1))


def interpolated_penalty(
    score: Callable[[Array], Array],
    real: Float[Values, "b *n"],
    fake: Float[Values, "b *n"],
    weights: Float[Values, " b"],
) -> Float[Array, ""]:
    """Returns `mean_b (||grad_x score(x)_b|| - 1)^2` between real and fake images.

    `x = w real + (1 - w) fake`: the gradient penalty of WGAN-GP, which multiplies it by
    10 and draws each `w` uniformly from [0, 1].

    Args:
        score: as for `r1_penalty`.
        real, fake: (B, ...), of one shape.
        weights: (B,).

    Raises:
        TypeError: an array is not floating point.
        ValueError: shapes do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.zeros((2, 2))
        >>> def score(x):
        ...     return x @ jnp.array([3.0, 4.0])
        >>> float(interpolated_penalty(score, x, x + 1, jnp.array([0.0, 0.5])))
        16.0

    Source: Gulrajani et al., NeurIPS 2017, equation 3.
    """
    where = "jaxvision.losses.interpolated_penalty"
    real = _checks.floating(where, "real", real)
    fake = _checks.floating(where, "fake", fake)
    _checks.same_shape(where, real=real, fake=fake)
    _checks.rows(where, "real", real)
    weights = _checks.floating(where, "weights", weights)
    if weights.shape != real.shape[:1]:
        raise ValueError(
            f"{where}: `weights` must have shape {real.shape[:1]}, one per row, got "
            f"{weights.shape}"
        )
    w = weights.reshape(-1, *[1] * (real.ndim - 1)).astype(real.dtype)
    slopes = _slopes(where, score, w * real + (1 - w) * fake)
    squares = jnp.sum(slopes**2, axis=1)
    # The root has no slope at 0: there the penalty is flat in every direction.
    norms = jnp.sqrt(jnp.where(squares > 0, squares, 1.0)) * (squares > 0)
    return jnp.mean((norms - 1) ** 2)


def consistency_penalty(
    score: Float[Values, "b *n"], augmented: Float[Values, "b *n"]
) -> Float[Array, ""]:
    """Returns `mean (score - augmented)^2`: scores of images and of augmented ones.

    Raises:
        TypeError: scores are not floating point.
        ValueError: shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> float(consistency_penalty(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0])))
        2.0

    Source: Zhang et al., Consistency Regularization for GANs, ICLR 2020, equation 2.
    """
    where = "jaxvision.losses.consistency_penalty"
    score, augmented = checked_scores(where, score=score, augmented=augmented)
    _checks.same_shape(where, score=score, augmented=augmented)
    return jnp.mean((score - augmented) ** 2)


def checked_scores(where: str, **given: Values) -> list[Array]:
    """Returns scores in float32 at least."""
    found = []
    for name, values in given.items():
        array = _checks.floating(where, name, values)
        if array.ndim == 0 or array.size == 0:
            raise ValueError(
                f"{where}: `{name}` must be scores (batch, ...), not empty, got shape "
                f"{array.shape}"
            )
        found.append(_checks.wide(array))
    return found


def _known(where: str, kind: str) -> None:
    if kind not in ADVERSARIAL:
        raise ValueError(f"{where}: `kind` must be one of {ADVERSARIAL}, got {kind!r}")


def _slopes(where: str, score: Callable[[Array], Array], x: Values) -> Array:
    """Returns the gradient of each row's scores in that row, (B, n)."""
    x = _checks.floating(where, "x", x)
    _checks.rows(where, "x", x)
    found = jax.grad(lambda x: jnp.sum(score(x)))(x)
    return _checks.wide(found.reshape(found.shape[0], -1))
