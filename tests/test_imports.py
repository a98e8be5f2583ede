"""Imports point one way."""

from pathlib import Path

import pytest

from tools.deps import ROOT, direct_imports

LAYERS = ["d2it", "stages", "slurm", "ablations"]  # each may import those before it
INSIDE = ["data", "grain", "dvae", "transformer", "diffusion", "training", "evaluation"]  # likewise, inside d2it
COMMANDS = ("d2it/sizes.py",)  # run by hand, imported by no module of d2it
KNOW_NO_MODEL = ("training", "evaluation")
FILES = sorted(p.relative_to(ROOT) for layer in LAYERS for p in (ROOT / layer).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_module_imports_only_what_stands_before_it(path: Path) -> None:
    for imported in direct_imports(path):
        assert LAYERS.index(imported.parts[0]) <= LAYERS.index(path.parts[0]), f"{path} imports {imported}"
        assert str(imported) not in COMMANDS or path.parts[0] != "d2it", f"{path} imports {imported}"
        if str(path) not in COMMANDS and path.parts[0] == imported.parts[0] == "d2it" and imported.parts[1] in INSIDE:
            assert path.parts[1] in INSIDE, f"{path}, shared by all of d2it, imports {imported}"
            assert INSIDE.index(imported.parts[1]) <= INSIDE.index(path.parts[1]), f"{path} imports {imported}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_training_and_evaluation_know_no_model(path: Path) -> None:
    if path.parts[0] == "d2it" and path.parts[1] in KNOW_NO_MODEL:
        models = [p for p in direct_imports(path) if p.parts[:2] in (("d2it", "dvae"), ("d2it", "transformer"))]
        assert models == []


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "d2it"], ids=str)
def test_the_method_knows_nothing_of_dvc_slurm_or_mlflow(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not any(f"import {name}" in text or f"from {name}" in text for name in ("dvc", "mlflow", "submitit"))
