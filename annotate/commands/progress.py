"""How does a person, or a log, see how far a command is? As a bar on a terminal; of a run, else as lines of JSON."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # shells complete without numpy
    from storage import Progress

_EVERY = 10.0  # seconds between two lines


class Reporter(Protocol):
    """Tells how far a run is."""

    def report(self, progress: Progress) -> None:
        """How far it is now; the first call says where it began."""
        ...

    def say(self, sentence: str) -> None:
        """What a person should know."""
        ...


@contextmanager
def reporting(what: str, *, workers: Callable[[], int] = lambda: 0) -> Iterator[Reporter]:
    """A bar where stderr is a terminal, and lines of JSON where it is not.

    Args:
        what: is done, for the bar.
        workers: how many are at work.
    """
    if not sys.stderr.isatty():
        lines = _Lines(workers)
        with lines.beating():
            yield lines
        return
    from tqdm import tqdm

    with tqdm(unit=" images", desc=what, smoothing=0.1, file=_Unfailing()) as bar:
        yield _Bar(bar, workers)


@contextmanager
def counting(what: str, total: int, unit: str = "rows") -> Iterator[Callable[[int], None]]:
    """A bar for what takes minutes at most, where stderr is a terminal. It appears after a second and is then removed.

    Args:
        what: is done, for the bar.
        total: how many there are.
        unit: of what.

    Yields:
        What to call with the number of those that have been done since the last call.
    """
    from tqdm import tqdm

    log = _Unfailing()
    with tqdm(total=total, unit=f" {unit}", desc=what, disable=None, delay=1, leave=False, file=log) as bar:
        yield bar.update


@contextmanager
def following(what: str, total: int, unit: str = "rows") -> Iterator[Callable[[Progress], None]]:
    """The bar of `counting`, for work that reports its `Progress`."""
    with counting(what, total, unit) as more:
        done = 0

        def follow(progress: Progress) -> None:
            nonlocal done
            more(progress.done - done)
            done = progress.done

        yield follow


class _Bar:
    def __init__(self, bar: Any, workers: Callable[[], int]) -> None:
        self._bar, self._workers, self._told = bar, workers, False

    def report(self, progress: Progress) -> None:
        bar = self._bar
        if not self._told:  # what an earlier run did is no speed of this one
            bar.total, bar.initial, bar.n = progress.total, progress.done, progress.done
            bar.refresh()
            self._told = True
        known = {"workers": self._workers(), "failed": progress.failed}
        bar.set_postfix({name: count for name, count in known.items() if count}, refresh=False)
        bar.update(progress.done - bar.n)

    def say(self, sentence: str) -> None:
        self._bar.write(sentence, file=_Unfailing())


class _Lines:
    def __init__(self, workers: Callable[[], int]) -> None:
        self._workers = workers
        self._first: tuple[float, int] | None = None
        self._now: Progress | None = None
        self._last = -_EVERY

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Write a line every so often, though nothing was finished; and a last one."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(1.0):
                if self._now is not None and time.monotonic() - self._last >= _EVERY:
                    self._tell(self._now)

        thread = threading.Thread(target=beat, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def report(self, progress: Progress) -> None:
        self._first = self._first or (time.monotonic(), progress.done)
        self._now = progress
        if time.monotonic() - self._last >= _EVERY or progress.done == progress.total:
            self._tell(progress)

    def _tell(self, progress: Progress) -> None:
        now = self._last = time.monotonic()
        began, before = self._first or (now, progress.done)
        speed = (progress.done - before) / (now - began) if now > began else 0.0
        self._write(
            done=progress.done,
            total=progress.total,
            failed=progress.failed,
            workers=self._workers(),
            per_second=round(speed, 2),
            seconds_left=round((progress.total - progress.done) / speed) if speed else None,
        )

    def say(self, sentence: str) -> None:
        self._write(message=sentence)

    def _write(self, **values: Any) -> None:
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **values}
        log = _Unfailing()
        log.write(json.dumps(line, ensure_ascii=False) + "\n")
        log.flush()


class _Unfailing:
    """The standard error, but what cannot be written is lost: where the disk is full, or nobody reads the pipe."""

    def __init__(self) -> None:
        self._file = sys.stderr

    def write(self, text: str) -> None:
        """Write the text, or lose it."""
        with self._or_nothing():
            self._file.write(text)

    def flush(self) -> None:
        """Let it be seen, or lose it."""
        with self._or_nothing():
            self._file.flush()

    def __getattr__(self, name: str) -> Any:
        """What tqdm asks of a file: whether it is a terminal, and how wide."""
        return getattr(self._file, name)

    @contextmanager
    def _or_nothing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # ValueError: the file is closed
            # What Python still holds would fail again when it ends, and give it an exit code of its own.
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._file.fileno())
                os.close(nowhere)
