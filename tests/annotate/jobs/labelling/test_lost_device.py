"""What follows when a GPU answers a process no more? On the CPU, with a stand-in for torch's call that asks it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from annotate.errors import AnnotateError, LostDeviceError
from annotate.jobs.labelling.lost_device import noticing_a_lost_device
from annotate.jobs.labelling.shard import Shard
from annotate.jobs.workers import LocalWorkers

ASSERTION = "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported at another call"


def of_cuda() -> None:
    raise RuntimeError(ASSERTION)


def test_a_gpu_that_answers_no_more_is_told_from_an_error_that_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="device-side"), noticing_a_lost_device("cpu"):
        of_cuda()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    with pytest.raises(RuntimeError, match="device-side"), noticing_a_lost_device("cuda"):
        of_cuda()
    monkeypatch.setattr(torch.cuda, "synchronize", of_cuda)
    with pytest.raises(LostDeviceError) as lost, noticing_a_lost_device("cuda"):
        of_cuda()
    assert str(lost.value) == ("the GPU answers this process no more, since: CUDA error: device-side assert triggered")


@dataclass
class Lost:
    """A job that loses its GPU at the second shard."""

    asked: list[int] = field(default_factory=list)

    def start(self):
        def label(shard: Shard) -> str:
            self.asked.append(shard.rows.start)
            if len(self.asked) > 1:
                raise LostDeviceError("the GPU answers this process no more, since: CUDA error")
            return "labelled"

        return label


def test_the_only_process_ends_with_what_to_do_and_tries_no_shard_again() -> None:
    job = Lost()
    outcomes = LocalWorkers(at_once=1).map(job, [Shard(range(n, n + 4), ()) for n in range(0, 40, 4)])
    assert next(outcomes).record == "labelled"
    with pytest.raises(AnnotateError) as ended:
        next(outcomes)
    assert job.asked == [0, 4]
    assert str(ended.value) == (
        "cannot go on in this process: the GPU answers this process no more, since: CUDA error. Shards that are "
        "finished are stored: run the same command again. If it ends at the same rows, 4 to 8, use --workers 1, which "
        "labels with Ray and tries each shard alone"
    )
