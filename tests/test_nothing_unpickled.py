"""Nothing at rest is unpickled: our files hold tensors, numbers and text, never code. Read from the source."""

import ast
from pathlib import Path

import pytest

from tools.deps import PACKAGES, ROOT

FILES = sorted(p.relative_to(ROOT) for name in (*PACKAGES, "tools") for p in (ROOT / name).rglob("*.py"))
UNPICKLERS = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pandas"}
# What a call that reads a file must write out.
ARGUMENTS = {
    "torch.load": {"weights_only": {"True"}},
    "np.load": {"allow_pickle": {"False"}},
    "numpy.load": {"allow_pickle": {"False"}},
    "yaml.load": {"Loader": {"Yaml12Loader", "_Loader"}},
}
# Networks of others come as torch.save writes them, are known by their sha256, and are read as tensors alone; `pickle`
# is there the home of the error for anything else.
OF_OTHERS = {"d2it/dvae/perceptual.py": {"torch.load"}, "d2it/evaluation/features.py": {"torch.load", "pickle"}}


def faults(source: str, path: str) -> list[str]:
    """What in a file's source could unpickle."""
    allowed = OF_OTHERS.get(path, set())
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            packages = {(module or alias.name).split(".")[0] for alias in node.names}
            found += packages & UNPICKLERS - allowed
            found += [f"{module}.{alias.name}" for alias in node.names if f"{module}.{alias.name}" in ARGUMENTS]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in UNPICKLERS:
            found += [ast.unparse(node)] if node.attr != "UnpicklingError" else []
        elif isinstance(node, ast.Call):
            name, given = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            safe = all(given.get(key) in values for key, values in ARGUMENTS.get(name, {}).items())
            if not safe or given.get("allow_pickle") == "True" or (name == "torch.load" and name not in allowed):
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_file_of_the_project_can_unpickle(path: Path) -> None:
    assert faults((ROOT / path).read_text(encoding="utf-8"), path.as_posix()) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.numpy_pickle",
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "np.load(path, allow_pickle=flag)",
        "np.save(path, x, allow_pickle=True)",
        "from numpy import load",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.load(text, Loader=Loader)",
    ],
)
def test_the_search_finds_what_unpickles(line: str) -> None:
    assert faults(line, "stages/sample.py")


def test_files_of_others_are_still_read_as_tensors_alone() -> None:
    path = "d2it/evaluation/features.py"
    assert faults("torch.load(path, weights_only=True)", path) == []
    assert faults("torch.load(path)", path) == ["torch.load(path)"]
    assert faults("pickle.load(file)", path) == ["pickle.load"]
