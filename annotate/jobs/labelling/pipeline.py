"""How does one worker label several shards at once? They share decoders and networks, each in its turn."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from threading import BoundedSemaphore, Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from annotate.errors import PictureError
from annotate.images.decode import decode
from annotate.images.source import PictureReader
from annotate.jobs.labelling.shard import AbandonedError, Shard
from annotate.jobs.labelling.shard_labels import Shape, ShardLabels
from annotate.model.annotator import Prepared
from storage import LabelMap

_BATCHES = 3  # batches of pixels in memory, at most: one is collected while two are decoded


class Device(Shape, Protocol):
    """The part of an `Annotator` that a pipeline needs."""

    def prepare(self, picture: NDArray[np.uint8]) -> Prepared:
        """Fit a picture to the inputs; called in several threads."""
        ...

    def start(self, prepared: Sequence[Prepared]) -> Callable[[], LabelMap]:
        """Start a batch; returns the function that waits for its labels. One thread at a time calls it."""
        ...


class Made(NamedTuple):
    """The labels of a shard.

    labels:  one for each row
    reasons: why rows have no label, by row
    seconds: the worker's time: from the end of the shard before, or from the beginning of this one if that is later
    """

    labels: LabelMap
    reasons: dict[int, str]
    seconds: float


class Pipeline:
    """Labels several shards at once, so that the device does not wait between them.

    Each shard has a thread, which calls `label`, and two turns keep the shards in order: a shard's pictures are decoded
    after all of the shard before, and its batches are sent after all of the shard before. So the next shard is decoded
    and sent while the device answers the last batches of the one before, and while that one is coded and written by its
    thread. A batch has pictures of one shard, so that a label does not depend on which shard came before.

    All shards together have at most three batches of pictures, and one picture for each decoder, that are decoded and
    not sent. They share nothing else, so a failure affects only its own shard.

    Args:
        device: labels batches.
        reader: reads pictures; called in several threads.
        decode: makes a picture of what was read; called in several threads.
        batch_size: pictures in a batch.
        decoders: threads that read, decode and resize.
    """

    def __init__(
        self,
        device: Device,
        reader: PictureReader,
        *,
        batch_size: int,
        decoders: int,
        decode: Callable[[Any], NDArray[np.uint8]] = decode,
    ) -> None:
        self._device, self._reader, self._decode_bytes = device, reader, decode
        self._batch_size = batch_size
        self._ahead = _BATCHES * batch_size + decoders
        self._room = BoundedSemaphore(self._ahead)  # one for each picture that is decoded, or will be
        self._decoders = ThreadPoolExecutor(decoders, "decoder", torch.set_num_threads, (1,))
        self._decoding, self._sending, self._timing = Lock(), Lock(), Lock()
        self._ended = 0.0  # when the last shard had all its labels

    def label(self, shard: Shard) -> Made:
        """Label the pictures of a shard. Safe to call from several threads.

        Raises:
            AbandonedError: nobody waits for this shard any more.
            Exception: what reading, decoding or the device raised, except `PictureError`, which is a row without label.
        """
        with ExitStack() as decoding, ExitStack() as sending:
            decoding.enter_context(self._decoding)
            begun = time.monotonic()
            pictures = _Pictures(shard, self._decode, self._decoders, self._room)
            sending.callback(pictures.drop)
            # Room comes as the shard before sends its batches: all of it, once that has sent the last.
            pictures.hand_over(self._ahead)
            if pictures.all_handed_over:
                decoding.close()
            sending.enter_context(self._sending)
            labels = ShardLabels(shard.rows, self._device)
            started: deque[tuple[list[int], Callable[[], LabelMap]]] = deque()
            while batch := pictures.take(self._batch_size, labels.leave_out):
                started.append(([row for row, _ in batch], self._device.start([picture for _, picture in batch])))
                pictures.free(len(batch))
                if pictures.all_handed_over:
                    decoding.close()
                if len(started) > 1:  # the device has another batch to work on
                    _collect(started, labels)
            sending.close()
            while started:
                _collect(started, labels)
        return Made(labels.label_map(), labels.reasons, self._seconds_since(begun))

    def _decode(self, handle: Any) -> Prepared:
        return self._device.prepare(self._decode_bytes(self._reader.read(handle)))

    def _seconds_since(self, begun: float) -> float:
        with self._timing:
            before, self._ended = self._ended, time.monotonic()
            return self._ended - max(begun, before)


class _Pictures:
    """The pictures of a shard on their way through the decoders, in order."""

    def __init__(
        self, shard: Shard, do: Callable[[Any], Prepared], pool: ThreadPoolExecutor, room: BoundedSemaphore
    ) -> None:
        self._shard, self._do, self._pool, self._room = shard, do, pool, room
        self._coming = zip(shard.rows, shard.handles, strict=True)
        self._left = len(shard.rows)  # not handed over
        self._decoded: deque[tuple[int, Future[Prepared]]] = deque()
        self._held = 0  # how much of the room these pictures hold

    @property
    def all_handed_over(self) -> bool:
        """Whether the decoders have had all pictures, so that those of the next shard can follow."""
        return not self._left

    def hand_over(self, count: int) -> None:
        """Hand this many more pictures to the decoders, or all that are left, when there is room for each."""
        for row, handle in islice(self._coming, count):
            self._room.acquire()
            self._held += 1
            self._refuse_if_abandoned()
            self._decoded.append((row, self._pool.submit(self._do, handle)))
            self._left -= 1

    def take(self, count: int, leave_out: Callable[[int, PictureError], None]) -> list[tuple[int, Prepared]]:
        """The next pictures with their rows, `count` or all that are left; those that cannot be labelled are left out.

        They hold their room until they are freed.
        """
        batch: list[tuple[int, Prepared]] = []
        while self._decoded and len(batch) < count:
            self._refuse_if_abandoned()
            row, future = self._decoded.popleft()
            try:
                batch.append((row, future.result()))
            except PictureError as error:
                leave_out(row, error)
                self.free(1)
            finally:
                del future  # it holds its error, which holds this frame with the batch: only the collector would end it
        return batch

    def free(self, count: int) -> None:
        """Release the room of this many pictures, and hand over as many new ones, if there are any."""
        self._release(count)
        self.hand_over(count)

    def drop(self) -> None:
        """Forget all pictures. An error that is kept elsewhere keeps this object, but none of them."""
        while self._decoded:
            self._decoded.popleft()[1].cancel()
        self._release(self._held)

    def _release(self, count: int) -> None:
        self._held -= count
        if count:
            self._room.release(count)

    def _refuse_if_abandoned(self) -> None:
        if self._shard.abandoned is not None and self._shard.abandoned.is_set():
            raise AbandonedError(f"rows {self._shard.rows.start} to {self._shard.rows.stop} were abandoned")


def _collect(started: deque[tuple[list[int], Callable[[], LabelMap]]], labels: ShardLabels) -> None:
    """Write the labels of the batch that was started first."""
    rows, wait = started.popleft()
    labels.write(rows, wait())
