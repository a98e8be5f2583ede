"""`python -m d2it.evaluation SAMPLES REFERENCE`: any images against any others, without the pipeline.

Each side is an npz of images, a folder, zip or tar of them, a folder of the stage `prepare`, or an npz of statistics,
as the ADM evaluator's reference files are. Numbers and how they were made go to stdout as JSON, progress to stderr.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from d2it.arguments import positive_int
from d2it.device import pick_device
from d2it.errors import UserError
from d2it.evaluation.class_agreement import agreement
from d2it.evaluation.extractor import Extractor
from d2it.evaluation.features import open_extractor
from d2it.evaluation.images import ImageFolder, Images, check_same_size, fair_sample, is_npz, open_images
from d2it.evaluation.measure import Measured, Pass, Side, compare
from d2it.evaluation.metrics import INCEPTION_ALONE, METRICS, EvaluationError, check_counts, number_name
from d2it.evaluation.reference import Published, open_published
from d2it.evaluation.statistics import Wanted
from d2it.files import write_text
from d2it.params.sections import FIDParams
from d2it.progress import Progress
from d2it.ranks.ranks import Ranks
from d2it.weights import default_folder

EXTRACTORS = get_args(FIDParams.model_fields["extractor"].annotation)
NEED_FEATURES = {"kid", "precision", "recall"}


@dataclass(frozen=True)
class Opened:
    """What lies at a path."""

    path: Path
    images: Images | None
    published: Published | None  # statistics, used as they are

    @property
    def about(self) -> dict[str, Any]:
        """For the protocol."""
        statistics = {"statistics": "as published"} if self.published else {}
        images = {"images": len(self.images), "size": self.images.size.plain} if self.images else {}
        return {"path": str(self.path)} | images | statistics


def open_side(path: Path, extractor: Extractor) -> Opened:
    """Images, statistics, or both.

    Raises:
        UserError: neither, damaged, or statistics of another extractor.
    """
    published = open_published(path, extractor.identity) if path.is_file() and is_npz(path) else None
    if published is None:
        return Opened(path, open_images(path), None)
    if len(published.pool.mean) != extractor.width:
        raise EvaluationError(f"{path}: mu of {len(published.pool.mean)} features: must be {extractor.width}")
    return Opened(path, published.images, published)


def obstacles(samples: Opened, reference: Opened, extractor: str) -> dict[str, str]:
    """Why a metric cannot be had of these sides, for each that cannot."""
    why: dict[str, str] = {}
    if extractor != "inception":
        why |= dict.fromkeys(INCEPTION_ALONE, "needs the extractor inception")
    for side in (reference, samples):
        if side.images is None:
            why |= dict.fromkeys(NEED_FEATURES, f"needs images: {side.path} holds statistics alone")
        if side.images is None or side.images.labels is None:
            why["class_agreement"] = f"needs images with labels: {side.path} has none"
        elif side is reference and side.images.labels.min() == side.images.labels.max():
            why["class_agreement"] = f"needs images of two classes or more: those of {side.path} have one label"
        if side.published is not None and side.published.spatial is None:
            why.setdefault("sfd", f"needs mu_s and sigma_s: {side.path} has none")
    if samples.images is None:
        why.setdefault("inception_score", f"needs images: {samples.path} holds statistics alone")
    names = [side.images.classes for side in (samples, reference) if isinstance(side.images, ImageFolder)]
    if len(names) == 2 and names[0] != names[1]:
        why.setdefault("class_agreement", f"needs the same class folders in {samples.path} and {reference.path}")
    return why


def choose(asked: list[str] | None, why: dict[str, str]) -> list[str]:
    """The metrics to compute; without a choice, all that can be had.

    Raises:
        EvaluationError: unknown ones, or such that cannot be had.
    """
    for metric in asked or []:
        if metric not in METRICS:
            raise EvaluationError(f"--metrics: {metric!r}: must be among {', '.join(METRICS)}")
        if metric in why:
            raise EvaluationError(f"--metrics: {metric}: {why[metric]}")
    return [metric for metric in METRICS if (metric in asked if asked else metric not in why)]


def wanted(side: Opened, metrics: list[str], *, reference: bool, most: int) -> Wanted | None:
    """What a side's images are gone through for; None: for nothing. `most`: reference images that are kept."""
    if side.images is None:
        return None
    count, fitted = len(side.images), side.published is not None
    classes = "class_agreement" in metrics
    keep = None
    if NEED_FEATURES & set(metrics) or (classes and not reference):
        keep = fair_sample(count, most if reference else count)
    labels = side.images.labels
    want = Wanted(
        pool="fd" in metrics and not fitted, spatial="sfd" in metrics and not fitted,
        score="inception_score" in metrics and not reference, keep=keep,
        classes=int(labels.max()) + 1 if classes and reference and labels is not None else 0,
    )  # fmt: skip
    return None if want.nothing else want


