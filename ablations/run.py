"""Queue a table's experiments in DVC, start its workers, and wait: what exists is not run again.

DVC's workers are processes of their own. Ending this one stops nothing; the same command again waits on.
"""

import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ablations import experiments
from ablations.experiments import State, Task
from ablations.plan import Experiment, Plan
from d2it.cost.rate import Rate, assumed
from d2it.params.load import load_params
from d2it.params.sections import Params
from pipeline.dag import definitions
from pipeline.key import hashes_of_params

SHORTEST, LONGEST = 3.0, 30.0  # seconds between two looks at the queue; each costs a second of CPU
PATIENCE = 8  # looks without a worker before workers are started again, or at an experiment that DVC does not show
RESTARTS = 3
TRIES = 2  # of each experiment: two that start at once can trip over each other in DVC, or a node can fail


@dataclass
class TableProgress:
    """Where experiments stand."""

    wanted: tuple[Experiment, ...]
    states: dict[str, tuple[str, State]] = field(default_factory=dict)  # identity -> name under which it exists, state

    def look(self, root: Path, tasks: Iterable[Task]) -> None:
        """Take over what DVC knows."""
        known = experiments.known(experiments.done(root), tasks)
        self.states = {one.identity: known.get(one.identity, (one.name, "missing")) for one in self.wanted}

    def of(self, *states: State) -> list[str]:
        """Names of the experiments in one of these states."""
        return [name for name, state in self.states.values() if state in states]

    def line(self, seconds: float) -> str:
        """All in one line."""
        parts = [f"{len(self.of('done'))} of {len(self.wanted)} done"]
        if running := self.of("running"):
            parts.append(f"running: {', '.join(running)}")
        others: tuple[State, ...] = ("queued", "failed", "missing")
        parts += [f"{len(self.of(state))} {state}" for state in others if self.of(state)]
        return f"{'; '.join(parts)} ({seconds / 60:.0f} min)"


def run_tables(
    plans: Sequence[Plan], root: Path, *, jobs: int, only: Sequence[str] = (), dry_run: bool = False,
    rate: Rate | None = None,
) -> int:  # fmt: skip
    """Run what is missing of some tables; see `run_experiments`.

    `only`: labels of settings or names of experiments, all if empty.
    """
    print_left_out(plans)
    return run_experiments(_wanted(plans, only), root, jobs=jobs, dry_run=dry_run, rate=rate)


def print_left_out(plans: Iterable[Plan]) -> None:
    """One line for each setting that its preset cannot have."""
    for plan in plans:
        for row in plan.rows:
            if row.refused:
                print(f"{plan.table.name}: {row.label}: left out with preset {plan.base}: {row.refused}")


def run_experiments(
    wanted: Sequence[Experiment], root: Path, *, jobs: int, dry_run: bool = False, rate: Rate | None = None
) -> int:
    """Run what is missing, the failed included, `jobs` at a time; returns 0 if nothing has failed.

    First it says what that costs. What fails is tried once more after the others: stages that had ended well are not
    run again.

    Args:
        wanted: experiments, each once.
        root: of the repository.
        jobs: experiments at a time.
        dry_run: print dvc's commands, and do nothing.
        rate: that a GPU reaches; the assumed one if not given.

    Raises:
        StageError: dvc does not do what it is asked.
        ParamsError: params.yaml, in which dvc makes the changes, is wrong.
    """
    workspace = load_params(root / "params.yaml")
    progress, queue = TableProgress(tuple(wanted)), experiments.queue(root)
    progress.look(root, queue.tasks)
    todo = [one for one in wanted if progress.states[one.identity][1] in ("missing", "failed")]
    exist = len(wanted) - len(todo)
    print(f"{len(wanted)} experiments: {exist} exist or are under way, {len(todo)} to run", flush=True)
    if todo:
        _warn_of_lock(todo, workspace, root)
        _print_cost(todo, [one for one in wanted if one not in todo], root, rate)
    if dry_run:
        commands = [["dvc", *experiments.add_command(one.name, one.overrides(workspace))] for one in todo]
        for command in [*commands, ["dvc", "queue", "start", "--jobs", str(jobs)]] if todo else []:
            print(shlex.join(command))
        return 0
    try:
        _run(root, progress, todo, tasks=queue.tasks, workspace=workspace, jobs=jobs)
    except KeyboardInterrupt:
        print("\nNobody waits, but DVC's workers go on; the same command waits again. dvc queue kill --help",
              file=sys.stderr)  # fmt: skip
        return 130
    if not_done := progress.of("failed", "missing", "queued", "running"):
        print(f"not done: {', '.join(not_done)}; the same command runs them again", file=sys.stderr)
    return 1 if not_done else 0


