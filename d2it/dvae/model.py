"""Dynamic VAE: 1 code for a smooth region, 4 for a busy one (paper section 3.1, stage 1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from d2it.dvae.decoder import Decoder
from d2it.dvae.encoder import HierarchicalEncoder
from d2it.dvae.initialize import initialize
from d2it.dvae.quantizer import Quantizer
from d2it.grain.codes import code_weight, codes_once, combine, copies_per_side, copy_codes, first_positions
from d2it.saved import CONFIG, SavedModelError, load_model, read_config, save_model

LOG_VARIANCE = -6.0  # of the posterior at the start: little noise, so that codes mean something from the first step


# The paper's, which is LDM's KL-f8 (our reading), is the constructor's default; S is the demo's (ours).
SIZES: dict[str, dict[str, Any]] = {
    "S": {"channels": 16, "multipliers": (1, 2, 2), "res_blocks": 1, "patch": 2},
    "paper": {"channels": 128, "multipliers": (1, 2, 4, 4), "res_blocks": 2, "patch": 1},
}


@dataclass(frozen=True)
class Posterior:
    """Diagonal Gaussian over the multi-grained latent; `std` is 0 with VQ. Both (B, z, h, w), copies equal."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std · noise; `noise` must be multi-grained, so that a code is drawn once and then copied."""
        return self.mean + self.std * noise


class DynamicVAE(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] to multi-grained latents (B, z, H/f_1, W/f_1) and back.

    The defaults are the paper's: LDM's KL-f8 with a second grain.
    """

    def __init__(
        self, *, channels: int = 128, multipliers: Sequence[int] = (1, 2, 4, 4), res_blocks: int = 2,
        patch: int = 1, latent_channels: int = 4, regularizer: Literal["kl", "vq"] = "kl", codebook_size: int = 1024,
        factors: Sequence[int] = (8, 16),
    ) -> None:  # fmt: skip
        """Args:
        channels: of the first level; a multiple of 32, or 8 or 16.
        multipliers: of the channels, by level; patch · 2^(levels - 1) is the smallest factor.
        res_blocks: residual blocks per level.
        patch: side of the pixel patches that are folded into channels, pixels.
        latent_channels: channels of a code, z.
        regularizer: KL to N(0, I), or vector quantisation at the decoder's input.
        codebook_size: K; VQ only.
        factors: downsampling factors of the grains, ascending.
        """
        super().__init__()
        self.architecture: dict[str, Any] = {
            "channels": channels, "multipliers": list(multipliers), "res_blocks": res_blocks,
            "patch": patch, "latent_channels": latent_channels, "regularizer": regularizer,
            "codebook_size": codebook_size, "factors": list(factors),
        }  # fmt: skip
        if patch * 2 ** (len(multipliers) - 1) != factors[0]:
            raise ValueError(f"multipliers {list(multipliers)}: patch {patch} x 2^(levels - 1) must be {factors[0]}")
        self.latent_channels = latent_channels
        self.factors = list(factors)
        self.copies = copies_per_side(factors)
        self.thresholds: list[float] = []  # k - 1 entropies, nats; set from the training set
        self.latent_scale = 1.0  # latents times this have unit variance; measured after training
        self.data = ""  # fingerprint of the training set
        moments = 2 * latent_channels if regularizer == "kl" else latent_channels
        shape = (channels, multipliers, res_blocks)
        self.encoder = HierarchicalEncoder(*shape, patch=patch, factors=factors, channels_out=moments)
        self.decoder = Decoder(*shape, patch=patch, latent_channels=latent_channels)
        initialize(self)
        if regularizer == "kl":
            self.encoder.start_with_log_variance(LOG_VARIANCE)
        self.quantizer = Quantizer(latent_channels, codebook_size) if regularizer == "vq" else None

    def encode(self, images: Tensor, grain_map: Tensor) -> Posterior:
        """Codes of each region at its grain, copied: images (B, 3, H, W), grain_map (B, H/S, W/S)."""
        moments = combine([codes.float() for codes in self.encoder(images)], grain_map)
        if self.quantizer is not None:
            return Posterior(moments, torch.zeros_like(moments))
        mean, log_variance = moments.chunk(2, dim=1)
        return Posterior(mean, torch.exp(0.5 * log_variance.clamp(-30, 20)))

    def quantize(self, latents: Tensor, grain_map: Tensor) -> Tensor:
        """VQ only: latents (B, z, h, w), quantised, with straight-through gradients; each code is looked up once."""
        assert self.quantizer is not None
        quantized = self.quantizer(codes_once(latents, grain_map, self.copies))
        grid = torch.zeros_like(rearrange(latents, "b c y x -> b y x c"))
        grid = grid.masked_scatter(first_positions(grain_map, self.copies)[..., None], quantized)
        return copy_codes(rearrange(grid, "b y x c -> b c y x"), grain_map, self.copies)

    def decode(self, latents: Tensor, grain_map: Tensor) -> Tensor:
        """Latents (B, z, h, w), constant inside coarse regions, to images (B, 3, H, W); quantises first with VQ."""
        if self.quantizer is not None:
            latents = self.quantize(latents, grain_map)
        images: Tensor = self.decoder(latents)
        return images

    def reconstruct(self, images: Tensor, grain_map: Tensor) -> Tensor:
        """decode(posterior mean): images (B, 3, H, W) float32 -> same, clamped to [-1, 1]."""
        return self.decode(self.encode(images, grain_map).mean, grain_map).float().clamp(-1, 1)


def kl_divergence(posterior: Posterior, grain_map: Tensor, copies: list[int]) -> Tensor:
    """KL to N(0, I) of each image, summed over its codes, each code once (our reading): (B,), nats."""
    variance = posterior.std**2
    kl = 0.5 * (posterior.mean**2 + variance - 1 - variance.log())
    return (kl * code_weight(grain_map, copies)).sum((1, 2, 3))


def commitment(latents: Tensor, quantized: Tensor, grain_map: Tensor, copies: list[int]) -> Tensor:
    """VQ's commitment loss of each image, a mean over its codes and channels, each code once (our reading): (B,)."""
    squared = (latents - quantized.detach()) ** 2  # (B, z, h, w)
    weight = code_weight(grain_map, copies)
    return (squared * weight).sum((1, 2, 3)) / (weight.sum((1, 2, 3)) * squared.shape[1])


def about(model: DynamicVAE) -> dict[str, Any]:
    """What config.json says beside the architecture: thresholds, latent scale, and the training set's fingerprint."""
    return {"thresholds": model.thresholds, "latent_scale": model.latent_scale, "data": model.data}


def save_dvae(folder: Path, model: DynamicVAE) -> None:
    """Write weights.safetensors and config.json."""
    save_model(folder, model, about(model))


def load_dvae(folder: Path | str, device: torch.device | str = "cpu") -> DynamicVAE:
    """The DVAE that a folder holds, for inference, with its thresholds and latent scale.

    Raises:
        UnreadableFileError: the folder holds another model, one of another version, or a damaged one.
    """
    model = load_model(DynamicVAE, folder, device)
    config = read_config(Path(folder))
    try:
        model.thresholds = [float(x) for x in config["thresholds"]]
        model.latent_scale, model.data = float(config["latent_scale"]), str(config["data"])
    except (KeyError, TypeError, ValueError) as error:
        raise SavedModelError(f"{Path(folder) / CONFIG}: needs thresholds, latent_scale and data: {error!r}") from None
    return model
