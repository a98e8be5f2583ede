import hashlib
import re
from pathlib import Path

import pytest

from d2it.weights import INCEPTION, VGG16, Weights, WeightsError, download, locate

CONTENT = bytes(range(256)) * 10_000


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    """A file to be had from this machine."""
    source = tmp_path / "source.pth"
    source.write_bytes(CONTENT)
    return Weights("file.pth", source.as_uri(), hashlib.sha256(CONTENT).hexdigest())


def test_a_download_is_checked_and_leaves_the_file_alone(tmp_path: Path, weights: Weights) -> None:
    folder = tmp_path / "new" / "folder"
    assert download(weights, folder) == folder / "file.pth" == locate(weights, folder)
    assert (folder / "file.pth").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["file.pth"]


def test_a_file_that_is_there_is_not_fetched_again(tmp_path: Path, weights: Weights) -> None:
    (tmp_path / "file.pth").write_bytes(CONTENT)
    offline = Weights(weights.name, "http://127.0.0.1:9/file.pth", weights.sha256)
    assert download(offline, tmp_path) == tmp_path / "file.pth"


def test_a_download_of_other_bytes_leaves_nothing(tmp_path: Path, weights: Weights) -> None:
    wrong = Weights(weights.name, weights.url, "0" * 64)
    folder = tmp_path / "folder"
    with pytest.raises(WeightsError, match=f"wrong sha256 {weights.sha256}") as error:
        download(wrong, folder)
    assert_one_line(error.value, folder / "file.pth", wrong)
    assert list(folder.iterdir()) == []


def test_no_network_gives_one_line_that_says_what_to_do(tmp_path: Path, weights: Weights) -> None:
    offline = Weights(weights.name, "http://127.0.0.1:9/file.pth", weights.sha256)
    with pytest.raises(WeightsError, match="cannot download") as error:
        download(offline, tmp_path)
    assert_one_line(error.value, tmp_path / "file.pth", offline)
    assert not (tmp_path / "file.pth").exists()


def test_an_absent_file_gives_one_line(tmp_path: Path, weights: Weights) -> None:
    with pytest.raises(WeightsError, match="no such file") as error:
        locate(weights, tmp_path)
    assert_one_line(error.value, tmp_path / "file.pth", weights)


def test_a_damaged_file_gives_one_line_and_is_kept(tmp_path: Path, weights: Weights) -> None:
    (tmp_path / "file.pth").write_bytes(CONTENT[:-1])
    for use in (locate, download):
        with pytest.raises(WeightsError, match="wrong sha256") as error:
            use(weights, tmp_path)
        assert_one_line(error.value, tmp_path / "file.pth", weights)
    assert (tmp_path / "file.pth").read_bytes() == CONTENT[:-1]


@pytest.mark.parametrize("weights", [INCEPTION, VGG16])
def test_names_carry_the_first_digits_of_the_sha256_as_torch_hub_asks(weights: Weights) -> None:
    assert re.fullmatch("[0-9a-f]{64}", weights.sha256)
    assert weights.name.endswith(f"-{weights.sha256[:8]}.pth")
    assert weights.url.endswith(f"/{weights.name}")


def assert_one_line(error: WeightsError, path: Path, weights: Weights) -> None:
    text = str(error)
    assert "\n" not in text
    assert all(part in text for part in (str(path), weights.sha256, weights.url))
