"""A trained model in Python: the stage's samples come back, in any batch; the user's maps and ratios are obeyed."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import d2it
from d2it.data.samples import Samples
from d2it.diffusion.grain import sample_grain_maps
from d2it.diffusion.noise import ImageStreams
from d2it.diffusion.schedule import linear_schedule
from d2it.errors import UserError
from d2it.transformer.grain import DynamicGrainTransformer
from tests.smallest import Repository


@pytest.fixture(scope="module")
def model(finished: Repository) -> d2it.D2iT:
    return d2it.load(finished.folder / "outputs")


def arrays(images: list[Image.Image]) -> NDArray[np.uint8]:
    return np.stack([np.asarray(image) for image in images])


def test_seeds_and_classes_of_the_stages_samples_give_these_samples(model: d2it.D2iT, finished: Repository) -> None:
    stage = Samples(finished.folder / "outputs" / "sample" / "samples.npz")
    expected = stage.take(np.arange(8))
    maps = np.load(finished.folder / "outputs" / "sample" / "grain_maps.npy")
    drawn = model.sample(list(range(8)), list(range(8)), batch_size=4, progress=False)
    assert np.array_equal(arrays(drawn.images), expected)
    assert np.array_equal(drawn.grain_maps, maps)


def test_an_image_is_the_same_in_any_batch_but_for_rounding(model: d2it.D2iT) -> None:
    together = model.sample([3, 3, 7], [0, 1, 2], progress=False)
    alone = model.sample(7, 2, progress=False)
    assert len(alone.images) == 1
    assert np.array_equal(alone.grain_maps[0], together.grain_maps[2])
    difference = arrays(alone.images)[0].astype(int) - arrays(together.images)[2]
    assert np.abs(difference).max() <= 1
    assert not np.array_equal(*arrays(together.images)[:2])


def test_what_is_not_asked_for_is_in_turn(model: d2it.D2iT) -> None:
    assert len(model.sample(progress=False, steps=1).images) == 8, "all classes once"
    three = model.sample(seeds=[5, 6, 7], progress=False, steps=1)
    same = model.sample([0, 1, 2], 5, progress=False, steps=1)
    assert np.array_equal(arrays(three.images), arrays(same.images))


def test_detail_goes_where_the_user_says(model: d2it.D2iT, tmp_path: Path) -> None:
    """Maps as arrays, a black and white picture of any size, and files."""
    painted = np.zeros(model.region_grid, np.uint8)
    painted[0, 1] = 1
    large = model.region_grid.times(30)
    picture = Image.fromarray(painted * 255).resize((large.width, large.height), Image.Resampling.NEAREST)
    picture.save(tmp_path / "map.png")
    by_array = model.sample([0, 1], 0, grain_maps=painted, progress=False)
    assert np.array_equal(by_array.grain_maps, np.stack([painted, painted]))
    for given in (picture, tmp_path / "map.png", str(tmp_path / "map.png"), [picture, picture]):
        same = model.sample([0, 1], 0, grain_maps=given, progress=False)
        assert np.array_equal(arrays(same.images), arrays(by_array.images))
    other = model.sample([0, 1], 0, grain_maps=1 - painted, progress=False)
    assert not np.array_equal(arrays(other.images), arrays(by_array.images))


def test_on_the_map_that_it_was_drawn_on_an_image_and_its_film_come_back(model: d2it.D2iT) -> None:
    """So what a changed map changes is the map's doing, and not other noise."""
    drawn = model.sample([0, 3], [4, 5], progress=False)
    again = model.sample([0, 3], [4, 5], grain_maps=drawn.grain_maps, progress=False)
    assert np.array_equal(arrays(again.images), arrays(drawn.images))
    film = model.denoise([0, 3], [4, 5], grain_maps=drawn.grain_maps)
    assert np.abs(film[-1].astype(int) - arrays(drawn.images)).max() <= 1


@pytest.mark.parametrize("fine_ratio", [0.0, 0.5, 1.0])
def test_an_images_noise_does_not_depend_on_the_fine_ratio(model: d2it.D2iT, fine_ratio: float) -> None:
    at_ratio = model.sample([0, 3], [4, 5], fine_ratio=fine_ratio, progress=False)
    on_its_map = model.sample([0, 3], [4, 5], grain_maps=at_ratio.grain_maps, progress=False)
    assert np.array_equal(arrays(at_ratio.images), arrays(on_its_map.images))


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 1.0])
def test_each_drawn_map_has_the_share_of_fine_regions_that_was_asked_for(model: d2it.D2iT, ratio: float) -> None:
    maps = model.sample([0, 1, 2], 0, fine_ratio=ratio, progress=False, steps=1).grain_maps
    assert [float(one.mean()) for one in maps] == [ratio] * 3


