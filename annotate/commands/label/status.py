"""How much of a store is labelled, and how long will the rest take? `annotate status`"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from annotate.commands.answers import answer, json_option, writing
from annotate.commands.options.store import address
from annotate.commands.progress import note

_PATIENCE = 300.0  # seconds without an answer from the store, before watching ends
_DASHBOARD = "RAY_API_SERVER_ADDRESS"  # Ray's own name for where its dashboard answers


@click.command()
@address("store")
@click.option("--watch", is_flag=True, help="Print it again every few seconds, until no run can do more.")
@click.option("--every", type=click.FloatRange(min=0.1), default=5.0, help="Seconds between two readings with --watch.")
@click.option("--html", type=click.Path(path_type=Path), help="Also write a page for a browser, at each reading.")
@json_option
def status(store: str, watch: bool, every: float, html: Path | None, as_json: bool) -> None:
    """Show how many pictures of STORE are labelled, failed and pending, and the speed.

    Only the store is read: this works on any machine that can read it, also while others write to it. The page of
    --html has the state of each shard, the speed over time and of each worker, and why pictures have no label; while
    --watch runs, a browser reads it again and again.
    """
    from annotate.jobs.status import StatusWatcher
    from annotate.jobs.watching.history import History
    from annotate.jobs.watching.page import status_page
    from storage import StoreError, open_store
    from storage.files.atomic_file import write_atomically

    if html is not None and not html.parent.is_dir():
        raise click.UsageError(f"cannot write --html {html}: there is no folder {html.parent}; make it first")
    opened = open_store(store)
    history = History(opened)
    watcher = StatusWatcher(opened, on_record=history.take if html else None)
    answered = time.monotonic()
    while True:
        try:
            now = watcher.read()
        except StoreError as error:
            if not watch or time.monotonic() - answered > _PATIENCE:
                raise
            note(f"{str(error).rstrip('.')}; asking again")
            time.sleep(every)
            continue
        answered = time.monotonic()
        ends = not watch or now.is_at_rest
        if html is not None:
            refresh = None if ends else every
            page = status_page(
                opened, now, history, watcher.damaged, refresh=refresh, dashboard=os.environ.get(_DASHBOARD)
            )
            try:
                with writing(html):
                    write_atomically(html, page.encode())
            except click.ClickException as error:
                if ends:
                    raise
                note(f"{error.message}; trying again at the next reading")
        if watch and not as_json and sys.stdout.isatty():
            click.clear()
        answer(now, as_json, store=store)
        if ends:
            return
        time.sleep(every)
