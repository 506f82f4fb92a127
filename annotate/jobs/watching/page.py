"""How does a browser show a job? By one file that loads nothing, made again at each reading."""

from __future__ import annotations

import hashlib
import math
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from string import Template

import numpy as np
from numpy.typing import NDArray

from annotate.jobs.status import StoreStatus
from annotate.jobs.watching.history import History, Speeds
from annotate.text import duration, printable
from storage import LabelStore

_CELLS = 2000  # of the grid: where there are more shards, a cell stands for several
_PARTS = 120  # of the time in the charts
_WORKERS = 30  # that are listed
_LATE = 60.0  # seconds at least, after which a page that should have been written again says how old it is
_SCRIPT = "age.js"
_SPARK = 24  # parts of the time in the chart of a worker
# The states of a shard, from what is seen first in a cell of several, and what the legend says.
_STATES = {
    "damaged": "record cannot be read",
    "work": "probably in work",
    "failed": "finished, with pictures that have no label",
    "finished": "finished",
    "left": "left",
}


def status_page(
    store: LabelStore,
    now: StoreStatus,
    history: History,
    damaged: frozenset[int],
    *,
    refresh: float | None = None,
    dashboard: str | None = None,
) -> str:
    """The page as the text of one HTML file.

    Keys, reasons and names of workers come from anywhere: they are escaped, and the page allows no script but its own,
    by its hash. That one is only in a page that changes: if nobody writes it again, it says how old it is.

    Args:
        store: the store.
        now: its status.
        history: of all its records that have been read.
        damaged: the shards whose records cannot be read.
        refresh: seconds after which a browser reads the file again, or None where it will not change.
        dashboard: the address of Ray's own dashboard, http:// or https://, or None.
    """
    read = datetime.now(UTC)
    states = _states(store, now, history, damaged, read.timestamp())
    counts = Counter(states)
    done = now.labelled + now.failed
    percent = math.floor(1000 * done / now.pictures) / 10 if now.pictures else 100.0  # 100 only when all is done
    workers = [*now.workers][:_WORKERS]
    speeds = history.speeds(_PARTS, [])
    name = escape(printable(store.address.rstrip("/").rpartition("/")[2] or store.address))
    about = [escape(printable(store.address)), f"read at {_time(read.timestamp())} UTC"]
    if dashboard is not None and dashboard.startswith(("http://", "https://")):
        about.append(f'<a href="{escape(dashboard)}">Ray’s dashboard</a>')
    each = math.ceil(len(states) / _CELLS)
    values = {
        "refresh": "" if refresh is None else f'<meta http-equiv="refresh" content="{max(1, round(refresh))}">',
        "scripts": "'none'" if refresh is None else f"'sha256-{_hash(_read(_SCRIPT))}'",
        "age": "" if refresh is None else _age(read.timestamp(), refresh),
        "title": f"{percent:.0f} % · {name}",
        "title_of_page": name,
        "about": " · ".join(about),
        "percent": f"{percent:g}",
        "bar": _bar(now),
        "bar_label": f"{now.labelled:,} labelled, {now.failed:,} without a label, {now.pending:,} pending",
        "facts": "".join(f"<div><dt>{term}</dt><dd>{fact}</dd></div>" for term, fact in _facts(now)),
        "shards_heading": f"Shards: {now.shards - now.shards_pending:,} of {now.shards:,} finished"
        + (f", {now.retried:,} of them in a second or third attempt" if now.retried else ""),
        "grid": "".join(_cells(states, history, each)),
        "grid_label": ", ".join(f"{counts[state]:,} {_STATES[state]}" for state in _STATES if counts[state]),
        "cell": "13px" if len(states) > 400 else "20px" if len(states) > 60 else "30px",
        "legend": "".join(_legend(counts, each)),
        "speed": "" if speeds is None else _speed(speeds),
        "workers": _workers(now, history, workers),
        "failures": _failures(store, now, history),
    }
    return Template(_read("status.html")).substitute(values).encode("utf-8", "replace").decode()