def test_a_larger_ratio_only_adds_fine_regions_the_most_likely_ones_first() -> None:
    torch.manual_seed(0)
    network = DynamicGrainTransformer(layers=1, width=16, heads=2, region_grid=4, classes=3).eval()
    torch.nn.init.normal_(network.dit.head.linear.weight, std=0.5)
    schedule, labels = linear_schedule(100, 1e-4, 0.02).respaced(4), torch.tensor([0, 2])

    def maps(ratio: float) -> NDArray[np.uint8]:
        streams = ImageStreams([1, 2], torch.device("cpu"))
        return sample_grain_maps(schedule, network, labels, streams, fine_ratio=ratio).numpy()

    with torch.no_grad():
        drawn = [maps(ratio) for ratio in (0.25, 0.5, 0.75)]
    assert all((a <= b).all() for a, b in pairwise(drawn))
    assert len({one.tobytes() for one in drawn}) == 3


def test_a_photo_comes_back_with_its_map_and_more_detail_at_a_higher_ratio(model: d2it.D2iT) -> None:
    rng = np.random.default_rng(0)
    photo = np.full((60, 90, 3), 128, np.uint8)
    photo[:, 45:] = rng.integers(0, 256, (60, 45, 3))  # the right half is busy
    half = model.grain_map(photo, fine_ratio=0.5)
    assert half.shape == model.region_grid
    assert half[:, -1].all()
    assert not half[:, 0].any()
    assert model.grain_map(photo).shape == half.shape
    kept = model.reconstruct(photo, fine_ratio=1.0)
    assert (kept.height, kept.width) == model.image_size
    assert model.reconstruct(Image.fromarray(photo)).size == kept.size


def test_a_film_ends_at_the_sample(model: d2it.D2iT) -> None:
    frames = model.denoise([1, 2], 3)
    images = arrays(model.sample([1, 2], 3, progress=False).images)
    assert frames.shape == (4, 2, *model.image_size, 3)
    assert np.abs(frames[-1].astype(int) - images).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": [8]}, "class 8: must be 0 to 7"),
        ({"classes": [0, 1], "seeds": [0, 1, 2]}, "2 classes and 3 seeds for 3 images: must be as many"),
        ({"steps": 0}, "steps = 0: must be at least 1"),
        ({"guidance": -1.0}, "guidance = -1.0: must be at least 0; 1 = no guidance"),
        ({"sampler": "euler"}, "sampler = 'euler': must be ddpm or ddim or dpm-solver++"),
        ({"fine_ratio": 1.5}, "fine_ratio = 1.5: must be from 0 to 1"),
        ({"grain_maps": np.zeros((3, 3))}, "grain maps of shape (1, 3, 3): must be (N, 2, 2)"),
        ({"grain_maps": np.full((2, 2), 2)}, "grain maps with grains 2 to 2: must be 0 (coarsest) to 1"),
        ({"classes": []}, "no classes, seeds or grain maps: must be one at least"),
        ({"steps": 5000}, "steps = 5000: must be at most 1000"),
        ({"guidnce": 2.0}, "guidnce: unknown setting; allowed: sampler, steps, guidance"),
        ({"precision": "half"}, "precision = 'half': must be 'float32' or 'bfloat16'"),
        ({"guidance_interval": [0.5, 2]}, "guidance_interval = [0.5, 2]: must be [from, to]"),
        ({"grain_maps": np.full((2, 2), 0.5)}, "grain maps of float64: must be whole numbers"),
        ({"grain_maps": "nowhere.png"}, "nowhere.png: no image that can be read"),
        ({"classes": [0, 1], "grain_maps": np.zeros((3, 2, 2))}, "2 classes and 3 seeds for 3 images"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(model: d2it.D2iT, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        model.sample(**{"progress": False} | arguments)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_folder_without_models_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lacks train_dvae, train_grain, train_content: run dvc repro"):
        d2it.load(tmp_path)


def test_numpys_numbers_are_numbers(model: d2it.D2iT) -> None:
    ours = model.sample(np.array([1, 2]), np.int64(3), progress=False, steps=1)
    assert np.array_equal(arrays(ours.images), arrays(model.sample([1, 2], 3, progress=False, steps=1).images))


def test_a_picture_with_a_palette_is_read_by_its_colours_not_by_their_numbers(model: d2it.D2iT) -> None:
    picture = Image.new("P", (2, 2))
    picture.putpalette([255, 255, 255, 0, 0, 0])  # number 0 is white, and so fine
    picture.putdata([0, 1, 1, 0])
    assert model.sample(0, 0, grain_maps=picture, progress=False, steps=1).grain_maps[0].tolist() == [[1, 0], [0, 1]]


def test_a_photo_is_turned_upright_as_for_training(model: d2it.D2iT, tmp_path: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = np.random.default_rng(0).integers(0, 256, (32, 64, 3))  # busy above
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)
    assert model.grain_map(tmp_path / "photo.png", fine_ratio=0.5).tolist() == [[0, 0], [1, 1]]
    assert model.grain_map(pixels, fine_ratio=0.5).tolist() == [[1, 1], [0, 0]]


def test_models_of_two_trainings_are_refused(finished: Repository, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    shutil.copytree(finished.folder / "outputs", outputs)
    config = json.loads((outputs / "train_dvae" / "config.json").read_text())
    (outputs / "train_dvae" / "config.json").write_text(json.dumps(config | {"latent_scale": 9.0}))
    with pytest.raises(UserError, match=r"train_grain: trained on the DVAE \w{12}; .* must be of one training"):
        d2it.load(outputs)
