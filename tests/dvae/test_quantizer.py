"""VQ: the codebook stands still but for one update per step, whose result is a function of codes, order and seed."""

import pytest
import torch
from torch import Tensor

from d2it.dvae.quantizer import Quantizer

SIZE = 16


def codes(n: int = 200, seed: int = 0) -> Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


def started(seed: int = 1) -> Quantizer:
    quantizer = Quantizer(4, SIZE)
    quantizer.learn(codes(), seed)
    return quantizer


def state(quantizer: Quantizer) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in quantizer.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(x, other[name]) for name, x in one.items())


@pytest.mark.parametrize("training", [True, False])
def test_quantising_leaves_the_codebook_as_it_is(training: bool) -> None:
    quantizer = started().train(training)
    before = state(quantizer)
    quantizer(codes(seed=2))
    assert same(before, state(quantizer))


def test_micro_batches_of_a_step_meet_one_codebook() -> None:
    quantizer = started()
    whole = quantizer(codes(60, seed=2))
    parts = [quantizer(part) for part in codes(60, seed=2).split([10, 50])]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_learning_does_not_know_the_state_of_the_global_stream_and_leaves_nothing_but_its_seed_to_chance() -> None:
    torch.manual_seed(5)
    one, other = started(), started()
    assert same(state(one), state(other))
    torch.manual_seed(6)
    few = codes(SIZE, seed=3)  # a code a vector: each is dead, and replaced by chance
    one.learn(few, 7)
    torch.manual_seed(8)
    other.learn(few, 7)
    assert same(state(one), state(other))
    assert not same(state(one), state(started(seed=2)))


def test_a_step_moves_a_vector_a_hundredth_of_the_way_to_the_mean_of_its_codes() -> None:
    """Moving averages of counts and of sums, decay 0.99; here of all codes, since there is one vector."""
    quantizer = Quantizer(4, 1)
    quantizer.learn(codes(), 0)
    torch.testing.assert_close(quantizer(codes())[0], codes().mean(0))
    quantizer.learn(codes() + 1, 1)
    torch.testing.assert_close(quantizer(codes())[0], codes().mean(0) + 0.01)


def test_how_much_of_the_codebook_a_step_uses_is_counted_over_all_of_its_codes() -> None:
    quantizer = started()
    used = quantizer(codes()).unique(dim=0, return_counts=True)[1].double()
    p = used / used.sum()
    numbers = quantizer.learn(codes(), 2)
    assert float(numbers["perplexity"]) == pytest.approx(float((-(p * p.log()).sum()).exp()))
    assert float(numbers["dead_codes"]) == 1 - len(used) / SIZE
    one = quantizer.learn(codes()[:1].expand(30, 4), 3)
    assert (float(one["perplexity"]), float(one["dead_codes"])) == (1, 1 - 1 / SIZE)


def test_learning_in_evaluation_is_refused_where_the_library_would_ignore_it() -> None:
    with pytest.raises(AssertionError):
        started().eval().learn(codes(), 0)
