"""Test-wide settings: fast tests first, on several cores, and where the others are."""

import os
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
import torch

pytest_plugins = ["tests.shared", "tests.tracking.fixtures"]  # also for stages and ablations

torch.set_num_threads(1)  # small tensors: threads would only wait for each other
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine fails no test
hypothesis.settings.load_profile("untimed")

LONGEST = ("ablations/test_run", "test_extending", "slurm/test_faults", "slurm/test_kills", "slurm/test_workflow")
LEFT_OUT = ("slow", "slurm", "browser", "demo")  # without -m; see pyproject.toml


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` of pyproject.toml means: several processes for all files, and none for some or with `-s`."""
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return min(4, os.cpu_count() or 1) if everything and config.option.capture != "no" else 0


@pytest.hookimpl(tryfirst=True)  # before pytest looks for the markers that -m asks for
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast ones first; of the others those files that take minutes, so that no process has one left in the end.

    What needs a repository in which all stages have run is slow.
    """
    for item in items:
        if "finished" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    items.sort(
        key=lambda item: (
            any(item.get_closest_marker(name) for name in LEFT_OUT),
            not any(item.nodeid.startswith(f"tests/{name}.py") for name in LONGEST),
        )
    )


def pytest_deselected(items: list[pytest.Item]) -> None:
    """In a process of pytest-xdist: what it leaves out, for the one that prints."""
    if (output := getattr(items[0].config, "workeroutput", None)) is not None:
        output.setdefault("left_out", []).extend(item.nodeid for item in items)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """All of them leave out the same."""
    reporter = node.config.pluginmanager.get_plugin("terminalreporter")
    if left_out := getattr(node, "workeroutput", {}).get("left_out"):
        reporter.stats["deselected"] = [SimpleNamespace(nodeid=nodeid) for nodeid in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was not run, and how to run it."""
    left_out = terminalreporter.stats.get("deselected")
    if left_out and "-m" not in terminalreporter.config.invocation_params.args:
        terminalreporter.write_line(f'{len(left_out)} tests left out: {", ".join(LEFT_OUT)}; all of them: pytest -m ""')
