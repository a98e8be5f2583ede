"""What a file imports, read from its source: an oracle beside grimp, from which tools/deps.py writes dvc.yaml."""

import ast
from collections.abc import Collection
from pathlib import Path

from pipeline.packages import PACKAGES
from tools.deps import ROOT


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


def closure(path: Path, outside: Collection[Path]) -> set[Path]:
    """All modules of this project that importing a file runs, the file itself included, without packages' __init__.

    `outside`: modules left out, with what only they import.
    """
    seen: set[Path] = set()
    todo = {path}
    while todo:
        current = todo.pop()
        seen.add(current)
        todo |= direct_imports(current) - seen - set(outside)
    return {p for p in seen if p.name != "__init__.py"}
