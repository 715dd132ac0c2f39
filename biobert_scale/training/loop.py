"""The pre-training loop."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from biobert_scale.config import Config
from biobert_scale.data.batches import RankStep
from biobert_scale.data.layouts import IGNORED
from biobert_scale.data.loader import StepLoader
from biobert_scale.data.samples import build_samples
from biobert_scale.data.stream import SampleStream
from biobert_scale.errors import RunFailed
from biobert_scale.files import read_manifest, write_json
from biobert_scale.modeling.bert import PackedBatch, bert_config
from biobert_scale.modeling.flops import training_flops
from biobert_scale.modeling.initial import initial_model
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.tokens.vocabulary import special_ids
from biobert_scale.training import checkpoint, runtime
from biobert_scale.training.optimizer import build_optimizer
from biobert_scale.training.preemption import StopRequest
from biobert_scale.training.schedule import learning_rate
from biobert_scale.training.telemetry import Telemetry

logger = logging.getLogger(__name__)

FINISHED = "finished.json"


def train(config: Config, tokens: Path, run: Path, *, samples: Path | None = None) -> bool:
    """Train until the schedule's end or until asked to stop, from the newest checkpoint of `run` if there is one.

    Args:
        tokens: finished token shards.
        run: the run directory: checkpoints, `metrics.jsonl`, TensorBoard events, the resolved configuration.
        samples: the directory of the samples' index, which runs on the same tokens, lengths and seed can share; made where it is
            missing (default: in the run directory).

    Returns:
        Whether the schedule's end was reached.
    """
    vocabulary_size = read_manifest(tokens, TOKENS_STAGE).counts["vocabulary"]
    trainer = Trainer(config, tokens, run, samples or run / "samples", vocabulary_size)
    try:
        return trainer.run_to_end()
    finally:
        accelerator = trainer.accelerator
        trainer.drop_engine()
        runtime.stop(accelerator)


@dataclass(frozen=True)
class HostStep:
    """A rank's step, and its micro-batches as tensors in host memory."""

    step: RankStep
    micro_batches: tuple[PackedBatch, ...]


