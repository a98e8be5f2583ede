"""Streams are independent: each can be varied alone."""

from types import SimpleNamespace

import pytest

from d2it.seeds import TrainingSeeds, training_seeds


def seeds(seed: int = 0, model: str = "content", **numbers: int) -> TrainingSeeds:
    return training_seeds(seed, SimpleNamespace(**({"weights": 0, "order": 0, "noise": 0} | numbers)), model)


@pytest.mark.parametrize("name", TrainingSeeds._fields)
def test_a_number_varies_its_own_stream_alone(name: str) -> None:
    changed = seeds(**{name: 1})
    assert [field for field in TrainingSeeds._fields if getattr(changed, field) != getattr(seeds(), field)] == [name]


def test_the_seed_and_the_model_vary_all_streams() -> None:
    for other in (seeds(seed=1), seeds(model="grain")):
        assert not set(other) & set(seeds())


def test_streams_of_a_model_differ_from_each_other() -> None:
    assert len(set(seeds())) == 3
