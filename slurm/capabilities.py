"""What a cluster can give, from one call of sinfo; and requests that it never could, refused before they are submitted.

SLURM itself takes some of them, and leaves the job in the queue for ever.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import StageError
from slurm.cluster import Resources
from slurm.environment import call

ANSWER_SECONDS = 2.0
_FORMAT = "%P|%a|%l|%s|%D|%c|%m|%G"


@dataclass(frozen=True)
class Nodes:
    """The identical nodes of a partition."""

    count: int
    cpus: int
    memory_mb: int
    gpus: int

    def fit(self, resources: Resources) -> bool:
        """Whether one of them has what `resources` ask for per node."""
        return (
            self.cpus >= cpus_per_node(resources)
            and self.memory_mb >= memory_mb(resources)
            and self.gpus >= resources.gpus_per_node
        )


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A partition, whatever the state of its nodes."""

    name: str
    is_default: bool
    state: str  # 'up' where jobs of it start
    max_minutes: float
    max_nodes: float  # of one job
    nodes: tuple[Nodes, ...]


def cpus_per_node(asked: Resources) -> int:
    """CPU cores that a job takes on each node."""
    return asked.tasks_per_node * asked.cpus_per_task


def memory_mb(asked: Resources) -> int:
    """Memory that a job takes on each node, in SLURM's MB (MiB)."""
    return int(1024 * asked.mem_gb)


def partitions() -> dict[str, Partition] | None:
    """All partitions by name; None where SLURM does not answer within two seconds."""
    done = call("sinfo", "--noheader", "--all", "--exact", f"--format={_FORMAT}", seconds=ANSWER_SECONDS)
    return parse_sinfo(done.stdout) if done and done.returncode == 0 else None


def parse_sinfo(text: str) -> dict[str, Partition]:
    """The output of sinfo in the format of `partitions`: one line for the identical nodes of a partition."""
    parsed: dict[str, Partition] = {}
    for line in text.splitlines():
        title, state, time, size, count, cpus, memory, gres = line.split("|", 7)
        name = title.removesuffix("*")
        others = parsed[name].nodes if name in parsed else ()
        nodes = Nodes(int(count), _number(cpus), _number(memory), _gpus(gres))
        parsed[name] = Partition(
            name=name, is_default=title.endswith("*"), state=state, max_minutes=_minutes(time), max_nodes=_most(size),
            nodes=(*others, nodes),
        )  # fmt: skip
    return parsed


def refuse_impossible(stage: str, resources: Resources) -> None:
    """Compare a request with the cluster; nothing is refused where SLURM does not answer at once.

    Raises:
        StageError: the cluster can never run this job; one line per reason.
    """
    known = partitions()
    lines = list(complaints(resources, known)) if known else []
    if lines:
        raise StageError("\n".join(f"slurm/cluster.yaml: {stage}: {line}" for line in lines))


def complaints(asked: Resources, known: dict[str, Partition]) -> list[str]:
    """Why the cluster can never run a job that asks for this, one line per reason; empty if it can."""
    if asked.partition is None:
        names = [partition.name for partition in known.values() if partition.is_default]
    else:
        names = asked.partition.split(",")  # sbatch accepts several, of which one must fit
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
    if asked.qos is None:  # a quality of service may lift these limits
        if asked.nodes > partition.max_nodes:
            yield f"nodes = {asked.nodes}: {where} gives a job at most {partition.max_nodes:g}"
        if asked.time > partition.max_minutes:
            yield f"time = {asked.time} minutes: {where} allows at most {partition.max_minutes:g}"


def _number(text: str) -> int:
    return int(text.rstrip("+"))


def _gpus(gres: str) -> int:
    """GPUs in 'gpu:a100:4(S:0-1),gpu:2,shard:8'."""
    counts = re.findall(r"(?:^|,)gpu(?::[^,:()]*[^,:()\d][^,:()]*)?(?::(\d+))?(?=[,(]|$)", gres)
    return sum(int(count or 1) for count in counts)


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
