"""FID and KID through a narrow InceptionV3 with weights from a file; at full size."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from jaxvision import layers, metrics, weights
from jaxvision.layers.inception import InceptionV3
from tests.jaxvision import _torch_networks as networks


@pytest.fixture(scope="module")
def state():
    """Plausible weights under torchvision's names."""
    model = nnx.eval_shape(lambda: layers.InceptionV3("fid", width=2, rngs=nnx.Rngs(0)))
    arrays, shapes = weights.named_arrays(model), {}
    for name, other in weights.foreign_names(model, "torchvision").items():
        shape = arrays[name].shape
        shapes[other.name] = tuple(shape[i] for i in other.axes or range(len(shape)))
    return networks.weights(shapes, 1.4)


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(scope="module")
def narrow():
    """All within has networks of a 16th of the width, 128 features."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "InceptionV3", partial(layers.InceptionV3, width=2))
        yield


@pytest.fixture(scope="module")
def features(file, narrow):
    return metrics.InceptionFeatures(file, batch_size=3)


@pytest.fixture(scope="module")
def images():
    """Ten images of 8-bit values, coarse so that they differ in their features."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (10, 5, 4, 3), dtype=np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


@pytest.fixture(scope="module")
def rows(features, images):
    return np.asarray(features(images))


def test_features(features, images, rows):
    assert rows.shape == (10, 128)
    assert rows.dtype == np.float32
    assert np.abs(rows - rows.mean(0)).max() > 0.05  # the image matters
    # Bytes are numbers in [0, 1]; the rest of a batch and its filling do not matter.
    scaled = images.astype("float32") / 255
    np.testing.assert_allclose(features(scaled[3:5]), rows[3:5], atol=1e-5)
    np.testing.assert_allclose(
        features(scaled[:1].astype("float64")), rows[:1], atol=1e-5
    )
    half = features(jnp.asarray(scaled[:1], jnp.bfloat16))
    assert half.dtype == jnp.float32
    # Blocks of equal pixels: the same image in another size, but for the borders.
    features(images[:1, ::2, ::2])
    assert features._run._cache_size() == 1


def test_features_are_those_of_the_port(features, state, images, rows):
    """Resized by PyTorch, scaled, through PyTorch's network with the same weights."""
    torch = pytest.importorskip("torch")
    net = networks.inception(torch, "fid", 2, 1008, False)
    missing = net.load_state_dict(
        {k: torch.as_tensor(v) for k, v in state.items()}, strict=False
    )
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    large = np.random.default_rng(1).uniform(size=(1, 310, 425, 3)).astype("float32")
    small = images[:2].astype("float32") / 255
    for x, found in ((small, rows[:2]), (large, features(large))):
        resized = torch.nn.functional.interpolate(
            torch.from_numpy(np.moveaxis(x, -1, 1).copy()),
            size=(299, 299),
            mode="bilinear",
            align_corners=False,
        )
        expected = networks.logits(
            torch, net, np.moveaxis(resized.numpy(), 1, -1) * 2 - 1
        )
        np.testing.assert_allclose(found, expected[:, :128], atol=1e-4, rtol=0)


def test_frechet_inception_distance(features, images, rows):
    real, fake = images[:6], images[4:]
    found = metrics.frechet_inception_distance(real, fake, features)
    x, y = (np.float64(rows[part]) for part in (np.s_[:6], np.s_[4:]))
    sx, sy = (np.cov(a, rowvar=False) for a in (x, y))
    root = np.sqrt(np.maximum(np.linalg.eigvals(sx @ sy).real, 0)).sum()
    gap = x.mean(0) - y.mean(0)
    expected = gap @ gap + np.trace(sx) + np.trace(sy) - 2 * root
    assert isinstance(found, float)
    assert expected > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    # The order of images does not matter; no distance to the same images.
    assert abs(metrics.frechet_inception_distance(real, real[::-1], features)) < 1e-6
    assert not jax.config.read("jax_enable_x64")


def test_kernel_inception_distance(features, images, rows):
    mean, spread = metrics.kernel_inception_distance(
        jax.random.key(0), images[:6], images[5:], features, subsets=2, size=5
    )
    x, y = np.float64(rows[:6]), np.float64(rows[5:])
    # All of y, and x without one: what a subset can be.
    kernel = lambda a, b: (a @ b.T / 128 + 1) ** 3  # noqa: E731
    off = ~np.eye(5, dtype=bool)
    possible = []
    for out in range(6):
        a = np.delete(x, out, 0)
        within = kernel(a, a)[off].mean() + kernel(y, y)[off].mean()
        possible.append(within - 2 * kernel(a, y).mean())
    means = np.add.outer(possible, possible) / 2
    assert isinstance(mean, float)
    assert np.abs(means - mean).min() < 1e-4 * np.abs(means).max()
    assert isinstance(spread, float)
    assert 0 <= spread <= np.ptp(possible)


