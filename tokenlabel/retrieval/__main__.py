"""What does `python -m tokenlabel.retrieval` do? Train descriptors, or evaluate them, as its options say."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

import tokenlabel.models  # noqa: F401 registers its students with timm
from storage import StoreError
from tokenlabel.errors import LabelError
from tokenlabel.retrieval.settings import RetrievalSettings
from tokenlabel.retrieval.trainer import RetrievalTrainer
from tokenlabel.train.checkpoint import LAST


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, or evaluate, as the command line says. Errors that a user can repair end it with a line that says how."""
    settings, only_evaluate = RetrievalSettings.from_arguments(arguments)
    try:
        for name in ("val",) if only_evaluate else ("data", "output"):
            if not getattr(settings, name):
                raise LabelError(f"--{name} is needed; --help says what it is")
        trainer = RetrievalTrainer(settings)
        if not only_evaluate:
            trainer.train()
            return
        if settings.output and (last := Path(settings.output) / LAST).is_file():
            trainer.load(last)
        scores, spread = trainer.evaluate()
        for name, found in scores.items():
            tqdm.write(f"{name}: {found}")
        tqdm.write(f"mean log distance to the nearest: {spread:.4f}")
    except (LabelError, StoreError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
