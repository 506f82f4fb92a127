"""How is progress shown? As a bar on a terminal; elsewhere as lines of JSON for `run` and `convert`, or not at all."""

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
    from storage import OnProgress, Progress

_EVERY = 10.0  # seconds between two lines


class ProgressDisplay(Protocol):
    """Shows the progress of a run."""

    def show(self, progress: Progress) -> None:
        """Show the progress now; the first call says where the run began."""
        ...

    def say(self, sentence: str) -> None:
        """Show a sentence that the user should read."""
        ...


@contextmanager
def progress_display(what: str, *, workers: Callable[[], int] = lambda: 0) -> Iterator[ProgressDisplay]:
    """A bar where stderr is a terminal, and lines of JSON where it is not.

    Args:
        what: what is done, for the bar.
        workers: returns how many workers are busy.
    """
    if not sys.stderr.isatty():
        lines = _Lines(workers)
        with lines.beating():
            yield lines
        return
    from tqdm import tqdm

    with tqdm(unit=" pictures", desc=what, smoothing=0.1, file=_Unfailing()) as bar:
        yield _Bar(bar, workers)


@contextmanager
def counting(what: str, total: int, unit: str = "rows") -> Iterator[Callable[[int], None]]:
    """A bar for what takes minutes at most, where stderr is a terminal. It appears after a second and is then removed.

    Args:
        what: what is done, for the bar.
        total: how many things there are.
        unit: what is counted.

    Yields:
        A function to call with the number of things done since the last call.
    """
    from tqdm import tqdm

    log = _Unfailing()
    with tqdm(total=total, unit=f" {unit}", desc=what, disable=None, delay=1, leave=False, file=log) as bar:
        yield bar.update


@contextmanager
def following(what: str, total: int, unit: str = "rows") -> Iterator[OnProgress]:
    """Like `counting`, for work that reports its `Progress`."""
    with counting(what, total, unit) as more:
        done = 0

        def follow(progress: Progress) -> None:
            nonlocal done
            more(progress.done - done)
            done = progress.done

        yield follow


def note(text: str) -> None:
    """Write a line to standard error. If it cannot be written, it is dropped: the command's work goes on."""
    log = _Unfailing()
    log.write(f"{text}\n")
    log.flush()


class _Bar:
    def __init__(self, bar: Any, workers: Callable[[], int]) -> None:
        self._bar, self._workers, self._started = bar, workers, False

    def show(self, progress: Progress) -> None:
        bar = self._bar
        if not self._started:  # what an earlier run did does not count for this run's speed
            bar.total, bar.initial, bar.n = progress.total, progress.done, progress.done
            bar.refresh()
            self._started = True
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
        """Write a line every ten seconds, even if no shard was finished."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(1.0):
                if self._now is not None and time.monotonic() - self._last >= _EVERY:
                    self._write_progress(self._now)

        thread = threading.Thread(target=beat, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def show(self, progress: Progress) -> None:
        self._first = self._first or (time.monotonic(), progress.done)
        self._now = progress
        if time.monotonic() - self._last >= _EVERY or progress.done == progress.total:
            self._write_progress(progress)

    def _write_progress(self, progress: Progress) -> None:
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
    """The standard error stream; drops what cannot be written, because the disk is full or nobody reads the pipe."""

    def __init__(self) -> None:
        self._file = sys.stderr

    def write(self, text: str) -> None:
        """Write the text, or drop it."""
        with self._or_nothing():
            self._file.write(text)

    def flush(self) -> None:
        """Flush, or drop what cannot be written."""
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
            # At exit Python would try again to write what it still holds, fail, and change the exit code.
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._file.fileno())
                os.close(nowhere)
