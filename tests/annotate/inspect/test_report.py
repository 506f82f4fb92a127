"""Does the report do in a real browser what it says, with numbers that are those of training?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotate.images import FolderReader
from annotate.inspect import Names, choose_rows, report_page, survey
from annotate.inspect.palette import colours_of, largest, shares
from storage import Box, LabelMap, LabelStore, Schema, create_store, open_store
from tests.annotate.inspect.browser import CHROMIUM, DRIVER, Browser
from tests.labels import random_labels
from tokenlabel import View, align

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Debian's packages chromium and chromium-driver"
)
HOSTILE = '</script><script>document.title="stolen"</script><img src=x onerror="document.title=1">'
ARTIFACTS = Path(__file__).parents[3] / "build"  # screenshots, for people


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LabelStore:
    """Twelve pictures of several shapes, one of them missing, with hostile keys and names; boxes of all kinds."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    labels = random_labels(rng, 12, grid=(6, 5), k=3, class_count=8)
    labels.sizes[:] = [[60, 90], [90, 60], [70, 70]] * 4
    labels.boxes[3:6] = [[-0.25, 0, 1.25, 1], [0, 0.2, 1, 0.8], [-0.07, -0.07, 0.93, 0.93]]
    keys = [f"{n}.png" for n in range(12)]
    keys[2] = "<b>bold</b>&.png"
    for row, key in enumerate(keys):
        if row != 7:
            height, width = labels.sizes[row].tolist()
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(root / key)
    names = (HOSTILE, *(f"thing {n}" for n in range(1, 8)))
    schema = Schema(
        grid=(6, 5), k=3, class_count=8, rows_per_shard=4, class_names=names, target_names=names,
        recipe={"networks": [{"model": "</title><script>document.title=2</script>"}]},
    )  # fmt: skip
    store = create_store(root / "labels.zarr", schema, [*keys, "later.png"], [n % 8 for n in range(13)])
    for rows in store.shards()[:3]:
        store.write(rows, labels[list(rows)])
    return store


@pytest.fixture(scope="module")
def page(store: LabelStore) -> Path:
    folder = Path(store.address).parent
    rows = choose_rows(store, 99)
    (folder / "report.html").write_text(report_page(store, survey(store), rows, FolderReader(folder).read))
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.driver.quit()


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    """The report, freshly opened."""
    browser.open(page)
    assert browser.errors() == []
    return browser


def look_at(browser: Browser, row: int) -> None:
    browser.run("open(arguments[0])", row)
    browser.run("return new Promise(done => setTimeout(done, 100))")


def test_it_opens_without_an_error_and_says_what_is_missing(opened: Browser) -> None:
    assert len(opened.all(".card")) == 12
    assert "12 of 12 labelled pictures" in opened.find("#about").text
    assert "unfinished: 1 pictures are not labelled yet" in opened.find(".warn").text
    look_at(opened, 7)
    assert "the file is gone" in opened.find("#facts").text
    assert opened.errors() == []
    ARTIFACTS.mkdir(exist_ok=True)
    opened.driver.save_screenshot(str(ARTIFACTS / "report.png"))


def test_names_and_keys_are_text_and_nothing_else(opened: Browser, page: Path) -> None:
    assert opened.driver.title == "Labels of </title><script>document.title=2</script>"
    assert len(opened.all("script")) == 2
    assert opened.all("img") == opened.all("#gallery b") == []
    assert any("<b>bold</b>&.png" in card.text for card in opened.all(".card"))
    assert HOSTILE not in page.read_text()
    assert opened.errors() == []


def test_hovering_a_location_shows_its_classes_with_their_probabilities(opened: Browser, store: LabelStore) -> None:
    look_at(opened, 0)
    label, names = store[0], Names.of(store)
    for row, column in ((0, 0), (2, 3), (5, 4)):
        opened.point((column + 0.5) / 5, (row + 0.5) / 6)
        assert opened.find("#where").text == f"Location in row {row + 1}, column {column + 1}"
        expected = [
            (names[int(c)], 100 * float(p))
            for c, p in zip(label.classes[row, column], label.scores[row, column], strict=True)
            if p > 0
        ]
        found = opened.bars()
        assert [name for name, _ in found] == [*(name for name, _ in expected), "all others"]
        assert [value for _, value in found[:-1]] == pytest.approx([value for _, value in expected], abs=0.051)
        assert sum(value for _, value in found) == pytest.approx(100, abs=0.3)


