"""How many sequences each step of a run takes, and of which phase, as a function of nothing but the settings.

Steps are counted here as the data stream counts them: taken and skipped ones. So the samples consumed say
which step is next, and no other state is kept.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from biobert_scale.config.recipe import Config


class Phase(NamedTuple):
    """A part of a run.

    Attributes:
        first_step: steps before it.
        steps: how many it has.
        config: the recipe of a run that has this phase only, for all its steps.
    """

    first_step: int
    steps: int
    config: Config


def phases_of(config: Config) -> list[Phase]:
    """A run's phases; a single one where the recipe has none."""
    total, lengths = (
        config.training.schedule.total_steps,
        [phase.max_seq_length for phase in config.training.phases],
    )
    if not lengths:
        return [Phase(0, total, config)]
    found, first = [], 0
    for phase, training in zip(config.training.phases, config.training.each_phase(), strict=True):
        steps = phase.steps or total - first
        data = replace(config.data, max_seq_length=phase.max_seq_length or config.data.max_seq_length)
        found.append(Phase(first, steps, replace(config, data=data, training=training)))
        first += steps
    return found


class Stretch(NamedTuple):
    """Steps that follow each other and are alike.

    Attributes:
        first_step: steps before it.
        first_sample: samples before it.
        first_token: tokens before it, where all samples have their full length.
        global_batch_size: sequences of each of its steps.
        max_seq_length: full length of its samples.
        phase: the number of its phase, from 0 on.
    """

    first_step: int
    first_sample: int
    first_token: int
    global_batch_size: int
    max_seq_length: int
    phase: int


@dataclass(frozen=True)
class BatchSizes:
    """The batches of a run; see `of`. The last stretch has no end."""

    stretches: tuple[Stretch, ...]

    @classmethod
    def constant(cls, *, global_batch_size: int, max_seq_length: int) -> BatchSizes:
        """All steps alike."""
        return cls(_joined([(0, global_batch_size, max_seq_length, 0)]))

    @classmethod
    def of(cls, config: Config) -> BatchSizes:
        """Those of a recipe."""
        return cls(
            _joined(
                (phase.first_step + step, size, phase.config.data.max_seq_length, number)
                for number, phase in enumerate(phases_of(config))
                for step, size in _warmup(phase.config).items()
            )
        )

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

    def first_sample(self, phase: int) -> int:
        """Samples before a phase."""
        return next(stretch.first_sample for stretch in self.stretches if stretch.phase == phase)

    def _with_step(self, steps: int) -> Stretch:
        return self.stretches[bisect_right(self.stretches, steps, key=_first_step) - 1]


def _warmup(config: Config) -> dict[int, int]:
    """First step -> the global batch size from there on.

    In the warm-up the batch grows from `batch_warmup_start` by as much at a time, so that all its sizes
    divide over as many ranks as the first one.
    """
    training = config.training
    full, steps = training.global_batch_size, training.batch_warmup_steps
    start = training.batch_warmup_start or full
    sizes, more = {}, full // start - 1
    for times in range(more):  # of several that begin with the same step the last one counts
        sizes[-(-times * steps // more)] = start * (1 + times)
    return {**sizes, steps: full}


def _joined(parts: Iterable[tuple[int, int, int, int]]) -> tuple[Stretch, ...]:
    """Args:
    parts: first step, global batch size, full length and phase of each stretch; the first one at step 0.
    """
    found: list[Stretch] = []
    sample = token = 0
    for first, size, length, phase in parts:
        if found:
            samples = (first - found[-1].first_step) * found[-1].global_batch_size
            sample, token = sample + samples, token + samples * found[-1].max_seq_length
        found.append(Stretch(first, sample, token, size, length, phase))
    return tuple(found)


def _first_sample(stretch: Stretch) -> int:
    return stretch.first_sample


def _first_step(stretch: Stretch) -> int:
    return stretch.first_step
