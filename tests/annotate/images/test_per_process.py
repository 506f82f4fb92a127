"""Is a file opened once in each process?"""

from __future__ import annotations

import multiprocessing
import os
import pickle

from annotate.images.per_process import Opened


def test_a_file_is_opened_once_in_each_process() -> None:
    opened, made = Opened[object](), []

    def make() -> object:
        made.append(object())
        return made[-1]

    first = opened.get("a", make)
    assert opened.get("a", make) is first
    assert opened.get("b", make) is not first
    assert len(made) == 2
    assert pickle.loads(pickle.dumps(opened)).get("b", lambda: "anew") == "anew"

    def child() -> None:
        os._exit(0 if opened.get("b", lambda: "anew") == "anew" else 1)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0


def test_a_lock_that_was_held_during_a_fork_does_not_stop_the_child() -> None:
    opened = Opened[str]()
    process = multiprocessing.get_context("fork").Process(target=lambda: opened.get("b", lambda: "b"))

    def fork() -> str:
        process.start()  # in the midst of opening
        return "a"

    opened.get("a", fork)
    process.join(20)
    exit_code = process.exitcode
    process.kill()  # or this process would wait for it at its own end
    assert exit_code == 0
