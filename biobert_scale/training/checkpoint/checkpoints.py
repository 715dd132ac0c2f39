"""Checkpoints as transactions: written beside, synced, checksummed, renamed; older ones go only after.

A checkpoint is a directory `checkpoints/step-00001000`: for each rank one safetensors file with the fp32
weights and moments that it holds (see `shards`), the trainer's state, the resolved configuration, and a
manifest of every file's size and SHA-256. Without an intact manifest it does not count. Any number of ranks
under any engine reads it; nothing in it is pickled.
"""

from __future__ import annotations

import importlib.metadata
import logging
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from biobert_scale import __version__
from biobert_scale.config import Config
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.files import fingerprint, make_directory, read_json
from biobert_scale.training.checkpoint.commit import STATE, Commit
from biobert_scale.training.checkpoint.continuation import Origin
from biobert_scale.training.checkpoint.identity import CONFIG, refuse_changes
from biobert_scale.training.checkpoint.manifest import (
    FORMAT,
    CheckpointRecord,
    Link,
    Verified,
    problem,
    read_record,
)
from biobert_scale.training.checkpoint.mirror import FINISHED_SECONDS, STOPPED_SECONDS, Mirror
from biobert_scale.training.checkpoint.outliving import wait_for_writers, write_apart
from biobert_scale.training.checkpoint.retention import (
    checkpoint_path,
    complete,
    incomplete,
    leftovers,
    remove,
    staging_path,
)
from biobert_scale.training.checkpoint.state import TrainerState
from biobert_scale.training.checkpoint.tensor_files import Shards
from biobert_scale.training.checkpoint.writer import Failure, ShardWriter, on_host
from biobert_scale.training.engine import LIBRARIES, Engine
from biobert_scale.training.engine.fragments import partition
from biobert_scale.training.monitor.metrics import RunMetrics

logger = logging.getLogger(__name__)

_BYTES_PER_PARAMETER = 12  # fp32 weight and two moments
_SPARE_BYTES = 1 << 22
_SAMPLED_PARAMETERS = 3
_SAMPLED_ELEMENTS = 1 << 22
"""Parameters above this are left out of the sample: to gather one takes device memory."""


