"""Which valid values of params.yaml cannot work together."""

import itertools

from d2it.params.architecture import value_at
from d2it.params.sections import Params


def _normalizes(channels: int) -> bool:
    """Channels can be cut into 32 groups, or, if few, into groups of 4."""
    return channels % 32 == 0 or channels in (8, 16)


def _is_power_of_two(n: int) -> bool:
    return n & (n - 1) == 0


def impossible_combinations(params: Params) -> list[str]:
    """One line for each combination of valid values that cannot work together, as 'key = value: what is allowed'."""
    lines: list[str] = []

    def require(holds: bool, key: str, allowed: str) -> None:
        if not holds:
            lines.append(f"{key} = {value_at(params, key)!r}: {allowed}")

    factors, size = params.grain.factors, params.data.image_size
    good_factors = (
        bool(factors) and factors == sorted(set(factors)) and all(_is_power_of_two(f) and f > 1 for f in factors)
    )
    require(good_factors, "grain.factors", "must be different powers of two above 1, ascending, such as [8, 16]")
    if good_factors:
        k = len(factors)
        doubling = all(b == 2 * a for a, b in itertools.pairwise(factors))
        require(doubling, "grain.factors", "each factor must be twice the one before")
        require(size % factors[-1] == 0, "data.image_size", f"must be a multiple of the largest factor, {factors[-1]}")
        require(
            isinstance(params.grain.fine_ratio, list) or k <= 2,
            "grain.fine_ratio",
            f"must be a list of {k} shares from coarsest to finest, one for each of grain.factors",
        )
        if isinstance(params.grain.fine_ratio, list):
            one_each = len(params.grain.shares) == k and abs(sum(params.grain.shares) - 1) < 1e-6
            require(
                one_each,
                "grain.fine_ratio",
                f"a list must hold {k} shares, one for each of grain.factors, that sum to 1",
            )
        levels = len(params.dvae.multipliers)
        needed = factors[0].bit_length()
        require(
            levels == needed, "dvae.multipliers", f"must have {needed} levels for a smallest factor of {factors[0]}"
        )
        grid = size // factors[0]
        window = params.refinenet.window
        fits = window == "full" or (grid % window == 0 and window >= 2 ** (k - 1))
        require(
            fits or params.refinenet.layers == 0,
            "refinenet.window",
            f"must divide the latent grid, {grid} (= data.image_size / smallest factor), hold whole regions "
            f"(at least {2 ** (k - 1)}), or be 'full'",
        )
    require(_normalizes(params.dvae.channels), "dvae.channels", "must be a multiple of 32, or 8 or 16 (GroupNorm)")
    for name, section in (
        ("dvae", params.dvae),
        ("grain_transformer", params.grain_transformer),
        ("content_transformer", params.content_transformer),
    ):
        require(
            section.batch_size % section.micro_batch == 0,
            f"{name}.micro_batch",
            f"must divide {name}.batch_size, {section.batch_size}",
        )
        require(
            section.warmup_images + section.cooldown_images <= section.images,
            f"{name}.warmup_images",
            f"warm-up and cool-down together must fit into {name}.images, {section.images}",
        )
    for name, model in (
        ("grain_transformer", params.grain_transformer),
        ("content_transformer", params.content_transformer),
    ):
        require(model.width % model.heads == 0, f"{name}.heads", f"must divide {name}.width, {model.width}")
        require(model.width % 4 == 0, f"{name}.width", "must be a multiple of 4 (sin-cos positions in two directions)")
    T = params.diffusion.timesteps
    require(
        params.diffusion.beta_start <= params.diffusion.beta_end < 1, "diffusion.beta_end", "must be in [beta_start, 1)"
    )
    require(params.sample.steps <= T, "sample.steps", f"must be at most diffusion.timesteps, {T}")
    require(params.sample.grain_steps <= T, "sample.grain_steps", f"must be at most diffusion.timesteps, {T}")
    interval = params.sample.guidance_interval
    require(
        len(interval) == 2 and interval[0] <= interval[-1], "sample.guidance_interval", "must be [from, to], from <= to"
    )
    return lines
