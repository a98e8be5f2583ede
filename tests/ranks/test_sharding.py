"""Sharded weights: what ranks train together, each holding a part, is what one process trains."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from benchmarks.content_training import CLASSES
from d2it.cost.synthetic import write_latents
from d2it.data.latents import Latents
from d2it.diffusion.schedule import linear_schedule
from d2it.objectives.content import ContentTraining
from d2it.params.architecture import content_arguments
from d2it.ranks.ranks import Ranks
from d2it.ranks.sharding import shard, sharded_as, whole
from d2it.seeds import TrainingSeeds
from d2it.training.checkpoints import Checkpoints
from d2it.training.transformer import train_transformer
from d2it.transformer.content import DynamicContentTransformer
from tests.smallest import changed

ROWS = 32


def trained(
    folder: Path, checkpoints: Path, ranks: Ranks, *, precision: str = "float32", images: int = 64
) -> dict[str, Tensor]:
    """Averaged weights of a content transformer; among several ranks it is sharded. Micro-batches of 2 images."""
    params = changed({"content_transformer.dropout": 0.0, "content_transformer.precision": precision,
                      "content_transformer.images": images})  # fmt: skip
    torch.manual_seed(0)
    model = DynamicContentTransformer(**content_arguments(params, CLASSES))
    latents, schedule = Latents(folder / "latents"), linear_schedule(**params.diffusion.schedule)
    training = ContentTraining(model, latents, params, schedule=schedule, scale=1.0)
    averaged, curve = train_transformer(
        model, training.loss, name="content", read=training.read, params=params.content_transformer, micro_batch=2,
        rows=ROWS, seeds=TrainingSeeds(0, 0, 0), checkpoints=Checkpoints(checkpoints), report=lambda *_: None,
        ranks=ranks, sharded=True,
    )  # fmt: skip
    numbers = torch.tensor([[point["loss"], point["content_gradient_norm"]] for point in curve])
    return {name: x.detach().clone() for name, x in averaged.state_dict().items()} | {"curve": numbers}


def _rank(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=size)
    ranks = Ranks(rank, size)
    results: dict[str, Any] = {
        "whole run": trained(folder, folder / "together", ranks),
        "bfloat16": trained(folder, folder / "together, bfloat16", ranks, precision="bfloat16"),
        "gone on": trained(folder, folder / "alone first", ranks),
    }
    trained(folder, folder / "together first", ranks, images=32)
    torch.manual_seed(0)
    layer = torch.nn.Linear(6, 5)
    before = {name: x.detach().clone() for name, x in layer.state_dict().items()}
    shard(layer, precision="float32")
    parts = layer.state_dict()
    results["same"] = all(torch.equal(whole(parts[name]), x) for name, x in before.items())
    results["part"] = all(torch.equal(whole(sharded_as(x, parts[name])), x) for name, x in before.items())
    results["share"] = parts["weight"].to_local().shape[0]
    torch.save(results, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.exhaustive)])
def test_ranks_that_share_the_weights_train_as_one_process_and_go_on_from_its_checkpoints(
    tmp_path: Path, size: int
) -> None:
    """Also where one rank's images have no fine region, and the other way round."""
    write_latents(tmp_path / "latents", changed({}), ROWS)
    expected = trained(tmp_path, tmp_path / "alone", Ranks())
    halves = trained(tmp_path, tmp_path / "alone, bfloat16", Ranks(), precision="bfloat16")
    trained(tmp_path, tmp_path / "alone first", Ranks(), images=32)
    mp.spawn(_rank, (size, tmp_path), nprocs=size)
    for rank in range(size):
        results = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        assert results["same"]
        assert results["part"]
        assert results["share"] == {2: (3, 2), 4: (2, 2, 1, 0)}[size][rank]
        torch.testing.assert_close(results["whole run"], expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(results["gone on"], expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(results["bfloat16"], halves, atol=2e-3, rtol=0.02)
    alone = trained(tmp_path, tmp_path / "together first", Ranks())
    torch.testing.assert_close(alone, expected, atol=1e-5, rtol=1e-4)
