"""Which weights `init_from` gives each training right now: outputs/manifest/<stage>.json, an input of that stage.

A folder whose content changes makes the training anew; one that is missing or does not fit is refused before any stage
runs.
"""

import json
from pathlib import Path

from d2it.params.sections import Params
from pipeline.errors import StageError

SECTIONS = {"train_dvae": "dvae", "train_grain": "grain_transformer", "train_content": "content_transformer"}


def path_of(stage: str) -> Path:
    """Of the file, in the workspace."""
    return Path("outputs", "manifest", f"{stage}.json")


def given(params: Params, stage: str) -> str:
    """What `init_from` names for a training; '' for new weights."""
    folder: str = getattr(params.init_from, SECTIONS[stage])
    return folder


def initial_state(params: Params, stage: str, root: Path) -> str:
    """What the file says: the folder as it is named, and sha256 of the model in it; a relative path starts at `root`.

    Raises:
        UserError: the folder holds no such model, or one of another shape.
    """
    folder, sha256 = given(params, stage), ""
    if folder:
        from d2it.initial import find_model, identity_of  # imports torch

        place = find_model((root / folder).resolve(), stage)
        if place.is_relative_to((root / "outputs").resolve()):
            name = f"init_from.{SECTIONS[stage]}"
            raise StageError(f"{name} = {folder}: what the stage itself writes: must be a copy: python -m d2it export")
        _require_fitting(params, stage, place)
        sha256 = identity_of(place)
    return json.dumps({"init_from": folder, "sha256": sha256}, indent=2) + "\n"


def _require_fitting(params: Params, stage: str, place: Path) -> None:
    from d2it import initial
    from d2it.params import architecture as of
    from d2it.saved import SavedModelError

    if stage == "train_dvae" and initial.is_autoencoder_kl(place):
        return
    kind, wanted = {
        "train_dvae": ("DynamicVAE", of.dvae_arguments(params)),
        "train_grain": ("DynamicGrainTransformer", of.grain_arguments(params, 0)),
        "train_content": ("DynamicContentTransformer", of.content_arguments(params, 0)),
    }[stage]
    wanted.pop("classes", None)  # the data's, which are not known yet
    try:
        initial.require_fitting(place, kind, wanted)
    except SavedModelError as error:
        raise StageError(f"init_from.{SECTIONS[stage]}: {error}") from None
