"""What transfer of a vision transformer needs: features once, slower early layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from jaxvision import data, layers
from jaxvision._checks import Values


AT_ONCE = 32  # images of one call


def slower_below(depth: int, decay: float) -> optax.GradientTransformation:
    """Returns a transformation that shrinks updates of a ViT, by `decay` per layer.

    The updates of norm and head stay, those of the last block are multiplied by
    `decay`, those of patches and positions by `decay ** (depth + 1)`.

    Args:
        depth: number of blocks.
        decay: factor per layer.

    Source: Bao et al., BEiT, ICLR 2022, section 3.2 (layer-wise decay).
    """

    def slowed(updates: Any, _: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, u: u * decay ** layers_above(path, depth), updates
        )

    return optax.stateless(slowed)


def layers_above(path: tuple[Any, ...], depth: int) -> int:
    """Returns how many layers of a ViT lie above a parameter; 0 for norm and head.

    Example:
        >>> from jax.tree_util import DictKey
        >>> path = tuple(map(DictKey, ("encoder", "blocks", 11, "up", "kernel")))
        >>> layers_above(path, 12), layers_above((DictKey("positions"),), 12)
        (1, 13)
    """
    names = [str(getattr(part, "key", part)) for part in path]
    if names[:2] == ["encoder", "blocks"]:
        return depth - int(names[2])
    return 0 if names[0] in ("encoder", "head") else depth + 1


def features(
    build: Callable[[], nnx.Module],
    state: Mapping[str, Any],
    image: Float[Values, "n h w c"],
) -> np.ndarray:
    """Returns what the encoder of a network's state makes of images, (n, hidden).

    Args:
        build: the network, of which only the structure is used.
        state: with `"params"` and `"statistics"`.
        image: in [0, 1]; normalized here.
    """
    graph, _, _ = layers.split(nnx.eval_shape(build))

    @jax.jit
    def run(params, statistics, x):
        model: Any = nnx.merge(graph, params, statistics, copy=True)
        return model.features(data.normalize(x))

    arrays = (state["params"], state["statistics"])
    return in_parts(lambda _, x: run(*arrays, x), np.asarray(image))


def with_copies(
    change: Callable[[Array, Array], Array],
    arrays: Mapping[str, np.ndarray],
    copies: int,
    *,
    seed: int,
) -> dict[str, np.ndarray]:
    """Returns images and labels with changed copies behind them.

    Args:
        change: `(key, images) -> images`.
        arrays: `"image"` (n, H, W, C) and `"label"` (n,).
        copies: of each image.
        seed: of what is done to them.

    Returns:
        `"image"` and `"label"` with n (1 + copies) rows, the first n as they were.
    """
    image, label = np.asarray(arrays["image"]), np.asarray(arrays["label"])
    compiled, root, parts = jax.jit(change), jax.random.key(seed), [image]
    for copy in range(copies):
        parts.append(in_parts(compiled, image, jax.random.fold_in(root, copy)))
    return {
        "image": np.concatenate(parts),
        "label": np.concatenate([label] * (1 + copies)),
    }


def in_parts(function: Any, rows: np.ndarray, key: Array | None = None) -> np.ndarray:
    """Returns a function of a key and rows on many of them, by parts of equal size."""
    size, parts = min(AT_ONCE, len(rows)), []
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        padded = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
        own = None if key is None else jax.random.fold_in(key, first)
        parts.append(np.asarray(function(own, padded))[: len(part)])
    return np.concatenate(parts)
