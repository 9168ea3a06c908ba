"""Cross-entropies with label smoothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxvision import _checks
from jaxvision._checks import Values


def softmax_cross_entropy(
    logits: Float[Values, "*b k"],
    labels: Int[Values, "*b"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Array, "*b"]:
    """Returns the cross-entropy of each prediction with its integer label.

    `-sum_k q_k log softmax(logits)_k` with `q = (1 - s) onehot(label) + s / K`.

    Args:
        logits: (..., K), floating point; half precision is computed in float32.
        labels: (...), integers from 0 to K - 1. Inside `jax.jit` a label out of range
            gives NaN.
        label_smoothing: s, in [0, 1).

    Returns:
        (...), float32 at least; take the mean for a loss.

    Raises:
        TypeError: logits are no floats, or labels no integers.
        ValueError: shapes do not fit, a label is out of range, or `label_smoothing` is.

    Example:
        >>> import jax.numpy as jnp
        >>> softmax_cross_entropy(jnp.zeros((1, 4)), jnp.array([2])).round(4).tolist()
        [1.3863]

    Source: Szegedy et al., CVPR 2016, section 7 (smoothing).
    """
    where = "jaxvision.losses.softmax_cross_entropy"
    logits = _checks.wide(_checks.floating(where, "logits", logits))
    labels = _checks.integers(where, "labels", labels)
    if logits.ndim == 0 or labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"{where}: `labels` must have the shape of `logits` {logits.shape} without "
            f"the classes, got {labels.shape}"
        )
    classes = logits.shape[-1]
    _checks.labels_below(where, "labels", labels, classes)
    _checks.fraction(where, "label_smoothing", label_smoothing)
    logs = jax.nn.log_softmax(logits)
    index = _checks.indices(labels, classes)[..., None]
    own = jnp.take_along_axis(logs, index, axis=-1, mode="fill", fill_value=jnp.nan)
    s = label_smoothing
    return -((1 - s) * own[..., 0] + s * jnp.mean(logs, axis=-1))


def binary_cross_entropy(
    logits: Float[Values, "*b"],
    targets: Float[Values, "*b"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Array, "*b"]:
    """Returns the cross-entropy of each logit with its target, elementwise.

    `softplus(z) - t z`, which is `-t log p - (1 - t) log(1 - p)` with `p = sigmoid(z)`,
    for `t = (1 - s) target + s / 2`.

    Args:
        logits: floating point, any shape; half precision is computed in float32.
        targets: of the same shape, floating point in [0, 1].
        label_smoothing: s, in [0, 1).

    Returns:
        The shape of `logits`, float32 at least; take the mean for a loss.

    Raises:
        TypeError: an argument is not floating point.
        ValueError: shapes differ, or `label_smoothing` is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> binary_cross_entropy(jnp.zeros(1), jnp.ones(1)).round(4).tolist()
        [0.6931]

    Source: Bishop, Pattern Recognition and Machine Learning, 2006, equation 4.90, for
    logits; Szegedy et al., CVPR 2016, section 7 (smoothing).
    """
    where = "jaxvision.losses.binary_cross_entropy"
    logits = _checks.wide(_checks.floating(where, "logits", logits))
    targets = _checks.floating(where, "targets", targets)
    _checks.same_shape(where, logits=logits, targets=targets)
    _checks.fraction(where, "label_smoothing", label_smoothing)
    soft = (1 - label_smoothing) * targets.astype(logits.dtype) + label_smoothing / 2
    return jax.nn.softplus(logits) - soft * logits
