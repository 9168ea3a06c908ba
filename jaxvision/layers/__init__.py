"""Parts that networks share; images are (batch, height, width, channels)."""

from jaxvision.layers.attention import (
    MultiFrequencyAttention as MultiFrequencyAttention,
)
from jaxvision.layers.attention import SpatialAttention as SpatialAttention
from jaxvision.layers.attention import SqueezeExcitation as SqueezeExcitation
from jaxvision.layers.attention import simam as simam
from jaxvision.layers.convolution import ConvNormActivation as ConvNormActivation
from jaxvision.layers.convolution import ConvTranspose as ConvTranspose
from jaxvision.layers.convolution import GroupedConv as GroupedConv
from jaxvision.layers.convolution import conv as conv
from jaxvision.layers.dropout import dropout as dropout
from jaxvision.layers.frequency_fusion import FusionUnit as FusionUnit
from jaxvision.layers.frequency_fusion import SSFBlock as SSFBlock
from jaxvision.layers.inception import InceptionV3 as InceptionV3
from jaxvision.layers.normalization import BatchNorm as BatchNorm
from jaxvision.layers.normalization import ConditionalBatchNorm as ConditionalBatchNorm
from jaxvision.layers.normalization import InstanceNorm as InstanceNorm
from jaxvision.layers.normalization import counted_rows as counted_rows
from jaxvision.layers.operations import (
    convolution_operations as convolution_operations,
)
from jaxvision.layers.parameters import count_parameters as count_parameters
from jaxvision.layers.parameters import split as split
from jaxvision.layers.parameters import statistics_of as statistics_of
from jaxvision.layers.perceptron import Perceptron as Perceptron
from jaxvision.layers.perceptron import linear as linear
from jaxvision.layers.residual import BasicBlock as BasicBlock
from jaxvision.layers.residual import Bottleneck as Bottleneck
from jaxvision.layers.resize import adaptive_average_pool as adaptive_average_pool
from jaxvision.layers.resize import average_pool as average_pool
from jaxvision.layers.resize import resize_bicubic as resize_bicubic
from jaxvision.layers.resize import resize_bilinear as resize_bilinear
from jaxvision.layers.resize import upsample_nearest as upsample_nearest
from jaxvision.layers.resnet import ResNet as ResNet
from jaxvision.layers.spectral import SpectralNorm as SpectralNorm
from jaxvision.layers.transformer import Encoder as Encoder
from jaxvision.layers.transformer import EncoderBlock as EncoderBlock
from jaxvision.layers.transformer import SelfAttention as SelfAttention
from jaxvision.layers.unet import ConvPair as ConvPair
from jaxvision.layers.unet import UNetDecoderStage as UNetDecoderStage
from jaxvision.layers.unet import UNetEncoder as UNetEncoder
from jaxvision.layers.vit import Size as Size
from jaxvision.layers.vit import ViT as ViT
from jaxvision.layers.vit import attention_rollout as attention_rollout
from jaxvision.layers.vit import resize_positions as resize_positions


__all__ = [
    "conv", "ConvNormActivation", "ConvTranspose", "GroupedConv",
    "BatchNorm", "ConditionalBatchNorm", "InstanceNorm", "SpectralNorm", "dropout",
    "counted_rows", "linear", "Perceptron",
    "resize_bilinear", "resize_bicubic", "upsample_nearest", "average_pool",
    "adaptive_average_pool",
    "BasicBlock", "Bottleneck", "ResNet", "InceptionV3",
    "ConvPair", "UNetEncoder", "UNetDecoderStage",
    "simam", "SqueezeExcitation", "SpatialAttention", "MultiFrequencyAttention",
    "FusionUnit", "SSFBlock",
    "SelfAttention", "EncoderBlock", "Encoder", "ViT", "Size",
    "attention_rollout", "resize_positions",
    "count_parameters", "convolution_operations", "split", "statistics_of",
]  # fmt: skip
