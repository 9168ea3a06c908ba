"""ResNets and vision transformers in PyTorch, with torchvision's and timm's names.

PyTorch is imported when a network is built. Weights are a closed form of name and
position, in integers, so that a file of golden logits needs no weights.
"""

import zlib
from types import SimpleNamespace

import numpy as np


TINY = SimpleNamespace(patch=4, depth=2, hidden=16, heads=2, mlp=32, side=8)
CASES = {  # name -> what builds it, side of the images
    "resnet18": (lambda torch: resnet(torch, 18, 4, 7), 40),
    "resnet50": (lambda torch: resnet(torch, 50, 2, 5), 33),
    "vit_torchvision": (lambda torch: vit_torchvision(torch, TINY, 3), TINY.side),
    "vit_timm": (lambda torch: vit_timm(torch, TINY, 3), TINY.side),
}


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in [0, 1) that depend on name and position alone."""
    x = np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(
        zlib.crc32(name.encode())
    )
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor) & np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(16)
    return (x / 2.0**32).reshape(shape)


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """A state with these shapes: kernels of unit gain, moments away from 0 and 1."""
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = np.int64(3)
            continue
        draw = uniform(name, shape)
        if name.endswith("running_var"):
            state[name] = (0.5 + draw).astype(np.float32)
        elif len(shape) == 1:
            near = 1.0 if name.endswith("weight") else 0.0
            state[name] = (near + draw - 0.5).astype(np.float32)
        else:
            gain = np.sqrt(12 / max(np.prod(shape[1:]), 1))
            state[name] = ((draw - 0.5) * gain).astype(np.float32)
    return state


def images(name: str, side: int) -> np.ndarray:
    """Two images, channels last."""
    return (2 * uniform(f"images of {name}", (2, side, side, 3)) - 1).astype("float32")


def logits(torch, module, x: np.ndarray) -> np.ndarray:
    """What a network in evaluation makes of images with channels last."""
    module.eval()
    with torch.no_grad():
        return module(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).numpy()


def resnet(torch, depth: int, width: int, num_classes: int):
    """He et al. 2016 with torchvision's names."""
    nn = torch.nn

    def norm(n):
        return nn.BatchNorm2d(n)

    def conv(a, b, k, s=1):
        return nn.Conv2d(a, b, k, s, k // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, a, b, stride, wide):
            super().__init__()
            if wide:
                sizes = [(a, b, 1, 1), (b, b, 3, stride), (b, 4 * b, 1, 1)]
            else:
                sizes = [(a, b, 3, stride), (b, b, 3, 1)]
            for i, size in enumerate(sizes, 1):
                setattr(self, f"conv{i}", conv(*size))
                setattr(self, f"bn{i}", norm(size[1]))
            self.count, out = len(sizes), sizes[-1][1]
            self.downsample = None
            if stride > 1 or a != out:
                self.downsample = nn.Sequential(conv(a, out, 1, stride), norm(out))

        def forward(self, x):
            y = x
            for i in range(1, self.count + 1):
                y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
                y = y if i == self.count else torch.relu(y)
            return torch.relu(
                y + (x if self.downsample is None else self.downsample(x))
            )

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            counts = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]
            wide = depth == 50
            self.conv1, self.bn1 = conv(3, width, 7, 2), norm(width)
            a = width
            for i, count in enumerate(counts):
                blocks, b = [], width * 2**i
                for j in range(count):
                    blocks.append(Block(a, b, 2 if i and not j else 1, wide))
                    a = b * (4 if wide else 1)
                setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
            self.fc = nn.Linear(a, num_classes)

        def forward(self, x):
            x = torch.relu(self.bn1(self.conv1(x)))
            x = nn.functional.max_pool2d(x, 3, 2, 1)
            for i in range(1, 5):
                x = getattr(self, f"layer{i}")(x)
            return self.fc(x.mean((2, 3)))

    return Network()


