"""Imports point one way: between packages, inside d2it, and between any two modules."""

import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from pipeline.packages import PACKAGES
from tests.source import direct_imports
from tools.deps import ROOT

# Inside d2it each may import those before it; its other modules import none of them.
FOLDERS = (
    "params", "grain", "data", "dvae", "transformer", "diffusion", "ranks", "training", "objectives", "evaluation",
    "use", "cost",
)  # fmt: skip
KNOW_NO_MODEL = ("training", "evaluation")
SLOW = "torch._dynamo torch.distributed.fsdp torch.distributed.tensor"  # seconds each, for what one process does not do
NOT_THE_METHODS = ("dvc", "mlflow", "submitit", "filelock", "psutil", "tensorboardX")
GPU_DOES_WITHOUT = (
    "pydantic ruamel lpips tabulate tqdm PIL scipy skimage threadpoolctl torchvision torch_fidelity "
    "vector_quantize_pytorch numba joblib dvc mlflow submitit filelock psutil matplotlib"
)
FILES = sorted(p.relative_to(ROOT) for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
METHOD = [path for path in FILES if path.parts[0] == "d2it"]


def order_of(path: Path) -> int:
    """Of a file of d2it; what stands outside its folders comes first."""
    return 1 + FOLDERS.index(path.parts[1]) if len(path.parts) > 2 else 0


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_package_imports_only_those_before_it(path: Path) -> None:
    for imported in direct_imports(path):
        assert PACKAGES.index(imported.parts[0]) <= PACKAGES.index(path.parts[0]), f"{path} imports {imported}"


@pytest.mark.parametrize("path", METHOD, ids=str)
def test_a_folder_of_the_method_imports_only_those_before_it(path: Path) -> None:
    if path in (Path("d2it/__init__.py"), Path("d2it/__main__.py")):
        return  # offer the models, and import them where they are asked for
    for imported in direct_imports(path):
        assert order_of(imported) <= order_of(path), f"{path} imports {imported}"


def test_every_folder_of_the_method_is_in_the_list() -> None:
    assert {path.parts[1] for path in METHOD if len(path.parts) > 2} == set(FOLDERS)


@pytest.mark.parametrize("path", [path for path in METHOD if path.parts[1] in KNOW_NO_MODEL], ids=str)
def test_training_and_evaluation_know_no_model(path: Path) -> None:
    models = [p for p in direct_imports(path) if p.parts[:2] in (("d2it", "dvae"), ("d2it", "transformer"))]
    assert models == []


def test_there_is_no_circle() -> None:
    """`d2it/__init__.py` imports nothing by itself: its functions do."""
    modules = [path for path in FILES if path != Path("d2it/__init__.py")]
    TopologicalSorter({path: direct_imports(path) - {Path("d2it/__init__.py")} for path in modules}).prepare()


@pytest.mark.parametrize("path", METHOD, ids=str)
def test_the_method_knows_nothing_of_dvc_slurm_or_mlflow(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not any(f"import {name}" in text or f"from {name}" in text for name in NOT_THE_METHODS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("d2it", "torch"),
        ("d2it.params", "torch"),
        ("benchmarks.gpu", GPU_DOES_WITHOUT),
        ("benchmarks.gpu_training", GPU_DOES_WITHOUT),
        ("benchmarks.latents", GPU_DOES_WITHOUT),
        *((f"stages.{stage}", SLOW) for stage in ("prepare", "train_content", "sample")),
    ],
)
def test_a_module_does_without(module: str, absent: str) -> None:
    """What is blocked cannot be imported at all, as on a machine that does not have it."""
    block = "; ".join(f"sys.modules[{name!r}] = None" for name in absent.split())
    subprocess.run([sys.executable, "-c", f"import sys; {block}; import {module}"], cwd=ROOT, check=True, timeout=120)
