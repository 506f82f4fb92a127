"""Do evaluate() and predict() of Hugging Face's Trainer work with the program's subclass?"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.examples.test_trainers import EXAMPLES, HEAVY, need, run


@pytest.mark.parametrize("batch_size", [2, 16])
@pytest.mark.filterwarnings(*(f"ignore:{text}" for text in HEAVY["hugging_face"][1]))
def test_a_trained_student_is_evaluated_and_predicts(
    batch_size: int, small_demo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    need("hugging_face")
    monkeypatch.chdir(small_demo)
    known = run(EXAMPLES / "hugging_face.py", capsys)
    data, arguments = known["data"].subset(range(24)), known["arguments"]
    arguments.per_device_eval_batch_size = batch_size
    trainer = known["TokenTrainer"](known["model"], arguments, data_collator=known["batch"], eval_dataset=data)
    assert math.isfinite(trainer.evaluate()["eval_loss"])
    answer = trainer.predict(data)
    assert answer.predictions.shape == (24, 10)
    assert answer.label_ids.tolist() == known["images"].targets[:24]
