"""How the models of a federation do at all of its nodes.

A matrix of accuracies has a row for each model and a column for each node's test data.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvision import _checks
from jaxvision._checks import Values


def federated_accuracy(matrix: Float[Values, "m n"]) -> Float[Array, ""]:
    """Returns the mean of all entries, those of models at their own nodes among them.

    Args:
        matrix: (M, N), model by node.

    Raises:
        TypeError: no floats.
        ValueError: no matrix.

    Example:
        >>> import jax.numpy as jnp
        >>> float(federated_accuracy(jnp.array([[1.0, 0.5], [0.0, 0.5]])))
        0.5

    Source: Palazzo et al., FedRewind, ICPR 2024 (FA).
    """
    return jnp.mean(_matrix("federated_accuracy", matrix))


def federated_forgetting(matrix: Float[Values, "m n"]) -> Float[Array, ""]:
    """Returns the deviation of all entries from their mean, `sum / (M N - 1)` rooted.

    0 where every model does equally well everywhere.

    Raises:
        TypeError: no floats.
        ValueError: no matrix, or one with a single entry.

    Example:
        >>> import jax.numpy as jnp
        >>> float(federated_forgetting(jnp.array([[1.0, 0.0], [0.0, 1.0]])).round(4))
        0.5774

    Source: Palazzo et al., FedRewind, ICPR 2024 (FF).
    """
    values = _matrix("federated_forgetting", matrix)
    if values.size < 2:
        raise ValueError(
            "jaxvision.metrics.federated_forgetting: `matrix` must have at least two "
            f"entries, got shape {values.shape}"
        )
    return jnp.std(values, ddof=1)


def personalized_accuracy(matrix: Float[Values, "n n"]) -> Float[Array, ""]:
    """Returns the mean of the diagonal: each model at the node where it is.

    Raises:
        TypeError: no floats.
        ValueError: `matrix` is not square.

    Example:
        >>> import jax.numpy as jnp
        >>> float(personalized_accuracy(jnp.array([[1.0, 0.0], [0.0, 0.5]])))
        0.75

    Source: Palazzo et al., FedRewind, ICPR 2024 (PFA).
    """
    values = _matrix("personalized_accuracy", matrix)
    if values.shape[0] != values.shape[1]:
        raise ValueError(
            "jaxvision.metrics.personalized_accuracy: `matrix` must be square, a model "
            f"for each node, got shape {values.shape}"
        )
    return jnp.mean(jnp.diagonal(values))


def _matrix(name: str, matrix: Values) -> Array:
    where = f"jaxvision.metrics.{name}"
    values = _checks.floating(where, "matrix", matrix)
    if values.ndim != 2 or not values.size:
        raise ValueError(
            f"{where}: `matrix` must be (models, nodes), got shape {values.shape}"
        )
    return values
