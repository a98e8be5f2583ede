"""Operations counted per stage are those that the stages' own code makes on small tensors with values."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from d2it.cost.data_size import DataSize
from d2it.cost.networks import EXTRACTOR, perceptual_cost, perceptual_network, untrained_perceptual
from d2it.cost.stages import STAGES, content_passes, dvae_step, stage_costs
from d2it.cost.synthetic import write_photos
from d2it.counting import META, example_maps, multiply_adds
from d2it.data.photos import Photos
from d2it.diffusion.generate import ImageGenerator
from d2it.diffusion.grain import sample_grain_maps
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import linear_schedule
from d2it.dvae.discriminator import PatchDiscriminator
from d2it.dvae.model import DynamicVAE
from d2it.evaluation.inception import _empty_network
from d2it.objectives.dvae import DVAETraining
from d2it.params.architecture import content_arguments, dvae_arguments, grain_arguments
from d2it.params.sections import Params
from d2it.seeds import TrainingSeeds
from d2it.size import Size
from d2it.training.checkpoints import Checkpoints
from d2it.training.run import TrainingRun
from d2it.transformer.content import DynamicContentTransformer
from d2it.transformer.grain import DynamicGrainTransformer
from tests.smallest import changed

pytestmark = pytest.mark.slow

DATA, CPU = DataSize(train=100, validation=20, classes=3), torch.device("cpu")


def operations(params: Params, data: DataSize = DATA) -> dict[str, float]:
    return {cost.stage: cost.operations for cost in stage_costs(params, data)}


def made(run: Callable[[], object]) -> int:
    """Operations that `run` makes."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def test_twice_the_images_cost_twice_as_much() -> None:
    once = operations(changed({}))
    twice = operations(changed({"dvae.images": 64, "dvae.adversarial_start": 32, "grain_transformer.images": 128,
                                "content_transformer.images": 128, "sample.images": 16}))  # fmt: skip
    for stage in ("train_dvae", "train_grain", "train_content", "sample"):
        assert twice[stage] == pytest.approx(2 * once[stage])
    assert operations(changed({}), DATA._replace(train=200))["encode_latents"] == 2 * once["encode_latents"]


def test_an_image_costs_as_much_as_the_same_on_its_side() -> None:
    lying, standing = (operations(changed({"data.image_size": size})) for size in ([32, 64], [64, 32]))
    assert lying == pytest.approx(standing)
    assert lying["encode_latents"] == pytest.approx(2 * operations(changed({}))["encode_latents"], rel=0.01)


def test_stages_can_be_asked_for_one_by_one() -> None:
    params = changed({})
    one_by_one = [stage_costs(params, DATA, [stage])[0] for stage in STAGES]
    assert one_by_one == stage_costs(params, DATA)


def test_the_perceptual_loss_costs_its_share_of_the_images() -> None:
    without, half, whole = (
        operations(changed(change | {"dvae.adversarial_weight": 0.0}))["train_dvae"]
        for change in ({"dvae.perceptual_weight": 0.0}, {"dvae.perceptual_share": 0.5}, {"dvae.perceptual_share": 1.0})
    )
    assert whole - without == pytest.approx(2 * (half - without))


def test_a_precision_moves_operations_and_makes_none() -> None:
    """The perceptual network and the discriminator stay float32."""
    float32, bfloat16 = (
        stage_costs(changed({"dvae.precision": name}), DATA, ["train_dvae"])[0] for name in ("float32", "bfloat16")
    )
    assert bfloat16.operations == float32.operations
    assert float32.bfloat16 == 0
    assert 0 < bfloat16.float32 < bfloat16.operations


def test_recomputed_blocks_are_counted() -> None:
    plain, recomputed = (
        operations(changed({"content_transformer.activation_checkpointing": on}))["train_content"]
        for on in (False, True)
    )
    assert recomputed == pytest.approx(plain * 4 / 3)


