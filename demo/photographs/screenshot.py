"""What does the report look like? A real browser opens the photographs' report, and makes docs/report.png of it.

python -m demo.photographs.screenshot [REPORT [PICTURE]]
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

REPORT, PICTURE = Path("demo/out/photographs/report.html"), Path("docs/report.png")
SHOWN, TOKEN = "red_panda.jpg", (3, 3)  # a photograph that may be shown anywhere, and a token of the crop on its face
SIZE = (1280, 807)
_OPEN = "const n = data.pictures.findIndex(each => each.key === arguments[0]); if (n >= 0) open(n); return n >= 0"
# Pictures are decoded and two frames drawn.
_PAINTED = """
const done = arguments[0], decoded = [...document.images].map(image => image.decode().catch(() => null));
Promise.all(decoded).then(() => requestAnimationFrame(() => requestAnimationFrame(() => done())));
"""


def take(report: Path, picture: Path) -> None:
    """Open the report at one photograph, with the targets of a crop, and write what the window shows as a PNG.

    Raises:
        SystemExit: there is no such report, no Chromium, or the report lacks the photograph.
    """
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not report.is_file():
        raise SystemExit(f"there is no report at {report}: `make demo` writes it")
    if not (chromium and driver):
        raise SystemExit("cannot open the report: install Debian's packages chromium and chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb"):
        options.add_argument(argument)
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as browser:
        width, height = SIZE
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(report.absolute().as_uri())
        if not browser.execute_script(_OPEN, SHOWN):
            raise SystemExit(f"{report} does not show {SHOWN}: give the report of the demo's photographs")
        browser.find_element(By.ID, "crop").click()
        view, (row, column) = browser.find_element(By.ID, "view"), TOKEN
        across, down = (0.2 + 0.6 * (place + 0.5) / 8 - 0.5 for place in (column, row))  # the crop is the middle 60 %
        across, down = across * view.size["width"], down * view.size["height"]
        ActionChains(browser).move_to_element_with_offset(view, round(across), round(down)).perform()
        where = f"Token in row {row + 1}, column {column + 1} of the crop"
        WebDriverWait(browser, 20).until(lambda _: browser.find_element(By.ID, "where").text == where)
        browser.execute_async_script(_PAINTED)
        picture.write_bytes(browser.get_screenshot_as_png())


if __name__ == "__main__":
    paths = [Path(word) for word in sys.argv[1:]]
    take(*(paths + [REPORT, PICTURE][len(paths) :]))
