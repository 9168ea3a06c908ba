"""The networks of the systems."""

from jaxvision.models.beta_sigma_vae import BetaSigmaVAE as BetaSigmaVAE
from jaxvision.models.beta_sigma_vae import BetaSigmaVAEOptions as BetaSigmaVAEOptions


__all__ = ["BetaSigmaVAE", "BetaSigmaVAEOptions"]