def _warn_of_lock(todo: Sequence[Experiment], workspace: Params, root: Path) -> None:
    """DVC takes what dvc.lock records for what a stage gives, and looks for no other run of it."""
    stages, stage = definitions(root / "dvc.yaml"), "train_dvae"
    recorded = hashes_of_params(workspace, stages)[stage]
    same = sum(hashes_of_params(one.params, stages)[stage] == recorded for one in todo)
    if same > 1 and any(Path(path).parts[1] == stage for path in experiments.lacking_outputs(root)):
        print(f"dvc.lock records a DVAE that is not in this machine's cache, and {same} experiments would each train "
              "it anew: `dvc repro` first trains it once", file=sys.stderr)  # fmt: skip


def _print_cost(todo: Sequence[Experiment], others: Sequence[Experiment], root: Path, rate: Rate | None) -> None:
    from ablations.cost import cost  # imports torch

    print(cost(todo, others, root).line(rate or assumed()), flush=True)


def _wanted(plans: Sequence[Plan], only: Sequence[str]) -> tuple[Experiment, ...]:
    chosen: dict[str, Experiment] = {}
    for plan in plans:
        labels = {e.identity: row.label for row in plan.rows for e in row.experiments}
        for one in plan.experiments:
            if not only or labels[one.identity] in only or one.name in only:
                chosen.setdefault(one.identity, one)
    return tuple(chosen.values())


def _run(
    root: Path, progress: TableProgress, todo: Sequence[Experiment], *, tasks: Sequence[Task], workspace: Params,
    jobs: int,
) -> None:  # fmt: skip
    for left in range(TRIES - 1, -1, -1):
        if not (todo or progress.of("queued", "running")):
            return
        _add(root, todo, tasks, workspace)
        experiments.dvc(root, "queue", "start", "--jobs", str(jobs))
        tasks = _wait(root, progress, jobs)
        todo = [one for one in progress.wanted if progress.states[one.identity][1] == "failed"]
        for name in progress.of("failed"):
            reason, again = experiments.why(root, name), "; it is tried once more" if left else ""
            print(f"failed: {name}: {reason}; all of it: dvc queue logs {name}{again}", file=sys.stderr)


def _add(root: Path, todo: Sequence[Experiment], tasks: Sequence[Task], workspace: Params) -> None:
    for number, one in enumerate(todo, 1):
        for task in tasks:
            if task.name == one.name and task.state == "failed":
                experiments.dvc(root, "queue", "remove", task.id)
        experiments.dvc(root, *experiments.add_command(one.name, one.overrides(workspace)))
        print(f"queued {number} of {len(todo)}: {one.name}", flush=True)


def _wait(root: Path, progress: TableProgress, jobs: int) -> tuple[Task, ...]:
    """The queue when no experiment is queued or runs, however long that takes; print each change in one line."""
    before: dict[str, tuple[str, State]] = {}
    began, alone, unseen, restarts = time.monotonic(), 0, 0, 0
    while True:
        queue = experiments.queue(root)
        progress.look(root, queue.tasks)
        seconds = time.monotonic() - began
        if progress.states != before:
            before = progress.states
            print(progress.line(seconds), flush=True)
        if not progress.of("queued", "running"):
            unseen += 1  # between its places as queued and as running an experiment is in neither
            if not progress.of("missing") or unseen == PATIENCE:
                return queue.tasks
        else:
            unseen = 0
        alone = 0 if queue.workers else alone + 1
        if alone >= PATIENCE:  # the workers were killed, or the machine was started anew
            if restarts == RESTARTS:
                print("DVC's workers end without working; see .dvc/tmp/exps/celery and dvc queue status",
                      file=sys.stderr)  # fmt: skip
                return queue.tasks
            restarts, alone = restarts + 1, 0
            experiments.dvc(root, "queue", "start", "--jobs", str(jobs))
        time.sleep(min(LONGEST, max(SHORTEST, seconds / 20)))
