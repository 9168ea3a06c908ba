"""Arrays of a network by name, and the names and layouts that PyTorch has for them.

A name is the path of an array in the network, `blocks.0.1.branch.0.conv.kernel`. The
backbones have tables of what torchvision and timm call the same array.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from jaxvision.layers import InceptionV3, ResNet, ViT


SOURCES = ("jaxvision", "torchvision", "timm")
KEPT = nnx.Any(nnx.Param, nnx.BatchStat)  # no random keys, no counters
# Entries of a PyTorch state that have no counterpart and no influence on the output.
IGNORED = re.compile(r"(^|\.)num_batches_tracked$")
LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
Rules = Mapping[str, str]

# Path of a module here -> template for its arrays there: {0} is the first group of the
# path, {0+1} the number in it plus one.
RESNET: Rules = {
    r"stem\.conv": "conv1.{leaf}",
    r"stem\.norm": "bn1.{leaf}",
    r"blocks\.(\d+)\.(\d+)\.branch\.(\d+)\.conv": "layer{0+1}.{1}.conv{2+1}.{leaf}",
    r"blocks\.(\d+)\.(\d+)\.branch\.(\d+)\.norm": "layer{0+1}.{1}.bn{2+1}.{leaf}",
    r"blocks\.(\d+)\.(\d+)\.shortcut\.conv": "layer{0+1}.{1}.downsample.0.{leaf}",
    r"blocks\.(\d+)\.(\d+)\.shortcut\.norm": "layer{0+1}.{1}.downsample.1.{leaf}",
    r"head": "fc.{leaf}",
}
_LAYER = "encoder.layers.encoder_layer_{0}."
VIT_TORCHVISION: Rules = {
    "class_token": "class_token",
    "positions": "encoder.pos_embedding",
    r"embed": "conv_proj.{leaf}",
    r"encoder\.blocks\.(\d+)\.first_norm": _LAYER + "ln_1.{leaf}",
    r"encoder\.blocks\.(\d+)\.attention\.qkv": _LAYER + "self_attention.in_proj_{leaf}",
    r"encoder\.blocks\.(\d+)\.attention\.out": (
        _LAYER + "self_attention.out_proj.{leaf}"
    ),
    r"encoder\.blocks\.(\d+)\.second_norm": _LAYER + "ln_2.{leaf}",
    r"encoder\.blocks\.(\d+)\.up": _LAYER + "mlp.0.{leaf}",
    r"encoder\.blocks\.(\d+)\.down": _LAYER + "mlp.3.{leaf}",
    r"encoder\.norm": "encoder.ln.{leaf}",
    r"head": "heads.head.{leaf}",
}
VIT_TIMM: Rules = {
    "class_token": "cls_token",
    "positions": "pos_embed",
    r"embed": "patch_embed.proj.{leaf}",
    r"encoder\.blocks\.(\d+)\.first_norm": "blocks.{0}.norm1.{leaf}",
    r"encoder\.blocks\.(\d+)\.attention\.qkv": "blocks.{0}.attn.qkv.{leaf}",
    r"encoder\.blocks\.(\d+)\.attention\.out": "blocks.{0}.attn.proj.{leaf}",
    r"encoder\.blocks\.(\d+)\.second_norm": "blocks.{0}.norm2.{leaf}",
    r"encoder\.blocks\.(\d+)\.up": "blocks.{0}.mlp.fc1.{leaf}",
    r"encoder\.blocks\.(\d+)\.down": "blocks.{0}.mlp.fc2.{leaf}",
    r"encoder\.norm": "norm.{leaf}",
    r"head": "head.{leaf}",
}
INCEPTION: Rules = {
    r"stem\.(\w+)\.conv": "Conv2d_{0}.conv.{leaf}",
    r"stem\.(\w+)\.norm": "Conv2d_{0}.bn.{leaf}",
    r"blocks\.(\w+)\.layers\.(\w+)\.conv": "Mixed_{0}.{1}.conv.{leaf}",
    r"blocks\.(\w+)\.layers\.(\w+)\.norm": "Mixed_{0}.{1}.bn.{leaf}",
    r"auxiliary\.layers\.(\d+)\.conv": "AuxLogits.conv{0}.conv.{leaf}",
    r"auxiliary\.layers\.(\d+)\.norm": "AuxLogits.conv{0}.bn.{leaf}",
    r"auxiliary\.head": "AuxLogits.fc.{leaf}",
    r"head": "fc.{leaf}",
}
TABLES: dict[tuple[type, str], Rules] = {
    (InceptionV3, "torchvision"): INCEPTION,
    (ResNet, "torchvision"): RESNET,
    (ResNet, "timm"): RESNET,
    (ViT, "torchvision"): VIT_TORCHVISION,
    (ViT, "timm"): VIT_TIMM,
}
# Files of torchvision before 0.12 name the linear layers of a ViT so.
OLDER = (
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)


class Foreign(NamedTuple):
    """An array as another library has it: its name there, and its axes from ours."""

    name: str
    axes: tuple[int, ...] | None


def named_arrays(model: nnx.Module) -> dict[str, Any]:
    """Returns parameters and running statistics by name, in order.

    Example:
        >>> from flax import nnx
        >>> from jaxvision import layers
        >>> norm = layers.BatchNorm(2)
        >>> {name: x.shape for name, x in named_arrays(norm).items()}
        {'bias': (2,), 'mean': (2,), 'scale': (2,), 'var': (2,)}
    """
    state = nnx.to_pure_dict(nnx.state(model, KEPT))
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {".".join(str(part.key) for part in path): leaf for path, leaf in leaves}


def foreign_names(model: nnx.Module, source: str) -> dict[str, Foreign]:
    """Returns what `source` calls each array of a network, by our name.

    `axes` are those of `numpy.transpose` from our layout to theirs and back: kernels
    of convolutions are (height, width, in, out) here and (out, in, height, width) in
    PyTorch, of linear layers (in, out) and (out, in).

    Args:
        model: a `layers.ResNet`, `layers.ViT`, or, for torchvision's names,
            `layers.InceptionV3`; abstract ones do (`nnx.eval_shape`).
        source: `"torchvision"`, `"timm"`, or `"jaxvision"` for our own names.

    Raises:
        ValueError: an unknown source, or a network without a table for it.

    Example:
        >>> from flax import nnx
        >>> from jaxvision import layers
        >>> model = nnx.eval_shape(lambda: layers.ResNet(18, rngs=nnx.Rngs(0)))
        >>> foreign_names(model, "torchvision")["blocks.0.1.branch.0.conv.kernel"]
        Foreign(name='layer1.1.conv1.weight', axes=(3, 2, 0, 1))
    """
    where = "jaxvision.weights"
    if source not in SOURCES:
        raise ValueError(
            f"{where}: `source` must be one of {', '.join(map(repr, SOURCES))}, got "
            f"{source!r}"
        )
    arrays = named_arrays(model)
    if source == "jaxvision":
        return {name: Foreign(name, None) for name in arrays}
    rules = TABLES.get((type(model), source))
    if rules is None:
        kinds = sorted(kind.__name__ for kind, other in TABLES if other == source)
        known = ", ".join(kinds)
        raise ValueError(
            f"{where}: `model` must be one of {known} for source={source!r}, got a "
            f"{type(model).__name__}"
        )
    return {
        name: Foreign(_translated(name, rules), _axes(name, len(array.shape)))
        for name, array in arrays.items()
    }


def to_foreign(model: nnx.Module, source: str) -> dict[str, np.ndarray]:
    """Returns the arrays of a network under the names and layouts of `source`.

    What `torch.nn.Module.load_state_dict` takes, once made tensors.

    Raises:
        ValueError: as `foreign_names`.
    """
    names, arrays = foreign_names(model, source), named_arrays(model)
    return {
        other.name: np.transpose(np.asarray(arrays[name]), other.axes)
        if other.axes
        else np.asarray(arrays[name])
        for name, other in names.items()
    }


def current(state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a PyTorch state with today's names and without counters."""
    found = {}
    for name, array in state.items():
        if IGNORED.search(name):
            continue
        for old, new in OLDER:
            name = old.sub(new, name)
        found[name] = array
    return found


def _translated(name: str, rules: Rules) -> str:
    module, _, leaf = name.rpartition(".")
    for pattern, template in rules.items():
        match = re.fullmatch(pattern, module or leaf)
        if match is None:
            continue
        return re.sub(
            r"\{(\w+)(\+1)?\}", _filler(match, LEAVES.get(leaf, "")), template
        )
    raise ValueError(f"jaxvision.weights: no rule for the array {name!r}")


def _filler(match: re.Match[str], leaf: str) -> Callable[[re.Match[str]], str]:
    def fill(slot: re.Match[str]) -> str:
        if slot[1] == "leaf":
            return leaf
        part = match[int(slot[1]) + 1]
        return str(int(part) + 1) if slot[2] else part

    return fill


def _axes(name: str, rank: int) -> tuple[int, ...] | None:
    if not name.endswith("kernel"):
        return None
    return {2: (1, 0), 4: (3, 2, 0, 1)}[rank]
