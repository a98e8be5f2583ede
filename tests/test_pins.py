"""A fresh install next year gives the versions of today: pyproject.toml pins every package, direct and indirect."""

import importlib.metadata
import re
import tomllib

from tools.deps import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = {
    line.split("==")[0]: line.split("==")[1].split(" ")[0] for line in PROJECT["tool"]["uv"]["constraint-dependencies"]
}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_installed_package_has_its_pinned_version() -> None:
    installed = {normalized(d.metadata["Name"]): d.version for d in importlib.metadata.distributions()}
    assert {name: version for name, version in installed.items() if PINS.get(name) != version} == {}


def test_every_direct_dependency_is_pinned() -> None:
    groups = PROJECT["dependency-groups"].values()
    direct = [*PROJECT["project"]["dependencies"], *(name for group in groups for name in group)]
    assert [name for name in direct if normalized(name) not in PINS] == []


def test_no_registrys_address_stands_in_the_project_file() -> None:
    assert "://" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