class Checkpoints:
    """A run's checkpoints: written behind the training's back, one at a time, and loaded. Every method but
    `close` is called by all ranks together."""

    def __init__(
        self,
        accelerator: Accelerator,
        run: Path,
        config: Config,
        engine: Engine,
        *,
        samples_fingerprint: str,
        initial_weights: str = "",
        vocabulary: str = "",
        origin: Origin | None = None,
    ) -> None:
        """Keep checkpoints of an engine's weights and moments.

        Args:
            run: the run directory, on a file system that all ranks share.
            samples_fingerprint: what the data stream was made from, checked on resuming.
            initial_weights: the fingerprint of the files that the run starts from, checked too; empty for
                random weights.
            vocabulary: see `CheckpointRecord`.
            origin: what a run without checkpoints begins with; by default with its initial weights.
        """
        self.accelerator, self.run, self.config, self.engine = accelerator, run, config, engine
        self.samples_fingerprint, self.initial_weights = samples_fingerprint, initial_weights
        self.vocabulary, self.origin, self.lineage = vocabulary, origin, list[Link]()
        self.writer: ShardWriter | None = None
        self.buffers: dict[str, Tensor] = {}
        """The state as last copied; no writer reads it any more when the next save begins."""
        self.verified = Verified()
        mirrored = bool(config.training.checkpoint.mirror) and accelerator.is_main_process
        self.mirror = Mirror(run, config.training.checkpoint) if mirrored else None
        self.written: RunMetrics = {}
        """Seconds of the last save, for the log: how long training waited, how long the writing took."""

    def save(self, state: TrainerState, *, validation_loss: float | None, wait: bool) -> None:
        """Write a checkpoint.

        Args:
            validation_loss: of this very step, where it is known.
            wait: return only when it is in place, written by a process that outlives this rank; otherwise
                when the state has been copied; a thread writes it.

        Raises:
            RunFailed: this one, or the one before, could not be written; the checkpoints before it are kept.
        """
        begun = time.perf_counter()
        older = self.writer
        if not wait or not any(self._gather(older is not None and older.is_alive())):
            self.finish()
            older = None
        self.writer = None
        final = checkpoint_path(self.run, state.global_step)
        fragments = self.engine.local_fragments(steps_taken=state.global_step)
        sample = self._sample(state.global_step)
        if self.engine.replicated:
            fragments = partition(fragments, rank=self.engine.rank, world_size=self.engine.world_size)
        elements = sum(self._gather(sum(fragment.numel for fragment in fragments)))
        busy = older.staging if older is not None and older.is_alive() else None
        self._agree(self._make_room(final, elements * _BYTES_PER_PARAMETER, busy=busy))
        behind = self.config.training.checkpoint.background and not wait
        commit = Commit(
            final=final,
            config=self.config,
            state=state,
            loss_scale=self.engine.loss_scale_state(),
            record=self._record(state, validation_loss),
            sample=sample,
            verified=self.verified,
            spare=lambda: self.mirror.uploading if self.mirror is not None else None,
        )
        self.writer = ShardWriter(
            staging_path(final),
            on_host(fragments, copied=behind, buffers={} if wait else self.buffers, forked=wait),
            rank=self.accelerator.process_index,
            ranks=self.accelerator.num_processes,
            patience=self.config.training.engine.communication_timeout_seconds,
            commit=commit if self.accelerator.is_main_process else None,
        )
        if behind:
            self.writer.start()
        elif wait:
            # The launcher may kill this rank soon. A save under way is older, and ends beside this one.
            write_apart(self.writer)
            self.finish()
            self.writer = older
            self.finish()
        else:
            self.writer.run()
            self.finish()
        self.written["perf/checkpoint_stall_seconds"] = time.perf_counter() - begun

    def failed(self) -> bool:
        """Whether this rank knows that the save under way has gone wrong."""
        return self.writer is not None and self.writer.trouble is not None

    def finish(self) -> None:
        """Wait until the save under way, if there is one, is in place.

        Raises:
            RunFailed: it could not be written.
        """
        if self.writer is None:
            return
        if self.writer.is_alive():
            self.writer.join()
        writer, self.writer = self.writer, None
        self.written["perf/checkpoint_write_seconds"] = writer.seconds
        if self.accelerator.is_main_process and writer.trouble is not None:
            shutil.rmtree(writer.staging, ignore_errors=True)
        self._agree(writer.trouble)

    def close(self, *, patience: float, finished: bool = False) -> None:
        """At the end of a run that may have failed: let the save under way end, without asking the others,
        and the mirror catch up.

        Args:
            patience: seconds to wait for their parts.
            finished: nothing is left to do, so nobody is about to end this process.
        """
        if self.writer is not None and self.writer.is_alive():
            self.writer.hurry(patience)
        self.writer = None
        if self.mirror is not None:
            self.mirror.close(patience=FINISHED_SECONDS if finished else STOPPED_SECONDS)

    def load(self) -> TrainerState:
        """Load the newest intact checkpoint into the model and the optimizer.

        Returns:
            Where the run stands; where there is no checkpoint its origin or the beginning.

        Raises:
            UserError: the checkpoint comes from other data or other settings, or its format is another
                version's.
        """
        checkpoint = self._newest_intact()
        if checkpoint is None:
            return self._begin()
        record = read_record(checkpoint)
        self.lineage = record.get("lineage", [])
        weights = (record.get("initial_weights", ""), self.initial_weights)
        # The samples follow from settings, too: a changed one is named before the samples are compared.
        refuse_changes(read_json(checkpoint / CONFIG), self.config, where=checkpoint, weights=weights)
        if record["samples_fingerprint"] != self.samples_fingerprint:
            theirs, ours = record["samples_fingerprint"][:12], self.samples_fingerprint[:12]
            what = f"the checkpoint was trained on samples {theirs}, these are {ours}"
            remedy = "give the tokens it was trained on, or start a new run in another --output"
            raise UserError(what, where=checkpoint, remedy=remedy)
        logger.info("resuming from %s, written by %d rank(s)", checkpoint.name, record["world_size"])
        return self._fill(checkpoint)

    def _begin(self) -> TrainerState:
        if self.origin is None:
            return TrainerState()
        checkpoint, link = self.origin
        if trouble := self._trouble(checkpoint):
            remedy = "take an earlier one, RUN@STEP"
            raise UserError(f"the checkpoint is broken: {trouble}", where=checkpoint, remedy=remedy)
        self.lineage = [*read_record(checkpoint).get("lineage", []), link]
        state = self._fill(checkpoint)
        return state if link["samples_continue"] else replace(state, consumed_samples=0)

    def _fill(self, checkpoint: Path) -> TrainerState:
        """Read a checkpoint, whose files are verified, into the model and the optimizer."""
        saved = read_json(checkpoint / STATE)
        state = TrainerState(**saved["state"])
        with Shards(checkpoint, read_record(checkpoint)["shards"]) as shards:
            for fragment in self.engine.local_fragments():
                shards.fill(fragment)
        self.engine.refresh_after_load(steps_taken=state.global_step)
        self.engine.restore_loss_scale(saved["loss_scale"])
        self.accelerator.wait_for_everyone()
        return state

    def _trouble(self, checkpoint: Path) -> str | None:
        """What is wrong with a checkpoint's files, whose reading the ranks share."""
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        return next(filter(None, self._gather(problem(checkpoint, part=rank, parts=ranks))), None)

    def _newest_intact(self) -> Path | None:
        """The newest checkpoint that is intact; the ranks share the reading, the log names broken ones."""
        if self.accelerator.is_main_process:
            wait_for_writers(self.run, patience=self.config.training.engine.communication_timeout_seconds / 2)
        found: list[Any] = [(complete(self.run), incomplete(self.run))]
        candidates, left = broadcast_object_list(found)[0]
        for checkpoint in reversed(candidates):
            if (trouble := self._trouble(checkpoint)) is None:
                self.verified.add(checkpoint)
                return Path(checkpoint)
            logger.warning("checkpoint %s is passed over: %s", checkpoint.name, trouble)
        # A checkpoint that is being deleted loses its manifest first, but then another is intact.
        if lost := [*candidates, *(path for path in left if not path.name.startswith("."))]:
            remedy = "see `biobert-scale checkpoint verify`; restore its files; to begin anew, choose another"
            what = f"none of {len(lost)} checkpoint(s) is intact"
            raise UserError(what, where=self.run, remedy=f"{remedy} --output")
        return None

    def _gather(self, value: Any) -> list[Any]:
        return list(gather_object([value])) if self.accelerator.num_processes > 1 else [value]

    def _agree(self, trouble: Exception | None) -> None:
        """Stop on all ranks where one is in trouble."""
        mine = None if trouble is None else Failure.of(trouble)
        if failures := list(filter(None, self._gather(mine))):
            what, remedy = failures[0]
            remedy = remedy or "free some space and run it again: the last checkpoint is kept"
            raise RunFailed(f"a checkpoint could not be written ({what})", where=self.run, remedy=remedy)

    def _make_room(self, final: Path, needed: int, *, busy: Path | None) -> OSError | None:
        """On the main process: an empty staging directory on a disk with room for it; returns what is in the
        way.

        Args:
            busy: the directory of a save that is under way.
        """
        if not self.accelerator.is_main_process:
            return None
        staging = staging_path(final)
        try:
            for left in leftovers(self.run):  # of saves that were interrupted
                if left != busy:
                    remove(left)
            make_directory(staging.parent)
            staging.mkdir()
            free = shutil.disk_usage(staging).free
        except OSError as error:
            return error
        if free >= needed + _SPARE_BYTES:
            return None
        staging.rmdir()
        figures = f"{needed / 1e9:.3g} GB are needed, {free / 1e9:.3g} GB are free"
        return OSError(f"no space is left on the disk: {figures}")

    def _record(self, state: TrainerState, validation_loss: float | None) -> CheckpointRecord:
        libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
        return {
            "stage": "checkpoint",
            "format": FORMAT,
            "global_step": state.global_step,
            "consumed_samples": state.consumed_samples,
            "consumed_tokens": state.consumed_tokens,
            "skipped_steps": state.skipped_steps,
            "world_size": self.engine.world_size,
            **self.engine.description,
            "validation_mlm_loss": validation_loss,
            "samples_fingerprint": self.samples_fingerprint,
            "config_fingerprint": fingerprint(self.config),
            "initial_weights": self.initial_weights,
            "vocabulary": self.vocabulary,
            "lineage": self.lineage,
            "versions": {"biobert_scale": __version__} | libraries,
            "shards": [],
            "files": {},
        }

    def _sample(self, step: int) -> dict[str, dict[str, Tensor]]:
        """What the engine itself says of a few parameters, others at each step: name -> `full_values`.
        Empty where there is nothing to compare yet."""
        parameters = self.engine.module.named_parameters()
        sizes = {name: getattr(one, "ds_numel", one.numel()) for name, one in parameters}
        names = sorted(name for name, size in sizes.items() if size <= _SAMPLED_ELEMENTS)
        chosen = random.Random(step).sample(names, min(_SAMPLED_PARAMETERS, len(names))) if step else []
        return {name: self.engine.full_values(name) for name in chosen}
