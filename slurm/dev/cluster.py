"""The daemons of a private SLURM on this machine: munge, a controller and two nodes; command.py starts and ends it."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from random import SystemRandom

from pipeline.errors import StageError

NODES = ("n1", "n2")
DAEMONS = ("munged", "slurmctld", *NODES)  # in the order of their start
START_SECONDS = 30.0
JOBS_SECONDS = 30.0  # for cancelled jobs to end; above KillWait, after which SLURM kills them
STOP_SECONDS = 15.0
_TEMPLATE = Path(__file__).with_name("dev.conf")
_LONGEST = 80  # characters of the folder: a socket's path holds 107, and a job step's adds about 25
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sinfo", "scancel")
_FOLDERS = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])  # daemons: off a user's PATH


class DevCluster:
    """A SLURM of the nodes n1 and n2, 2 CPUs each, whose state, key, sockets and logs lie in `folder`.

    Runs as the current user, root or not, and listens on 127.0.0.1 only; any number of them run side by side.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """For a process that is to use this cluster, without variables of another one."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        return kept | {"SLURM_CONF": str(self.conf)}

    def up(self, lines: Sequence[str] = ()) -> None:
        """Start the daemons that do not run, and wait until both nodes are idle.

        `lines`: 'KEY=VALUE' for slurm.conf, added, or in place of the template's line of that key.

        Raises:
            StageError: a program is missing, the folder or a line cannot be used, or a daemon does not start.
        """
        if missing := missing_programs():
            raise StageError(
                f"not installed: {', '.join(missing)}; "
                "on Debian or Ubuntu: sudo apt-get install -y --no-install-recommends slurm-wlm munge"
            )
        if all(map(self.pid, DAEMONS)):
            if lines:
                raise StageError(f"{self.folder}: runs already; --conf needs a cluster that is down")
            return
        self.down()
        try:
            self._write(lines)
            for daemon in DAEMONS:
                self.start(daemon)
            self.wait_for_nodes("idle")
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Cancel all jobs, end all daemons, and remove the folder, if there is a cluster."""
        if not self.conf.exists():
            return
        if self.pid("slurmctld"):
            self.run("scancel", f"--user={os.geteuid()}", timeout=STOP_SECONDS)
            _wait_until(lambda: set(self.processes()) <= {self.pid(node) for node in NODES}, JOBS_SECONDS)
        for daemon in DAEMONS[::-1]:
            self.end(daemon)
        _kill(self.processes())
        shutil.rmtree(self.folder)

    def pid(self, daemon: str) -> int | None:
        """Process id of a daemon of this cluster, None if it does not run."""
        with suppress(OSError, ValueError):
            pid = int((self.folder / f"{daemon}.pid").read_text())
            # a stale file may name another process
            return pid if f"{self.folder}/".encode() in Path(f"/proc/{pid}/cmdline").read_bytes() else None
        return None

    def processes(self, node: str | None = None) -> list[int]:
        """All processes of a node, or of all nodes: its slurmd, and those of its jobs."""
        pids, wanted = [], (node,) if node else NODES
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # has ended, or is another user's
                values = dict(entry.partition(b"=")[::2] for entry in path.read_bytes().split(b"\0"))
                name = values.get(b"SLURMD_NODENAME", b"").decode()
                if values.get(b"SLURM_CONF") == os.fsencode(self.conf) and name in wanted:
                    pids.append(int(path.parent.name))
        return pids

    def start(self, daemon: str) -> None:
        """Start a daemon, and wait until it runs.

        Raises:
            StageError: it does not; the message holds the last lines of its output.
        """
        munge = {name: self.folder / file for name, file in _MUNGE_FILES.items()}
        command = {
            # --force: munged wants a folder that everybody can enter; ours is private
            "munged": ("munged", "--foreground", "--force", *(f"--{name}={path}" for name, path in munge.items())),
            "slurmctld": ("slurmctld", "-D", "-f", str(self.conf)),
        }.get(daemon, ("slurmd", "-D", "-f", str(self.conf), "-N", daemon))
        with (self.folder / f"{daemon}.out").open("wb") as output:
            process = subprocess.Popen(
                [_program(command[0]), *command[1:]],
                env=self.environment | ({"SLURMD_NODENAME": daemon} if daemon in NODES else {}),  # see `processes`
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # out of reach of the terminal's Ctrl-C
            )
        _wait_until(lambda: self.pid(daemon) is not None or process.poll() is not None, START_SECONDS)
        if self.pid(daemon) is None:
            raise StageError(f"{daemon} does not start: {self._last_lines(daemon)}")

    def end(self, daemon: str) -> None:
        """End a daemon in order, by force after a while; the jobs of a node go on."""
        pid = self.pid(daemon)
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        if not _wait_until(lambda: self.pid(daemon) is None, STOP_SECONDS):
            _kill([pid])

    def fail(self, node: str) -> None:
        """Kill a node's slurmd and all processes of its jobs at once, as a power cut does."""
        _kill(self.processes(node))

    def run(self, *command: str, timeout: float = 30.0) -> "subprocess.CompletedProcess[str]":
        """Run a program against this cluster; the caller checks its exit code."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def wait_for_nodes(self, *states: str, nodes: Sequence[str] = NODES) -> None:
        """Wait until each of `nodes` is in one of `states`, as sinfo names them.

        Raises:
            StageError: that takes too long.
        """
        output, needed = "", ("munged", "slurmctld", *nodes)

        def decided() -> bool:
            nonlocal output
            output = self.run("sinfo", "--noheader", "--Node", f"--nodes={','.join(nodes)}", "--format=%N %T").stdout
            return ready() or not all(map(self.pid, needed))

        def ready() -> bool:
            return {line.split()[0] for line in output.splitlines() if line.split()[1] in states} == set(nodes)

        _wait_until(decided, START_SECONDS)
        if not ready():
            dead = [f"{daemon} does not run: {self._last_lines(daemon)}" for daemon in needed if not self.pid(daemon)]
            raise StageError(dead[0] if dead else f"nodes are not {' or '.join(states)}: {' '.join(output.split())}")

    def _last_lines(self, daemon: str) -> str:
        """Of a daemon's output."""
        output = self.folder / f"{daemon}.out"
        lines = output.read_text(errors="replace").splitlines() if output.exists() else []
        return "; ".join(lines[-2:]) or "no output"

    def _write(self, lines: Sequence[str]) -> None:
        if len(str(self.folder)) > _LONGEST or " " in str(self.folder):
            raise StageError(f"{self.folder}: must be at most {_LONGEST} characters, no spaces; choose with --folder")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StageError(f"{self.folder}: {error.strerror}; choose another with --folder") from None
        if any(self.folder.iterdir()):
            raise StageError(f"{self.folder}: not empty, and holds no cluster; choose another with --folder")
        ports = dict(zip(("controller_port", "n1_port", "n2_port"), _free_ports(3), strict=True))
        text = _TEMPLATE.read_text(encoding="utf-8").format(folder=self.folder, user=os.geteuid(), **ports)
        self.conf.write_text(with_lines(text, lines), encoding="utf-8")
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        for name in ("slurmctld", *NODES):
            (self.folder / name).mkdir()


