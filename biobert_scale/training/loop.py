"""The pre-training loop."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from biobert_scale.config import Config
from biobert_scale.data.batches import RankStep
from biobert_scale.data.loader import StepLoader
from biobert_scale.data.samples import build_samples
from biobert_scale.data.stream import SampleStream
from biobert_scale.errors import RunFailed
from biobert_scale.files import read_manifest, write_json
from biobert_scale.lock import Lock
from biobert_scale.modeling.batch import PackedBatch
from biobert_scale.modeling.initial import initial_model
from biobert_scale.modeling.model import bert_config
from biobert_scale.modeling.weights import weights_fingerprint
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.tokens.vocabulary import special_ids
from biobert_scale.training import runtime
from biobert_scale.training.checkpoint import Checkpoints
from biobert_scale.training.deepspeed import tell_grad_norm
from biobert_scale.training.device import device_peak, out_of_memory, peak_memory_bytes
from biobert_scale.training.guards import Guards
from biobert_scale.training.loss_scale import LossScale
from biobert_scale.training.optimizer import build_optimizer
from biobert_scale.training.pace import Pace
from biobert_scale.training.preemption import StopRequest, signals_given_back
from biobert_scale.training.profile import StepProfile
from biobert_scale.training.restarts import Reached, note_end, note_start
from biobert_scale.training.retention import FINISHED
from biobert_scale.training.schedule import learning_rate
from biobert_scale.training.telemetry import Telemetry
from biobert_scale.training.timing import StepTimer
from biobert_scale.training.validation import gather, held_out_scores
from biobert_scale.training.watchdog import Watchdog

logger = logging.getLogger(__name__)

TORCH_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@signals_given_back()
def train(
    config: Config,
    tokens: Path,
    run: Path,
    *,
    samples: Path | None = None,
    profile: tuple[int, int] | None = None,
    deadline: float | None = None,
) -> bool:
    """Train until the schedule's end or until asked to stop, from the newest checkpoint of `run` if there is
    one.

    Args:
        tokens: finished token shards.
        run: the run directory: checkpoints, `metrics.jsonl`, TensorBoard events, the resolved configuration.
        samples: the directory of the samples' index, which runs on the same tokens, lengths and seed can
            share; made where it is missing (default: in the run directory).
        profile: first and last step of a trace, written to the run directory.
        deadline: when to save and stop at the latest, in seconds since the epoch.

    Returns:
        Whether the schedule's end was reached.

    Raises:
        UserError: another process trains in `run`.
        RunFailed: a guard stopped the run, or a rank was lost; the last checkpoint is kept.
    """
    if run.name == "..":  # trackers make a directory of the run's name
        run = run.resolve()
    vocabulary_size = read_manifest(tokens, TOKENS_STAGE).counts["vocabulary"]
    accelerator = runtime.start(config, run=str(run))
    with ExitStack() as held:
        trainer, patience = None, 60.0

        def begin() -> None:
            held.enter_context(Lock(run, "train"))
            build_samples(tokens, samples or run / "samples", config.data, seed=config.seed)

        try:
            runtime.on_first_rank(accelerator, begin)
            trainer = Trainer(
                accelerator,
                config,
                tokens,
                run,
                samples or run / "samples",
                vocabulary_size,
                profile,
                deadline,
            )
            return trainer.run_to_end()
        except (
            RuntimeError,
            MemoryError,
        ) as error:  # also what a collective raises when a rank does not come
            patience = 2.0
            if (failure := out_of_memory(error, config)) is not None:
                raise failure from error
            raise (trainer.lost_rank(error) if trainer is not None else error) from error
        finally:
            if trainer is not None:
                trainer.close(patience=patience)
                trainer.drop_engine()
            runtime.stop(accelerator)


@dataclass(frozen=True)
class HostStep:
    """A rank's step, and its micro-batches as tensors in host memory."""

    step: RankStep
    micro_batches: tuple[PackedBatch, ...]


