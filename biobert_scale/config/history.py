"""What has changed among the settings since version 0.1.0, and how a configuration that an older version
saved is read.

A run's `config.json`, a checkpoint's, and a fine-tuning run's manifest hold every setting of the version that
wrote them. A key that is not there means the behaviour before it existed, which need not be today's default.
Whoever adds, renames or removes a key adds a line here: a test compares the keys with those of version 0.1.0.
A key of `FinetuneConfig` has a line for `evaluation.entities` and one for `evaluation.documents`.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biobert_scale.config.tree import get, has, pop, put
from biobert_scale.errors import UserError

ANY = object()
"""Of a removed key: its value never changed what was computed."""


@dataclass(frozen=True, kw_only=True)
class Added:
    since: str
    """The version that brought the key."""
    before: Any
    """The value, in JSON's terms, that does what was done before the key existed."""


@dataclass(frozen=True, kw_only=True)
class Renamed:
    since: str
    to: str
    """The new name, with its sections."""


@dataclass(frozen=True, kw_only=True)
class Removed:
    since: str
    always: Any
    """The value, in JSON's terms, that does what is done without the key, or `ANY`. A saved configuration
    with another value is refused."""


ADDED: dict[str, Added] = {
    "data.sources": Added(since="0.2.0", before={}),
    "compute.activation_checkpointing": Added(since="0.2.0", before=False),
    "training.batch_warmup_start": Added(since="0.2.0", before=0),
    "training.batch_warmup_steps": Added(since="0.2.0", before=0),
    "training.frozen_encoder_steps": Added(since="0.2.0", before=0),
    "training.phases": Added(since="0.2.0", before=[]),
    "training.schedule.decay": Added(since="0.2.0", before="linear"),
    "training.checkpoint.mirror": Added(since="0.2.0", before=""),
    "training.schedule.cooldown_steps": Added(since="0.2.0", before=0),
    "corpus.licenses": Added(since="0.2.0", before=["any"]),
    "corpus.retracted": Added(since="0.2.0", before=True),
    "corpus.excluded_publication_types": Added(since="0.2.0", before=[]),
    "corpus.first_year": Added(since="0.2.0", before=0),
    "corpus.last_year": Added(since="0.2.0", before=9999),
    "corpus.own": Added(since="0.2.0", before={}),
    "evaluation.entities.layer_decay": Added(since="0.2.0", before=1.0),
    "evaluation.documents.layer_decay": Added(since="0.2.0", before=1.0),
    "evaluation.entities.reinitialized_layers": Added(since="0.2.0", before=0),
    "evaluation.documents.reinitialized_layers": Added(since="0.2.0", before=0),
    "evaluation.entities.minimum_steps": Added(since="0.2.0", before=0),
    "evaluation.documents.minimum_steps": Added(since="0.2.0", before=0),
    "evaluation.entities.label_smoothing": Added(since="0.2.0", before=0.0),
    "evaluation.documents.label_smoothing": Added(since="0.2.0", before=0.0),
}
"""Dotted key, by its present name -> what it means where it is missing."""

RENAMED: dict[str, Renamed] = {
    "loader.token_bucket": Renamed(since="0.2.0", to="loader.pad_to_multiple_of"),
    "compute.sparse_head": Renamed(since="0.2.0", to="compute.head_on_masked_positions_only"),
    "compute.sparse_last_layer": Renamed(since="0.2.0", to="compute.last_layer_on_masked_positions_only"),
}
"""Dotted key or section, by a former name -> its next name; older renamings first."""

REMOVED: dict[str, Removed] = {}
"""Dotted key, by its last name -> what is done without it."""


def translate(saved: dict[str, Any], *, where: Path | str) -> dict[str, Any]:
    """Settings under their present names, without those that are gone.

    Args:
        where: their file, for the message.

    Raises:
        UserError: a removed key has a value that this version cannot follow.
    """
    settings = copy.deepcopy(saved)
    for old, renamed in RENAMED.items():
        if has(settings, old) and not has(settings, renamed.to):
            put(settings, renamed.to, pop(settings, old))
    for key, removed in REMOVED.items():
        value = pop(settings, key) if has(settings, key) else ANY
        if ANY not in (value, removed.always) and value != removed.always:
            what = f"{key} is {value!r}; since {removed.since} it is always {removed.always!r}"
            raise UserError(what, where=where, remedy=f"use a version before {removed.since}")
    return settings


def to_current(saved: dict[str, Any], *, where: Path | str) -> dict[str, Any]:
    """A saved configuration in today's terms: `translate`, and the keys that came later filled in."""
    config = translate(saved, where=where)
    for key, added in ADDED.items():
        if not has(config, key):
            put(config, key, added.before)
    return config


def budget_to_current(saved: dict[str, Any], *, where: Path | str) -> dict[str, Any]:
    """The same for the settings that a fine-tuning run records, of entities or documents; baselines record
    none."""
    whole = to_current({"evaluation": {"entities": saved}}, where=where)
    return get(whole, "evaluation.entities") if saved else {}


def as_first_saved(config: dict[str, Any]) -> dict[str, Any]:
    """A whole configuration of today as version 0.1.0 would have saved it.

    Fingerprints are made of this form: a run keeps its own when keys are added, renamed or removed. A key
    that came later is left out where it does what was done before it existed.
    """
    whole: dict[str, Any] = json.loads(json.dumps(config))
    for key, added in ADDED.items():
        if get(whole, key) == added.before:
            pop(whole, key)
    for key, removed in REMOVED.items():
        if removed.always is not ANY:
            put(whole, key, removed.always)
    for old, renamed in reversed(RENAMED.items()):
        put(whole, old, pop(whole, renamed.to))
    return whole


def keep_behaviour(recipe: dict[str, Any], saved: dict[str, Any]) -> list[str]:
    """Put into a recipe what the run that it resumes has begun with: keys that came later, that the recipe
    does not set, and that the run has at the value of before.

    Args:
        recipe: what its files set.
        saved: the run's configuration, in today's terms.

    Returns:
        The keys.
    """
    kept = [
        key
        for key, added in ADDED.items()
        if not has(recipe, key) and has(saved, key) and get(saved, key) == added.before
    ]
    for key in kept:
        put(recipe, key, ADDED[key].before)
    return kept


def current_name(key: str) -> str:
    """A dotted key's present name."""
    for old, renamed in RENAMED.items():
        if f"{key}.".startswith(f"{old}."):
            key = renamed.to + key.removeprefix(old)
    return key


def refuse_former_names(recipe: dict[str, Any], *, where: str) -> None:
    """Refuse a recipe with a key that is no more.

    Raises:
        UserError: with its present name, where it has one.
    """
    for key, change in (RENAMED | REMOVED).items():
        if has(recipe, key):
            remedy = f"write {current_name(key)}" if isinstance(change, Renamed) else "remove it"
            what = f"unknown configuration key since {change.since}"
            raise UserError(what, where=f"{where}: {key}", remedy=remedy)
