"""dvc.yaml against the code: deps are the imports, and a changed param reruns what depends on it and nothing else."""

from pathlib import Path

import pytest

from d2it.nested import flatten
from d2it.yaml import read_yaml
from pipeline import initial, manifest
from pipeline.dag import Definition, definitions
from stages.stage import NAMES
from tests.source import closure, path_of
from tools.deps import NO_DEPS, ROOT

STAGES = definitions(ROOT / "dvc.yaml")


def code_deps(definition: Definition) -> set[Path]:
    return {Path(dep) for dep in definition.deps if not dep.startswith("outputs/")}


def readers(key: str) -> set[str]:
    """Stages that read a key of params.yaml, such as 'refinenet.window'."""
    return {
        name
        for name, stage in STAGES.items()
        if any(key == read or key.startswith(f"{read}.") or read.startswith(f"{key}.") for read in stage.params)
    }


def rerun(key: str) -> set[str]:
    """Stages that run again when `key` changes: its readers and all that is downstream of them."""
    names = readers(key)
    while True:
        made = {out for name in names for out in STAGES[name].outs}
        more = {name for name, stage in STAGES.items() if made & set(stage.deps)} - names
        if not more:
            return names
        names |= more


def test_the_seven_stages_stand_in_the_pipelines_order() -> None:
    assert tuple(STAGES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_stages_code_deps_are_the_modules_it_imports_no_more_and_no_less(name: str) -> None:
    outside = [path for module in NO_DEPS if (path := path_of(module))]
    assert len(outside) == len(NO_DEPS)
    outside.append(Path("d2it/__init__.py"))  # imports a model only when it is asked for one
    assert code_deps(STAGES[name]) == closure(Path("stages") / f"{name}.py", outside)


@pytest.mark.parametrize("name", NAMES)
def test_every_output_that_a_stage_reads_is_made_by_a_stage_before_it(name: str) -> None:
    made = {out for before in NAMES[: NAMES.index(name)] for out in STAGES[before].outs}
    made |= {str(manifest.PATH), *(str(initial.path_of(stage)) for stage in initial.SECTIONS)}
    assert {dep for dep in STAGES[name].deps if dep.startswith("outputs/")} <= made


@pytest.mark.parametrize(
    ("key", "stages"),
    [
        ("refinenet.window", {"train_content", "sample", "fid"}),
        ("content_transformer.loss_weighting", {"train_content", "sample", "fid"}),
        ("diffusion.objective", {"train_content", "sample", "fid"}),
        ("grain_transformer.layers", {"train_grain", "sample", "fid"}),
        ("sample.steps", {"sample", "fid"}),
        ("fid.extractor", {"fid"}),
        ("grain.fine_ratio", set(NAMES) - {"prepare"}),
        ("dvae.regularizer", set(NAMES) - {"prepare"}),
        ("data.image_size", set(NAMES)),
        ("data.seed", set(NAMES)),
        ("seed", set(NAMES) - {"prepare"}),
        ("seeds.order", set(NAMES) - {"prepare"}),
        ("sample.seed", {"sample", "fid"}),
    ],
)
def test_a_changed_param_reruns_what_depends_on_it_and_nothing_else(key: str, stages: set[str]) -> None:
    assert rerun(key) == stages


def test_every_param_is_in_the_key_of_a_stage_but_those_that_change_a_result_by_rounding_at_most() -> None:
    params = read_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"))
    in_no_key = [key for key in flatten(params) if not readers(key)]
    launch = ["micro_batch.dvae", "micro_batch.grain_transformer", "micro_batch.content_transformer", "shard_weights"]
    launch += ["preview_images", "preview_metrics"]
    assert in_no_key == launch


def test_a_change_in_evaluation_never_retrains() -> None:
    evaluation = {path.relative_to(ROOT) for path in (ROOT / "d2it" / "evaluation").glob("*.py")}
    assert {name for name, stage in STAGES.items() if evaluation & code_deps(stage)} == {"fid"}


def test_where_a_stage_runs_is_in_no_dep() -> None:
    assert not any(str(dep).startswith(("slurm", "tracking")) for s in STAGES.values() for dep in code_deps(s))
