"""`python -m slurm soak`: random faults at random times against a training on the development SLURM."""

import argparse
import math
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import StageError
from pipeline.root import find_root
from slurm.dev.cluster import DAEMONS, DevCluster
from slurm.soak.faults import FAULTS, Fault, title
from slurm.soak.victim import STAGE, Victim

LOOK_SECONDS = 0.5
PATIENCE = 40  # undisturbed times after which a training that has not ended is a failure

_ABOUT = f"""Trains a small {STAGE} on a private SLURM of this machine, over and over, while random faults befall it:
processes are killed and hang, nodes and the controller fail, jobs are cancelled, requeued and preempted, checkpoints
damaged. What fails is asked for again with the same command. Each result must have the bytes of an undisturbed run, and
each loss point must be in MLflow once. Exit code 1 if anything was lost, doubled or other."""


@dataclass(kw_only=True)
class Score:
    """What a soak has seen."""

    undisturbed: float  # seconds of the training without faults
    trainings: int = 0
    seconds: float = 0.0  # of these trainings
    starts: int = 0  # of the command
    faults: Counter[str] = field(default_factory=Counter)
    other_bytes: int = 0
    double_jobs: int = 0
    lost_points: int = 0
    doubled_points: int = 0

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, doubled or other."""
        return not (self.other_bytes or self.double_jobs or self.lost_points or self.doubled_points)

    def lines(self) -> list[str]:
        """A Markdown table."""
        goodput = self.trainings * self.undisturbed / self.seconds if self.seconds else 0.0
        rows = {
            "trainings that ended": f"{self.trainings}",
            "seconds per training": f"{self.seconds / max(1, self.trainings):.0f}",
            "seconds without faults": f"{self.undisturbed:.0f}",
            "goodput (useful time / wall time)": f"{goodput:.2f}",
            "faults": f"{self.faults.total()}",
            **{f"- {name}": str(count) for name, count in sorted(self.faults.items())},
            "times the command was typed": f"{self.starts}",
            "results of other bytes": f"{self.other_bytes}",
            "two jobs at once": f"{self.double_jobs}",
            "loss points lost / twice": f"{self.lost_points} / {self.doubled_points}",
        }
        return ["| what | seen |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0, or 1 if anything was lost, doubled or other.

    Raises:
        StageError: there is no SLURM here, or a training never ends.
    """
    parser = argparse.ArgumentParser("python -m slurm soak", None, _ABOUT)
    parser.add_argument("--minutes", type=float, default=60.0, help="of faults; the last training ends later (60)")
    parser.add_argument(
        "--each", action="store_true", help="end once each kind of fault has befallen, if that is sooner"
    )
    parser.add_argument("--mtbf", type=float, default=60.0, help="mean seconds between two faults (60)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults' kinds and times (0)")
    given = parser.parse_args(arguments)
    root, rng = find_root(), random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="d2it-soak-") as folder:
        cluster = DevCluster(Path(folder) / "slurm")
        cluster.up(["KillWait=5"])
        try:
            victim = Victim.prepare(Path(folder) / "work", root, cluster)
            score = _soak(victim, 60 * given.minutes, given.mtbf, rng, each=given.each)
        finally:
            cluster.down()
    print("\n".join(score.lines()))
    return 0 if score.is_good else 1


def _soak(victim: Victim, seconds: float, mtbf: float, rng: random.Random, *, each: bool) -> Score:
    began = time.monotonic()
    score = Score(undisturbed=math.inf)
    _train(victim, score, mtbf=math.inf, rng=rng)
    expected = victim.weights()
    score = Score(undisturbed=time.monotonic() - began)
    print(f"undisturbed: {score.undisturbed:.0f} s", flush=True)
    faults_began = time.monotonic()
    while time.monotonic() - faults_began < seconds and not (each and len(score.faults) == len(FAULTS)):
        victim.forget()
        _train(victim, score, mtbf=mtbf, rng=rng, each=each)
        lost, doubled = victim.points()
        score.other_bytes += victim.weights() != expected
        score.lost_points += lost
        score.doubled_points += doubled
    return score


def _train(victim: Victim, score: Score, *, mtbf: float, rng: random.Random, each: bool = False) -> None:
    """Until the training has ended well, however often the command has to be typed.

    Raises:
        StageError: it never does.
    """
    began = now = time.monotonic()
    fault_at = began + _pause(mtbf, rng)
    victim.start()
    score.starts += 1
    while (code := victim.dvc.poll()) != 0:
        if now - began > PATIENCE * min(score.undisturbed, 60.0):
            raise StageError(f"{STAGE} has not ended in {now - began:.0f} s: {victim.folder / 'soak.log'}")
        if code is not None:
            victim.start()
            score.starts += 1
        if now >= fault_at:
            if faults := [fault for fault in FAULTS if not each or title(fault) not in score.faults]:
                _befall(victim, score, rng.choice(faults))
            fault_at = time.monotonic() + _pause(mtbf, rng)
        score.double_jobs += len(victim.jobs()) > 1
        time.sleep(LOOK_SECONDS)
        now = time.monotonic()
    score.trainings += 1
    score.seconds += now - began


def _pause(mtbf: float, rng: random.Random) -> float:
    """Seconds to the next fault."""
    return math.inf if math.isinf(mtbf) else rng.expovariate(1 / mtbf)


def _befall(victim: Victim, score: Score, fault: Fault) -> None:
    step = victim.newest_step()
    try:
        if not fault(victim):
            return
    except ProcessLookupError:  # dvc has just ended
        return
    score.faults[title(fault)] += 1
    print(f"training {score.trainings + 1}, after step {step}: {title(fault)}", flush=True)
    _mend(victim.cluster)


def _mend(cluster: DevCluster) -> None:
    """SLURM itself is whole after a fault; jobs are not touched."""
    for daemon in DAEMONS:
        if cluster.pid(daemon) is None:
            cluster.start(daemon)
    for node in cluster.run("sinfo", "--noheader", "--Node", "--format=%N", "--states=down,drain,fail").stdout.split():
        cluster.run("scontrol", "update", f"nodename={node}", "state=resume")
