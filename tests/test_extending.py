"""docs/extending.md is right: its code blocks, applied to a copy of the repository, and its commands, run there."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from d2it.yaml import read_yaml
from tests.smallest import Repository
from tools.deps import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

PAGE = ROOT / "docs" / "extending.md"
NEW_FILE = re.compile(r"[Aa] new file `([^`]+)` in `([^`]+)`")
CHANGED_FILE = re.compile(r"In `([^`]+)`(?:, above `([^`]+)`)?[^`]*$")


def blocks(section: str) -> list[tuple[str, str, str]]:
    """Code blocks of a section of the page, as (the line before, language, code)."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"([^\n]*)\n\n```(\w+)\n(.*?)```", text, re.DOTALL)


def once(text: str, old: str, new: str) -> str:
    """`text` with `old`, which it must hold exactly once, replaced."""
    assert text.count(old) == 1, f"{text.count(old)} times in the file:\n{old}"
    return text.replace(old, new)


def apply(folder: Path, before: str, language: str, code: str) -> None:
    """Make the change that a block shows: a new file, lines above a line, or a diff."""
    if match := NEW_FILE.search(before):
        path = folder / match[2] / match[1]
        assert not path.exists()
        path.write_text(code, encoding="utf-8")
        return
    match = CHANGED_FILE.search(before)
    assert match, f"the page does not say where this belongs:\n{before}\n{code}"
    path = folder / match[1]
    text = path.read_text(encoding="utf-8")
    if language == "diff":
        for part in code.split("@@\n"):
            lines = part.splitlines(keepends=True)
            old, new = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
            text = once(text, old, new) if part else text
    else:
        assert match[2], before
        text = once(text, f"\n{match[2]} ", f"\n{code}\n\n{match[2]} ")
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def repository(finished: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A copy of the repository in which `dvc repro` has run, with the tests."""
    repository = finished.copy(tmp_path_factory.mktemp("extending") / "repository")
    shutil.copytree(ROOT / "tests", repository.folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    repository.commit()
    return repository


def follow(repository: Repository, section: str) -> str:
    """Do what a section of the page says, in its order; all that its commands print."""
    printed = ""
    for before, language, code in blocks(section):
        if language == "sh":
            for command in code.splitlines():
                printed += repository.run(["bash", "-c", command.removeprefix("uv run ")])
        else:
            apply(repository.folder, before, language, code)
    changed = repository.git("ls-files", "--modified", "--others", "--exclude-standard", "*.py").split()
    repository.run(["ruff", "check", *changed])
    repository.run(["ruff", "format", "--check", *changed])
    repository.run(["python", "-m", "tools.deps", "--check"])
    return printed


def stages_run(printed: str) -> list[str]:
    """But for the manifest, which always runs."""
    return [name for name in re.findall(r"^Running stage '(\w+)'", printed, re.MULTILINE) if name != "manifest"]


def metrics(repository: Repository, stage: str) -> dict[str, float]:
    text = (repository.folder / "outputs" / stage / "metrics.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def recorded(repository: Repository, stage: str) -> dict[str, Any]:
    """Params of a stage in dvc.lock."""
    lock = read_yaml((repository.folder / "dvc.lock").read_text(encoding="utf-8"))
    return dict(lock["stages"][stage]["params"]["params.yaml"])


def up_to_date(repository: Repository) -> bool:
    return repository.dvc("status").split() == ["manifest:", "always", "changed"]


def samples(repository: Repository) -> NDArray[np.uint8]:
    with np.load(repository.folder / "outputs" / "sample" / "samples.npz", allow_pickle=False) as file:
        images: NDArray[np.uint8] = file["arr_0"]
    return images


def test_the_page_adds_a_sampler_a_knob_and_a_stage(repository: Repository) -> None:
    by_ddpm = samples(repository)
    weights = repository.folder / "outputs" / "train_content" / "weights.safetensors"
    weights_before = weights.read_bytes()

    printed = follow(repository, "A sampler")
    assert "passed" in printed
    assert stages_run(printed) == ["sample", "fid"]
    assert recorded(repository, "sample")["sample"]["sampler"] == "lms"
    assert (samples(repository) != by_ddpm).any()
    assert weights.read_bytes() == weights_before
    assert up_to_date(repository)

    printed = follow(repository, "A knob")
    assert stages_run(printed)[:2] == ["train_content", "sample"]
    section = recorded(repository, "train_content")["content_transformer"]
    assert section["timestep_sampling"] == "logit-normal"
    assert weights.read_bytes() != weights_before
    deps = read_yaml((repository.folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["train_content"]["deps"]
    assert "d2it/diffusion/timesteps.py" in deps
    assert up_to_date(repository)
    load = "import sys; from d2it.params.load import load_params; [*map(load_params, sys.argv[1:])]"
    repository.run(["python", "-c", load, *map(str, repository.folder.joinpath("presets").iterdir())])
    (refusal,) = re.findall(r"`(\S+ = 'normal': [^`]*)`", PAGE.read_text(encoding="utf-8"))
    params = repository.folder / "params.yaml"
    as_before = params.read_bytes()
    with pytest.raises(AssertionError, match=re.escape(refusal)):
        repository.dvc("exp", "run", "-S", "content_transformer.timestep_sampling=normal")
    params.write_bytes(as_before)

    printed = follow(repository, "An eighth stage")
    assert stages_run(printed)[-1] == "agreement"
    assert 0 <= metrics(repository, "agreement")["agreement"] <= 1
    assert "fine_ratio" in printed
    assert up_to_date(repository)
