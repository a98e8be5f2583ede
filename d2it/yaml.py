"""YAML 1.2, as DVC reads and writes it: 1e-4 is a number, and 4:00:00 is a text."""

import contextlib
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError as _RuamelError

from d2it.errors import UserError


class YAMLError(ValueError):
    """Not YAML; the message is one line that says where."""


def read_yaml(text: str) -> Any:
    """Dictionaries, lists, texts and numbers; no other object is ever made.

    Raises:
        YAMLError: the text is not YAML.
    """
    with contextlib.suppress(_RuamelError):
        return YAML(typ="safe").load(text)  # by libyaml, where it is installed
    try:
        return YAML(typ="safe", pure=True).load(text)  # it refuses {time: 4:00:00}, which YAML 1.2 allows
    except _RuamelError as error:
        raise YAMLError(" ".join(str(error).split())) from None


def read_yaml_file(path: Path, error: type[UserError], remedy: str = "") -> Any:
    """`read_yaml` of a file.

    Raises:
        UserError: of the kind `error`: the file is missing, which `remedy` follows, or is not YAML.
    """
    try:
        return read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path}: no such file{remedy}") from None
    except YAMLError as reason:
        raise error(f"{path}: not YAML: {reason}") from None
