"""What the README shows works."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.smallest import Repository
from tools.deps import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_python_of_the_readme_runs_and_gives_noise_that_is_constant_inside_coarse_regions() -> None:
    code, _ = CODE
    torch.manual_seed(0)
    names: dict[str, torch.Tensor] = {}
    exec(code, names)
    coarse = (names["grain_map"] == 0)[:, None]
    for grid in (names["latents"], names["noise"], names["variance"]):
        assert grid.shape == (2, 4, 32, 32)
        corners = [grid[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
        assert all(torch.equal(corner * coarse, corners[0] * coarse) for corner in corners)


@pytest.mark.slow
def test_the_python_of_the_readme_draws_with_what_was_trained(
    finished: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.folder)
    names: dict[str, Any] = {}
    exec(CODE[1], names)
    assert [len(names[name]) for name in ("images", "detailed", "mine")] == [3, 1, 1]
    assert names["images"][0].size == (32, 32)


def test_the_readme_is_short_and_shows_both_commands_on_lines_of_their_own() -> None:
    assert len(README.splitlines()) <= 150
    for command in ("dvc repro", "pytest"):
        assert f"\n    pip install uv && uv run {command}\n" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_and_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    modules = set(
        re.findall(r"python -m ((?:d2it|pipeline|tracking|stages|slurm|ablations|benchmarks|tools)[\w.]*)", text)
    )
    for module in modules:
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    for name in re.findall(
        r"`((?:d2it|pipeline|tracking|stages|slurm|ablations|benchmarks|tools|presets)/[\w/.]+)`", text
    ):
        assert (ROOT / name).exists(), name
