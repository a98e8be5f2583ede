"""What is about to run is counted once, however many experiments share it."""

import re

import pytest

from ablations.cost import cost
from ablations.plan import Experiment
from d2it.cost.data_size import data_size
from d2it.cost.rate import given
from d2it.cost.stages import stage_costs
from pipeline.dag import definitions
from pipeline.key import hashes_of_params
from tests.smallest import changed
from tools.deps import ROOT

RATE = given([1.0])
SHARED = ("train_dvae", "encode_latents", "train_grain")  # by experiments that differ in their windows


def experiment(window: int) -> Experiment:
    return Experiment(f"window-{window}", 0, changed({"refinenet.window": window}))


def counted(todo: list[Experiment], others: list[Experiment]) -> float:
    line = re.match(r"to compute: (\S+) EFLOP, shared stages once: \S+ hours", cost(todo, others, ROOT).line(RATE))
    assert line is not None
    return float(line[1]) * 1e18


def expected(one: Experiment, *left_out: str) -> float:
    costs = stage_costs(one.params, data_size(one.params.data, ROOT)[0])
    return sum(cost.operations for cost in costs if cost.stage not in left_out)


@pytest.mark.slow
def test_shared_stages_are_counted_once() -> None:
    two, four = experiment(2), experiment(4)
    assert counted([two], []) == pytest.approx(expected(two), rel=0.01)
    assert counted([two, four], []) == pytest.approx(expected(two) + expected(four, *SHARED), rel=0.01)
    assert counted([two, two], []) == counted([two], [])


@pytest.mark.slow
def test_stages_of_experiments_that_exist_are_not_counted() -> None:
    assert counted([experiment(4)], [experiment(2)]) == pytest.approx(expected(experiment(4), *SHARED), rel=0.01)


def test_a_stage_is_another_where_its_params_or_those_of_a_stage_before_it_are() -> None:
    stages = definitions(ROOT / "dvc.yaml")
    before, after = (
        hashes_of_params(changed(change), stages) for change in ({}, {"dvae.images": 40, "micro_batch.dvae": 2})
    )
    assert [name for name in stages if before[name] != after[name]] == [name for name in stages if name != "prepare"]
