"""How alike two sets of grain maps are: fine ratio, neighbours and 2 x 2 patterns."""

import numpy as np
from numpy.typing import NDArray


def compare_maps(sampled: NDArray[np.uint8], real: NDArray[np.uint8], grains: int) -> dict[str, float]:
    """Numbers that judge sampled maps (N, h, w) by real ones (M, h, w); the last three are 0 where they agree fully."""
    ratios = [(maps == grains - 1).mean((1, 2)) for maps in (sampled, real)]
    frequency = [(maps == grains - 1).mean(0) for maps in (sampled, real)]
    patterns = [pattern_frequencies(maps, grains) for maps in (sampled, real)]
    return {
        "fine_ratio": float(ratios[0].mean()),
        "fine_ratio_real": float(ratios[1].mean()),
        "fine_ratio_spread": float(ratios[0].std()),
        "fine_ratio_spread_real": float(ratios[1].std()),
        "neighbour_agreement": neighbour_agreement(sampled),
        "neighbour_agreement_real": neighbour_agreement(real),
        "position_frequency_difference": float(np.abs(frequency[0] - frequency[1]).max()),
        "fine_ratio_difference": float(abs(ratios[0].mean() - ratios[1].mean())),
        "pattern_total_variation": float(0.5 * np.abs(patterns[0] - patterns[1]).sum()),
    }


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