def test_arrow_keys_move_and_others_go_from_picture_to_picture(opened: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    look_at(opened, 0)
    assert opened.find("#where").text == "Location in row 4, column 3"
    opened.press(Keys.ARROW_UP, Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert opened.find("#where").text == "Location in row 3, column 1"
    opened.press("]")
    assert opened.find("#key").text == "1.png"
    opened.press("[", "[")
    assert opened.find("#key").text == "11.png"
    opened.press(Keys.ESCAPE)
    assert opened.find("#gallery").is_displayed()
    assert opened.run("return document.activeElement.dataset.i") == "11"
    opened.press(Keys.ENTER)
    assert opened.find("#key").text == "11.png"


def test_opacity_and_rank_change_the_picture(opened: Browser) -> None:
    look_at(opened, 0)
    seen = [opened.pixels()]
    for control, value in (("opacity", 0), ("opacity", 100), ("rank", 2)):
        opened.run(
            "const e = document.getElementById(arguments[0]); e.value = arguments[1]; "
            "e.dispatchEvent(new Event('input'));",
            control,
            value,
        )
        opened.run("return new Promise(done => setTimeout(done, 60))")
        seen.append(opened.pixels())
    assert len(set(seen)) == 4


def test_a_location_is_as_opaque_as_it_is_probable(opened: Browser, store: LabelStore) -> None:
    """Read back from a canvas without a picture, whose opacity is that of the paint: 75 % of the probability."""
    found = opened.run(
        "const at = document.createElement('canvas'); paint(at, 0, null, 900, 0.75, 0); const g = at.getContext('2d');"
        "const all = g.getImageData(0, 0, at.width, at.height).data, box = region(0, at.width, at.height);"
        "return Array.from({ length: 30 }, (_, n) => { const [x, y, w, h] = box(Math.floor(n / 5), n % 5);"
        "  return all[4 * (Math.round(y + h / 2) * at.width + Math.round(x + w / 2)) + 3] / 255; });"
    )
    assert store[0].scores[..., 0].min() < 0.6
    assert found == pytest.approx((0.75 * store[0].scores[..., 0]).ravel().tolist(), abs=0.006)


def test_a_picture_names_its_largest_classes_beside_their_colours(opened: Browser, store: LabelStore) -> None:
    (colours,), names = colours_of([shares(store[0])]), Names.of(store)
    tags = [[e.text for e in tag.find_elements("css selector", ".text, .share")] for tag in opened.all(".card .tag")]
    parts = [*largest(shares(store[0])).items()][:3]
    assert tags[: len(parts)] == [[names.short(number), f"{100 * part:.0f} %"] for number, part in parts]
    look_at(opened, 0)
    swatches = [each.value_of_css_property("background-color") for each in opened.all("#legend .swatch")]
    assert [tuple(map(int, re.findall(r"\d+", text)[:3])) for text in swatches] == [*colours.values(), (150, 150, 150)]
    assert opened.all("#legend .tag")[-1].text.startswith("all others")


def test_filters_and_orders_choose_pictures(opened: Browser, store: LabelStore) -> None:
    found = survey(store)
    opened.find("#find").send_keys("11")
    assert [card.get_attribute("data-i") for card in opened.all(".card")] == ["11"]
    assert opened.find("#count").text == "1 of 12 pictures"
    opened.find("#find").clear()
    opened.run("document.getElementById('find').dispatchEvent(new Event('input'))")
    opened.find("#disagree").click()
    expected = [row for row in range(12) if found.best[row] != row % 8]
    assert [int(card.get_attribute("data-i")) for card in opened.all(".card")] == expected
    opened.find("#disagree").click()
    opened.run("const e = document.getElementById('sort'); e.value = 'entropy'; e.dispatchEvent(new Event('input'));")
    order = [int(card.get_attribute("data-i")) for card in opened.all(".card")]
    assert order == np.argsort(-found.entropy[:12].round(4), kind="stable").tolist()


@pytest.mark.parametrize("row", [0, 1, 3, 4, 5])
def test_the_crop_tool_has_the_numbers_of_training(opened: Browser, store: LabelStore, row: int) -> None:
    """Of boxes beyond the picture, of a part of it, and half a location off; crops that reach out of the label too."""
    rng = np.random.default_rng(row)
    for tokens in ((8, 8), (3, 5), (14, 14), (9, 9)):
        top, left = rng.uniform(0, 0.6, 2)
        bottom, right = top + rng.uniform(0.05, 1 - top), left + rng.uniform(0.05, 1 - left)
        if tokens == (9, 9):
            top, left, bottom, right = 0.0, 0.0, 1.0, 1.0
        found = opened.run("return tokenTargets(...arguments)", row, [top, left, bottom, right], list(tokens))
        expected = align(store[row], View(Box(top, left, bottom, right)), tokens)
        assert [each["outside"] for each in found] == expected.outside.ravel().tolist()
        for each, scores in zip(found, expected.scores.reshape(-1, len(expected.classes)), strict=True):
            mine = dict(each["entries"])
            theirs = {int(c): float(p) for c, p in zip(expected.classes, scores, strict=True) if p > 0}
            assert mine.keys() == theirs.keys()
            assert [mine[c] for c in theirs] == pytest.approx(list(theirs.values()), abs=1e-5)


def test_dragging_cuts_a_crop_and_its_tokens_show_their_targets(opened: Browser, store: LabelStore) -> None:
    look_at(opened, 0)
    opened.find("#crop").click()
    opened.point(0.25, 0.25, to=(0.75, 0.75))
    crop = opened.run("return crop")
    assert crop == pytest.approx([0.25, 0.25, 0.75, 0.75], abs=0.01)
    opened.point(0.26, 0.26)
    assert opened.find("#where").text.startswith("Token in row 1, column 1 of the crop")
    expected = align(store[0], View(Box(*crop)), (8, 8))
    likeliest = expected.classes[expected.scores[0, 0].argmax()]
    name, value = opened.bars()[0]
    assert name == Names.of(store)[int(likeliest)]
    assert value == pytest.approx(100 * expected.scores[0, 0].max(), abs=0.051)
    opened.driver.save_screenshot(str(ARTIFACTS / "report-crop.png"))


def test_a_crop_is_moved_and_resized_by_keys_and_kept_from_picture_to_picture(opened: Browser) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    look_at(opened, 0)
    opened.find("#crop").send_keys(Keys.ENTER)
    assert opened.run("return crop") == pytest.approx([0.2, 0.2, 0.8, 0.8])
    opened.run("document.getElementById('view').focus()")
    ActionChains(opened.driver).key_down(Keys.SHIFT).send_keys(Keys.ARROW_DOWN).key_up(Keys.SHIFT).perform()
    assert opened.run("return crop") == pytest.approx([0.22, 0.2, 0.82, 0.8])
    ActionChains(opened.driver).key_down(Keys.CONTROL).send_keys(Keys.ARROW_LEFT).key_up(Keys.CONTROL).perform()
    assert opened.run("return crop") == pytest.approx([0.22, 0.2, 0.82, 0.78])
    opened.press("]")
    assert opened.find("#key").text == "1.png"
    assert opened.run("return crop") == pytest.approx([0.22, 0.2, 0.82, 0.78])
    assert opened.find("#where").text.startswith("Token in row")
    opened.run("const e = document.getElementById('tokens'); e.value = 2.4; e.dispatchEvent(new Event('input'));")
    assert opened.run("return targets.length") == 4
    opened.run("document.getElementById('tokens').value = 8; document.getElementById('crop').click()")


def test_the_figures_are_those_of_the_survey(opened: Browser, store: LabelStore) -> None:
    opened.find("#tab-statistics").click()
    text = opened.find("#statistics").text
    found = survey(store)
    assert f"{found.agreement:.3f}" in text
    assert "Confidence: locations by the probability of their best class" in text
    matrix = [
        [cell.text for cell in row.find_elements("css selector", "td")] for row in opened.all("#statistics table tr")
    ]
    counts = [row for row in matrix if len(row) > 2]
    assert sum(int(cell or 0) for row in counts for cell in row) > 0
    assert opened.errors() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(scheme: str, page: Path) -> None:
    """Contrast of text and paper at least 4.5, as WCAG asks for."""
    browser = Browser()
    try:
        browser.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        browser.open(page)
        for selector in ("h1", ".about", ".card span", "#count", ".warn"):
            element = browser.find(selector)
            colours = [
                [int(float(v)) for v in text[text.index("(") + 1 : -1].split(",")[:3]]
                for text in (
                    element.value_of_css_property("color"),
                    browser.find("body").value_of_css_property("background-color"),
                )
            ]
            light, dark = sorted((_luminance(colour) for colour in colours), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (selector, colours)
        browser.driver.save_screenshot(str(ARTIFACTS / f"report-{scheme}.png"))
    finally:
        browser.driver.quit()


def _luminance(colour: list[int]) -> float:
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in (each / 255 for each in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_report_of_a_real_store_without_its_pictures(opened: Browser, finished: Path, tmp_path: Path) -> None:
    store = open_store(finished)
    (tmp_path / "r.html").write_text(report_page(store, survey(store), choose_rows(store, 5), None))
    opened.open(tmp_path / "r.html")
    look_at(opened, 0)
    assert "the report was made without its pictures" in opened.find("#facts").text
    assert opened.errors() == []
    assert isinstance(store[0], LabelMap)
