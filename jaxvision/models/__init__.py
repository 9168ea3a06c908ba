"""The networks of the systems."""

from jaxvision.models.beta_sigma_vae import BetaSigmaVAE as BetaSigmaVAE
from jaxvision.models.beta_sigma_vae import BetaSigmaVAEOptions as BetaSigmaVAEOptions
from jaxvision.models.fedrewind import FedRewindClassifier as FedRewindClassifier
from jaxvision.models.fedrewind import FedRewindOptions as FedRewindOptions
from jaxvision.models.hinge_rlc_gan import HingeRLCGAN as HingeRLCGAN
from jaxvision.models.hinge_rlc_gan import HingeRLCGANOptions as HingeRLCGANOptions
from jaxvision.models.lung_ssfnet import LungSSFNet as LungSSFNet
from jaxvision.models.lung_ssfnet import LungSSFOptions as LungSSFOptions
from jaxvision.models.ripeness_vit import RipenessViTOptions as RipenessViTOptions
from jaxvision.models.ripeness_vit import predict as predict_ripeness
from jaxvision.models.ripeness_vit import ripeness_vit as ripeness_vit


__all__ = [
    "BetaSigmaVAE", "BetaSigmaVAEOptions",
    "HingeRLCGAN", "HingeRLCGANOptions",
    "FedRewindClassifier", "FedRewindOptions",
    "LungSSFNet", "LungSSFOptions",
    "ripeness_vit", "RipenessViTOptions", "predict_ripeness",
]  # fmt: skip
