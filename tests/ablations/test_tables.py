"""The paper's tables: every setting of each can run, or one line says why it cannot."""

import pytest

from ablations.plan import identity_of, plan, presets
from ablations.tables import DEMO, TABLES, Table
from tools.deps import ROOT

BY_NAME = {table.name: table for table in TABLES}


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_every_setting_fits_the_tables_own_preset(table: Table) -> None:
    assert [row.label for row in plan(table, ROOT).rows if row.refused] == []


@pytest.mark.parametrize("preset", presets(ROOT))
@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_a_setting_that_a_preset_cannot_have_says_which_key_and_what_is_allowed(table: Table, preset: str) -> None:
    rows = plan(table, ROOT, preset).rows
    assert [row.experiments for row in rows if row.refused] == [()] * sum(bool(row.refused) for row in rows)
    assert all(" = " in row.refused and "must" in row.refused for row in rows if row.refused)
    assert len([row for row in rows if not row.refused]) >= 2


def test_the_demo_leaves_out_only_the_window_that_its_latent_grid_cannot_hold() -> None:
    refused = [(t.name, row.label) for t in TABLES for row in plan(t, ROOT, DEMO).rows if row.refused]
    assert refused == [("window", "16")]


def test_settings_of_a_table_are_different_models() -> None:
    for table in TABLES:
        for preset in ("", DEMO):
            rows = plan(table, ROOT, preset, seeds=1).rows
            names = [row.experiments[0].identity for row in rows if not row.refused]
            assert len(set(names)) == len(names), table.name


def test_a_setting_in_two_tables_is_one_experiment_and_another_preset_another() -> None:
    of = {name: plan(BY_NAME[name], ROOT, seeds=1).rows for name in ("window", "depth", "regularizer", "components")}
    same = {
        of["window"][1].experiments[0].identity,
        of["depth"][1].experiments[0].identity,
        of["regularizer"][1].experiments[0].identity,
        of["components"][3].experiments[0].identity,
    }
    assert len(same) == 1
    assert plan(BY_NAME["window"], ROOT, "ffhq_l", 1).rows[1].experiments[0].identity not in same


def test_names_are_readable_unique_and_the_same_each_time() -> None:
    first = [e.name for t in TABLES for e in plan(t, ROOT, DEMO).experiments]
    assert first == [e.name for t in TABLES for e in plan(t, ROOT, DEMO).experiments]
    assert len(set(first)) == len(first)
    window = next(name for name in first if name.startswith("window-8-seed1-"))
    assert len(identity_of(window)) == len("12345678-1234")


def test_without_refinenet_the_backbone_keeps_all_layers_in_each_size() -> None:
    for preset, layers in (("ffhq_b", 12), ("ffhq_l", 24), (DEMO, 6)):
        params = plan(BY_NAME["window"], ROOT, preset, 1).rows[0].experiments[0].params
        assert (params.content_transformer.layers, params.refinenet.layers) == (layers, 0)


def test_depths_are_labelled_with_the_presets_own_numbers() -> None:
    labels = {preset: [row.label for row in plan(BY_NAME["depth"], ROOT, preset, 1).rows] for preset in ("", DEMO)}
    assert labels == {"": ["12+0", "10+2", "8+4", "12+2", "12+4"], DEMO: ["6+0", "4+2", "2+4", "6+2", "6+4"]}


def test_the_papers_values_are_one_per_metric_at_most() -> None:
    for table in TABLES:
        assert all(len(setting.paper) <= len(table.metrics) for setting in (*table.settings, *table.demo))
