"""Does a run resume a store, or create one? Here settings get their defaults, and contradictions are refused."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from annotate.errors import AnnotateError, PictureError
from annotate.images.source import ChosenPictures, ImageSource
from annotate.jobs.execution import Execution
from annotate.jobs.labelling.label_job import one_thread
from annotate.locality.before_job import locality_of_job, refuse_global
from annotate.model.annotator import NOT_FINITE, Annotator
from annotate.model.compilation import is_worth_compiling
from annotate.model.recipe import Recipe
from annotate.software import versions
from storage import Failure, LabelStore, MismatchError, Record, Schema, Status, create_store, find_store
from storage.header import hash_targets, stored_targets
from storage.keys.key import check_keys, hash_sound_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The settings that a run was given. Where a field is None, an existing store decides, otherwise the default.

    recipe:         as for `run`; it has no default
    k:              default: that of the annotator
    rows_per_shard: default: `rows_of_shards`
    batch_size:     default: that of `Execution`
    compiled:       default: compiled if that saves time
    names:          of the classes; default: those that come with the weights
    allow_global:   whether a new store may have labels that depend mostly on the whole picture
    """

    recipe: Recipe
    k: int | None = None
    rows_per_shard: int | None = None
    batch_size: int | None = None
    compiled: bool | None = None
    names: tuple[str, ...] | None = None
    allow_global: bool = False


