"""Models at rest come back as they were, or are refused in one line."""

from pathlib import Path

import pytest
import torch
from torch import nn

from d2it.files import UnreadableFileError
from d2it.saved import SavedModelError, identity, load_model, put_tensors, read_config, save_model

CPU = torch.device("cpu")


class Toy(nn.Sequential):
    """Two layers."""

    def __init__(self, *, width: int = 3) -> None:
        super().__init__(nn.Linear(2, width), nn.Linear(width, 1))
        self.architecture = {"width": width}


def load(folder: Path) -> Toy:
    return load_model(Toy, folder, CPU)


def test_weights_and_config_come_back_for_inference(tmp_path: Path) -> None:
    model = Toy()
    save_model(tmp_path, model, {"trained_on": "numbers"})
    loaded = load(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    expected = {"model": "Toy", "version": 3, "architecture": {"width": 3}, "trained_on": "numbers"}
    assert read_config(tmp_path) == expected


def test_weights_of_another_size_are_refused_by_name_and_shape(tmp_path: Path) -> None:
    save_model(tmp_path / "other", Toy(width=5), {})
    save_model(tmp_path, Toy(), {})
    (tmp_path / "other" / "weights.safetensors").replace(tmp_path / "weights.safetensors")
    with pytest.raises(SavedModelError) as caught:
        load(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'weights.safetensors'}: weights of another model: 0.bias [5], 0.weight [5, 2], 1.weight [1, 5]; "
        "expected: 0.bias [3], 0.weight [3, 2], 1.weight [1, 3]"
    )


def test_missing_and_surplus_tensors_are_named() -> None:
    with pytest.raises(SavedModelError, match=r"^here: weights of another model: 0\.bias absent, more \[1\]; expected"):
        put_tensors(nn.Sequential(nn.Linear(1, 1)), {"0.weight": torch.zeros(1, 1), "more": torch.zeros(1)}, "here")


@pytest.mark.parametrize("kept", [0, 7, 60, -1])
def test_a_cut_off_file_is_refused(tmp_path: Path, kept: int) -> None:
    save_model(tmp_path, Toy(), {})
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SavedModelError, match=r"weights\.safetensors: not a whole file of weights") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    for read in (read_config, identity, load):
        with pytest.raises(UnreadableFileError, match=r"config\.json") as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)
    save_model(tmp_path, Toy(), {})
    (tmp_path / "weights.safetensors").unlink()
    for read in (identity, load):
        with pytest.raises(SavedModelError, match=r"weights\.safetensors") as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"[1]", b"\xff\xfe"])
def test_a_damaged_config_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UnreadableFileError, match=r"config\.json: ") as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_identity_is_that_of_the_content(tmp_path: Path) -> None:
    first = Toy()
    save_model(tmp_path / "a", first, {"seed": 3})
    save_model(tmp_path / "b", first, {"seed": 3})
    save_model(tmp_path / "c", first, {"seed": 4})
    save_model(tmp_path / "d", Toy(), {"seed": 3})
    names = [identity(tmp_path / name) for name in "abcd"]
    assert names[0] == names[1]
    assert len({*names}) == 3
