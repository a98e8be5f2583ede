"""The paper's tables: every setting of each can run, or one line says why it cannot."""

import functools
import itertools
import re
from pathlib import Path

import pytest

import ablations.__main__ as cli
from ablations.plan import identity_of, plan, presets
from ablations.tables import DEMO, PATH, Table, TablesError, evaluated, labelled, read_tables
from tools.deps import ROOT

BY_NAME = read_tables()
TABLES = list(BY_NAME.values())


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
            rows = plan(table, ROOT, preset, seeds=2).rows
            names = [row.experiments[1].identity for row in rows if not row.refused]  # seed 1: of `seeds` too
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


def test_all_of_the_papers_comparisons_are_there_with_the_numbers_that_it_prints() -> None:
    printed = {table.name: [setting.paper for setting in table.settings if setting.paper] for table in TABLES}
    assert printed == {
        "components": [[34.67], [29.10], [27.62], [22.11]],
        "depth": [[25.15], [22.11], [26.53], [20.99], [19.96]],
        "window": [[27.62], [22.11], [23.56], [23.82], [23.93]],
        "regularizer": [[25.23, 2.38], [22.11, 2.09]],
        "grain_source": [[15.93], [4.35], [4.47]],
        "grain_source_imagenet": [[12.65], [1.70], [1.73]],
        "fine_ratio": [],
        "convergence": [],
        "seeds": [],
        "sizes": [[None, 136], [None, 467], [1.73, 687]],
    }
    assert [setting.x for setting in BY_NAME["fine_ratio"].settings] == [0.1, 0.3, 0.5, 0.7, 0.9]


def test_points_of_the_convergence_are_each_size_model_and_number_of_steps() -> None:
    settings = iter(BY_NAME["convergence"].settings)
    for size, model, thousands in itertools.product(("B", "L", "XL"), ("D²iT", "DiT"), (100, 200, 300, 400)):
        setting = next(settings)
        assert (setting.label, setting.series) == (f"{model}-{size}, {thousands}K steps", f"{model}-{size}")
        assert (setting.x, setting.preset) == (thousands, f"imagenet_{size.lower()}")
        assert setting.change["content_transformer.images"] == thousands * 1000 * 256
        assert ("grain.fine_ratio" in setting.change) == (model == "DiT")
    assert next(settings, None) is None


def test_a_formula_is_a_sum_over_the_presets_params_and_a_label_shows_them() -> None:
    params = {"a.b": 10, "c.d": 2}
    assert [evaluated(value, params) for value in ("= a.b + c.d - 3", "=a.b-c.d", "= 7")] == [9, 8, 7]
    assert [evaluated(value, params) for value in (0.5, True, "code")] == [0.5, True, "code"]
    assert labelled("{a.b}+{c.d} of {e.f}", params) == "10+2 of {e.f}"


EIGHT = "refinenet.window: 8"
SUM = "must be a sum of params and whole numbers, such as '= refinenet.layers + 2'"


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("title: Sizes", "titel: Sizes", "tables.sizes.titel: unknown key; allowed here: demo, metrics"),
        ("title: Sizes", "", "tables.sizes.title: missing"),
        ("label: DiT,", "label: DiT, papr: 1,", "tables.components.settings.0.papr: unknown key; allowed here: change"),
        ("shape: falls", "shape: rises", "tables.fine_ratio.metrics.1.shape = 'rises': must be 'falls' or"),
        ('label: "16"', "label: 16", "tables.window.settings.1.label = 16: must be text"),
        ("paper: [23.56]", "paper: [low]", "tables.window.settings.2.paper.0 = 'low': must be a number"),
        ("paper: [23.56]", "paper: [1, 2]", "tables.window: 8: paper = [1.0, 2.0]: must be at most one number"),
        (EIGHT, "refinenet.windows: 8", "tables.window: 8: refinenet.windows: unknown key; allowed here: l"),
        (EIGHT, "window: 8", "tables.window: 8: window: unknown key; allowed here: content_transformer"),
        (EIGHT, "refinenet.window: many", "tables.window: 8: refinenet.window = 'many': must be a whole"),
        (EIGHT, "refinenet.window: = refinenet.layer", f"window: 8: refinenet.window = '= refinenet.layer': {SUM}"),
        (EIGHT, "refinenet.window: = data.source + 1", f"window: 8: refinenet.window = '= data.source + 1': {SUM}"),
        (EIGHT, "refinenet.window: = 2 * 4", f"window: 8: refinenet.window = '= 2 * 4': {SUM}"),
        (EIGHT, "refinenet.windows: = 2", "tables.window: 8: refinenet.windows: unknown key"),
        ("metrics: [*fid_50k, *parameters]", "metrics: []", "tables.sizes.metrics = []: "),
        ("title: Sizes", "title: [", "not YAML: "),
    ],
)  # fmt: skip
def test_a_mistake_ends_in_a_line_that_names_the_table_and_the_key(
    right: str, wrong: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    text, path = PATH.read_text(encoding="utf-8"), tmp_path / "tables.yaml"
    assert right in text
    path.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    monkeypatch.setattr(cli, "read_tables", functools.partial(read_tables, path))
    assert cli.main(["list"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    assert sum(message in line for line in lines) == 1


def test_the_table_of_the_documentation_can_be_added(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "tables.yaml").write_text(PATH.read_text(encoding="utf-8") + "\n" + example, encoding="utf-8")
    added = [*read_tables(tmp_path / "tables.yaml").values()][-1]
    rows = plan(added, ROOT, DEMO, 1).rows
    assert [row.experiments[0].params.refinenet.layers for row in rows] == [2, 2, 4]
    assert len({row.experiments[0].identity for row in rows}) == 3


def test_a_file_that_is_empty_or_missing_ends_in_a_line_too(tmp_path: Path) -> None:
    with pytest.raises(TablesError, match="no such file"):
        read_tables(tmp_path / "tables.yaml")
    (tmp_path / "tables.yaml").write_text("")
    with pytest.raises(TablesError, match="must be a section with keys"):
        read_tables(tmp_path / "tables.yaml")
