"""How is a dataset read that `datasets` has saved? From its Arrow files, mapped into memory."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc

from annotate.errors import AnnotateError
from annotate.images.per_process import Opened
from annotate.images.sources.huggingface import HubImages


def saved_images(address: str | os.PathLike[str]) -> HubImages:
    """The pictures of a folder that `Dataset.save_to_disk` wrote.

    Raises:
        AnnotateError: as `HubImages`.
    """
    return HubImages(address, SavedTable.at)


@dataclass(frozen=True)
class SavedTable:
    """The rows of a folder that `Dataset.save_to_disk` wrote. Only the folder's path is pickled."""

    root: Path
    _opened: Opened[datasets.Dataset] = field(default_factory=Opened, init=False, repr=False, compare=False)

    @classmethod
    def at(cls, path: Path) -> SavedTable:
        """The table in this folder.

        Raises:
            AnnotateError: it holds several splits, each in its own folder.
        """
        splits = path / "dataset_dict.json"
        if splits.exists():
            names = json.loads(splits.read_text(encoding="utf-8")).get("splits", [])
            raise AnnotateError(
                f"the dataset {path} has the splits {', '.join(names)}; give the folder of one, for example "
                f"{path / names[0] if names else path}"
            )
        return cls(path)

    def __len__(self) -> int:
        return len(self._dataset())

    @property
    def schema(self) -> pa.Schema:
        """The columns, with the features of `datasets`."""
        return self._dataset().features.arrow_schema

    def values(self, column: str, part: str | None = None) -> list[Any]:
        """All values of a column, or of one part of a struct, without reading its other parts."""
        found: list[Any] = []
        for batch in self._dataset().select_columns([column]).iter(10_000):
            values = batch[column]
            found += (values if part is None else pc.struct_field(values, part)).to_pylist()
        return found

    def cell(self, row: int, column: str) -> Any:
        """The value in one row as a Python object."""
        return self._dataset()[row][column][0].as_py()

    def _dataset(self) -> datasets.Dataset:
        return self._opened.get(None, lambda: datasets.load_from_disk(str(self.root)).with_format("arrow"))
