"""MLflow's pages, as a researcher opens them."""

from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from ablations.links import find_runs, keep_comparison
from tests.browser.conftest import DISTANCES, Windows
from tests.tracking.mlflow_store import runs
from tracking.views import OVERVIEW

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SCROLL = "document.querySelectorAll('*').forEach(e => e.scrollTop = 1e6); "  # a chart is drawn when it is in sight
PICTURES = "return [...document.images].filter(i => i.src.includes('artifact')).map(i => i.complete && i.naturalWidth)"


def until(browser: WebDriver, condition: Callable[[WebDriver], object], what: str) -> None:
    """Wait until a page shows what it must."""
    WebDriverWait(browser, 90, poll_frequency=0.5).until(condition, what)


def text(browser: WebDriver) -> str:
    """All text of the page."""
    return str(browser.execute_script("return document.body.innerText"))  # type: ignore[no-untyped-call]


def test_the_page_that_ui_names_shows_parents_with_columns_of_params_and_metrics(
    browser: WebDriver, windows: Windows
) -> None:
    experiment = runs(windows.folder)[0].info.experiment_id
    browser.get(OVERVIEW.address(windows.server.uri, experiment))
    until(browser, lambda b: all(e.name in text(b) for e in windows.experiments.values()), "the experiments' names")
    until(browser, lambda b: "fid.fd_efficientnet_lite0" in text(b), "a metric's column")
    assert "refinenet.window" in text(browser)
    assert all(f"{distance:g}" in text(browser) for distance in DISTANCES.values())


def test_a_comparison_of_three_windows_shows_three_rows_what_differs_and_the_distance_against_it(
    browser: WebDriver, windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    of_windows = find_runs(windows.folder, [e.name for e in windows.experiments.values()])
    address = keep_comparison(windows.folder, windows.plan, of_windows)
    browser.get(address.replace("http://127.0.0.1:5000", windows.server.uri))
    until(browser, lambda b: "3 matching runs" in text(b), "three rows")
    labels = "return [...document.querySelectorAll('svg .axis .label')].map(label => label.textContent)"
    until(browser, lambda b: b.execute_script(labels), "the parallel coordinates")
    assert browser.execute_script(labels) == ["refinenet.window", "fid.fd_efficientnet_lite0"]
    link = "[...document.querySelectorAll('a')].find(a => a.textContent === arguments[0])"
    top = f"return {link}.getBoundingClientRect().top"
    best_first = sorted(DISTANCES, key=DISTANCES.__getitem__)
    places = [browser.execute_script(top, windows.experiments[label].name) for label in best_first]
    assert places == sorted(places)
    until(browser, lambda b: sum(map(bool, b.execute_script(SCROLL + PICTURES))) == 3, "the samples of all")


def test_the_button_compare_opens_with_what_differs_against_the_distance(browser: WebDriver, windows: Windows) -> None:
    found = runs(windows.folder)
    ids = "[" + ",".join(f'"{run.info.run_id}"' for run in found) + "]"
    query = urlencode({"runs": ids, "experiments": f'["{found[0].info.experiment_id}"]'})
    browser.get(f"{windows.server.uri}/#/compare-runs?{query}")
    until(browser, lambda b: "Comparing 3 Runs" in text(b), "three runs")
    labels = "return [...document.querySelectorAll('svg .axis-title, svg .axis .label')].map(e => e.textContent)"
    until(browser, lambda b: "fid.fd_efficientnet_lite0" in b.execute_script(labels), "the distance's axis")


def test_a_stage_shows_its_pictures_and_curves_before_its_final_numbers(browser: WebDriver, windows: Windows) -> None:
    run = runs(windows.folder, "train_content")[0]
    browser.get(f"{windows.server.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/model-metrics")
    until(browser, lambda b: "train_content.cpu_hours" in text(b), "its numbers")
    lines = text(browser).splitlines()
    assert lines.index("pictures") < lines.index("loss") < lines.index("train_content.cpu_hours")
    assert not any(line.startswith("job") for line in lines)
