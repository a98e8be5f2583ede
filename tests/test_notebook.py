"""The notebook runs from its first cell to its last, and is committed without what it printed."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.smallest import Repository
from tools.deps import ROOT

pytestmark = pytest.mark.slow

NOTEBOOK = Path("docs", "notebook.ipynb")


@pytest.fixture(autouse=True)
def _nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is this environment's Python, without what a user has set or installed."""
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("PYTHONPATH", raising=False)


def execute(repository: Repository) -> nbformat.NotebookNode:
    """All cells, in a kernel of its own."""
    notebook = nbformat.read(repository.folder / NOTEBOOK, as_version=4)
    folder = str(repository.folder / NOTEBOOK.parent)  # where editors and Jupyter start it
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": folder}}).execute()
    return notebook


def test_every_cell_runs_with_what_was_trained_and_five_pictures_come_out(finished: Repository) -> None:
    notebook = execute(finished)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"stream", "execute_result"}
    shown = ["image/gif" if "image/gif" in output.data else "image/png" for output in outputs if "data" in output]
    assert shown == ["image/png"] * 4 + ["image/gif"]
    assert "32 x 32 pixels, 8 classes: astronaut" in outputs[0].text


def test_without_a_trained_model_the_last_line_tells_what_to_run(tmp_path: Path) -> None:
    repository = Repository.make(tmp_path / "repository")
    with pytest.raises(CellExecutionError, match=r"outputs: lacks train_dvae.*: run dvc repro there"):
        execute(repository)


def test_it_is_committed_without_outputs() -> None:
    notebook = nbformat.read(ROOT / NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in cells] == [([], None)] * len(cells)
