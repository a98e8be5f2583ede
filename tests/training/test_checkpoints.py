"""A checkpoint is whole or absent."""

from pathlib import Path

import pytest
import torch

from d2it.saved import SavedModelError
from d2it.training.checkpoints import Checkpoints

CPU = torch.device("cpu")


def test_the_newest_is_found_and_only_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "new")
    for step in (1, 20, 300):
        checkpoints.save(step, {"x": torch.full((3,), float(step))}, {"curve": [{"loss": step}]})
    newest = checkpoints.newest(CPU)
    assert newest is not None
    assert (newest[0], newest[1]["x"].tolist(), newest[2]) == (300, [300.0] * 3, {"curve": [{"loss": 300}]})
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "absent").newest(CPU) is None


def test_a_failed_write_leaves_nothing_and_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": torch.zeros(2)}, {})

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("d2it.files.os.fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(2, {"x": torch.ones(2)}, {})
    newest = checkpoints.newest(CPU)
    assert newest is not None
    assert newest[0] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001.safetensors"]


@pytest.mark.parametrize("content", [b"", b"rubbish" * 100])
def test_rubbish_is_passed_over(tmp_path: Path, content: bytes) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": torch.zeros(2)}, {})
    (tmp_path / "step-000000002.safetensors").write_bytes(content)
    newest = checkpoints.newest(CPU)
    assert newest is not None
    assert newest[0] == 1


def flip(path: Path, count: int) -> None:
    """Other values in so many bytes at the file's end, where the tensors are."""
    content = bytearray(path.read_bytes())
    for i in range(1, count + 1):
        content[-i] ^= 0x55
    path.write_bytes(content)


@pytest.mark.parametrize("count", [1, 200])
def test_flipped_bytes_are_noticed_and_the_next_older_one_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"x": torch.arange(100.0), "step": torch.tensor(step)}, {})
    flip(tmp_path / "step-000000002.safetensors", count)
    newest = checkpoints.newest(CPU)
    assert newest is not None
    assert newest[0] == 1
    assert "step-000000002.safetensors: skipped, not a good checkpoint (damaged" in capsys.readouterr().out


def test_flipped_bytes_in_the_texts_are_noticed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": torch.zeros(3)}, {"curve": [{"loss": 0.25}]})
    path = tmp_path / "step-000000001.safetensors"
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.26"))
    assert checkpoints.newest(CPU) is None


def test_a_checkpoint_that_holds_nan_is_not_a_good_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": torch.zeros(3)}, {})
    checkpoints.save(2, {"x": torch.tensor([0.0, float("nan")])}, {})
    newest = checkpoints.newest(CPU)
    assert newest is not None
    assert newest[0] == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_of_all_kinds_come_back_as_they_were(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"matrix": torch.tensor([[0, 1], [1, 0]], dtype=dtype).T, "number": torch.tensor(1, dtype=dtype)}
    Checkpoints(tmp_path).save(1, tensors, {})
    newest = Checkpoints(tmp_path).newest(CPU)
    assert newest is not None
    for name, tensor in tensors.items():
        assert newest[1][name].dtype == dtype
        assert torch.equal(newest[1][name], tensor)


TRAINED = {
    "content_transformer": {"layers": 4, "width": 128},
    "latents": {"regularizer": "kl", "factors": [8, 16], "data": "a" * 64},
}


@pytest.mark.parametrize(
    ("other", "theirs", "ours"),
    [
        (
            {"content_transformer": {"layers": 12, "width": 128}},
            "content_transformer.layers 12",
            "content_transformer.layers 4",
        ),
        ({"latents": TRAINED["latents"] | {"regularizer": "vq"}}, "latents.regularizer vq", "latents.regularizer kl"),
        ({"latents": TRAINED["latents"] | {"factors": [8]}}, "latents.factors [8]", "latents.factors [8, 16]"),
        ({"latents": TRAINED["latents"] | {"data": "b" * 64}}, f"data {'b' * 12}...", f"data {'a' * 12}..."),
    ],
)
def test_a_checkpoint_of_another_size_regulariser_k_or_data_set_is_refused_in_one_line_that_names_both_sides(
    tmp_path: Path, other: dict[str, object], theirs: str, ours: str
) -> None:
    Checkpoints(tmp_path, TRAINED | other).save(7, {"x": torch.zeros(2)}, {})
    with pytest.raises(SavedModelError) as caught:
        Checkpoints(tmp_path, TRAINED).newest(CPU)
    path, _, rest = str(caught.value).partition(": ")
    first, _, second = rest.partition("; ")
    assert path == str(tmp_path / "step-000000007.safetensors")
    assert first.startswith("a checkpoint of ")
    assert theirs in first
    assert second.startswith("this run trains ")
    assert ours in second
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_the_same_is_taken(tmp_path: Path) -> None:
    Checkpoints(tmp_path, TRAINED | {"pair": (1, 2)}).save(7, {"x": torch.zeros(2)}, {})
    assert Checkpoints(tmp_path, TRAINED | {"pair": (1, 2)}).newest(CPU) is not None
