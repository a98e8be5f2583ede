"""Published models on the Hugging Face Hub: up, and down into its cache. Safetensors, JSON and YAML alone come down."""

import re
from pathlib import Path

from d2it.errors import UserError

READ = ("*.safetensors", "*.json", "*.yaml")  # nothing that would be run or unpickled
_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")


class HubError(UserError):
    """What the Hub does not give or take; the message is one line."""


def is_hub_name(name: Path | str) -> bool:
    """Whether it has the form of a name on the Hub, owner/name, and is no folder here."""
    return _NAME.fullmatch(str(name)) is not None and not Path(name).exists()


def local_folder(given: Path | str) -> Path:
    """A folder here as it is, or what the Hub has under a name; see `download`."""
    return download(str(given)) if is_hub_name(given) else Path(given)


def download(name: str) -> Path:
    """The folder of a published model, from the Hub or, where it has not changed, from the Hub's cache on this machine.

    Raises:
        HubError: there is no such model, or neither Hub nor cache has it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(name, allow_patterns=list(READ)))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise HubError(f"{name}: no such folder, and not to be had from the Hugging Face Hub: {_line(error)}") from None


def push(target: Path, name: str) -> str:
    """Upload an exported folder to the Hub as `owner/name`; returns its address.

    Raises:
        HubError: the Hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        address = api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=target, commit_message="D²iT")
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise HubError(f"{name}: not uploaded: {_line(error)}") from None
    return str(address)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
