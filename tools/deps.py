"""Write each stage's code into its deps in dvc.yaml, from the imports: `uv run python -m tools.deps [--check]`."""

import argparse
import ast
import io
import sys
from collections.abc import Collection
from pathlib import Path

from ruamel.yaml import YAML

from pipeline.packages import PACKAGES

ROOT = Path(__file__).parents[1]
# Shapes no result: what checks params and weights, shows progress, writes files whole, or says where things are.
NO_DEPS = {
    Path(name)
    for name in (
        "d2it/__init__.py",
        "d2it/errors.py",
        "d2it/files.py",
        "d2it/nested.py",
        "d2it/params/__init__.py",
        "d2it/params/sections.py",
        "d2it/progress.py",
        "d2it/ranks/stopping.py",
        "d2it/weights.py",
        "pipeline/errors.py",
        "pipeline/root.py",
        "stages/lineage.py",
        "stages/stage.py",
    )
}


def path_of(module: str) -> Path | None:
    """File of a dotted module of this project, relative to its root; None for others."""
    if module.split(".")[0] not in PACKAGES:
        return None
    path = Path(*module.split("."))
    if (ROOT / path).with_suffix(".py").exists():
        return path.with_suffix(".py")
    return path / "__init__.py" if (ROOT / path / "__init__.py").exists() else None


def direct_imports(path: Path) -> set[Path]:
    """Files of this project that a file imports, also inside functions."""
    imported: set[Path] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        imported |= {file for name in names if (file := path_of(name))}
    return imported


def closure(path: Path, outside: Collection[Path] = ()) -> set[Path]:
    """All files of this project that importing a file runs, the file itself included, empty __init__ files left out.

    `outside`: files left out, with what only they import.
    """
    seen: set[Path] = set()
    todo = {path}
    while todo:
        current = todo.pop()
        seen.add(current)
        todo |= direct_imports(current) - seen - set(outside)
    return {p for p in seen if (ROOT / p).read_text(encoding="utf-8").strip()}


def code_deps(stage: str) -> list[str]:
    """The files that shape a stage's result, sorted."""
    return sorted(str(path) for path in closure(Path("stages") / f"{stage}.py", NO_DEPS))


def with_code_deps(text: str) -> str:
    """A dvc.yaml with each stage's code first among its deps; comments and all else stay."""
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    content = yaml.load(text)
    for name, stage in content["stages"].items():
        outputs = [dep for dep in stage["deps"] if dep.startswith("outputs/")] if "deps" in stage else []
        stage["deps"] = code_deps(name) + outputs
    written = io.StringIO()
    yaml.dump(content, written)
    return written.getvalue()


def main() -> int:
    """0; 1 where `--check` finds a dvc.yaml that differs from the imports."""
    parser = argparse.ArgumentParser("python -m tools.deps", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if something would change")
    check, path = parser.parse_args().check, ROOT / "dvc.yaml"
    before = path.read_text(encoding="utf-8")
    after = with_code_deps(before)
    if before == after:
        return 0
    if check:
        print("dvc.yaml: deps are not the imports of the stages: uv run python -m tools.deps", file=sys.stderr)
        return 1
    path.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
