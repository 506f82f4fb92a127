"""Does every signal end a command?"""

from __future__ import annotations

import signal
import sys
import time

import pytest

from annotate.commands.signals import ended_by_signals


class _Signalled:
    """A signal comes while it is freed, where Python raises nothing."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __del__(self) -> None:
        signal.raise_signal(self._number)


def _work(number: int, seconds: int) -> None:
    with ended_by_signals():
        _Signalled(number)
        time.sleep(seconds)


@pytest.mark.parametrize("seconds", [20, 0])  # of work after the signal, which ends with it
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_python_could_not_raise_is_repeated(number: int, seconds: int) -> None:
    before = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    interrupts = signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts with & ignores it
    with pytest.raises(KeyboardInterrupt):
        _work(number, seconds)
    signal.signal(signal.SIGINT, interrupts)
    assert (signal.getsignal(signal.SIGTERM), sys.unraisablehook) == before


def test_other_errors_that_python_could_not_raise_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: reported.append(lost.exc_type))

    class Failing:
        def __del__(self) -> None:
            raise OSError

    with ended_by_signals():
        Failing()
    assert reported == [OSError]
