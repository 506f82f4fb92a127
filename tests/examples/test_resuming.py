"""Does a resumed training show the crops of the very epoch, whatever trainer counts the epochs?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from tokenlabel import Crops, EpochSampler, LabeledImages, LabelError, collate

REASON = "resuming by {} is tried; `make trainers` installs it, and runs this"


@pytest.fixture
def make(scene_folder: Path, finished: Path) -> Callable[[], LabeledImages]:
    """A dataset as a new process would make it."""
    images = ImageFolder(scene_folder / "images" / "val")
    return lambda: LabeledImages(images, finished, augment=Crops((16, 16)), tokens=(2, 2), class_count=10)


def crops(loader: object) -> list[bytes]:
    return [picture.numpy().tobytes() for batch in loader for picture in batch.pixels]  # type: ignore[attr-defined]


@pytest.mark.parametrize("seedable", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_accelerates_loader_is_told_the_epoch(workers: int, seedable: bool, make: Callable[[], LabeledImages]) -> None:
    accelerate = pytest.importorskip("accelerate", reason=REASON.format("Accelerate"))
    settings = accelerate.utils.DataLoaderConfiguration(use_seedable_sampler=seedable)
    accelerator = accelerate.Accelerator(cpu=True, dataloader_config=settings)

    def prepared(data: LabeledImages) -> DataLoader:
        loader = DataLoader(data, 5, sampler=EpochSampler(data), num_workers=workers, collate_fn=collate)
        return accelerator.prepare(loader)

    whole, shown = prepared(make()), []
    for epoch in range(3):
        whole.set_epoch(epoch)
        shown.append(crops(whole))
    resumed = prepared(make())
    resumed.set_epoch(2)
    assert crops(resumed) == shown[2]
    data = make()
    data.set_epoch(2)
    with pytest.raises(LabelError, match=r"set_epoch\(0\) came after set_epoch\(2\), .* loader.set_epoch\(epoch\)"):
        crops(prepared(data))


PROGRAM = """
import hashlib, json, os, sys, torch
from torchvision.datasets import ImageFolder
from transformers import Trainer, TrainingArguments
from tokenlabel import Crops, EpochSampler, LabeledImages, collate

folder, store, out, resume = sys.argv[1:]
data = LabeledImages(ImageFolder(folder), store, augment=Crops((16, 16)), tokens=(2, 2), class_count=10)
data = data.subset(range(24))
shown = {}

class Recording(Trainer):
    def _get_train_sampler(self, *_):
        return EpochSampler(self.train_dataset)

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        made = [hashlib.sha256(picture.numpy().tobytes()).hexdigest()[:16] for picture in inputs["pixels"]]
        shown.setdefault(int(self.state.epoch or 0), []).extend(made)
        return model(inputs["pixels"].flatten(1)).square().mean()

def batch(examples):
    return collate(examples)._asdict()

options = {"num_train_epochs": 3, "per_device_train_batch_size": 4, "report_to": "none", "use_cpu": True}
options |= {"remove_unused_columns": False, "save_strategy": "epoch", "dataloader_num_workers": 1, "disable_tqdm": True}
options |= {"ddp_backend": "gloo"} if "RANK" in os.environ else {}
trainer = Recording(torch.nn.Linear(768, 1), TrainingArguments(out, **options), data_collator=batch, train_dataset=data)
trainer.train(resume_from_checkpoint=resume if resume != "no" else None)
with open(f"{out}/{os.environ.get('RANK', 0)}-{resume == 'no'}.json", "w") as file:
    json.dump(shown, file)
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_hugging_faces_trainer_resumes_with_the_same_crops_on_several_processes_too(
    processes: int, scene_folder: Path, finished: Path, tmp_path: Path
) -> None:
    for package in ("transformers", "accelerate"):
        pytest.importorskip(package, reason=REASON.format("Hugging Face's Trainer"))
    program, out = tmp_path / "program.py", tmp_path / "out"
    program.write_text(PROGRAM)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    where = [str(scene_folder / "images" / "val"), str(finished), str(out)]
    for resume in ("no", str(out / f"checkpoint-{24 // 4 // processes}")):
        command = [*(launch if processes > 1 else [sys.executable]), str(program), *where, resume]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    every = []
    for rank in range(processes):
        whole, resumed = (json.loads((out / f"{rank}-{first}.json").read_text()) for first in (True, False))
        assert resumed == {epoch: whole[epoch] for epoch in ("1", "2")}
        every += [crop for epoch in whole.values() for crop in epoch]
    assert len(every) == len({*every}) == 72
