"""Nothing at rest is unpickled: our files hold tensors, numbers and text, never code. Read from the source."""

import ast
from pathlib import Path

import pytest

from pipeline.packages import PACKAGES
from tools.deps import ROOT

FILES = sorted(p.relative_to(ROOT) for name in (*PACKAGES, "tools") for p in (ROOT / name).rglob("*.py"))
UNPICKLERS = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pandas"}
YAMLS = {"yaml", "ruamel"}  # both make any object of a text that asks for it, but for their safe readers
# What a call that reads a file must write out.
ARGUMENTS = {
    "torch.load": {"weights_only": {"True"}},
    "np.load": {"allow_pickle": {"False"}},
    "numpy.load": {"allow_pickle": {"False"}},
    "YAML": {"typ": {"'safe'"}},
}
ALLOWED = {
    "d2it/threads.py": {"joblib"},  # counts cores there, and reads no file
    # Networks of others come as torch.save writes them, are known by their sha256, and are read as tensors alone;
    # `pickle` is there the home of the error for anything else.
    "d2it/networks.py": {"torch.load", "pickle"},
    # All YAML is read here;
    "d2it/yaml.py": {"ruamel"},
    # and our own dvc.yaml here, comments included: the reader that keeps them makes no objects either.
    "tools/deps.py": {"ruamel", "YAML"},
}


def faults(source: str, path: str) -> list[str]:
    """What in a file's source could unpickle."""
    allowed = ALLOWED.get(path, set())
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            packages = {(module or alias.name).split(".")[0] for alias in node.names}
            names += packages & (UNPICKLERS | YAMLS) - allowed
            names += [f"{module}.{alias.name}" for alias in node.names if f"{module}.{alias.name}" in ARGUMENTS]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in UNPICKLERS:
            names += [ast.unparse(node)] if node.attr != "UnpicklingError" else []
        elif isinstance(node, ast.Call):
            name, given = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            safe = all(given.get(key) in values for key, values in ARGUMENTS.get(name, {}).items())
            if name == "YAML" and name in allowed:
                safe = given.keys() <= {"pure"}
            if not safe or given.get("allow_pickle") == "True" or (name == "torch.load" and name not in allowed):
                names.append(ast.unparse(node))
    return names


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
        "import yaml",
        "from yaml import safe_load",
        "import ruamel.yaml",
        "from ruamel.yaml import YAML",
        "YAML()",
        "YAML(typ='unsafe')",
        "YAML(typ=kind)",
    ],
)
def test_the_search_sees_what_unpickles(line: str) -> None:
    assert faults(line, "stages/sample.py")


def test_files_of_others_are_still_read_as_tensors_alone() -> None:
    path = "d2it/networks.py"
    assert faults("torch.load(path, weights_only=True)", path) == []
    assert faults("torch.load(path)", path) == ["torch.load(path)"]
    assert faults("pickle.load(file)", path) == ["pickle.load"]


@pytest.mark.parametrize("line", ["YAML()", "YAML(typ='unsafe')", "import yaml"])
def test_yaml_is_read_by_the_safe_reader_alone(line: str) -> None:
    assert faults("from ruamel.yaml import YAML\nYAML(typ='safe').load(text)", "d2it/yaml.py") == []
    assert faults(line, "d2it/yaml.py")


def test_the_reader_that_keeps_comments_is_not_the_unsafe_one() -> None:
    assert faults("YAML()", "tools/deps.py") == []
    assert faults("YAML(typ='unsafe')", "tools/deps.py")
