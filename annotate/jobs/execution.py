"""How is a recipe executed? By settings that can change the last bit of a label, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import torch

from annotate.errors import AnnotateError
from annotate.model.recipe import Precision
from storage import LabelStore, find_store


def resolve_precision(choice: Precision | Literal["auto"], store: str | None = None) -> Precision:
    """What "auto" means: the precision of the store, or bfloat16 if this machine has a GPU, and else float32.

    Args:
        choice: "auto", or a precision, which is then the answer.
        store: the address of a store, which need not exist yet; None where no store is involved.

    Raises:
        StoreError: the address cannot be used.
    """
    if choice != "auto":
        return choice
    existing = None if store is None else find_store(store)
    if existing is not None and "precision" in existing.schema.recipe:
        known: Precision = existing.schema.recipe["precision"]
        return known
    return "bfloat16" if torch.cuda.is_available() else "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How the networks of a recipe work through the pictures: the same in all workers, and in all runs of a store.

    batch_size: pictures that the networks label together
    compiled:   whether the networks are compiled, for batches of this size

    Raises:
        AnnotateError: the batch size is not positive.
    """

    batch_size: int = 32
    compiled: bool = False

    def __post_init__(self) -> None:
        """Check that the batch size is positive."""
        if self.batch_size < 1:
            raise AnnotateError(f"the batch size must be at least 1, not {self.batch_size}")

    @classmethod
    def of(cls, store: LabelStore) -> Self:
        """How the labels of this store are made, from its provenance."""
        known = store.schema.provenance
        return cls(
            batch_size=int(known.get("batch_size", cls().batch_size)),
            compiled=bool(known.get("compiled", cls().compiled)),
        )

    @property
    def compile_for(self) -> int | None:
        """The batch size to compile the networks for, or None; see `Annotator`."""
        return self.batch_size if self.compiled else None

    def to_json(self) -> dict[str, Any]:
        """Its part of a store's provenance."""
        return {"compiled": self.compiled, "batch_size": self.batch_size}
