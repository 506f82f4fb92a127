"""How is a store exported as a tree of label files, for trainers that read nothing else? One .pt file a label."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotate.errors import AnnotateError
from annotate.exchange.label_file import check_class_count, write_label
from annotate.exchange.tree_names import cut_name, own_name
from annotate.text import listed
from storage import Box, KeyedFailure, LabelMap, LabelStore, OnProgress, Progress, Status, no_class
from storage.encoding.scores import LEAST_REMAINDER
from storage.keys.key import is_key
from storage.operations.progress import silent


@dataclass(frozen=True, kw_only=True, repr=False)
class Exported:
    """How an export went.

    pictures:  number of pictures in the store
    written:   number of label files written
    failures:  key, status and reason of each picture without a label, which has no file
    elsewhere: keys of written labels that the published trainers expect under another name: cut at a dot, or without
               the first folders
    partial:   number of written labels that do not cover exactly the whole picture, which files cannot state
    seconds:   how long it took
    """

    pictures: int
    written: int
    failures: tuple[KeyedFailure, ...]
    elsewhere: tuple[str, ...]
    partial: int
    seconds: float

    def __repr__(self) -> str:
        """The numbers of pictures and files."""
        return f"Exported({self.written:,} files of {self.pictures:,} pictures)"

    @property
    def complete(self) -> bool:
        """Every picture has a label file."""
        return self.written == self.pictures

    def describe(self, shown: int = 20) -> str:
        """The result as text; of pictures at most `shown`."""
        lines = [f"wrote {self.written:,} label files for {self.pictures:,} pictures in {self.seconds:.1f} s"]
        if self.partial:
            lines.append(
                f"{self.partial:,} of them do not cover exactly the whole picture; such files cannot state this, and "
                "the published trainers assume that they do"
            )
        if self.elsewhere:
            lines.append(f"for {len(self.elsewhere):,} pictures the published trainers expect another file name:")
            lines += listed([f"{key}: {cut_name(key)}" for key in self.elsewhere], shown)
        if self.failures:
            lines.append(f"{len(self.failures):,} pictures have no label:")
            lines += listed([f"{key}: {word}, {why}" for key, word, why in self.failures], shown)
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "pictures": self.pictures,
            "written": self.written,
            "failures": [failure.to_json() for failure in self.failures],
            "elsewhere": list(self.elsewhere),
            "partial": self.partial,
            "seconds": round(self.seconds, 3),
        }


def export_tree(store: LabelStore, tree: Path, *, on_progress: OnProgress = silent) -> Exported:
    """Write one .pt file for each labelled picture: a tensor [2, k, h, w] of logits and class ids.

    The axes are rank, row, column, as the published generator writes them: rows come before columns. The published
    trainers swap the two themselves when they crop a map, and require square grids.

    Imported logits are written bit for bit in their own type. Probabilities become float16 logits from which the
    published trainers compute the same probabilities (see `trainer_logits`).

    Each file is written atomically and replaces an existing one, so running the export again is safe.

    Args:
        store: the labels.
        tree: a folder, created if it does not exist. A label's file is its picture's key with the suffix replaced.
        on_progress: called when the export begins and after each shard.

    Raises:
        AnnotateError: such files cannot number so many classes, keys would share a file or lie outside the tree, or a
            file cannot be written. All but the last are checked before anything is written.
        DamageError: a label differs from what was written.
    """
    started = time.monotonic()
    schema = store.schema
    check_class_count(schema.class_count, schema.score_type if schema.scores == "logit" else "float16")
    keys = store.keys
    files = _files(keys)
    folders = _folders(tree, files)
    failures: list[KeyedFailure] = []
    elsewhere: list[str] = []
    partial, progress = 0, Progress(0, len(store), 0)
    on_progress(progress)
    for rows, record in store.records():
        if record is None:
            failures += [KeyedFailure(keys[row], Status.PENDING.word, "its shard is not labelled yet") for row in rows]
        else:
            reasons = {failure.row: (failure.status.word, failure.reason) for failure in record.failures}
            failures += [KeyedFailure(keys[row], *reason) for row, reason in reasons.items()]
            labels = store.read(rows)
            for at, row in enumerate(rows):
                if row not in reasons:
                    _write(folders, files[row], file_values(labels[at], schema.class_count))
                    elsewhere += [keys[row]] * (cut_name(keys[row]) != files[row])
                    partial += labels[at].box != Box.whole()
        progress = Progress(progress.done + len(rows), progress.total, len(failures))
        on_progress(progress)
    return Exported(
        pictures=len(store),
        written=len(store) - len(failures),
        failures=tuple(failures),
        elsewhere=tuple(elsewhere),
        partial=partial,
        seconds=time.monotonic() - started,
    )


def file_values(label: LabelMap, class_count: int) -> NDArray[np.floating[Any]]:
    """The contents of the file of a label [h, w, k]: logits and class ids [2, k, h, w].

    A rank without a class gets an id that the location does not name, with the logit 0: the published trainers give
    this logit to every class that is not stored.
    """
    named = label.classes != no_class(label.classes.dtype)
    if label.kind == "probability":
        named &= label.scores > 0
        logits = trainer_logits(label.scores, named, class_count).astype(np.float16)
    else:
        logits = np.where(named, label.scores, label.scores.dtype.type(0))
    # Among the ids 0 to k - 1, at least as many are free as there are ranks without a class; the free ones come first.
    taken = np.stack([((label.classes == number) & named).any(-1) for number in range(label.k)], -1)
    free = np.argsort(taken, axis=-1, kind="stable")
    turn = np.cumsum(~named, axis=-1) - 1
    ids = np.where(named, label.classes, np.take_along_axis(free, turn.clip(0), -1))
    return np.ascontiguousarray(np.stack([logits, ids.astype(logits.dtype)]).transpose(0, 3, 1, 2))


def trainer_logits(scores: NDArray[np.float32], named: NDArray[np.bool_], class_count: int) -> NDArray[np.float64]:
    """Logits [..., k] from which the published trainers compute these probabilities [..., k].

    They put the logits l_i of the m classes that a location names into a vector of zeros over all C classes and take
    the softmax: with Z = sum_i exp(l_i) + (C - m), a named class gets exp(l_i) / Z and each of the others exp(0) / Z.
    The others share the remainder r equally, r / (C - m) each, and so

        exp(l_i) / exp(0) = p_i / (r / (C - m))        l_i = log(p_i (C - m) / r)

    Then Z = (C - m) / r and exp(l_i) / Z = p_i, as required. If r is 0, no finite logit exists, and half a step of its
    code, 1.5e-5, is used instead. If C = m, there are no other classes, and any common offset of the logits is right.

    Args:
        scores: probabilities [..., k].
        named: bool [..., k], ranks that name a class; the others get the logit 0.
        class_count: C.
    """
    wide = np.where(named, scores, 1).astype(np.float64)
    remainder = np.maximum(1 - np.where(named, wide, 0).sum(-1), LEAST_REMAINDER)
    others = np.maximum(class_count - named.sum(-1), 1)
    return np.where(named, np.log(wide * (others / remainder)[..., None]), 0)


def _files(keys: Sequence[str]) -> list[str]:
    """The file of each key."""
    users: dict[str, str] = {}
    for row, key in enumerate(keys):
        if not is_key(key):
            raise AnnotateError(
                f"cannot export row {row}: its key {key!r} does not name a file below a folder. Nothing was written"
            )
        if (other := users.setdefault(own_name(key), key)) != key:
            raise AnnotateError(
                f"cannot export {other!r} and {key!r}: both would have the label file {own_name(key)}. Nothing was "
                "written; rename one of the pictures and label them again"
            )
    return list(users)


def _folders(tree: Path, files: Sequence[str]) -> dict[str, Path]:
    """The path of each folder of the tree, by its name there. No folder may be a link or be reached through one."""
    try:
        tree.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AnnotateError(
            f"cannot write label files to {tree}: {error.strerror or error}; give another folder"
        ) from error
    root = tree.resolve()
    folders = {name: root / name for name in sorted({_folder(file) for file in files})}
    for name, folder in folders.items():
        # A link may lead out of the tree, or make two of its files the same file.
        if (real := Path(os.path.realpath(folder))) != folder:
            raise AnnotateError(
                f"cannot write to {tree}: its folder {name} leads through a link to {real}. Nothing was "
                "written; remove the link or give another folder"
            )
    return folders


def _folder(file: str) -> str:
    return str(PurePosixPath(file).parent)


def _write(folders: dict[str, Path], file: str, values: NDArray[np.floating[Any]]) -> None:
    folder = folders[_folder(file)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_label(folder, PurePosixPath(file).name, values)
    except OSError as error:
        raise AnnotateError(
            f"cannot write the label file {file}: {error.strerror or error}. Earlier files are complete; when the "
            "cause is fixed, run the same command again"
        ) from error
