"""`python -m slurm clean`: what is old goes, what is in use never does, and without --yes nothing is touched."""

import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.lock import alone
from slurm import clean
from slurm.clean import human
from slurm.ledger import Entry
from tests.slurm.repository import STAGE, line_of

KEY = "0123456789abcdef"
OLD = 8 * 86400


class Home:
    """A repository's `.d2it/`, filled by hand."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self._capsys = root, capsys

    def entry(self, stage: str = STAGE) -> Entry:
        return Entry(self.root, stage, KEY)

    def leave(self, path: Path | str, size: int = 1000, age: float = OLD) -> Path:
        """A file so many seconds old, in folders that are as old."""
        file = self.root / ".d2it" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)
        self.make_old(file, age)
        return file

    def leave_run(self, stage: str = STAGE, age: float = OLD) -> Entry:
        """A run whose job is over by the ledger: no entry."""
        name = self.entry(stage).name
        self.leave(f"scratch/{name}/step-1.safetensors", 2_000_000, age)
        self.leave(f"logs/{name}/17_0_log.out", 1000, age)
        for suffix in ("lock", "waiters", "runs"):
            self.leave(f"locks/{name}.{suffix}", 0, age)
        return self.entry(stage)

    def leave_job(self, record: dict[str, object] | None, age: float = OLD, **files: str) -> Entry:
        """The same with an entry, made by another launcher."""
        entry = self.leave_run(age=age)
        (entry.folder / "tree").mkdir(parents=True)
        if record is not None:
            entry.record(record)
        for name, text in files.items():
            (entry.folder / name).write_text(text)
        for path in (*entry.folder.glob("*"), entry.folder):
            self.make_old(path, age)
        return entry

    def make_old(self, path: Path, age: float) -> None:
        then = time.time() - age
        for one in (path, *path.parents):
            if self.root not in one.parents:
                break
            os.utime(one, (then, then))

    def files(self) -> dict[str, float]:
        """All there are, with their times."""
        return {str(path.relative_to(self.root)): path.stat().st_mtime for path in self.root.rglob("*")}

    def clean(self, *arguments: str) -> list[str]:
        """The lines of the command."""
        assert clean.main(arguments) == 0
        return self._capsys.readouterr().out.splitlines()

    @staticmethod
    def slurm_answers(folder: Path, squeue: str = "exit 0", scontrol: str = "exit 1") -> None:
        """Replace SLURM's programs."""
        for name, lines in {"squeue": squeue, "scontrol": scontrol}.items():
            (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
            (folder / name).chmod(stat.S_IRWXU)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("sh", "cat"):
        (folder / name).symlink_to(shutil.which(name) or "")
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def home(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Home:
    root = tmp_path / "repository"
    root.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(root))
    return Home(root, capsys)


def test_without_yes_everything_is_listed_with_size_and_age_and_nothing_is_touched(home: Home) -> None:
    old, young = home.leave_run("train_dvae"), home.leave_run("train_grain", age=3600)
    before = home.files()
    lines = home.clean()
    assert home.files() == before
    assert line_of(lines, old.name).split()[:5] == ["removable", "2.0", "MB", "8.0", "days"]
    assert line_of(lines, old.name).endswith(f"{old.name}: scratch 2.0 MB, logs 1.0 kB, locks")
    assert line_of(lines, young.name).split()[0] == "kept"
    assert line_of(lines, young.name).endswith("younger than 7 days")
    assert "in all: 4.0 MB (scratch 4.0 MB, logs 2.0 kB)" in lines
    assert "removable: 2.0 MB (scratch 2.0 MB, logs 1.0 kB)" in lines
    assert lines[-1] == "remove what is removable: python -m slurm clean --yes"


def test_yes_removes_what_is_old_with_its_locks_and_days_sets_the_age(home: Home) -> None:
    old, young = home.leave_run("train_dvae"), home.leave_run("train_grain", age=3600)
    lines = home.clean("--yes")
    assert line_of(lines, old.name).split()[0] == "removed"
    assert lines[-1] == "removed: 2.0 MB"
    assert not any(old.name in name for name in home.files())
    assert sum(young.name in name for name in home.files()) == 7
    assert "--days 0 --yes" in home.clean("--days", "0")[-1]
    home.clean("--yes", "--days", "0")
    assert not any(young.name in name for name in home.files())
    assert home.clean("--days", "0")[-1].startswith("nothing to remove")


def test_a_run_is_as_young_as_the_youngest_of_its_files(home: Home) -> None:
    entry = home.leave_run()
    home.leave(f"logs/{entry.name}/18_0_log.out", age=60)
    assert "younger than 7 days" in line_of(home.clean("--yes"), entry.name)
    assert (home.root / ".d2it" / "scratch" / entry.name / "step-1.safetensors").exists()


def test_mlflow_journals_weights_and_the_private_cluster_stay_and_are_summed_up(home: Home) -> None:
    stay = ["mlflow.db", "mlartifacts/run/picture.png", "weights/w.pth", "journal/a.jsonl", "slurm-dev/slurm.conf"]
    kept = [home.leave(name) for name in stay] + [home.leave("scratch/mine/notes"), home.leave("queue.json")]
    lines = home.clean("--yes", "--days", "0")
    assert all(path.exists() for path in kept)
    names = ("journal", "mlartifacts", "mlflow.db", "queue.json", "slurm-dev", "weights")
    assert line_of(lines, "stays") == f"stays: {', '.join(f'{name} 1.0 kB' for name in names)}"


def test_what_killed_commands_have_left_goes(home: Home) -> None:
    entry = home.leave_run(age=60)
    gone = home.leave(f"jobs/{entry.name}.gone-5/tree/x", age=60).parents[1]
    doctor = home.leave("doctor-0011223344556677/lock").parent
    lines = home.clean("--yes")
    assert "half removed 1.0 kB" in line_of(lines, gone.name)
    assert line_of(lines, doctor.name).startswith("removed")
    assert not gone.exists()
    assert not doctor.exists()
    assert (home.root / ".d2it" / "scratch" / entry.name).exists()


def test_only_what_removal_frees_counts_as_size(home: Home) -> None:
    entry = home.leave_job({"target": "local", "id": "a", "ranks": []})
    os.link(home.leave("weights/input", 5_000_000), entry.tree / "input")
    home.leave(f"jobs/{entry.name}/tree/output", 3_000_000)
    assert "job 3.0 MB" in line_of(home.clean(), entry.name)


@pytest.mark.parametrize("what", ["lock", "waiters", "runs"])
def test_what_a_launcher_or_a_stage_holds_a_lock_of_is_kept(home: Home, what: str) -> None:
    entry = home.leave_run()
    holds = {"lock": entry.lock, "waiters": entry.waiting, "runs": lambda: alone(home.root, STAGE, KEY)}[what]
    with holds():
        before = home.files()
        assert "holds a lock of it" in line_of(home.clean("--yes", "--days", "0"), entry.name)
        assert home.files() == before
    home.clean("--yes", "--days", "0")
    assert not any(entry.name in name for name in home.files())


def test_a_doctor_that_is_at_work_is_kept(home: Home) -> None:
    lock = home.leave("doctor-0011223344556677/lock")
    code = f"import fcntl; f = open({str(lock)!r}, 'a'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    assert line_of(home.clean("--yes"), "doctor-").startswith("kept")
    other.communicate(b"\n")
    assert line_of(home.clean("--yes"), "doctor-").startswith("removed")


def test_what_comes_into_use_after_it_was_listed_is_kept(home: Home) -> None:
    entry = home.leave_run()
    listed = clean.look(home.root, entry.name)
    home.leave(f"jobs/{entry.name}/submitted.json", age=0)
    assert clean.remove(home.root, listed) == "has come into use"
    listed = clean.look(home.root, entry.name)
    with entry.waiting():
        assert clean.remove(home.root, listed) == "has come into use"
    assert (home.root / ".d2it" / "scratch" / entry.name).exists()
    assert clean.remove(home.root, listed) == ""


def test_a_job_that_has_ended_well_but_was_not_delivered_is_named_and_kept_until_it_is_old(home: Home) -> None:
    record = {"target": "local", "id": "a", "ranks": []}
    entry = home.leave_job(record, age=3600, **{"exit-0": ""})
    before = home.files()
    line = line_of(home.clean("--yes"), entry.name)
    assert line.startswith("kept")
    assert "ended well and was not delivered" in line
    assert home.files() == before
    lines = home.clean("--days", "0")
    assert line_of(lines, entry.name).startswith("removable")
    assert "ended well and was not delivered" in line_of(lines, entry.name)
    home.clean("--days", "0", "--yes")
    assert not entry.folder.exists()


@pytest.mark.parametrize("record", [{"target": "slurm", "id": "17"}, None], ids=["recorded", "not recorded"])
def test_where_slurm_does_not_answer_what_may_be_queued_is_kept_and_the_rest_goes(
    home: Home, programs: Path, record: dict[str, object] | None
) -> None:
    home.slurm_answers(programs, squeue="exit 1")
    entry, other = home.leave_job(record), home.leave_run("train_dvae")
    before = {name: time for name, time in home.files().items() if entry.name in name}
    lines = home.clean("--yes", "--days", "0")
    assert line_of(lines, entry.name).endswith("may be queued or run: SLURM does not answer")
    assert {name: time for name, time in home.files().items() if entry.name in name} == before
    assert line_of(lines, other.name).startswith("removed")


def test_where_there_is_no_slurm_a_recorded_job_of_slurm_is_kept_and_an_entry_without_a_record_goes(home: Home) -> None:
    entry = home.leave_job({"target": "slurm", "id": "17"})
    assert "no squeue on PATH" in line_of(home.clean("--yes"), entry.name)
    (entry.folder / "submitted.json").unlink()
    home.make_old(entry.folder, OLD)
    assert line_of(home.clean("--yes"), entry.name).startswith("removed")


@pytest.mark.parametrize(
    ("state", "goes"),
    [
        ("RUNNING", False), ("PENDING", False), ("COMPLETING", False), ("RESV_DEL_HOLD", False), ("UNHEARD_OF", False),
        ("CANCELLED", True), ("COMPLETED", True), ("TIMEOUT", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("recorded", [True, False])
def test_a_job_in_slurms_queue_is_over_only_in_a_state_that_says_so(
    home: Home, programs: Path, state: str, goes: bool, recorded: bool
) -> None:
    entry = home.leave_job({"target": "slurm", "id": "17"} if recorded else None)
    home.slurm_answers(programs, f"echo '17|{state}|None|n1|{entry.tree}'")
    line = line_of(home.clean("--yes"), entry.name)
    assert line.startswith("removed") if goes else f"job 17 is {state}" in line
    assert (home.root / ".d2it" / "scratch" / entry.name).exists() != goes


def test_checkpoints_of_a_job_that_runs_without_an_entry_are_kept(home: Home, programs: Path) -> None:
    entry = home.leave_run()
    home.slurm_answers(programs, f"echo '17|RUNNING|None|n1|{entry.tree}'")
    assert line_of(home.clean("--yes"), entry.name).endswith("job 17 is RUNNING")


@pytest.mark.parametrize(
    ("scontrol", "goes"),
    [
        ("echo JobId=17 JobName=x JobState=RUNNING Reason=None", False),
        ("echo JobId=17 JobName=x JobState=FAILED Reason=None", True),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", True),
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", False),
    ],
)
def test_a_job_that_squeue_does_not_list_is_asked_for_by_its_id(
    home: Home, programs: Path, scontrol: str, goes: bool
) -> None:
    entry = home.leave_job({"target": "slurm", "id": "17"})
    home.slurm_answers(programs, scontrol=scontrol)
    assert line_of(home.clean("--yes"), entry.name).startswith("removed") == goes
    assert entry.folder.exists() != goes


def test_a_wrong_number_of_days_is_a_mistake_in_one_line(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    for days in ("-1", "much", "1.5"):
        with pytest.raises(SystemExit) as error:
            clean.main([f"--days={days}"])
        assert error.value.code == 2
        assert "must be a whole number of days, at least 0" in capsys.readouterr().err


def test_sizes_have_units_of_1000() -> None:
    sizes = {0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_960: "1.0 MB", 27_000_000_000: "27.0 GB", 2e15: "2000.0 TB"}
    assert {size: human(size) for size in sizes} == sizes
