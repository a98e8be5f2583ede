"""Models at rest come back as they were, or are refused in one line."""

from pathlib import Path

import pytest
import torch
from torch import nn

from d2it.saved import SavedModelError, differences, flat, identity, load_weights, put_tensors, read_config, save_model

CPU = torch.device("cpu")


def model(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.Linear(width, 1))


def test_weights_and_config_come_back_for_inference(tmp_path: Path) -> None:
    saved, loaded = model(), model()
    save_model(tmp_path, saved, {"width": 3})
    load_weights(loaded, tmp_path, CPU)
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), loaded.parameters(), strict=True))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert read_config(tmp_path) == {"width": 3}


def test_weights_of_another_size_are_refused_by_name_and_shape(tmp_path: Path) -> None:
    save_model(tmp_path, model(5), {})
    with pytest.raises(SavedModelError) as caught:
        load_weights(model(), tmp_path, CPU)
    assert str(caught.value) == (
        f"{tmp_path / 'weights.safetensors'}: weights of another model: 0.bias [5], 0.weight [5, 2], 1.weight [1, 5]; "
        "expected: 0.bias [3], 0.weight [3, 2], 1.weight [1, 3]"
    )


def test_missing_and_surplus_tensors_are_named_and_a_long_list_is_cut() -> None:
    with pytest.raises(SavedModelError, match=r"^here: weights of another model: 0\.bias absent, more \[1\]; expected"):
        put_tensors(nn.Sequential(nn.Linear(1, 1)), {"0.weight": torch.zeros(1, 1), "more": torch.zeros(1)}, "here")
    theirs, ours = differences({str(i): i for i in range(10)}, {})
    assert theirs == "0 0, 1 1, 2 2, 3 3, 4 4, 5 5, 4 more"
    assert ours.endswith("4 more")


@pytest.mark.parametrize("kept", [0, 7, 60, -1])
def test_a_cut_off_file_is_refused(tmp_path: Path, kept: int) -> None:
    save_model(tmp_path, model(), {})
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SavedModelError, match=r"weights\.safetensors: not a whole file of weights") as caught:
        load_weights(model(), tmp_path, CPU)
    assert "\n" not in str(caught.value)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    for read in (read_config, identity, lambda folder: load_weights(model(), folder, CPU)):
        with pytest.raises(SavedModelError, match=r"(config\.json|weights\.safetensors)") as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"[1]", b"\xff\xfe"])
def test_a_damaged_config_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(SavedModelError, match=r"config\.json: ") as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_identity_is_that_of_the_content(tmp_path: Path) -> None:
    first = model()
    save_model(tmp_path / "a", first, {"width": 3})
    save_model(tmp_path / "b", first, {"width": 3})
    save_model(tmp_path / "c", first, {"width": 4})
    save_model(tmp_path / "d", model(), {"width": 3})
    names = [identity(tmp_path / name) for name in "abcd"]
    assert names[0] == names[1]
    assert len({*names}) == 3


def test_nested_sections_are_named_as_in_params_yaml() -> None:
    nested = {"content": {"layers": 4, "deep": {"x": [1]}}, "seed": 0}
    assert flat(nested) == {"content_transformer.layers": 4, "content.deep.x": [1], "seed": 0}
