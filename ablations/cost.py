"""What experiments will cost, before they are queued: a stage that several of them share is counted once."""

from collections.abc import Iterable
from pathlib import Path

from ablations.plan import Experiment
from d2it.cost.data_size import DataSize, data_size
from d2it.cost.rate import Rate
from d2it.cost.stages import STAGES, stage_costs
from d2it.params.sections import DataParams
from pipeline.dag import definitions
from pipeline.key import hashes_of_params


def cost_line(todo: Iterable[Experiment], others: Iterable[Experiment], root: Path, rate: Rate) -> str:
    """Operations and hours of `todo`, without the stages that `others`, which exist or are under way, have made."""
    stages = definitions(root / "dvc.yaml")
    counted = {hash_ for one in others for hash_ in hashes_of_params(one.params, stages).values()}
    sizes: dict[DataParams, DataSize] = {}
    operations = seconds = 0.0
    for one in todo:
        data = one.params.data
        sizes[data] = sizes.get(data) or data_size(data, root)[0]
        hashes = hashes_of_params(one.params, stages)
        new = [stage for stage in STAGES if hashes[stage] not in counted]
        counted.update(hashes.values())
        for cost in stage_costs(one.params, sizes[data], new):
            operations += cost.operations
            seconds += rate.seconds(cost.bfloat16, cost.float32)
    return (
        f"to compute: {operations / 1e18:.3g} EFLOP, shared stages once: {seconds / 3600:.3g} hours of a GPU at "
        f"{rate.bfloat16 / 1e12:.0f} TFLOP/s in bfloat16 and {rate.float32 / 1e12:.0f} in float32 ({rate.origin})"
    )
