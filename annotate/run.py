"""How does a whole collection become a store? What is missing is labelled; running again is resuming."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from annotate.annotator import Annotator
from annotate.compilation import pays
from annotate.duration import in_words
from annotate.errors import AnnotateError
from annotate.images.source import ImageSource
from annotate.job import LabelJob, one_thread
from annotate.printable import printable, without_home
from annotate.recipe import Precision, Recipe
from annotate.shard import Shard
from annotate.workers import Workers
from storage import DamageError, LabelStore, MismatchError, Progress, Record, Schema, create_store, find_store
from storage.backends import absolute
from storage.header import hash_targets, targets_at_rest
from storage.keys import check_keys
from storage.store import refuse_differences

_BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a run went.

    pictures:    of the whole collection, or of the part that the run was asked for
    labelled:    of them, those that have a label now
    failures:    key, status and reason of each of them that could not be labelled, in this run or an earlier one
    given_up:    rows and reason of each shard that failed in every attempt; running again tries it again
    labelled_now, seconds: what this run did, and in how long
    tried:       pictures of the shards that this run finished
    joined:      pictures that another run labelled meanwhile, which this run had meant to
    retried:     shards that this run finished, but not in their first attempt
    work:        seconds that workers were at shards that this run finished, by device
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
    tried: int = 0
    joined: int = 0
    retried: int = 0
    work: Mapping[str, float] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Every picture has a label."""
        return self.labelled == self.pictures

    def describe(self, shown: int = 20) -> str:
        """What the run did, for a person; of the failures no more than `shown`."""
        if self.labelled_now:
            speed = self.labelled_now / max(self.seconds, 1e-9)
            lines = [f"labelled {self.labelled_now:,} pictures in {in_words(self.seconds)}, {speed:,.1f} a second"]
            lines += [f"  {_hours(device, seconds)}" for device, seconds in self.work.items()]
        else:
            some = self.tried or self.given_up
            lines = ["nothing could be labelled" if some else "there was nothing left to label"]
        if self.joined:
            lines.append(f"another run labelled {self.joined:,} more meanwhile")
        if self.retried:
            lines.append(f"{self.retried:,} shards were finished in a second or third attempt")
        if self.head != "exact":
            lines.append(f"the dense head is {self.head}: so far is its mean from the network's own answer")
        lines.append(f"{self.labelled:,} of {self.pictures:,} pictures are labelled")
        if self.left_out:
            lines.append(f"{self.left_out:,} other files are no pictures by their names")
        if self.failures:
            lines.append(f"{len(self.failures):,} pictures could not be labelled:")
            lines += [f"  {printable(key)}: {word}, {printable(why)}" for key, word, why in self.failures[:shown]]
        if len(self.failures) > shown:
            lines.append(f"  … and {len(self.failures) - shown:,} more")
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
            "joined": self.joined,
            "retried": self.retried,
            "worker_hours": {device: round(seconds / 3600, 6) for device, seconds in self.work.items()},
            "left_out": self.left_out,
            "head": self.head,
        }


def _hours(device: str, seconds: float) -> str:
    return f"{seconds / 3600:,.4f} {'core' if device == 'cpu' else 'GPU'}-hours" + (
        "" if device == "cpu" else f" on {device}"
    )


