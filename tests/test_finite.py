"""NaN and infinity are refused where they arise."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from d2it.data.latents import code_moments
from d2it.data.photos import to_uint8
from d2it.errors import NonFiniteError
from d2it.finite import require_finite
from d2it.saved import load_model, save_model


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_the_message_says_what_and_how_much(bad: float) -> None:
    array = np.array([[1.0, bad], [bad, 2.0]], np.float32)
    for x in (array, torch.from_numpy(array)):
        with pytest.raises(NonFiniteError, match=r"^features: 2 of 4 values are NaN or infinite$"):
            require_finite(x, "features")


def test_images_do_not_come_out_black() -> None:
    with pytest.raises(NonFiniteError, match="images"):
        to_uint8(torch.full((1, 3, 2, 2), float("nan")))


def test_moments_beyond_float16_are_refused() -> None:
    std, fine = torch.ones(1, 2, 2, 2), torch.ones(1, 1, 1, dtype=torch.uint8)
    with pytest.raises(NonFiniteError, match="moments"):
        code_moments(1e5 * std, std, fine, [2, 1])


class Toy(nn.Module):
    """One layer."""

    def __init__(self) -> None:
        super().__init__()
        self.architecture: dict[str, int] = {}
        self.linear = nn.Linear(2, 2)


def test_a_model_with_nan_in_its_weights_is_not_loaded(tmp_path: Path) -> None:
    model = Toy()
    model.linear.bias.data[1] = float("nan")
    save_model(tmp_path, model, {})
    with pytest.raises(NonFiniteError, match=r"linear\.bias: 1 of 2 values"):
        load_model(Toy, tmp_path, "cpu")
