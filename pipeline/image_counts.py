"""What `fid` measures, and whether there are enough images for it: asked before the first stage, and by `fid`."""

from d2it.evaluation.metrics import INCEPTION_ALONE, check_counts
from d2it.params.sections import FIDParams, Params
from pipeline.errors import StageError


def wanted_metrics(fid: FIDParams, classes: int) -> list[str]:
    """What the stage `fid` measures of samples, of METRICS in d2it/evaluation/metrics.py."""
    metrics = ["fd", "kid", "precision", "recall"]
    metrics += INCEPTION_ALONE if fid.extractor == "inception" else []
    return [*metrics, "class_agreement"] if classes > 1 else metrics


def check_images(params: Params, *, train: int, validation: int, classes: int, samples: int) -> None:
    """Whether there are enough images of both halves, and samples, for all that `fid` measures.

    Raises:
        UserError: there are not.
    """
    fid = params.fid
    for half, count in (("training", train), ("validation", validation)):
        if not count:
            raise StageError(f"no {half} images: fid compares with {half} images; see data.source and data.validation")
    kept = min(train if fid.reference == "train" else validation, fid.reference_images)
    sides = {"sample.images": samples, f"fid.reference = {fid.reference}": kept}
    check_counts(wanted_metrics(fid, classes), sides, fid.neighbours)
    check_counts(["fd"], {"validation": validation}, fid.neighbours)
