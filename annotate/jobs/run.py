"""How is a whole collection labelled into a store? Shards without a label are labelled; the same run again resumes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence

from annotate.images.elsewhere import about_classes
from annotate.images.source import ImageSource
from annotate.jobs.execution import Execution
from annotate.jobs.labelling.label_job import LabelJob
from annotate.jobs.labelling.shard import Shard
from annotate.jobs.labelling.store_there import when_there
from annotate.jobs.resume import Request, numbers_of, open_or_create, readable_again
from annotate.jobs.summary import RunCounts, Summary
from annotate.jobs.workers import Workers
from annotate.model.recipe import Recipe
from storage import LabelStore, OnProgress
from storage.backends import absolute
from storage.operations.manifest import MANIFEST
from storage.operations.progress import silent


def run(
    source: ImageSource,
    address: str,
    recipe: Recipe,
    workers: Workers,
    *,
    k: int | None = None,
    rows_per_shard: int | None = None,
    batch_size: int | None = None,
    compiled: bool | None = None,
    part: range | None = None,
    names: Sequence[str] | None = None,
    retry_failed: bool = False,
    allow_global: bool = False,
    on_progress: OnProgress = silent,
    say: Callable[[str], None] = lambda sentence: None,
) -> Summary:
    """Label every picture of the source into the store at the address; resume where an earlier run ended.

    Any number of runs may work on one store at once, with the same part or different ones, on any machines. Each begins
    at another shard, and skips the shards that are done. If two of them label the same shard, they write equal bytes.

    Args:
        source: the pictures. Where a store exists, their order may be another than that of its rows.
        address: where the store is to be made, or exists already, made with the same settings. The folder that it is
            to be made in must exist: a mount that is away has taken it along.
        recipe: the networks and how they are used.
        workers: who does the work.
        k: classes kept at each location; default: those of the existing store, or 5, or all where there are fewer.
        rows_per_shard: pictures that are written and resumed together; default: those of the existing store, or 1,024,
            and fewer if there are fewer than 16,384 pictures, so that all workers have work.
        batch_size: pictures that the network labels together; default: that of the existing store, or 32. A value
            other than the store's is refused, because it may change the last bit of a label.
        compiled: whether to compile the networks; default: as in the existing store, which refuses anything else, or
            where that saves time.
        part: the numbers of the shards to label; default: all.
        names: names of the networks' classes, kept in the store; default: those that come with the weights.
        retry_failed: also label shards again that have a picture which failed earlier and can be labelled now.
        allow_global: also begin where labels depend mostly on the whole picture; see annotate/locality/measure.py.
        on_progress: called when the run begins and after each shard.
        say: called with sentences that the user should read.

    Raises:
        MismatchError: the existing store was made with other settings, or of pictures with other targets. This is
            checked before any network is loaded.
        StoreError: the address cannot be used.
        AnnotateError: the folder for a new store does not exist, the network cannot be built or has no faithful dense
            answer, its labels are mostly global, the part has shards that do not exist, or the pictures are gone.

    With two pictures below images/, and a checkpoint for 10 classes:

    >>> from pathlib import Path
    >>> from annotate import LocalWorkers, Recipe, open_images, run
    >>> recipe = Recipe.for_model(
    ...     "test_resnet", checkpoint=Path("weights.safetensors"), input_size=(64, 64), model_kwargs={"num_classes": 10}
    ... )
    >>> summary = run(open_images("images"), "labels.zarr", recipe, LocalWorkers())
    >>> summary.labelled, summary.complete
    (2, True)
    >>> run(open_images("images"), "labels.zarr", recipe, LocalWorkers()).labelled_now
    0
    """
    started = time.monotonic()
    request = Request(
        recipe=recipe,
        k=k,
        rows_per_shard=rows_per_shard,
        batch_size=batch_size,
        compiled=compiled,
        names=None if names is None else tuple(names),
        allow_global=allow_global,
    )
    for note in filter(None, (*recipe.notes, about_classes(source))):
        say(note)
    store, source, is_new = open_or_create(source, address, request, part=part, say=say)
    job = LabelJob(
        reader=source.reader,
        address=absolute(store.address),  # a worker may run in another folder
        recipe=recipe,
        k=store.schema.k,
        execution=Execution.of(store),
        run=secrets.token_hex(8),
    )
    numbers = numbers_of(part, store.shard_count, store.schema.rows_per_shard)
    pending = _pending(store, numbers, is_new=is_new)
    again = readable_again(source, store, numbers, recipe=recipe, say=say) if retry_failed else {}
    if again:
        _unpublish(store, say)
    pending += again
    total = sum(len(store.rows_of(number)) for number in numbers)
    counts = RunCounts(job.run, done=total - sum(len(store.rows_of(number)) for number in pending), total=total)
    on_progress(counts.progress)
    if pending:
        say(workers.about)
    shards = (
        Shard(rows, source.handles[rows.start : rows.stop], instead_of=again.get(number))
        for number, rows in ((number, store.rows_of(number)) for number in pending)
    )
    for outcome in workers.map(job, shards, say=say):
        counts.add(outcome)
        if outcome.record is not None:
            on_progress(counts.progress)
    summary = when_there(
        store,
        lambda: counts.summary(
            store, numbers, source.keys, seconds=time.monotonic() - started, left_out=source.left_out
        ),
    )
    if summary.labelled + len(summary.failures) == len(store):  # each row has a label or a reason: nothing is pending
        store.backend.remove_leftovers()
    return summary


def _unpublish(store: LabelStore, say: Callable[[str], None]) -> None:
    """Take the manifest out of a finalized store whose shards are written again: it would name the earlier objects."""
    if store.backend.has_object(MANIFEST):
        store.backend.set_aside(MANIFEST)
        say(f"{store.address} is no longer the published store: once it is labelled, run `annotate finalize` again")


def _pending(store: LabelStore, numbers: range, *, is_new: bool) -> list[int]:
    """The numbers of the shards to label, in the order in which to begin them."""
    committed = store.committed()
    pending = [number for number in numbers if number not in committed]
    if not pending or is_new:
        return pending
    first = secrets.randbelow(len(pending))  # another run may be working: begin elsewhere, so that the two meet late
    return pending[first:] + pending[:first]
