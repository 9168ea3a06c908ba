"""LungSSFNet in PyTorch, written from its description, to measure ours against.

Names of arrays are ours, so that one set of weights serves both. Frequencies are taken
one by one over the pooled map, as published; their basis images are kept once or, as
published, for each channel. PyTorch is imported when the network is built.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jaxcore import transforms
from jaxvision.layers.frequency_fusion import frequency_grid
from jaxvision.models import LungSSFOptions


def state_of(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns the arrays of our network under PyTorch's names and layouts."""
    found = {}
    for name, array in arrays.items():
        module, _, leaf = name.rpartition(".")
        values = np.asarray(array)
        if leaf == "kernel" and values.ndim == 4:
            axes = (2, 3, 0, 1) if module.endswith(".up") else (3, 2, 0, 1)
            values = values.transpose(axes)
        elif leaf == "kernel":
            values = values.T
        leaf = {
            "kernel": "weight",
            "scale": "weight",
            "mean": "running_mean",
            "var": "running_var",
        }.get(leaf, leaf)
        found[f"{module}.{leaf}"] = values
    return found


def build(
    torch: Any, options: LungSSFOptions, *, image_per_channel: bool = False
) -> Any:
    """Returns the network, untrained, in evaluation.

    image_per_channel: keep the basis images as published, (K, C, P, P).
    """
    nn, functional = torch.nn, torch.nn.functional
    module: Any = nn.Module

    class CNA(module):
        def __init__(self, width, wide, kernel=3, stride=1, *, bias=True, norm):
            super().__init__()
            self.conv = nn.Conv2d(width, wide, kernel, stride, kernel // 2, bias=bias)
            self.norm = norm(wide)

        def forward(self, x):
            return functional.gelu(self.norm(self.conv(x)))

    def instance(width):
        return nn.InstanceNorm2d(width, affine=True)

    def cbg(width, wide, kernel=3, bias=True):
        return CNA(width, wide, kernel, bias=bias, norm=nn.BatchNorm2d)

    class Pair(module):
        def __init__(self, width, wide, stride=1):
            super().__init__()
            self.first = CNA(width, wide, stride=stride, norm=instance)
            self.second = CNA(wide, wide, norm=instance)

        def forward(self, x):
            return self.second(self.first(x))

    class Encoder(module):
        def __init__(self):
            super().__init__()
            widths = (options.in_channels, *options.channels)
            self.stages = nn.ModuleList(
                Pair(widths[i], widths[i + 1], 2 if i else 1)
                for i in range(len(options.channels))
            )

        def forward(self, x):
            found = []
            for stage in self.stages:
                x = stage(x)
                found.append(x)
            return found

    class PlainStage(module):
        def __init__(self, deep, wide):
            super().__init__()
            self.up = nn.ConvTranspose2d(deep, wide, 2, 2)
            self.pair = Pair(2 * wide, wide)

        def forward(self, deep, skip):
            return self.pair(torch.cat([self.up(deep), skip], 1))

    def enlarged(x, size):
        return functional.interpolate(
            x, size=size, mode="bilinear", align_corners=False
        )

    def simam(x):
        count = x.shape[2] * x.shape[3]
        square = (x - x.mean((2, 3), keepdim=True)) ** 2
        variance = square.sum((2, 3), keepdim=True) / (count - 1)
        return x * torch.sigmoid(square / (4 * (variance + 1e-4)) + 0.5)

    class Fusion(module):
        def __init__(self, deep, wide):
            super().__init__()
            self.joint = cbg(deep + wide, wide)
            self.project = cbg(deep, wide)
            self.difference = cbg(wide, wide)
            self.alpha = nn.Parameter(torch.ones(()))
            self.beta = nn.Parameter(torch.ones(()))

        def forward(self, deep, skip):
            large = enlarged(simam(deep), skip.shape[2:])
            joint = self.joint(torch.cat([large, skip], 1))
            gap = self.difference((self.project(large) - skip).abs())
            return self.alpha * joint + self.beta * gap

    class Gate(module):
        def __init__(self, width):
            super().__init__()
            self.down = nn.Linear(width, width // 16, bias=False)
            self.up = nn.Linear(width // 16, width, bias=False)

        def forward(self, x):
            return self.up(functional.gelu(self.down(x)))

    class Frequency(module):
        def __init__(self, width, grid):
            super().__init__()
            self.gate, self.grid = Gate(width), grid
            pairs = transforms.frequency_list("top", options.frequencies)
            images = np.stack([np.outer(*(_row(f, grid) for f in p)) for p in pairs])
            images = torch.as_tensor(images, dtype=torch.float32)
            if image_per_channel:
                images = images[:, None].repeat(1, width, 1, 1)
            self.register_buffer("images", images, persistent=False)

        def forward(self, x):
            pooled = functional.adaptive_avg_pool2d(x, self.grid)
            sums: list[Any] = [0.0, 0.0, 0.0]
            for image in self.images:
                product = pooled * image
                sums[0] = sums[0] + product.mean((2, 3))
                sums[1] = sums[1] + product.amax((2, 3))
                sums[2] = sums[2] + product.amin((2, 3))
            gates = sum(self.gate(s / len(self.images)) for s in sums)
            return x * torch.sigmoid(gates)[:, :, None, None]

    class Spatial(module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 1, 7, 1, 3, bias=False)

        def forward(self, x):
            both = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
            return x * torch.sigmoid(self.conv(both))

    class Scale(module):
        def __init__(self, width, inner, s):
            super().__init__()
            self.grouped = nn.Conv2d(
                width,
                width,
                3,
                1,
                1 + s,
                1 + s,
                math.gcd(32, width),
                bias=False,
            )
            self.norm = nn.BatchNorm2d(width)
            self.narrow = cbg(width, inner, 1, bias=False)
            self.frequency = Frequency(inner, frequency_grid(width))
            paper = options.fusion == "paper"
            self.spatial = Spatial() if paper else nn.Conv2d(inner, 1, 1, bias=False)
            self.alpha = nn.Parameter(torch.ones(()))
            self.beta = nn.Parameter(torch.ones(()))
            self.out = cbg(inner, width, bias=False)

        def forward(self, x):
            y = self.narrow(functional.gelu(self.norm(self.grouped(x))))
            first = self.frequency(y)
            if options.fusion == "paper":
                second = self.spatial(y)
            else:
                mask = torch.sigmoid(self.spatial(first))
                first, second = first * (1 - mask), first * mask
            return self.out(self.alpha * first + self.beta * second)

    class SSF(module):
        def __init__(self, width):
            super().__init__()
            self.scales = nn.ModuleList(
                Scale(width, max(width // 2**s, options.narrowest), s) for s in range(3)
            )

        def forward(self, x):
            large = min(x.shape[2:]) // 2 >= 8
            given = (x, functional.avg_pool2d(x, 2) if large else x, simam(x))
            maps = [f(g) for f, g in zip(self.scales, given, strict=True)]
            return x + sum(enlarged(m, x.shape[2:]) for m in maps) / 3

    class AttentiveStage(module):
        def __init__(self, deep, wide):
            super().__init__()
            self.fusion = Fusion(deep, wide)
            self.attention = SSF(wide)
            self.out = cbg(wide, wide)

        def forward(self, deep, skip):
            return self.out(self.attention(self.fusion(deep, skip)))

    class Network(module):
        def __init__(self):
            super().__init__()
            widths = options.channels
            self.encoder = Encoder()
            self.decoder = nn.ModuleList(
                (AttentiveStage if i < options.ssf_stages else PlainStage)(
                    widths[i + 1], widths[i]
                )
                for i in reversed(range(len(widths) - 1))
            )
            self.head = nn.Conv2d(widths[0], options.num_classes, 1)

        def forward(self, x):
            *skips, deep = self.encoder(x)
            for stage, skip in zip(self.decoder, reversed(skips), strict=True):
                deep = stage(deep, skip)
            return self.head(deep)

    if options.fusion_stages != options.ssf_stages:
        raise ValueError(
            "benchmarks.lung_ssfnet: `options` must have as many fusion as SSF stages, "
            f"got {options.fusion_stages} and {options.ssf_stages}"
        )
    return Network().eval()


def _row(frequency: int, grid: int) -> np.ndarray:
    k = frequency * (grid // 7)
    scale = np.sqrt((2 if k else 1) / grid)
    return scale * np.cos(np.pi * k * (np.arange(grid) + 0.5) / grid)
