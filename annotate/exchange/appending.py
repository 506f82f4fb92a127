"""How do new pictures of a collection get labels, and the others keep theirs? In a new store, of both."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from annotate.errors import AnnotateError
from annotate.images.source import ChosenPictures, ImageSource
from annotate.jobs.run import run
from annotate.jobs.workers import Workers
from annotate.model.recipe import Recipe
from storage import Gathered, LabelStore, MismatchError, OnProgress, merge, open_store

_PART = ".new"  # ends the address of the store of the new pictures alone


def append(
    store: LabelStore,
    source: ImageSource,
    address: str,
    recipe: Recipe,
    workers: Workers,
    *,
    on_progress: OnProgress,
    say: Callable[[str], None],
) -> Gathered:
    """Make a store of a store's pictures and, after them, those that the source has more. Called again, it resumes.

    Only the new pictures are labelled, with the settings of the store. It must be a new store: keys, their order and
    their hash are sealed in the header of the old one, on which trainings, copies and its manifest rely. The rows of
    the old pictures keep their numbers and their labels, to the bit; so their whole shards have the same bytes.

    Args:
        store: the labels of the pictures so far.
        source: the collection as it is now. Pictures that it has lost keep their rows.
        address: where the new store is to be made, or an unfinished one exists, in a local folder. Until it is whole,
            the labels of the new pictures are in a store beside it, whose name ends with `.new`.
        recipe: that of the store.
        workers: who labels.
        on_progress: called while pictures are labelled.
        say: called with sentences that the user should read.

    Raises:
        MismatchError: the store was labelled with other settings, or of other classes; each difference is named.
        AnnotateError: the source has no new picture, or the new store would not be in a local folder.
        StoreError: the address cannot be used.
    """
    if "://" in address:
        raise AnnotateError(
            f"cannot append into {address}: give a local folder; `annotate convert` copies it elsewhere"
        )
    asked = replace(store.schema, recipe=recipe.to_json(), target_names=source.target_names)
    if differences := store.schema.differences(asked):
        raise MismatchError(
            store.address,
            differences,
            opening=f"cannot append to {store.address}: its pictures were labelled with other settings or classes.",
            advice="Give the settings of the store; `annotate inspect` shows them.",
        )
    find = store.backend.key_index.find
    new = ChosenPictures.of(source, [position for position, key in enumerate(source.keys) if find(key) is None])
    if not new.keys:
        raise AnnotateError(f"there is nothing to append: {store.address} has every picture of the collection")
    say(f"{len(new.keys):,} pictures are new; {len(store):,} keep their labels")
    root, dot, suffix = address.rstrip("/").rpartition(".")
    part = f"{root}{_PART}.{suffix}" if dot and "/" not in suffix else f"{address.rstrip('/')}{_PART}"
    about = store.schema.provenance
    run(
        new,
        part,
        recipe,
        workers,
        k=store.schema.k,
        rows_per_shard=store.schema.rows_per_shard,
        batch_size=about.get("batch_size"),
        compiled=about.get("compiled"),
        names=store.schema.class_names,
        on_progress=on_progress,
        say=say,
    )
    gathered = merge([store, open_store(part)], address, by_key=False)
    if gathered.complete:
        shutil.rmtree(Path(part))
    return gathered
