"""How often a table that is run until it is decided may be looked at, kept so that its report corrects for it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ablations.plan import Plan
from d2it.errors import UserError
from d2it.files import write_text


class LooksError(UserError):
    """A table was begun with other looks, or its record cannot be read."""


@dataclass(kw_only=True)
class Looks:
    """What `--until decided` was begun with, and what it has taken so far."""

    first: int  # training seeds at the first look
    most: int  # at the last one
    sampling_seeds: int
    seconds: float = 0.0  # of waiting for experiments
    operations: float = 0.0  # FLOP that were computed meanwhile

    @property
    def count(self) -> int:
        """Looks at most: one after each seed."""
        return self.most - self.first + 1


def record_of(root: Path, plan: Plan) -> Path:
    """Where a table's record with a preset is."""
    return root / ".d2it" / "until" / f"{'-'.join(part for part in (plan.table.name, plan.preset) if part)}.json"


def read(path: Path) -> Looks | None:
    """None if there is none.

    Raises:
        LooksError: it is damaged.
    """
    try:
        return Looks(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise LooksError(f"{path}: {error}: not a record of --until; remove it to begin anew") from None


def begin(path: Path, wanted: Looks) -> Looks:
    """The record that is there, else `wanted`, which is not written yet.

    Raises:
        LooksError: the one that is there has other looks: more of them, decided on after looking, would be no test.
    """
    there = read(path)
    if there is None:
        return wanted
    if (there.first, there.most, there.sampling_seeds) != (wanted.first, wanted.most, wanted.sampling_seeds):
        raise LooksError(
            f"{path}: begun with --seeds {there.first} --max-seeds {there.most} --sampling-seeds "
            f"{there.sampling_seeds}: go on with the same, or remove that file to begin anew"
        )
    return there


def keep(path: Path, looks: Looks) -> None:
    """Write the record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(asdict(looks)) + "\n")
