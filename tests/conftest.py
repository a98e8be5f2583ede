"""Test-wide settings: fast tests first, and where the others are."""

import hypothesis
import pytest
import torch

pytest_plugins = ["tests.shared", "tests.tracking.fixtures"]  # also for stages and ablations

torch.set_num_threads(1)  # small tensors: threads would only wait for each other
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine fails no test
hypothesis.settings.load_profile("untimed")

LEFT_OUT = ("slow", "slurm", "browser", "demo")  # without -m; see pyproject.toml


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast ones first."""
    items.sort(key=lambda item: any(item.get_closest_marker(name) for name in LEFT_OUT))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was not run, and how to run it."""
    left_out = terminalreporter.stats.get("deselected")
    if left_out and "-m" not in terminalreporter.config.invocation_params.args:
        terminalreporter.write_line(f'{len(left_out)} tests left out: {", ".join(LEFT_OUT)}; all of them: pytest -m ""')
