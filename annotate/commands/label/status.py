"""How much of a store is labelled, and how long will the rest take? `annotate status`"""

from __future__ import annotations

import sys
import time

import click

from annotate.commands.answers import answer, json_option
from annotate.commands.options.store import address


@click.command()
@address("store")
@click.option("--watch", is_flag=True, help="Print it again and again until nothing is pending.")
@click.option("--every", type=click.FloatRange(min=0.1), default=5.0, help="Seconds between two readings with --watch.")
@json_option
def status(store: str, watch: bool, every: float, as_json: bool) -> None:
    """Show how many pictures of STORE are labelled, failed and pending, and the speed.

    Only the store is read: this works on any machine that can read it, also while others write to it.
    """
    from annotate.jobs.status import StatusWatcher
    from storage import open_store

    watcher = StatusWatcher(open_store(store))
    while True:
        now = watcher.read()
        if watch and not as_json and sys.stdout.isatty():
            click.clear()
        answer(now, as_json, store=store)
        if not watch or not now.pending:
            return
        time.sleep(every)
