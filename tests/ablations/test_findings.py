"""A table whose numbers differ says which pairs are decided, beside the paper, on its page, as JSON and as LaTeX."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from ablations.__main__ import main
from ablations.findings import TableFindings, as_json, find
from ablations.latex import escaped, latex
from ablations.looks import Looks, keep, record_of
from ablations.page import markdown
from ablations.plan import plan
from ablations.report import report
from ablations.tables import read_tables
from ablations.verdict import Rule
from tests.ablations.handmade import HandMade

pytestmark = pytest.mark.slow

WINDOW, SEEDS_TABLE = read_tables()["window"], read_tables()["seeds"]
MEANS = {"without RefineNet": 0.40, "8": 0.20, "4": 0.30, "2": 0.301}  # the paper: 27.62, 23.56, 23.82, 23.93
SEEDS, SAMPLINGS = 3, 2


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> HandMade:
    """The demo's windows with three training seeds and two samplings each."""
    made = HandMade(tmp_path_factory.mktemp("decided"))
    g = np.random.default_rng(0)
    for row in plan(WINDOW, made.folder, "demo", SEEDS, sampling_seeds=SAMPLINGS).rows:
        for one in row.experiments:
            number = MEANS[row.label] + 0.02 * one.seed + g.normal(0, 0.001)
            made.add(one, {"fid.fd_efficientnet_lite0": number, "train_content.multiply_adds": 2e6})
    return made


@pytest.fixture(scope="module")
def findings(made: HandMade) -> TableFindings:
    return find(WINDOW, made.folder)


@pytest.fixture(scope="module")
def page(made: HandMade, findings: TableFindings) -> str:
    return markdown(report(findings, made.folder)).replace("\u00a0", " ")


def test_all_training_and_sampling_seeds_that_were_run_are_known(findings: TableFindings) -> None:
    assert (findings.plan.preset, findings.plan.seeds, findings.plan.sampling_seeds) == ("demo", SEEDS, SAMPLINGS)
    (finding,) = findings.metrics
    assert {label: len(values) for label, values in zip(finding.labels, finding.values, strict=True)} == {
        "16": 0, "without RefineNet": 6, "8": 6, "4": 6, "2": 6,
    }  # fmt: skip


def test_pairs_are_those_of_the_settings_that_the_preset_can_have(findings: TableFindings) -> None:
    (finding,) = findings.metrics
    named = {(finding.labels[pair.first], finding.labels[pair.second]): pair for pair in finding.pairs}
    assert len(named) == 6
    assert not any("16" in both for both in named)
    assert named["without RefineNet", "8"].level >= 0.05 / 6
    assert {both: pair.verdict for both, pair in named.items()} == {
        ("without RefineNet", "8"): "worse",
        ("without RefineNet", "4"): "worse",
        ("without RefineNet", "2"): "worse",
        ("8", "4"): "better",
        ("8", "2"): "better",
        ("4", "2"): "inconclusive",
    }
    assert finding.agreement(named["8", "4"]) == "agrees"
    assert finding.agreement(named["4", "2"]) == "cannot tell"


def test_the_page_shows_each_verdict_with_its_error_and_the_papers_order(page: str) -> None:
    row = next(line for line in page.splitlines() if line.startswith("| 8 against 4"))
    assert re.search(r"−0\.\d+ ± 0\.\d+ \(−\d+\.\d%\) +\| < 0\.001 +\| \*\*8\*\* is better +\| 0\.0\d+ +\| agrees", row)
    assert "| inconclusive: " in next(line for line in page.splitlines() if line.startswith("| 4 against 2"))
    assert "Decided: 5 of 6 pairs" in page
    assert "it agrees in 5, contradicts in 0, cannot tell in 1 of 6." in page
    assert "each sampled 2 times" in page
    assert "estimates-" in page


def test_the_page_names_the_seeds_that_matter_and_the_cost(page: str) -> None:
    shares = re.search(r"by ([\d.]+) over training seeds and by ([\d.]+) over samplings of one model, (\d+)%", page)
    assert shares is not None
    assert float(shares[1]) == pytest.approx(0.02, rel=0.05)
    assert float(shares[2]) == pytest.approx(0.001, rel=0.5)
    assert int(shares[3]) > 95
    row = next(line for line in page.partition("## Cost")[2].splitlines() if line.startswith("| 8 "))
    images = 96000
    assert [cell.strip() for cell in row.split("|")[2:4]] == ["2", f"{6 * 2e6 * images / 1e15:.3g}"]


def test_json_holds_the_same_unrounded(made: HandMade, findings: TableFindings, capsys: pytest.CaptureFixture[str],
                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(made.folder)
    assert main(["report", "window", "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)
    assert table == json.loads(json.dumps(as_json(findings)))
    (metric,) = table["metrics"]
    assert [pair["verdict"] for pair in metric["pairs"]].count("inconclusive") == 1
    assert metric["settings"][2]["values"][3]["seed"] == 1
    assert not list(made.folder.glob("reports/*"))


def test_latex_marks_the_best_and_what_is_not_decided_against_it(findings: TableFindings) -> None:
    text = latex(findings)
    lines = {line.split("&")[0].strip(): line for line in text.splitlines() if "&" in line}
    assert r"\textbf{0.2" in lines["8"]
    assert "23.56" in lines["8"]
    assert "dagger" not in lines["without RefineNet"]
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    assert len({line.count("&") for line in lines.values()}) == 1
    assert escaped("D²iT_1 & 50%") == r"D$^2$iT\_1 \& 50\%"


def test_a_table_that_was_run_until_decided_is_corrected_for_its_looks(made: HandMade) -> None:
    uncorrected = find(WINDOW, made.folder).metrics[0].pairs[3].p
    path = record_of(made.folder, plan(WINDOW, made.folder, "demo", SEEDS))
    keep(path, Looks(first=2, most=8, sampling_seeds=2))
    try:
        corrected = find(WINDOW, made.folder)
    finally:
        path.unlink()
    assert corrected.rule == Rule(looks=7)
    assert corrected.metrics[0].pairs[3].p == pytest.approx(min(1.0, 7 * uncorrected))


def test_the_table_of_seeds_shows_each_streams_spread_and_no_verdict(tmp_path: Path) -> None:
    spreads = {"all of a training": 0.1, "initial weights": 0.08, "order of images": 0.05, "noise of sampling": 0.01}
    made, g = HandMade(tmp_path), np.random.default_rng(0)
    for row in plan(SEEDS_TABLE, made.folder, "demo", 3).rows:
        for one in row.experiments:
            made.add(one, {"fid.fd_efficientnet_lite0": 1.0 + one.seed * spreads.get(row.label, g.normal())})
    page = markdown(report(find(SEEDS_TABLE, made.folder), made.folder)).replace("\u00a0", " ")
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line[:1] == "|" and "%" in line}
    assert rows.keys() >= spreads.keys()
    assert re.search(r"`seed` +\| 0.1000 +\| 100% +\|", rows["all of a training"])
    assert re.search(r"`seeds.weights` +\| 0.0800 +\| 64% +\|", rows["initial weights"])
    assert "verdict" not in page
