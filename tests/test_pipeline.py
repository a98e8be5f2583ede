"""End to end, at its smallest: real dvc repro, real dvc exp run, a real MLflow store."""

import hashlib
import json
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from ruamel.yaml import YAML
from safetensors.numpy import load_file

from d2it.params.load import check_params, load_params
from d2it.yaml import read_yaml
from stages.stage import NAMES
from tests.smallest import Repository, run_stages, smallest_params

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def repository(finished: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository in which `dvc repro` has run."""
    return finished.copy(tmp_path_factory.mktemp("pipeline") / "repository")


def hashes(outputs: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    files = sorted(p for p in outputs.rglob("*") if p.is_file() and p.name != ".gitignore")
    return {str(p.relative_to(outputs)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def runs(repository: Repository) -> list[Run]:
    client = MlflowClient(f"sqlite:///{repository.folder / '.d2it' / 'mlflow.db'}")
    experiments = [e.experiment_id for e in client.search_experiments()]
    return list(client.search_runs(experiments))


def children(repository: Repository, parent: Run) -> dict[str, Run]:
    return {
        run.info.run_name: run
        for run in runs(repository)
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }


def parents(repository: Repository) -> list[Run]:
    return [run for run in runs(repository) if "mlflow.parentRunId" not in run.data.tags]


def test_all_stages_leave_their_outputs_and_a_second_repro_runs_nothing(repository: Repository) -> None:
    outputs = repository.folder / "outputs"
    assert sorted(p.name for p in outputs.iterdir() if p.is_dir()) == sorted([*NAMES, "manifest"])
    assert re.findall("Running stage '(.*)'", repository.dvc("repro")) == ["manifest"]


def test_samples_are_in_the_adm_evaluators_format(repository: Repository) -> None:
    samples = np.load(repository.folder / "outputs" / "sample" / "samples.npz", allow_pickle=False)
    assert (samples["arr_0"].shape, samples["arr_0"].dtype) == ((8, 32, 32, 3), np.uint8)
    assert samples["arr_1"].tolist() == list(range(8))


def test_the_same_params_code_and_seed_give_the_same_bytes(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jobs' outputs against the same stages run again in this process."""
    monkeypatch.chdir(repository.folder)
    run_stages(load_params(repository.folder / "params.yaml"), tmp_path)
    all_of_them = hashes(repository.folder / "outputs")
    of_jobs = {path: sha256 for path, sha256 in all_of_them.items() if not path.startswith("manifest/")}
    assert hashes(tmp_path / "outputs") == of_jobs


VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "unconditional, VQ, v, DDIM, no RefineNet": {
        "data": {"labels": "none"},
        "dvae": {"regularizer": "vq"},
        "refinenet": {"layers": 0},
        "diffusion": {"objective": "v"},
        "sample": {"sampler": "ddim", "grain_source": "random"},
    },
    "three grains, DPM-Solver++, real maps": {
        "data": {"image_size": 64},
        "grain": {"factors": [8, 16, 32], "fine_ratio": [0.3, 0.4, 0.3]},
        "refinenet": {"window": 4},
        "sample": {"sampler": "dpm-solver++", "grain_source": "real", "guidance_interval": [0.2, 0.9]},
    },
    "one grain, all tokens, weights by position": {
        "grain": {"factors": [8], "fine_ratio": 1.0},
        "refinenet": {"tokens": "all", "window": "full", "position": "fixed"},
        "content_transformer": {"loss_weighting": "position", "precision": "bfloat16"},
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_switches_of_the_papers_tables_run_through_all_stages(variant: str, tmp_path: Path) -> None:
    values = smallest_params()
    for section, changes in VARIANTS[variant].items():
        values[section] |= changes
    params = check_params(values)
    numbers = run_stages(params, tmp_path)
    shares = [numbers["encode_latents"][f"share_of_grain_{g + 1}"] for g in range(len(params.grain.factors))]
    assert shares == pytest.approx(params.grain.shares, abs=0.03)
    samples = np.load(tmp_path / "outputs" / "sample" / "samples.npz", allow_pickle=False)
    assert samples["arr_0"].shape == (8, *params.data.image_size, 3)
    if params.data.labels == "none":
        assert samples["arr_1"].tolist() == [0] * 8
    assert all(np.isfinite(value) for stage in numbers.values() for value in stage.values())
    if params.dvae.regularizer == "vq":
        assert 1 <= numbers["train_dvae"]["perplexity"] <= params.dvae.codebook_size
        assert 0 <= numbers["train_dvae"]["dead_codes"] < 1


def test_mlflow_has_a_parent_and_one_child_per_stage_with_params_curves_and_pictures(repository: Repository) -> None:
    parent = min(parents(repository), key=lambda run: run.info.start_time)
    stages = children(repository, parent)
    assert sorted(stages) == sorted(NAMES)
    assert {run.info.status for run in stages.values()} == {"FINISHED"}
    assert parent.data.params["refinenet.window"] == "2"
    client = MlflowClient(f"sqlite:///{repository.folder / '.d2it' / 'mlflow.db'}")
    for name, metric in (("train_dvae", "l1"), ("train_grain", "cross_entropy"), ("train_content", "loss")):
        steps = [point.step for point in client.get_metric_history(stages[name].info.run_id, metric)]
        assert len(steps) >= 4
        assert steps == sorted(set(steps))
    pictures = [f.path for name in NAMES for f in client.list_artifacts(stages[name].info.run_id, "images")]
    for name in ("grain_maps", "reconstructions", "samples"):
        assert any(name in path for path in pictures), pictures
    assert "fid.fd_efficientnet_lite0" in parent.data.metrics


def test_mlflow_names_the_hash_by_which_dvc_keeps_weights_and_what_a_model_is_and_cost(repository: Repository) -> None:
    lock = read_yaml((repository.folder / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    parent = min(parents(repository), key=lambda run: run.info.start_time)
    stages = children(repository, parent)
    for name in ("train_dvae", "train_grain", "train_content"):
        path = f"outputs/{name}/weights.safetensors"
        (recorded,) = (out["md5"] for out in lock[name]["outs"] if out["path"] == path)
        assert stages[name].data.tags["dvc.md5.weights.safetensors"] == recorded
        metrics = json.loads((repository.folder / "outputs" / name / "metrics.json").read_text(encoding="utf-8"))
        for size in ("parameters", "multiply_adds"):
            assert parent.data.metrics[f"{name}.{size}"] == metrics[size] > 0
        weights = load_file(repository.folder / path)
        assert 0.8 * metrics["parameters"] < sum(array.size for array in weights.values()) < 1.2 * metrics["parameters"]
        assert parent.data.metrics[f"{name}.images_per_second"] > 0
        assert stages[name].data.metrics["system/memory_megabytes"] > 0
    assert parent.data.metrics["train_content.multiply_adds"] > parent.data.metrics["train_grain.multiply_adds"] > 0
    hours = "gpu_hours" if torch.cuda.is_available() else "cpu_hours"
    assert parent.data.metrics[hours] == pytest.approx(sum(parent.data.metrics[f"{name}.{hours}"] for name in NAMES))
    assert {f"stage.{name}" for name in NAMES} <= parent.data.tags.keys()
    stored = (path for path in repository.folder.joinpath(".d2it", "mlartifacts").rglob("*") if path.is_file())
    assert {path.suffix for path in stored} <= {".png", ".webp"}


def test_the_random_extractors_numbers_cannot_be_mistaken_for_fid(repository: Repository) -> None:
    metrics = json.loads((repository.folder / "outputs" / "fid" / "metrics.json").read_text(encoding="utf-8"))
    assert "fd_efficientnet_lite0" in metrics
    assert not any("fid" in name for name in metrics)


def test_dvcs_metrics_params_and_plots_work(repository: Repository) -> None:
    assert "fd_efficientnet_lite0" in repository.dvc("metrics", "show")
    assert "file://" in repository.dvc("plots", "show")
    path = repository.folder / "params.yaml"
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace("guidance: 1.5", "guidance: 2.5"), encoding="utf-8")
    assert "sample.guidance" in repository.dvc("params", "diff")
    path.write_text(before, encoding="utf-8")


def test_an_experiment_reruns_only_what_its_param_changes_and_is_a_parent_run_of_its_own(
    repository: Repository,
) -> None:
    output = repository.dvc("exp", "run", "-n", "fewer-steps", "-S", "sample.steps=2")
    ran = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
    assert ran == ["manifest", "sample", "fid"]
    parent = next(run for run in parents(repository) if run.info.run_name == "fewer-steps")
    assert sorted(children(repository, parent)) == ["fid", "sample"]
    assert parent.data.params["sample.steps"] == "2"
    first = min(parents(repository), key=lambda run: run.info.start_time)
    for name in set(NAMES) - {"sample", "fid"}:
        assert parent.data.tags[f"stage.{name}"] == children(repository, first)[name].info.run_id
    table = repository.dvc("exp", "show", "--csv")
    row = next(line for line in table.splitlines() if "fewer-steps" in line)
    assert len([cell for cell in row.split(",") if cell]) > 20  # an experiment's own metrics, from DVC's cache


@pytest.mark.exhaustive
def test_more_images_extend_a_training_that_ended_to_the_bytes_of_a_new_one(
    finished: Repository, tmp_path: Path
) -> None:
    repository, images = finished.copy(tmp_path / "repository"), "content_transformer.images=128"
    extended = repository.dvc("exp", "run", "-S", images, "train_content")
    assert "going on from step 4 (64 images) of a training that differs in its length alone" in extended
    made = hashes(repository.folder / "outputs" / "train_content")
    with sqlite3.connect(repository.folder / ".d2it" / "mlflow.db") as store:
        newest = "select run_uuid from runs where name = 'train_content' order by start_time desc limit 1"
        points = store.execute(f"select step from metrics where key = 'loss' and run_uuid = ({newest})").fetchall()
    assert sorted(step for (step,) in points) == list(range(16, 129, 16))
    for folder in ("outputs", ".d2it", ".dvc/cache"):
        shutil.rmtree(repository.folder / folder)
    repository.git("checkout", "--", ".")
    assert "going on" not in repository.dvc("exp", "run", "-S", images, "train_content")
    assert hashes(repository.folder / "outputs" / "train_content") == made


def test_wrong_params_stop_before_any_work(repository: Repository) -> None:
    path = repository.folder / "params.yaml"
    before = path.read_text(encoding="utf-8")
    values = read_yaml(before)
    values["sample"]["guidance"] = -1.0
    YAML().dump(values, path)
    logs = repository.folder / ".d2it" / "logs"  # one folder per job
    jobs = sorted(logs.iterdir())
    assert len(jobs) >= len(NAMES)
    with pytest.raises(AssertionError, match=r"sample\.guidance = -1\.0: must be >= 0") as failed:
        repository.dvc("repro")
    assert "Traceback" not in str(failed.value)
    assert sorted(logs.iterdir()) == jobs
    path.write_text(before, encoding="utf-8")
