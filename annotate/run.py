"""How does a whole collection become a store? What is missing is labelled; running again is resuming."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from annotate.annotator import Annotator
from annotate.compilation import pays
from annotate.errors import AnnotateError
from annotate.images.source import ImageSource
from annotate.job import LabelJob, Shard, one_thread
from annotate.printable import printable
from annotate.recipe import Precision, Recipe
from annotate.workers import Workers
from storage import LabelStore, MismatchError, Progress, Schema, create_store, find_store
from storage.backends import absolute
from storage.header import targets_at_rest
from storage.keys import check_keys
from storage.store import refuse_differences


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a run went.

    pictures:    of the whole collection
    labelled:    of them, those that have a label now
    failures:    key, status and reason of each picture that could not be labelled, in this run or an earlier one
    given_up:    rows and reason of each shard that failed in every attempt; running again tries it again
    labelled_now, seconds: what this run did, and in how long
    left_out:    files that are no pictures by their name
    head:        "exact", or how far the dense head is from the network's own answer
    """

    pictures: int
    labelled: int
    failures: tuple[tuple[str, str, str], ...]
    given_up: tuple[tuple[range, str], ...]
    labelled_now: int
    seconds: float
    left_out: int
    head: str

    @property
    def complete(self) -> bool:
        """Every picture has a label."""
        return self.labelled == self.pictures

    def describe(self, shown: int = 20) -> str:
        """What the run did, for a person; of the failures no more than `shown`."""
        if self.labelled_now:
            speed = self.labelled_now / max(self.seconds, 1e-9)
            lines = [f"labelled {self.labelled_now:,} pictures in {self.seconds:.1f} s, {speed:,.1f} a second"]
        else:
            lines = ["nothing was labelled" if self.given_up else "there was nothing left to label"]
        if self.head != "exact":
            lines.append(f"the dense head is {self.head}: so far is its mean from the network's own answer")
        lines.append(f"{self.labelled:,} of {self.pictures:,} pictures are labelled")
        if self.left_out:
            lines.append(f"{self.left_out:,} other files are no pictures by their names")
        if self.failures:
            lines.append(f"{len(self.failures):,} pictures could not be labelled:")
            lines += [f"  {printable(key)}: {word}, {printable(why)}" for key, word, why in self.failures[:shown]]
        if len(self.failures) > shown:
            lines.append(f"  … and {len(self.failures) - shown:,} more; --json lists all")
        for rows, why in self.given_up:
            lines.append(
                f"rows {rows.start} to {rows.stop} were given up: {printable(why)}; run the command again to try them"
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "pictures": self.pictures,
            "labelled": self.labelled,
            "failures": [{"key": key, "status": status, "reason": why} for key, status, why in self.failures],
            "given_up": [{"rows": [rows.start, rows.stop], "reason": why} for rows, why in self.given_up],
            "labelled_now": self.labelled_now,
            "seconds": round(self.seconds, 3),
            "left_out": self.left_out,
            "head": self.head,
        }


