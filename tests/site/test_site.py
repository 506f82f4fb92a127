"""Does the site build without a warning, and can it be read, found and seen without a network?"""

from __future__ import annotations

import html
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from tests.annotate.inspect.browser import CHROMIUM, DRIVER, Browser

for name in ("furo", "myst_nb", "sphinx_click"):  # `make oldest` installs none of the extra `docs`
    pytest.importorskip(name)

ROOT = Path(__file__).parents[2]
seen = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here")


def built(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """What `make docs` runs, on other folders; the settings are those of docs/."""
    (command,) = [line.strip() for line in (ROOT / "Makefile").read_text().splitlines() if " -m sphinx" in line]
    assert command.endswith(" docs build/site")
    words = command.removesuffix(" docs build/site").replace("$(BIN)/python", sys.executable).split()
    words += ["-c", str(ROOT / "docs"), str(source), str(target)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    found = built(ROOT / "docs", target)
    assert (found.returncode, found.stderr) == (0, "")
    return target


@pytest.mark.parametrize("link", ["[no page](nowhere.md)", "[no heading](index.md#nowhere)", "![no picture](no.png)"])
def test_a_broken_link_fails_the_build(link: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "index.md").write_text(f"# A page\n\n{link}\n")
    found = built(source, tmp_path / "site")
    assert found.returncode != 0
    assert re.search(r"nowhere|no\.png", found.stderr)


def test_every_page_of_the_repository_is_in_the_site(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert len(pages) > 30
    assert not [str(page) for page in pages if not (site / page).is_file()]
    assert (site / "first_labels.html").is_file()


def test_the_reference_has_every_command_with_its_options(site: Path) -> None:
    from cli import EXAMPLES

    text = (site / "commands.html").read_text()
    assert not [name for name in EXAMPLES if f'id="annotate-{name}"' not in text]
    words = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())
    assert not [example for example in EXAMPLES.values() if example not in words]  # two dashes stay two
    assert "Fraction of the pictures to list. Default : 0.04" in words


class Loaded(HTMLParser):
    """What a browser loads with a page: no links, which people follow."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name in ("src", "srcset") or (name == "href" and tag == "link")):
                self.addresses.append(value)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = Loaded()
    for page in site.rglob("*.html"):
        loaded.feed(page.read_text())
    assert len(loaded.addresses) > 100
    assert not [each for each in loaded.addresses if re.match(r"(https?:)?//", each)]
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", style.read_text()), style


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    opened = Browser("--disable-features=BackForwardCache")
    yield opened
    opened.driver.quit()


# Pictures are decoded and two frames drawn: a page that has been loaded may not have been painted yet.
PAINTED = """
const done = arguments[0], decoded = [...document.images].map(image => image.decode().catch(() => null));
Promise.all(decoded).then(() => requestAnimationFrame(() => requestAnimationFrame(() => done())));
"""


def picture(browser: Browser) -> Image.Image:
    """What the window shows. Chromium refuses a picture while it still moves the page to another process: ask again."""
    from selenium.common.exceptions import TimeoutException

    for last in (False, False, True):
        try:
            shot = browser.driver.get_screenshot_as_png()
        except TimeoutException:
            if last:
                raise
        else:
            return Image.open(io.BytesIO(shot)).convert("L")
    raise AssertionError


@seen
def test_the_search_finds_a_word_in_a_folder_of_files(site: Path, browser: Browser) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.driver.get((site / "search.html").as_uri() + "?q=remainder")
    WebDriverWait(browser.driver, 20).until(lambda _: len(browser.all("#search-results li")) > 2)
    assert browser.errors() == []


@seen
@pytest.mark.parametrize("page", ["index", "first_labels", "commands", "format", "study"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_a_page_is_seen_light_dark_and_narrow(
    page: str, width: int, scheme: str, site: Path, browser: Browser, tmp_path: Path
) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.open(site / f"{page}.html")
    browser.driver.execute_async_script(PAINTED)
    shot = picture(browser)
    shot.save(tmp_path / f"{page}-{scheme}-{width}.png")  # for people: pytest keeps the last three folders
    values = shot.histogram()
    background = max(range(256), key=values.__getitem__)
    assert (background > 200) == (scheme == "light")
    assert sum(values) - values[background] > 0.03 * sum(values)  # there is something on it
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    broken = "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    assert browser.run(broken) == []
