"""Write each stage's code into its deps in dvc.yaml, from the imports: `uv run python -m tools.deps [--check]`."""

import argparse
import io
import sys
from pathlib import Path

import grimp
from ruamel.yaml import YAML

from pipeline.dag import is_local
from pipeline.packages import PACKAGES

ROOT = Path(__file__).parents[1]
# Shapes no result: checks params and weights, shows progress, writes files whole, counts cores, says where things are.
NO_DEPS = (
    "d2it.errors", "d2it.files", "d2it.nested", "d2it.params.load", "d2it.params.sections", "d2it.progress",
    "d2it.ranks.stopping", "d2it.threads", "d2it.weights", "pipeline.errors", "pipeline.root", "stages.lineage",
    "stages.stage",
)  # fmt: skip


def imports() -> grimp.ImportGraph:
    """Which of the project's modules import which, also inside functions."""
    sys.path.insert(0, str(ROOT))
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def code_deps(stage: str) -> list[str]:
    """The files that shape a stage's result, sorted: all that it imports, directly or not."""
    graph = imports()
    for module in NO_DEPS:
        graph.remove_module(module)
    files = [Path(*module.split(".")).with_suffix(".py") for module in graph.find_upstream_modules(f"stages.{stage}")]
    return sorted([f"stages/{stage}.py", *(str(file) for file in files if (ROOT / file).exists())])


def with_code_deps(text: str) -> str:
    """A dvc.yaml with each stage's code first among its deps; comments and all else stay."""
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    content = yaml.load(text)
    for name, stage in content["stages"].items():
        if is_local(stage):
            continue
        stage["deps"] = code_deps(name) + [dep for dep in stage.get("deps", []) if dep.startswith("outputs/")]
    written = io.StringIO()
    yaml.dump(content, written)
    return written.getvalue()


def main() -> int:
    """0; 1 where `--check` meets a dvc.yaml that differs from the imports."""
    parser = argparse.ArgumentParser("python -m tools.deps", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if something would change")
    check, path = parser.parse_args().check, ROOT / "dvc.yaml"
    before = path.read_text(encoding="utf-8")
    after = with_code_deps(before)
    if before != after and check:
        print("dvc.yaml: deps are not the imports of the stages: uv run python -m tools.deps", file=sys.stderr)
        return 1
    path.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
