"""Checkpoints as transactions: written beside, synced, checksummed, renamed; older ones go only after.

A checkpoint is a directory `checkpoints/step-00001000` with the engine's shards, the trainer's state, the resolved
configuration, and a manifest of every file's size and SHA-256. Without an intact manifest it does not count.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from biobert_scale import __version__
from biobert_scale.config import Config
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.files import MANIFEST, fsync_directory, read_json, sha256_file, write_json

logger = logging.getLogger(__name__)

DIRECTORY = "checkpoints"
STATE = "trainer_state.json"
CONFIG = "config.json"
_FULL_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class TrainerState:
    """Where a run stands. The data stream's whole state is `consumed_samples`."""

    global_step: int = 0
    """Optimizer steps taken."""
    consumed_samples: int = 0
    consumed_tokens: int = 0
    skipped_steps: int = 0
    """Steps whose gradients overflowed: seen, but not taken."""


def save(accelerator: Accelerator, run: Path, state: TrainerState, config: Config, *, samples_fingerprint: str) -> Path:
    """Write a checkpoint from all ranks, and then delete the oldest beyond `keep_last`.

    Args:
        run: the run directory, on a file system that all ranks share.
        samples_fingerprint: what the data stream was made from, checked on resuming.

    Returns:
        The finished checkpoint's directory.
    """
    final = run / DIRECTORY / f"step-{state.global_step:08d}"
    staging = final.with_name(f".{final.name}.part")
    if accelerator.is_main_process:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
    accelerator.wait_for_everyone()
    try:
        accelerator.save_state(str(staging), safe_serialization=True)
    except Exception as error:
        # The libraries' writers report a full disk each in their own words.
        if shutil.disk_usage(staging).free > _FULL_BYTES:
            raise
        shutil.rmtree(staging, ignore_errors=True)
        raise RunFailed("no space is left on the disk", where=final, remedy="free some space and run it again: the last checkpoint is kept") from error
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_json(staging / STATE, state)
        write_json(staging / CONFIG, config)
        _write_manifest(staging, state, accelerator, config, samples_fingerprint)
        shutil.rmtree(final, ignore_errors=True)  # an earlier, broken one of the same step
        os.rename(staging, final)
        fsync_directory(final.parent)
        for old in complete(run)[: -config.training.checkpoint.keep_last]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return final


def _write_manifest(directory: Path, state: TrainerState, accelerator: Accelerator, config: Config, samples_fingerprint: str) -> None:
    files = {}
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
        files[str(path.relative_to(directory))] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    manifest = {
        "stage": "checkpoint",
        **asdict(state),
        "world_size": accelerator.num_processes,
        "engine": config.training.engine.name,
        "zero_stage": accelerator.deepspeed_plugin.zero_stage if accelerator.deepspeed_plugin else None,
        "samples_fingerprint": samples_fingerprint,
        "version": __version__,
        "files": files,
    }
    write_json(directory / MANIFEST, manifest)


def complete(run: Path) -> list[Path]:
    """The run's checkpoints that have a manifest, oldest first; their contents are not yet verified."""
    directory = run / DIRECTORY
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if re.fullmatch(r"step-\d{8,}", path.name) and (path / MANIFEST).is_file())


def problem(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, or None where every file has the size and SHA-256 of its manifest."""
    try:
        manifest = read_json(checkpoint / MANIFEST)
        files = manifest["files"].items()
    except (UserError, KeyError, AttributeError, TypeError):
        return "its manifest is unreadable"
    for name, record in files:
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != record["bytes"]:
            return f"{name} has {path.stat().st_size} bytes, not {record['bytes']}"
        if sha256_file(path) != record["sha256"]:
            return f"{name} is corrupted (its SHA-256 differs)"
    return None


def newest_intact(run: Path) -> Path | None:
    """The newest checkpoint whose files verify; broken ones are named in the log and passed over."""
    for checkpoint in reversed(complete(run)):
        if (trouble := problem(checkpoint)) is None:
            return checkpoint
        logger.warning("checkpoint %s is passed over: %s", checkpoint.name, trouble)
    return None


def load(accelerator: Accelerator, run: Path, config: Config, *, samples_fingerprint: str) -> TrainerState:
    """Load the newest intact checkpoint into the prepared model and optimizer, on all ranks.

    Returns:
        Where the run stands; the beginning where there is no checkpoint.

    Raises:
        UserError: the checkpoint comes from other data, other settings, or another number of ranks.
    """
    chosen: list[Any] = [newest_intact(run) if accelerator.is_main_process else None]
    broadcast_object_list(chosen)
    checkpoint: Path | None = chosen[0]
    if checkpoint is None:
        return TrainerState()
    manifest = read_json(checkpoint / MANIFEST)
    if manifest["samples_fingerprint"] != samples_fingerprint:
        raise UserError(
            f"the checkpoint was trained on samples {manifest['samples_fingerprint'][:12]}, these are {samples_fingerprint[:12]}",
            where=checkpoint,
            remedy="give the tokens it was trained on, or start a new run in another --output",
        )
    refuse_changes(read_json(checkpoint / CONFIG), config, where=checkpoint)
    if manifest["world_size"] != accelerator.num_processes:
        raise UserError(
            f"the checkpoint was written by {manifest['world_size']} ranks, this run has {accelerator.num_processes}",
            where=checkpoint,
            remedy=f"resume with {manifest['world_size']} ranks",
        )
    # The engine's shards are pickled; their checksums have just been verified.
    accelerator.load_state(str(checkpoint))
    return TrainerState(**read_json(checkpoint / STATE))


def refuse_changes(saved: dict[str, Any], config: Config, *, where: Path) -> None:
    """Refuse to go on with settings that would make it another run.

    Raises:
        UserError: naming the first such key, its old and its new value.
    """
    current = asdict(config)
    for section in (("seed",), ("model",), ("data",), ("training", "global_batch_size"), ("training", "optimizer"), ("training", "schedule"), ("training", "precision", "dtype"), ("training", "engine", "name"), ("training", "initial_weights")):
        old, new = saved, current
        for key in section:
            old, new = old.get(key, ""), new[key]
        for key, before, after in _differences(".".join(section), old, new):
            raise UserError(f"{key} was {before!r} and is now {after!r}", where=where, remedy="set it back, or start a new run in another --output")


def _differences(key: str, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(new, dict):
        return [found for name in new for found in _differences(f"{key}.{name}", old.get(name), new[name])]
    new = list(new) if isinstance(new, tuple) else new
    return [] if old == new else [(key, old, new)]
