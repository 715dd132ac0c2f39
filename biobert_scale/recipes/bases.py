"""Recipe files, and the recipes that they name as their base."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from biobert_scale.config import tree
from biobert_scale.errors import UserError

_PACKAGED = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one file of a recipe sets."""

    where: str
    path: Path
    settings: dict[str, Any]


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in _PACKAGED.glob("*.toml"))


def read_layers(recipe: str) -> list[Layer]:
    """A recipe's file, its base, the base of that, and so on.

    Args:
        recipe: a name (`biobert-large`), or the path of a TOML file. A path in `base` is relative to the
            directory of the file that names it.

    Raises:
        UserError: there is no such recipe or base, it is not TOML, or the bases lead back to a file before.
    """
    path, where = find_recipe(recipe)
    layers: list[Layer] = []
    while True:
        settings = _read_toml(path, where)
        base = settings.pop("base", None)
        layers.append(Layer(where=where, path=path, settings=settings))
        if base is None:
            return layers
        named_by = f"{where}: base"
        if not isinstance(base, str) or not base:
            what = f"expected the name or the path of a recipe, found {base!r}"
            raise UserError(what, where=named_by, remedy='write it as base = "biobert-large"')
        path, where = find_recipe(base, beside=path.parent, named_by=named_by)
        if any(path.samefile(layer.path) for layer in layers):
            chain = " -> ".join([*(layer.where for layer in layers), where])
            raise UserError(f"the bases lead back: {chain}", where=named_by, remedy="remove one `base`")


def merge(layers: list[Layer]) -> dict[str, Any]:
    """The settings of all layers; the first one that sets a key decides."""
    return reduce(tree.override, (layer.settings for layer in reversed(layers)))


def origin(layers: list[Layer], key: str) -> str:
    """The file that sets a key; the recipe itself where none does."""
    own = layers[0].where
    where = next((layer.where for layer in layers if tree.has(layer.settings, key)), own)
    return own if where == own else f"{where} (a base of {own})"


class RecipeFile(NamedTuple):
    """Where a recipe is, and what a message calls it."""

    path: Path
    where: str


def find_recipe(recipe: str, *, beside: Path = Path(), named_by: str = "") -> RecipeFile:
    """A recipe's file.

    Args:
        beside: the directory that a relative path starts from.
        named_by: the key that names it, for the message.

    Raises:
        UserError: there is none.
    """
    path, names = Path(recipe), ", ".join(recipe_names())
    if path.suffix in (".toml", ".json") or len(path.parts) > 1:
        path = beside / path
        if not path.is_file():
            what = f"no such configuration file as {path}" if named_by else "no such configuration file"
            raise UserError(what, where=named_by or path, remedy=f"check the path, or name one of: {names}")
        return RecipeFile(path, str(path))
    if recipe not in recipe_names():
        what = f"no such recipe as {recipe}" if named_by else "no such recipe"
        remedy = f"name one of: {names}, or the path of a .toml file"
        raise UserError(what, where=named_by or recipe, remedy=remedy)
    return RecipeFile(_PACKAGED / f"{recipe}.toml", f"recipe {recipe}")


def _read_toml(path: Path, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except ValueError as error:  # not TOML, or not UTF-8
        raise UserError(f"not valid TOML ({error})", where=where, remedy="correct that line") from None
