"""Losses as pure functions of arrays."""

from jaxvision.losses.adversarial import consistency_penalty as consistency_penalty
from jaxvision.losses.adversarial import discriminator_loss as discriminator_loss
from jaxvision.losses.adversarial import generator_loss as generator_loss
from jaxvision.losses.adversarial import interpolated_penalty as interpolated_penalty
from jaxvision.losses.adversarial import r1_penalty as r1_penalty
from jaxvision.losses.classification import binary_cross_entropy as binary_cross_entropy
from jaxvision.losses.classification import (
    softmax_cross_entropy as softmax_cross_entropy,
)
from jaxvision.losses.dice import soft_dice_loss as soft_dice_loss
from jaxvision.losses.gaussian import gaussian_kl as gaussian_kl
from jaxvision.losses.gaussian import gaussian_nll as gaussian_nll
from jaxvision.losses.gaussian import optimal_variance as optimal_variance
from jaxvision.losses.rlc import ScoreAnchors as ScoreAnchors
from jaxvision.losses.rlc import anchor_penalty as anchor_penalty
from jaxvision.losses.rlc import lecam_penalty as lecam_penalty
from jaxvision.losses.rlc import rlc_gradient_penalty as rlc_gradient_penalty
from jaxvision.losses.variational import Parts as Parts
from jaxvision.losses.variational import beta_sigma_loss as beta_sigma_loss
from jaxvision.losses.variational import beta_vae_loss as beta_vae_loss
from jaxvision.losses.variational import elbo as elbo


__all__ = [
    "softmax_cross_entropy", "binary_cross_entropy", "soft_dice_loss",
    "gaussian_kl", "gaussian_nll", "optimal_variance",
    "beta_vae_loss", "beta_sigma_loss", "elbo", "Parts",
    "discriminator_loss", "generator_loss",
    "r1_penalty", "interpolated_penalty", "consistency_penalty",
    "rlc_gradient_penalty", "lecam_penalty", "ScoreAnchors", "anchor_penalty",
]  # fmt: skip
