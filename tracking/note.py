"""The description of a parent run: what came out, what differs from a preset, and the way to its stages."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from d2it.nested import flatten
from d2it.params.load import ParamsError, load_params
from tracking.experiment import as_text
from tracking.numbers import headlines
from tracking.store import Store
from tracking.views import run_page

if TYPE_CHECKING:
    from mlflow.entities import Run

NOTE, OWN = "mlflow.note.content", "d2it.note"  # tags: the description, and the hash of the one written here
OLD = "Stages: ["  # how those began that have no hash
PICTURE = "d2it.picture"  # tag: the artifact that shows the samples
SHOWN = 12  # changes


def write_note(store: Store, parent_id: str) -> None:
    """Bring the description up to date; one that a user has written, changed or emptied stays."""
    from mlflow.entities import RunTag

    run = store.client.get_run(parent_id)
    present, text = run.data.tags.get(NOTE), note(run, store.root / "presets")
    if present == text or not (present is None or _own(present, run.data.tags.get(OWN))):
        return
    store.client.log_batch(parent_id, tags=[RunTag(NOTE, text), RunTag(OWN, _hash(text))])  # both or none


def note(run: "Run", presets: Path) -> str:
    """Markdown. MLflow shows 5 lines of it and the button 'Show more', so the numbers are one paragraph, and first.

    Pictures and pages have addresses that the server completes, whatever its name.
    """
    tags, params = run.data.tags, run.data.params
    numbers = headlines(run.data.metrics, params.get("fid.extractor", ""))
    parts = [", ".join(f"{one.name} **{one.text}**{one.beside}" for one in numbers)]
    if picture := tags.get(PICTURE):
        parts.append(f"![samples](get-artifact?{urlencode({'path': picture, 'run_uuid': run.info.run_id})})")
    parts.append("± is one standard error for so many images; another seed can differ by more." if numbers else "")
    parts.append(nearest_preset(params, presets))
    linked = {tag.removeprefix("stage."): run_id for tag, run_id in tags.items() if tag.startswith("stage.")}
    pages = [f"[{stage}]({run_page('', run.info.experiment_id, run_id)})" for stage, run_id in linked.items()]
    parts.append(f"Stages: {', '.join(pages)}" if pages else "")
    return "\n\n".join(filter(None, parts))


def nearest_preset(params: Mapping[str, str], folder: Path) -> str:
    """Which of the presets in a folder differs least from these params, and how; empty where there is none."""
    changed = {
        name: [key for key in sorted({*params, *preset}) if params.get(key) != preset.get(key)]
        for name, preset in _presets(folder).items()
    }
    if not changed:
        return ""
    name = min(changed, key=lambda one: len(changed[one]))
    preset = _presets(folder)[name]
    if not changed[name]:
        return f"Preset `{name}`, unchanged."
    texts = [f"`{key}` {params.get(key, 'absent')} ({preset.get(key, 'absent')})" for key in changed[name][:SHOWN]]
    more = [f"{len(changed[name]) - SHOWN} more"] if len(changed[name]) > SHOWN else []
    return f"Preset `{name}`, changed (in brackets the preset's): {', '.join(texts + more)}."


@cache
def _presets(folder: Path) -> dict[str, dict[str, str]]:
    """Params of each, as MLflow has them; those that this code cannot read are left out."""
    presets = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            params = load_params(path)
        except ParamsError:
            continue
        presets[path.stem] = {key: as_text(value) for key, value in flatten(params.model_dump(mode="json")).items()}
    return presets


def _own(text: str, hash_: str | None) -> bool:
    return _hash(text) == hash_ if hash_ else text.startswith(OLD)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
