"""The pre-training loop."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from accelerate import Accelerator

from biobert_scale.config import Config
from biobert_scale.data.batches import RankStep
from biobert_scale.data.loader import StepLoader
from biobert_scale.data.run_stream import RunStream
from biobert_scale.data.stream import SampleStream
from biobert_scale.errors import RunFailed
from biobert_scale.files import read_manifest, write_json
from biobert_scale.modeling.initial import initial_model
from biobert_scale.modeling.model import bert_config
from biobert_scale.modeling.weights import weights_fingerprint
from biobert_scale.resident import FreedMemory
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.tokens.vocabulary import special_ids
from biobert_scale.training import runtime
from biobert_scale.training.checkpoint.checkpoints import Checkpoints
from biobert_scale.training.checkpoint.continuation import Origin, vocabulary_hash
from biobert_scale.training.device import device_peak, peak_memory_bytes
from biobert_scale.training.engine import TORCH_TYPES, build_engine, partitions_weights
from biobert_scale.training.figures import StepFigures
from biobert_scale.training.monitor.guards import Action, Guards
from biobert_scale.training.monitor.metrics import RunMetrics
from biobert_scale.training.monitor.profile import StepProfile
from biobert_scale.training.monitor.telemetry import Telemetry
from biobert_scale.training.monitor.throughput import ThroughputMeter
from biobert_scale.training.monitor.timers import StepTimer
from biobert_scale.training.monitor.watchdog import Watchdog
from biobert_scale.training.preemption import StopRequest
from biobert_scale.training.restarts import Reached
from biobert_scale.training.schedule import learning_rate
from biobert_scale.training.step import HostStep, StepResult, seed_dropout, train_step
from biobert_scale.training.validation import gather, held_out_scores

logger = logging.getLogger(__name__)


class Trainer:
    """One rank's part of a run."""

    def __init__(
        self,
        accelerator: Accelerator,
        config: Config,
        tokens: Path,
        run: Path,
        samples: Path,
        *,
        profile: tuple[int, int] | None = None,
        deadline: float | None = None,
        origin: Origin | None = None,
    ) -> None:
        self.config, self.run, self.accelerator = config, run, accelerator
        rank, world_size, device = accelerator.process_index, accelerator.num_processes, accelerator.device
        training, first = config.training, accelerator.is_main_process
        self.stop = StopRequest(run, deadline=deadline)
        self.training_stream = RunStream.open(tokens, samples, config)
        data, seed = config.data, config.seed
        self.validation_stream = SampleStream.open(tokens, samples, data, seed=seed, split="validation")
        self.pad_token_id = special_ids(tokens / "tokenizer")["[PAD]"]
        size = read_manifest(tokens, TOKENS_STAGE).counts["vocabulary"]
        shape = bert_config(config.model, vocabulary_size=size, pad_token_id=self.pad_token_id)
        source = training.initial_weights
        # Read on every rank; a checkpoint of the run, where there is one, then overwrites it.
        model = initial_model(
            shape,
            source,
            seed=config.seed,
            tokenizer=tokens / "tokenizer",
            compute=config.compute,
            partitioned=partitions_weights(accelerator),
        )
        self.engine = build_engine(accelerator, model, config)
        self.timer = StepTimer(device)
        self.checkpoints = Checkpoints(
            accelerator,
            run,
            config,
            self.engine,
            samples_fingerprint=self.training_stream.fingerprint,
            initial_weights=runtime.on_first_rank(
                accelerator, lambda: weights_fingerprint(Path(source)) if source else ""
            ),
            vocabulary=vocabulary_hash(tokens),
            origin=origin,
        )
        self.state, self.continues = self.checkpoints.load(), origin is not None
        self.saved_at = None if self.continues else self.state.global_step or None
        self.reached = Reached(run) if first else None
        guards, scale = training.guards, self.loss_scale
        self.guards = Guards(guards, training.precision, run, writes=first, loss_scale=scale)
        peak = device_peak(device, TORCH_TYPES[training.precision.dtype])
        self.throughput = ThroughputMeter(shape, peak, self.timer, world_size=world_size)
        if first:
            write_json(run / "config.json", config)
            write_json(run / "device.json", peak)
            rate = peak.flops_per_second / 1e12
            what = "%d rank(s) on %s: %.1f TFLOP/s at most (%s)"
            logger.info(what, world_size, peak.device, rate, peak.source)
        self.telemetry = Telemetry(accelerator, run, self.state, config=config, begins=self.continues)
        self.profile = StepProfile(profile or (0, -1), run / "profile" / f"rank-{rank:05d}.json")
        stall_seconds = guards.stall_seconds
        self.watchdog = Watchdog(run, rank=rank, world_size=world_size, stall_seconds=stall_seconds)

    def run_to_end(self) -> bool:
        """The whole run as a list of what happens in it; returns whether it reached the schedule's end."""
        training = self.config.training
        total, stop = training.schedule.total_steps, False
        if self.checkpoints.mirror is not None:
            self.checkpoints.mirror.start()
        held_out = self.validate() if self.state.global_step == 0 or self.continues else None
        if self.continues:  # from here on it needs the other run no more
            self.save(held_out, wait=False)
        freed = FreedMemory(seconds=10)
        with self.loader() as loader:
            while self.state.global_step < total and not stop:
                figures, action = self.take_step(loader)
                freed.give_back()
                step, stop = self.state.global_step, figures.stop
                taken, end = action == "go on" and not figures.skipped, step == total
                if taken or action == "roll back":
                    held_out = None  # other weights
                if taken and (step % training.validation.every_steps == 0 or end):
                    held_out = self.validate()
                if stop or end or (taken and step % training.checkpoint.every_steps == 0):
                    self.save(held_out, wait=stop or end)
            self.checkpoints.finish()
        return self.finished

    def take_step(self, loader: StepLoader[HostStep]) -> tuple[StepFigures, Action]:
        """One step with all that belongs to it, from waiting for its data to its record."""
        started = time.perf_counter()
        self.watchdog.at(self.state.global_step + 1, 0, "waiting for data")
        self.profile.before(self.state.global_step + 1)
        batch = next(loader)
        waited = time.perf_counter() - started
        rate = self.learning_rate()
        figures = self.read(self.train_step(batch, rate), batch.step, waited)
        seconds = time.perf_counter() - started
        action = self.judge(figures, seconds)
        self.advance(figures, batch.step)
        self.throughput.add(batch.step, seconds, waited=waited)
        if action == "roll back":
            self.roll_back()
        else:
            self.log(figures, rate)
        self.profile.after(self.state.global_step)
        return figures, action

    def loader(self) -> StepLoader[HostStep]:
        """This rank's steps from where the run is, made ahead of time."""
        pin = self.accelerator.device.type == "cuda"
        return StepLoader(
            self.training_stream,
            consumed_samples=self.state.consumed_samples,
            world_size=self.engine.world_size,
            rank=self.engine.rank,
            prepare=lambda step: HostStep.of(step, pin=pin),
            config=self.config.loader,
            pad_token_id=self.pad_token_id,
        )

    @property
    def finished(self) -> bool:
        """Whether the run is at its schedule's end."""
        return self.state.global_step >= self.config.training.schedule.total_steps

    def learning_rate(self) -> float:
        """Of the next step."""
        training = self.config.training
        peak = training.optimizer.learning_rate
        return learning_rate(self.state.global_step, peak=peak, schedule=training.schedule)

    @property
    def loss_scale(self) -> float:
        """Of the next step; 1 where nothing is scaled."""
        return self.engine.loss_scale_state().get("scale", 1.0)

    @property
    def data_step(self) -> int:
        """The global step of the data stream: optimizer steps taken and skipped ones."""
        return self.training_stream.sizes.step_at(self.state.consumed_samples)

    def train_step(self, batch: HostStep, rate: float) -> StepResult:
        """The step itself, on the device."""
        seed_dropout(self.config.seed, self.data_step, self.engine.rank)
        step = self.state.global_step + 1
        progress = partial(self.watchdog.at, step, doing="computing")
        frozen = self.state.global_step < self.config.training.frozen_encoder_steps
        return train_step(
            self.engine, batch, rate, frozen_encoder=frozen, timer=self.timer, progress=progress
        )

    def read(self, result: StepResult, batch: RankStep, waited: float) -> StepFigures:
        """Bring the step's result to the host, joined over the ranks: here the host waits for the device."""
        if self.checkpoints.failed():
            self.stop.reason = self.stop.reason or "a checkpoint could not be written"
        own = (result.grad_norm, result.loss_scale, result.skipped)
        ranks = gather(self.accelerator, *result.sums, self.stop.heard(), waited, *own)  # (ranks, 9)
        self.watchdog.at(self.state.global_step + 1, len(batch.micro_batches), "reporting")
        return StepFigures.of(ranks, batch, rank=self.engine.rank)

    def judge(self, figures: StepFigures, seconds: float) -> Action:
        """What is to be done after a step; see `Guards`."""
        self.guards.judge_skip(skipped=figures.skipped, loss_scale=figures.loss_scale)
        return self.guards.judge(
            self.state.global_step + 1,
            figures.rank_losses,
            waited=figures.waited,
            seconds=seconds,
            taken_norm=None if figures.skipped else figures.grad_norm,
        )

    def advance(self, figures: StepFigures, batch: RankStep) -> None:
        """Move the counters: a skipped step's samples are seen, and no step is taken."""
        self.state = replace(
            self.state,
            global_step=self.state.global_step + (not figures.skipped),
            consumed_samples=self.state.consumed_samples + batch.global_sequences,
            consumed_tokens=self.state.consumed_tokens + batch.global_tokens,
            skipped_steps=self.state.skipped_steps + figures.skipped,
        )
        if self.reached is not None:
            self.reached.at(self.data_step)

    def log(self, figures: StepFigures, rate: float) -> None:
        """Record a step where it is one to be recorded."""
        training, step = self.config.training, self.state.global_step
        due = step % training.log_every_steps == 0 or step == training.schedule.total_steps
        if not (due or figures.skipped or figures.stop):
            return
        record: RunMetrics = {
            "consumed_samples": self.state.consumed_samples,
            "consumed_tokens": self.state.consumed_tokens,
            **figures.record(),
            "optim/learning_rate": rate,
            "optim/skipped_steps": self.state.skipped_steps,
            "data/epoch": self.training_stream.epoch(self.state.consumed_samples),
            **self.speed(),
        }
        if training.phases:
            before = self.state.consumed_samples - 1
            record["data/phase"] = 1 + self.training_stream.sizes.at(before).phase
        self.telemetry.log(step, record)

    def speed(self) -> RunMetrics:
        """Rates and seconds since the last record, and the rank that the others wait for."""
        figures = self.throughput.take()
        # What a rank does alone; in the rest of a step it may be waiting for others.
        alone = figures["perf/data_wait_seconds"] + figures["perf/forward_seconds"]
        ranks = gather(self.accelerator, alone, float(peak_memory_bytes(self.accelerator.device)))
        return {
            **figures,
            "perf/slowest_rank": int(ranks[:, 0].argmax()),
            "perf/slowest_rank_excess": float(ranks[:, 0].max() / ranks[:, 0].mean() - 1),
            "perf/peak_memory_bytes": int(ranks[:, 1].max()),
        }

    def roll_back(self) -> None:
        """Load the last checkpoint again, and continue behind the samples seen since."""
        seen = self.state
        self.checkpoints.finish()
        loaded = self.checkpoints.load()
        if loaded.global_step == 0:
            remedy = "lower the learning rate, or save checkpoints more often"
            raise RunFailed("there is no checkpoint to roll back to", where=self.run, remedy=remedy)
        # What has been seen and skipped stays seen and skipped: the samples continue behind it.
        self.state = replace(seen, global_step=loaded.global_step)
        self.guards.rolled_back(loss_scale=self.loss_scale)
        self.saved_at = None  # the checkpoint of that step knows less of the samples
        self.telemetry.rewind(loaded)
        behind = seen.consumed_samples - loaded.consumed_samples
        logger.warning("rolled back to step %d; %d samples are left behind", loaded.global_step, behind)

    def validate(self) -> float:
        """Score and log the held-out samples, each exactly once over all ranks; returns the MLM loss."""
        step = self.state.global_step
        self.watchdog.at(step, 0, "validating")
        with self.timer.part("validation"):
            values = held_out_scores(self.accelerator, self.engine, self.validation_stream, self.config)
        self.telemetry.log(step, {"consumed_samples": self.state.consumed_samples, **values})
        loss, accuracy = values["validation/mlm_loss"], values["validation/nsp_accuracy"]
        if self.accelerator.is_main_process:
            logger.info("step %d: validation MLM loss %.4f, NSP accuracy %.3f", step, loss, accuracy)
        return loss

    def save(self, held_out: float | None, *, wait: bool) -> None:
        """Write a checkpoint of this step, if there is none yet.

        Args:
            held_out: the validation MLM loss of this very step, where it is known.
        """
        step = self.state.global_step
        if self.saved_at == step:
            return
        self.watchdog.at(step, 0, "saving")
        with self.timer.part("checkpoint"):
            self.checkpoints.save(self.state, validation_loss=held_out, wait=wait)
        self.saved_at = step
        self.telemetry.log(
            step, {"consumed_samples": self.state.consumed_samples, **self.checkpoints.written}
        )

    def close(self, *, patience: float = 60.0, failed: bool = False) -> None:
        """Let go of everything.

        Args:
            patience: seconds that a save under way is waited for.
            failed: this rank ends in an error; see `Watchdog.close`.
        """
        self.checkpoints.close(patience=patience, finished=self.finished and not failed)
        if self.reached is not None:
            self.reached.close()
        self.watchdog.close(failed=failed)
        self.profile.close()
        # A launcher kills a rank soon after its signal, or after another one failed; the next start sends
        # what trackers lack.
        self.telemetry.close(patience=30.0 if self.finished and not failed else 5.0)
        # A live engine keeps a communication thread that aborts the process at its end.
        del self.engine, self.checkpoints