def run(
    source: ImageSource,
    address: str,
    recipe: Recipe,
    workers: Workers,
    *,
    k: int = 5,
    rows_per_shard: int | None = None,
    batch_size: int | None = None,
    compiled: bool | None = None,
    part: range | None = None,
    names: Sequence[str] | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Summary:
    """Label every picture of the source into the store at the address; go on where an earlier run ended.

    Any number of runs may be at one store at once, with the same part or different ones, on any machines: each begins
    at another place, and leaves out what it finds done. Where two do the same shard, they write the same bytes.

    Args:
        source: the pictures.
        address: of a store that is there, made with the same settings, or of a new one.
        recipe: the networks and how they are used.
        workers: who does the work.
        k: classes kept at each location.
        rows_per_shard: pictures that are written and resumed together; by default those of the store that is there, or
            1,024, and fewer where there are few, so that all workers have work.
        batch_size: pictures that the network sees at once: 32, or as before where the store is there. Another number
            may move a last bit, and is refused.
        compiled: whether to compile the networks; by default where it pays, and as before where the store is there,
            which takes nothing else.
        part: the numbers of the shards to label; all by default.
        names: of the networks' classes, which the store keeps; by default those that come with the weights.
        report: called when the run begins and after each shard.
        say: called with what a person should know before the work begins.

    Raises:
        MismatchError: the store there was made differently, or of pictures with other targets; said before any network
            is loaded.
        StoreError: the address cannot be used.
        AnnotateError: the network cannot be made or has no faithful dense answer, there are no such shards, or the
            pictures are gone.
    """
    started = time.monotonic()
    job = LabelJob(
        reader=source.reader,
        address=address,
        recipe=recipe,
        k=k,
    )
    store, new = _open(source, job, rows_per_shard, batch_size, compiled, part, names, say)
    job = replace(
        job,
        address=absolute(store.address),  # a worker may live in another folder
        batch_size=_batch_size(store),
        compiled=_is_compiled(store),
        run=secrets.token_hex(8),
    )
    numbers = _part(store, part)
    committed = store.committed()
    pending = [number for number in numbers if number not in committed]
    if pending and not new:  # another run may be at it: begin somewhere else, so that both meet late
        first = secrets.randbelow(len(pending))
        pending = pending[first:] + pending[:first]
    total = sum(len(store.rows_of(number)) for number in numbers)
    progress = Progress(total - sum(len(store.rows_of(number)) for number in pending), total, 0)
    report(progress)
    if pending:
        say(workers.about)
    rows = map(store.rows_of, pending)
    shards = (Shard(each, source.handles[each.start : each.stop]) for each in rows)
    given_up = []
    labelled_now = joined = retried = failed = tried = 0
    work: defaultdict[str, float] = defaultdict(float)
    for outcome in workers.map(job, shards, say=say):
        if (record := outcome.record) is None:
            given_up.append((outcome.shard.rows, without_home(outcome.error)))
            continue
        tried += len(outcome.shard.rows)
        failed += len(record.failures)
        if record.run.get("run") == job.run:
            labelled_now += record.labelled
            retried += outcome.shard.attempt > 1
            work[str(record.run.get("device"))] += float(record.run.get("seconds", 0))
        else:
            joined += record.labelled
        progress = Progress(progress.done + len(outcome.shard.rows), total, failed)
        report(progress)
    failures: list[tuple[str, str, str]] = []
    labelled = unfinished = 0
    for number, found in store.records_of(numbers):
        if isinstance(found, DamageError):
            why = f"its commit record is damaged; `annotate verify {store.address} --repair` makes it pending"
            given_up.append((store.rows_of(number), without_home(why)))
        if not isinstance(found, Record):
            unfinished += 1
            continue
        labelled += found.labelled
        failures += [(source.keys[each.row], each.status.word, each.reason) for each in found.failures]
    if not unfinished and len(numbers) == store.shard_count:
        store.tidy()
    return Summary(
        pictures=total,
        labelled=labelled,
        failures=tuple(failures),
        given_up=tuple(given_up),
        labelled_now=labelled_now,
        tried=tried,
        seconds=time.monotonic() - started,
        joined=joined,
        retried=retried,
        work=dict(work),
        left_out=source.left_out,
        head=str(store.schema.provenance.get("head", "of unknown faith")),
    )


def _part(store: LabelStore, part: range | None) -> range:
    """The numbers of the shards that are asked for."""
    _refuse_part(part, store.shard_count, store.schema.rows_per_shard)
    return range(store.shard_count) if part is None else part


def _refuse_part(part: range | None, count: int, rows_per_shard: int) -> None:
    if part is not None and (not part or part.start < 0 or part.stop > count):
        raise AnnotateError(
            f"shards {part.start} to {part.stop - 1} were asked for, but there are the shards 0 to {count - 1}, of "
            f"{rows_per_shard:,} pictures each"
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
    batch_size: int | None,
    compiled: bool | None,
    part: range | None,
    names: Sequence[str] | None,
    say: Callable[[str], None],
) -> tuple[LabelStore, bool]:
    """The store to write into, and whether it is new. What can be refused is refused before a network is loaded."""
    there = find_store(job.address)
    if there is not None:
        wanted = replace(
            there.schema,
            recipe=job.recipe.to_json(),
            k=job.k,
            rows_per_shard=rows_per_shard or there.schema.rows_per_shard,
            target_names=source.target_names,
            class_names=tuple(names) if names is not None else there.schema.class_names,
        )
        refuse_differences(there, wanted, source.keys)
        if others := [*_other_targets(there, source), *_other_code(there, batch_size, compiled)]:
            raise MismatchError(there.address, others)
        return there, False
    step = rows_per_shard or min(1024, max(1, len(source.keys) // 16))
    _refuse_part(part, -(-len(source.keys) // step), step)
    check_keys(source.keys)  # before a network is loaded; where a store is there, they were looked at when it was made
    with one_thread():  # as in the workers
        annotator = Annotator(job.recipe, k=job.k)
        if compiled is None:
            compiled, why = pays(len(source.keys), annotator.seconds)
            say(why)
    if names is not None and len(names) != annotator.class_count:
        raise AnnotateError(f"{len(names)} class names were given, but the model has {annotator.class_count} classes")
    names = names if names is not None else job.recipe.class_names()
    if names is not None and len(names) != annotator.class_count:
        raise AnnotateError(
            f"{len(names)} class names come with the weights, but the model has {annotator.class_count} classes"
        )
    schema = Schema(
        grid=annotator.grid,
        k=job.k,
        class_count=annotator.class_count,
        class_names=None if names is None else tuple(names),
        target_names=source.target_names,
        rows_per_shard=step,
        recipe=job.recipe.to_json(),
        provenance={
            "networks": list(annotator.provenance),
            "head": ", ".join(map(str, annotator.consistency)),
            "compiled": compiled,
            "batch_size": batch_size or _BATCH_SIZE,
            "software": {name: version(name) for name in ("tokenlabel", "timm", "torch", "pillow", "zarr")},
        },
    )
    return create_store(job.address, schema, source.keys, source.targets), True


def _other_targets(store: LabelStore, source: ImageSource) -> Iterator[str]:
    """At most one sentence: how the targets of pictures with equal keys differ from those of the store."""
    targets = targets_at_rest(source.targets, len(store))
    if hash_targets(targets) == store.header.targets_sha256:
        return
    rows = np.flatnonzero(store.targets != targets)
    if len(rows):
        row = int(rows[0])
        yield (
            f"targets: in row {row}, {store.keys[row]!r}, the store has {store.targets[row]}, this run has "
            f"{targets[row]}; {len(rows):,} of {len(store):,} rows differ, and -1 is none"
        )


def _other_code(store: LabelStore, batch_size: int | None, compiled: bool | None) -> Iterator[str]:
    """At most two sentences: that networks are to be compiled, or not, or fed, unlike those of the store."""
    if batch_size is not None and batch_size != _batch_size(store):
        yield (
            f"batch_size: the store has {_batch_size(store)}, this run has {batch_size}; another may move a last bit. "
            "Leave --batch-size out, and it goes on as it was begun"
        )
    if compiled is not None and compiled != _is_compiled(store):
        has, asked = ("true", "false") if _is_compiled(store) else ("false", "true")
        yield (
            f"compiled: the store has {has}, this run has {asked}; leave --compile and --no-compile out, and it goes "
            "on as it was begun"
        )


def _batch_size(store: LabelStore) -> int:
    return int(store.schema.provenance.get("batch_size", _BATCH_SIZE))


def _is_compiled(store: LabelStore) -> bool:
    return bool(store.schema.provenance.get("compiled"))
