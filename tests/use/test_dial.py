"""The dial's page: its costs are counted as the model spends them, and its numbers are the evaluation's."""

from pathlib import Path

import numpy as np
import pytest

import d2it
from d2it.counting import content_pass, multiply_adds
from d2it.use.command import main
from d2it.use.dial import content_multiply_adds
from tests.smallest import Repository


@pytest.fixture(scope="module")
def model(finished: Repository) -> d2it.D2iT:
    return d2it.load(finished.folder / "outputs")


def test_a_page_compares_settings_and_shows_the_same_seeds(finished: Repository, tmp_path: Path) -> None:
    outputs = str(finished.folder / "outputs")
    assert main(["dial", outputs, "--ratios", "0,1", "--images", "8", "--out", str(tmp_path / "dial")]) == 0
    page = (tmp_path / "dial" / "dial.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["0", "1", "as drawn", "as drawn, RefineNet late"]
    assert [float(row.split("|")[2]) for row in rows[2:4]] == [0, 1]
    costs = [float(row.split("|")[3]) for row in rows[2:]]
    assert costs[0] <= costs[3] <= costs[2] <= costs[1]
    assert all("±" in row for row in rows[2:])
    assert (tmp_path / "dial" / "dial.png").exists()


def test_multiply_adds_are_a_pass_per_prediction_and_two_where_it_is_guided(model: d2it.D2iT) -> None:
    one = multiply_adds(lambda: content_pass(model.content, [0.5, 0.5]), model.device)
    flat = multiply_adds(lambda: content_pass(model.content, [1.0, 0.0]), model.device)

    def cost(**settings: object) -> float:
        return content_multiply_adds(model, model.settings.changed(objective=model.objective, **settings), 0.5)

    assert cost(steps=6, guidance=1.0) == 6 * one
    assert cost(steps=6, guidance=2.0, guidance_interval=[0.0, 1.0]) == 12 * one
    assert cost(steps=6, guidance=2.0, guidance_interval=[0.0, 0.5]) == 9 * one
    assert cost(steps=6, guidance=1.0, refine=0.5) == 3 * one + 3 * flat
    assert cost(steps=6, guidance=1.0, refine=0.0) == pytest.approx(5 * flat + one)  # level 0 is always refined


def test_a_folder_without_images_to_compare_with_is_refused_before_anything_is_drawn(
    finished: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["export", str(finished.folder / "outputs"), str(tmp_path / "published")])
    assert main(["dial", str(tmp_path / "published"), "--out", str(tmp_path / "dial")]) == 2
    assert "lacks prepare/train" in capsys.readouterr().err
    assert not (tmp_path / "dial").exists()


def test_late_refinement_and_a_level_of_its_own_draw_other_images_than_always(model: d2it.D2iT) -> None:
    always, late, half = (
        np.stack([np.asarray(i) for i in model.sample([1, 2], 0, progress=False, refine=refine, fine_ratio=0.5).images])
        for refine in ("always", "late", 0.5)
    )
    assert np.array_equal(late, half)
    assert not np.array_equal(always, late)
