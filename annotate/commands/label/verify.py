"""Is a store still what was written, and can damage be repaired? `annotate verify`"""

from __future__ import annotations

import json
import sys
from shlex import quote
from typing import TYPE_CHECKING

import click

from annotate.commands.answers import DAMAGED, DONE, UNFINISHED, UNREADABLE, json_option
from annotate.commands.options.store import address
from annotate.commands.progress import following

if TYPE_CHECKING:
    from storage import LabelStore

_EXITS = {"unreadable": UNREADABLE, "damaged": DAMAGED, "pending": UNFINISHED, "ok": DONE}


@click.command()
@address("store")
@click.option("--deep", is_flag=True, help="Also decode every label and check that its values are valid.")
@click.option("--repair", is_flag=True, help="Make damaged shards pending, and rebuild metadata and key index.")
@click.option("--dry-run", is_flag=True, help="With --repair: print what it would do, and change nothing.")
@json_option
def verify(store: str, deep: bool, repair: bool, dry_run: bool, as_json: bool) -> None:
    """Read all of STORE and compare it with what was written.

    Checks the keys, the metadata, every commit record, the SHA-256 of every object, and that every row is accounted
    for. The exit code is 5 if something cannot be read, whatever it holds, 4 if there is damage, and 3 if shards are
    pending. Nothing is repaired while something cannot be read, and nothing is deleted: what damaged shards hold is
    moved to shards/set_aside in the store.
    """
    from storage import DamageError, UnreadableError, open_store, repair_steps
    from storage import repair as repair_store
    from storage import verify as check

    if dry_run and not repair:
        raise click.UsageError("--dry-run says what --repair would do: give both")
    try:
        opened = open_store(store, writable=repair and not dry_run)
    except (DamageError, UnreadableError) as error:
        state = "damaged" if isinstance(error, DamageError) else "unreadable"
        click.echo(json.dumps({"store": store, "state": state, "problems": [str(error)]}) if as_json else error)
        sys.exit(_EXITS[state])
    with following("verifying", len(opened)) as on_progress:
        found = check(opened, deep=deep, on_progress=on_progress)
    lines, beside = [found.describe()], {}
    state = found.state
    if dry_run:
        beside["would_do"] = steps = repair_steps(found) if state == "damaged" else []
        lines += [f"would do: {step}" for step in steps or ["nothing"]]
    elif repair and state == "damaged":
        beside["beyond_repair"] = left = repair_store(opened, found)
        state = "damaged" if left else "pending" if opened.pending() else "ok"
        lines += [f"beyond repair: {problem}; restore it from a copy" for problem in left]
        if opened.pending():
            lines.append(f"{'once that is restored' if left else 'repaired. Now'} run {_command_for(opened)}")
        elif not left:
            lines.append("repaired")
    elif state == "damaged":
        lines.append(f"`annotate verify {store} --repair` repairs what it can, and makes damaged shards pending")
    if state == "unreadable":
        refused = "nothing was repaired. " if repair else ""
        lines.append(f"{refused}What cannot be read may be undamaged: make it readable, then verify again")
    click.echo(json.dumps({"store": store, **found.to_json(), **beside}) if as_json else "\n".join(lines))
    sys.exit(_EXITS[state])


def _command_for(store: LabelStore) -> str:
    """The command that labels what is pending. Names come from the store, and so from anywhere: they are quoted."""
    from annotate.text import printable

    recipe = store.schema.recipe
    if "imported" in recipe:
        tool = quote(printable(str(recipe["imported"])))
        return f"the same `annotate convert TREE {store.address} --from {tool} …` again"
    networks = recipe.get("networks")
    known = [each for each in networks if isinstance(each, dict)] if isinstance(networks, list | tuple) else []
    models = [quote(printable(str(network["model"]))) for network in known if "model" in network] or ["NAME"]
    options = " ".join(f"--model {model}" for model in models)
    return f"`annotate run IMAGES {store.address} {options} …` again, with the same options"
