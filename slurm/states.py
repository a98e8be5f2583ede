"""What becomes of a job, in SLURM's words: its states, and what scontrol and sacct say of its end.

Tested against the formats that SLURM 22.05 to 25.05 document; the states are those of squeue's manual.
"""

import re
from dataclasses import dataclass
from typing import Literal

from slurm.environment import call

WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT")
# Every other state lives, also one that a newer SLURM adds: a job that runs must not be taken for dead.
OVER = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "RECONFIG_FAIL", "TIMEOUT",
)  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What SLURM says of one job."""

    state: str
    exit_code: int  # 128 + n after signal n; 0 also for a job that has not ended

    @property
    def is_over(self) -> bool:
        """Whether it has ended for good, as far as SLURM knows."""
        return self.state in OVER


def look_up(job_id: str) -> Known | Literal["forgotten"] | None:
    """Ask the controller for one job and, where it has forgotten it, the accounting; None where nobody answers."""
    done = call("scontrol", "show", "job", "--oneliner", job_id)
    if done is not None and done.returncode == 0 and (known := parse_scontrol(done.stdout)):
        return known
    if done is None or "Invalid job id" not in done.stderr:
        return None
    accounts = call(
        "sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job_id}", "--format=State,ExitCode"
    )
    if accounts is not None and accounts.returncode == 0 and (known := parse_sacct(accounts.stdout)):
        return known
    return "forgotten"


def parse_scontrol(text: str) -> Known | None:
    """`scontrol show job --oneliner`: 'JobId=7 ... JobState=COMPLETED ... ExitCode=0:0 ...'."""
    state = re.search(r"\bJobState=([A-Z_]+)", text)
    code = re.search(r"(?<!Derived)\bExitCode=(\d+):(\d+)", text)
    return Known(state[1], _exit_code(code)) if state else None


def parse_sacct(text: str) -> Known | None:
    """`sacct --parsable2 --format=State,ExitCode`: 'CANCELLED by 1000|0:15'; the newest start comes last."""
    rows = re.findall(r"^([A-Z_]+)[^|\n]*\|(\d+:\d+)\s*$", text, re.MULTILINE)
    if not rows:
        return None
    state, code = rows[-1]
    return Known(state, _exit_code(re.match(r"(\d+):(\d+)", code)))


def _exit_code(match: re.Match[str] | None) -> int:
    status, number = map(int, match.groups()) if match else (0, 0)
    return 128 + number if number else status
