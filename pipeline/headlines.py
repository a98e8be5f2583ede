"""The numbers of the stage `fid` that are looked at first, by short names."""

from collections.abc import Mapping

from d2it.evaluation.metrics import number_name

MEASURED = ("fd", "kid", "class_agreement")


def headlines(numbers: Mapping[str, float], extractor: str) -> dict[str, tuple[str, float]]:
    """Short name -> the number's own name, and the number; those that are there.

    Args:
        numbers: of outputs/fid/metrics.json.
        extractor: `fid.extractor` of the run.
    """
    names = {name: number_name(name, extractor) for name in MEASURED} | {"psnr": "reconstruction_psnr"}
    return {name: (full, numbers[full]) for name, full in names.items() if full in numbers}
