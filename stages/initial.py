"""The weights that `init_from` gives a training."""

from pathlib import Path

from d2it.files import read_json
from d2it.initial import find_model, identity_of
from pipeline.errors import StageError
from pipeline.initial import SECTIONS, given, path_of
from pipeline.root import find_root
from stages.stage import Stage


def initial_folder(stage: Stage) -> Path | None:
    """The folder of the model that the training of this stage starts from; None for new weights.

    Raises:
        StageError: it is another one than when the pipeline began.
        SavedModelError: it holds no such model.
    """
    folder = given(stage.params, stage.name)
    if not folder:
        return None
    place = find_model((find_root() / folder).resolve(), stage.name)
    recorded = read_json(stage.outputs / path_of(stage.name).relative_to("outputs"))
    if identity_of(place) != recorded.get("sha256"):
        name = f"init_from.{SECTIONS[stage.name]}"
        raise StageError(f"{name} = {folder}: {place} has changed since dvc repro began: start it again")
    if stage.main_rank:
        print(f"{stage.name}: starts from {place}", flush=True)
    return place