class Trainer:
    """One rank's part of a run."""

    def __init__(
        self,
        accelerator: Accelerator,
        config: Config,
        tokens: Path,
        run: Path,
        samples: Path,
        vocabulary_size: int,
        profile: tuple[int, int] | None,
        deadline: float | None,
    ) -> None:
        self.config, self.run = config, run
        self.accelerator = accelerator
        rank, world_size, device = (
            self.accelerator.process_index,
            self.accelerator.num_processes,
            self.accelerator.device,
        )
        self.stop = StopRequest(run, deadline=deadline)
        self.training_stream = SampleStream.open(tokens, samples, config.data, seed=config.seed)
        self.validation_stream = SampleStream.open(
            tokens, samples, config.data, seed=config.seed, split="validation"
        )
        self.pad_token_id = special_ids(tokens / "tokenizer")["[PAD]"]
        shape = bert_config(config.model, vocabulary_size=vocabulary_size, pad_token_id=self.pad_token_id)
        # Read on every rank; a checkpoint of the run, where there is one, then overwrites it.
        engine = self.accelerator.deepspeed_plugin
        model = initial_model(
            shape,
            config.training.initial_weights,
            seed=config.seed,
            tokenizer=tokens / "tokenizer",
            compute=config.compute,
            partitioned=bool(engine and engine.zero_stage == 3),
        )
        # The scaler that stands in for an engine in fp16 tells a skipped step from a taken one by whether the
        # optimizer was called.
        fused = config.compute.fused_optimizer and not (
            engine is None and config.training.precision.dtype == "fp16"
        )
        self.model, self.optimizer = self.accelerator.prepare(
            model, build_optimizer(model, config.training.optimizer, fused=fused)
        )
        self.timer = StepTimer(device)
        if self.accelerator.deepspeed_plugin:
            tell_grad_norm(self.model)
            self.model.step = self.timer.wrap("step", self.model.step)
        self.loss_scale = LossScale(self.accelerator, self.model, config.training.precision, run)
        self.checkpoints = Checkpoints(
            self.accelerator,
            run,
            config,
            self.model,
            self.optimizer,
            self.loss_scale,
            samples_fingerprint=self.training_stream.fingerprint,
            initial_weights=self.fingerprint_weights(),
        )
        self.state = self.checkpoints.load()
        self.saved_at = self.state.global_step if self.state.global_step else None
        self.held_out: tuple[int, float] = (-1, 0.0)
        runtime.on_first_rank(accelerator, lambda: note_start(run, self.state.global_step))
        self.reached = Reached(run) if accelerator.is_main_process else None
        self.guards = Guards(config.training.guards, run, writes=self.accelerator.is_main_process)
        peak = device_peak(device, TORCH_TYPES[config.training.precision.dtype])
        self.pace = Pace(shape, peak, self.timer, world_size=world_size)
        if self.accelerator.is_main_process:
            self.withdraw_finish()
            write_json(run / "config.json", config)
            write_json(run / "device.json", peak)
            logger.info(
                "%d rank(s) on %s: %.1f TFLOP/s at most (%s)",
                world_size,
                peak.device,
                peak.flops_per_second / 1e12,
                peak.source,
            )
        self.telemetry = Telemetry(self.accelerator, run, self.state, training=config.training)
        self.profile = StepProfile(profile or (0, -1), run / "profile" / f"rank-{rank:05d}.json")
        self.watchdog = Watchdog(
            run, rank=rank, world_size=world_size, stall_seconds=config.training.guards.stall_seconds
        )

    def run_to_end(self) -> bool:
        """The whole run as a list of what happens in it."""
        training = self.config.training
        total, stopped = training.schedule.total_steps, False
        if self.state.global_step == 0:
            self.validate()
        with self.loader() as loader:
            while self.state.global_step < total and not stopped:
                started = time.perf_counter()
                self.watchdog.at(self.state.global_step + 1, 0, "waiting for data")
                self.profile.before(self.state.global_step + 1)
                batch = next(loader)
                waited = time.perf_counter() - started
                before = self.state.global_step
                sums = self.train_step(batch)
                stopped = self.report_step(batch.step, sums, started, waited)
                self.profile.after(self.state.global_step)
                step, taken = self.state.global_step, self.state.global_step > before
                if taken and (step % training.validation.every_steps == 0 or step == total):
                    self.validate()
                if stopped or step == total or (taken and step % training.checkpoint.every_steps == 0):
                    self.save(wait=stopped or step == total)
            self.checkpoints.finish()
        finished = self.state.global_step >= total
        if self.accelerator.is_main_process:
            note_end(self.run)
            if finished:
                write_json(self.run / FINISHED, asdict(self.state))
            else:
                self.stop.path.unlink(missing_ok=True)
                logger.warning(
                    "stopped at step %d (%s); the same command goes on from there",
                    self.state.global_step,
                    self.stop.reason or "asked on another rank",
                )
        return finished

    def fingerprint_weights(self) -> str:
        """Of the weights that the run starts from, on all ranks; empty for random ones."""
        source = self.config.training.initial_weights
        mine = weights_fingerprint(Path(source)) if source and self.accelerator.is_main_process else ""
        return str(broadcast_object_list([mine])[0])

    def withdraw_finish(self) -> None:
        """A run that has steps left is not finished, whatever an earlier one wrote here."""
        path = self.run / FINISHED
        if path.exists() and self.state.global_step < self.config.training.schedule.total_steps:
            if self.state.global_step == 0:
                logger.warning("%s is there, but no checkpoint: the run begins anew", path)
            path.unlink()

    left_out = False
    """Whether the last step was left out for gradients that are no numbers."""

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
            prepare=lambda step: HostStep(
                step, tuple(PackedBatch.of(batch, pin=pin) for batch in step.micro_batches)
            ),
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
        torch.manual_seed(
            int(
                np.random.SeedSequence(
                    [self.config.seed, self.data_step, self.accelerator.process_index]
                ).generate_state(1, np.uint64)[0]
                >> 1
            )
        )
        # The engine divides by ranks and by micro-batches; the sums below are already divided by the global
        # counts.
        parts = self.accelerator.num_processes * len(batch.micro_batches)
        counts = batch.step
        totals = torch.zeros(4, device=self.accelerator.device)
        # Accelerate counts micro-batches for ever: after a change of their number a step would end in the
        # middle
        self.accelerator.step = 0
        for number, micro_batch in enumerate(batch.micro_batches):
            self.watchdog.at(self.state.global_step + 1, number, "computing")
            with self.accelerator.accumulate(self.model):
                with self.timer.part("forward"):
                    sums = self.model(micro_batch.to(self.accelerator.device))
                    loss = (
                        sums["mlm_loss"] / counts.global_predictions
                        + sums["nsp_loss"] / counts.global_sequences
                    )
                with self.timer.part("backward"), self.loss_scale.floor():
                    self.accelerator.backward(loss * parts)
                last = number == len(batch.micro_batches) - 1
                assert self.accelerator.sync_gradients == last
                if last:
                    self.take_step()
            totals += torch.stack(
                [sums[name].detach() for name in ("mlm_loss", "nsp_loss", "mlm_correct", "nsp_correct")]
            )
        return totals

    def set_learning_rate(self) -> None:
        training = self.config.training
        self.rate = learning_rate(
            self.state.global_step, peak=training.optimizer.learning_rate, schedule=training.schedule
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate

    def take_step(self) -> None:
        """Clip and step, and keep the norm before clipping. DeepSpeed has done both at the end of its
        backward pass."""
        if self.accelerator.deepspeed_plugin:
            norm = self.model.get_global_grad_norm()
        else:
            with self.timer.part("step"):
                norm = self.accelerator.clip_grad_norm_(
                    self.model.parameters(), self.config.training.optimizer.max_grad_norm
                )
                self.step_unless_non_finite(norm)
        self.grad_norm = None if norm is None else self.loss_scale.true_norm(float(norm))

    def step_unless_non_finite(self, norm: Tensor) -> None:
        """Without an engine: nothing is learned from gradients that are no numbers. fp16's scaler looks at
        them itself."""
        self.left_out = self.config.training.precision.dtype != "fp16" and not bool(torch.isfinite(norm))
        if not self.left_out:
            self.optimizer.step()
        self.optimizer.zero_grad()

    def report_step(self, batch: RankStep, sums: Tensor, started: float, waited: float) -> bool:
        """Bring the ranks' figures together, judge them, move the counters, log; returns whether any rank has
        been asked to stop."""
        training = self.config.training
        skipped = self.loss_scale.after_step(left_out=self.left_out)
        scale = self.loss_scale.value
        if self.checkpoints.failed():
            self.stop.reason = self.stop.reason or "a checkpoint could not be written"
        ranks = gather(self.accelerator, *sums, self.stop.heard(), waited)  # (ranks, 6)
        mlm, nsp, mlm_correct, nsp_correct, stop, _ = ranks.sum(0).tolist()
        self.watchdog.at(self.state.global_step + 1, len(batch.micro_batches), "reporting")
        step = self.state.global_step + 1
        self.state = replace(
            self.state,
            global_step=self.state.global_step + (not skipped),
            consumed_samples=self.state.consumed_samples + training.global_batch_size,
            consumed_tokens=self.state.consumed_tokens + batch.global_tokens,
            skipped_steps=self.loss_scale.skipped_steps,
        )
        seconds = time.perf_counter() - started
        self.pace.add(batch, seconds, waited=waited)
        losses = ranks[:, 0] / batch.global_predictions + ranks[:, 1] / batch.global_sequences
        taken_norm = None if skipped else self.grad_norm
        action = self.guards.judge(step, losses, waited=ranks[:, 5], seconds=seconds, taken_norm=taken_norm)
        if self.reached is not None:
            self.reached.at(self.data_step)
        if action == "roll back":
            self.roll_back()
        elif (
            skipped
            or stop
            or self.state.global_step % training.log_every_steps == 0
            or self.state.global_step == training.schedule.total_steps
        ):
            self.telemetry.log(
                self.state.global_step,
                {
                    "consumed_samples": self.state.consumed_samples,
                    "consumed_tokens": self.state.consumed_tokens,
                    "train/loss": float(losses.sum()),
                    "train/mlm_loss": mlm / batch.global_predictions,
                    "train/nsp_loss": nsp / batch.global_sequences,
                    "train/mlm_accuracy": mlm_correct / batch.global_predictions,
                    "train/nsp_accuracy": nsp_correct / batch.global_sequences,
                    "optim/learning_rate": self.rate,
                    "optim/grad_norm": self.grad_norm,
                    "optim/skipped_steps": self.state.skipped_steps,
                    "optim/loss_scale": scale,
                    "data/epoch": self.state.consumed_samples / len(self.training_stream),
                    **self.speed(),
                },
            )
        return bool(stop)

    def speed(self) -> dict[str, float]:
        figures = self.pace.take()
        # What a rank does alone; in the rest of a step it may be waiting for others.
        alone = gather(self.accelerator, figures["perf/data_wait_seconds"] + figures["perf/forward_seconds"])[
            :, 0
        ]
        memory = gather(self.accelerator, float(peak_memory_bytes(self.accelerator.device)))
        return {
            **figures,
            "perf/slowest_rank": int(alone.argmax()),
            "perf/slowest_rank_excess": float(alone.max() / alone.mean() - 1),
            "perf/peak_memory_bytes": int(memory.max()),
        }

    def roll_back(self) -> None:
        """Take up the last checkpoint again, and go on behind the samples seen since."""
        seen = self.state
        self.checkpoints.finish()
        loaded = self.checkpoints.load()
        if loaded.global_step == 0:
            raise RunFailed(
                "there is no checkpoint to roll back to",
                where=self.run,
                remedy="lower the learning rate, or save checkpoints more often",
            )
        # What has been seen and skipped stays seen and skipped: the samples go on behind it.
        self.state = replace(seen, global_step=loaded.global_step)
        self.loss_scale.restore({}, skipped_steps=seen.skipped_steps)
        self.saved_at = None  # the checkpoint of that step knows less of the samples
        self.telemetry.rewind(loaded)
        logger.warning(
            "rolled back to step %d; %d samples are left behind",
            self.state.global_step,
            seen.consumed_samples - loaded.consumed_samples,
        )

    def validate(self) -> None:
        """Score the held-out samples, each exactly once over all ranks, and log their means."""
        self.watchdog.at(self.state.global_step, 0, "validating")
        with self.timer.part("validation"):
            values = held_out_scores(self.accelerator, self.model, self.validation_stream, self.config)
        self.held_out = (self.state.global_step, values["validation/mlm_loss"])
        self.telemetry.log(
            self.state.global_step, {"consumed_samples": self.state.consumed_samples, **values}
        )
        if self.accelerator.is_main_process:
            logger.info(
                "step %d: validation MLM loss %.4f, NSP accuracy %.3f",
                self.state.global_step,
                values["validation/mlm_loss"],
                values["validation/nsp_accuracy"],
            )

    def save(self, *, wait: bool) -> None:
        step = self.state.global_step
        if self.saved_at != step:
            self.watchdog.at(step, 0, "saving")
            with self.timer.part("checkpoint"):
                self.checkpoints.save(
                    self.state,
                    validation_loss=self.held_out[1] if self.held_out[0] == step else None,
                    wait=wait,
                )
            self.saved_at = step
            self.telemetry.log(
                step, {"consumed_samples": self.state.consumed_samples, **self.checkpoints.written}
            )

    def lost_rank(self, error: RuntimeError | MemoryError) -> Exception:
        """The failure to tell of, where a collective ran into its time-out; any other error as it is."""
        if not any(
            sign in str(error).lower()
            for sign in ("timed out", "timeout", "connection closed by peer", "connection reset by peer")
        ):
            return error
        text, _ = self.watchdog.diagnosis()
        return RunFailed(
            f"a collective failed at step {self.state.global_step + 1}: {text}",
            where=self.run,
            remedy="look at that rank's log; the same command goes on from the last checkpoint",
        )

    def close(self, *, patience: float) -> None:
        """Let go of everything but the engine; a save under way is waited for, for so many seconds."""
        self.checkpoints.close(patience=patience)
        if self.reached is not None:
            self.reached.close()
        self.watchdog.close()
        self.profile.close()
        self.telemetry.close()

    def drop_engine(self) -> None:
        """A live engine keeps a communication thread that aborts the process at its end."""
        del self.model, self.optimizer, self.loss_scale, self.checkpoints
