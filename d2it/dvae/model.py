"""Dynamic VAE: 1 code for a smooth region, 4 for a busy one (paper section 3.1, stage 1)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from d2it.dvae.decoder import Decoder
from d2it.dvae.encoder import HierarchicalEncoder
from d2it.dvae.initialize import initialize
from d2it.dvae.quantizer import Quantizer
from d2it.grain.codes import code_weight, codes_once, combine, copies_per_side, copy_codes, first_positions
from d2it.saved import CONFIG, SavedModelError, load_weights, read_config, save_model

LOG_VARIANCE = -6.0  # of the posterior at the start: little noise, so that codes mean something from the first step


@dataclass(frozen=True)
class DVAEConfig:
    """What a DVAE is made of; saved beside its weights, so that a later stage needs no params to load it."""

    channels: int
    multipliers: list[int]
    res_blocks: int
    latent_channels: int
    regularizer: str
    codebook_size: int
    factors: list[int]


@dataclass(frozen=True)
class Posterior:
    """Diagonal Gaussian over the multi-grained latent; `std` is 0 with VQ. Both (B, z, h, w), copies equal."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std · noise; `noise` must be multi-grained, so that a code is drawn once and then copied."""
        return self.mean + self.std * noise


class DynamicVAE(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] to multi-grained latents (B, z, H/f_1, W/f_1) and back."""

    def __init__(self, config: DVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.copies = copies_per_side(config.factors)
        self.thresholds: list[float] = []  # k - 1 entropies, nats; set from the training set
        self.latent_scale = 1.0  # latents times this have unit variance; measured after training
        self.data = ""  # fingerprint of the training set
        z = config.latent_channels
        moments = 2 * z if config.regularizer == "kl" else z
        shape = (config.channels, config.multipliers, config.res_blocks)
        self.encoder = HierarchicalEncoder(*shape, config.factors, moments)
        self.decoder = Decoder(*shape, z)
        initialize(self)
        if config.regularizer == "kl":
            self.encoder.start_with_log_variance(LOG_VARIANCE)
        self.quantizer = Quantizer(z, config.codebook_size) if config.regularizer == "vq" else None

    def encode(self, images: Tensor, grain_map: Tensor) -> Posterior:
        """Codes of each region at its grain, copied: images (B, 3, H, W), grain_map (B, H/S, W/S)."""
        moments = combine([codes.float() for codes in self.encoder(images)], grain_map)
        if self.quantizer is not None:
            return Posterior(moments, torch.zeros_like(moments))
        mean, log_variance = moments.chunk(2, dim=1)
        return Posterior(mean, torch.exp(0.5 * log_variance.clamp(-30, 20)))

    def quantize(self, latents: Tensor, grain_map: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """VQ only: quantised latents (B, z, h, w), commitment loss, perplexity and dead codes; a code counts once."""
        assert self.quantizer is not None
        quantized, loss, numbers = self.quantizer(codes_once(latents, grain_map, self.copies))
        grid = latents.new_zeros(latents.movedim(1, -1).shape)
        grid = grid.masked_scatter(first_positions(grain_map, self.copies)[..., None], quantized)
        return copy_codes(grid.movedim(-1, 1), grain_map, self.copies), loss, numbers

    def decode(self, latents: Tensor, grain_map: Tensor) -> Tensor:
        """Latents (B, z, h, w), constant inside coarse regions, to images (B, 3, H, W); quantises first with VQ."""
        if self.quantizer is not None:
            latents = self.quantize(latents, grain_map)[0]
        images: Tensor = self.decoder(latents)
        return images

    def reconstruct(self, images: Tensor, grain_map: Tensor) -> Tensor:
        """decode(posterior mean): images (B, 3, H, W) float32 -> same, clamped to [-1, 1]."""
        return self.decode(self.encode(images, grain_map).mean, grain_map).float().clamp(-1, 1)


def kl_divergence(posterior: Posterior, grain_map: Tensor, copies: list[int]) -> Tensor:
    """KL to N(0, I) an image, summed over codes, each code once (our reading): (B,), nats."""
    variance = posterior.std**2
    kl = 0.5 * (posterior.mean**2 + variance - 1 - variance.log())
    return (kl * code_weight(grain_map, copies)).sum((1, 2, 3))


def describe(model: DynamicVAE) -> dict[str, Any]:
    """What config.json says: what the model is made of, thresholds, latent scale, and the training set."""
    measured = {"thresholds": model.thresholds, "latent_scale": model.latent_scale, "data": model.data}
    return vars(model.config) | measured


def save_dvae(folder: Path, model: DynamicVAE) -> None:
    """Write weights.safetensors and config.json."""
    save_model(folder, model, describe(model))


def load_dvae(folder: Path, device: torch.device) -> DynamicVAE:
    """Load what `save_dvae` wrote, for inference.

    Raises:
        SavedModelError: the folder holds no DVAE, or a damaged one.
    """
    config = read_config(folder)
    try:
        thresholds, latent_scale, data = (config.pop(name) for name in ("thresholds", "latent_scale", "data"))
        made_of = DVAEConfig(**config)
    except (KeyError, TypeError) as error:
        raise SavedModelError(f"{folder / CONFIG}: not a DVAE's: {error}") from None
    model = DynamicVAE(made_of)
    load_weights(model, folder, device)
    model.thresholds, model.latent_scale, model.data = thresholds, latent_scale, data
    return model
