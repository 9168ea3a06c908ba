"""Parts that networks share; images are (batch, height, width, channels)."""

from jaxvision.layers.attention import (
    MultiFrequencyAttention as MultiFrequencyAttention,
)
from jaxvision.layers.attention import SqueezeExcitation as SqueezeExcitation
from jaxvision.layers.attention import simam as simam
from jaxvision.layers.convolution import ConvNormActivation as ConvNormActivation
from jaxvision.layers.convolution import ConvTranspose as ConvTranspose
from jaxvision.layers.convolution import conv as conv
from jaxvision.layers.normalization import BatchNorm as BatchNorm
from jaxvision.layers.parameters import count_parameters as count_parameters
from jaxvision.layers.parameters import split as split
from jaxvision.layers.parameters import statistics_of as statistics_of
from jaxvision.layers.residual import BasicBlock as BasicBlock
from jaxvision.layers.residual import Bottleneck as Bottleneck
from jaxvision.layers.resnet import ResNet as ResNet
from jaxvision.layers.transformer import Encoder as Encoder
from jaxvision.layers.transformer import EncoderBlock as EncoderBlock
from jaxvision.layers.transformer import SelfAttention as SelfAttention
from jaxvision.layers.vit import Size as Size
from jaxvision.layers.vit import ViT as ViT


__all__ = [
    "conv", "ConvNormActivation", "ConvTranspose", "BatchNorm",
    "BasicBlock", "Bottleneck", "ResNet",
    "simam", "SqueezeExcitation", "MultiFrequencyAttention",
    "SelfAttention", "EncoderBlock", "Encoder", "ViT", "Size",
    "count_parameters", "split", "statistics_of",
]  # fmt: skip
