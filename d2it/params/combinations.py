"""Which valid values of params.yaml cannot work together."""

import itertools
from collections.abc import Iterator

from d2it.params.architecture import value_at
from d2it.params.sections import Params

SMALLEST = {"lpips": 16, "st_lpips": 18, "efficientnet_lite0": 16}  # pixels, of the networks of d2it/dvae/perceptual.py
Check = tuple[bool, str, str]  # whether it holds, of which key, and what is allowed


def impossible_combinations(params: Params) -> list[str]:
    """One line for each combination of valid values that cannot work together, as 'key = value: what is allowed'."""
    checks = itertools.chain(_grains(params), _training(params), _sampling(params), _previews(params))
    return [f"{key} = {value_at(params, key)!r}: {allowed}" for holds, key, allowed in checks if not holds]


def _grains(params: Params) -> Iterator[Check]:
    """Factors, and what must fit to them; where the factors are wrong, nothing can."""
    factors, ratio, size = params.grain.factors, params.grain.fine_ratio, params.data.image_size
    powers = all(f > 1 and f & (f - 1) == 0 for f in factors)
    good = bool(factors) and factors == sorted(set(factors)) and powers
    yield good, "grain.factors", "must be different powers of two above 1, ascending, such as [8, 16]"
    if not good:
        return
    k, grid, patch = len(factors), size.divided(factors[0]), params.dvae.patch
    doubling = all(b == 2 * a for a, b in itertools.pairwise(factors))
    yield doubling, "grain.factors", "each factor must be twice the one before"
    divisible = all(length % factors[-1] == 0 for length in size)
    yield divisible, "data.image_size", f"must be a multiple of the largest factor, {factors[-1]}"
    one_each = f"{k} shares from coarsest to finest, one for each of grain.factors"
    if isinstance(ratio, list):
        whole = len(ratio) == k and abs(sum(ratio) - 1) < 1e-6
        yield whole, "grain.fine_ratio", f"a list must hold {one_each}, that sum to 1"
    else:
        yield k <= 2, "grain.fine_ratio", f"must be a list of {one_each}"
    power = patch <= factors[0] and patch & (patch - 1) == 0
    yield power, "dvae.patch", f"must be a power of two up to the smallest factor, {factors[0]}"
    levels = (factors[0] // patch).bit_length()
    needed = f"must have {levels} levels for a smallest factor of {factors[0]} and dvae.patch {patch}"
    yield not power or len(params.dvae.multipliers) == levels, "dvae.multipliers", needed
    window, least = params.refinenet.window, 2 ** (k - 1)
    fits = window == "full" or (all(length % window == 0 for length in grid) and window >= least)
    allowed = f"must divide the latent grid, {grid.plain} (= data.image_size / smallest factor), hold whole regions "
    yield fits or params.refinenet.layers == 0, "refinenet.window", f"{allowed}(at least {least}), or be 'full'"


def _previews(params: Params) -> Iterator[Check]:
    yield params.preview_metrics not in (1, 2), "preview_metrics", "must be 0 for none, or at least 3 (KID)"


def _training(params: Params) -> Iterator[Check]:
    channels = params.dvae.channels
    normalizes = channels % 32 == 0 or channels in (8, 16)  # into 32 groups, or, if few, into groups of 4
    yield normalizes, "dvae.channels", "must be a multiple of 32, or 8 or 16 (GroupNorm)"
    least, size = SMALLEST[params.dvae.perceptual], params.data.image_size
    visible = params.dvae.perceptual_weight == 0 or min(size) >= least
    yield visible, "data.image_size", f"must be at least {least} for dvae.perceptual {params.dvae.perceptual!r}"
    grain, content = params.grain_transformer, params.content_transformer
    for name, section in (("dvae", params.dvae), ("grain_transformer", grain), ("content_transformer", content)):
        fits = section.warmup_images + section.cooldown_images <= section.images
        allowed = f"warm-up and cool-down together must fit into {name}.images, {section.images}"
        yield fits, f"{name}.warmup_images", allowed
    for name, model in (("grain_transformer", grain), ("content_transformer", content)):
        yield model.width % model.heads == 0, f"{name}.heads", f"must divide {name}.width, {model.width}"
        yield model.width % 4 == 0, f"{name}.width", "must be a multiple of 4 (sin-cos positions in two directions)"


def _sampling(params: Params) -> Iterator[Check]:
    diffusion, sample, T = params.diffusion, params.sample, params.diffusion.timesteps
    yield diffusion.beta_start <= diffusion.beta_end < 1, "diffusion.beta_end", "must be in [beta_start, 1)"
    most = T - 1 if sample.sampler == "dpm-solver++" else T
    yield sample.steps <= most, "sample.steps", f"must be at most {most}, with diffusion.timesteps {T}"
    of_flow = sample.sampler in ("euler", "heun")
    allowed = "must be euler or heun" if diffusion.objective == "flow" else "must be ddpm, ddim or dpm-solver++"
    fits = of_flow == (diffusion.objective == "flow")
    yield fits, "sample.sampler", f"{allowed} for diffusion.objective {diffusion.objective!r}"
    channels, most = sample.guidance_channels, params.dvae.latent_channels
    yield channels == "all" or channels <= most, "sample.guidance_channels", f"must be at most {most}, or 'all'"
    yield sample.grain_steps <= T, "sample.grain_steps", f"must be at most diffusion.timesteps, {T}"
    interval = sample.guidance_interval
    ordered = len(interval) == 2 and interval[0] <= interval[-1]
    yield ordered, "sample.guidance_interval", "must be [from, to], from <= to"
