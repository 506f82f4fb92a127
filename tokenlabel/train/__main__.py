"""What does `python -m tokenlabel.train` do? Train, or evaluate, as its options say."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from torch import distributed

from storage import StoreError
from tokenlabel.errors import LabelError
from tokenlabel.train.evaluation import evaluate_once, evaluator
from tokenlabel.train.process_group import ProcessGroup
from tokenlabel.train.settings import TrainSettings
from tokenlabel.train.trainer import Trainer


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, or evaluate, as the command line says. Errors that a user can repair end it with a line that says how."""
    settings, only_evaluate = TrainSettings.from_arguments(arguments)
    try:
        group = ProcessGroup.here(settings.device)
    except LabelError as error:
        sys.exit(f"error: {error}")
    try:
        if only_evaluate:
            evaluate_once(settings, group)
            return
        for name in ("data", "labels", "output"):
            if not getattr(settings, name):
                raise LabelError(f"--{name} is needed: the {TrainSettings.text(name)}")
        trainer = Trainer(settings, group)
        trainer.run(evaluator(settings, group, trainer.class_names))
    except (LabelError, StoreError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    finally:
        if group.processes > 1:
            distributed.destroy_process_group()


if __name__ == "__main__":
    main()
