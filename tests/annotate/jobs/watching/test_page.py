"""Does the page of a job show each shard, the speed, the workers and every reason, and run nothing?"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from annotate.jobs.status import StatusWatcher
from annotate.jobs.watching import page as module
from annotate.jobs.watching.history import History
from annotate.jobs.watching.page import status_page
from storage import LabelStore, create_store
from tests.annotate.inspect.browser import CHROMIUM, DRIVER, Browser
from tests.annotate.jobs.watching.job import HOSTILE, SCHEMA, store_of_a_job
from tests.labels import random_labels

needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here")
BUILD, DOCS = (Path(__file__).parents[4] / name for name in ("build", "docs"))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> LabelStore:
    """A job in work; the record of shard 12 is damaged."""
    store = store_of_a_job(tmp_path_factory.mktemp("job") / "photos.zarr")
    (Path(store.address) / "shards/record/c/12").write_bytes(b"xx")
    return store


def page_of(store: LabelStore, **more: object) -> str:
    history = History(store)
    watcher = StatusWatcher(store, on_record=history.take)
    now = watcher.read()
    return status_page(store, now, history, watcher.damaged, **more)  # type: ignore[arg-type]


class Elements(HTMLParser):
    """The tags of a page with their classes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.titles: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        if tag == "i" and (title := values.get("title")):
            self.titles.setdefault(str(values["class"]), []).append(title)


def test_each_shard_is_shown_by_its_state(job: LabelStore) -> None:
    cells = Elements(page_of(job)).titles
    assert {state: len(of) for state, of in cells.items()} == {
        "finished": 57, "failed": 3, "damaged": 1, "work": 4, "left": 31,
    }  # fmt: skip
    assert [title.partition(":")[0] for title in cells["work"]] == ["shard 61", "shard 62", "shard 63", "shard 64"]
    assert cells["damaged"] == ["shard 12: record cannot be read"]
    (again,) = [title for title in cells["finished"] if "attempt 2" in title]
    assert re.fullmatch(r"shard 20: finished, 10 pictures; attempt 2; in [\d.]+ s, at .* UTC; by node\d:410\d", again)


