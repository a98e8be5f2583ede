"""How each number was made, for outputs/fid/protocol.json: what it compares, on how many images, drawn how."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from d2it.evaluation.metrics import number_name
from d2it.params.sections import Params, Section
from d2it.size import Size
from d2it.weights import PERCEPTUAL

LARGEST_PSNR = 100.0  # dB, of a reconstruction without an error, which would be infinite
HOW = {  # what each number compares, on which images of both sides
    "fd": ("Frechet distance of pool features", "samples", "reference"),
    "sfd": ("Frechet distance of spatial features", "samples", "reference"),
    "kid": ("squared MMD, cubic kernel, all images, unbiased", "samples", "reference_kept"),
    "kid_standard_error": ("jackknife over images of both sides", "samples", "reference_kept"),
    "precision": ("share of samples within the reference manifold", "samples", "reference_kept"),
    "recall": ("share of reference images within the samples' manifold", "samples", "reference_kept"),
    "inception_score": ("mean over 10 splits", "samples", None),
    "inception_score_std": ("deviation over 10 splits", "samples", None),
    "class_agreement": ("share classified as labelled by a linear classifier of training images", "samples", "train"),
    "class_agreement_validation": ("the same of real images", "validation", "train"),
    "rfd": ("Frechet distance of pool features", "reconstructions", "validation"),
}
SIMILARITY = {
    "psnr": f"mean over images, dB, at most {LARGEST_PSNR:g}",
    "ssim": "mean over images",
    **dict.fromkeys(PERCEPTUAL, "mean over images"),
}
GRAIN_MAPS = "grain_maps_"  # how numbers of grain maps begin
SIZES = ("channels", "multipliers", "layers", "width", "heads")  # of a model, in its section of params.yaml


def protocol(
    params: Params, named: Sequence[str], *, images: Mapping[str, int], extractor: str, size: Size, data: str
) -> str:
    """JSON with sorted keys.

    Args:
        params: of the run.
        named: names of the numbers that were reported.
        images: how many, by the names of sides in HOW, and 'real_grain_maps'.
        extractor: its identity.
        size: of all images, pixels.
        data: fingerprint of the data set.
    """
    validation = images["validation"]
    numbers: dict[str, dict[str, Any]] = {}
    for name, (how, first, second) in HOW.items():
        sides = {first: images[first]} | ({second: images[second]} if second else {})
        about: dict[str, Any] = {"how": how, "images": sides, "extractor": extractor}
        if name in ("precision", "recall"):
            about["neighbours"] = params.fid.neighbours
        numbers[number_name(name, params.fid.extractor)] = about
    pairs = {"reconstructions": validation, "validation": validation}
    numbers |= {f"reconstruction_{name}": {"how": how, "images": pairs} for name, how in SIMILARITY.items()}
    maps = {"samples": images["samples"], "real_grain_maps": images["real_grain_maps"]}
    of_maps = {"how": "of the samples' grain maps, beside training images of the same classes", "images": maps}
    sections: list[Section] = [params.dvae, params.grain_transformer, params.content_transformer]
    content = {
        "numbers": {name: of_maps if name.startswith(GRAIN_MAPS) else numbers[name] for name in named},
        "samples": params.sample.model_dump(mode="json") | {"size": size.plain},
        "reference": {"half": params.fid.reference, "data": data, "batch_size": params.fid.batch_size},
        "models": {type(section).__name__.removesuffix("Params"): _sizes(section) for section in sections},
        "seeds": {"seed": params.seed, "sample": params.sample.seed, **params.seeds.model_dump(mode="json")},
        "objective": params.diffusion.objective,
    }  # fmt: skip
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def _sizes(section: Section) -> dict[str, Any]:
    """Those of a model's params that are its size."""
    return {key: value for key, value in section.model_dump(mode="json").items() if key in SIZES}
