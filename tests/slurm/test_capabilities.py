"""A request that the cluster can never meet is refused before it is submitted."""

import stat
from pathlib import Path

import pytest

from pipeline.errors import StageError
from slurm.capabilities import complaints, parse_sinfo, refuse_impossible
from slurm.cluster import Resources
from tests.slurm.cluster import Cluster

# partition, state, time limit, nodes of a job, number, CPUs, MB, GRES: what `sinfo --exact` prints
SINFO = """\
cpu*|up|1-00:00:00|1-infinite|10|64|256000|(null)
gpu|up|2:00:00|1-4|6|32|128000|gpu:a100:4(S:0-1)
gpu|up|2:00:00|1-4|2|128|1024000|gpu:h100:2,gpu:l4:6,shard:8
fat|up|infinite|1-infinite|1|16|4096000|gpu
"""
KNOWN = parse_sinfo(SINFO)


def test_the_output_of_sinfo_is_understood() -> None:
    assert [(one.name, one.is_default) for one in KNOWN.values()] == [("cpu", True), ("gpu", False), ("fat", False)]
    assert [one.max_minutes for one in KNOWN.values()] == [1440, 120, float("inf")]
    assert [one.max_nodes for one in KNOWN.values()] == [float("inf"), 4, float("inf")]
    assert [[(n.count, n.cpus, n.memory_mb, n.gpus) for n in one.nodes] for one in KNOWN.values()] == [
        [(10, 64, 256000, 0)],
        [(6, 32, 128000, 4), (2, 128, 1024000, 8)],
        [(1, 16, 4096000, 1)],
    ]


@pytest.mark.parametrize(
    "asked",
    [
        Resources(nodes=10, cpus_per_task=64, mem_gb=250, time=1440),
        Resources(partition="gpu", gpus_per_node=8, cpus_per_task=16, mem_gb=1000, nodes=2),
        Resources(partition="gpu", gpus_per_node=4, nodes=4, time=120),
        Resources(partition="cpu,gpu", gpus_per_node=4),  # one of several must do
        Resources(
            partition="gpu", nodes=8, time=2880, qos="long"
        ),  # a quality of service may lift a partition's limits
    ],
)
def test_what_the_cluster_can_give_is_not_refused(asked: Resources) -> None:
    assert complaints(asked, KNOWN) == []


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (Resources(partition="gpus"), "partition = 'gpus': no such partition; allowed: cpu, gpu, fat"),
        (Resources(gpus_per_node=1), "gpus_per_node = 1: no node of partition 'cpu' has more than 0"),
        (Resources(partition="gpu", gpus_per_node=9), "gpus_per_node = 9: no node of partition 'gpu' has more than 8"),
        (
            Resources(tasks_per_node=5, cpus_per_task=13),
            "tasks_per_node * cpus_per_task = 65: no node of partition 'cpu'",
        ),
        (Resources(mem_gb=251), "mem_gb = 251: no node of partition 'cpu' has more than 250"),
        (Resources(nodes=11), "nodes = 11: partition 'cpu' has 10 of such nodes"),
        (
            Resources(partition="gpu", gpus_per_node=5, nodes=3),
            "nodes = 3: partition 'gpu' has 2 of such nodes",
        ),
        (Resources(partition="gpu", nodes=5), "nodes = 5: partition 'gpu' gives a job at most 4"),
        (Resources(partition="gpu", time=121), "time = 121 minutes: partition 'gpu' allows at most 120"),
        (
            Resources(partition="fat,cpu", gpus_per_node=2),
            "gpus_per_node = 2: no node of partition 'fat' has more than 1",
        ),
    ],
)
def test_what_it_never_can_is_one_line_that_names_what_is_allowed(asked: Resources, line: str) -> None:
    (complaint,) = complaints(asked, KNOWN)
    assert complaint.startswith(line)


@pytest.mark.parametrize("program", [None, "exit 1", "exec sleep 30"])
def test_a_cluster_that_does_not_answer_at_once_refuses_nothing(
    program: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slurm.capabilities.ANSWER_SECONDS", 0.5)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin" if program else str(tmp_path))
    if program:
        (tmp_path / "sinfo").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "sinfo").chmod(stat.S_IRWXU)
    refuse_impossible("fid", Resources(partition="none_such"))


@pytest.mark.slurm
def test_a_real_cluster_is_asked(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    refuse_impossible("fid", Resources(partition="high", nodes=2, cpus_per_task=2, mem_gb=9))
    with pytest.raises(StageError) as error:
        refuse_impossible("fid", Resources(cpus_per_task=3, gpus_per_node=1, mem_gb=10))
    assert str(error.value).splitlines() == [
        "slurm/cluster.yaml: fid: gpus_per_node = 1: no node of partition 'low' has more than 0",
        "slurm/cluster.yaml: fid: tasks_per_node * cpus_per_task = 3: no node of partition 'low' has more than 2",
        "slurm/cluster.yaml: fid: mem_gb = 10: no node of partition 'low' has more than 9.7",
    ]
    with pytest.raises(StageError, match="partition = 'gpu': no such partition; allowed: low, high"):
        refuse_impossible("fid", Resources(partition="gpu"))
