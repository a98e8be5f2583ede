"""`python -m d2it.evaluation`: any images against any others, as JSON; what cannot be had is refused in one line."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from d2it.evaluation.all_pairs import kid, precision_recall
from d2it.evaluation.class_agreement import ClassStatistics, agreement
from d2it.evaluation.extractor import Extractor
from d2it.evaluation.frechet import GaussianStatistics, frechet_distance
from d2it.evaluation.inception_score import InceptionScore
from d2it.evaluation.reference import Identity, Reference, save_reference
from tests.evaluation.test_measure import WIDTH, Projection

main = importlib.import_module("d2it.evaluation.__main__")

RNG = np.random.default_rng(0)
A: NDArray[np.uint8] = RNG.integers(0, 256, (24, 8, 8, 3), np.uint8)
B: NDArray[np.uint8] = RNG.integers(0, 200, (30, 8, 8, 3), np.uint8)
OF_A, OF_B = np.arange(24) % 3, np.arange(30) % 3


class Other(Projection):
    name, identity = "efficientnet_lite0", "efficientnet_lite0 of a test 1"


@pytest.fixture(autouse=True)
def extractors(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(name: str, weights: Path, device: object) -> Extractor:
        return Projection() if name == "inception" else Other()

    monkeypatch.setattr(main, "open_extractor", opened)


@pytest.fixture
def sides(tmp_path: Path) -> tuple[str, str]:
    np.savez(tmp_path / "a.npz", A, OF_A)
    np.savez(tmp_path / "b.npz", B, OF_B)
    return str(tmp_path / "a.npz"), str(tmp_path / "b.npz")


def numbers_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = main.main([*arguments, "--batch-size", "5"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    result: dict[str, Any] = json.loads(captured.out)
    return result


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code = main.main(list(arguments))
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert captured.err.count("\n") == 1, "no work has begun, not even a line of progress"
    return captured.err.strip()


def gaussian(features: NDArray[np.floating]) -> GaussianStatistics:
    statistics = GaussianStatistics(features.shape[1])
    statistics.add(features)
    return statistics


def test_numbers_are_those_of_the_metrics_and_the_protocol_says_how_they_were_made(
    sides: tuple[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "numbers.json"
    result = numbers_of(capsys, *sides, "--neighbours", "2", "--out", str(out))
    assert json.loads(out.read_text()) == result
    a, b = Projection()(A), Projection()(B)
    assert a.spatial is not None
    assert b.spatial is not None
    assert a.probabilities is not None
    score, classes = InceptionScore(24, 1008), ClassStatistics(WIDTH, 3)
    score.add(0, a.probabilities)
    classes.add(b.pool, OF_B)
    shares, estimate = precision_recall(b.pool, a.pool, 2), kid(b.pool, a.pool)
    expected = {
        "fid": frechet_distance(gaussian(b.pool).gaussian(), gaussian(a.pool).gaussian()),
        "sfid": frechet_distance(gaussian(b.spatial).gaussian(), gaussian(a.spatial).gaussian()),
        "inception_score": score.score().mean,
        "inception_score_std": score.score().deviation,
        "kid": estimate.value,
        "kid_standard_error": estimate.standard_error,
        "precision": shares.precision,
        "recall": shares.recall,
        "class_agreement": agreement(classes.fit(), a.pool, OF_A),
    }
    assert result["numbers"] == pytest.approx(expected, rel=1e-3)
    protocol = result["protocol"]
    assert protocol["extractor"] == "inception of a test 1"
    assert protocol["samples"] == {"path": sides[0], "images": 24, "size": 8}
    assert protocol["reference"] == {"path": sides[1], "images": 30, "size": 8}


def test_another_extractor_has_no_fid(sides: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    names = set(numbers_of(capsys, *sides, "--extractor", "efficientnet_lite0")["numbers"])
    expected = {"fd", "kid", "precision", "recall", "class_agreement"}
    assert names == {f"{name}_efficientnet_lite0" for name in expected} | {"kid_efficientnet_lite0_standard_error"}


def test_a_folder_of_pngs_gives_the_numbers_of_the_same_pixels_in_an_npz(
    sides: tuple[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "png").mkdir()
    for i, image in enumerate(A):
        Image.fromarray(image).save(tmp_path / "png" / f"{i:06d}.png")
    metrics = ("--metrics", "fd,kid,inception_score")
    of_folder = numbers_of(capsys, str(tmp_path / "png"), sides[1], *metrics)["numbers"]
    assert of_folder == numbers_of(capsys, *sides, *metrics)["numbers"]
    assert set(of_folder) == {"fid", "kid", "kid_standard_error", "inception_score", "inception_score_std"}


def test_published_statistics_take_the_place_of_images(
    sides: tuple[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    features = Projection()(B)
    assert features.spatial is not None
    reference = Reference(
        pool=gaussian(features.pool).gaussian(), spatial=gaussian(features.spatial).gaussian(), features=features.pool
    )
    identity = Identity(key="key", extractor="inception of a test 1")
    ours, adm, alone = (str(tmp_path / f"{name}.npz") for name in ("ours", "adm", "alone"))
    save_reference(Path(ours), reference, identity, take=B.__getitem__)
    with np.load(ours) as file:
        published = {name: file[name] for name in ("mu", "sigma", "mu_s", "sigma_s")}
    np.savez(adm, arr_0=B, **published)
    np.savez(alone, **published)
    metrics = ("--metrics", "fd,sfd,kid,precision,recall")
    expected = numbers_of(capsys, *sides, *metrics)["numbers"]
    assert numbers_of(capsys, sides[0], ours, *metrics)["numbers"] == pytest.approx(expected, rel=1e-4)
    of_adm = numbers_of(capsys, sides[0], adm, *metrics)
    assert of_adm["numbers"] == pytest.approx(expected, rel=1e-4)
    assert of_adm["protocol"]["reference"]["statistics"] == "as published"
    assert set(numbers_of(capsys, sides[0], alone)["numbers"]) == {
        "fid", "sfid", "inception_score", "inception_score_std",
    }  # fmt: skip
    both = numbers_of(capsys, alone, adm)["numbers"]
    assert both == pytest.approx({"fid": 0, "sfid": 0}, abs=1e-6)
    message = refusal(capsys, sides[0], alone, "--metrics", "kid")
    assert message == f"--metrics: kid: needs images: {alone} holds statistics alone"
    np.savez(alone, mu=np.zeros(2048), sigma=np.eye(2048))
    assert refusal(capsys, sides[0], alone) == f"{alone}: mu of 2048 features: must be {WIDTH}"


def test_what_cannot_be_had_is_refused_before_any_work(
    sides: tuple[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    a, b = sides
    known = "fd, sfd, inception_score, kid, precision, recall, class_agreement"
    assert refusal(capsys, a, b, "--metrics", "fd,lpips") == f"--metrics: 'lpips': must be among {known}"
    message = refusal(capsys, a, b, "--extractor", "efficientnet_lite0", "--metrics", "sfd")
    assert message == "--metrics: sfd: needs the extractor inception"
    assert refusal(capsys, str(tmp_path / "c.npz"), b) == f"{tmp_path / 'c.npz'}: no such file"
    few, small, plain = (str(tmp_path / f"{name}.npz") for name in ("few", "small", "plain"))
    np.savez(few, A[:2])
    assert refusal(capsys, few, b, "--metrics", "kid") == f"samples {few}: 2 images: KID needs at least 3"
    message = refusal(capsys, a, b, "--metrics", "recall", "--reference-images", "3")
    assert message == f"neighbours = 3: must be below the 3 images of reference {b}"
    np.savez(small, A[:, :4, :4])
    assert refusal(capsys, small, b) == f"{small}: 4 x 4 pixels; {b}: 8 x 8: must be equal"
    np.savez(plain, A)
    message = refusal(capsys, plain, b, "--metrics", "class_agreement")
    assert message == f"--metrics: class_agreement: needs images with labels: {plain} has none"
    np.savez(plain, A, np.ones(24, int))
    message = refusal(capsys, a, plain, "--metrics", "class_agreement")
    assert message.endswith(f"needs images of two classes or more: those of {plain} have one label")


def test_folders_of_different_classes_have_no_class_agreement(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Labels count the folders by name: with other folders, the same number is another class."""
    for root, classes in (("a", "xy"), ("b", "wxy")):
        for i, image in enumerate(B[:24]):
            folder = tmp_path / root / classes[i % len(classes)]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i}.png")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    message = refusal(capsys, a, b, "--metrics", "class_agreement")
    assert message == f"--metrics: class_agreement: needs the same class folders in {a} and {b}"
    assert "class_agreement" not in numbers_of(capsys, a, b)["numbers"]
    assert "class_agreement" in numbers_of(capsys, b, b)["numbers"]
