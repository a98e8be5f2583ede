"""slurm/cluster.yaml: what a stage asks for, and how a mistake is reported."""

from pathlib import Path

import pytest

from pipeline.dag import definitions
from pipeline.errors import StageError
from slurm.capabilities import Nodes
from slurm.cluster import Resources, load_resources
from slurm.launcher import CLUSTER

STAGES = ("prepare", "fid")


def write(folder: Path, text: str) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(text)
    return path


def mistakes(path: Path, profile: str | None = None) -> list[str]:
    with pytest.raises(StageError) as error:
        load_resources(path, STAGES, profile)
    return str(error.value).splitlines()


def test_a_stage_overrides_the_defaults_key_by_key(tmp_path: Path) -> None:
    text = (
        "defaults: {partition: gpu, mem_gb: 16, sbatch: {reservation: r}}\nstages: {fid: {mem_gb: 64, partition: null}}"
    )
    resources = load_resources(write(tmp_path, text), STAGES)
    assert (resources["prepare"].partition, resources["prepare"].mem_gb) == ("gpu", 16)
    assert (resources["fid"].partition, resources["fid"].mem_gb) == (None, 64)
    assert resources["prepare"].sbatch == resources["fid"].sbatch == {"reservation": "r"}


PROFILES = """
defaults: {cpus_per_task: 1, mem_gb: 1, partition: a}
stages: {fid: {cpus_per_task: 2, mem_gb: 2, time: 2:00:00}}
profiles:
  lab:
    defaults: {cpus_per_task: 3, account: x}
    stages: {fid: {partition: b}}
  dev: {}
"""


def test_a_profile_lies_over_the_file_its_stages_over_its_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, PROFILES)
    prepare, fid = load_resources(path, STAGES, "lab").values()
    assert (prepare.cpus_per_task, prepare.mem_gb, prepare.partition, prepare.account) == (3, 1, "a", "x")
    assert (fid.cpus_per_task, fid.mem_gb, fid.partition, fid.account, fid.time) == (3, 2, "b", "x", 120)
    without = load_resources(path, STAGES)
    assert without == load_resources(path, STAGES, "") == load_resources(path, STAGES, "dev")
    assert (without["fid"].cpus_per_task, without["fid"].account) == (2, None)


def test_an_unknown_profile_is_one_line_that_lists_the_known_ones(tmp_path: Path) -> None:
    path = write(tmp_path, PROFILES)
    assert mistakes(path, "Lab") == [f"D2IT_PROFILE = 'Lab': no such profile in {path}; allowed: lab, dev"]
    path = write(tmp_path, "")
    assert mistakes(path, "x") == [
        f"D2IT_PROFILE = 'x': no such profile in {path}; allowed: none, as the file has no profiles"
    ]


def test_profiles_that_are_not_chosen_are_checked_too_and_what_they_share_is_reported_once(tmp_path: Path) -> None:
    text = """
    defaults: {mem_gb: -1}
    stages: {fid: {time: 10}}
    profiles:
      lab: {defaults: {nodes: 0}, stages: {fit: {}}}
      slow: {defaults: {signal_delay_s: 3600}, stages: {prepare: {tasks_per_node: 2, time: 120}}}
    """
    path = write(tmp_path, text)
    lines = [line.removeprefix(f"{path}: ") for line in mistakes(path)]
    assert [line.partition(" = ")[0].partition(": unk")[0] for line in lines] == [
        "defaults.mem_gb",
        "profiles.lab.defaults.nodes",
        "profiles.lab.stages.fit",
        "stages.fid.time",
    ]
    assert "must be at least 61 minutes" in lines[3]
    assert lines[3].endswith("(in profile slow)")