@pytest.mark.parametrize(
    ("change", "joined"),
    [
        ({"dvae.perceptual_weight": 0.0, "dvae.adversarial_weight": 0.0}, False),
        ({"dvae.perceptual_share": 1.0, "dvae.adversarial_weight": 0.0}, False),
        ({"dvae.perceptual_share": 1.0}, True),
    ],
    ids=["reconstruction alone", "with a perceptual loss", "with a discriminator too"],
)
def test_a_step_of_the_dvae_costs_what_its_own_code_makes(
    change: dict[str, float], joined: bool, tmp_path: Path
) -> None:
    """But for the first layers, whose inputs need no gradient, and the last one, which the adaptive weight meets."""
    params, images = changed(change), 4
    write_photos(tmp_path, params, images)
    p = params.dvae
    run = TrainingRun(
        params=p.model_copy(update={"batch_size": images}), micro_batch=images, rows=images,
        seeds=TrainingSeeds(0, 0, 0), device=CPU, checkpoints=Checkpoints(tmp_path), report=lambda *_: None, label="",
    )  # fmt: skip
    model = DynamicVAE(**dvae_arguments(params))
    model.thresholds = [0.5]
    perceptual = untrained_perceptual(p.perceptual, params.data.image_size) if p.perceptual_weight else None
    discriminator = PatchDiscriminator(p.discriminator_channels, p.discriminator_layers)
    training = DVAETraining(model, discriminator, p, photos=Photos(tmp_path, False), run=run, perceptual=perceptual)

    def step() -> None:
        micros = [next(run.micro_batches(100 if joined else 0, "autoencoder"))] * 2
        for update, micro in zip(training.updates(), micros, strict=False):
            update.loss(micro, update.read(micro))[0].backward()

    parts = dvae_step(params)
    assert made(step) / images == pytest.approx(sum(parts), rel=0.06)
    assert (parts.perceptual > 0) == bool(p.perceptual_weight)
    assert (parts.adversarial > 0) == joined


SAMPLERS = {
    "euler, guided in an interval": {"sample.sampler": "euler", "sample.guidance_interval": [0.3, 0.8]},
    "heun": {"sample.sampler": "heun", "sample.guidance_interval": [0.0, 1.0]},
    "euler, unguided": {"sample.sampler": "euler", "sample.guidance": 1.0, "sample.grain_guidance": 1.0},
}


@pytest.mark.parametrize("change", SAMPLERS.values(), ids=SAMPLERS)
def test_a_sample_costs_what_generator_and_grain_transformer_make(change: dict[str, object]) -> None:
    params = changed({"diffusion.objective": "flow", "sample.steps": 5, "refinenet.window": 4, **change})
    sample = params.sample
    content, grain = (
        DynamicContentTransformer(**content_arguments(params, 3)).eval(),
        DynamicGrainTransformer(**grain_arguments(params, 3)).eval(),
    )
    schedule, labels = linear_schedule(**params.diffusion.schedule), torch.zeros(1, dtype=torch.int64)
    generator = ImageGenerator(
        dvae=DynamicVAE(**dvae_arguments(params)).eval(), content=content, schedule=schedule, objective="flow",
        steps=sample.steps, sampler=sample.sampler, guidance=sample.guidance,
        guidance_interval=sample.guidance_interval,
    )  # fmt: skip
    maps = example_maps(params.grain.shares, params.region_grid)

    def draw() -> None:
        streams = ImageStreams([0], CPU)
        respaced = schedule.respaced(sample.grain_steps)
        sample_grain_maps(respaced, grain, labels, streams, guidance=sample.grain_guidance)
        generator.images(labels, maps, streams)

    assert made(draw) * sample.images == pytest.approx(operations(params)["sample"], rel=1e-4)


def test_guidance_doubles_the_passes_of_its_interval_alone() -> None:
    flow = {"diffusion.objective": "flow", "sample.sampler": "euler", "sample.steps": 10}
    intervals = ([0.0, 1.0], [0.5, 1.0], [0.0, 0.0])
    guided = [content_passes(changed({**flow, "sample.guidance_interval": one}), 3) for one in intervals]
    assert guided[0] == 20
    assert all(a > b for a, b in pairwise(guided))
    assert guided[2] == content_passes(changed(flow), classes=0) == 10


@pytest.mark.parametrize("name", ["lpips", "st_lpips", "efficientnet_lite0"])
def test_a_perceptual_network_without_values_costs_what_one_with_values_makes(name: str) -> None:
    network = perceptual_network(name)
    with torch.no_grad():
        counted = made(lambda: network(torch.zeros(1, 3, 32, 32)))
    assert counted == 2 * perceptual_cost(name, Size.of(32))


def test_extractors_cost_what_their_networks_make() -> None:
    import timm

    with META:
        small = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        large = timm.create_model("vit_large_patch14_dinov2", pretrained=False, img_size=224)
    inception, images = _empty_network(), torch.empty(1, 3, 224, 224, device=META)
    counted = {
        "inception": multiply_adds(lambda: inception(torch.empty(1, 3, 64, 64, dtype=torch.uint8))),
        "efficientnet_lite0": multiply_adds(lambda: small.forward_features(images)),
        "dinov2": multiply_adds(lambda: large(images)),
    }
    assert counted == pytest.approx({name: 1e9 * cost for name, cost in EXTRACTOR.items()}, rel=1e-3)


def test_random_data_have_the_params_shapes(tmp_path: Path) -> None:
    params = changed({})
    write_photos(tmp_path, params, 4)
    pixels, entropy, labels = Photos(tmp_path, flip=False).read(np.arange(4))
    assert pixels.shape == (4, 32, 32, 3)
    assert entropy.shape == (4, *params.region_grid)
    assert set(labels) == {0}
