"""Names of what is measured of samples, and how many images each needs."""

from collections.abc import Collection

from d2it.errors import UserError
from d2it.evaluation.inception_score import SPLITS

METRICS = ("fd", "sfd", "inception_score", "kid", "precision", "recall", "class_agreement")
INCEPTION_ALONE = ("sfd", "inception_score")


class EvaluationError(UserError):
    """Sets of images that cannot be compared as asked; one line that says why."""


def check_counts(metrics: Collection[str], counts: dict[str, int], neighbours: int) -> None:
    """Whether there are enough images for the chosen METRICS; `counts` by side, samples first.

    Raises:
        EvaluationError: there are not.
    """
    least = {"fd": (2, "a Frechet distance"), "sfd": (2, "a Frechet distance"), "kid": (3, "KID")}
    for side, count in counts.items():
        for metric, (needed, name) in least.items():
            if metric in metrics and count < needed:
                raise EvaluationError(f"{side}: {count} images: {name} needs at least {needed}")
        if {"precision", "recall"} & set(metrics) and count <= neighbours:
            raise EvaluationError(f"neighbours = {neighbours}: must be below the {count} images of {side}")
    side, count = next(iter(counts.items()))
    if "inception_score" in metrics and count < SPLITS:
        raise EvaluationError(f"{side}: {count} images: an Inception score needs at least {SPLITS}, its splits")


def number_name(name: str, extractor: str) -> str:
    """What a number is called: of Inception by the names of papers, of other extractors by theirs, and never FID."""
    if extractor == "inception":
        return {"fd": "fid", "sfd": "sfid", "rfd": "rfid"}.get(name, name)
    if name == "kid_standard_error":
        return f"kid_{extractor}_standard_error"
    return f"{name}_{extractor}"
