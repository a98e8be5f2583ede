"""A report says what is there and what is not, beside the paper, in files that need nothing else."""

import re
from pathlib import Path

import pytest

from ablations.findings import find
from ablations.page import html, markdown, write
from ablations.plan import Plan, identity_of, plan
from ablations.report import report
from ablations.tables import read_tables
from tests.ablations.handmade import HandMade
from tools.deps import ROOT

pytestmark = pytest.mark.slow

TABLES = read_tables()
WINDOW = TABLES["window"]
DISTANCE = "fid.fd_efficientnet_lite0"


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> HandMade:
    """The demo's windows: 'without' with both seeds, 8 with one seed, 4 by older code, 2 missing."""
    made = HandMade(tmp_path_factory.mktemp("half"))
    rows = demo(made).rows
    made.add(rows[0].experiments[0], {DISTANCE: 0.30})
    made.add(rows[0].experiments[1], {DISTANCE: 0.32})
    made.add(rows[2].experiments[0], {DISTANCE: 0.20, "train_content.parameters": 1_234_567})
    older = rows[3].experiments[0].name
    made.add(rows[3].experiments[0], {DISTANCE: 0.25}, name=f"{older[:-4]}0000")
    return made


def demo(made: HandMade) -> Plan:
    return plan(WINDOW, made.folder, "demo", 2)


@pytest.fixture(scope="module")
def page(half: HandMade) -> str:
    return markdown(report(find(WINDOW, half.folder), half.folder))


def row(page: str, label: str) -> list[str]:
    """The cells of the first table's row of a setting."""
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|")
    return [cell.replace("\u00a0", " ") for cell in next(cells for cells in rows if cells[0] == label)]


def test_the_preset_and_the_seeds_are_those_that_were_run(page: str) -> None:
    assert "preset `demo`, 2 seeds per setting, 4 of 8 experiments done" in page


def test_ours_stand_beside_the_papers_with_the_difference_to_the_best(page: str) -> None:
    assert row(page, "without RefineNet") == [
        "without RefineNet", "0.3100 ± 0.0141 (n = 2)", "+0.1100", "27.62", "+5.51",
    ]  # fmt: skip
    assert row(page, "8") == ["8", "**0.2000 (n = 1)**; 1 missing", "best", "23.56", "+1.45"]


def test_missing_refused_and_outdated_cells_say_so(page: str) -> None:
    assert row(page, "2")[1] == "2 missing"
    assert row(page, "16")[1] == "left out"
    assert "Left out: 16, as refinenet.window = 16: must divide the latent grid" in page
    assert row(page, "4")[1] == "0.2500 (n = 1) †; 1 missing"
    assert "code that has changed since (†)" in page


def test_without_two_seeds_of_two_settings_nothing_is_decided(page: str) -> None:
    assert "Decided" not in page
    assert "verdict" not in page


def test_each_experiment_has_the_command_that_reproduces_it(page: str, half: HandMade) -> None:
    name = demo(half).rows[2].experiments[0].name
    assert f"`dvc exp apply {name}`" in page
    assert "`python -m ablations run window --preset demo --seeds 2`" in page


def test_markdown_names_only_pictures_that_are_beside_it(half: HandMade, tmp_path: Path) -> None:
    text, _ = write(report(find(WINDOW, half.folder), half.folder), tmp_path)
    named = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text.read_text(encoding="utf-8"))
    assert sorted(tmp_path / one for one in named) == sorted((tmp_path / "window").iterdir())
    assert [Path(one).name for one in named] == [
        "train_content.svg", "samples-without-refinenet.png", "samples-8.png", "samples-4.png",
    ]  # fmt: skip


def test_html_is_one_file_without_scripts_or_outside_addresses(half: HandMade) -> None:
    text = html(report(find(WINDOW, half.folder), half.folder))
    assert "<script" not in text
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', text)
    assert len(sources) == 4
    assert all(source.startswith("data:image/") for source in sources)
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text


def test_a_table_of_which_nothing_was_run_has_a_page(half: HandMade) -> None:
    for table in TABLES.values():
        if table.name not in ("window", "components", "depth", "grain_source", "regularizer"):
            assert "experiments done" in markdown(report(find(table, half.folder, "", 1), half.folder))


def test_an_experiment_of_another_table_counts(half: HandMade) -> None:
    page = markdown(report(find(TABLES["depth"], half.folder, "demo", 1), half.folder))
    assert "0.2000 (n = 1)" in row(page, "4+2")[1]


def test_parameters_are_shown_in_millions_without_a_best(half: HandMade) -> None:
    page = markdown(report(find(TABLES["sizes"], half.folder, "demo", 1), half.folder)).partition("## parameters, M\n")[
        2
    ]
    assert row(page, "4 + 2 layers, width 128") == ["4 + 2 layers, width 128", "1.235 (n = 1)"]


def test_names_end_in_what_the_repository_holds(half: HandMade) -> None:
    ours = plan(WINDOW, ROOT, "demo", 1).rows[2].experiments[0].name
    assert identity_of(ours) == demo(half).rows[2].experiments[0].identity
