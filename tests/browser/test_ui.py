"""The page of `python -m d2it ui`, as somebody paints on it."""

import base64
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from ruamel.yaml import YAML
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

import d2it
from tests.smallest import Repository, changed, run_stages
from tests.test_sizes import write_photos
from tools.deps import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENCE = 300  # s
WATCH = """
window.drawn = false;
const progress = document.querySelector("#image [data-testid=status-tracker]");
new MutationObserver(() => { window.drawn ||= progress.classList.contains("hide"); })
  .observe(progress, {attributes: true});
"""


class Served:
    """The command, in a process of its own, with a folder of its own for temporary files."""

    def __init__(self, outputs: Path, temporary: Path) -> None:
        self.temporary = temporary
        temporary.mkdir()
        command = [sys.executable, "-m", "d2it", "ui", str(outputs), "--port", "0"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"TMPDIR": str(temporary)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Open http://127.0.0.1:"), line
        self.uri = line.split()[1]

    def interrupt(self) -> tuple[int, str]:
        """Ctrl-C; its exit code, and what else it printed."""
        self.process.send_signal(signal.SIGINT)
        printed, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, printed


@pytest.fixture(scope="module")
def served(finished: Repository, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(finished.folder / "outputs", tmp_path_factory.mktemp("ui") / "temporary")
    yield server
    if server.process.poll() is None:
        server.interrupt()


class Page:
    """A window with the page."""

    def __init__(self, browser: WebDriver, uri: str) -> None:
        self.browser = browser
        browser.get(uri)
        self.until(lambda: self.map, "the regions")

    def until(self, condition: Callable[[], object], what: str) -> None:
        WebDriverWait(self.browser, PATIENCE, poll_frequency=0.2).until(lambda _: condition(), what)

    def find(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def region(self, number: int) -> WebElement:
        return self.find(f"#map [data-region='{number}']")

    @property
    def map(self) -> str:
        """A digit for each region."""
        digits = "return [...document.querySelectorAll('#map [data-region]')].map(e => e.dataset.grain).join('')"
        return str(self.browser.execute_script(digits))  # type: ignore[no-untyped-call]

    @property
    def detail(self) -> str:
        """Whose grain map is chosen."""
        return str(self.find("#detail label.selected").text)

    @property
    def notice(self) -> str:
        return " ".join(e.text for e in self.browser.find_elements(By.CSS_SELECTOR, ".toast-body"))

    def picture(self, name: str) -> NDArray[np.int64]:
        """Pixels of an image of the page, as they came from the server."""
        address = self.find(f"#{name} .regions").value_of_css_property("background-image")
        data = base64.b64decode(address.split("base64,")[1].rstrip('")'))
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(np.int64)

    def draw(self) -> None:
        """Press Draw, and wait for the image: until what shows progress on it has come and gone."""
        self.browser.execute_script(WATCH)  # type: ignore[no-untyped-call]
        self.find("#draw").click()
        self.until(lambda: self.browser.execute_script("return window.drawn"), "the image")  # type: ignore

    def drop(self, photo: Path) -> None:
        self.find("#photo input[type=file]").send_keys(str(photo))


@pytest.fixture
def page(browser: WebDriver, served: Served) -> Page:
    return Page(browser, served.uri)


def test_a_painted_region_changes_the_picture_there_more_than_elsewhere(page: Page) -> None:
    page.draw()
    drawn, first = page.map, page.picture("image")
    other = 1 - int(drawn[0])
    page.browser.execute_script(f"document.querySelector('#map input[value=\"{other}\"]').click()")  # type: ignore
    ActionChains(page.browser).click(page.region(0)).perform()
    assert page.map == f"{other}{drawn[1:]}"
    page.until(lambda: page.detail == "as painted", "the choice of what is painted")
    page.draw()
    assert page.map == f"{other}{drawn[1:]}"
    assert np.array_equal(page.picture("before"), first)
    difference = abs(page.picture("image") - first).mean(-1)
    inside = np.zeros(difference.shape, bool)
    inside[:16, :16] = True
    assert difference[inside].mean() > 1.5 * difference[~inside].mean()
    tokens = [int(e.text) for e in page.browser.find_elements(By.CSS_SELECTOR, "#tokens [data-region]")]
    assert tokens == [(1, 5)[int(grain)] for grain in page.map]
    assert f"{sum(tokens)} of 20 tokens" in page.find("#line").text


def test_a_stroke_paints_every_region_that_it_crosses(page: Page) -> None:
    stroke = ActionChains(page.browser).move_to_element(page.region(0)).click_and_hold()
    stroke.move_to_element(page.region(1)).move_to_element(page.region(3)).release().perform()
    assert page.map == "1101"
    page.find("#map button").click()
    assert page.map == "1111"


def test_nothing_painted_draws_what_python_draws(page: Page, finished: Repository) -> None:
    page.draw()
    model = d2it.load(finished.folder / "outputs", "cpu")
    image = model.sample([0], [0], progress=False).images[0]
    assert abs(page.picture("image") - np.asarray(image)).max() <= 1


def test_a_photos_map_is_shown_over_it_and_the_fine_ratio_sweeps_it(page: Page, tmp_path: Path) -> None:
    pixels = np.full((90, 60, 4), 128, np.uint8)
    pixels[15:75, 30:, :3] = np.random.default_rng(0).integers(0, 256, (60, 30, 3))  # busy on the right
    pixels[15:75, 30:, 3] = np.repeat([255, 200], 30)[:, None]  # and less so below
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    page.drop(tmp_path / "photo.png")
    page.until(lambda: page.map == "0101", "the photo's map")
    assert page.detail == "of the photo"
    assert page.picture("map").shape == (32, 32, 3)
    slider = page.find("#ratio input[type=range]")
    seen = {}
    for ratio, place in {0.25: -0.25, 1.0: 0.49}.items():
        ActionChains(page.browser).move_to_element_with_offset(
            slider, round(place * slider.size["width"]), 0
        ).click().perform()
        page.until(lambda ratio=ratio: page.map.count("1") == 4 * ratio, f"the map at {ratio}")  # type: ignore[misc]
        seen[ratio] = page.map
    assert seen == {0.25: "0100", 1.0: "1111"}
    assert page.detail == "of the photo"


def test_what_is_no_photo_is_a_notice_and_the_page_goes_on(page: Page, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"no image")
    page.drop(tmp_path / "photo.png")
    page.until(lambda: "photo.png: no image that can be read" in page.notice, "the notice")
    assert str(tmp_path) not in page.notice
    page.draw()
    assert page.picture("image").shape == (32, 32, 3)


def test_two_windows_and_impatience_disturb_nobody(page: Page, served: Served) -> None:
    page.draw()
    expected, mine = page.picture("image"), page.browser.current_window_handle
    page.browser.switch_to.new_window("window")
    other = Page(page.browser, served.uri)
    other.find("#map button").click()  # all fine
    for _ in range(3):
        other.find("#draw").click()
    page.browser.switch_to.window(mine)
    page.find("#draw").click()
    page.until(lambda: "base64" in page.find("#before .regions").value_of_css_property("background-image"), "another")
    assert np.array_equal(page.picture("image"), expected)
    page.browser.switch_to.window(next(h for h in page.browser.window_handles if h != mine))
    other.until(lambda: "4 of 4 regions fine" in other.find("#line").text, "the other window's image")
    page.browser.close()
    page.browser.switch_to.window(mine)


def test_the_page_calls_nobody_else(page: Page, served: Served) -> None:
    page.draw()
    called = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    names = page.browser.execute_script(called)  # type: ignore[no-untyped-call]
    assert len(names) > 3
    assert [name for name in names if not name.startswith((served.uri, "data:"))] == []


def test_ctrl_c_ends_it_in_silence_while_a_window_is_open(
    browser: WebDriver, finished: Repository, tmp_path: Path
) -> None:
    server = Served(finished.folder / "outputs", tmp_path / "temporary")
    try:
        Page(browser, server.uri).draw()
        code, printed = server.interrupt()
        assert (code, printed) == (0, "")
        assert not any(path.name.startswith("d2it") for path in server.temporary.iterdir())
    finally:
        server.process.kill()


def test_images_that_are_no_squares_are_painted_where_the_pointer_is(
    browser: WebDriver, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("wide")
    params = changed({"data.image_size": [64, 96], "refinenet.window": 4, "data.source": str(folder / "photos")})
    write_photos(folder / "photos", params.data.image_size)
    run_stages(params, folder)
    YAML().dump(params.model_dump(mode="json"), folder / "params.yaml")
    server = Served(folder / "outputs", folder / "temporary")
    try:
        page = Page(browser, server.uri)
        page.draw()
        drawn, first = page.map, page.picture("image")
        assert first.shape == (64, 96, 3)
        panel = page.find("#map .regions").size
        assert panel["width"] / panel["height"] == pytest.approx(1.5, rel=0.05)
        rows, columns = params.region_grid
        corner = columns - 1  # above, right
        other = 1 - int(drawn[corner])
        browser.execute_script(f"document.querySelector('#map input[value=\"{other}\"]').click()")  # type: ignore
        ActionChains(browser).click(page.region(corner)).perform()
        assert page.map == f"{drawn[:corner]}{other}{drawn[columns:]}"
        page.until(lambda: page.detail == "as painted", "the choice of what is painted")
        page.draw()
        difference = abs(page.picture("image") - first).mean(-1)
        inside = np.zeros(difference.shape, bool)
        inside[: 64 // rows, -(96 // columns) :] = True
        assert difference[inside].mean() > 1.5 * difference[~inside].mean()
        assert server.interrupt() == (0, "")
    finally:
        server.process.kill()
