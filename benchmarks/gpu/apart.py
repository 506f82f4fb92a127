"""How is a part measured in a process of its own, so that neither its errors nor its time can stop the others?"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

Say = Callable[[Any, Any], None]
_ERROR = "error"


@dataclass
class Found:
    """What was measured, by what it is; and why no more: empty if all was."""

    values: dict[Any, Any] = field(default_factory=dict)
    why: str = ""


def apart(do: Callable[..., None], *, seconds: float, **named: Any) -> Found:
    """Call `do(say, **named)` in another process, and end it after these seconds.

    Args:
        do: a function that can be pickled, as its arguments; `say(key, value)` hands over what it has measured.
        seconds: that the process has.
    """
    context = get_context("forkserver")  # it has no GPU of its own, and imports torch once
    context.set_forkserver_preload(["benchmarks.gpu.networks", "benchmarks.gpu.training"])
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(do, send, named))
    found, until = Found(), time.monotonic() + seconds
    process.start()
    send.close()
    try:
        while receive.poll(max(0.0, until - time.monotonic())):
            key, value = receive.recv()
            if key == _ERROR:
                found.why = value
            else:
                found.values[key] = value
        found.why = found.why or f"ended after {seconds:.0f} s"
    except EOFError:
        process.join()
        if process.exitcode and not found.why:
            found.why = f"its process ended with {process.exitcode}"
    finally:
        process.kill()
        process.join()
        receive.close()
    return found


def _call(do: Callable[..., None], send: Any, named: dict[str, Any]) -> None:
    try:
        do(lambda key, value: send.send((key, value)), **named)
    except Exception as error:  # networks and drivers raise exceptions of many types; the other parts continue
        with suppress(OSError):
            send.send((_ERROR, f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"))
