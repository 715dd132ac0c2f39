"""A rank's steps, made ahead of time by threads; the state is one number."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Generic, TypeVar

from biobert_scale.config import LoaderConfig
from biobert_scale.data.batches import RankStep
from biobert_scale.data.layouts import fill_bucket
from biobert_scale.data.run_stream import RunStream

Prepared = TypeVar("Prepared")


class StepLoader(Generic[Prepared]):
    """Yields one rank's share of each global step, in order and without end; a context manager that ends its
    threads.

    The compiled part of making a batch holds no lock, so that threads are enough, and share one memory-mapped
    store.
    """

    def __init__(
        self,
        stream: RunStream,
        *,
        consumed_samples: int,
        world_size: int,
        rank: int,
        prepare: Callable[[RankStep], Prepared],
        config: LoaderConfig = LoaderConfig(),
        pad_token_id: int = 0,
    ) -> None:
        """Begin after the first `consumed_samples` samples of the training.

        Args:
            prepare: applied to each step in the threads (as tensors in pinned memory).
            pad_token_id: what micro-batches are lengthened with.
        """
        self.stream, self.config, self.prepare, self.pad_token_id = stream, config, prepare, pad_token_id
        self.consumed_samples = self.begun_samples = consumed_samples
        self.share = {"world_size": world_size, "rank": rank}
        self.pool = ThreadPoolExecutor(config.workers, thread_name_prefix="loader")
        self.ahead: deque[Future[Prepared]] = deque()

    def __enter__(self) -> StepLoader[Prepared]:
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[Prepared]:
        return self

    def __next__(self) -> Prepared:
        while len(self.ahead) < self.config.workers * self.config.prefetch_steps:
            self.ahead.append(self.pool.submit(self._make, self.begun_samples))
            self.begun_samples += self.stream.size(self.begun_samples)
        step = self.ahead.popleft().result()
        self.consumed_samples += self.stream.size(self.consumed_samples)
        return step

    def _make(self, first_sample: int) -> Prepared:
        step = self.stream.step(first_sample, **self.share)
        data = self.stream.phase(first_sample).stream.config
        if self.config.pad_to_multiple_of:
            filled = (
                fill_bucket(
                    batch,
                    bucket=self.config.pad_to_multiple_of,
                    max_seq_length=data.max_seq_length,
                    mlm_probability=data.mlm_probability,
                    pad_token_id=self.pad_token_id,
                )
                for batch in step.micro_batches
            )
            step = replace(step, micro_batches=tuple(filled))
        return self.prepare(step)
