"""What makes two runs two: settings that may not change, the samples, and the weights they start from."""

from __future__ import annotations

from dataclasses import asdict
from functools import reduce
from operator import getitem
from os.path import realpath
from pathlib import Path
from typing import Any

from biobert_scale.config import Config
from biobert_scale.errors import UserError
from biobert_scale.files import fingerprint

RUN_SECTIONS = (
    ("seed",),
    ("model",),
    ("data",),
    ("training", "global_batch_size"),
    ("training", "optimizer"),
    ("training", "schedule"),
    ("training", "precision", "dtype"),
    ("training", "initial_weights"),
)
"""The settings that make two runs two, by their keys."""


_INITIAL_WEIGHTS = ("training", "initial_weights")


def run_fingerprint(config: Config, samples_fingerprint: str, *, initial_weights: str = "") -> str:
    """What all checkpoints of one run share, whatever ranks and engine wrote them, and those of no other
    run.

    Args:
        initial_weights: the fingerprint that the checkpoint's manifest holds; where it holds none the path
            counts.
    """
    settings = asdict(config)
    if initial_weights:
        settings["training"]["initial_weights"] = initial_weights
    return fingerprint(
        [samples_fingerprint, *(reduce(getitem, section, settings) for section in RUN_SECTIONS)]
    )


def refuse_changes(
    saved: dict[str, Any], config: Config, *, where: Path, weights: tuple[str, str] = ("", "")
) -> None:
    """Refuse to go on with settings that would make it another run. Ranks, micro-batch, engine and ZeRO stage
    may change, and where the initial weights are.

    Args:
        weights: fingerprints of the initial weights, the checkpoint's and today's; where one of them is not
            known the paths are compared.

    Raises:
        UserError: naming the first such key, its old and its new value.
    """
    current = asdict(config)
    for section in RUN_SECTIONS:
        old: Any = saved
        new: Any = current
        for key in section:
            old, new = old.get(key, ""), new[key]
        if section == _INITIAL_WEIGHTS and old and new:
            same = weights[0] == weights[1] if all(weights) else realpath(old) == realpath(new)
            if same:
                continue
            if all(weights):
                old, new = f"{old} ({weights[0][:12]})", f"{new} ({weights[1][:12]})"
        for key, before, after in _differences(".".join(section), old, new):
            raise UserError(
                f"{key} was {before!r} and is now {after!r}",
                where=where,
                remedy="set it back, or start a new run in another --output",
            )


def _differences(key: str, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(new, dict):
        return [found for name in new for found in _differences(f"{key}.{name}", old.get(name), new[name])]
    new = list(new) if isinstance(new, tuple) else new
    return [] if old == new else [(key, old, new)]
