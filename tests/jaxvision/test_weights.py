"""Weights in files and under PyTorch's names: same logits, every misfit named."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

import jaxvision
from jaxvision import layers, weights
from tests.jaxvision import _torch_networks as networks
from tests.jaxvision._make_golden import PATH, compute


TINY = layers.Size(4, 2, 16, 2, 32)
VIT_B = ("ViT", "B/16")
BASE = SimpleNamespace(patch=16, depth=12, hidden=768, heads=12, mlp=3072, side=224)
BUILDS = {
    "resnet18": lambda: layers.ResNet(18, width=4, num_classes=7, rngs=nnx.Rngs(0)),
    "resnet50": lambda: layers.ResNet(50, width=2, num_classes=5, rngs=nnx.Rngs(0)),
    "vit_torchvision": lambda: vit(),
    "vit_timm": lambda: vit(),
    "inception": lambda: layers.InceptionV3(
        width=2, num_classes=5, auxiliary=True, rngs=nnx.Rngs(0)
    ),
    "inception_fid": lambda: layers.InceptionV3(
        "fid", width=2, num_classes=4, rngs=nnx.Rngs(0)
    ),
}


def vit(num_classes=3):
    return layers.ViT(TINY, image_size=8, num_classes=num_classes, rngs=nnx.Rngs(0))


def abstract(name):
    """A network of shapes: weights make it whole, and building it takes no time."""
    return nnx.eval_shape(BUILDS[name])


def outputs(model, x):
    """All that a network returns: logits, of an Inception network features too."""
    if not isinstance(model, layers.InceptionV3):
        return model(x)
    found = (model(x),) if model.auxiliary is None else model.with_auxiliary(x)
    return jnp.concatenate([model.features(x), *found], 1)


def source_of(name):
    return "timm" if name.endswith("timm") else "torchvision"


@pytest.fixture(scope="module")
def golden():
    with np.load(PATH, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(str(arrays.pop("about"))), arrays


@pytest.mark.parametrize("name", networks.CASES)
def test_logits_are_those_of_pytorch(name, golden):
    shapes, logits = golden[0][name], golden[1][name]
    gain = networks.GAINS.get(name, 1.0)
    state = networks.weights({k: tuple(s) for k, s in shapes.items()}, gain)
    model = abstract(name)
    found = jaxvision.set_weights(model, state, source=source_of(name))
    assert found.complete
    model.eval()
    graph, arrays = nnx.split(model)
    x = networks.images(name, networks.CASES[name][1])
    ours = jax.jit(lambda a, x: outputs(nnx.merge(graph, a, copy=True), x))(arrays, x)
    assert np.abs(logits[0] - logits[1]).max() > 0.05  # the image matters
    np.testing.assert_allclose(ours, logits, atol=1e-4, rtol=0)
    # And back: what PyTorch would load, to the bit.
    back = weights.to_foreign(model, source_of(name))
    assert back.keys() == {k for k in shapes if "num_batches" not in k}
    for key, array in back.items():
        np.testing.assert_array_equal(array, state[key], err_msg=key)


@pytest.mark.parametrize("name", networks.CASES)
def test_golden_logits_are_todays(name, golden):
    torch = pytest.importorskip("torch")
    shapes, logits = compute(torch, name)
    assert {k: list(s) for k, s in shapes.items()} == golden[0][name]
    np.testing.assert_allclose(logits, golden[1][name], atol=1e-5)


@pytest.mark.parametrize(
    ("build", "ours", "source"),
    [
        (lambda t: networks.resnet(t, 18, 64, 1000), ("ResNet", 18), "torchvision"),
        (lambda t: networks.resnet(t, 50, 64, 1000), ("ResNet", 50), "timm"),
        (
            lambda t: networks.vit_torchvision(t, BASE, 1000),
            ("ViT", "B/16"),
            "torchvision",
        ),
        (lambda t: networks.vit_timm(t, BASE, 1000), ("ViT", "B/16"), "timm"),
        (
            lambda t: networks.inception(t, "torchvision", 32, 1000, False),
            ("InceptionV3", "torchvision"),
            "torchvision",
        ),
        (
            lambda t: networks.inception(t, "fid", 32, 1008, False),
            ("InceptionV3", "fid"),
            "torchvision",
        ),
    ],
)
def test_names_and_shapes_at_full_size(build, ours, source):
    torch = pytest.importorskip("torch")
    with torch.device("meta"):
        shapes = {k: tuple(t.shape) for k, t in build(torch).state_dict().items()}
    shapes = {k: s for k, s in shapes.items() if not k.endswith("num_batches_tracked")}
    kind, size = ours
    model = nnx.eval_shape(lambda: getattr(layers, kind)(size, rngs=nnx.Rngs(0)))
    arrays, found = weights.named_arrays(model), {}
    for name, other in weights.foreign_names(model, source).items():
        shape = arrays[name].shape
        axes = other.axes or range(len(shape))
        found[other.name] = tuple(shape[i] for i in axes)
    assert found == shapes


def test_older_names_of_torchvision(golden):
    name = "vit_torchvision"
    shapes = golden[0][name]
    state = networks.weights({k: tuple(s) for k, s in shapes.items()})
    older = {
        k.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): v
        for k, v in state.items()
    }
    assert older.keys() != state.keys()
    model = abstract(name)
    assert weights.set_weights(model, older, source="torchvision").complete
    kernel = weights.named_arrays(model)["encoder.blocks.0.up.kernel"]
    np.testing.assert_array_equal(
        kernel, state["encoder.layers.encoder_layer_0.mlp.0.weight"].T
    )


@pytest.fixture
def model():
    """A small network with parameters and running statistics, drawn by NumPy."""
    return filled(nnx.eval_shape(small), 0)


def small(classes=3):
    return layers.ResNet(18, width=2, num_classes=classes, rngs=nnx.Rngs(0))


def filled(model, seed):
    rng = np.random.default_rng(seed)
    arrays = {
        name: rng.normal(size=x.shape).astype("float32")
        for name, x in weights.named_arrays(model).items()
    }
    assert weights.set_weights(model, arrays).complete
    return model


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, *map(weights.named_arrays, (a, b)))


def test_round_trip(model, tmp_path):
    path = jaxvision.save_weights(model, tmp_path / "deep" / "w.safetensors")
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]
    other = filled(nnx.eval_shape(small), 1)
    found = jaxvision.load_weights(other, path)
    assert found.complete
    assert set(found.loaded) == set(load_file(path)) == set(weights.named_arrays(model))
    assert "blocks.0.0.branch.0.norm.var" in found.loaded
    equal(model, other)


def test_files_with_foreign_names_and_half_precision(model, tmp_path):
    """As they are published: torchvision's names, bfloat16 or float16."""
    for dtype in (ml_dtypes.bfloat16, np.float16):
        state = {
            k: np.array(v, dtype, order="C")
            for k, v in weights.to_foreign(model, "torchvision").items()
        }
        save_file(state, tmp_path / "half.safetensors")
        other = nnx.eval_shape(small)
        jaxvision.load_weights(
            other, tmp_path / "half.safetensors", source="torchvision"
        )
        kernel = weights.named_arrays(other)["stem.conv.kernel"]
        assert kernel.dtype == jnp.float32
        expected = np.transpose(state["conv1.weight"].astype("float32"), (2, 3, 1, 0))
        np.testing.assert_array_equal(kernel, expected)