def rows_of_shards(pictures: int) -> int:
    """How many pictures a shard has by default: 1,024, or fewer so that there are 16 shards to share among workers.

    Not fewer than 8: a shard of one picture has eight files of its own, and small jobs are over at once.
    """
    return min(1024, max(8, pictures // 16))


def open_or_create(
    source: ImageSource, address: str, request: Request, *, part: range | None, say: Callable[[str], None]
) -> tuple[LabelStore, ImageSource, bool]:
    """The store to write into, the source in the order of its rows, and whether it is new.

    Whatever can be refused early is refused before networks load.

    Raises:
        MismatchError, StoreError, AnnotateError: as for `run`.
    """
    store = find_store(address)
    if store is None:
        _refuse_missing_folder(address)
        return _create(source, address, request, part=part, say=say), source, True
    source = _in_order_of(store, source)
    _refuse_differences(store, source, request)
    return store, source, False


def numbers_of(part: range | None, shards: int, rows_per_shard: int) -> range:
    """The numbers of the shards that were asked for: `part`, or all.

    Raises:
        AnnotateError: some of them do not exist.
    """
    if part is None:
        return range(shards)
    if not part or part.start < 0 or part.stop > shards:
        raise AnnotateError(
            f"cannot label shards {part.start} to {part.stop - 1}: there are the shards 0 to {shards - 1}, of "
            f"{rows_per_shard:,} pictures each"
        )
    return part


def readable_again(
    source: ImageSource, store: LabelStore, numbers: Iterable[int], *, recipe: Recipe, say: Callable[[str], None]
) -> dict[int, Record]:
    """The commit record of each of these shards that has a picture which failed and can be labelled now, by its number.

    Only these shards are labelled again, each as a whole: a shard is written by one writer. The others do not change.
    A picture without a finite answer could always be read: it counts once the networks answer, which are asked here.

    Args:
        source: the pictures as they are now.
        store: has the commit records.
        numbers: shards to check.
        recipe: that of the store.
        say: called with a sentence that the user should read.
    """

    @cache
    def annotator() -> Annotator:
        return Annotator(recipe, k=store.schema.k, measured=store.schema.provenance.get("networks"))

    def can_be_labelled(failure: Failure) -> bool:
        try:
            picture = recipe.decode(source.reader.read(source.handles[failure.row]))
        except PictureError:
            return False
        if failure.reason != NOT_FINITE:
            return True
        with one_thread():  # as in the workers
            return bool(annotator()([picture]).status[0] == Status.LABELLED)

    found: dict[int, Record] = {}
    failed = labelled = 0
    for number, record in _with_failures(store, numbers):
        now = sum(map(can_be_labelled, record.failures))
        failed, labelled = failed + len(record.failures), labelled + now
        if now:
            found[number] = record
    say(
        f"--retry-failed: of {failed:,} pictures that failed before, {labelled:,} can be labelled now; the "
        f"{len(found):,} shards that hold them are labelled again"
    )
    return found


def _in_order_of(store: LabelStore, source: ImageSource) -> ImageSource:
    """The source in the order of the store's rows, if it has the same keys: `annotate append` puts new ones last."""
    if len(source.keys) != len(store) or hash_sound_keys(source.keys) == store.header.keys_sha256:
        return source
    find = store.backend.key_index.find
    positions = {find(key): position for position, key in enumerate(source.keys)}
    if None in positions or len(positions) != len(store):
        return source
    return ChosenPictures.of(source, [positions[row] for row in range(len(store))])


def _refuse_missing_folder(address: str) -> None:
    """Check that the folder is there in which a store is to be made.

    A command that a scheduler starts again while a mount is away would otherwise make a new store in the mount point,
    and label everything once more, onto the wrong disk.

    Raises:
        AnnotateError: it is not there.
    """
    folder = os.path.dirname(os.path.abspath(address))
    if "://" not in address and not os.path.isdir(folder):
        raise AnnotateError(
            f"cannot make the store {address}: there is no folder {folder}. If it is on a disk or mount that is away, "
            "connect that, and run the same command again; otherwise make the folder first: mkdir -p "
            + shlex.quote(folder)
        )


def _create(
    source: ImageSource, address: str, request: Request, *, part: range | None, say: Callable[[str], None]
) -> LabelStore:
    count, recipe = len(source.keys), request.recipe
    rows_per_shard = request.rows_per_shard or rows_of_shards(count)
    numbers_of(part, -(-count // rows_per_shard), rows_per_shard)
    check_keys(source.keys)  # before networks load; the keys of an existing store were checked when it was created
    compiled = request.compiled
    with one_thread():  # as in the workers
        annotator = Annotator(recipe, k=request.k)
        if compiled is None:
            compiled, why = is_worth_compiling(count, annotator.seconds)
            say(why)
    local = locality_of_job(source, annotator, count)
    if not request.allow_global:
        refuse_global(local, annotator)
    execution = Execution(batch_size=request.batch_size or Execution().batch_size, compiled=compiled)
    schema = Schema(
        grid=annotator.grid,
        k=annotator.k,
        class_count=annotator.class_count,
        class_names=_class_names(request, annotator.class_count),
        target_names=source.target_names,
        rows_per_shard=rows_per_shard,
        recipe=recipe.to_json(),
        provenance={
            "networks": list(annotator.provenance),
            "head": ", ".join(map(str, annotator.consistency)),
            "locality": local.to_json(),
            **execution.to_json(),
            "software": versions("tokenlabel", "timm", "torch", "pillow", "zarr"),
        },
    )
    return create_store(address, schema, source.keys, source.targets)


def _class_names(request: Request, class_count: int) -> tuple[str, ...] | None:
    """The names of the classes: those that were given, or else those that come with the weights."""
    given = request.names is not None
    names = request.names if given else request.recipe.class_names()
    if names is not None and len(names) != class_count:
        origin = "were given" if given else "come with the weights"
        raise AnnotateError(
            f"{len(names)} class names {origin}, but the model has {class_count} classes; give one name for each"
        )
    return names


def _refuse_differences(store: LabelStore, source: ImageSource, request: Request) -> None:
    """Refuse a store whose labels were made with other settings or of other pictures."""
    schema = replace(
        store.schema,
        recipe=request.recipe.to_json(),
        k=request.k or store.schema.k,
        rows_per_shard=request.rows_per_shard or store.schema.rows_per_shard,
        target_names=source.target_names,
    )
    store.backend.check_same(schema, source.keys)
    differences = [*_other_names(store, request), *_other_targets(store, source), *_other_execution(store, request)]
    if differences:
        raise MismatchError(store.address, differences)


def _other_names(store: LabelStore, request: Request) -> Iterator[str]:
    """At most one sentence: how the names that were given differ from those of the store, and how it gets them."""
    known, given = store.schema.class_names, request.names
    if given is None or given == known:
        return
    if known is None:
        how = f"the store has no names, this run has {len(given):,}"
    elif len(known) != len(given):
        how = f"the store has {len(known):,}, this run has {len(given):,}"
    else:
        n = next(n for n, (a, b) in enumerate(zip(known, given, strict=True)) if a != b)
        how = f"class {n} is {known[n]!r} in the store, and {given[n]!r} in this run"
    yield f"class names: {how}; `annotate names {store.address} FILE` gives it others, without labelling again"


def _other_targets(store: LabelStore, source: ImageSource) -> Iterator[str]:
    """At most one sentence: how the targets of pictures with equal keys differ from those of the store."""
    targets = stored_targets(source.targets, len(store))
    if hash_targets(targets) == store.header.targets_sha256:
        return
    rows = np.flatnonzero(store.targets != targets)
    if len(rows):
        row = int(rows[0])
        yield (
            f"targets: in row {row}, {store.keys[row]!r}, the store has {store.targets[row]}, this run has "
            f"{targets[row]}; {len(rows):,} of {len(store):,} rows differ, and -1 means no target"
        )


def _other_execution(store: LabelStore, request: Request) -> Iterator[str]:
    """At most two sentences: how the batch size, or compilation, differs from that of the store."""
    known = Execution.of(store)
    if request.batch_size not in (None, known.batch_size):
        yield (
            f"batch_size: the store has {known.batch_size}, this run has {request.batch_size}; another may change "
            "the last bit of a label. Leave --batch-size out to continue with that of the store"
        )
    if request.compiled not in (None, known.compiled):
        has, asked = ("true", "false") if known.compiled else ("false", "true")
        yield (
            f"compiled: the store has {has}, this run has {asked}; leave --compile and --no-compile out to "
            "continue with that of the store"
        )


def _with_failures(store: LabelStore, numbers: Iterable[int]) -> Iterator[tuple[int, Record]]:
    for number, record in store.records_of(numbers):
        if isinstance(record, Record) and record.failures:
            yield number, record
