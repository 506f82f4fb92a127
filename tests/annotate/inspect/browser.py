"""What shows the pages of the tests? Headless Chromium, if it is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


class Browser:
    """A page in headless Chromium, and what a person does with it."""

    def __init__(self, *arguments: str) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
            options.add_argument(argument)
        for argument in arguments:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))

    def open(self, page: Path) -> None:
        self.driver.get(page.absolute().as_uri())

    def run(self, program: str, *arguments: object) -> object:
        return self.driver.execute_script(program, *arguments)

    def find(self, selector: str):
        from selenium.webdriver.common.by import By

        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str):
        from selenium.webdriver.common.by import By

        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def point(self, x: float, y: float, *, to: tuple[float, float] | None = None) -> None:
        """Move to a point of the picture, in fractions of its width and height; or drag from there to another."""
        from selenium.webdriver.common.action_chains import ActionChains

        view = self.find("#view")
        self.run("arguments[0].scrollIntoView({block: 'center'})", view)
        width, height = view.size["width"], view.size["height"]

        def offset(x: float, y: float) -> tuple[int, int]:
            return round((x - 0.5) * width), round((y - 0.5) * height)

        chain = ActionChains(self.driver).move_to_element_with_offset(view, *offset(x, y))
        if to is not None:
            chain = chain.click_and_hold().move_to_element_with_offset(view, *offset(*to)).release()
        chain.perform()

    def bars(self) -> list[tuple[str, float]]:
        """What the panel shows: names and per cent."""
        names = [each.text for each in self.all("#bars .name")]
        values = [float(each.text.removesuffix(" %")) for each in self.all("#bars .value")]
        return list(zip(names, values, strict=True))

    def pixels(self) -> object:
        return self.run("return document.getElementById('view').toDataURL()")

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]
