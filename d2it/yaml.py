"""YAML 1.2, as DVC reads and writes it: 1e-4 is a number, and 4:00:00 is a text."""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError as _RuamelError


class YAMLError(ValueError):
    """Not YAML; the message is one line that says where."""


def read_yaml(text: str) -> Any:
    """Dictionaries, lists, texts and numbers; no other object is ever made.

    Raises:
        YAMLError: the text is not YAML.
    """
    try:
        return YAML(typ="safe").load(text)
    except _RuamelError as error:
        raise YAMLError(" ".join(str(error).split())) from None