def test_every_misfit_is_named(model):
    state = weights.to_foreign(model, "timm")
    before = dict(weights.named_arrays(model))
    del state["layer2.0.bn1.running_mean"], state["conv1.weight"]
    state |= {"layer5.weight": np.ones(1), "bn1.weight": np.ones(3)}
    with pytest.raises(ValueError, match="must be those of the network") as caught:
        weights.set_weights(model, state, source="timm")
    for part in (
        "missing: blocks.1.0.branch.0.norm.mean, stem.conv.kernel;",
        "unexpected: layer5.weight;",
        "of another shape (ours, given): stem.norm.scale: (2,), (3,).",
    ):
        assert part in str(caught.value)
    jax.tree.map(np.testing.assert_array_equal, before, weights.named_arrays(model))
    found = weights.set_weights(
        model, {k: 0 * v for k, v in state.items()}, source="timm", partial=True
    )
    assert found.missing == ("blocks.1.0.branch.0.norm.mean", "stem.conv.kernel")
    assert found.unexpected == ("layer5.weight",)
    assert found.mismatched == ("stem.norm.scale: (2,), (3,)",)
    assert not found.complete
    now = weights.named_arrays(model)
    kept = {*found.missing, "stem.norm.scale"}
    for name, array in now.items():
        np.testing.assert_array_equal(array, before[name] * (name in kept))
    assert set(found.loaded) == set(now) - kept