def test_many_shards_share_a_cell(job: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CELLS", 30)
    text = page_of(job)
    cells = Elements(text).titles
    assert sum(map(len, cells.values())) == 24
    assert "each cell is 4 shards" in text
    assert cells["damaged"] == ["shards 12 to 15: 1 record cannot be read, 3 finished"]
    monkeypatch.setattr(module, "_CELLS", 3)
    (cell,) = re.findall(r'<i class="work" style="([^"]*)" title="shards 32 to 63: ([^"]*)">', page_of(job))
    assert cell[1] == "3 probably in work, 2 finished, with pictures that have no label, 27 finished"
    assert "var(--finished) 91%" in cell[0]  # 29 of 32


def test_pictures_without_a_label_are_listed_with_their_reasons(job: LabelStore) -> None:
    text = page_of(job)
    assert "Without a label: 3 undecodable" in text
    assert text.count("the file ends too early") == 2


def test_what_a_store_says_is_text_and_nothing_else(job: LabelStore) -> None:
    text = page_of(job)
    assert HOSTILE not in text
    assert text.count("&lt;script&gt;document.title=1&lt;/script&gt;") == 2  # in a key and in a reason
    assert "script" not in Elements(text).tags


def test_the_speed_and_the_workers_are_those_of_the_records(job: LabelStore) -> None:
    text = page_of(job)
    assert re.search(r"Speed: up to [\d.]+ pictures a second", text)
    assert re.search(r"pauses of 2 h \d+ min in all are left out", text)
    assert "Workers: 4" in text
    names = re.findall(r'<tr><td class="name">(node\d:\d+)</td>', text)
    assert sorted(names) == ["node1:4100", "node1:4101", "node2:4102", "node2:4103"]


def test_what_is_too_long_for_the_page_is_counted(job: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WORKERS", 3)
    monkeypatch.setattr("annotate.jobs.watching.history._MOST_FAILURES", 2)
    text = page_of(job)
    assert ("Workers: 4" in text, text.count('<tr><td class="name">'), text.count("and 1 more")) == (True, 3, 2)


def test_the_head_of_the_page_counts_all_pictures_and_is_full_only_when_all_is_done(job: LabelStore) -> None:
    text = page_of(job)
    assert 'aria-label="597 labelled, 3 without a label, 360 pending"' in text
    assert '<i class="finished" style="width:62.188%"></i><i class="failed" style="width:0.312%"></i>' in text
    assert "record cannot be read: 1 (annotate verify --repair)" in text
    nearly = replace(StatusWatcher(job).read(), pictures=100_000, labelled=99_999, failed=0)
    text = status_page(job, nearly, History(job), frozenset())
    assert ("99.9<small>" in text, "100<small>" in text) == (True, False)


def test_times_of_other_days_say_their_day_and_workers_their_last_shard(tmp_path: Path) -> None:
    store = create_store(str(tmp_path / "labels.zarr"), SCHEMA, [f"{n}" for n in range(30)])
    labels = random_labels(np.random.default_rng(0), 10)
    for shard, finished in enumerate(
        ("2026-01-02T10:00:00+00:00", "2026-01-05T11:30:00+00:00", "2026-01-03T09:00:00+00:00")
    ):
        run = {"finished": finished, "worker": "node:1", "seconds": 30.0}
        store.write(store.rows_of(shard), labels, run=run)
    text = page_of(store)
    assert '<td class="number">2026-01-05 11:30</td>' in text
    assert "at 2026-01-02 10:00 UTC; by node:1" in text


@pytest.mark.parametrize(
    ("address", "linked"),
    [("http://head:8265", True), ("https://head/", True), ("javascript:alert(1)", False), ("", False), (None, False)],
)
def test_rays_dashboard_is_linked_where_its_address_is_known(
    address: str | None, linked: bool, job: LabelStore
) -> None:
    assert (f'<a href="{address}">' in page_of(job, dashboard=address)) == linked


def test_only_a_page_that_changes_is_read_again_and_has_the_one_script_that_says_its_age(job: LabelStore) -> None:
    changes, stays = page_of(job, refresh=5.0), page_of(job)
    assert ('http-equiv="refresh" content="5"' in changes, 'http-equiv="refresh"' in stays) == (True, False)
    assert (Elements(changes).tags.count("script"), Elements(stays).tags.count("script")) == (1, 0)
    assert ("script-src 'sha256-" in changes, "script-src 'none'" in stays) == (True, True)


def test_a_store_without_records_and_a_finished_one_have_a_page(tmp_path: Path) -> None:
    empty = page_of(store_of_a_job(tmp_path / "empty.zarr", done=0, shards=3))
    assert (Elements(empty).titles.keys(), "<svg" in empty) == ({"left"}, False)
    done = page_of(store_of_a_job(tmp_path / "done.zarr", done=3, shards=3))
    assert (Elements(done).titles.keys(), "left at this speed" in done) == ({"finished"}, False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    opened = Browser()
    yield opened
    opened.driver.quit()


def aged(page: str, seconds: int) -> str:
    """The page as it is when it was written so many seconds ago."""
    return re.sub(r'data-read="(\d+)"', lambda found: f'data-read="{int(found[1]) - seconds}"', page)


@needs_browser
def test_a_page_that_nobody_writes_again_says_how_old_it_is(job: LabelStore, browser: Browser, tmp_path: Path) -> None:
    text = page_of(job, refresh=400.0)
    shown = []
    for seconds in (0, 1000, 1300, 60 * 90 + 20):  # the browser and we may round a second differently
        (tmp_path / "status.html").write_text(aged(text, seconds))
        browser.open(tmp_path / "status.html")
        shown.append(browser.find("#age").text)
    assert shown[:2] == ["", ""]  # not yet three times as old as it should become
    assert [line.partition(".")[0] for line in shown[2:]] == [
        f"Written {minutes} minutes ago: the watcher may have ended" for minutes in (21, 90)
    ]
    assert browser.errors() == []


@needs_browser
def test_a_page_that_is_written_often_has_a_minute(job: LabelStore, browser: Browser, tmp_path: Path) -> None:
    text = page_of(job, refresh=5.0).replace('content="5"', 'content="600"')  # not while it is looked at
    shown = []
    for seconds in (30, 70):
        (tmp_path / "status.html").write_text(aged(text, seconds))
        browser.open(tmp_path / "status.html")
        shown.append(browser.find("#age").text.partition(":")[0])
    assert shown == ["", "Written 1 minute ago"]


@needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(1180, "light"), (1180, "dark"), (420, "light")])
def test_a_browser_shows_it_light_dark_and_narrow(
    width: int, scheme: str, job: LabelStore, browser: Browser, tmp_path: Path
) -> None:
    """`STATUS_PICTURE=write` makes the picture of docs/ again."""
    text = page_of(job).replace(job.address, "/data/photos.zarr")  # the picture shows no folder of this machine
    (tmp_path / "status.html").write_text(text)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    size = {"width": width, "height": 1180, "deviceScaleFactor": 1, "mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.open(tmp_path / "status.html")
    assert browser.errors() == []
    assert browser.driver.title == "62 % · photos.zarr"
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    dark = browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(20, 20, 24)"
    assert dark == (scheme == "dark")
    finished, left = (
        browser.run(f"return getComputedStyle(document.querySelector('.grid i.{state}')).backgroundColor")
        for state in ("finished", "left")
    )
    assert finished != left
    BUILD.mkdir(exist_ok=True)
    browser.driver.save_screenshot(str(BUILD / f"status-{scheme}-{width}.png"))
    if os.environ.get("STATUS_PICTURE") == "write" and (width, scheme) == (1180, "light"):
        browser.driver.save_screenshot(str(DOCS / "status.png"))
