"""pydantic's errors in the words of somebody who edits a YAML file."""

from typing import Any, get_args

from pydantic import BaseModel

_UNION_PARTS = {"int", "float", "list", "literal", "constrained-int", "constrained-float"}  # pydantic's names for them
_ALLOWED = {  # by pydantic's type of error
    "missing": "missing",
    "literal_error": "must be {expected}",
    "greater_than_equal": "must be >= {ge}",
    "greater_than": "must be > {gt}",
    "less_than_equal": "must be <= {le}",
    "less_than": "must be < {lt}",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "string_type": "must be text",
    "model_type": "must be a section with keys",
    "model_attributes_type": "must be a section with keys",
}


def _known_keys(root: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Keys that the section at `location` (without its last part) allows."""
    model: Any = root
    for part in location[:-1]:  # into a list, a dictionary, or a field
        model = get_args(model)[-1] if get_args(model) else model.model_fields[part].annotation
    return sorted(model.model_fields)


def error_lines(root: type[BaseModel], errors: list[Any]) -> list[str]:
    """One line 'key = value: what is allowed' per wrong key, from pydantic's errors of checking a `root` model."""
    wrong: dict[str, tuple[str, list[str]]] = {}
    for error in errors:
        location, kind = error["loc"], error["type"]
        if kind == "extra_forbidden":
            allowed = f"unknown key; allowed here: {', '.join(_known_keys(root, location))}"
        elif kind == "value_error":  # of a check of ours, which says '{value!r}: {what is allowed}'
            allowed = str(error["ctx"]["error"]).partition(": ")[2]
        else:
            allowed = _ALLOWED[kind].format(**error.get("ctx", {})) if kind in _ALLOWED else error["msg"]
        names = [str(part) for part in location if not (isinstance(part, str) and part.split("[")[0] in _UNION_PARTS)]
        value = "" if kind in ("missing", "extra_forbidden") else f" = {error['input']!r}"
        wrong.setdefault(".".join(names), (value, []))[1].append(allowed)
    return [f"{key}{value}: {' or '.join(dict.fromkeys(allowed))}" for key, (value, allowed) in wrong.items()]
