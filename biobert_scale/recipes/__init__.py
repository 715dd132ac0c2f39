"""The recipes that come with the package, and how a recipe is read: from TOML, checked as a whole, unknown
keys refused with their path."""

from __future__ import annotations

import functools
import importlib.resources
import json
import math
import tomllib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cattrs
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

from biobert_scale.config import Config, nearest_multiples
from biobert_scale.errors import UserError


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in importlib.resources.files(__name__).iterdir()
        if entry.name.endswith(".toml")
    )


def load_config(recipe: str | Path) -> Config:
    """Read a recipe by its name (`biobert-large`), or by the path of a TOML file or of a run's resolved
    `config.json`.

    Raises:
        UserError: no such recipe, not TOML, an unknown key, a wrong type, or values that contradict each
            other.
    """
    text, where = _recipe_text(str(recipe))
    try:
        raw = json.loads(text) if where.endswith(".json") else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f"not valid {'JSON' if where.endswith('.json') else 'TOML'} ({error})",
            where=where,
            remedy="correct that line",
        ) from None
    return structure_config(raw, where=where)


def _recipe_text(recipe: str) -> tuple[str, str]:
    path = Path(recipe)
    if path.suffix in (".toml", ".json") or len(path.parts) > 1:
        if not path.is_file():
            raise UserError(
                "no such configuration file",
                where=path,
                remedy="check the path, or name one of: " + ", ".join(recipe_names()),
            )
        return path.read_text(), str(path)
    entry = importlib.resources.files(__name__) / f"{recipe}.toml"
    if not entry.is_file():
        raise UserError(
            "no such recipe",
            where=recipe,
            remedy="name one of: " + ", ".join(recipe_names()) + ", or the path of a .toml file",
        )
    return entry.read_text(), f"recipe {recipe}"


def structure_config(raw: dict[str, Any], *, where: str) -> Config:
    """Turn nested dictionaries into a checked `Config`."""
    try:
        config = strict_converter().structure(raw, Config)
    except ClassValidationError as error:
        key, what, remedy = first_problem(error)
        raise UserError(what, where=f"{where}: {key}", remedy=remedy) from None
    check_config(config, where=where)
    return config


def change_settings(config: Config, changes: Iterable[str], *, where: str) -> Config:
    """A recipe with some settings changed, each given as `training.micro-batch-size=4`: the value in TOML, or
    a bare word.

    Raises:
        UserError: no such setting, or a value that it cannot have.
    """
    raw = asdict(config)
    for change in changes:
        name, sign, text = change.partition("=")
        *sections, key = name.replace("-", "_").split(".")
        inner: Any = raw
        for section in sections:
            inner = inner.get(section) if isinstance(inner, dict) else None
        if not sign or not isinstance(inner, dict) or key not in inner:
            raise UserError(
                f"'{change}' changes no setting",
                where=where,
                remedy="write it as training.micro-batch-size=4",
            )
        try:
            inner[key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            inner[key] = text
    return structure_config(raw, where=where)


@functools.cache
def strict_converter() -> cattrs.Converter:
    """Makes frozen dataclasses of what TOML or JSON held: unknown keys and wrong types are refused."""
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _structure_strictly)
    converter.register_structure_hook(int, _structure_strictly)
    converter.register_structure_hook(bool, _structure_strictly)
    converter.register_structure_hook(float, _structure_float)
    return converter


def first_problem(error: ClassValidationError) -> tuple[str, str, str]:
    """(dotted key, what is wrong with it, remedy) of the first of a converter's complaints."""
    return _first_problem(error, ())


def _structure_strictly(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, found {type(value).__name__} {value!r}")
    return value


def _structure_float(value: Any, _: type) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"expected float, found {type(value).__name__} {value!r}")
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits: its section refuses it by name
        return math.inf if value > 0 else -math.inf


def _first_problem(error: BaseException, path: tuple[str, ...]) -> tuple[str, str, str]:
    """Descend a cattrs error group to its first leaf."""
    match error:
        case ForbiddenExtraKeysError():
            known = ", ".join(sorted(error.cl.__dataclass_fields__))  # type: ignore[attr-defined]
            key = ".".join((*path, sorted(error.extra_fields)[0]))
            return key, "unknown configuration key", f"remove it or correct its name (known: {known})"
        case ClassValidationError() | IterableValidationError():
            inner = error.exceptions[0]
            notes = getattr(inner, "__notes__", [])
            names = [str(note.name) for note in notes if hasattr(note, "name")]
            return _first_problem(inner, (*path, *names))
        case KeyError():
            return ".".join(path) or str(error.args[0]), "missing configuration key", "correct the value"
        case UserError():  # a section that was made refused a value
            return ".".join((*path, error.where.rpartition(".")[2])), error.what, error.remedy
        case _:
            return ".".join(path), str(error), "correct the value"


def check_config(config: Config, *, where: str) -> None:
    """Refuse values that contradict each other.

    Raises:
        UserError: with both keys named.
    """

    def refuse(condition: bool, what: str, key: str, remedy: str) -> None:
        if condition:
            raise UserError(what, where=f"{where}: {key}", remedy=remedy)

    model, data, training = config.model, config.data, config.training
    schedule = training.schedule
    refuse(
        model.hidden_size % model.num_attention_heads != 0,
        f"hidden_size {model.hidden_size} is not a multiple of num_attention_heads"
        f" {model.num_attention_heads}",
        "model.hidden_size",
        "make it divide",
    )
    refuse(
        data.max_seq_length > model.max_position_embeddings,
        f"max_seq_length {data.max_seq_length} exceeds model.max_position_embeddings"
        f" {model.max_position_embeddings}",
        "data.max_seq_length",
        "shorten the samples or enlarge the model's positions",
    )
    refuse(
        training.global_batch_size % training.micro_batch_size != 0,
        f"global_batch_size {training.global_batch_size} is not a multiple of micro_batch_size"
        f" {training.micro_batch_size}",
        "training.global_batch_size",
        f"use {nearest_multiples(training.global_batch_size, training.micro_batch_size)}",
    )
    guards = training.guards
    patience = training.engine.communication_timeout_seconds
    refuse(
        guards.stall_seconds >= patience,
        f"stall_seconds {guards.stall_seconds:g} is not below training.engine.communication_timeout_seconds"
        f" {patience}",
        "training.guards.stall_seconds",
        "use less, so that the rank that is waited for is named before the ranks give up",
    )
    refuse(
        schedule.warmup_steps >= schedule.total_steps,
        f"warmup_steps {schedule.warmup_steps} is not below total_steps {schedule.total_steps}",
        "training.schedule.warmup_steps",
        "shorten the warm-up or lengthen the run",
    )
