"""What later stages would refuse, known before the first one starts: too few images, too little space on the disk."""

import math
import shutil
from pathlib import Path

from d2it.data.imageset import Source
from d2it.data.sources import open_source
from d2it.params.sections import Params
from pipeline.errors import StageError
from pipeline.image_counts import check_images
from pipeline.root import find_root

CODE_BYTES = 2  # of a number at rest: a latent's moments are float16


def check_data(params: Params) -> Source:
    """The images of data.source, of which there are enough, with room for what is made of them.

    Raises:
        UserError: there are not, or there is none.
    """
    root = find_root()
    source = open_source(params.data, root)
    train, validation = len(source.train), len(source.validation)
    check_images(
        params, train=train, validation=validation, classes=len(source.classes), samples=params.sample.images
    )  # fmt: skip
    check_disk(sum(output_bytes(params, train + validation, train).values()), root)
    return source


def output_bytes(params: Params, images: int, train: int) -> dict[str, int]:
    """Bytes of the outputs that grow with the number of images, by stage; models and checkpoints are not among them.

    Of latents, what they take at `grain.fine_ratio`; as thresholds are quantiles of the same images, they have hardly
    a code more, and fewer where many regions have the same entropy.
    """
    size, grain = params.data.image_size, params.grain
    regions = params.region_grid.area
    of_region = zip(grain.shares, reversed(grain.factors), strict=True)  # coarsest first
    codes = math.ceil(regions * sum(share * (grain.region_size // factor) ** 2 for share, factor in of_region))
    row = 2 * params.dvae.latent_channels * codes * CODE_BYTES + regions + 2 * 8  # label, and where the codes start
    views = 2 if params.data.flip else 1
    return {
        "prepare": images * (3 * size.area + 4 * regions + 8),
        "encode_latents": views * train * row,
        "sample": params.sample.images * 3 * size.area,
    }


def check_disk(needed: int, workspace: Path) -> None:
    """Whether outputs of `needed` bytes fit on the disk in place of those that are there, and into DVC's cache.

    Raises:
        StageError: they do not.
    """
    cache = _copying_cache(workspace)
    replaced = sum(path.stat().st_size for path in (workspace / "outputs").rglob("*") if path.is_file())
    shared = cache is not None and workspace.stat().st_dev == cache.stat().st_dev
    for folder in (workspace, cache) if cache and not shared else (workspace,):
        total, free = needed * (1 + shared), shutil.disk_usage(folder).free + (replaced if folder == workspace else 0)
        if total > free:
            also = " with DVC's cache, which copies them" if shared else ""
            raise StageError(f"{folder}: the outputs take {total / 1e9:.1f} GB{also}, free are {free / 1e9:.1f} GB")


def _copying_cache(workspace: Path) -> Path | None:
    """Folder of DVC's cache; None where outputs become links into it, which take no space of their own."""
    from dvc.exceptions import NotDvcRepoError  # slow
    from dvc.fs import LocalFileSystem
    from dvc.repo import Repo
    from dvc_objects.fs.generic import test_links

    try:
        cache = Repo(str(workspace)).cache.local
    except NotDvcRepoError:
        return None
    Path(cache.path).mkdir(parents=True, exist_ok=True)
    works = test_links(cache.cache_types, cache.fs, cache.path, LocalFileSystem(), str(workspace))
    return Path(cache.path) if works[:1] == ["copy"] else None