def test_ranks_are_one_per_gpu_or_one_and_counted_over_all_nodes(tmp_path: Path) -> None:
    text = "defaults: {nodes: 2}\nstages: {prepare: {nodes: 1}, fid: {gpus_per_node: 4}}"
    resources = load_resources(write(tmp_path, text), STAGES)
    assert [(one.tasks_per_node, one.world_size) for one in resources.values()] == [(1, 1), (4, 8)]
    text = "stages: {fid: {tasks_per_node: 3, gpus_per_node: 4}}\nprofiles: {p: {defaults: {tasks_per_node: null}}}"
    path = write(tmp_path, text)
    assert load_resources(path, STAGES)["fid"].tasks_per_node == 3
    assert load_resources(path, STAGES, "p")["fid"].tasks_per_node == 4
    assert Resources(tasks_per_node=2).world_size == 2


@pytest.mark.parametrize(
    ("written", "minutes"), [("90", 90), ("1:30:00", 90), ("0:02:30", 3), ("48:00:00", 2880), ("'2:05:01'", 126)]
)
def test_time_is_minutes_or_a_clock(tmp_path: Path, written: str, minutes: int) -> None:
    assert load_resources(write(tmp_path, f"defaults: {{time: {written}}}"), STAGES)["fid"].time == minutes


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("defaults: {gpus: 1}", "defaults.gpus: unknown key; allowed: partition, nodes, gpus_per_node, tasks_per_node"),
        ("stages: {fid: {mem_gb: much}}", "stages.fid.mem_gb = 'much': "),
        ("stages: {fid: {time: 1h}}", "stages.fid.time = '1h': "),
        ("defaults: {gpus_per_node: -1}", "defaults.gpus_per_node = -1: "),
        ("stages: {fit: {}}", "stages.fit: unknown stage; allowed: prepare, fid"),
        (
            "stages: {fid: {time: 0:02:59, signal_delay_s: 121}}",
            "stages.fid.time = '0:02:59': must be at least 4 minutes",
        ),
        ("defaults: {time: 2}", "defaults.time = 2: must be at least 3 minutes: signal_delay_s and 60 s of work"),
        ("stages: {fid: {signal_delay_s: 7200}}", "defaults.time = 60: must be at least 121 minutes"),
        (
            "stages: {fid: {gpus_per_node: 2, tasks_per_node: 4}}",
            "stages.fid.tasks_per_node = 4: must be at most gpus_",
        ),
        ("defaults: {sbatch: {mem: 4G}}", "defaults.sbatch = {'mem': '4G'}: mem has a key of its own: mem_gb"),
        ("defaults: {sbatch: {cpus-per-task: 4}}", "defaults.sbatch = {'cpus-per-task': 4}: cpus-per-task has a key"),
        ("defaults: {sbatch: {output: x}}", "defaults.sbatch = {'output': 'x'}: output is set by the launcher"),
        ("jobs: {}", "jobs: unknown key; allowed: defaults, stages, profiles"),
        ("profiles: {p: {fid: {}}}", "profiles.p.fid: unknown key; allowed: defaults, stages"),
        ("profiles: {p: {stages: {fid: {mem: 1}}}}", "profiles.p.stages.fid.mem: unknown key; allowed: partition"),
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


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(StageError) as error:
        load_resources(write(tmp_path, "defaults: {nodes: 0}\nstages: {fid: {time: 0}, x: {}}"), STAGES)
    assert len(str(error.value).splitlines()) == 3


def test_our_own_file_is_right_for_the_stages_that_it_names() -> None:
    known = definitions(CLUSTER.parents[1] / "dvc.yaml")
    resources = load_resources(CLUSTER, known)
    assert resources["prepare"].gpus_per_node == 0
    assert all(one.gpus_per_node == one.world_size == 1 for name, one in resources.items() if name != "prepare")


def test_our_profile_for_the_private_cluster_fits_its_nodes() -> None:
    for asked in load_resources(CLUSTER, definitions(CLUSTER.parents[1] / "dvc.yaml"), "dev").values():
        assert Nodes(count=2, cpus=2, memory_mb=10000, gpus=0).fit(asked)
