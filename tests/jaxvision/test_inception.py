"""InceptionV3: parameters, sizes, pools, variants, files; at full size as PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision import layers, weights
from jaxvision.layers import inception
from tests.jaxvision import _torch_networks as networks
from tests.jaxvision._make_golden import compute


def build(variant="torchvision", **options):
    return layers.InceptionV3(variant, **options, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def one():
    """A narrow network of shapes."""
    return nnx.eval_shape(lambda: build(width=2, num_classes=5))


@pytest.fixture(scope="module")
def both():
    """One with two heads."""
    return nnx.eval_shape(lambda: build(width=2, num_classes=5, auxiliary=True))


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 23_834_568),
        ({"auxiliary": True}, 27_161_264),
        # A row of the last layer more for each class: 2048 weights and a bias.
        ({"variant": "fid"}, 23_834_568 + 8 * 2049),
        ({"num_classes": 10, "in_channels": 1}, 23_834_568 - 990 * 2049 - 2 * 9 * 32),
    ],
)
def test_parameters(options, count):
    assert layers.count_parameters(lambda: build(**options)) == count


def test_sizes_of_the_paper():
    """Table 1 of the paper, and the widths that its text gives."""
    found = {}

    def run(x):
        model = build()
        for name in inception.STEM:
            x = model.stem[name](x)
            x = inception.POOLS["halve"](x) if name in inception.HALVED else x
        found["stem"] = x.shape[1:]
        for name, block in model.blocks.items():
            x = block(x)
            found[name] = x.shape[1:]
        return x

    nnx.eval_shape(run, jnp.ones((1, 299, 299, 3)))
    assert found["stem"] == (35, 35, 192)
    assert found["5d"] == (35, 35, 288)
    assert found["6a"] == found["6e"] == (17, 17, 768)
    assert found["7a"] == (8, 8, 1280)
    assert found["7b"] == found["7c"] == (8, 8, 2048)


def test_pools(rng):
    x = rng.normal(size=(1, 5, 6, 2)).astype("float32")
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=np.nan)
    for i in range(5):
        for j in range(6):
            square = padded[0, i : i + 3, j : j + 3]
            expected = {
                "average": np.nansum(square, (0, 1)) / 9,
                "average inside": np.nanmean(square, (0, 1)),
                "maximum": np.nanmax(square, (0, 1)),
            }
            for name, value in expected.items():
                found = inception.POOLS[name](x)[0, i, j]
                np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
    halved = inception.POOLS["halve"](x)
    assert halved.shape == (1, 2, 2, 2)
    np.testing.assert_array_equal(halved[0, 1, 1], x[0, 2:5, 2:5].max((0, 1)))


def test_variants_differ_in_pools_alone():
    ours, theirs = (inception.blocks_of(name) for name in ("torchvision", "fid"))
    pools = {}
    for name, block in ours.items():
        for branch, steps in block.items():
            for step, other in zip(steps, theirs[name][branch], strict=True):
                if step != other:
                    pools[name] = (step, other)
    inside = ("average", "average inside")
    expected = dict.fromkeys(("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b"), inside)
    assert pools == {**expected, "7c": ("average", "maximum")}


def test_files_with_and_without_the_second_head(one, both):
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.normal(size=x.shape).astype("float32")
        for name, x in weights.named_arrays(both).items()
    }
    assert weights.set_weights(both, arrays).complete
    state = weights.to_foreign(both, "torchvision")
    state["AuxLogits.conv0.bn.num_batches_tracked"] = np.int64(3)
    second = {name for name in state if name.startswith("AuxLogits.")}
    counted = second - {"AuxLogits.conv0.bn.num_batches_tracked"}
    assert len(counted) == 12
    found = weights.set_weights(both, state, source="torchvision")
    assert found == weights.Loaded(tuple(arrays), (), (), ())
    with pytest.raises(ValueError, match=r"unexpected: AuxLogits\.fc\.bias, "):
        weights.set_weights(one, state, source="torchvision")
    found = weights.set_weights(one, state, source="torchvision", partial=True)
    assert set(found.unexpected) == counted
    assert found.missing == found.mismatched == ()

    first = {name: array for name, array in state.items() if name not in second}
    assert weights.set_weights(one, first, source="torchvision").complete
    with pytest.raises(ValueError, match=r"missing: auxiliary\.head\.bias, "):
        weights.set_weights(both, first, source="torchvision")
    found = weights.set_weights(both, first, source="torchvision", partial=True)
    assert len(found.missing) == 12
    assert all(name.startswith("auxiliary.") for name in found.missing)
    kept = weights.set_weights(both, first, source="torchvision", leave=("auxiliary",))
    assert kept.complete


def test_refuses(one, both):
    with pytest.raises(ValueError, match="one of 'torchvision', 'fid', got 'keras'"):
        build("keras")
    with pytest.raises(ValueError, match="InceptionV3: `width` must be even, got 3"):
        build(width=3)
    for option in ("width", "num_classes", "in_channels"):
        with pytest.raises(ValueError, match=f"`{option}` must be a positive .* got 0"):
            build(**{option: 0})

    for shape, match in (
        ((1, 74, 80, 3), r"must be at least 75 high and wide, got shape \(1, 74, 80"),
        ((1, 80, 80, 1), "must have 3 channels, last"),
        ((80, 80, 3), "must be images"),
    ):
        for call in (one, one.features):
            with pytest.raises(ValueError, match=f"InceptionV3: `x` {match}"):
                call(jnp.ones(shape))
    with pytest.raises(TypeError, match="must be real floating point, got uint8"):
        one(jnp.ones((1, 75, 75, 3), jnp.uint8))
    with pytest.raises(ValueError, match="`auxiliary` must be True for a second head"):
        one.with_auxiliary(jnp.ones((1, 299, 299, 3)))
    with pytest.raises(ValueError, match="must be at least 299 high and wide, got"):
        both.with_auxiliary(jnp.ones((1, 298, 299, 3)))


def test_smallest_images(one, both):
    """Sides that are not refused leave a pixel for the last layer of a head."""

    def shapes(model, method, side):
        model.eval()
        graph, arrays = nnx.split(model)

        def run(arrays, x):
            return getattr(nnx.merge(graph, arrays, copy=True), method)(x)

        found = jax.eval_shape(run, arrays, jnp.ones((1, side, side + 5, 3)))
        return jax.tree.map(jnp.shape, found)

    assert shapes(one, "__call__", inception.SMALLEST) == (1, 5)
    sides = inception.AUXILIARY_SMALLEST
    assert shapes(both, "with_auxiliary", sides) == ((1, 5), (1, 5))


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "classes"), [("torchvision", 1000), ("fid", 1008)])
def test_full_size_is_that_of_pytorch(variant, classes, monkeypatch):
    torch = pytest.importorskip("torch")
    case = lambda t: networks.inception(t, variant, 32, classes, False)  # noqa: E731
    monkeypatch.setitem(networks.CASES, "full", (case, 299))
    monkeypatch.setitem(networks.GAINS, "full", 1.4)
    shapes, expected = compute(torch, "full")
    model = nnx.eval_shape(lambda: build(variant))
    state = networks.weights(shapes, 1.4)
    assert weights.set_weights(model, state, source="torchvision").complete
    model.eval()
    graph, arrays = nnx.split(model)

    @jax.jit
    def run(arrays, x):
        model = nnx.merge(graph, arrays, copy=True)
        return jnp.concatenate([model.features(x), model(x)], axis=1)

    found = run(arrays, networks.images("full", 299))
    assert np.abs(expected[0] - expected[1]).mean() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-5)