def side_of(opened: Opened, measured: Measured | None) -> Side:
    """As `compare` takes it."""
    statistics = measured.statistics if measured else None
    pool = statistics.pool.gaussian() if statistics and statistics.pool else None
    spatial = statistics.spatial.gaussian() if statistics and statistics.spatial else None
    return Side(
        pool=opened.published.pool if opened.published else pool,
        spatial=opened.published.spatial if opened.published else spatial,
        score=statistics.score.score() if statistics and statistics.score else None,
        features=measured.features.rows if measured else None,
    )


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Numbers, and the protocol of how they were made.

    Raises:
        UserError: what is asked for cannot be had of these files; before any image is measured, but for damaged ones.
    """
    choose(options.metrics, {})
    extractor = open_extractor(options.extractor, options.weights, pick_device())
    samples, reference = (open_side(path, extractor) for path in (options.samples, options.reference))
    metrics = choose(options.metrics, obstacles(samples, reference, extractor.name))
    _check(samples, reference, metrics, options)
    with tempfile.TemporaryDirectory() as scratch:
        numbers = _numbers(samples, reference, metrics, extractor, scratch=Path(scratch), options=options)
    kept = min(len(reference.images), options.reference_images) if reference.images is not None else 0
    protocol = {
        "extractor": extractor.identity, "samples": samples.about, "reference": reference.about,
        "kid_precision_recall_reference_images": kept, "neighbours": options.neighbours,
        "batch_size": options.batch_size,
    }  # fmt: skip
    return {"numbers": {number_name(name, extractor.name): x for name, x in numbers.items()}, "protocol": protocol}


def _check(samples: Opened, reference: Opened, metrics: list[str], options: argparse.Namespace) -> None:
    """Sizes, and numbers of images."""
    both = [(str(side.path), side.images) for side in (samples, reference) if side.images is not None]
    if both:
        check_same_size(both)
    counts = {}
    if samples.images is not None:
        counts[f"samples {samples.path}"] = len(samples.images)
    if reference.images is not None:
        counts[f"reference {reference.path}"] = min(len(reference.images), options.reference_images)
    check_counts(metrics, counts, options.neighbours)


def _numbers(
    samples: Opened, reference: Opened, metrics: list[str], extractor: Extractor, *, scratch: Path,
    options: argparse.Namespace,
) -> dict[str, float]:  # fmt: skip
    """By names without the extractor."""
    sides = {"samples": samples, "reference": reference}
    wants = {
        name: wanted(side, metrics, reference=name == "reference", most=options.reference_images)
        for name, side in sides.items()
    }
    work = [(name, sides[name].images, want) for name, want in wants.items()]
    todo = [(name, images, want) for name, images, want in work if images is not None and want is not None]
    with Progress(sum(len(images) for _, images, _ in todo), "evaluation") as progress:
        run = Pass(
            extractor=extractor, batch_size=options.batch_size, scratch=scratch, ranks=Ranks(),
            advance=progress.update,
        )  # fmt: skip
        measured = {name: run.over(images, want) for name, images, want in todo}
    of_samples, of_reference = measured.get("samples"), measured.get("reference")
    numbers = compare(metrics, side_of(samples, of_samples), side_of(reference, of_reference), options.neighbours)
    if of_samples and of_reference and of_reference.statistics.classes and samples.images:
        classifier = of_reference.statistics.classes.fit()
        labels = samples.images.labels
        assert labels is not None
        numbers["class_agreement"] = agreement(classifier, of_samples.features.rows, labels)
    return numbers


def main(arguments: list[str] | None = None) -> int:
    """Print the JSON; 2 for what cannot be compared."""
    parser = argparse.ArgumentParser("python -m d2it.evaluation", description="Samples against a reference.")
    add = parser.add_argument
    add("samples", type=Path, help="npz, folder, zip or tar of images, or npz of statistics")
    add("reference", type=Path, help="the same, of the images that samples should be like")
    add("--metrics", type=lambda text: text.split(","), help=f"of {','.join(METRICS)}; default: all that can be had")
    add("--extractor", choices=EXTRACTORS, default="inception", help="network (%(default)s)")
    add("--weights", type=Path, default=default_folder(Path.cwd()), help="folder of its weights (%(default)s)")
    add("--batch-size", type=positive_int, default=64, help="images at a time (%(default)s)")
    add("--neighbours", type=positive_int, default=3, help="k of precision and recall (%(default)s)")
    add("--reference-images", type=positive_int, default=10000, help="for KID, precision, recall (%(default)s)")
    add("--out", type=Path, help="write the JSON here too")
    options = parser.parse_args(arguments)
    try:
        text = json.dumps(evaluate(options), indent=2, ensure_ascii=False, allow_nan=False)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(text)
    if options.out:
        write_text(options.out, text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
