"""Whether what earlier stages left belongs together and to params.yaml, before any work is done with it.

Each side states facts, under the names of params.yaml where they are keys of it: a fact that two sides state must be
the same. So a model of another size, regulariser, number of grains, DVAE or data set is refused.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from d2it.data.description import read_description
from d2it.nested import differences, flatten
from d2it.params.architecture import CONTENT, DVAE, GRAIN, value_at
from d2it.saved import CONFIG, SavedModelError, identity, read_config
from pipeline.errors import StageError
from stages.stage import Stage

Facts = dict[str, Any]

DATA, ENCODER = "data set", "DVAE"  # facts that are no params: a fingerprint and a sha256


def check_inputs(stage: Stage, *names: str) -> None:
    """Compare params.yaml and the outputs of the stages `names`, which `stage` is about to read, with each other.

    Raises:
        StageError: two of them do not belong together; one line that names both sides.
        SavedModelError: a description is missing or damaged.
    """
    sizes = {key: value_at(stage.params, key) for keys in (DVAE, GRAIN, CONTENT) for key in keys.values()}
    sides: dict[str, Facts] = {"params.yaml": flatten(stage.params.model_dump(mode="json")) | sizes}
    for name in names:
        folder = stage.outputs / name
        facts = _read(folder, _FACTS[name])
        for other, stated in sides.items():
            _compare(str(folder), facts, other, stated)
        sides[str(folder)] = facts


def _compare(place: str, facts: Facts, other: str, stated: Facts) -> None:
    shared = facts.keys() & stated.keys()
    ours, theirs = differences({k: facts[k] for k in shared}, {k: stated[k] for k in shared})
    if ours:
        raise StageError(f"{place}: {ours}; {other}: {theirs}: must be equal; dvc repro makes anew what does not fit")


def _read(folder: Path, facts: Callable[[Path], Facts]) -> Facts:
    try:
        return facts(folder)
    except (KeyError, TypeError, AttributeError) as error:
        raise SavedModelError(f"{folder}: {CONFIG} is not this stage's: {error}; run dvc repro") from None


def _of_dvae(folder: Path) -> Facts:
    config = read_config(folder)
    return _named(config, DVAE) | {DATA: config["data"], ENCODER: identity(folder)}


def _of_grain_transformer(folder: Path) -> Facts:
    config = read_config(folder)
    return _encoder(config["latents"]) | _named(config, GRAIN) | flatten(config["schedule"], "diffusion.")


def _of_content_transformer(folder: Path) -> Facts:
    config = read_config(folder)
    diffusion = flatten(config["schedule"], "diffusion.") | {"diffusion.objective": config["objective"]}
    return _encoder(config["latents"]) | _named(config, CONTENT) | diffusion


def _encoder(latents: Facts) -> Facts:
    """Of the DVAE that made some latents, from their config.json."""
    return _named(latents, DVAE) | {DATA: latents["data"], ENCODER: latents["dvae"]}


def _named(config: Facts, keys: Mapping[str, str]) -> Facts:
    """An architecture under the names of params.yaml."""
    return {key: config["architecture"][argument] for argument, key in keys.items()}


_FACTS: dict[str, Callable[[Path], Facts]] = {
    "prepare": lambda folder: {DATA: read_description(folder).fingerprint},
    "train_dvae": _of_dvae,
    "encode_latents": lambda folder: _encoder(read_config(folder / "train")),
    "train_grain": _of_grain_transformer,
    "train_content": _of_content_transformer,
}