def _read(name: str) -> str:
    """The text of a file beside this one."""
    return files("annotate.jobs.watching").joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """The SHA-256 of a script as the policy of a page names it."""
    return b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _age(read: float, refresh: float) -> str:
    """Where the page says how old it is, and the script that does."""
    late = max(_LATE, 3 * refresh)
    return f'<p id="age" data-read="{read:.0f}" data-late="{late:.0f}" hidden></p><script>{_read(_SCRIPT)}</script>'


def _states(
    store: LabelStore, now: StoreStatus, history: History, damaged: frozenset[int], seconds: float
) -> list[str]:
    """The state of every shard."""
    states = ["left"] * store.shard_count
    for shard, finished in history.shards.items():
        states[shard] = "failed" if finished.failed else "finished"
    for shard in damaged:
        states[shard] = "damaged"
    for shard in () if now.is_at_rest else history.in_work(seconds, damaged):
        states[shard] = "work"
    return states


def _facts(now: StoreStatus) -> Iterator[tuple[str, str]]:
    """The figures at the head of the page."""
    yield "labelled", f"{now.labelled:,}"
    yield "without a label", f"{now.failed:,}"
    yield "pending", f"{now.pending:,}"
    if now.damaged:
        yield "records that cannot be read", f"{now.damaged:,}"
    if not now.is_at_rest:
        yield "pictures a second", "none lately" if now.speed is None else f"{now.speed:,.1f}"
        if now.seconds_left is not None:
            yield "left at this speed", duration(now.seconds_left)


def _bar(now: StoreStatus) -> str:
    """How much is labelled, and how much has no label, as parts of a bar."""
    parts = {"finished": now.labelled, "failed": now.failed}
    return "".join(
        f'<i class="{state}" style="width:{100 * count / now.pictures:.3f}%"></i>'
        for state, count in parts.items()
        if count
    )


def _cells(states: Sequence[str], history: History, each: int) -> Iterator[str]:
    """The cells of the grid, each with what a pointer shows. One of several shards is filled by what is finished."""
    for first in range(0, len(states), max(1, each)):
        of = states[first : first + each]
        if each == 1:
            yield f'<i class="{of[0]}" title="{escape(_about(first, of[0], history))}"></i>'
            continue
        counts = Counter(of)
        text = ", ".join(f"{counts[state]:,} {_STATES[state]}" for state in _STATES if counts[state])
        worst = next(state for state in _STATES if counts[state])
        done = 100 * (counts["finished"] + counts["failed"]) / len(of)
        partly = f"linear-gradient(to top, var(--finished) {done:.0f}%, var(--left) {done:.0f}%)"
        style = f' style="background:{partly}"' if worst in ("finished", "left", "work") and 0 < done < 100 else ""
        state = "finished" if done == 100 and worst == "finished" else worst
        yield f'<i class="{state}"{style} title="shards {first} to {first + len(of) - 1}: {text}"></i>'


def _about(shard: int, state: str, history: History) -> str:
    """What a pointer shows of a shard."""
    parts = [f"shard {shard}: {_STATES[state]}"]
    if found := history.shards.get(shard):
        parts[0] += f", {found.failed:,} of {found.rows:,} pictures" if found.failed else f", {found.rows:,} pictures"
        if found.attempt > 1:
            parts.append(f"attempt {found.attempt}")
        if not math.isnan(found.finished):
            parts.append(f"in {duration(found.finished - found.begun)}, at {_time(found.finished)} UTC")
        if found.worker:
            parts.append(f"by {printable(found.worker)}")
    return "; ".join(parts)


def _legend(counts: Counter[str], each: int) -> Iterator[str]:
    for state in ("finished", "failed", "damaged", "work", "left"):
        if counts[state]:
            advice = " (annotate verify --repair)" if state == "damaged" else ""
            yield f'<li><i class="{state}"></i>{_STATES[state]}: {counts[state]:,}{advice}</li>'
    if each > 1:
        yield f"<li>each cell is {each:,} shards</li>"


