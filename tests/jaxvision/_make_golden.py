"""Writes `golden/torch_logits.npz`: what PyTorch computes with known weights.

    python -m tests.jaxvision._make_golden

needs the extra `parity`. Names and shapes of the weights are kept beside the logits;
the weights are a closed form of them.
"""

import json
from pathlib import Path

import numpy as np

from tests.jaxvision import _torch_networks as networks


PATH = Path(__file__).parent / "golden" / "torch_logits.npz"


def compute(torch, name: str) -> tuple[dict[str, tuple[int, ...]], np.ndarray]:
    """Shapes of a network's state, and its logits with the known weights."""
    build, side = networks.CASES[name]
    module = build(torch)
    shapes = {key: tuple(t.shape) for key, t in module.state_dict().items()}
    state = networks.weights(shapes, networks.GAINS.get(name, 1.0))
    module.load_state_dict({k: torch.as_tensor(v) for k, v in state.items()})
    return shapes, networks.logits(torch, module, networks.images(name, side))


def main() -> None:
    """Writes the file."""
    import torch

    arrays, described = {}, {}
    for name in networks.CASES:
        described[name], arrays[name] = compute(torch, name)
    described["torch"] = torch.__version__
    np.savez_compressed(PATH, about=np.array(json.dumps(described)), **arrays)


if __name__ == "__main__":
    main()