_MUNGE_FILES = {
    "key-file": "munge.key", "socket": "munge", "pid-file": "munged.pid", "log-file": "munged.log",
    "seed-file": "munge.seed",
}  # fmt: skip


def with_lines(text: str, lines: Sequence[str]) -> str:
    """`text` of a slurm.conf with 'KEY=VALUE' lines, each added in place of the one of the same key, node or partition.

    Raises:
        StageError: a line is not of the form KEY=VALUE.
    """

    def subject(line: str) -> str:
        first = line.split()[0].lower()
        return first if first.startswith(("nodename=", "partitionname=")) else first.partition("=")[0]

    kept = text.splitlines()
    for line in lines:
        if not line.partition("=")[2] or not line.split("=")[0].isalnum():
            raise StageError(f"--conf {line!r}: must be KEY=VALUE, as in slurm.conf")
        kept = [old for old in kept if old.startswith("#") or subject(old) != subject(line)] + [line]
    return "\n".join(kept) + "\n"


def missing_programs() -> list[str]:
    """Names of the programs that a cluster needs and this machine lacks."""
    return [name for name in _PROGRAMS if shutil.which(name, path=_FOLDERS) is None]


def _program(name: str) -> str:
    return shutil.which(name, path=_FOLDERS) or name


def _free_ports(count: int) -> Iterator[int]:
    """Consecutive ports that are free on 127.0.0.1, below those that the system uses for outgoing connections."""
    for _ in range(1000):
        first = SystemRandom().randrange(20_000, 32_000)
        with suppress(OSError), ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return iter(range(first, first + count))
    raise StageError("no free ports from 20000 to 32000 on 127.0.0.1")


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether `condition` came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
