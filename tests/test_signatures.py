"""Whatever takes more than four arguments takes the rest by name."""

import ast
from pathlib import Path

import pytest

from pipeline.packages import PACKAGES
from tools.deps import ROOT

LIMIT = 4
FILES = sorted(p.relative_to(ROOT) for name in (*PACKAGES, "tools") for p in (ROOT / name).rglob("*.py"))


def too_long(source: str) -> list[str]:
    """Functions, constructors and dataclasses that take more than four arguments by position."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
            if len(arguments) - (arguments[:1] in (["self"], ["cls"])) > LIMIT:
                names.append(node.name)
        elif isinstance(node, ast.ClassDef) and _by_position(node):
            fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            if sum("init=False" not in ast.unparse(field) for field in fields) > LIMIT:
                names.append(node.name)
    return names


def _by_position(node: ast.ClassDef) -> bool:
    """Whether a class is a dataclass whose fields may be given by position."""
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    return any(text.startswith("dataclass") and "kw_only=True" not in text for text in decorators)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_nothing_takes_more_than_four_arguments_by_position(path: Path) -> None:
    assert too_long((ROOT / path).read_text(encoding="utf-8")) == []


def test_the_search_sees_functions_methods_and_dataclasses() -> None:
    five = "a, b, c, d, e"
    assert too_long(f"def f({five}): ...") == ["f"]
    assert too_long("async def f(a, b, /, c, d, e): ...") == ["f"]
    assert too_long(f"class C:\n def __init__(self, {five}): ...") == ["__init__"]
    assert too_long("def f(a, b, c, d, *, e): ...") == too_long("class C:\n def f(self, a, b, c, d): ...") == []
    fields = "".join(f"\n {name}: int" for name in "abcde")
    assert too_long(f"@dataclass(frozen=True)\nclass C:{fields}") == ["C"]
    assert too_long(f"@dataclass(frozen=True, kw_only=True)\nclass C:{fields}") == []