class Trainer:
    """One rank's part of a run."""

    def __init__(self, config: Config, tokens: Path, run: Path, samples: Path, vocabulary_size: int) -> None:
        self.config, self.run = config, run
        self.accelerator: Accelerator = runtime.start(config, run=str(run))
        self.stop = StopRequest(run)
        with self.accelerator.main_process_first():
            if self.accelerator.is_main_process:
                run.mkdir(parents=True, exist_ok=True)
                build_samples(tokens, samples, config.data, seed=config.seed)
        self.training_stream = SampleStream.open(tokens, samples, config.data, seed=config.seed)
        self.validation_stream = SampleStream.open(tokens, samples, config.data, seed=config.seed, split="validation")
        self.pad_token_id = special_ids(tokens / "tokenizer")["[PAD]"]
        self.bert_config = bert_config(config.model, vocabulary_size=vocabulary_size, pad_token_id=self.pad_token_id)
        # Read on every rank; a checkpoint of the run, where there is one, then overwrites it.
        model = initial_model(self.bert_config, config.training.initial_weights, seed=config.seed, tokenizer=tokens / "tokenizer")
        self.model, self.optimizer = self.accelerator.prepare(model, build_optimizer(model, config.training.optimizer))
        self.state = checkpoint.load(self.accelerator, run, config, samples_fingerprint=self.training_stream.fingerprint)
        self.saved_at = self.state.global_step if self.state.global_step else None
        if self.accelerator.is_main_process:
            write_json(run / "config.json", config)
        self.telemetry = Telemetry(self.accelerator, run, global_step=self.state.global_step, total_steps=config.training.schedule.total_steps)

    def run_to_end(self) -> bool:
        """The whole run as a list of what happens in it."""
        training = self.config.training
        total, stopped = training.schedule.total_steps, False
        if self.state.global_step == 0:
            self.validate()
        with self.loader() as loader:
            while self.state.global_step < total and not stopped:
                started = time.perf_counter()
                batch = next(loader)
                waited = time.perf_counter() - started
                before = self.state.global_step
                sums = self.train_step(batch)
                stopped = self.report_step(batch.step, sums, started, waited)
                step, taken = self.state.global_step, self.state.global_step > before
                if taken and (step % training.validation.every_steps == 0 or step == total):
                    self.validate()
                if stopped or (taken and (step % training.checkpoint.every_steps == 0 or step == total)):
                    self.save()
        finished = self.state.global_step >= total
        if self.accelerator.is_main_process:
            if finished:
                write_json(self.run / FINISHED, asdict(self.state))
            else:
                self.stop.path.unlink(missing_ok=True)
                logger.warning("stopped at step %d (%s); the same command goes on from there", self.state.global_step, self.stop.reason or "asked on another rank")
        self.telemetry.close()
        return finished

    @property
    def data_step(self) -> int:
        """The global step of the data stream: optimizer steps taken and skipped ones."""
        return self.state.consumed_samples // self.config.training.global_batch_size

    def loader(self) -> StepLoader[HostStep]:
        """This rank's steps from where the run stands, made ahead of time."""
        pin = self.accelerator.device.type == "cuda"
        return StepLoader(
            self.training_stream,
            consumed_samples=self.state.consumed_samples,
            global_batch_size=self.config.training.global_batch_size,
            micro_batch_size=self.config.training.micro_batch_size,
            world_size=self.accelerator.num_processes,
            rank=self.accelerator.process_index,
            prepare=lambda step: HostStep(step, tuple(PackedBatch.of(batch, pin=pin) for batch in step.micro_batches)),
            config=self.config.loader,
            pad_token_id=self.pad_token_id,
        )

    def train_step(self, batch: HostStep) -> Tensor:
        """Forward and backward over this rank's micro-batches, then one optimizer step.

        Returns:
            (4,) this rank's sums: MLM loss, NSP loss, MLM correct, NSP correct.
        """
        self.set_learning_rate()
        # Dropout, too, is a function of the step and the rank: nothing to save, nothing to restore.
        torch.manual_seed(int(np.random.SeedSequence([self.config.seed, self.data_step, self.accelerator.process_index]).generate_state(1, np.uint64)[0] >> 1))
        # The engine divides by ranks and by micro-batches; the sums below are already divided by the global counts.
        parts = self.accelerator.num_processes * len(batch.micro_batches)
        counts = batch.step
        totals = torch.zeros(4, device=self.accelerator.device)
        for micro_batch in batch.micro_batches:
            with self.accelerator.accumulate(self.model):
                sums = self.model(micro_batch.to(self.accelerator.device))
                loss = sums["mlm_loss"] / counts.global_predictions + sums["nsp_loss"] / counts.global_sequences
                self.accelerator.backward(loss * parts)
                if self.accelerator.sync_gradients:
                    self.grad_norm = self.clip_gradients()
                self.optimizer.step()
                self.optimizer.zero_grad()
            totals += torch.stack([sums[name].detach() for name in ("mlm_loss", "nsp_loss", "mlm_correct", "nsp_correct")])
        return totals

    def set_learning_rate(self) -> None:
        training = self.config.training
        self.rate = learning_rate(self.state.global_step, peak=training.optimizer.learning_rate, schedule=training.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate

    def clip_gradients(self) -> float | None:
        """Clip, and return the norm before clipping; DeepSpeed has clipped by itself and tells its norm."""
        if self.accelerator.deepspeed_plugin:
            norm = self.model.get_global_grad_norm()
        else:
            norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.training.optimizer.max_grad_norm)
        return None if norm is None else float(norm)

    def skipped_steps(self) -> int:
        if self.accelerator.deepspeed_plugin:
            return int(self.model.skipped_steps)
        return self.state.skipped_steps + int(self.accelerator.optimizer_step_was_skipped)

    def report_step(self, batch: RankStep, sums: Tensor, started: float, waited: float) -> bool:
        """Add the ranks' sums up, move the counters, log; returns whether any rank has been asked to stop."""
        training = self.config.training
        values = torch.cat([sums.double(), torch.tensor([float(self.stop.heard())], dtype=torch.float64, device=sums.device)])
        mlm, nsp, mlm_correct, nsp_correct, stop = self.accelerator.reduce(values, reduction="sum").tolist()
        loss = mlm / batch.global_predictions + nsp / batch.global_sequences
        if not np.isfinite(loss) and training.precision.dtype != "fp16":
            raise RunFailed(f"the loss is {loss} at step {self.state.global_step + 1}", where=self.run, remedy="lower the learning rate; the last checkpoint is kept")
        skipped = self.skipped_steps()
        taken = 1 - (skipped - self.state.skipped_steps)
        self.state = replace(
            self.state,
            global_step=self.state.global_step + taken,
            consumed_samples=self.state.consumed_samples + training.global_batch_size,
            consumed_tokens=self.state.consumed_tokens + batch.global_tokens,
            skipped_steps=skipped,
        )
        seconds = time.perf_counter() - started
        if self.state.global_step % training.log_every_steps == 0 or stop or self.state.global_step == training.schedule.total_steps:
            self.telemetry.log(
                self.state.global_step,
                {
                    "consumed_samples": self.state.consumed_samples,
                    "consumed_tokens": self.state.consumed_tokens,
                    "train/loss": loss,
                    "train/mlm_loss": mlm / batch.global_predictions,
                    "train/nsp_loss": nsp / batch.global_sequences,
                    "train/mlm_accuracy": mlm_correct / batch.global_predictions,
                    "train/nsp_accuracy": nsp_correct / batch.global_sequences,
                    "optim/learning_rate": self.rate,
                    "optim/grad_norm": self.grad_norm,
                    "optim/skipped_steps": skipped,
                    "optim/loss_scale": self.loss_scale(),
                    "data/epoch": self.state.consumed_samples / len(self.training_stream),
                    **self.speed(batch, seconds, waited),
                },
            )
        return bool(stop)

    def speed(self, batch: RankStep, seconds: float, waited: float) -> dict[str, float]:
        ranks = self.accelerator.num_processes
        lengths = np.concatenate([np.diff(micro_batch.cu_seqlens)[: len(micro_batch.nsp_labels)] for micro_batch in batch.micro_batches])
        predictions = sum(int((micro_batch.mlm_labels != IGNORED).sum()) for micro_batch in batch.micro_batches)
        mine = training_flops(self.bert_config, lengths, predictions)
        return {
            "perf/tokens_per_second_per_device": batch.global_tokens / seconds / ranks,
            "perf/sequences_per_second": batch.global_sequences / seconds,
            "perf/model_flops_per_second_per_device": mine / seconds,
            "perf/step_seconds": seconds,
            "perf/data_wait_seconds": waited,
        }

    def loss_scale(self) -> float:
        if self.config.training.precision.dtype != "fp16":
            return 1.0
        if self.accelerator.deepspeed_plugin:
            return float(self.model.optimizer.cur_scale)  # engine.loss_scale() tells the configured value, not this one
        return float(self.accelerator.scaler.get_scale())

    @torch.no_grad()
    def validate(self) -> None:
        """Score the held-out samples, each exactly once over all ranks, and log their means."""
        device = self.accelerator.device
        batches = self.validation_stream.validation(
            self.config.training.validation.sequences,
            micro_batch_size=self.config.training.micro_batch_size,
            world_size=self.accelerator.num_processes,
            rank=self.accelerator.process_index,
        )
        totals = torch.zeros(6, dtype=torch.float64, device=device)
        self.model.eval()
        for batch in batches:
            sums = self.model(PackedBatch.of(batch).to(device))
            counts = [torch.tensor(float(len(labels)), device=device) for labels in (batch.mlm_labels, batch.nsp_labels)]
            totals += torch.stack([*(sums[name] for name in ("mlm_loss", "nsp_loss", "mlm_correct", "nsp_correct")), *counts]).double()
        self.model.train()
        mlm, nsp, mlm_correct, nsp_correct, predictions, sequences = self.accelerator.reduce(totals, reduction="sum").tolist()
        values = {
            "validation/mlm_loss": mlm / predictions,
            "validation/perplexity": float(np.exp(mlm / predictions)),
            "validation/nsp_loss": nsp / sequences,
            "validation/mlm_accuracy": mlm_correct / predictions,
            "validation/nsp_accuracy": nsp_correct / sequences,
            "validation/sequences": int(sequences),
        }
        self.telemetry.log(self.state.global_step, values)
        if self.accelerator.is_main_process:
            logger.info("step %d: validation MLM loss %.4f, NSP accuracy %.3f", self.state.global_step, mlm / predictions, nsp_correct / sequences)

    def save(self) -> None:
        if self.saved_at != self.state.global_step:
            checkpoint.save(self.accelerator, self.run, self.state, self.config, samples_fingerprint=self.training_stream.fingerprint)
            self.saved_at = self.state.global_step

    def drop_engine(self) -> None:
        del self.model, self.optimizer
