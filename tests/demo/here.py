"""How do tests do the work of a study's processes without starting any? Here, from a pickle."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class Here(Executor):
    """Does the work in this process, which has imported torch, but hands it over pickled, as other processes get it."""

    def submit(self, do: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        do, given, named = pickle.loads(pickle.dumps((do, given, named)))
        future: Future[Any] = Future()
        future.set_result(do(*given, **named))
        return future
