"""How many sequences each step of a run takes, as a function of nothing but the settings.

Steps are counted here as the data stream counts them: taken and skipped ones. So the samples consumed say
which step is next, and no other state is kept.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

from biobert_scale.config.recipe import Config


class Stretch(NamedTuple):
    """Steps that follow each other and are alike.

    Attributes:
        first_step: steps before it.
        first_sample: samples before it.
        first_token: tokens before it, where all samples have their full length.
        global_batch_size: sequences of each of its steps.
        max_seq_length: full length of its samples.
    """

    first_step: int
    first_sample: int
    first_token: int
    global_batch_size: int
    max_seq_length: int


@dataclass(frozen=True)
class BatchSizes:
    """The batches of a run; see `of`. The last stretch has no end."""

    stretches: tuple[Stretch, ...]

    @classmethod
    def constant(cls, *, global_batch_size: int, max_seq_length: int) -> BatchSizes:
        """All steps alike."""
        return cls(_joined({0: global_batch_size}, max_seq_length))

    @classmethod
    def of(cls, config: Config) -> BatchSizes:
        """Those of a recipe.

        In the warm-up the batch grows from `batch_warmup_start` by as much at a time, so that all its sizes
        divide over as many ranks as the first one.
        """
        training, length = config.training, config.data.max_seq_length
        full, start, steps = (
            training.global_batch_size,
            training.batch_warmup_start or training.global_batch_size,
            training.batch_warmup_steps,
        )
        sizes, more = {}, full // start - 1
        for times in range(more):  # of several that begin with the same step the last one counts
            sizes[-(-times * steps // more)] = start * (1 + times)
        return cls(_joined({**sizes, steps: full}, length))

    def at(self, consumed_samples: int) -> Stretch:
        """What the step after so many samples belongs to."""
        return self.stretches[bisect_right(self.stretches, consumed_samples, key=_first_sample) - 1]

    def step_at(self, consumed_samples: int) -> int:
        """Steps before the one that takes the sample after so many."""
        stretch = self.at(consumed_samples)
        return stretch.first_step + (consumed_samples - stretch.first_sample) // stretch.global_batch_size

    def samples_before(self, steps: int) -> int:
        """Samples that a run of so many steps consumes."""
        stretch = self._with_step(steps)
        return stretch.first_sample + (steps - stretch.first_step) * stretch.global_batch_size

    def tokens_before(self, steps: int) -> int:
        """Tokens of so many steps at full length: a measure of their work."""
        stretch = self._with_step(steps)
        a_step = stretch.global_batch_size * stretch.max_seq_length
        return stretch.first_token + (steps - stretch.first_step) * a_step

    def _with_step(self, steps: int) -> Stretch:
        return self.stretches[bisect_right(self.stretches, steps, key=_first_step) - 1]


def _joined(sizes: dict[int, int], length: int) -> tuple[Stretch, ...]:
    """Args:
    sizes: first step -> global batch size, from step 0 on.
    """
    found: list[Stretch] = []
    step = sample = token = size = 0
    for first, following in sorted(sizes.items()):
        samples = (first - step) * size
        step, sample, token, size = first, sample + samples, token + samples * length, following
        found.append(Stretch(step, sample, token, size, length))
    return tuple(found)


def _first_sample(stretch: Stretch) -> int:
    return stretch.first_sample


def _first_step(stretch: Stretch) -> int:
    return stretch.first_step
