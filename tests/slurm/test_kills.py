"""A user or the kernel ends a part of a stage on a real SLURM: nothing is lost, to the last bit of its weights."""

import os
import signal

import pytest

from tests.slurm.conftest import Start
from tests.slurm.repository import wait_for
from tests.slurm.workflow import STAGE, end

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.exhaustive]  # test_soak.py has each fault


def test_kill_9_of_the_waiting_dvc_leaves_the_job_and_a_rerun_waits_for_it(workflow: Start, undisturbed: str) -> None:
    w = workflow()
    dvc = w.start()
    w.wait_for_training()
    dvc.kill()
    output, _ = end(dvc)
    assert "dvc was killed" in output
    assert "waiting for job" in w.run()
    assert w.submissions() == 1
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()


def test_kill_9_of_a_rank_ends_the_job_and_a_rerun_goes_on(workflow: Start, undisturbed: str) -> None:
    w = workflow(nodes=2)
    dvc = w.start()
    w.wait_for_training()
    os.kill(w.ranks()[1], signal.SIGKILL)
    output, code = end(dvc)
    assert code != 0
    assert "failed" in output
    assert not (w.folder / "outputs" / STAGE / "weights.safetensors").exists()
    assert "going on from step" in w.run()
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()


def test_scancel_ends_the_stage_which_has_saved_and_a_rerun_goes_on(workflow: Start, undisturbed: str) -> None:
    w = workflow()
    dvc = w.start()
    w.wait_for_training()
    w.cluster.run("scancel", w.job())
    output, code = end(dvc)
    assert code != 0
    assert "CANCELLED" in output
    assert "stopped after step" in output
    assert "going on from step" in w.run()
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()


def test_ctrl_c_ends_the_job_after_it_has_saved_and_a_rerun_goes_on(workflow: Start, undisturbed: str) -> None:
    w = workflow(nodes=2)
    dvc = w.start()
    w.wait_for_training()
    os.killpg(dvc.pid, signal.SIGINT)
    output, code = end(dvc)
    assert code != 0
    wait_for(lambda: not w.jobs())
    step = w.newest_step()
    assert f"stopped after step {step} " in output + "".join(p.read_text() for p in w.folder.glob(".d2it/logs/*/*_0*"))
    assert f"going on from step {step} " in w.run()
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()


def test_two_dvc_at_once_run_one_job(workflow: Start, undisturbed: str) -> None:
    w = workflow()
    first = w.start()
    w.wait_for_training()
    second = w.start()
    ends = [end(first), end(second)]
    assert ends[0][1] == 0, ends[0][0]
    if ends[1][1]:
        assert "lock" in ends[1][0].lower()
    else:
        assert w.submissions() == 2  # one after the other
    assert w.weights() == undisturbed
    w.assert_nothing_is_left()
