"""How far is a store? `annotate status`"""

from __future__ import annotations

import sys
import time

import click

from annotate.commands.answers import answer, json_option
from annotate.commands.options.store import address


@click.command()
@address("store")
@click.option("--watch", is_flag=True, help="Print it again every few seconds, until all is done.")
@click.option("--every", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Seconds, with --watch.")
@json_option
def status(store: str, watch: bool, every: float, as_json: bool) -> None:
    """Show how far STORE is, from any machine, also while others write to it.

    Nothing but the store is asked.
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
