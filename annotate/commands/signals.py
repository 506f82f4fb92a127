"""How does a signal end a command? SIGTERM as Ctrl-C does, and neither is lost."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer, main_thread

_LATER = 0.1  # seconds; a destructor takes less


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Treat SIGTERM, which a batch system sends first, as Ctrl-C. For the main thread.

    Where a signal meets a destructor, or what runs at a fork, Python prints the exception and goes on: a run would work
    until it is killed. So the signal is then repeated, or at the end of the block, whichever comes first.

    Raises:
        KeyboardInterrupt: a signal came.
    """
    process, report, before = os.getpid(), sys.unraisablehook, signal.getsignal(signal.SIGTERM)
    coming: list[Timer] = []

    def repeat(lost: sys.UnraisableHookArgs) -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt) and os.getpid() == process:
            coming.append(Timer(_LATER, signal.pthread_kill, (main_thread().ident, signal.SIGTERM)))
            coming[-1].daemon = True
            coming[-1].start()
        else:
            report(lost)

    sys.unraisablehook = repeat
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
        if coming:
            raise KeyboardInterrupt
    finally:
        for timer in coming:
            timer.cancel()
        signal.signal(signal.SIGTERM, before)
        sys.unraisablehook = report
