"""slurm/cluster.yaml: what a stage asks for, and how a mistake is told."""

from pathlib import Path

import pytest

from slurm.cluster import load_resources
from slurm.launcher import CLUSTER
from stages.dag import definitions
from stages.errors import StageError

STAGES = ("prepare", "fid")


def write(folder: Path, text: str) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(text)
    return path


def test_a_stage_overrides_the_defaults_key_by_key(tmp_path: Path) -> None:
    text = (
        "defaults: {partition: gpu, mem_gb: 16, sbatch: {qos: long}}\nstages:\n  fid: {mem_gb: 64, partition: null}\n"
    )
    found = load_resources(write(tmp_path, text), STAGES)
    assert (found["prepare"].partition, found["prepare"].mem_gb, found["prepare"].sbatch) == (
        "gpu",
        16,
        {"qos": "long"},
    )
    assert (found["fid"].partition, found["fid"].mem_gb, found["fid"].sbatch) == (None, 64, {"qos": "long"})


@pytest.mark.parametrize(
    ("written", "minutes"), [("90", 90), ("1:30:00", 90), ("0:00:30", 1), ("48:00:00", 2880), ("'2:05:01'", 126)]
)
def test_time_is_minutes_or_a_clock(tmp_path: Path, written: str, minutes: int) -> None:
    assert load_resources(write(tmp_path, f"defaults: {{time: {written}}}"), STAGES)["fid"].time == minutes


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("defaults: {gpus: 1}", "defaults.gpus: unknown key; allowed: partition, nodes, gpus_per_node"),
        ("stages: {fid: {mem_gb: much}}", "stages.fid.mem_gb = 'much': "),
        ("stages: {fid: {time: 1h}}", "stages.fid.time = '1h': "),
        ("defaults: {gpus_per_node: -1}", "defaults.gpus_per_node = -1: "),
        ("stages: {fit: {}}", "stages.fit: unknown stage; allowed: prepare, fid"),
        ("profiles: {}", "profiles: unknown key; allowed: defaults, stages"),
        ("defaults: [1", "not YAML"),
        ("- 1", "the file = [1]"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_key_and_value(tmp_path: Path, text: str, line: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(StageError) as error:
        load_resources(path, STAGES)
    assert str(error.value).startswith(f"{path}: {line}")
    assert "\n" not in str(error.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(StageError) as error:
        load_resources(write(tmp_path, "defaults: {nodes: 0}\nstages: {fid: {time: 0}, x: {}}"), STAGES)
    assert len(str(error.value).splitlines()) == 3


def test_our_own_file_is_right_for_the_stages_that_it_names() -> None:
    known = ("prepare", "train_dvae", "encode_latents", "train_grain", "train_content", "sample", "fid")
    found = load_resources(CLUSTER, known)
    assert found["prepare"].gpus_per_node == 0
    assert all(found[name].gpus_per_node == 1 for name in known[1:])
    assert set(definitions(CLUSTER.parents[1] / "dvc.yaml")) <= set(known)
