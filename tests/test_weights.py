import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from d2it import weights as module
from d2it.params.sections import DVAEParams, FIDParams
from d2it.weights import (
    DINOV2,
    EFFICIENTNET_LITE0,
    EXTRACTORS,
    INCEPTION,
    PERCEPTUAL,
    ST_LPIPS_VGG,
    VGG16,
    Installed,
    Weights,
    WeightsError,
    default_folder,
    download,
    examine,
    installed,
    locate,
    main,
)

CONTENT = bytes(range(256)) * 10_000


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    """A file to be had from this machine."""
    source = tmp_path / "source.pth"
    source.write_bytes(CONTENT)
    return Weights("file.pth", source.as_uri(), hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


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


@pytest.mark.parametrize(("content", "text"), [(CONTENT[:-1] + b"x", "wrong sha256"), (CONTENT[:-1], "incomplete")])
def test_a_damaged_file_gives_one_line_and_is_kept(tmp_path: Path, weights: Weights, content: bytes, text: str) -> None:
    (tmp_path / "file.pth").write_bytes(content)
    for use in (locate, download):
        with pytest.raises(WeightsError, match=text) as error:
            use(weights, tmp_path)
        assert_one_line(error.value, tmp_path / "file.pth", weights)
    assert (tmp_path / "file.pth").read_bytes() == content


def test_a_state_tells_incomplete_from_wrong_and_missing(tmp_path: Path, weights: Weights) -> None:
    path, part = tmp_path / "file.pth", tmp_path / "file.pth.part"
    assert examine(weights, tmp_path)[0] == "missing"
    part.write_bytes(CONTENT[:1000])
    assert examine(weights, tmp_path) == ("incomplete", f"{path}: incomplete: 1,000 of 2,560,000 bytes in {part.name}")
    path.write_bytes(CONTENT[:2000])
    assert examine(weights, tmp_path) == ("incomplete", f"{path}: incomplete: 2,000 of 2,560,000 bytes")
    for other in (CONTENT[:-1] + b"x", CONTENT + b"x"):
        path.write_bytes(other)
        assert examine(weights, tmp_path)[0] == "wrong"
    path.write_bytes(CONTENT)
    assert examine(weights, tmp_path) == ("present", str(path))


def test_without_a_known_size_a_short_file_is_wrong(tmp_path: Path, weights: Weights) -> None:
    (tmp_path / "file.pth").write_bytes(CONTENT[:1000])
    assert examine(Weights(weights.name, weights.url, weights.sha256), tmp_path)[0] == "wrong"


@pytest.mark.parametrize("weights", [EFFICIENTNET_LITE0, ST_LPIPS_VGG])
def test_installed_files_are_right_and_no_code_of_their_package_runs(weights: Installed) -> None:
    code = (
        f"import sys; from d2it.weights import Installed, installed; "
        f"assert installed({weights!r}).is_file(); sys.exit({weights.name.partition('/')[0]!r} in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert locate(weights, Path("nowhere")) == download(weights, Path("nowhere")) == installed(weights)


def test_an_absent_package_or_another_file_in_it_gives_one_line() -> None:
    assert version("lpips")
    cases = {
        Installed("no-such-package", "x.pth", "0" * 64): "no-such-package: no such package",
        Installed("lpips", "lpips/weights/v0.1/none.pth", "0" * 64): "none.pth: no such file",
        Installed("lpips", "lpips/__init__.py", "0" * 64): "wrong sha256",
    }
    for weights, text in cases.items():
        with pytest.raises(WeightsError, match=text) as error:
            installed(weights)
        assert "\n" not in str(error.value)
        assert f"install the package {weights.package}" in str(error.value)


@pytest.mark.parametrize("weights", [INCEPTION, VGG16])
def test_names_carry_the_first_digits_of_the_sha256_as_torch_hub_asks(weights: Weights) -> None:
    assert weights.name.endswith(f"-{weights.sha256[:8]}.pth")


def test_every_file_has_a_sha256_and_every_downloaded_one_its_name_and_size() -> None:
    for weights in (EXTRACTORS | PERCEPTUAL).values():
        assert re.fullmatch("[0-9a-f]{64}", weights.sha256)
    for weights in (INCEPTION, VGG16, DINOV2):
        assert weights.url.endswith(f"/{weights.name}")
        assert weights.size


def test_every_choice_of_the_params_has_its_file() -> None:
    """Literal types list the choices."""
    assert list(EXTRACTORS) == list(FIDParams.model_fields["extractor"].annotation.__args__)
    assert list(PERCEPTUAL) == list(DVAEParams.model_fields["perceptual"].annotation.__args__)


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("D2IT_WEIGHTS", raising=False)
    assert default_folder(tmp_path) == tmp_path / ".d2it" / "weights"
    monkeypatch.setenv("D2IT_WEIGHTS", str(tmp_path / "elsewhere"))
    assert default_folder(tmp_path) == tmp_path / "elsewhere"


@pytest.fixture
def command(tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The command with one downloaded file and one installed; its exit code."""
    monkeypatch.setattr(module, "EXTRACTORS", {"inception": weights})
    monkeypatch.setenv("D2IT_WEIGHTS", str(tmp_path / "folder"))

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["weights", *arguments])
        return main()

    return run


def test_the_command_lists_fetches_and_checks(
    tmp_path: Path, weights: Weights, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "folder" / "file.pth"
    assert command("list") == 0
    listed = capsys.readouterr().out
    assert all(part in listed for part in ("inception: missing", str(path), weights.url, weights.sha256, "2,560,000"))
    assert "st_lpips: present" in listed
    assert "fid.extractor: inception" in listed
    assert command("check", "inception") == 1
    assert capsys.readouterr().err.startswith(f"inception: missing: {path}: no such file")
    assert command("fetch", "inception") == 0
    assert path.read_bytes() == CONTENT
    assert command("check", "inception", "st_lpips") == 0
    path.write_bytes(CONTENT[:1000])
    capsys.readouterr()
    for action in ("check", "fetch"):
        assert command(action, "inception") == 1
        assert capsys.readouterr().err.startswith(f"inception: incomplete: {path}: incomplete: 1,000 of")
    assert command("fetch", "inception", "--folder", str(tmp_path / "other")) == 0
    assert (tmp_path / "other" / "file.pth").read_bytes() == CONTENT


def test_the_command_knows_its_names(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command("fetch", "incption")
    assert "unknown: incption; known: inception, lpips, st_lpips" in capsys.readouterr().err


def assert_one_line(error: WeightsError, path: Path, weights: Weights) -> None:
    text = str(error)
    assert "\n" not in text
    assert all(part in text for part in (str(path), weights.sha256, weights.url))
