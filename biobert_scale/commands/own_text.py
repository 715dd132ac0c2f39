"""The options of own text: a recipe and the names of sources decide which there are."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from biobert_scale.commands.common import values_of
from biobert_scale.config import CorpusConfig, OwnTextConfig
from biobert_scale.errors import UserError


def with_recipe(function: Callable[..., int | None], arguments: list[str]) -> Callable[..., int | None]:
    """`corpus_build` with the defaults that a recipe, and the sources in its arguments, give its settings."""
    recipe = values_of("--config", arguments)[-1:]
    defaults = CorpusConfig()
    if recipe:
        from biobert_scale.recipes import load_config

        defaults = load_config(recipe[0]).corpus
    names = map(name_of, values_of("--own", arguments))
    defaults = replace(defaults, own={name: OwnTextConfig() for name in names} | defaults.own)

    @functools.wraps(function)
    def build(**options: Any) -> int | None:
        return function(**options)

    signature = inspect.signature(function)
    changed = signature.parameters | {"corpus": signature.parameters["corpus"].replace(default=defaults)}
    build.__signature__ = signature.replace(parameters=list(changed.values()))  # type: ignore[attr-defined]
    return build


def name_of(own: str) -> str:
    """The name in `NAME=PATH`."""
    name, sign, path = own.partition("=")
    if not (name and sign and path):
        remedy = "give the source a name, such as notes=PATH"
        raise UserError("--own takes NAME=PATH", where=f"--own {own}", remedy=remedy)
    return name
