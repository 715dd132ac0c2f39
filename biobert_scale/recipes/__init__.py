"""The recipes that come with the package, and how a recipe is read: from TOML, over its base, checked as a
whole, unknown keys refused with their path."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from cattrs.errors import ClassValidationError

from biobert_scale.config import Config, FinetuneConfig, history, tree
from biobert_scale.errors import UserError
from biobert_scale.files import read_json
from biobert_scale.recipes.bases import Layer, find_recipe, merge, origin, read_layers
from biobert_scale.recipes.bases import recipe_names as recipe_names
from biobert_scale.recipes.converter import first_problem, strict_converter

T = TypeVar("T")
logger = logging.getLogger(__name__)


def load_config(recipe: str | Path, *, resumes: Config | None = None) -> Config:
    """Read a recipe by its name (`biobert-large`), or by the path of a TOML file or of a run's resolved
    `config.json`.

    A JSON file with every setting of some version is a saved configuration, and means what that version did.
    One with some of them is a recipe: what it leaves out has today's defaults.

    Args:
        resumes: what the run that is resumed with this recipe was configured with, if there is one. Settings
            that are newer than the run, and that the recipe does not set, stay what the run began with.

    Raises:
        UserError: no such recipe or base, not TOML, an unknown key, a wrong type, or values that contradict
            each other.
    """
    if str(recipe).endswith(".json"):
        path, where = find_recipe(str(recipe))
        saved = read_json(path)
        if not isinstance(saved, dict) or _is_saved(saved, where):
            return structure_saved(saved, where=where)
        layers = [Layer(where=where, path=path, settings=history.translate(saved, where=where))]
    else:
        layers = read_layers(str(recipe))
    for layer in layers:
        history.refuse_former_names(layer.settings, where=layer.where)
    raw = merge(layers)
    if resumes is not None:
        today = asdict(Config(name=""))
        for key in history.keep_behaviour(raw, asdict(resumes)):
            if tree.get(today, key) != history.ADDED[key].before:
                logger.info("%s is newer than this run, which keeps %r", key, history.ADDED[key].before)
    return _structured(raw, Config, lambda key: origin(layers, key))


def structure_config(raw: dict[str, Any], *, where: str) -> Config:
    """Turn nested dictionaries into a checked `Config`."""
    return _structured(raw, Config, lambda _: where)


def structure_saved(saved: dict[str, Any], *, where: str) -> Config:
    """Turn a saved configuration, of this or an older version, into a checked `Config` of today.

    Raises:
        UserError: a key that no version up to this one has had, a removed key with a value that this version
            cannot follow, or a value that is not possible.
    """
    if isinstance(saved, dict):
        saved = history.to_current(saved, where=where)
    return structure_config(saved, where=where)


def structure_saved_budget(saved: dict[str, Any], *, where: str) -> FinetuneConfig:
    """The same for the settings that a fine-tuning run records."""
    return _structured(history.budget_to_current(saved, where=where), FinetuneConfig, lambda _: where)


def _is_saved(settings: dict[str, Any], where: str) -> bool:
    """Whether a file holds every setting of the version that wrote it."""
    current = history.to_current(settings, where=where)
    return all(tree.has(current, key) for key in tree.keys(asdict(Config(name=""))))


def _structured(raw: Any, kind: type[T], where: Callable[[str], str]) -> T:
    """A checked section of nested dictionaries; each key may come from a file of its own."""
    if not isinstance(raw, dict):
        raise UserError("holds no settings", where=where(""), remedy="check the path")
    try:
        return strict_converter().structure(raw, kind)
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
        *sections, key = history.current_name(name.replace("-", "_")).split(".")
        inner: Any = raw
        for section in sections:
            inner = inner.get(section) if isinstance(inner, dict) else None
        if not sign or not isinstance(inner, dict) or key not in inner:
            remedy = "write it as training.micro-batch-size=4"
            raise UserError(f"'{change}' changes no setting", where=where, remedy=remedy)
        try:
            inner[key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            inner[key] = text
    return structure_config(raw, where=where)
