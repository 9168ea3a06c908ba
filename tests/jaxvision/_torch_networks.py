"""Networks in PyTorch, with torchvision's and timm's names.

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
    # What they return is features, logits and, if there is a second head, its logits.
    "inception": (lambda torch: inception(torch, "torchvision", 2, 5, True), 299),
    "inception_fid": (lambda torch: inception(torch, "fid", 2, 4, False), 139),
}
# So many layers forget their images with kernels of unit gain.
GAINS = {"inception": 1.4, "inception_fid": 1.4}


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in [0, 1) that depend on name and position alone."""
    x = np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(
        zlib.crc32(name.encode())
    )
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor) & np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(16)
    return (x / 2.0**32).reshape(shape)


def weights(
    shapes: dict[str, tuple[int, ...]], gain: float = 1.0
) -> dict[str, np.ndarray]:
    """A state with these shapes: kernels of this gain, moments away from 0 and 1."""
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
            factor = gain * np.sqrt(12 / max(np.prod(shape[1:]), 1))
            state[name] = ((draw - 0.5) * factor).astype(np.float32)
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


def inception(torch, variant: str, width: int, num_classes: int, auxiliary: bool):
    """Szegedy et al. 2016 with torchvision's names, its variant for FID by option.

    Returns features, logits and the auxiliary logits in one row.
    """
    nn, F = torch.nn, torch.nn.functional
    fid = variant == "fid"

    def c(channels):
        return channels * width // 32

    def average(x):
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=not fid)

    def halve(x):
        return F.max_pool2d(x, 3, 2)

    class Unit(nn.Module):
        def __init__(self, a, b, kernel=1, stride=1, padding=0):
            super().__init__()
            self.conv = nn.Conv2d(a, b, kernel, stride, padding, bias=False)
            self.bn = nn.BatchNorm2d(b, eps=0.001)

        def forward(self, x):
            return F.relu(self.bn(self.conv(x)))

    class Block(nn.Module):
        """Units by name, each (input, output, kernel, stride, padding)."""

        def __init__(self, **units):
            super().__init__()
            for name, unit in units.items():
                setattr(self, name, Unit(*unit))

        def chain(self, x, *names):
            for name in names:
                x = getattr(self, name)(x)
            return x

    class A(Block):
        def __init__(self, n, pooled):
            super().__init__(
                branch1x1=(n, c(64)),
                branch5x5_1=(n, c(48)),
                branch5x5_2=(c(48), c(64), 5, 1, 2),
                branch3x3dbl_1=(n, c(64)),
                branch3x3dbl_2=(c(64), c(96), 3, 1, 1),
                branch3x3dbl_3=(c(96), c(96), 3, 1, 1),
                branch_pool=(n, pooled),
            )

        def forward(self, x):
            five = self.chain(x, "branch5x5_1", "branch5x5_2")
            three = self.chain(x, *(f"branch3x3dbl_{i}" for i in (1, 2, 3)))
            pooled = self.branch_pool(average(x))
            return torch.cat([self.branch1x1(x), five, three, pooled], 1)

    class B(Block):
        def __init__(self, n):
            super().__init__(
                branch3x3=(n, c(384), 3, 2),
                branch3x3dbl_1=(n, c(64)),
                branch3x3dbl_2=(c(64), c(96), 3, 1, 1),
                branch3x3dbl_3=(c(96), c(96), 3, 2),
            )

        def forward(self, x):
            three = self.chain(x, *(f"branch3x3dbl_{i}" for i in (1, 2, 3)))
            return torch.cat([self.branch3x3(x), three, halve(x)], 1)

    class C(Block):
        def __init__(self, n, m):
            row, column = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
            super().__init__(
                branch1x1=(n, c(192)),
                branch7x7_1=(n, m),
                branch7x7_2=(m, m, *row),
                branch7x7_3=(m, c(192), *column),
                branch7x7dbl_1=(n, m),
                branch7x7dbl_2=(m, m, *column),
                branch7x7dbl_3=(m, m, *row),
                branch7x7dbl_4=(m, m, *column),
                branch7x7dbl_5=(m, c(192), *row),
                branch_pool=(n, c(192)),
            )

        def forward(self, x):
            once = self.chain(x, *(f"branch7x7_{i}" for i in (1, 2, 3)))
            twice = self.chain(x, *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)))
            pooled = self.branch_pool(average(x))
            return torch.cat([self.branch1x1(x), once, twice, pooled], 1)

    class D(Block):
        def __init__(self, n):
            super().__init__(
                branch3x3_1=(n, c(192)),
                branch3x3_2=(c(192), c(320), 3, 2),
                branch7x7x3_1=(n, c(192)),
                branch7x7x3_2=(c(192), c(192), (1, 7), 1, (0, 3)),
                branch7x7x3_3=(c(192), c(192), (7, 1), 1, (3, 0)),
                branch7x7x3_4=(c(192), c(192), 3, 2),
            )

        def forward(self, x):
            three = self.chain(x, "branch3x3_1", "branch3x3_2")
            seven = self.chain(x, *(f"branch7x7x3_{i}" for i in (1, 2, 3, 4)))
            return torch.cat([three, seven, halve(x)], 1)

    class E(Block):
        def __init__(self, n, last):
            super().__init__(
                branch1x1=(n, c(320)),
                branch3x3_1=(n, c(384)),
                branch3x3_2a=(c(384), c(384), (1, 3), 1, (0, 1)),
                branch3x3_2b=(c(384), c(384), (3, 1), 1, (1, 0)),
                branch3x3dbl_1=(n, c(448)),
                branch3x3dbl_2=(c(448), c(384), 3, 1, 1),
                branch3x3dbl_3a=(c(384), c(384), (1, 3), 1, (0, 1)),
                branch3x3dbl_3b=(c(384), c(384), (3, 1), 1, (1, 0)),
                branch_pool=(n, c(192)),
            )
            self.by_maximum = fid and last

        def forward(self, x):
            y = self.branch3x3_1(x)
            z = self.chain(x, "branch3x3dbl_1", "branch3x3dbl_2")
            pooled = F.max_pool2d(x, 3, 1, 1) if self.by_maximum else average(x)
            parts = [
                self.branch1x1(x),
                self.branch3x3_2a(y),
                self.branch3x3_2b(y),
                self.branch3x3dbl_3a(z),
                self.branch3x3dbl_3b(z),
                self.branch_pool(pooled),
            ]
            return torch.cat(parts, 1)

    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv0, self.conv1 = Unit(c(768), c(128)), Unit(c(128), c(768), 5)
            self.fc = nn.Linear(c(768), num_classes)

        def forward(self, x):
            x = self.conv1(self.conv0(F.avg_pool2d(x, 5, 3)))
            return self.fc(x.mean((2, 3)))

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.Conv2d_1a_3x3 = Unit(3, c(32), 3, 2)
            self.Conv2d_2a_3x3 = Unit(c(32), c(32), 3)
            self.Conv2d_2b_3x3 = Unit(c(32), c(64), 3, 1, 1)
            self.Conv2d_3b_1x1 = Unit(c(64), c(80))
            self.Conv2d_4a_3x3 = Unit(c(80), c(192), 3)
            self.Mixed_5b = A(c(192), c(32))
            self.Mixed_5c = A(c(256), c(64))
            self.Mixed_5d = A(c(288), c(64))
            self.Mixed_6a = B(c(288))
            self.Mixed_6b = C(c(768), c(128))
            self.Mixed_6c = C(c(768), c(160))
            self.Mixed_6d = C(c(768), c(160))
            self.Mixed_6e = C(c(768), c(192))
            self.AuxLogits = Auxiliary() if auxiliary else None
            self.Mixed_7a = D(c(768))
            self.Mixed_7b = E(c(1280), False)
            self.Mixed_7c = E(c(2048), True)
            self.fc = nn.Linear(c(2048), num_classes)

        def forward(self, x):
            x = self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))
            x = halve(self.Conv2d_2b_3x3(x))
            x = halve(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
            x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
            x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
            x = self.Mixed_6e(self.Mixed_6d(x))
            rest = [] if self.AuxLogits is None else [self.AuxLogits(x)]
            x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))
            return torch.cat([x, self.fc(x), *rest], 1)

    return Network()
