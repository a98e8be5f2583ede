"""Making a store in SQLite."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.deps import ROOT

SEVERAL = """
import sys, threading
from pathlib import Path

from tracking.database import inode, make
from tracking.store import quiet_mlflow
quiet_mlflow()
databases = [Path(sys.argv[1], str(i), "mlflow.db") for i in range(6)]
threads = [threading.Thread(target=make, args=(one,)) for one in databases]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert all(inode(one) for one in databases)
"""


@pytest.mark.slow
def test_several_threads_of_a_process_make_a_store_each(tmp_path: Path) -> None:
    """alembic, side by side with itself, ended the process with a segmentation fault."""
    subprocess.run([sys.executable, "-c", SEVERAL, str(tmp_path)], cwd=ROOT, check=True, timeout=300)
