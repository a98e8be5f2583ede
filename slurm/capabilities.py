"""What a cluster can give, from one call of sinfo; and requests that it never could, refused before they are submitted.

SLURM itself takes some of them, and leaves the job in the queue for ever.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import StageError
from slurm.cluster import Resources

ANSWER_SECONDS = 2.0
_FORMAT = "%P|%a|%l|%s|%D|%c|%m|%G"


@dataclass(frozen=True)
class Nodes:
    """Nodes of a partition that are alike."""

    count: int
    cpus: int
    memory_mb: int
    gpus: int

    def fit(self, asked: Resources) -> bool:
        """Whether one of them can hold what `asked` wants of a node."""
        return (
            self.cpus >= cpus_per_node(asked)
            and self.memory_mb >= memory_mb(asked)
            and self.gpus >= asked.gpus_per_node
        )


@dataclass(frozen=True)
class Partition:
    """A partition, whatever the state of its nodes."""

    name: str
    is_default: bool
    state: str  # 'up' where jobs of it start
    max_minutes: float
    max_nodes: float  # of one job
    nodes: tuple[Nodes, ...]


def cpus_per_node(asked: Resources) -> int:
    """CPU cores that a job takes of each node."""
    return asked.tasks_per_node * asked.cpus_per_task


def memory_mb(asked: Resources) -> int:
    """Memory that a job takes of each node, in SLURM's MB (MiB)."""
    return int(1024 * asked.mem_gb)


def partitions() -> dict[str, Partition] | None:
    """All partitions by name; None where SLURM does not answer at once."""
    command = ["sinfo", "--noheader", "--all", "--exact", f"--format={_FORMAT}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse(done.stdout) if done.returncode == 0 else None


def parse(text: str) -> dict[str, Partition]:
    """What sinfo says, in the format of `partitions`: a line for all nodes of a partition that are alike."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        title, state, time, size, count, cpus, memory, gres = line.split("|", 7)
        name = title.removesuffix("*")
        before = found[name].nodes if name in found else ()
        nodes = Nodes(int(count), _number(cpus), _number(memory), _gpus(gres))
        found[name] = Partition(
            name=name,
            is_default=title.endswith("*"),
            state=state,
            max_minutes=_minutes(time),
            max_nodes=_most(size),
            nodes=(*before, nodes),
        )
    return found


def refuse_impossible(stage: str, resources: Resources) -> None:
    """Compare a request with the cluster; nothing is refused where SLURM does not answer at once.

    Raises:
        StageError: the cluster can never run this job; a line for each reason.
    """
    known = partitions()
    lines = list(complaints(resources, known)) if known else []
    if lines:
        raise StageError("\n".join(f"slurm/cluster.yaml: {stage}: {line}" for line in lines))


def complaints(asked: Resources, known: dict[str, Partition]) -> list[str]:
    """Why the cluster can never run a job that asks for this, a line a reason; empty if it can."""
    if asked.partition is None:
        names = [partition.name for partition in known.values() if partition.is_default]
    else:
        names = asked.partition.split(",")  # sbatch takes several, of which one must do
    if unknown := [name for name in names if name not in known]:
        return [f"partition = {unknown[0]!r}: no such partition; allowed: {', '.join(known)}"]
    reasons = [list(_reasons(asked, known[name])) for name in names]
    return min(reasons, key=len, default=[])


def _reasons(asked: Resources, partition: Partition) -> Iterator[str]:
    where = f"partition {partition.name!r}"
    needs = {
        "gpus_per_node": (asked.gpus_per_node, max(kind.gpus for kind in partition.nodes)),
        "tasks_per_node * cpus_per_task": (cpus_per_node(asked), max(kind.cpus for kind in partition.nodes)),
        "mem_gb": (asked.mem_gb, max(kind.memory_mb for kind in partition.nodes) * 10 // 1024 / 10),
    }
    too_much = {key: (wanted, most) for key, (wanted, most) in needs.items() if wanted > most}
    for key, (wanted, most) in too_much.items():
        yield f"{key} = {wanted:g}: no node of {where} has more than {most:g}"
    fitting = sum(kind.count for kind in partition.nodes if kind.fit(asked))
    if not too_much and asked.nodes > fitting:
        yield f"nodes = {asked.nodes}: {where} has {fitting} of such nodes"
    if asked.qos is None:  # a quality of service may lift what follows
        if asked.nodes > partition.max_nodes:
            yield f"nodes = {asked.nodes}: {where} gives a job at most {partition.max_nodes:g}"
        if asked.time > partition.max_minutes:
            yield f"time = {asked.time} minutes: {where} allows at most {partition.max_minutes:g}"


def _number(text: str) -> int:
    return int(text.rstrip("+"))


def _gpus(gres: str) -> int:
    """GPUs in 'gpu:a100:4(S:0-1),gpu:2,shard:8'."""
    found = re.findall(r"(?:^|,)gpu(?::[^,:()]*[^,:()\d][^,:()]*)?(?::(\d+))?(?=[,(]|$)", gres)
    return sum(int(count or 1) for count in found)


def _minutes(text: str) -> float:
    """SLURM's [[days-]hours:]minutes:seconds."""
    clock = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", text)
    if clock is None:
        return float("inf")  # infinite, n/a
    days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
    return 1440 * days + 60 * hours + minutes + seconds / 60


def _most(size: str) -> float:
    """Upper end of '1-infinite', '2-4' or '1'."""
    last = size.rpartition("-")[2]
    return float(last) if last.isdigit() else float("inf")
