"""The recipes that come with the package, and how a recipe is read: from TOML, over its base, checked as a
whole, unknown keys refused with their path."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cattrs.errors import ClassValidationError

from biobert_scale.config import Config
from biobert_scale.errors import UserError
from biobert_scale.files import read_json
from biobert_scale.recipes.bases import find_recipe, merge, origin, read_layers, recipe_names
from biobert_scale.recipes.converter import first_problem, strict_converter

__all__ = ["change_settings", "load_config", "recipe_names", "structure_config"]


def load_config(recipe: str | Path) -> Config:
    """Read a recipe by its name (`biobert-large`), or by the path of a TOML file or of a run's resolved
    `config.json`.

    Raises:
        UserError: no such recipe or base, not TOML, an unknown key, a wrong type, or values that contradict
            each other.
    """
    if str(recipe).endswith(".json"):
        path, where = find_recipe(str(recipe))
        return structure_config(read_json(path), where=where)
    layers = read_layers(str(recipe))
    return _structured(merge(layers), lambda key: origin(layers, key))


def structure_config(raw: dict[str, Any], *, where: str) -> Config:
    """Turn nested dictionaries into a checked `Config`."""
    return _structured(raw, lambda _: where)


def _structured(raw: Any, where: Callable[[str], str]) -> Config:
    """The same, where each key has a file of its own."""
    if not isinstance(raw, dict):
        raise UserError("holds no settings", where=where(""), remedy="check the path")
    try:
        return strict_converter().structure(raw, Config)
    except ClassValidationError as error:
        key, what, remedy = first_problem(error)
        raise UserError(what, where=f"{where(key)}: {key}", remedy=remedy) from None


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
