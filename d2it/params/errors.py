"""pydantic's errors in the words of somebody who edits a YAML file."""

from typing import Any

from pydantic import BaseModel

_UNION_PARTS = {
    "int",
    "float",
    "list",
    "literal",
    "constrained-int",
    "constrained-float",
}  # how pydantic names the alternatives of a union


def _allowed(error: Any) -> str:
    """What pydantic expected, in words for somebody who edits a YAML file."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        return "missing"
    if kind == "literal_error":
        return f"must be {context['expected']}"
    words = {
        "greater_than_equal": ">= {ge}",
        "greater_than": "> {gt}",
        "less_than_equal": "<= {le}",
        "less_than": "< {lt}",
    }
    if kind in words:
        return f"must be {words[kind].format(**context)}"
    types = {
        "int_type": "a whole number",
        "float_type": "a number",
        "bool_type": "true or false",
        "list_type": "a list",
    }
    types |= {
        "string_type": "text",
        "model_type": "a section with keys",
        "model_attributes_type": "a section with keys",
    }
    return f"must be {types[kind]}" if kind in types else error["msg"]


def _known_keys(root: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Keys that the section at `location` (without its last part) allows."""
    model: Any = root
    for part in location[:-1]:
        model = model.model_fields[part].annotation
    return sorted(model.model_fields)


def error_lines(root: type[BaseModel], errors: list[Any]) -> list[str]:
    """One line 'key = value: what is allowed' per wrong key, from pydantic's errors of checking a `root` model."""
    wrong: dict[str, tuple[str, list[str]]] = {}
    for error in errors:
        location = error["loc"]
        if error["type"] == "extra_forbidden":
            allowed = f"unknown key; allowed here: {', '.join(_known_keys(root, location))}"
        else:
            allowed = _allowed(error)
        names = [str(part) for part in location if not (isinstance(part, str) and part.split("[")[0] in _UNION_PARTS)]
        key = ".".join(names)
        value = "" if error["type"] in ("missing", "extra_forbidden") else f" = {error['input']!r}"
        wrong.setdefault(key, (value, []))[1].append(allowed)
    return [f"{key}{value}: {' or '.join(dict.fromkeys(allowed))}" for key, (value, allowed) in wrong.items()]
