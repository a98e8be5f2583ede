"""The discriminator alone and in data-parallel training: two real processes, PyTorch's wrapper and our own loop."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from d2it.data.photos import Photos
from d2it.data.shards import ShardWriter
from d2it.dvae.discriminator import PatchDiscriminator, adaptive_weight, hinge_loss, last_layer_gradients
from d2it.dvae.model import DynamicVAE
from d2it.objectives.dvae import DVAETraining
from d2it.params.load import load_params
from d2it.ranks.ranks import Ranks
from d2it.seeds import TrainingSeeds
from d2it.training.checkpoints import Checkpoints
from d2it.training.loop import train
from d2it.training.run import TrainingRun, Update
from tests.dvae.test_model import dvae
from tools.deps import ROOT

SIZE = 2  # ranks
START = 8  # images after which the discriminator joins
PARAMS = {
    "images": 48, "batch_size": 8, "warmup_images": 0, "cooldown_images": 0, "adversarial_weight": 1.0,
    "adversarial_start": START, "adversarial_warmup": 0, "log_images": 320, "checkpoint_images": 100,
}  # fmt: skip
IMAGES = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def pairs(rank: int) -> tuple[Tensor, Tensor]:
    """Real and fake images of a rank."""
    real = IMAGES[rank * 4 : rank * 4 + 4]
    return real, real.flip(3) * 0.5


def gradients(model: torch.nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def discriminator() -> PatchDiscriminator:
    torch.manual_seed(0)
    return PatchDiscriminator(8, 2)


def training(folder: Path, ranks: Ranks) -> tuple[DynamicVAE, PatchDiscriminator, list[Update], TrainingRun]:
    """Both updates of the stage train_dvae, with SGD: Adam makes much of the last digit of a gradient near zero."""
    model, adversary = dvae(), discriminator()
    model.thresholds = [0.0]
    params = load_params(ROOT / "params.yaml").dvae.model_copy(update=PARAMS)
    run = TrainingRun(
        params=params, micro_batch=3 if ranks.size == 1 else 2, rows=8, seeds=TrainingSeeds(0, 0, 0),
        device=torch.device("cpu"), checkpoints=Checkpoints(folder), report=lambda *_: None, label="toy", ranks=ranks,
    )  # fmt: skip
    photos = Photos(prepared(folder), flip=False)
    made = DVAETraining(model, adversary, params, photos=photos, run=run, perceptual=None)
    updates = [
        replace(update, optimizer=torch.optim.SGD(update.model.parameters(), 0.1), learning_rate=0.1)
        for update in made.updates()
    ]
    return model, adversary, updates, run


def prepared(folder: Path) -> Path:
    """What the stage prepare would have left: 8 photos, of whose regions half are fine."""
    out = folder / "prepared"
    if not out.exists():
        out.mkdir(parents=True)
        pixels = ((IMAGES.movedim(1, -1) + 1) * 127.5).round().to(torch.uint8).numpy()
        rows = {
            "images": pixels,
            "entropy": np.random.default_rng(0).standard_normal((8, 2, 2), np.float32),
            "labels": np.zeros(8, np.int64),
        }
        for name, values in rows.items():
            with ShardWriter(out, name, values.shape[1:], values.dtype, rows=8) as writer:
                writer.append(values)
    return out


def _ranks(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=SIZE)
    wrapped = DistributedDataParallel(discriminator())
    for _ in range(2):
        wrapped.zero_grad()
        real, fake = pairs(rank)
        hinge_loss(wrapped(real), wrapped(fake)).backward()
    torch.save(gradients(wrapped), folder / f"wrapped-{rank}.pt")
    model, adversary, updates, run = training(folder / str(rank), Ranks(rank, SIZE))
    curve = train(updates, run)
    assert "discriminator_loss" in curve[-1]
    state = {"model": model.state_dict(), "adversary": adversary.state_dict()}
    torch.save(state, folder / f"trained-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Any]]:
    """What each of two ranks has left under a name."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(_ranks, (folder,), nprocs=SIZE)
    return lambda name: [torch.load(folder / f"{name}-{rank}.pt", weights_only=True) for rank in range(SIZE)]


@pytest.mark.slow
def test_two_forward_passes_under_pytorchs_data_parallel_wrapper_give_the_mean_of_the_ranks_gradients(
    ranks: Callable[[str], list[Any]],
) -> None:
    alone = discriminator()
    for rank in range(SIZE):
        real, fake = pairs(rank)
        (hinge_loss(alone(real), alone(fake)) / SIZE).backward()
    for of_rank in ranks("wrapped"):
        torch.testing.assert_close(of_rank, gradients(alone), atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_autoencoder_and_discriminator_train_on_two_ranks_as_on_one(
    ranks: Callable[[str], list[Any]], tmp_path: Path
) -> None:
    """Also in other micro-batches: each image is normalised alone, and the adaptive weight is of all."""
    model, adversary, updates, run = training(tmp_path, Ranks())
    train(updates, run)
    assert not torch.equal(next(adversary.parameters()), next(discriminator().parameters()))
    assert 0 < float(adversary.adaptive_weight) < 0.75
    for of_rank in ranks("trained"):
        torch.testing.assert_close(of_rank["model"], dict(model.state_dict()), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(of_rank["adversary"], dict(adversary.state_dict()), atol=1e-5, rtol=1e-4)


def test_logits_and_gradients_are_float32_under_autocast_and_the_same_as_without() -> None:
    model = discriminator()
    real, fake = pairs(0)
    plain = model(real)
    with torch.autocast("cpu", torch.bfloat16):
        under = model(real)
        loss = hinge_loss(under, model(fake))
    assert under.dtype == loss.dtype == torch.float32
    assert torch.equal(under, plain)
    loss.backward()
    assert {g.dtype for g in gradients(model)} == {torch.float32}


@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
def test_gradients_are_finite_on_constant_images(level: float) -> None:
    """GroupNorm's variance is 0 there."""
    model = discriminator()
    images = torch.full((4, 3, 32, 32), level, requires_grad=True)
    hinge_loss(model(images), model(images.detach())).backward()
    assert images.grad is not None
    assert all(bool(g.isfinite().all()) for g in [*gradients(model), images.grad])


@pytest.mark.parametrize("cap", [0.75, 1e4])
def test_adaptive_weight_is_capped_where_the_adversarial_gradient_vanishes(cap: float) -> None:
    last = torch.nn.Parameter(torch.tensor([1.0]))
    weight = adaptive_weight(last_layer_gradients((5e9 * last).sum(), (0 * last).sum(), last), cap)
    assert float(weight) == cap
    assert not weight.requires_grad
