"""The two recipes of containers/ give the same environment, that of pyproject.toml."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tools.deps import ROOT

FOLDER = ROOT / "containers"
INSTALL = (FOLDER / "install.sh").read_text(encoding="utf-8")
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
APPTAINER = (FOLDER / "d2it.def").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PYTHON = {"bookworm": "3.11", "trixie": "3.13"}  # Debian's
SECTIONS = ("files", "post", "environment", "runscript", "test")


def instructions(name: str) -> list[list[str]]:
    """Arguments of each instruction of the Dockerfile with this name."""
    return [shlex.split(line) for line in re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)]


def section(name: str) -> str:
    """Of the Apptainer recipe."""
    _, text = re.split(rf"^%{name}\n", APPTAINER, flags=re.MULTILINE)
    return re.split(r"^%", text, maxsplit=1, flags=re.MULTILINE)[0]


def test_both_put_the_same_files_into_the_same_debian_and_run_the_same_script() -> None:
    (base,) = instructions("FROM")
    assert re.findall("^(?:Bootstrap|From): (.*)$", APPTAINER, re.MULTILINE) == ["docker", *base]
    ((*sources, target),) = instructions("COPY")
    copied = [line.split() for line in section("files").splitlines() if line]
    assert copied == [[source, target + Path(source).name] for source in sources]
    assert [shlex.split(section("post"))] == instructions("RUN") == [["sh", "/opt/d2it/install.sh"]]
    ignored, *let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored == "*"
    assert let_in == [f"!{source}" for source in sources]


def test_both_set_the_same_variables_but_for_the_users() -> None:
    (docker,) = instructions("ENV")
    apptainer = [shlex.split(line)[1] for line in section("environment").splitlines() if line]
    assert [one for one in docker if not one.startswith(("HOME=", "USER="))] == apptainer
    environment = dict(one.split("=", 1) for one in docker)
    assert f"UV_PROJECT_ENVIRONMENT={environment['UV_PROJECT_ENVIRONMENT']} uv sync" in INSTALL
    assert environment["PATH"] == f"{environment['UV_PROJECT_ENVIRONMENT']}/bin:$PATH"


def test_debians_python_is_one_of_the_projects_and_uv_leaves_out_developers_tools_alone() -> None:
    ((base,),) = instructions("FROM")
    release = re.fullmatch(r"debian:(\w+)-slim", base)
    assert release
    assert PYTHON[release[1]] in SpecifierSet(PROJECT["project"]["requires-python"])
    page = (ROOT / "docs" / "containers.md").read_text(encoding="utf-8")
    assert f"Python {PYTHON[release[1]]}" in page
    (options,) = re.findall("uv sync (.*)", INSTALL)
    assert options == "--no-cache --no-dev --python /usr/bin/python3"
    assert PROJECT["tool"]["uv"]["default-groups"] == ["workflow", "dev"]


@pytest.mark.parametrize("script", [INSTALL, *map(section, ("post", "environment", "runscript", "test"))])
def test_shell_of_the_recipes_is_well_formed(script: str) -> None:
    assert subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False).stderr == ""


def test_the_apptainer_recipe_has_its_sections_once_each_and_no_others() -> None:
    assert re.findall(r"^%(\w+)$", APPTAINER, re.MULTILINE) == list(SECTIONS)


def test_no_registrys_address_stands_in_a_recipe() -> None:
    assert all("://" not in text for text in (INSTALL, DOCKERFILE, APPTAINER))
