"""How fast a GPU computes, from which hours are counted: an assumption, and named as one wherever hours are printed."""

from collections.abc import Sequence
from dataclasses import dataclass

SHARE = 0.4  # of a card's dense rate that training reaches
BFLOAT16, FLOAT32 = 989e12, 67e12  # an H100's, FLOP/s
TRAINING_FLOP = 6  # per multiply-add of a forward pass: 2, and twice as many for the backward pass


@dataclass(frozen=True)
class Rate:
    """FLOP/s that one GPU reaches, by precision, and where that comes from, in words."""

    bfloat16: float
    float32: float
    origin: str

    def seconds(self, bfloat16: float, float32: float) -> float:
        """Of so many operations in each precision, one after the other."""
        return bfloat16 / self.bfloat16 + float32 / self.float32


def assumed() -> Rate:
    """An H100 at the share that is assumed."""
    origin = f"{SHARE:.0%} of an H100's {BFLOAT16 / 1e12:.0f} and {FLOAT32 / 1e12:.0f}, an assumption"
    return Rate(SHARE * BFLOAT16, SHARE * FLOAT32, origin)


def given(tflops: Sequence[float]) -> Rate:
    """From TFLOP/s that a GPU reaches in bfloat16 and in float32; of one number alone, in both."""
    return Rate(1e12 * tflops[0], 1e12 * tflops[-1], "as given")
