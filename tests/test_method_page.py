"""docs/method.md leads to what is there: each name stands in the file beside it."""

import ast
import re
from collections.abc import Iterator

import pytest

from tools.deps import ROOT

ROW = re.compile(r"^\|.*\| `([\w/]+\.py)` \| (.*) \|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs" / "method.md").read_text(encoding="utf-8"))


def names(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    """Functions, classes with their methods, and values of a module."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from names(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            yield ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)


@pytest.mark.parametrize(("path", "cell"), ROWS)
def test_names_of_the_page_are_in_the_files_beside_them(path: str, cell: str) -> None:
    asked = re.findall(r"`([\w.]+)`", cell)
    known = set(names(ast.parse((ROOT / path).read_text(encoding="utf-8")).body))
    assert asked
    assert [name for name in asked if name not in known] == []


def test_the_page_has_rows() -> None:
    assert len(ROWS) > 40
