"""From labels and grain maps to images: content transformer, sampler, decoder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from d2it.diffusion.guidance import guided
from d2it.diffusion.late import late
from d2it.diffusion.noise import ImageStreams, multi_grained_noise
from d2it.diffusion.prediction import Prediction
from d2it.diffusion.samplers import SAMPLERS, Predict, sampling_schedule
from d2it.diffusion.schedule import Schedule
from d2it.dvae.model import DynamicVAE
from d2it.transformer.content import DynamicContentTransformer


@dataclass(frozen=True, kw_only=True)
class ImageGenerator:
    """The trained models and how to sample from them."""

    dvae: DynamicVAE
    content: DynamicContentTransformer
    schedule: Schedule  # of training
    objective: str  # of training, 'epsilon', 'v' or 'flow'
    steps: int
    sampler: str = "ddpm"
    guidance: float = 1.0
    guidance_interval: Sequence[float] = (0.0, 1.0)
    guidance_channels: int | Literal["all"] = "all"
    precision: Literal["float32", "bfloat16"] = "float32"  # autocast of the content transformer alone
    refine_below: float = 1.0  # share of the noise levels, from 0 on, at which RefineNets work; see `late`

    @torch.no_grad()
    def latents(
        self, labels: Tensor, grain_map: Tensor, streams: ImageStreams, *,
        watch: Callable[[Tensor], None] | None = None,
    ) -> Tensor:  # fmt: skip
        """Latents (B, z, h, w) at the DVAE's scale, constant inside coarse regions; labels (B,), grain_map (B, ...).

        `watch` is called with what the model predicts them to be, after each prediction.
        """
        schedule = sampling_schedule(self.schedule.to(labels.device), self.sampler, self.steps)
        copies = self.content.copies
        _, h, w = grain_map.shape
        shape = (self.dvae.latent_channels, h * copies[0], w * copies[0])
        noise = partial(streams.normal, shape)
        predict = self._predict(schedule, labels, grain_map)
        if self.refine_below < 1:
            coarse = self._predict(schedule, labels, torch.zeros_like(grain_map))
            predict = late(
                schedule, predict, coarse, below=self.refine_below, grain_map=grain_map, copies=copies, noise=noise,
            )  # fmt: skip

        def watched(z: Tensor, index: Tensor) -> Prediction:
            prediction = predict(z, index)
            if watch is not None:
                watch(prediction.z_0 / self.dvae.latent_scale)
            return prediction

        z = SAMPLERS[self.sampler](schedule, watched, lambda: multi_grained_noise(noise(), grain_map, copies))
        return z / self.dvae.latent_scale

    def _predict(self, schedule: Schedule, labels: Tensor, grain_map: Tensor) -> Predict:
        twice = torch.cat([grain_map, grain_map])  # guided and unguided pass in one batch
        routes = {len(maps): self.content.route(maps) for maps in (grain_map, twice)}  # the same at all steps

        def model(z: Tensor, t: Tensor, labels: Tensor, maps: Tensor) -> Tensor:
            with torch.autocast(z.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
                output: Tensor = self.content(z, t, labels, maps, routes=routes[len(maps)])
            return output

        return guided(
            model, schedule, labels=labels, no_class=self.content.no_class, grain_map=grain_map, scale=self.guidance,
            interval=self.guidance_interval, objective=self.objective, channels=self.guidance_channels,
        )  # fmt: skip

    @torch.no_grad()
    def images(self, labels: Tensor, grain_map: Tensor, streams: ImageStreams) -> Tensor:
        """Images (B, 3, H, W) float32, about [-1, 1]."""
        return self.dvae.decode(self.latents(labels, grain_map, streams), grain_map).float()

    @torch.no_grad()
    def denoise(self, labels: Tensor, grain_map: Tensor, streams: ImageStreams, frames: int) -> Tensor:
        """What the model predicts the images to be, from noise to the end: (frames or fewer, B, 3, H, W) float32."""
        predicted: list[Tensor] = []
        self.latents(labels, grain_map, streams, watch=predicted.append)
        chosen = torch.linspace(0, len(predicted) - 1, min(frames, len(predicted))).round().long().tolist()
        return torch.stack([self.dvae.decode(predicted[i], grain_map).float() for i in chosen])
