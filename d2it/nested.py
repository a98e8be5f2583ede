"""Nested dictionaries, such as params and config files: flattened, and compared."""

from collections.abc import Mapping
from typing import Any

SHOWN = 6  # differences in one line
DIGITS = 12  # of a sha256 in it


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'refinenet': {'window': 4}} as {'refinenet.window': 4}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str]:
    """What each of two sides holds where they differ: ('grain.factors [8]', 'grain.factors [8, 16]'); '' if equal."""
    keys = [key for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key)]
    more = [f"{len(keys) - SHOWN} more"] if len(keys) > SHOWN else []

    def values_of(side: Mapping[str, Any]) -> str:
        return ", ".join([f"{key} {_short(side[key]) if key in side else 'absent'}" for key in keys[:SHOWN]] + more)

    return values_of(one), values_of(other)


def _short(value: Any) -> str:
    is_sha256 = isinstance(value, str) and len(value) == 64
    return f"{value[:DIGITS]}..." if is_sha256 else str(value)
