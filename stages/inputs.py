"""What several stages read of earlier stages' outputs."""

import json
from pathlib import Path


def classes(outputs: Path) -> int:
    """Number of classes of the prepared data; 0 where it has no labels."""
    data = json.loads((outputs / "prepare" / "data.json").read_text(encoding="utf-8"))
    return len(data["classes"])
