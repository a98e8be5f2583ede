"""Three windows as experiments in DVC and in a real MLflow server, and a real browser that looks at them."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webdriver import WebDriver

from ablations.plan import Plan, plan
from ablations.tables import read_tables
from d2it.params.sections import Params
from tests.ablations.handmade import HandMade
from tests.tracking.server import Server, free_port
from tracking.tracker import Tracker

SHOWN = ("8", "4", "2")  # windows
DISTANCES = {"8": 1.175, "4": 1.25, "2": 1.5}
FINALS = {"train_content": {"loss": 0.1}, "sample": {"images": 64.0}}


class Windows:
    """A repository with three windows of the demo, seed 0, and MLflow's server over its store."""

    def __init__(self, folder: Path) -> None:
        made, self.folder = HandMade(folder), folder
        self.plan: Plan = plan(read_tables()["window"], folder, "demo", 1)
        self.experiments = {row.label: row.experiments[0] for row in self.plan.rows if row.label in SHOWN}
        for label, experiment in self.experiments.items():
            made.add(experiment, {"fid.fd_efficientnet_lite0": DISTANCES[label], "train_dvae.psnr": 23.2})
            self._track(experiment.name, experiment.params, DISTANCES[label])
        self.server = Server(folder, free_port())

    def _track(self, name: str, params: Params, distance: float) -> None:
        """What an experiment's stages tell MLflow."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            patch.setenv("DVC_EXP_NAME", name)
            patch.setenv("DVC_EXP_BASELINE_REV", "b" * 40)
            g = np.random.default_rng(0)
            for stage in ("train_content", "sample", "fid"):
                key = f"{stage}{name}".encode().hex().ljust(64, "0")[-64:]
                with Tracker.open(stage=stage, key=key, params=params, root=self.folder) as tracker:
                    for step in range(0, 320, 64) if stage == "train_content" else ():
                        picture = g.integers(0, 256, (64, 96, 3), np.uint8)
                        pictures = {"samples": picture} if step % 128 == 0 else {}
                        tracker.report(step, {"loss": 1 / (1 + step)}, pictures)
                    if stage == "sample":
                        tracker.report(0, {}, {"samples": g.integers(0, 256, (64, 96, 3), np.uint8)})
                    tracker.finish(FINALS.get(stage, {"fd_efficientnet_lite0": distance}))


@pytest.fixture(scope="package")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Windows]:
    made = Windows(tmp_path_factory.mktemp("windows"))
    made.server.start()
    yield made
    made.server.stop()


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """Headless Chromium."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-background-networking",
        "--window-size=1920,1100",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    started = webdriver.Chrome(options=options, service=Service(driver))
    started.set_page_load_timeout(120)
    yield started
    started.quit()


@pytest.fixture(autouse=True)
def screenshot(request: pytest.FixtureRequest, browser: WebDriver) -> Iterator[None]:
    """What the browser shows when a test ends, in the folder D2IT_SCREENSHOTS."""
    yield
    if "D2IT_SCREENSHOTS" in os.environ:
        browser.save_screenshot(str(Path(os.environ["D2IT_SCREENSHOTS"], f"{request.node.name}.png")))
