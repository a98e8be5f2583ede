"""Views fit into MLflow's tags and name what they show."""

import json

from mlflow.utils.validation import MAX_EXPERIMENT_TAG_VAL_LENGTH

from ablations.links import MOST
from ablations.plan import plan, varied
from ablations.tables import DEMO, read_tables
from tools.deps import ROOT
from tracking.views import OVERVIEW, comparison


def test_the_largest_view_of_each_table_fits_into_a_tag_of_mlflow() -> None:
    for table in read_tables().values():
        chosen = plan(table, ROOT, DEMO, 1)
        view = comparison(table.name, varied(chosen.experiments), chosen.metric_keys, ["f" * 32] * MOST)
        assert len(view.state()) < MAX_EXPERIMENT_TAG_VAL_LENGTH


def test_the_overview_hides_no_run_and_puts_distances_before_params() -> None:
    state = json.loads(OVERVIEW.state())
    assert state["searchFilter"] == ""
    assert state["columnOrder"][:3] == ["metrics.`fid.fid`", "metrics.`fid.fd_efficientnet_lite0`",
                                        "params.`grain.fine_ratio`"]  # fmt: skip
    assert set(state["columnWidths"]) == set(state["selectedColumns"])
