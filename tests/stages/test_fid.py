"""Stage fid: numbers by names that say how they were made, a reference that is made once, and refusals before work."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from d2it.data.description import write_description
from d2it.data.photos import Photos, to_uint8
from d2it.data.samples import Samples
from d2it.data.shards import Shards
from d2it.dvae.model import load_dvae
from d2it.errors import UserError
from d2it.evaluation.all_pairs import kid
from d2it.evaluation.extractor import Extractor, Features
from d2it.evaluation.frechet import GaussianStatistics, frechet_distance
from d2it.evaluation.images import fair_sample
from d2it.evaluation.measure import Pass
from d2it.evaluation.similarity import ssim
from d2it.grain.thresholds import grain_maps
from d2it.weights import WeightsError
from pipeline.errors import StageError
from stages import fid
from tests.evaluation.test_measure import WIDTH, Projection
from tests.stages.small_fid import (
    ABOUT,
    PERCEPTUAL,
    SAMPLES,
    TRAIN,
    VALIDATION,
    Difference,
    Installed,
    crops,
    params,
    stage,
    write_earlier,
    write_samples,
)  # fmt: skip

pytestmark = pytest.mark.slow

GRAIN_MAPS = "grain_maps_"


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that cost nothing."""

    def opened(name: str, weights: Path, device: torch.device) -> Extractor:
        return Projection() if name == "inception" else Installed()

    monkeypatch.setattr(fid, "open_extractor", opened)
    monkeypatch.setattr(fid, "open_perceptual", lambda name, weights: Difference())


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the earlier stages leave: 32 x 32 photos, a DVAE without training, its latents, samples and their maps."""
    outputs = tmp_path_factory.mktemp("earlier") / "outputs"
    write_earlier(outputs)
    return outputs


@pytest.fixture
def outputs(earlier: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    shutil.copytree(earlier, tmp_path / "outputs")
    return tmp_path / "outputs"


def without_maps(numbers: Mapping[str, float]) -> dict[str, float]:
    """Those that are not of grain maps."""
    return {name: value for name, value in numbers.items() if not name.startswith(GRAIN_MAPS)}


def test_numbers_of_inception_have_the_names_of_papers_and_are_written_with_how_they_were_made(outputs: Path) -> None:
    reports: list[set[str]] = []
    numbers = fid.main(stage(outputs, reports, extractor="inception"))
    assert set(without_maps(numbers)) == {
        "fid", "sfid", "inception_score", "inception_score_std", "kid", "kid_standard_error", "precision", "recall",
        "class_agreement", "class_agreement_validation", "rfid", "reconstruction_psnr", "reconstruction_ssim",
        "reconstruction_st_lpips",
    }  # fmt: skip
    assert all(np.isfinite(value) for value in numbers.values())
    assert reports == [{"nearest", "beside_real"}, {"grain_maps"}]
    text = (outputs / "fid" / "protocol.json").read_text()
    protocol = json.loads(text)
    assert set(protocol["numbers"]) == set(numbers), "each number, and no other"
    assert protocol["numbers"]["kid"]["images"] == {"samples": SAMPLES, "reference_kept": 6}
    assert protocol["numbers"]["fid"]["images"] == {"samples": SAMPLES, "reference": VALIDATION}
    assert protocol["numbers"]["fid"]["extractor"] == "inception of a test 1"
    assert protocol["samples"]["guidance"] == params().sample.guidance
    assert text == json.dumps(protocol, indent=2, sort_keys=True) + "\n"


def test_numbers_of_another_extractor_are_never_called_fid(outputs: Path) -> None:
    numbers = without_maps(fid.main(stage(outputs)))
    name = "efficientnet_lite0"
    metrics = ("fd", "kid", "precision", "recall", "class_agreement", "class_agreement_validation", "rfd")
    reconstructions = {"reconstruction_psnr", "reconstruction_ssim", "reconstruction_st_lpips"}
    expected = {f"{metric}_{name}" for metric in metrics} | {f"kid_{name}_standard_error"} | reconstructions
    assert set(numbers) == expected
    assert not any("fid" in number for number in numbers)


@pytest.mark.parametrize("half", ["train", "validation"])
def test_numbers_are_those_of_the_images_themselves(outputs: Path, half: str) -> None:
    numbers = fid.main(stage(outputs, reference=half, extractor="inception"))
    real = Shards(outputs / "prepare" / half, "images")
    features = [Projection()(images).pool for images in (crops(SAMPLES, 1)[0], real.take(np.arange(len(real))))]
    gaussians = []
    for of_side in features:
        statistics = GaussianStatistics(WIDTH)
        statistics.add(of_side)
        gaussians.append(statistics.gaussian())
    assert numbers["fid"] == pytest.approx(frechet_distance(*gaussians), rel=1e-3)
    kept = fair_sample(len(real), 6)
    assert numbers["kid"] == pytest.approx(kid(features[1][kept], features[0]).value, rel=1e-3)


def test_reconstructions_are_measured_over_the_whole_validation_set(outputs: Path) -> None:
    numbers = fid.main(stage(outputs))
    model = load_dvae(outputs / "train_dvae")
    batch = Photos(outputs / "prepare" / "validation", flip=False).take(np.arange(VALIDATION), torch.device("cpu"))
    with torch.inference_mode():
        made = model.reconstruct(batch.images, torch.from_numpy(grain_maps(batch.entropy, model.thresholds)))
    originals, pixels = to_uint8(batch.images), to_uint8(made)
    errors = ((originals.astype(float) - pixels) ** 2).mean((1, 2, 3))
    assert numbers["reconstruction_psnr"] == pytest.approx((10 * np.log10(255**2 / errors)).mean(), rel=1e-4)
    assert numbers["reconstruction_ssim"] == pytest.approx(ssim(originals, pixels).mean(), rel=1e-3)
    assert numbers["reconstruction_st_lpips"] == pytest.approx(float((batch.images - made).abs().mean()), rel=1e-4)


@pytest.mark.parametrize("half", ["train", "validation"])
def test_the_reference_is_made_once_and_gives_the_same_numbers(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    first = fid.main(stage(outputs, reference=half))
    path = outputs / "fid" / "reference.npz"
    kept, stamp = path.read_bytes(), path.stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(fid, "measure_real", lambda *_: pytest.fail("real images were measured again"))
        assert fid.main(stage(outputs, reference=half)) == first
    assert path.stat().st_mtime_ns == stamp
    path.unlink()
    assert fid.main(stage(outputs, reference=half)) == first
    assert path.read_bytes() == kept


def test_the_adm_evaluator_gets_images_beside_the_statistics(outputs: Path) -> None:
    fid.main(stage(outputs, extractor="inception"))
    images = Samples(outputs / "fid" / "reference.npz")
    real = Shards(outputs / "prepare" / "validation", "images")
    np.testing.assert_array_equal(images.take(np.arange(6)), real.take(fair_sample(VALIDATION, 6)))
    with np.load(outputs / "fid" / "reference.npz") as file:
        assert [file[name].shape for name in ("mu", "sigma", "mu_s", "sigma_s")] == [
            (WIDTH,), (WIDTH, WIDTH), (2023,), (2023, 2023),
        ]  # fmt: skip


def test_any_change_of_the_reference_changes_its_key(outputs: Path) -> None:
    def key(**changes: Any) -> str:
        made = stage(outputs, **changes)
        return fid.reference_key(made.params, fid.open_inputs(made))

    first = key()
    for change in ({"reference": "train"}, {"reference_images": 5}, {"batch_size": 3}, {"classifier_images": 9}):
        assert key(**change) != first
    assert key(neighbours=1) == first
    write_description(outputs / "prepare", replace(ABOUT, fingerprint="two"))
    assert key() != first


def test_without_classes_there_is_no_class_agreement_and_samples_need_no_labels(outputs: Path) -> None:
    write_description(outputs / "prepare", replace(ABOUT, classes=[]))
    np.savez(outputs / "sample" / "samples.npz", crops(SAMPLES, 1)[0])
    numbers = fid.main(stage(outputs))
    assert not any("class_agreement" in name for name in numbers)
    assert "fd_efficientnet_lite0" in numbers


def test_without_a_perceptual_loss_there_is_no_perceptual_distance(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PERCEPTUAL, "perceptual_weight", 0.0)
    monkeypatch.setattr(fid, "open_perceptual", lambda *_: pytest.fail("its weights were asked for"))
    numbers = fid.main(stage(outputs))
    assert {name for name in numbers if "reconstruction" in name} == {"reconstruction_psnr", "reconstruction_ssim"}


def test_class_agreement_falls_where_labels_are_wrong(outputs: Path) -> None:
    right = fid.main(stage(outputs))["class_agreement_efficientnet_lite0"]
    images, labels = crops(SAMPLES, 1)
    np.savez(outputs / "sample" / "samples.npz", images, 1 - labels)
    assert fid.main(stage(outputs))["class_agreement_efficientnet_lite0"] == pytest.approx(1 - right)
    assert right > 0.5


def refusal(outputs: Path, monkeypatch: pytest.MonkeyPatch, kind: type[UserError] = UserError, **changes: Any) -> str:
    """The message; no image may be measured before."""
    monkeypatch.setattr(Pass, "through", lambda *_, **__: pytest.fail("work has begun"))
    with pytest.raises(kind) as error:
        fid.main(stage(outputs, **changes))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_images_that_cannot_be_compared_are_refused_before_any_work(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = outputs / "sample" / "samples.npz"
    message = refusal(outputs, monkeypatch, neighbours=6)
    assert message == "neighbours = 6: must be below the 6 images of fid.reference = validation"
    assert refusal(outputs, monkeypatch, reference_images=2, neighbours=1).endswith("2 images: KID needs at least 3")
    message = refusal(outputs, monkeypatch, StageError, classifier_images=1)
    assert message == "fid.classifier_images: 1 images of one class: must be of two or more"
    write_samples(path, count=9)
    assert "sample.images: 9 images: an Inception score needs" in refusal(outputs, monkeypatch, extractor="inception")
    write_samples(path, size=16)
    prepared = outputs / "prepare" / "validation"
    assert refusal(outputs, monkeypatch) == f"{path}: 16 x 16 pixels; {prepared}: 32 x 32: must be equal"
    np.savez(path, crops(SAMPLES, 1)[0])
    assert refusal(outputs, monkeypatch) == f"{path}: no arr_1: class agreement needs the samples' labels"


def test_samples_that_are_none_are_refused_before_any_work(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = outputs / "sample" / "samples.npz"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert refusal(outputs, monkeypatch).startswith(f"{path}: damaged, or not an npz file: ")
    np.savez(path, images=crops(SAMPLES, 1)[0])
    assert refusal(outputs, monkeypatch).startswith(f"{path}: no arr_0 in it, but images.npy")
    np.savez(path, np.array([{}], dtype=object))
    assert refusal(outputs, monkeypatch) == f"{path}: arr_0: pickled objects: must be uint8 (N, H, W, 3)"
    np.savez(path, np.zeros((3, 8, 8, 3), np.float32))
    assert refusal(outputs, monkeypatch) == f"{path}: arr_0: float32 (3, 8, 8, 3): must be uint8 (N, H, W, 3)"
    path.unlink()
    assert refusal(outputs, monkeypatch) == f"{path}: no such file"


def test_a_half_without_images_is_refused_with_the_param_that_makes_it(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_description(outputs / "prepare", replace(ABOUT, validation=0))
    message = refusal(outputs, monkeypatch, StageError)
    assert message.startswith("no validation images: fid compares with validation images")


def test_features_that_are_not_finite_end_the_stage_and_leave_no_reference(
    outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Installed):
        def __call__(self, images: NDArray[np.uint8]) -> Features:
            return Features(np.full((len(images), WIDTH), np.nan, np.float32))

    monkeypatch.setattr(fid, "open_extractor", lambda *_: Broken())
    with pytest.raises(UserError, match="NaN or infinite"):
        fid.main(stage(outputs))
    assert not (outputs / "fid" / "reference.npz").exists()


def test_the_nearest_real_image_of_a_copied_one_is_itself(outputs: Path) -> None:
    inputs = fid.open_inputs(stage(outputs, reference="train", reference_images=100))
    real = inputs.train.take(np.arange(SAMPLES))
    np.savez(outputs / "sample" / "samples.npz", real[::-1], np.arange(SAMPLES) % 2)
    inputs = replace(inputs, samples=Samples(outputs / "sample" / "samples.npz"))
    features = inputs.train.take(inputs.kept).reshape(TRAIN, -1).astype(np.float32)
    picture = fid.nearest_picture(inputs, features[:SAMPLES][::-1], features)
    rows = [fid.pictures.enlarge(real[::-1], 4)] * 2
    np.testing.assert_array_equal(picture, fid.pictures.grid(rows, ["sample", "nearest train image"]))


def test_inception_reads_its_file_and_refuses_any_other(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from d2it.evaluation import features, inception
    from d2it.weights import INCEPTION
    from tests.evaluation.conftest import random_weights

    monkeypatch.setattr(fid, "open_extractor", features.open_extractor)
    with pytest.raises(WeightsError, match="6726825d"):
        fid.main(stage(outputs, extractor="inception"))
    (outputs / "weights").mkdir()
    path = outputs / "weights" / INCEPTION.name
    torch.save(random_weights(seed=1), path)
    with pytest.raises(WeightsError, match="6726825d"):
        fid.main(stage(outputs, extractor="inception"))
    monkeypatch.setattr(
        inception, "INCEPTION", replace(INCEPTION, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    )
    assert fid.main(stage(outputs, extractor="inception"))["fid"] > 0
