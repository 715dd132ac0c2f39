"""What makes two runs two: settings that may not change, the samples, and the weights they start from."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from os.path import realpath
from pathlib import Path
from typing import Any

from biobert_scale.config import Config
from biobert_scale.config.tree import get, has
from biobert_scale.errors import UserError
from biobert_scale.files import fingerprint
from biobert_scale.recipes import structure_saved
from biobert_scale.training.checkpoint.manifest import read_record
from biobert_scale.training.checkpoint.retention import complete

CONFIG = "config.json"
_INITIAL_WEIGHTS, _PHASES = "training.initial_weights", "training.phases"
RUN_SECTIONS = (
    *("seed", "model", "data", "training.global_batch_size", "training.batch_warmup_start"),
    *("training.batch_warmup_steps", _PHASES, "training.optimizer", "training.schedule"),
    *("training.precision.dtype", _INITIAL_WEIGHTS, "training.frozen_encoder_steps"),
)
"""The settings that make two runs two, by their keys."""


def run_fingerprint(config: Config, samples_fingerprint: str, *, initial_weights: str = "") -> str:
    """What all checkpoints of one run share, whatever ranks and engine wrote them, and those of no other
    run.

    Args:
        initial_weights: the fingerprint that the checkpoint's manifest holds; where it holds none the path
            counts.
    """
    settings = config.fingerprinted()
    if initial_weights:
        settings["training"]["initial_weights"] = initial_weights
    # A setting that is newer than the run, and that changes nothing of what it does, is none of its own.
    values = [_section(settings, key) for key in RUN_SECTIONS if has(settings, key)]
    return fingerprint([samples_fingerprint, *values])


def begun_with(run: Path) -> Config | None:
    """The configuration in a run's newest checkpoint whose configuration is intact; None without any."""
    for checkpoint in reversed(complete(run)):
        with suppress(OSError, UserError, KeyError, TypeError):  # damaged, or just being deleted
            content = (checkpoint / CONFIG).read_bytes()
            if hashlib.sha256(content).hexdigest() == read_record(checkpoint)["files"][CONFIG]["sha256"]:
                break
    else:
        return None
    return structure_saved(json.loads(content), where=str(checkpoint / CONFIG))


def refuse_changes(
    saved: dict[str, Any], config: Config, *, where: Path, weights: tuple[str, str] = ("", "")
) -> None:
    """Refuse to resume with settings that would make it another run. Ranks, micro-batch, engine and ZeRO
    stage may change, and where the initial weights are.

    Args:
        saved: the configuration that a checkpoint holds, of this or an older version.
        weights: fingerprints of the initial weights, the checkpoint's and today's; where one of them is not
            known the paths are compared.

    Raises:
        UserError: naming the first such key, its old and its new value.
    """
    before, current = asdict(structure_saved(saved, where=str(where / CONFIG))), asdict(config)
    for section in RUN_SECTIONS:
        old, new = _section(before, section), _section(current, section)
        if section == _INITIAL_WEIGHTS and old and new:
            same = weights[0] == weights[1] if all(weights) else realpath(old) == realpath(new)
            if same:
                continue
            if all(weights):
                old, new = f"{old} ({weights[0][:12]})", f"{new} ({weights[1][:12]})"
        for key, was, now in differences(section, old, new):
            remedy = "set it back, or start a new run in another --output"
            raise UserError(f"{key} was {was!r} and is now {now!r}", where=where, remedy=remedy)


def _section(settings: dict[str, Any], key: str) -> Any:
    """A section of `RUN_SECTIONS`; micro-batches are no part of a run's identity, nor are a phase's."""
    if key != _PHASES:
        return get(settings, key)
    phases = [dict(phase) for phase in get(settings, key)]
    return [{name: phase[name] for name in phase if name != "micro_batch_size"} for phase in phases]


def differences(key: str, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """Dotted keys of a section whose values differ, with both, which are of `asdict`."""
    if isinstance(new, dict) and old.keys() == new.keys():
        return [found for name in new for found in differences(f"{key}.{name}", old[name], new[name])]
    old, new = (list(value) if isinstance(value, tuple) else value for value in (old, new))
    return [] if old == new else [(key, old, new)]