def vit_torchvision(torch, size, num_classes: int):
    """Dosovitskiy et al. 2021 with torchvision's names."""
    nn = torch.nn

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1 = nn.LayerNorm(size.hidden, eps=1e-6)
            self.self_attention = nn.MultiheadAttention(
                size.hidden, size.heads, batch_first=True
            )
            self.ln_2 = nn.LayerNorm(size.hidden, eps=1e-6)
            self.mlp = nn.Sequential(
                nn.Linear(size.hidden, size.mlp), nn.GELU(), nn.Dropout(0.0),
                nn.Linear(size.mlp, size.hidden), nn.Dropout(0.0),
            )  # fmt: skip

        def forward(self, x):
            y = self.ln_1(x)
            x = x + self.self_attention(y, y, y, need_weights=False)[0]
            return x + self.mlp(self.ln_2(x))

    class Encoder(nn.Module):
        def __init__(self, tokens):
            super().__init__()
            self.pos_embedding = nn.Parameter(torch.zeros(1, tokens, size.hidden))
            names = [f"encoder_layer_{i}" for i in range(size.depth)]
            self.layers = nn.Sequential()
            for name in names:
                self.layers.add_module(name, Layer())
            self.ln = nn.LayerNorm(size.hidden, eps=1e-6)

        def forward(self, x):
            return self.ln(self.layers(x + self.pos_embedding))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.class_token = nn.Parameter(torch.zeros(1, 1, size.hidden))
            self.conv_proj = nn.Conv2d(3, size.hidden, size.patch, size.patch)
            self.encoder = Encoder((size.side // size.patch) ** 2 + 1)
            self.heads = nn.Sequential()
            self.heads.add_module("head", nn.Linear(size.hidden, num_classes))

        def forward(self, x):
            x = self.conv_proj(x).flatten(2).transpose(1, 2)
            first = self.class_token.expand(len(x), -1, -1)
            return self.heads(self.encoder(torch.cat([first, x], 1))[:, 0])

    return Network()


def vit_timm(torch, size, num_classes: int):
    """The same network with timm's names, attention written out."""
    nn = torch.nn

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(size.hidden, 3 * size.hidden)
            self.proj = nn.Linear(size.hidden, size.hidden)

        def forward(self, x):
            batch, tokens, hidden = x.shape
            qkv = self.qkv(x).reshape(batch, tokens, 3, size.heads, -1)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            scores = q @ k.transpose(-2, -1) / (hidden // size.heads) ** 0.5
            mixed = scores.softmax(-1) @ v
            return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, hidden))

    class Mlp(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(size.hidden, size.mlp)
            self.fc2 = nn.Linear(size.mlp, size.hidden)

        def forward(self, x):
            return self.fc2(nn.functional.gelu(self.fc1(x)))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1 = nn.LayerNorm(size.hidden, eps=1e-6)
            self.attn = Attention()
            self.norm2 = nn.LayerNorm(size.hidden, eps=1e-6)
            self.mlp = Mlp()

        def forward(self, x):
            x = x + self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.proj = nn.Conv2d(3, size.hidden, size.patch, size.patch)

        def forward(self, x):
            return self.proj(x).flatten(2).transpose(1, 2)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            tokens = (size.side // size.patch) ** 2 + 1
            self.cls_token = nn.Parameter(torch.zeros(1, 1, size.hidden))
            self.pos_embed = nn.Parameter(torch.zeros(1, tokens, size.hidden))
            self.patch_embed = Patches()
            self.blocks = nn.Sequential(*(Block() for _ in range(size.depth)))
            self.norm = nn.LayerNorm(size.hidden, eps=1e-6)
            self.head = nn.Linear(size.hidden, num_classes)

        def forward(self, x):
            first = self.cls_token.expand(len(x), -1, -1)
            x = torch.cat([first, self.patch_embed(x)], 1) + self.pos_embed
            return self.head(self.norm(self.blocks(x))[:, 0])

    return Network()
