"""Operations of convolutions, against sums over the entries of small ones."""

import jax
import pytest
from flax import nnx

from jaxvision import layers


def shape(side, channels):
    return jax.ShapeDtypeStruct((2, side, side, channels), "float32")


@pytest.mark.parametrize("method", ["native", "dense", "taps"])
def test_groups_count_their_own_channels_however_they_are_computed(method):
    def build():
        return layers.GroupedConv(
            12, 6, 3, groups=3, method=method, dilation=2, rngs=nnx.Rngs(0)
        )

    # At each of 2 x 25 places each of 6 channels takes 9 entries of 4 channels.
    assert layers.convolution_operations(build, shape(5, 12)) == 2 * 50 * 6 * 36


def test_strides_and_transposed_ones():
    def build():
        return layers.conv(3, 4, 3, stride=2, rngs=nnx.Rngs(0))

    assert layers.convolution_operations(build, shape(7, 3)) == 2 * 32 * 4 * 27

    def enlarge():
        return layers.ConvTranspose(3, 4, 2, stride=2, rngs=nnx.Rngs(0))

    # Each entry of 2 images, 25 places, 3 channels is spread to 4 places, 4 channels.
    found = layers.convolution_operations(enlarge, shape(5, 3))
    assert found == 2 * (2 * 25 * 3) * (4 * 4)


def test_parts_of_a_network_add_up():
    """Inside compiled functions too; other layers do not count."""

    class Twice(nnx.Module):
        def __init__(self, rngs):
            self.first = layers.conv(2, 2, 1, rngs=rngs)
            self.norm = layers.BatchNorm(2)
            self.last = nnx.Linear(2, 9, rngs=rngs)

        def __call__(self, x):
            return self.last(self.norm(jax.jit(self.first)(self.first(x))))

    found = layers.convolution_operations(lambda: Twice(nnx.Rngs(0)), shape(3, 2))
    assert found == 2 * (2 * 18 * 2 * 2)
