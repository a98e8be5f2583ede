"""Changes of a params file as `dvc exp run -S key=value` makes them, checked before any file is changed.

DVC itself would change params.yaml first, and for an unknown key it advises '+key', which adds one that nothing reads.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2it.params.load import ParamsError, check_params
from d2it.params.sections import Params
from d2it.yaml import YAMLError, read_yaml, read_yaml_file


def changed_params(changes: Sequence[str], path: Path = Path("params.yaml")) -> Params:
    """The params of a file with some changed, each change as 'refinenet.window=4', its value as YAML.

    Raises:
        ParamsError: one line for each change that cannot be made, or for each param that cannot be used.
    """
    values = read_yaml_file(path, ParamsError, "; start from one in presets/")
    wrong = [line for change in changes if (line := _apply(values, change))]
    if wrong:
        raise ParamsError("\n".join(wrong))
    return check_params(values, str(path))


def _apply(values: Any, change: str) -> str:
    """Make a change in nested dictionaries; what is wrong with it, or an empty text."""
    key, equals, text = change.partition("=")
    if not equals:
        return f"-S {change}: must be KEY=VALUE"
    *sections, name = key.split(".")
    for part in (*sections, name):
        if not isinstance(values, dict) or part not in values:
            allowed = ", ".join(sorted(values)) if isinstance(values, dict) else "no keys"
            return f"-S {change}: unknown key; allowed here: {allowed}"
        section, values = values, values[part]
    try:
        section[name] = read_yaml(text)
    except YAMLError as error:
        return f"-S {change}: not YAML: {error}"
    return ""
