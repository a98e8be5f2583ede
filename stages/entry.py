"""What a job runs: one stage, from checked params to metrics.json."""

import importlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from d2it.device import pick_device
from d2it.files import write_text
from d2it.params.load import load_params
from d2it.params.sections import Params
from d2it.ranks.ranks import Ranks
from pipeline.dag import definition
from pipeline.downloads import weights_folder
from pipeline.errors import StageError
from pipeline.key import stage_key, trunk_key
from pipeline.lock import alone
from pipeline.root import find_root
from stages.stage import NAMES, Report, Stage
from tracking.tracker import Tracker

if TYPE_CHECKING:
    from stages.judge import Judge


def run(
    name: str, key: str | None = None, ranks: Ranks | None = None, on_result: Callable[[], None] = lambda: None
) -> None:
    """Run one stage in the current folder, the workspace, and leave its results in outputs/<name>/.

    Checkpoints stay in the scratch folder under `.d2it/`, until whoever asked for the stage has its result.

    Args:
        name: of the stage.
        key: the stage's key, if the caller has computed it.
        ranks: this process among those that run the stage together; the only one by default.
        on_result: called once the result is whole; MLflow is waited for after that, and no wish to stop undoes it.

    Raises:
        ParamsError: params.yaml cannot be used; nothing has been written.
        StageError: unknown stage, missing input, a stage that runs already, or a final number that is not finite.
        Stopped: this process was asked to end.
    """
    params, main, ranks = load_params(), _main_of(name), ranks or Ranks()
    root, key = find_root(), key or stage_key(name)
    outputs, scratch = Path("outputs"), root / ".d2it" / "scratch" / f"{name}-{key[:16]}"
    shared = trunk_key(name)
    trunk = root / ".d2it" / "trunks" / f"{name}-{shared[:16]}" if shared else None

    device, judge = pick_device(), None
    if params.preview_metrics and name.startswith("train_") and ranks.rank == 0:
        judge = _judge(params, device)

    def stage(report: Report) -> Stage:
        return Stage(
            name=name, params=params, outputs=outputs, scratch=scratch, weights=weights_folder(),
            device=device, ranks=ranks, report=report, trunk=trunk, judge=judge,
        )  # fmt: skip

    if ranks.rank:
        ranks.barrier()  # until rank 0 has made the folders
        main(stage(_no_report))
        return
    with alone(root, name, key):
        clear(outputs / name, keep=definition(name).persistent)
        scratch.mkdir(parents=True, exist_ok=True)
        ranks.barrier()
        with ExitStack() as kept, Tracker.open(stage=name, key=key, params=params, root=root) as tracker:
            metrics = main(stage(tracker.report))
            kept.enter_context(ranks.stop.between_steps())
            write_metrics(outputs / name / "metrics.json", metrics)
            on_result()
            tracker.finish(metrics)


def _judge(params: Params, device: torch.device) -> "Judge":
    from stages.judge import Judge  # its networks take seconds to import

    return Judge(params, Path("outputs"), weights_folder(), device)


def _no_report(
    step: int, numbers: Mapping[str, float], pictures: Mapping[str, NDArray[np.uint8]] | None = None
) -> None:
    """The report of all ranks but 0."""


def _main_of(name: str) -> Callable[[Stage], Mapping[str, float]]:
    if name not in NAMES:
        raise StageError(f"unknown stage {name!r}; allowed: {', '.join(NAMES)}")
    main: Callable[[Stage], Mapping[str, float]] = importlib.import_module(f"stages.{name}").main
    return main


def clear(folder: Path, keep: Iterable[str]) -> None:
    """Create `folder`, or empty it but for the files and folders `keep`, given as paths from the workspace."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = [Path(path) for path in keep]
    for path in sorted(folder.rglob("*"), reverse=True):  # children before their folder
        if any(path == one or one in path.parents for one in kept):
            continue
        if not path.is_dir() or path.is_symlink():
            path.unlink()
        elif not any(path.iterdir()):
            path.rmdir()


def write_metrics(path: Path, metrics: Mapping[str, float]) -> None:
    """Write numbers as JSON, sorted by name.

    Raises:
        StageError: a number is not finite, which JSON cannot hold.
    """
    wrong = [f"{name} = {value}" for name, value in metrics.items() if not math.isfinite(value)]
    if wrong:
        raise StageError(f"{path}: {', '.join(wrong)}: must be finite")
    write_text(path, json.dumps(dict(metrics), sort_keys=True, indent=2) + "\n")
