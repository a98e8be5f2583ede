"""Whether what earlier stages left belongs together and to params.yaml; found out before any work is done with it.

Each side states facts, under the names of params.yaml where they are keys of it: a fact that two sides state must be
the same. So a model of another size, regulariser, number of grains, DVAE or data set is refused.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from d2it.saved import CONFIG, SavedModelError, differences, flat, identity, read_config, read_json
from stages.errors import StageError
from stages.stage import Stage

Facts = dict[str, Any]

ARCHITECTURE = ("layers", "width", "heads", "position", "window", "tokens")
DATA, DVAE = "data set", "DVAE"  # facts that are no params: a fingerprint and a sha256


def check_inputs(stage: Stage, *names: str) -> None:
    """Compare params.yaml and the outputs of the stages `names`, which `stage` is about to read, with each other.

    Raises:
        StageError: two of them do not belong together; one line that names both sides.
        SavedModelError: a description is missing or damaged.
    """
    sides: dict[str, Facts] = {"params.yaml": flat(stage.params.model_dump(mode="json"))}
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
    except (KeyError, TypeError) as error:
        raise SavedModelError(f"{folder}: {CONFIG} is not this stage's: {error}; run dvc repro") from None


def _of_data(folder: Path) -> Facts:
    return {DATA: read_json(folder / "data.json")["fingerprint"]}


def _of_dvae(folder: Path) -> Facts:
    return _encoder(read_config(folder)) | {DVAE: identity(folder)}


def _of_latents(folder: Path) -> Facts:
    return _latents(read_config(folder / "train"))


def _of_grain_transformer(folder: Path) -> Facts:
    config = read_config(folder)
    latents = config["latents"]
    size = config["region_grid"] * latents["factors"][-1]
    return _latents(latents) | _sections(config, "dgt", "diffusion") | {"data.image_size": size}


def _of_content_transformer(folder: Path) -> Facts:
    config = read_config(folder)
    latents = config["latents"]
    size = config["latent_grid"] * latents["factors"][0]
    return _latents(latents) | _sections(config, "content", "refinenet", "diffusion") | {"data.image_size": size}


def _latents(config: Facts) -> Facts:
    return _encoder(config) | {DVAE: config["dvae"]}


def _encoder(config: Facts) -> Facts:
    """A DVAE, from its config.json or from that of its latents."""
    names = ["channels", "multipliers", "res_blocks", "latent_channels", "regularizer"]
    if config["regularizer"] == "vq":
        names.append("codebook_size")
    facts = {f"dvae.{name}": config[name] for name in names}
    return facts | {"grain.factors": config["factors"], DATA: config["data"]}


def _sections(config: Facts, *names: str) -> Facts:
    """What makes a transformer, and the whole of its diffusion."""
    return {
        f"{name}.{key}": value
        for name in names
        for key, value in config[name].items()
        if key in ARCHITECTURE or name == "diffusion"
    }


_FACTS: dict[str, Callable[[Path], Facts]] = {
    "prepare": _of_data,
    "train_dvae": _of_dvae,
    "encode_latents": _of_latents,
    "train_grain": _of_grain_transformer,
    "train_content": _of_content_transformer,
}
