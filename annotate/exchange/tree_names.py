"""Which file of a label tree belongs to which picture? Two names are tried, and a file that fits several is refused.

    key                own name           cut name, as the published tools make it
    cat/tom.jpg        cat/tom.pt         cat/tom.pt
    cat/tom.v1.jpg     cat/tom.v1.pt      cat/tom.pt
    big.cat/leo.jpg    big.cat/leo.pt     big.pt
    x/cat/tom.jpg      x/cat/tom.pt       cat/tom.pt

The published tools cut the last two parts of a path at their first dot, so several pictures may write the same file,
and the last one stays. In such a tree the file is the label of one of these pictures, and it is unknown of which one.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from annotate.errors import AnnotateError, PictureError
from storage import Status

SUFFIX = ".pt"
_NAMED = 3  # pictures that a reason names


def own_name(key: str) -> str:
    """The key with its suffix replaced by .pt."""
    folder, slash, name = key.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name) + SUFFIX


def cut_name(key: str) -> str:
    """The last two parts of the key, cut at their first dot, with .pt: what the published tools write."""
    return "/".join(key.split("/")[-2:]).split(".", 1)[0] + SUFFIX


class TreeNames:
    """The label file of each picture of a collection.

    Args:
        root: the tree's folder, resolved.
        keys: the pictures' keys, checked.
    """

    def __init__(self, root: Path, keys: Sequence[str]) -> None:
        self._root = root
        self._keys = keys
        self._users: defaultdict[str, list[int]] = defaultdict(list)  # by file name, the rows that it may belong to
        for row, key in enumerate(keys):
            for name in {own_name(key), cut_name(key)}:
                self._users[name].append(row)

    def __repr__(self) -> str:
        """The tree and the number of pictures."""
        return f"TreeNames({str(self._root)!r}, {len(self._keys):,} pictures)"

    def of(self, row: int) -> str:
        """The label file of a picture: the one with its own name, or else the one with its cut name.

        Raises:
            PictureError: MISSING, if there is neither; REFUSED, if the file may also belong to another picture.
        """
        name = self._chosen(row)
        if name is None:
            tried = sorted({own_name(self._keys[row]), cut_name(self._keys[row])})
            raise PictureError(Status.MISSING, f"there is no label file {' or '.join(tried)}")
        users = (user for user in self._users[name] if user != row)
        if name == own_name(self._keys[row]):
            # A picture with a file of its own name does not use this one.
            users = (user for user in users if self._chosen(user) == name)
        if others := list(islice(users, _NAMED + 1)):
            named = ", ".join(self._keys[user] for user in others[:_NAMED])
            more = " and others" if len(others) > _NAMED else ""
            raise PictureError(
                Status.REFUSED,
                f"the label file {name} may also belong to {named}{more}; such a file is used for none of them",
            )
        return name

    def left_over(self) -> Iterator[str]:
        """The .pt files of the tree that belong to no picture. Links to folders are not followed.

        Raises:
            AnnotateError: a folder cannot be listed.
        """
        for folder, subfolders, files in os.walk(self._root, onerror=_refuse):
            subfolders.sort()
            for file in sorted(files):
                name = (Path(folder) / file).relative_to(self._root).as_posix()
                if name.endswith(SUFFIX) and not any(self._chosen(row) == name for row in self._users.get(name, ())):
                    yield name

    def _chosen(self, row: int) -> str | None:
        key = self._keys[row]
        return next((name for name in (own_name(key), cut_name(key)) if os.path.lexists(f"{self._root}/{name}")), None)


def _refuse(error: OSError) -> None:
    raise AnnotateError(
        f"cannot list the folder {error.filename}: {error.strerror}; nothing has been imported"
    ) from error
