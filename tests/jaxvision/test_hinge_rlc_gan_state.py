"""What HingeRLC-GAN begins with, and that a saved network is the same one again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision
from jaxvision import layers, starts, weights
from jaxvision.models import HingeRLCGANOptions


@pytest.fixture(scope="module")
def started():
    """A recipe of 8 x 8 images, and how its states begin."""
    network = HingeRLCGANOptions(8, 1, latent=64, width=64)
    recipe = jaxvision.recipe("hinge_rlc_gan", preset="digits_hinge", network=network)
    return recipe, jax.jit(recipe.task().init)


def test_initial_values(started):
    """Linear layers by Xavier with biases 0.01, tables, PyTorch's convolutions."""
    params = started[1](jax.random.key(0))["params"]
    generator, discriminator = params["generator"], params["discriminator"]
    label = discriminator["label_map"]
    linear = (generator["first"], label["linear"]["layer"])
    for layer in (*linear, discriminator["last"]["layer"]):
        kernel = layer["kernel"]
        bound = np.sqrt(6 / sum(kernel.shape))
        assert 0.9 * bound < float(jnp.abs(kernel).max()) <= bound
        np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.15)
        np.testing.assert_array_equal(layer["bias"], np.float32(0.01))
    np.testing.assert_allclose(
        linear[0]["kernel"].std(), np.sqrt(2 / (64 + 1024)), rtol=0.02
    )
    assert label["table"].shape == (10, 50)
    assert abs(float(label["table"].mean())) < 0.2
    assert 0.9 < float(label["table"].std()) < 1.1
    assert float(jnp.abs(label["table"]).max()) > 2  # not uniform
    block = generator["blocks"][0]
    for i in range(2):
        np.testing.assert_array_equal(block["norms"][i]["scale"], np.ones((10, 64)))
        np.testing.assert_array_equal(block["norms"][i]["bias"], np.zeros((10, 64)))
    kernel = block["convs"][0]["layer"]["kernel"]
    bound = 1 / np.sqrt(9 * 64)
    assert float(jnp.abs(kernel).max()) <= bound
    np.testing.assert_allclose(kernel.std(), bound / np.sqrt(3), rtol=0.02)


def test_saved_weights_are_the_same_network(started, tmp_path, rng):
    """Images and scores in evaluation, the singular vectors with the kernels."""
    recipe, init = started
    z = jnp.asarray(rng.normal(size=(3, 64)), "float32")
    x = jnp.asarray(rng.uniform(-1, 1, (3, 8, 8, 1)), "float32")
    label = jnp.array([0, 1, 2])

    @jax.jit
    def outputs(state):
        gan = starts.network_of(recipe, state)
        return gan(z, label), gan.discriminator(x, label)

    first, second = (init(jax.random.key(seed)) for seed in (0, 1))
    expected, others = outputs(first), outputs(second)
    for a, b in zip(expected, others, strict=True):
        assert float(jnp.abs(a - b).max()) > 1e-2
    path = weights.save_weights(starts.network_of(recipe, first), tmp_path / "a")
    model = starts.network_of(recipe, second)
    found = weights.load_weights(model, path)
    assert found.complete
    assert {"discriminator.last.u", "generator.last.v"} <= set(found.loaded)
    _, params, statistics = layers.split(model)
    loaded = {"params": params, "statistics": statistics}
    jax.tree.map(np.testing.assert_array_equal, outputs(loaded), expected)
    # What `jaxvision train --weights` begins with.
    started = starts.start(recipe, path, key=jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, outputs(started), expected)
    # Vectors that a file lacks are named.
    arrays = weights.named_arrays(model)
    del arrays["discriminator.last.u"]
    with pytest.raises(ValueError, match=r"missing: discriminator\.last\.u\. partial="):
        weights.set_weights(model, arrays)