def _speed(speeds: Speeds) -> str:
    """The chart of the speed of all workers together."""
    values = speeds.of[""]
    left_out = "a shard counts once it is finished" + (
        f"; pauses of {duration(speeds.pauses)} in all are left out" if speeds.pauses > 0 else ""
    )
    axis = (f"{_time(speeds.start)} UTC", left_out, f"{_time(speeds.stop)} UTC")
    return (
        f"<section><h2>Speed: up to {values.max():,.1f} pictures a second</h2>"
        f'<svg class="chart" {_box(values)}>{_path(values, values.max())}</svg>'
        f'<div class="axis">{"".join(f"<span>{each}</span>" for each in axis)}</div></section>'
    )


def _workers(now: StoreStatus, history: History, names: Sequence[str]) -> str:
    """The table of workers, those with the most pictures first."""
    speeds = history.speeds(_SPARK, [*names])
    if not names or speeds is None:
        return ""
    highest = max(float(speeds.of[name].max()) for name in names)
    latest: dict[str, float] = {}
    for each in history.shards.values():
        latest[each.worker] = max(latest.get(each.worker, -math.inf), each.finished)
    rows = "".join(
        f'<tr><td class="name">{escape(printable(name))}</td><td class="number">{now.workers[name][0]:,}</td>'
        f'<td class="number">{now.workers[name][1]:,.1f}</td>'
        f'<td class="number">{_time(latest[name]) if math.isfinite(latest[name]) else ""}</td>'
        f'<td class="wide"><svg class="spark" {_box(speeds.of[name])}>{_path(speeds.of[name], highest)}</svg></td></tr>'
        for name in names
    )
    more = len(now.workers) - len(names)
    return (
        f"<section><h2>Workers: {len(now.workers):,}</h2>"
        '<div class="scroll"><table><tr><th>worker</th><th class="number">pictures</th><th class="number">a second</th>'
        f'<th class="number">last at, UTC</th><th>speed over the same time</th></tr>{rows}</table></div>'
        + (f'<p class="faint">and {more:,} more</p>' if more else "")
        + "</section>"
    )


def _failures(store: LabelStore, now: StoreStatus, history: History) -> str:
    """The table of pictures without a label, and why."""
    if not history.failures:
        return ""
    rows = "".join(
        f'<tr><td class="key">{escape(printable(store.keys[each.row]))}</td><td>{each.status.word}</td>'
        f"<td>{escape(printable(each.reason))}</td></tr>"
        for each in history.failures
    )
    words = ", ".join(f"{count:,} {escape(word)}" for word, count in now.reasons.items())
    more = now.failed - len(history.failures)
    return (
        f"<section><h2>Without a label: {words}</h2>"
        f'<div class="scroll"><table><tr><th>picture</th><th>status</th><th>reason</th></tr>{rows}</table></div>'
        + (f'<p class="faint">and {more:,} more</p>' if more else "")
        + "</section>"
    )


def _box(values: NDArray[np.float64]) -> str:
    return f'viewBox="0 0 {len(values)} 100" preserveAspectRatio="none" aria-hidden="true"'


def _path(values: NDArray[np.float64], highest: float) -> str:
    """Steps of this height, of at most 100, down to the axis."""
    steps = " ".join(f"V{100 - 100 * value / (highest or 1):.1f}h1" for value in values.tolist())
    return f'<path d="M0 100{steps}V100z"/>'


def _time(seconds: float) -> str:
    """A time as people read it; its day only where it is not today."""
    then = datetime.fromtimestamp(seconds, UTC)
    return f"{then:%H:%M:%S}" if then.date() == datetime.now(UTC).date() else f"{then:%Y-%m-%d %H:%M}"
