"""Weights that stages open: fetched where there is a network, on the submitting side, before the first stage starts."""

from collections.abc import Iterable
from pathlib import Path

from d2it.params.sections import Params
from d2it.weights import EXTRACTORS, PERCEPTUAL, Installed, Weights, WeightsError, default_folder, download
from pipeline.dag import Definition, definitions
from pipeline.root import find_root


def weights_folder() -> Path:
    """Folder of downloaded weights: D2IT_WEIGHTS, else `.d2it/weights` at the repository's real root."""
    return default_folder(find_root())


def needed(stages: Iterable[str], params: Params) -> dict[Weights | Installed, str]:
    """The files that these stages of dvc.yaml will open, and the first stage that opens each."""
    files: dict[Weights | Installed, str] = {}
    for stage in stages:
        if stage == "fid":
            files.setdefault(EXTRACTORS[params.fid.extractor], stage)
        if stage in ("train_dvae", "fid") and params.dvae.perceptual_weight > 0:  # fid measures by the training's loss
            files.setdefault(PERCEPTUAL[params.dvae.perceptual], stage)
    return files


def ensure(stage: str, params: Params) -> None:
    """Download what a stage of dvc.yaml and all stages after it will open and is not there yet; check what is.

    Also for the stages after it, though nobody may have asked for these (DVC does not tell): a run without anyone
    beside it must not train for days and then fail for want of a file that could have been brought on the first day.

    Raises:
        WeightsError: a file is wrong, or missing and cannot be downloaded; the message names it, the stage that needs
            it, and the way out.
    """
    for weights, user in needed(_with_downstream(stage), params).items():
        try:
            download(weights, weights_folder())
        except WeightsError as error:
            raise WeightsError(f"{user} needs weights: {error}{_way_out(weights)}") from None


def _way_out(weights: Weights | Installed) -> str:
    if isinstance(weights, Installed):
        return ""
    without = ", or do without: -S fid.extractor=efficientnet_lite0" if weights in EXTRACTORS.values() else ""
    return f"; or set D2IT_WEIGHTS to a folder that holds it{without}"


def _with_downstream(stage: str) -> list[str]:
    """The stage and all that need its outputs, directly or not, in the order of dvc.yaml."""
    known = definitions()
    chosen = {stage}
    while more := {name for name, one in known.items() if _made(known, chosen) & set(one.deps)} - chosen:
        chosen |= more
    return [name for name in known if name in chosen]


def _made(known: dict[str, Definition], stages: set[str]) -> set[str]:
    return {out for name in stages for out in known[name].outs}
