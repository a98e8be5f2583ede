"""Networks of others: nothing but tensors is read, and those are the network's."""

import pickle
from pathlib import Path

import pytest
import torch

from d2it.networks import efficientnet_lite0, read_tensors
from d2it.weights import EFFICIENTNET_LITE0, WeightsError, installed


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_with_code_in_it_is_refused_and_not_executed(tmp_path: Path, legacy: bool) -> None:
    path, trace = tmp_path / "weights.pth", tmp_path / "executed"
    if legacy:
        path.write_bytes(pickle.dumps(Bomb(trace)))
    else:
        torch.save({"fc.weight": Bomb(trace)}, path)
    with pytest.raises(WeightsError, match=r"^\S+weights.pth: not a file of tensors"):
        read_tensors(path)
    assert not trace.exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": 1}, torch.zeros(2)])
def test_a_file_of_anything_but_named_tensors_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match="not a file of tensors alone"):
        read_tensors(path)
    path.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="not a file of tensors alone"):
        read_tensors(path)


def test_building_the_network_draws_nothing_from_the_global_generator() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    efficientnet_lite0(installed(EFFICIENTNET_LITE0))
    assert torch.equal(torch.get_rng_state(), before)


def test_tensors_in_another_order_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    weights = torch.load(installed(EFFICIENTNET_LITE0), weights_only=True)
    torch.save(dict(reversed(weights.items())), path)
    with pytest.raises(WeightsError, match="must hold the 296 tensors of EfficientNet-Lite0, in its order"):
        efficientnet_lite0(path)