def test_another_head(model):
    wider = filled(nnx.eval_shape(lambda: small(5)), 1)
    state = weights.to_foreign(model, "torchvision")
    before = weights.named_arrays(wider)
    with pytest.raises(ValueError, match=r"head.kernel: \(16, 5\), \(16, 3\)"):
        weights.set_weights(wider, state, source="torchvision")
    found = weights.set_weights(wider, state, source="torchvision", leave=("head",))
    assert found.complete
    assert not any(name.startswith("head") for name in found.loaded)
    now = weights.named_arrays(wider)
    np.testing.assert_array_equal(now["head.kernel"], before["head.kernel"])
    np.testing.assert_array_equal(
        now["stem.conv.kernel"], weights.named_arrays(model)["stem.conv.kernel"]
    )


def test_refuses(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="safetensors or npz, got "):
        jaxvision.load_weights(model, tmp_path / "none.safetensors")
    path = jaxvision.save_weights(model, tmp_path / "w.safetensors")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"cannot read .*w.safetensors: "):
        jaxvision.load_weights(model, path)
    path.write_bytes(b"not at all")
    with pytest.raises(ValueError, match=r"cannot read .*w.safetensors: "):
        jaxvision.load_weights(model, path)
    with pytest.raises(ValueError, match=r"`source` must be one of .*, got 'keras'"):
        weights.set_weights(model, {}, source="keras")
    with pytest.raises(ValueError, match=r"`leave` must be beginnings .*got 'hea'"):
        weights.set_weights(model, {}, leave=("hea",))
    with pytest.raises(ValueError, match=r"`leave` must be a sequence .*\('head',\)"):
        weights.set_weights(model, {}, leave="head")
    linear = nnx.eval_shape(lambda: nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"must be one of ResNet, ViT .*got a Linear"):
        weights.set_weights(linear, {}, source="timm")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("w.pth", b"PK\x03\x04 and so on"),
        ("w.safetensors", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."),
        ("w.h5", b"\x89HDF\r\n\x1a\n and so on"),
    ],
)
def test_other_kinds_of_files_are_not_read(model, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    match = f"cannot read .*{name}: .*; files of weights are safetensors, or npz .*pth"
    with pytest.raises(ValueError, match=match):
        jaxvision.load_weights(model, tmp_path / name)


def test_a_part_that_is_nothing_is_refused(model, tmp_path):
    state = weights.to_foreign(model, "torchvision")
    before = dict(weights.named_arrays(model))
    match = (
        r"^jaxvision.load_weights\('.*'\): partial=True must find arrays that fit, got "
        r"none for \w[\w.]+, [\w.]+, [\w.]+ and \d+ more; those given are bn1.bias, "
    )
    path = tmp_path / "w.safetensors"
    save_file({k: np.array(v, order="C") for k, v in state.items()}, path)
    with pytest.raises(ValueError, match=match):
        jaxvision.load_weights(model, path, partial=True)
    with pytest.raises(ValueError, match=r"none for .*; those given are none, "):
        weights.set_weights(model, {}, partial=True)
    jax.tree.map(np.testing.assert_array_equal, before, weights.named_arrays(model))


def test_rules_cover_the_networks(monkeypatch):
    """An array that no rule translates is an error, not a guess."""
    model = abstract("vit_timm")
    rules = {k: v for k, v in weights.names.VIT_TIMM.items() if k != "head"}
    monkeypatch.setitem(weights.names.TABLES, (layers.ViT, "timm"), rules)
    with pytest.raises(ValueError, match=r"no rule for the array 'head.bias'"):
        weights.foreign_names(model, "timm")
