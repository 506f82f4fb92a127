"""Is a store still what was written, and can damage be repaired? `annotate verify`"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from annotate.commands.answers import DAMAGED, DONE, UNFINISHED, json_option
from annotate.commands.options.store import address
from annotate.commands.progress import following

if TYPE_CHECKING:
    from storage import LabelStore


@click.command()
@address("store")
@click.option("--deep", is_flag=True, help="Also decode every label and check that its values are valid.")
@click.option("--repair", is_flag=True, help="Make damaged shards pending, and rebuild metadata and key index.")
@json_option
def verify(store: str, deep: bool, repair: bool, as_json: bool) -> None:
    """Read all of STORE and check that it is what was written.

    This checks the keys, the metadata, every commit record, the SHA-256 of every object, and that every row is
    accounted for. The exit code is 4 if there is damage, and 3 if shards are pending.
    """
    from storage import DamageError, open_store
    from storage import repair as repair_store
    from storage import verify as check

    try:
        opened = open_store(store, writable=repair)
    except DamageError as error:
        click.echo(json.dumps({"store": store, "state": "damaged", "problems": [str(error)]}) if as_json else error)
        sys.exit(DAMAGED)
    with following("verifying", len(opened)) as on_progress:
        found = check(opened, deep=deep, on_progress=on_progress)
    lines, beside = [found.describe()], {}
    state: str = found.state
    if repair and state == "damaged":
        beside["beyond_repair"] = left = repair_store(opened, found)
        state = "damaged" if left else "pending" if opened.pending() else "ok"
        lines += [f"beyond repair: {problem}; restore it from a copy" for problem in left]
        if opened.pending():
            lines.append(f"{'once that is restored' if left else 'repaired. Now'} run {_command_for(opened)}")
        elif not left:
            lines.append("repaired")
    elif state == "damaged":
        lines.append(f"`annotate verify {store} --repair` repairs what it can, and makes damaged shards pending")
    click.echo(json.dumps({"store": store, **found.to_json(), **beside}) if as_json else "\n".join(lines))
    sys.exit({"damaged": DAMAGED, "pending": UNFINISHED, "ok": DONE}[state])


def _command_for(store: LabelStore) -> str:
    """The command that labels what is pending."""
    recipe = store.schema.recipe
    if "imported" in recipe:
        return f"the same `annotate convert TREE {store.address} --from {recipe['imported']} …` again"
    models = [network["model"] for network in recipe.get("networks", ())] or ["NAME"]
    options = " ".join(f"--model {model}" for model in models)
    return f"`annotate run IMAGES {store.address} {options} …` again, with the same options"
