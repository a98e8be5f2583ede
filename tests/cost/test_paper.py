"""The models have the paper's sizes, and cost no more than the paper says."""

from itertools import pairwise

import pytest

from d2it.cost.models import Row
from d2it.cost.paper import PAPER, of_paper
from d2it.counting import META, content_pass, multiply_adds, parameters
from d2it.transformer.baseline import plain_dit
from d2it.transformer.content import SIZES, DynamicContentTransformer

LIMITS = {"D²iT-B": 27.7, "D²iT-L": 95.5, "D²iT-XL": 145.4}  # G multiply-adds at fine ratio 0.5


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    return {row.model: row for row in of_paper()}


@pytest.mark.slow
@pytest.mark.parametrize("model", LIMITS)
def test_parameters_are_the_papers_within_half_a_percent(rows: dict[str, Row], model: str) -> None:
    assert rows[model].parameters == pytest.approx(rows[model].paper_parameters, rel=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("model", LIMITS)
def test_multiply_adds_at_half_fine_are_within_the_limit_and_grow_with_the_ratio(
    rows: dict[str, Row], model: str
) -> None:
    costs = rows[model].multiply_adds
    assert costs["0.5"] <= LIMITS[model]
    steps = [b - a for a, b in pairwise(costs.values())]
    assert min(steps) > 0
    assert max(steps) <= 1.1 * min(steps)  # linear but for the attention inside windows


@pytest.mark.slow
@pytest.mark.parametrize("size", PAPER)
def test_plain_dit_of_our_backbone_has_dits_parameters_and_multiply_adds(rows: dict[str, Row], size: str) -> None:
    row = rows[f"DiT-{size}/2"]
    assert row.parameters == pytest.approx(row.paper_parameters, rel=0.005)
    assert row.multiply_adds[""] == pytest.approx(row.paper_multiply_adds, abs=0.05)


def test_dit_xl_2_has_the_published_count_of_parameters() -> None:
    """675,129,632 with its fixed positions (256 x 1152), which are no parameters here."""
    with META:
        assert parameters(plain_dit("XL", 2)) == 675_129_632 - 256 * 1152


@pytest.mark.slow
@pytest.mark.parametrize("size", PAPER)
def test_training_at_half_fine_keeps_less_than_dit_on_all_codes(rows: dict[str, Row], size: str) -> None:
    ours, dense = rows[f"D²iT-{size}"].memory, rows[f"DiT-{size}/1"].memory
    assert ours is not None
    assert dense is not None
    assert ours.kept < dense.kept / 2
    assert ours.checkpointed < ours.kept / 3


def test_counting_needs_no_weights_and_no_data() -> None:
    with META:
        model = DynamicContentTransformer(**SIZES["B"])
    assert all(p.is_meta for p in model.parameters())
    costs = [multiply_adds(lambda shares=shares: content_pass(model, shares)) for shares in ([1.0, 0.0], [0.0, 1.0])]
    assert costs[0] < costs[1]
