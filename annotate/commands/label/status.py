"""How much of a store is labelled, and how long will the rest take? `annotate status`"""

from __future__ import annotations

import sys
import time

import click

from annotate.commands.answers import answer, json_option
from annotate.commands.options.store import address

_PATIENCE = 300.0  # seconds without an answer from the store, before watching ends


@click.command()
@address("store")
@click.option("--watch", is_flag=True, help="Print it again every few seconds, until no run can do more.")
@click.option("--every", type=click.FloatRange(min=0.1), default=5.0, help="Seconds between two readings with --watch.")
@json_option
def status(store: str, watch: bool, every: float, as_json: bool) -> None:
    """Show how many pictures of STORE are labelled, failed and pending, and the speed.

    Only the store is read: this works on any machine that can read it, also while others write to it.
    """
    from annotate.jobs.status import StatusWatcher
    from storage import StoreError, open_store

    watcher = StatusWatcher(open_store(store))
    answered = time.monotonic()
    while True:
        try:
            now = watcher.read()
        except StoreError as error:
            if not watch or time.monotonic() - answered > _PATIENCE:
                raise
            click.echo(f"{error}; asking again", err=True)
            time.sleep(every)
            continue
        answered = time.monotonic()
        if watch and not as_json and sys.stdout.isatty():
            click.clear()
        answer(now, as_json, store=store)
        if not watch or now.is_at_rest:
            return
        time.sleep(every)