def test_refused_images(features, images):
    float_images = images.astype("float32") / 255
    fid = metrics.frechet_inception_distance
    for bad, error, match in (
        (images.astype("int32"), TypeError, "floating point .* or uint8, got int32"),
        (images[0], ValueError, r"images \(batch, height, width, 3\), .*\(40, 32, 3\)"),
        (images[..., :1], ValueError, r"got shape \(10, 40, 32, 1\); np.repeat"),
        (images[:0], ValueError, "not empty"),
        (2 * float_images - 1, ValueError, r"in \[0, 1\], got values from -1.0 to 1.0"),
        (float_images * 255, ValueError, r"in \[0, 1\], got values from 0.0 to 255.0"),
        (float_images * np.nan, ValueError, "got values from nan to nan"),
    ):
        with pytest.raises(error, match=f"InceptionFeatures: `images` must .*{match}"):
            features(bad)
        with pytest.raises(error, match=f"inception_distance: `real` must .*{match}"):
            fid(bad, images, features)
        with pytest.raises(error, match=f"inception_distance: `fake` must .*{match}"):
            metrics.kernel_inception_distance(
                jax.random.key(0), images, bad, features, size=2
            )
    with pytest.raises(ValueError, match="`fake` must be at least 2 images, got 1"):
        fid(images, images[:1], features)
    with pytest.raises(ValueError, match="`size` must be from 2 to the number of rows"):
        metrics.kernel_inception_distance(
            jax.random.key(0), images[:3], images[:3], features
        )


def test_nothing_is_called_fid_without_a_file(file, state, narrow, images, tmp_path):
    drawn = nnx.eval_shape(lambda: layers.InceptionV3("fid", rngs=nnx.Rngs(0)))
    for other in (drawn, drawn.features, None):
        with pytest.raises(
            TypeError, match="must be an InceptionFeatures, made from a"
        ):
            metrics.frechet_inception_distance(images, images, other)
        with pytest.raises(
            TypeError, match="must be an InceptionFeatures, made from a"
        ):
            metrics.kernel_inception_distance(
                jax.random.key(0), images, images, other, size=2
            )
    with pytest.raises(FileNotFoundError, match="safetensors or npz, got "):
        metrics.InceptionFeatures(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="`batch_size` must be positive, got 0"):
        metrics.InceptionFeatures(file, batch_size=0)
    # Weights of torchvision's classifier are not those of FID.
    head = {"fc.weight": np.zeros((1000, 128)), "fc.bias": np.zeros(1000)}
    other = {**state, **head, "AuxLogits.fc.bias": head["fc.bias"]}
    save_file(other, tmp_path / "torchvision.safetensors")
    with pytest.raises(
        ValueError, match=r"unexpected: AuxLogits.*head.bias: \(1008,\)"
    ):
        metrics.InceptionFeatures(tmp_path / "torchvision.safetensors")
    rest = {k: v for k, v in state.items() if k != "Mixed_7c.branch_pool.conv.weight"}
    save_file(rest, tmp_path / "partial.safetensors")
    with pytest.raises(ValueError, match=r"missing: blocks.7c.layers.branch_pool.conv"):
        metrics.InceptionFeatures(tmp_path / "partial.safetensors")


@pytest.mark.slow
def test_features_at_full_size(tmp_path, images, monkeypatch):
    monkeypatch.setattr(layers, "InceptionV3", InceptionV3)
    torch = pytest.importorskip("torch")
    net = networks.inception(torch, "fid", 32, 1008, False)
    shapes = {k: tuple(t.shape) for k, t in net.state_dict().items()}
    state = networks.weights(shapes, 1.4)
    net.load_state_dict({k: torch.as_tensor(v) for k, v in state.items()})
    save_file({k: np.asarray(v) for k, v in state.items()}, tmp_path / "w.safetensors")
    features = metrics.InceptionFeatures(tmp_path / "w.safetensors", batch_size=2)
    found = features(images[:3])
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(np.moveaxis(images[:3], -1, 1).copy()).float() / 255,
        size=(299, 299),
        mode="bilinear",
        align_corners=False,
    )
    expected = networks.logits(torch, net, np.moveaxis(resized.numpy(), 1, -1) * 2 - 1)
    assert found.shape == (3, 2048)
    np.testing.assert_allclose(found, expected[:, :2048], atol=1e-4, rtol=1e-5)