def run(
    source: ImageSource,
    address: str,
    recipe: Recipe,
    workers: Workers,
    *,
    k: int = 5,
    rows_per_shard: int | None = None,
    batch_size: int = 32,
    compiled: bool | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Summary:
    """Label every picture of the source into the store at the address; go on where an earlier run ended.

    Args:
        source: the pictures.
        address: of a store that is there, made with the same settings, or of a new one.
        recipe: the networks and how they are used.
        workers: who does the work.
        k: classes kept at each location.
        rows_per_shard: pictures that are written and resumed together; by default those of the store that is there, or
            1,024, and fewer where there are few, so that all workers have work.
        batch_size: pictures that the network sees at once.
        compiled: whether to compile the networks; by default where it pays, and as before where the store is there,
            which takes nothing else.
        report: called when the run begins and after each shard.
        say: called with what a person should know before the work begins.

    Raises:
        MismatchError: the store there was made differently, or of pictures with other targets; said before any network
            is loaded.
        StoreError: the address cannot be used.
        AnnotateError: the network cannot be made or has no faithful dense answer.
    """
    started = time.monotonic()
    job = LabelJob(
        reader=source.reader,
        address=address,
        recipe=recipe,
        k=k,
        batch_size=batch_size,
    )
    store = _open(source, job, rows_per_shard, compiled, say)
    job = replace(
        job,
        address=absolute(store.address),  # a worker may live in another folder
        compiled=_is_compiled(store),
    )
    pending = store.pending()
    waiting = sum(map(len, pending))
    shards = [Shard(rows, source.handles[rows.start : rows.stop]) for rows in pending]
    before = len(store) - waiting
    labelled_now, progress = 0, Progress(before, len(store), 0)
    report(progress)
    given_up = []
    for outcome in workers.map(job, shards):
        if outcome.record is None:
            given_up.append((outcome.shard.rows, outcome.error))
            continue
        labelled_now += outcome.record.labelled
        progress = Progress(
            progress.done + len(outcome.shard.rows), progress.total, progress.failed + len(outcome.record.failures)
        )
        report(progress)
    records = [record for _, record in store.records() if record]
    failures = [failure for record in records for failure in record.failures]
    return Summary(
        pictures=len(store),
        labelled=sum(record.labelled for record in records),
        failures=tuple((store.keys[failure.row], failure.status.word, failure.reason) for failure in failures),
        given_up=tuple(given_up),
        labelled_now=labelled_now,
        seconds=time.monotonic() - started,
        left_out=source.left_out,
        head=str(store.schema.provenance.get("head", "of unknown faith")),
    )


def default_precision(address: str) -> Precision:
    """That of the store that is there; else bfloat16 where this machine has a GPU, and float32 where it has none."""
    there = find_store(address)
    if there is not None and "precision" in there.schema.recipe:
        known: Precision = there.schema.recipe["precision"]
        return known
    return "bfloat16" if torch.cuda.is_available() else "float32"


def _open(
    source: ImageSource,
    job: LabelJob,
    rows_per_shard: int | None,
    compiled: bool | None,
    say: Callable[[str], None],
) -> LabelStore:
    """The store to write into. What can be refused is refused before a network is loaded."""
    check_keys(source.keys)
    there = find_store(job.address)
    if there is not None:
        wanted = replace(
            there.schema,
            recipe=job.recipe.to_json(),
            k=job.k,
            rows_per_shard=rows_per_shard or there.schema.rows_per_shard,
            target_names=source.target_names,
        )
        refuse_differences(there, wanted, source.keys)
        if others := [*_other_targets(there, source), *_other_code(there, compiled)]:
            raise MismatchError(there.address, others)
        return there
    with one_thread():  # as in the workers
        annotator = Annotator(job.recipe, k=job.k)
        if compiled is None:
            compiled, why = pays(len(source.keys), annotator.seconds)
            say(why)
    names = job.recipe.class_names()
    if names is not None and len(names) != annotator.class_count:
        raise AnnotateError(
            f"{len(names)} class names come with the weights, but the model has {annotator.class_count} classes"
        )
    schema = Schema(
        grid=annotator.grid,
        k=job.k,
        class_count=annotator.class_count,
        class_names=names,
        target_names=source.target_names,
        rows_per_shard=rows_per_shard or min(1024, max(1, len(source.keys) // 16)),
        recipe=job.recipe.to_json(),
        provenance={
            "networks": list(annotator.provenance),
            "head": ", ".join(map(str, annotator.consistency)),
            "compiled": compiled,
            "software": {name: version(name) for name in ("tokenlabel", "timm", "torch", "pillow", "zarr")},
        },
    )
    return create_store(job.address, schema, source.keys, source.targets)


def _other_targets(store: LabelStore, source: ImageSource) -> Iterator[str]:
    """At most one sentence: how the targets of pictures with equal keys differ from those of the store."""
    targets = targets_at_rest(source.targets, len(store))
    rows = np.flatnonzero(store.targets != targets)
    if len(rows):
        row = int(rows[0])
        yield (
            f"targets: in row {row}, {store.keys[row]!r}, the store has {store.targets[row]}, this run has "
            f"{targets[row]}; {len(rows):,} of {len(store):,} rows differ, and -1 is none"
        )


def _other_code(store: LabelStore, compiled: bool | None) -> Iterator[str]:
    """At most one sentence: that networks are to be compiled, or not, unlike those of the store."""
    if compiled is not None and compiled != _is_compiled(store):
        has, asked = ("true", "false") if _is_compiled(store) else ("false", "true")
        yield (
            f"compiled: the store has {has}, this run has {asked}; leave --compile and --no-compile out, and it goes "
            "on as it was begun"
        )


def _is_compiled(store: LabelStore) -> bool:
    return bool(store.schema.provenance.get("compiled"))
