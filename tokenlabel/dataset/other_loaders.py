"""Which collators and loaders of others cannot take examples, and how do they learn what to be given instead?

They know nothing of token targets, and fail with errors of their own that name neither the targets nor a remedy. So
examples notice how each of them takes them apart:

    torch's default_collate                       by the type of their targets
    default_data_collator of Transformers         by vars(example)
    timm's prefetcher, which takes pairs          by unpacking a batch
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from torch.utils.data._utils.collate import default_collate_fn_map

from tokenlabel.errors import LabelError
from tokenlabel.targets.token_targets import TokenTargets

_FOR_TIMM = (
    "create_loader(…, collate_fn=tokenlabel.collate_pairs) and augment=create_transform(…, use_prefetcher=True), or "
    "create_loader(…, collate_fn=tokenlabel.collate, use_prefetcher=False)"
)


def refuse_other_loaders(*kinds: type) -> None:
    """Make named tuples of these kinds refuse them."""
    for kind in kinds:
        kind.__getattr__ = _attribute  # type: ignore[attr-defined]  # which a NamedTuple lets no one declare
        kind.__iter__ = _items  # type: ignore[attr-defined]


def _attribute(example: tuple[Any, ...], name: str) -> Any:
    if name == "__dict__":  # of a tuple without one: vars() asks
        return _Columns()
    raise AttributeError(f"{type(example).__name__!r} object has no attribute {name!r}", name=name, obj=example)


class _Columns(dict[str, Any]):
    """Where the collator of Transformers looks for a label first. An error here, in vars(), would break dir() too."""

    def __contains__(self, name: object) -> NoReturn:
        raise LabelError(
            "the default_data_collator of Transformers makes no batch of targets; give Trainer(…, "
            "data_collator=lambda examples: tokenlabel.collate(examples)._asdict())"
        )


def _items(example: tuple[Any, ...]) -> Iterator[Any]:
    if sys._getframe(1).f_globals.get("__name__") == "timm.data.loader":
        raise LabelError(f"timm's prefetcher takes pairs, and a {type(example).__name__} is none; give {_FOR_TIMM}")
    return tuple.__iter__(example)


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise LabelError(
        "torch's default_collate makes no batch of targets; give DataLoader(…, collate_fn=tokenlabel.collate), or for "
        f"timm {_FOR_TIMM}"
    )


default_collate_fn_map[TokenTargets] = _refuse
