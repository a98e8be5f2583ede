"""Pin every dependency, direct and indirect, in pyproject.toml: `uv lock --upgrade && uv run python tools/pin.py`.

uv.lock would do the same but holds the registry's address, so it is not committed; constraints name versions alone.
"""

import re
import subprocess
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
BLOCK = re.compile(r"^constraint-dependencies = \[\n.*?^\]\n", re.MULTILINE | re.DOTALL)


def locked() -> list[str]:
    """'name==version' of every package in uv.lock; with its marker where platforms differ in the version."""
    command = ["uv", "export", "--quiet", "--all-groups", "--no-hashes", "--no-annotate", "--no-header"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    names = [line.split("==")[0] for line in lines]
    return sorted(
        line if names.count(name) > 1 else line.split(" ;")[0] for name, line in zip(names, lines, strict=True)
    )


def main() -> None:
    """Rewrite the list of constraints."""
    lines = "".join(f'    "{line}",\n' for line in locked())
    block = f"constraint-dependencies = [\n{lines}]\n"
    text = PYPROJECT.read_text(encoding="utf-8")
    pinned, count = BLOCK.subn(lambda _: block, text)
    if count != 1:
        raise SystemExit(f"{PYPROJECT}: needs one list 'constraint-dependencies' under [tool.uv], has {count}")
    PYPROJECT.write_text(pinned, encoding="utf-8")


if __name__ == "__main__":
    main()
