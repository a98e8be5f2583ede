"""params.yaml from a file or a dictionary to checked sections, or to one line for each wrong key."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from d2it.errors import UserError
from d2it.params.combinations import impossible_combinations
from d2it.params.errors import error_lines
from d2it.params.sections import Params
from d2it.yaml import read_yaml_file


class ParamsError(UserError):
    """A params file that cannot be used; the message has one line for each wrong key."""


def check_params(values: Any, origin: str = "params.yaml") -> Params:
    """Check a nested dictionary, as YAML gives it.

    Raises:
        ParamsError: one line 'origin: key = value: what is allowed' for each wrong key, all at once.
    """
    try:
        params = Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError("\n".join(f"{origin}: {line}" for line in error_lines(Params, error.errors()))) from None
    lines = impossible_combinations(params)
    if lines:
        raise ParamsError("\n".join(f"{origin}: {line}" for line in lines))
    return params


def load_params(path: Path | str = "params.yaml") -> Params:
    """Read and check a params file.

    Raises:
        ParamsError: the file is missing, not YAML, or wrong; the message names each wrong key.
    """
    path = Path(path)
    return check_params(read_yaml_file(path, ParamsError, "; start from one in presets/"), str(path))
