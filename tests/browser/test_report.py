"""A table's page, on a phone's width."""

from pathlib import Path

import pytest
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from ablations.findings import find
from ablations.page import write
from ablations.report import report
from tests.browser.conftest import SHOWN, Windows

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


def test_a_report_is_readable_on_a_phone_and_all_its_pictures_open_without_a_network(
    browser: WebDriver, windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    written = write(report(find(windows.plan.table, windows.folder, "demo", 1), windows.folder), tmp_path)
    (page,) = (path for path in written if path.suffix == ".html")
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)  # type: ignore[attr-defined]
    browser.execute_cdp_cmd("Network.enable", {})  # type: ignore[attr-defined]
    browser.execute_cdp_cmd(  # type: ignore[attr-defined]
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1},
    )
    try:
        browser.get(page.as_uri())
        loaded = "return [...document.images].map(image => image.complete && image.naturalWidth > 0)"
        WebDriverWait(browser, 30).until(lambda b: all(b.execute_script(loaded)), "pictures")
        assert len(browser.execute_script(loaded)) >= len(SHOWN)  # samples of each
        widths = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1]
        text = str(browser.execute_script("return document.body.innerText"))
        assert "1.175" in text
        assert "missing" in text  # without RefineNet was never run
        assert all(experiment.name in text for experiment in windows.experiments.values())
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})  # type: ignore[attr-defined]
        browser.execute_cdp_cmd("Network.disable", {})  # type: ignore[attr-defined]
