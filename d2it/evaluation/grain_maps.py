"""How alike two sets of grain maps are: fine ratio, frequency at each position, neighbours and 2 x 2 patterns."""

import numpy as np
from numpy.typing import NDArray

from d2it import pictures
from d2it.size import Size

SHOWN_MAPS, REGION_PIXELS = 16, 16  # of the picture


def compare_maps(sampled: NDArray[np.uint8], real: NDArray[np.uint8], grains: int) -> dict[str, float]:
    """Numbers that judge sampled maps (N, h, w) by real ones (M, h, w); the last four are 0 where they agree fully."""
    ratios = [(maps == grains - 1).mean((1, 2)) for maps in (sampled, real)]
    apart = np.abs(fine_frequency(sampled, grains) - fine_frequency(real, grains))
    patterns = [pattern_frequencies(maps, grains) for maps in (sampled, real)]
    return {
        "fine_ratio": float(ratios[0].mean()), "fine_ratio_real": float(ratios[1].mean()),
        "fine_ratio_spread": float(ratios[0].std()), "fine_ratio_spread_real": float(ratios[1].std()),
        "neighbour_agreement": neighbour_agreement(sampled), "neighbour_agreement_real": neighbour_agreement(real),
        "position_frequency_difference": float(apart.mean()),
        "position_frequency_difference_largest": float(apart.max()),
        "fine_ratio_difference": float(abs(ratios[0].mean() - ratios[1].mean())),
        "pattern_total_variation": float(0.5 * np.abs(patterns[0] - patterns[1]).sum()),
    }  # fmt: skip


def fine_frequency(maps: NDArray[np.uint8], grains: int) -> NDArray[np.float64]:
    """Share of the maps (N, h, w) that are finest at each position: (h, w)."""
    frequency: NDArray[np.float64] = (maps == grains - 1).mean(0)
    return frequency


def neighbour_agreement(maps: NDArray[np.uint8]) -> float:
    """Share of horizontally or vertically neighbouring pairs of regions with the same grain; 1 for a single region."""
    pairs = [(maps[:, :, 1:] == maps[:, :, :-1]).ravel(), (maps[:, 1:] == maps[:, :-1]).ravel()]
    agree = np.concatenate(pairs)
    return float(agree.mean()) if len(agree) else 1.0


def pattern_frequencies(maps: NDArray[np.uint8], grains: int) -> NDArray[np.float64]:
    """Frequency of each of the k⁴ patterns over all 2 x 2 windows: (k⁴,); of single regions where a side is 1."""
    if min(maps.shape[1:]) < 2:
        return np.bincount(maps.ravel(), minlength=grains) / maps.size
    m = maps.astype(np.int64)
    code = ((m[:, :-1, :-1] * grains + m[:, :-1, 1:]) * grains + m[:, 1:, :-1]) * grains + m[:, 1:, 1:]
    return np.bincount(code.ravel(), minlength=grains**4) / code.size


def frequent_patterns(
    sampled: NDArray[np.uint8], real: NDArray[np.uint8], grains: int, count: int
) -> list[tuple[str, float, float]]:
    """The `count` most frequent 2 x 2 patterns of the real maps: rows of digits '01/11', share sampled, share real."""
    shares = [pattern_frequencies(maps, grains) for maps in (sampled, real)]
    order = np.argsort(-shares[1], kind="stable")[:count]
    return [
        (_rows(int(code), grains, len(shares[1])), float(shares[0][code]), float(shares[1][code])) for code in order
    ]


def _rows(code: int, grains: int, patterns: int) -> str:
    """Pattern number `code` as its two rows, or as one digit where the maps have single regions."""
    if patterns == grains:
        return str(code)
    digits = [str(code // grains**place % grains) for place in (3, 2, 1, 0)]
    return f"{digits[0]}{digits[1]}/{digits[2]}{digits[3]}"


def grain_maps_picture(real: NDArray[np.uint8], drawn: NDArray[np.uint8], grains: int) -> NDArray[np.uint8]:
    """Real maps above drawn ones, and how often each region is fine in all of them."""
    size, rows = Size.of(real.shape[1:]).times(REGION_PIXELS), []
    for maps in (real, drawn):
        frequency = pictures.frequency_pictures(fine_frequency(maps, grains)[None], size)
        shown = pictures.grain_map_pictures(maps[: min(SHOWN_MAPS, len(drawn))], grains, size)
        rows.append(np.concatenate([shown, frequency]))
    return pictures.grid(rows, ["real", "drawn"], [""] * (len(rows[0]) - 1) + ["fine"])
