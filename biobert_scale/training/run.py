"""A run's life: the directory is locked, the ranks meet, a `Trainer` works, the end is recorded."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path

from biobert_scale.config import Config
from biobert_scale.data.run_stream import build_indexes
from biobert_scale.errors import RunFailed
from biobert_scale.files import read_manifest, write_json
from biobert_scale.lock import Lock
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.tokens.sources import SOURCES, source_weights
from biobert_scale.training import runtime
from biobert_scale.training.checkpoint.continuation import origin_of
from biobert_scale.training.checkpoint.mirrored import bring
from biobert_scale.training.checkpoint.retention import FINISHED
from biobert_scale.training.engine import out_of_memory
from biobert_scale.training.monitor.webhook import PATIENCE_SECONDS, check_address, notify
from biobert_scale.training.preemption import signals_given_back
from biobert_scale.training.ranks import rank_environment
from biobert_scale.training.restarts import FAILED, LAST_START, note_end, note_start
from biobert_scale.training.trainer import Trainer

logger = logging.getLogger(__name__)

_LOST = ("timed out", "timeout", "connection closed by peer", "connection reset by peer")
"""What a collective says when another rank does not come."""


@signals_given_back()
def train(
    config: Config,
    tokens: Path,
    run: Path,
    *,
    samples: Path | None = None,
    profile: tuple[int, int] | None = None,
    deadline: float | None = None,
    continue_from: str = "",
    resume: str = "auto",
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
        continue_from: RUN or RUN@STEP: what a new run begins with; see `checkpoint.continuation`.
        resume: `auto`, `never` or `must`: whether the mirror, if there is one, may have a checkpoint.

    Returns:
        Whether the schedule's end was reached.

    Raises:
        UserError: another process trains in `run`.
        RunFailed: a guard stopped the run, or a rank was lost; the last checkpoint is kept.
    """
    if run.name == "..":  # trackers make a directory of the run's name
        run = run.resolve()
    samples = samples or run / "samples"
    # What is no token shards, or lacks a source that has a weight, is refused before the ranks meet.
    read_manifest(tokens, TOKENS_STAGE)
    source_weights(tokens / "train", config.data.sources)
    origin = origin_of(continue_from, run, config, tokens) if continue_from else None
    check_address()
    with rank_environment() as ranks, ExitStack() as held:
        accelerator = runtime.start(ranks, config)
        trainer, patience, well, begun = None, 60.0, False, False

        def begin() -> bool:
            lock = held.enter_context(Lock(run, "train"))
            write_json(run / LAST_START, asdict(lock.me))
            (run / FAILED).unlink(missing_ok=True)
            mirrored = bool(config.training.checkpoint.mirror)
            fetched = mirrored and bring(run, config, resume=resume, continue_from=continue_from)
            build_indexes(tokens, samples, config)
            return fetched

        try:
            if runtime.on_first_rank(accelerator, begin):
                origin = None
            begun = True
            trainer = Trainer(
                accelerator,
                config,
                tokens,
                run,
                samples,
                profile=profile,
                deadline=deadline,
                origin=origin,
            )
            _note_start(trainer)
            finished = trainer.run_to_end()
            _note_end(trainer, held)
            well = True
            return finished
        except Exception as error:
            failure = error
            if isinstance(error, RuntimeError | MemoryError):
                patience = 2.0
                failure = out_of_memory(error, config) or _lost_rank(error, trainer) or error
            if begun:  # what failed before may be another process' run
                _note_failure(run, trainer, failure, held)
            if failure is error:
                raise
            raise failure from error
        finally:
            if trainer is not None:
                trainer.close(patience=patience, failed=not well)
            runtime.stop(accelerator)


def _note_start(trainer: Trainer) -> None:
    """A run that has steps left is not finished, whatever an earlier one wrote in its directory.

    Raises:
        RunFailed: see `note_start`.
    """

    def note() -> None:
        step, word = trainer.state.global_step, trainer.run / FINISHED
        note_start(trainer.run, step)
        first, *later = trainer.training_stream.phases
        if first.stream.runs:  # for the report, which has not the tokens
            found = first.by_source() | (
                {"later_phases": [each.by_source() for each in later]} if later else {}
            )
            write_json(trainer.run / SOURCES, found)
        if word.exists() and not trainer.finished:
            if step == 0:
                logger.warning("%s is there, but no checkpoint: the run begins anew", word)
            word.unlink()

    runtime.on_first_rank(trainer.accelerator, note)


def _note_end(trainer: Trainer, held: ExitStack) -> None:
    """Write how the run has ended into its directory.

    Args:
        held: what waits a little, at the very end, until the news is sent.
    """
    if not trainer.accelerator.is_main_process:
        return
    note_end(trainer.run)
    step, word = trainer.state.global_step, trainer.run / FINISHED
    if trainer.finished:
        if not word.exists():
            held.callback(notify("finished", trainer.run, step, "").join, PATIENCE_SECONDS)
        write_json(word, asdict(trainer.state))
        return
    trainer.stop.path.unlink(missing_ok=True)
    reason = trainer.stop.reason or "asked on another rank"
    logger.warning("stopped at step %d (%s); the same command resumes from there", step, reason)


def _note_failure(run: Path, trainer: Trainer | None, error: Exception, held: ExitStack) -> None:
    """Write why the run has failed into its directory: the first rank that fails, for the others follow it.

    Args:
        held: see `_note_end`.
    """
    step = trainer.state.global_step if trainer is not None else 0
    what = str(error).strip().partition("\n")[0] or type(error).__name__
    with suppress(OSError):  # also: another rank was first
        with open(run / FAILED, "x") as stream:
            json.dump({"global_step": step, "what": what}, stream)
        held.callback(notify("failed", run, step, what).join, PATIENCE_SECONDS)


def _lost_rank(error: Exception, trainer: Trainer | None) -> RunFailed | None:
    """The failure to report where a collective ended because another rank did not come."""
    if trainer is None or not any(sign in str(error).lower() for sign in _LOST):
        return None
    return RunFailed(
        f"a collective failed at step {trainer.state.global_step + 1}: {trainer.watchdog.diagnosis().text}",
        where=trainer.run,
        remedy="look at that rank's log; the same command resumes from the last checkpoint",
    )
