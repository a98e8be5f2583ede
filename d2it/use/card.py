"""The model card of an exported folder: what it is, how it was trained and measured, and how to make it again."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from d2it.data.description import DataDescription, read_description
from d2it.files import read_json
from d2it.use.info import describe_folder

SECONDS = 30.0  # that git may take


def card(folder: Path, name: str, pictures: Sequence[str]) -> str:
    """Markdown with the Hub's front matter.

    Args:
        folder: the pipeline's outputs.
        name: of the exported folder.
        pictures: in it, PNG files by their names without suffix.

    Raises:
        UserError: the folder holds no trained D²iT.
    """
    rows = "\n".join(f"| {what} | {value} |" for what, value in describe_folder(folder))
    shown = "\n\n".join(f"![{picture.replace('_', ' ')}]({picture}.png)" for picture in pictures)
    data = folder / "prepare" / "data.json"
    return f"""---
library_name: d2it
pipeline_tag: unconditional-image-generation
tags: [d2it, diffusion, grain-map]
---

# A D²iT

Three models of [D²iT: Dynamic Diffusion Transformer for Accurate Image Generation](https://arxiv.org/abs/2504.09454)
(Jia, Huang, Chen, Zhang, Mao; 2025), trained with an independent implementation: a Dynamic VAE, a transformer that
draws grain maps (where detail goes), and one that draws images on them.

```python
import d2it

model = d2it.load("{name}")
images, grain_maps = model.sample(classes=[0], seeds=[0])
```

{shown}

## What it is

| | |
|---|---|
{rows}

## How it was measured

{_measured(folder / "fid" / "protocol.json")}
Such numbers compare with others that the same network measured on the same images alone.

## Data

{_data(read_description(data.parent)) if data.exists() else "Not described."}

## Licence

Not chosen yet: whoever publishes these weights writes it here, and as `license` into the lines at the top. The code
that trained them is under Apache-2.0. A model may give back images that it was trained on: their licence holds for
such samples.

## How to make it again

{_origin(folder.resolve().parent)}
"""


def _measured(protocol: Path) -> str:
    if not protocol.exists():
        return "Not measured."
    numbers = read_json(protocol)["numbers"]
    lines = [
        f"| {name} | {about['how']} | {', '.join(f'{n:,} {what}' for what, n in about.get('images', {}).items())} |"
        for name, about in numbers.items()
    ]
    return "\n".join(["| number of `fid` | what it is | images |", "|---|---|---|", *lines, ""])


def _data(data: DataDescription) -> str:
    classes = f"{len(data.classes)} classes: {', '.join(data.classes[:20])}" if data.classes else "no classes"
    return (
        f"{data.train:,} training and {data.validation:,} validation images of {data.image_size} "
        f"pixels, {classes}. Fingerprint of pixels and labels: `{data.fingerprint}`."
    )


def _origin(workspace: Path) -> str:
    commit, experiment = _git(workspace, "rev-parse", "HEAD"), _experiment(workspace)
    of_commit = f" at commit `{commit}`" if commit else ""
    of_experiment = f" It is DVC's experiment `{experiment}`." if experiment else ""
    settings = "`params.yaml` holds all settings: `dvc repro` with it in a clone of the implementation"
    return f"{settings}{of_commit}.{of_experiment}"


def _experiment(workspace: Path) -> str:
    """Name of the experiment whose dvc.lock is the workspace's; '' where there is none."""
    lock = workspace / "dvc.lock"
    if not lock.exists():
        return ""
    text = lock.read_text(encoding="utf-8").strip()
    for ref in _git(workspace, "for-each-ref", "--format=%(refname)", "refs/exps").splitlines():
        if not ref.startswith("refs/exps/exec/") and _git(workspace, "show", f"{ref}:dvc.lock") == text:
            return ref.rpartition("/")[2]
    return ""


def _git(workspace: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(workspace), *arguments], capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
