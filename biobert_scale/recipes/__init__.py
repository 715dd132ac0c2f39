"""The recipes that come with the package, and how a recipe is read: from TOML, checked as a whole, unknown
keys refused with their path."""

from __future__ import annotations

import importlib.resources
import json
import tomllib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cattrs.errors import ClassValidationError

from biobert_scale.config import Config
from biobert_scale.errors import UserError
from biobert_scale.recipes.converter import first_problem, strict_converter


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
        return strict_converter().structure(raw, Config)
    except ClassValidationError as error:
        key, what, remedy = first_problem(error)
        raise UserError(what, where=f"{where}: {key}", remedy=remedy) from None


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
