"""What several stages read of earlier stages' outputs."""

from pathlib import Path

from d2it.saved import read_json


def classes(outputs: Path) -> int:
    """Number of classes of the prepared data; 0 where it has no labels."""
    return len(read_json(outputs / "prepare" / "data.json")["classes"])


def fingerprint(outputs: Path) -> str:
    """sha256 of the prepared data."""
    found: str = read_json(outputs / "prepare" / "data.json")["fingerprint"]
    return found
