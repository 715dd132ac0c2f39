"""One thread computes for all clients: what waits is put into common batches."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import NamedTuple

from biobert_scale.tag.document import TextDocument
from biobert_scale.tag.tagger import Entity, EntityTagger, merge_entities

_CHARACTERS_AT_ONCE = 1 << 15
"""Text that is computed before newcomers are looked at: a second or so on a CPU."""
_log = logging.getLogger(__name__)


class _Job:
    """A request's documents, of which one after another is done."""

    def __init__(self, documents: Sequence[TextDocument]) -> None:
        self.waiting = deque(enumerate(documents))
        self.entities: list[list[Entity]] = [[] for _ in documents]
        self.left = len(documents)
        self.done = Future[list[list[Entity]]]()

    def finish_one(self, place: int, found: list[Entity] | Exception) -> None:
        with suppress(InvalidStateError):  # its client is gone, or another of its documents failed
            if isinstance(found, Exception):
                self.waiting.clear()
                self.done.set_exception(found)
                return
            self.entities[place] = found
            self.left -= 1
            if not self.left:
                self.done.set_result(self.entities)


class _Piece(NamedTuple):
    job: _Job
    place: int
    document: TextDocument


class ModelThread:
    """Tags documents of many clients, in turns: one document of each request goes into a batch, then another
    of each, until the batch is full. So a long request delays a short one by one batch.

    Args:
        taggers: each marks its own types.
    """

    def __init__(self, taggers: Sequence[EntityTagger]) -> None:
        self._taggers = taggers
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._characters_per_second = 10_000.0
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the batch that is being computed."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def submit(self, documents: Sequence[TextDocument]) -> Future[list[list[Entity]]]:
        """The documents' entities, when they are there. What is cancelled is not computed."""
        job = _Job(documents)
        if not documents:
            job.done.set_result([])
            return job.done
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        return job.done

    def seconds_of_work(self) -> int:
        """How long what waits will take, at the speed of the last batches."""
        with self._changed:
            waiting = [document for job in self._jobs for _, document in job.waiting]
        return math.ceil(sum(len(document.text) for document in waiting) / self._characters_per_second)

    def _work(self) -> None:
        while batch := self._next_batch():
            started = time.monotonic()
            for piece, found in zip(batch, self._compute(batch), strict=True):
                piece.job.finish_one(piece.place, found)
            speed = sum(len(piece.document.text) for piece in batch) / (time.monotonic() - started)
            self._characters_per_second = 0.8 * self._characters_per_second + 0.2 * max(1.0, speed)

    def _next_batch(self) -> list[_Piece]:
        """Waits for work; empty at the end."""
        with self._changed:
            while not self._stopping:
                if batch := self._take():
                    return batch
                self._changed.wait()
        return []

    def _take(self) -> list[_Piece]:
        batch: list[_Piece] = []
        characters = 0
        while self._jobs and characters < _CHARACTERS_AT_ONCE:
            job = self._jobs.popleft()
            if job.waiting and not job.done.done():
                batch.append(_Piece(job, *job.waiting.popleft()))
                characters += len(batch[-1].document.text)
                self._jobs.append(job)
        return batch

    def _compute(self, batch: Sequence[_Piece]) -> Sequence[list[Entity] | Exception]:
        documents = [piece.document for piece in batch]
        try:
            return merge_entities([tagger.tag(documents) for tagger in self._taggers])
        except Exception as error:
            if len(batch) == 1:
                _log.exception("a document could not be tagged")
                return [error]
            # One client's document is no reason to refuse the others'.
            return [found for piece in batch for found in self._compute([piece])]
