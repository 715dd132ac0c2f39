"""How fast a run goes: what the steps since the last report did, over the time they took."""

from __future__ import annotations

import numpy as np
from transformers import BertConfig

from biobert_scale.data.batches import RankStep
from biobert_scale.data.layouts import IGNORED
from biobert_scale.modeling.flops import training_flops
from biobert_scale.training.device import DevicePeak
from biobert_scale.training.monitor.metrics import RunMetrics
from biobert_scale.training.monitor.timers import StepTimer


class ThroughputMeter:
    """Counts one rank's steps."""

    def __init__(self, config: BertConfig, peak: DevicePeak, timer: StepTimer, *, world_size: int) -> None:
        self.config, self.peak, self.timer, self.world_size = config, peak, timer, world_size
        self._begin()

    def _begin(self) -> None:
        self.steps = self.tokens = self.sequences = self.flops = self.computed = self.real = 0
        self.seconds = self.waited = 0.0

    def add(self, step: RankStep, seconds: float, *, waited: float) -> None:
        """Count a step, its seconds until its report, and those of them that it waited for data."""
        batches = step.micro_batches
        lengths = np.concatenate([np.diff(batch.cu_seqlens)[: len(batch.nsp_labels)] for batch in batches])
        predictions = sum(int((batch.mlm_labels != IGNORED).sum()) for batch in batches)
        self.steps += 1
        self.tokens += step.global_tokens
        self.sequences += step.global_sequences
        self.flops += training_flops(self.config, lengths, predictions)
        self.computed += sum(len(batch.input_ids) for batch in step.micro_batches)
        self.real += int(lengths.sum())
        self.seconds += seconds
        self.waited += waited

    def take(self) -> RunMetrics:
        """The figures since the last call, as `metrics.jsonl` names them; seconds are those of a mean step,
        save for what is not in every step."""
        parts = self.timer.take()
        rate = self.flops / self.seconds
        figures: RunMetrics = {
            "perf/tokens_per_second_per_device": self.tokens / self.seconds / self.world_size,
            "perf/sequences_per_second": self.sequences / self.seconds,
            "perf/model_flops_per_second_per_device": rate,
            "perf/mfu": rate / self.peak.flops_per_second,
            "perf/padding_fraction": 1 - self.real / self.computed,
            "perf/step_seconds": self.seconds / self.steps,
            "perf/data_wait_seconds": self.waited / self.steps,
            "perf/forward_seconds": parts["forward"] / self.steps,
            "perf/backward_seconds": parts["backward"] / self.steps,
            "perf/optimizer_seconds": parts["step"] / self.steps,
        }
        if parts["checkpoint"]:
            figures["perf/checkpoint_seconds_in_all"] = parts["checkpoint"]
        if parts["validation"]:
            figures["perf/validation_seconds_in_all"] = parts["validation"]
        self._begin()
        return figures
