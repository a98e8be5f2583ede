"""A trained D²iT to play with: `d2it.load("outputs")`, then `sample`, `reconstruct`, `grain_map` and `denoise`."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from d2it.data.description import read_description
from d2it.data.photos import to_float, to_uint8
from d2it.device import pick_device
from d2it.diffusion.generate import ImageGenerator
from d2it.diffusion.grain import sample_grain_maps
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import Schedule, linear_schedule
from d2it.dvae.model import DynamicVAE, load_dvae
from d2it.errors import UserError
from d2it.grain.entropy import region_entropy
from d2it.grain.thresholds import entropy_thresholds, grain_maps
from d2it.progress import Progress
from d2it.saved import identity, read_config
from d2it.seeds import stream_seed
from d2it.size import Size
from d2it.transformer.content import DynamicContentTransformer, load_content
from d2it.transformer.grain import DynamicGrainTransformer, load_grain
from d2it.use.hub import local_folder
from d2it.use.photos import Photo, as_grain_maps, middle
from d2it.use.settings import Settings, settings_of

PARTS = ("train_dvae", "train_grain", "train_content")  # folders inside a folder of trained models
PIXELS = {"cpu": 2**20, "cuda": 2**23}  # of a batch, where no size is asked for
FRAMES = 24
Numbers = Sequence[int] | NDArray[np.integer] | int


class UnusableFolderError(UserError):
    """A folder that holds no trained D²iT; the message says what is missing."""


class Sampled(NamedTuple):
    """Images, and the grain maps (N, h, w) uint8 that they were drawn on."""

    images: list[Image.Image]
    grain_maps: NDArray[np.uint8]


@dataclass(kw_only=True)
class D2iT:
    """The three trained models. What is drawn for a seed and class does not depend on what is drawn beside it.

    Seed i is that of the i-th sample of the stage `sample`: with its class and settings it gives that sample.
    """

    dvae: DynamicVAE
    grain: DynamicGrainTransformer
    content: DynamicContentTransformer
    schedule: Schedule  # of both trainings
    objective: str
    settings: Settings
    class_names: list[str]  # empty without classes

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.content.parameters()).device

    @property
    def image_size(self) -> Size:
        """(height, width) of an image, pixels."""
        return self.region_grid.times(self.dvae.factors[-1])

    @property
    def region_grid(self) -> Size:
        """(height, width) of a grain map: regions of an image."""
        return self.grain.region_grid

    @torch.no_grad()
    def sample(
        self, classes: Numbers | None = None, seeds: Numbers | None = None, *,
        grain_maps: NDArray[np.integer] | Photo | Sequence[Photo] | None = None, fine_ratio: float | None = None,
        batch_size: int | None = None, progress: bool = True, **settings: Any,
    ) -> Sampled:  # fmt: skip
        """Draw images.

        Args:
            classes: a label for each image, or one for all; without, the classes in turn.
            seeds: a number for each image, or the first of consecutive ones; without, 0, 1, ...
            grain_maps: where detail goes, (N, h, w) with 0 = coarsest, or black and white pictures, white = fine; one
                serves all images. Without, the grain transformer draws them; noise is that of the seed either way.
            fine_ratio: share of each image's regions that becomes fine, where the grain transformer finds them most
                likely so; without, as many as it draws. For models with two grains.
            batch_size: images at once; without, as many as fit well. It changes an image by rounding alone.
            progress: show a bar.
            settings: `guidance`, `steps`, `sampler`, ... in place of the model's own; see `Settings`.

        Raises:
            UserError: something cannot be used; one line says what is allowed.
        """
        chosen = self._settings(settings)
        maps = None if grain_maps is None else as_grain_maps(grain_maps, self.region_grid, self.grain.grains)
        labels, numbers = self._images(classes, seeds, None if maps is None else len(maps))
        if maps is not None and len(maps) not in (1, len(labels)):
            raise UserError(f"{len(maps)} grain maps for {len(labels)} images: must be one, or one for each")
        generator, size = self._generator(chosen), batch_size or self.batch_size()
        images, drawn = [], []
        with Progress(len(labels), "sample") if progress else nullcontext() as bar:
            for start in range(0, len(labels), size):
                part = slice(start, start + size)
                streams = self._streams(chosen.seed, numbers[part])
                own = None if maps is None else np.broadcast_to(maps, (len(labels), *maps.shape[1:]))[part]
                grain_map = self._grain_maps(labels[part], streams, own, chosen=chosen, fine_ratio=fine_ratio)
                images.append(to_uint8(generator.images(labels[part], grain_map, streams)))
                drawn.append(grain_map.cpu().numpy())
                if bar is not None:
                    bar.update(len(grain_map))
        return Sampled([Image.fromarray(image) for image in np.concatenate(images)], np.concatenate(drawn))

    @torch.no_grad()
    def denoise(
        self, classes: Numbers | None = None, seeds: Numbers | None = None, *,
        grain_maps: NDArray[np.integer] | Photo | Sequence[Photo] | None = None, frames: int = FRAMES, **settings: Any,
    ) -> NDArray[np.uint8]:  # fmt: skip
        """As `sample`, but what the model predicts the images to be after each step: (frames or fewer, N, H, W, 3)."""
        chosen = self._settings(settings)
        maps = None if grain_maps is None else as_grain_maps(grain_maps, self.region_grid, self.grain.grains)
        labels, numbers = self._images(classes, seeds, None if maps is None else len(maps))
        streams = self._streams(chosen.seed, numbers)
        own = None if maps is None else np.broadcast_to(maps, (len(labels), *maps.shape[1:]))
        grain_map = self._grain_maps(labels, streams, own, chosen=chosen, fine_ratio=None)
        predicted = self._generator(chosen).denoise(labels, grain_map, streams, frames)
        return np.stack([to_uint8(images) for images in predicted])

    @torch.no_grad()
    def reconstruct(self, photo: Photo, *, fine_ratio: float | None = None) -> Image.Image:
        """What the DVAE keeps of a photo, whose middle is taken; at its own grain map, or one of another ratio."""
        pixels = middle(photo, self.image_size)
        maps = torch.from_numpy(self.grain_map(pixels, fine_ratio=fine_ratio))[None].to(self.device)
        images = to_float(torch.from_numpy(pixels)[None]).to(self.device)
        return Image.fromarray(to_uint8(self.dvae.reconstruct(images, maps))[0])

    def grain_map(self, photo: Photo, *, fine_ratio: float | None = None) -> NDArray[np.uint8]:
        """Grain map (h, w) of a photo, 0 = coarsest, by the entropies of its regions.

        Args:
            photo: its middle is taken.
            fine_ratio: share of this photo's regions that is fine; without, the training set's thresholds decide. For
                models with two grains.
        """
        pixels = middle(photo, self.image_size)[None]
        entropy = region_entropy(pixels, self.dvae.factors[-1], self.settings.bandwidth)
        thresholds = self.dvae.thresholds
        if fine_ratio is not None:
            thresholds = entropy_thresholds(np.sort(entropy.astype(np.float64).ravel()), self._shares(fine_ratio))
        of_photo: NDArray[np.uint8] = grain_maps(entropy, thresholds)[0]
        return of_photo

    def _settings(self, given: Mapping[str, Any]) -> Settings:
        chosen, T = self.settings.changed(objective=self.objective, **given), self.schedule.steps
        limits = {"grain_steps": T, "steps": T - 1 if chosen.sampler == "dpm-solver++" else T}
        for name, most in limits.items():
            if getattr(chosen, name) > most and not (name == "steps" and self.objective == "flow"):
                raise UserError(f"{name} = {getattr(chosen, name)}: must be at most {most}, of {T} timesteps")
        return chosen

    def _images(self, classes: Numbers | None, seeds: Numbers | None, maps: int | None) -> tuple[Tensor, list[int]]:
        """Labels (N,) and seeds; N is the longest of what is given."""
        classes, seeds = (x.tolist() if isinstance(x, np.ndarray | np.generic) else x for x in (classes, seeds))
        lengths = [len(x) for x in (classes, seeds) if isinstance(x, Sequence)] + ([] if maps is None else [maps])
        known = max(1, self.content.no_class)
        count = max(lengths, default=1 if isinstance(classes, int) else min(known, 8))
        labels = [*classes] if isinstance(classes, Sequence) else [classes] * count
        labels = [i % known if label is None else label for i, label in enumerate(labels)]
        numbers = [*seeds] if isinstance(seeds, Sequence) else list(range(seeds or 0, (seeds or 0) + count))
        if not count:
            raise UserError("no classes, seeds or grain maps: must be one at least")
        if not len(labels) == len(numbers) == count:
            raise UserError(f"{len(labels)} classes and {len(numbers)} seeds for {count} images: must be as many")
        wrong = [label for label in labels if not 0 <= label < known]
        if wrong:
            raise UserError(f"class {wrong[0]}: must be 0 to {known - 1}")
        return torch.tensor(labels, device=self.device), numbers

    def _streams(self, seed: int, numbers: Sequence[int]) -> ImageStreams:
        return ImageStreams([stream_seed(seed, "sample", number) for number in numbers], self.device)

    def _grain_maps(
        self, labels: Tensor, streams: ImageStreams, own: NDArray[np.uint8] | None, *, chosen: Settings,
        fine_ratio: float | None,
    ) -> Tensor:  # fmt: skip
        if fine_ratio is not None and own is None:
            self._shares(fine_ratio)
        drawn = sample_grain_maps(
            self.schedule.respaced(chosen.grain_steps), self.grain, labels, streams, guidance=chosen.grain_guidance,
            fine_ratio=fine_ratio if own is None else None,
        )  # fmt: skip
        # A map takes the first numbers of the image's stream: drawn in vain, it leaves the image the noise of its seed.
        return drawn if own is None else torch.from_numpy(own.copy()).to(self.device)

    def _shares(self, fine_ratio: float) -> list[float]:
        if self.grain.grains != 2:
            raise UserError(f"fine_ratio is for models with two grains; this one has {self.grain.grains}")
        if not 0 <= fine_ratio <= 1:
            raise UserError(f"fine_ratio = {fine_ratio}: must be from 0 to 1")
        return [1 - fine_ratio, fine_ratio]

    def _generator(self, chosen: Settings) -> ImageGenerator:
        return ImageGenerator(
            dvae=self.dvae, content=self.content, schedule=self.schedule, objective=self.objective, steps=chosen.steps,
            sampler=chosen.sampler, guidance=chosen.guidance, guidance_interval=chosen.guidance_interval,
            guidance_channels=chosen.guidance_channels, precision=chosen.precision,
            refine_below=chosen.refine_below,
        )  # fmt: skip

    def batch_size(self) -> int:
        """Images that are drawn at once where no number is asked for."""
        return max(1, PIXELS.get(self.device.type, PIXELS["cuda"]) // self.image_size.area)


def load(folder: Path | str, device: torch.device | str | None = None) -> D2iT:
    """The trained models of a folder: a pipeline's `outputs`, or what `d2it export` has written, here or on the Hub.

    Args:
        folder: holds train_dvae, train_grain and train_content; or 'owner/name' on the Hugging Face Hub.
        device: without, the GPU if there is one, else the CPU.

    Raises:
        UserError: the folder holds no trained D²iT, or models of different trainings.
    """
    folder = local_folder(folder)
    where = pick_device() if device is None else torch.device(device)
    missing = [part for part in PARTS if not (folder / part / "config.json").exists()]
    if missing:
        raise UnusableFolderError(f"{folder}: lacks {', '.join(missing)}: run dvc repro there, or dvc checkout")
    _require_one_dvae(folder)
    config = read_config(folder / "train_content")
    content = load_content(folder / "train_content", where)
    description = folder / "prepare" / "data.json"
    return D2iT(
        dvae=load_dvae(folder / "train_dvae", where), grain=load_grain(folder / "train_grain", where), content=content,
        schedule=linear_schedule(**config["schedule"]).to(where), objective=str(config["objective"]),
        settings=settings_of(folder, str(config["objective"])),
        class_names=read_description(folder / "prepare").classes if description.exists() else [],
    )  # fmt: skip


def _require_one_dvae(folder: Path) -> None:
    """Both transformers learned the latents of this very DVAE; with another they would draw noise."""
    dvae = identity(folder / "train_dvae")
    for part in PARTS[1:]:
        latents = read_config(folder / part).get("latents")
        theirs = latents.get("dvae") if isinstance(latents, dict) else None
        if theirs != dvae:
            raise UnusableFolderError(
                f"{folder / part}: trained on the DVAE {str(theirs)[:12]}; {folder / 'train_dvae'} is {dvae[:12]}: "
                "must be of one training: dvc repro makes anew what does not fit"
            )
