"""What SLURM prints of jobs, from 22.05 to 25.05: our own lines in the formats that its manuals document."""

import pytest

from slurm.environment import without_settings
from slurm.queue import parse_squeue
from slurm.states import OVER, Known, parse_sacct, parse_scontrol

SCONTROL = {
    "22.05": (
        "JobId=7 JobName=d2it-fid UserId=ann(1000) GroupId=ann(1000) MCS_label=N/A Priority=1 Nice=0 Account=(null) "
        "QOS=(null) JobState=COMPLETED Reason=None Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 "
        "ExitCode=0:0 RunTime=00:00:03 TimeLimit=00:10:00 WorkDir=/r/.d2it/jobs/fid-0123/tree"
    ),
    "23.11": (
        "JobId=7 JobName=d2it-fid UserId=ann(1000) GroupId=ann(1000) MCS_label=N/A Priority=1 Nice=0 Account=lab "
        "QOS=normal JobState=OUT_OF_MEMORY Reason=OutOfMemory Dependency=(null) Requeue=1 Restarts=2 BatchFlag=1 "
        "Reboot=0 ExitCode=0:125 DerivedExitCode=9:0 RunTime=00:00:03"
    ),
    "24.05": (
        "JobId=7 JobName=d2it-fid UserId=ann(1000) GroupId=ann(1000) Priority=1 Nice=0 Account=lab QOS=normal "
        "WCKey=* JobState=FAILED Reason=NonZeroExitCode Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 "
        "DerivedExitCode=3:0 ExitCode=2:0 RunTime=00:00:03 TimeLimit=00:10:00 TimeMin=N/A"
    ),
    "25.05": (
        "JobId=7 JobName=d2it-fid UserId=ann(1000) GroupId=ann(1000) Priority=1 Nice=0 Account=lab QOS=normal "
        "JobState=EXPEDITING Reason=None Dependency=(null) Requeue=1 Restarts=1 BatchFlag=1 Reboot=0 ExitCode=0:0"
    ),
}


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("22.05", Known("COMPLETED", 0)),
        ("23.11", Known("OUT_OF_MEMORY", 128 + 125)),
        ("24.05", Known("FAILED", 2)),
        ("25.05", Known("EXPEDITING", 0)),
    ],
)
def test_scontrol_gives_state_and_exit_code_of_the_job_itself(version: str, known: Known) -> None:
    assert parse_scontrol(SCONTROL[version]) == known


def test_scontrols_other_words_are_no_job() -> None:
    assert parse_scontrol("No jobs in the system") is None


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("COMPLETED|0:0\n", Known("COMPLETED", 0)),
        ("CANCELLED by 1000|0:15\n", Known("CANCELLED", 143)),
        ("PREEMPTED|0:0\nFAILED|2:0\n", Known("FAILED", 2)),  # with --duplicates: the newest start last
        ("NODE_FAIL|1:0\r\n", Known("NODE_FAIL", 1)),
        ("", None),
        ("Slurm accounting storage is disabled\n", None),
    ],
)
def test_sacct_gives_state_and_exit_code_of_the_newest_start(text: str, known: Known | None) -> None:
    assert parse_sacct(text) == known


@pytest.mark.parametrize("state", ["RESV_DEL_HOLD", "REVOKED", "EXPEDITING", "POWER_UP_NODE", "A_STATE_OF_NEXT_YEAR"])
def test_a_state_that_is_not_known_to_be_an_end_lives(state: str) -> None:
    assert state not in OVER
    assert not Known(state, 0).is_over


def test_squeue_is_read_whatever_a_site_prints_around_it() -> None:
    text = (
        "* maintenance on Monday *\n"
        "7|RUNNING|None|n[1-2]|/r/a|b/tree\n"
        " 67108871|PENDING|Priority||/r/c\n"
        "8_[1-4]|PENDING|Resources||/other\n"
        "CLUSTER: one\n"
    )
    jobs = parse_squeue(text)
    assert list(jobs) == ["7", "67108871"]
    assert (jobs["7"].state, jobs["7"].nodes, jobs["7"].folder) == ("RUNNING", "n[1-2]", "/r/a|b/tree")
    assert jobs["67108871"].reason == "Priority"


def test_settings_of_a_site_a_user_or_an_outer_job_are_dropped_but_not_which_cluster_and_who_asks() -> None:
    dropped = (
        "SQUEUE_PARTITION", "SBATCH_EXPORT", "SBATCH_TIMELIMIT", "SLURM_CLUSTERS", "SLURM_JOB_ID", "SRUN_CPUS_PER_TASK",
        "SCONTROL_ALL", "SINFO_FORMAT", "SACCT_FORMAT", "SALLOC_QOS", "SCANCEL_QOS",
    )  # fmt: skip
    kept = {"SLURM_CONF": "/etc/slurm.conf", "SLURM_JWT": "token", "PATH": "/bin", "LOGNAME": "ann"}
    assert without_settings(kept | dict.fromkeys(dropped, "x")) == kept
