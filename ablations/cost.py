"""What experiments will cost, before they are queued: a stage that several of them share is counted once."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ablations.links import Runs
from ablations.plan import Experiment
from d2it.cost.data_size import DataSize, data_size
from d2it.cost.rate import Rate
from d2it.cost.stages import STAGES, StageCost, stage_costs
from d2it.params.sections import DataParams, Params
from pipeline.dag import definitions
from pipeline.key import hashes_of_params


class Cost(NamedTuple):
    """Operations, FLOP, by the precision in which they are made."""

    bfloat16: float
    float32: float

    @property
    def operations(self) -> float:
        """In both."""
        return self.bfloat16 + self.float32

    def line(self, rate: Rate) -> str:
        """Operations and hours, in words."""
        return (
            f"to compute: {self.operations / 1e18:.3g} EFLOP, shared stages once: {rate.seconds(*self) / 3600:.3g} "
            f"hours of a GPU at {rate.bfloat16 / 1e12:.3g} TFLOP/s in bfloat16 and {rate.float32 / 1e12:.3g} in "
            f"float32 ({rate.origin})"
        )


def cost(todo: Iterable[Experiment], others: Iterable[Experiment], root: Path) -> Cost:
    """Of `todo`, without the stages that `others`, which exist or are under way, have made."""
    stages = definitions(root / "dvc.yaml")
    counted = {hash_ for one in others for hash_ in hashes_of_params(one.params, stages).values()}
    sizes: dict[DataParams, DataSize] = {}
    bfloat16 = float32 = 0.0
    for one in todo:
        data = one.params.data
        sizes[data] = sizes.get(data) or data_size(data, root)[0]
        hashes = hashes_of_params(one.params, stages)
        new = [stage for stage in STAGES if hashes[stage] not in counted]
        counted.update(hashes.values())
        any_seed = one.params.model_copy(update={"seed": 0}).model_dump_json()
        for stage in new:
            of_stage = _stage_cost(stage, any_seed, sizes[data])
            bfloat16, float32 = bfloat16 + of_stage.bfloat16, float32 + of_stage.float32
    return Cost(bfloat16, float32)


@cache
def _stage_cost(stage: str, params: str, data: DataSize) -> StageCost:
    """`params`: as JSON, by which counts are kept."""
    return stage_costs(Params.model_validate_json(params), data, [stage])[0]


def spent_hours(experiments: Iterable[Experiment], runs: Runs, root: Path) -> dict[str, float]:
    """`gpu` and `cpu` hours that MLflow has of experiments, a shared stage once; those that it has."""
    stages = definitions(root / "dvc.yaml")
    hours: dict[tuple[str, str], float] = {}  # kind, stage's hash
    for one in experiments:
        numbers = runs.numbers.get(one.name, {})
        for stage, hash_ in hashes_of_params(one.params, stages).items():
            for kind in ("gpu", "cpu"):
                if (value := numbers.get(f"{stage}.{kind}_hours")) is not None:
                    hours[kind, hash_] = value
    sums = {kind: sum(value for (of, _), value in hours.items() if of == kind) for kind in ("gpu", "cpu")}
    return {kind: value for kind, value in sums.items() if value > 0}
