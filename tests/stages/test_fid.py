import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data

from d2it.data.description import DataDescription, write_description
from d2it.data.shards import ShardWriter
from d2it.dvae.model import DynamicVAE, save_dvae
from d2it.evaluation.features import random_weights
from d2it.grain.entropy import region_entropy
from d2it.params.architecture import dvae_arguments
from d2it.params.load import load_params
from d2it.params.sections import FIDParams, Params
from d2it.ranks.ranks import Ranks
from d2it.weights import Weights, WeightsError
from pipeline.errors import StageError
from stages import fid
from stages.stage import Stage

ROOT = Path(__file__).parents[2]
TRAIN, VALIDATION, SAMPLES = 6, 5, 7
DATA = {"train": TRAIN, "validation": VALIDATION, "classes": [], "labels": "none", "image_size": 32}


def crops(count: int, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    photo = data.astronaut()
    corners = rng.integers(0, 512 - 32, (count, 2))
    return np.stack([photo[y : y + 32, x : x + 32] for y, x in corners])


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the earlier stages leave: 32 x 32 photos, a DVAE without training, samples."""
    outputs = tmp_path_factory.mktemp("outputs")
    for half, count in (("train", TRAIN), ("validation", VALIDATION)):
        images = crops(count, seed=count)
        entropy = region_entropy(images, 16, 0.01)
        for name, rows in (("images", images), ("entropy", entropy), ("labels", np.zeros(count, np.int64))):
            with ShardWriter(outputs / "prepare" / half, name, rows.shape[1:], rows.dtype, rows=count) as writer:
                writer.append(rows)
    write_description(outputs / "prepare", DataDescription(**DATA, fingerprint="one"))
    torch.manual_seed(0)
    model = DynamicVAE(**dvae_arguments(load_params(ROOT / "params.yaml")))
    model.thresholds, model.data = [2.0], "one"
    save_dvae(outputs / "train_dvae", model)
    (outputs / "sample").mkdir()
    np.savez(outputs / "sample" / "samples.npz", crops(SAMPLES, seed=1))
    return outputs


def stage(outputs: Path, reports: list[set[str]] | None = None, **changes: object) -> Stage:
    demo = load_params(ROOT / "params.yaml")
    small = {"batch_size": 4, "reconstructions": 4, "neighbours": 2, "neighbour_images": 6}
    params: Params = demo.model_copy(update={"fid": FIDParams.model_validate(demo.fid.model_dump() | small | changes)})

    def report(_: int, __: Mapping[str, float], pictures: Mapping[str, NDArray[np.uint8]] | None = None) -> None:
        if reports is not None:
            reports.append(set(pictures or {}))

    (outputs / "fid").mkdir(exist_ok=True)
    return Stage(
        name="fid",
        params=params,
        outputs=outputs,
        scratch=outputs / "scratch",
        weights=outputs / "weights",
        device=torch.device("cpu"),
        ranks=Ranks(),
        report=report,
    )


@pytest.mark.slow
def test_numbers_of_seeded_weights_have_names_of_their_own_and_the_same_bytes_again(outputs: Path) -> None:
    reports: list[set[str]] = []
    first = fid.main(stage(outputs, reports))
    assert set(first) == set(fid.NAMES["random"])
    assert all(name.startswith("random_") and "fid" not in name for name in first)
    assert all(np.isfinite(value) for value in first.values())
    assert first["random_frechet_distance"] > 0
    assert first["random_reconstruction_frechet_distance"] > first["random_frechet_distance"], (
        "no training, no likeness"
    )
    assert 0 <= first["random_precision"] <= 1
    assert reports == [{"nearest"}]
    assert (outputs / "fid" / "nearest.png").is_file()

    path = outputs / "fid" / "reference.npz"
    kept, stamp = path.read_bytes(), path.stat().st_mtime_ns
    assert fid.main(stage(outputs)) == first
    assert path.stat().st_mtime_ns == stamp, "same images, same statistics: not computed again"

    path.unlink()
    assert fid.main(stage(outputs)) == first
    assert path.read_bytes() == kept


def test_any_change_of_the_reference_images_or_the_extractor_changes_its_key(outputs: Path, tmp_path: Path) -> None:
    prepare = outputs / "prepare"
    key = fid.reference_key(stage(outputs).params.fid, prepare)
    for change in (
        {"extractor": "inception"},
        {"reference": "train"},
        {"neighbour_images": 5},
        {"batch_size": 3},
    ):
        assert fid.reference_key(stage(outputs, **change).params.fid, prepare) != key
    assert fid.reference_key(stage(outputs, neighbours=1, reconstructions=2).params.fid, prepare) == key
    write_description(tmp_path, DataDescription(**DATA, fingerprint="two"))
    assert fid.reference_key(stage(outputs).params.fid, tmp_path) != key


@pytest.mark.slow
def test_the_inception_extractor_reads_its_file_and_reports_as_fid(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match=r"6726825d0af5\w{52}\.pth|6726825d0af5"):
        fid.main(stage(outputs, extractor="inception"))
    path = outputs / "weights" / "inception.pth"
    path.parent.mkdir()
    torch.save(random_weights(), path)
    ours = Weights(path.name, "", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(fid, "INCEPTION", ours)
    numbers = fid.main(stage(outputs, extractor="inception"))
    assert set(numbers) == {"fid", "sfid", "inception_score", "precision", "recall", "rfid"}
    seeded = fid.main(stage(outputs))
    assert list(numbers.values()) == list(seeded.values()), "the same weights"


def test_images_that_cannot_be_compared_are_reported_before_any_work(outputs: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"^fid.neighbours = 6: must be below the 6 samples images compared$"):
        fid.main(stage(outputs, neighbours=6))
    with pytest.raises(StageError, match="reconstructions: 1 images"):
        fid.main(stage(outputs, reconstructions=1))
    with pytest.raises(StageError, match="no images: fid compares with validation images"):
        fid.open_images(tmp_path / "validation")
    np.savez(tmp_path / "samples.npz", np.zeros((3, 8, 8, 3), np.float32))
    with pytest.raises(StageError, match=r"arr_0: float32 \(3, 8, 8, 3\): must be uint8"):
        fid.open_samples(tmp_path / "samples.npz")


def test_the_nearest_real_image_of_a_copied_one_is_itself(outputs: Path) -> None:
    real = fid.open_images(outputs / "prepare" / "train")
    images = real.take(np.arange(TRAIN))
    features = images.reshape(TRAIN, -1).astype(np.float32)
    picture = fid.nearest_picture(images[::-1], features[::-1], real, features, name="train")
    rows = [fid.pictures.enlarge(images[::-1], 4)] * 2
    expected = fid.pictures.grid(rows, ["sample", "nearest train image"])
    np.testing.assert_array_equal(picture, expected)
