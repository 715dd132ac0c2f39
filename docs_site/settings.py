"""The page of settings: every field of a recipe, from the dataclasses."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from biobert_scale.config import Config, OwnTextConfig
from docs_site.text import field_texts, one_line, table

HEAD = """# Settings

Every setting of a recipe, made from the code. A recipe is a TOML file with these sections
([how to write one](../how-to/pretrain.md#training)); on the command line a setting is an option, such as
`--training.optimizer.learning-rate 1e-4`. Units are in the names or in the last column. Brackets are the
interval that a number must be in: `[` and `]` belong to it, `(` and `)` do not.
"""


def page() -> str:
    return "\n".join([HEAD, *_section(Config, "", {})])


def _section(section: type[Any], path: str, seen: dict[type[Any], str]) -> Iterator[str]:
    """A section's heading and table, and those of the sections inside it."""
    yield f"## {path or 'The recipe'}\n"
    if section in seen:
        yield f"The same settings as [{seen[section]}](#{seen[section].replace('.', '').lower()}).\n"
        return
    seen[section] = path
    hints = get_type_hints(section, include_extras=True)
    yield one_line(inspect.getdoc(section)) + "\n"
    yield from fields_table(section)
    yield ""
    for field in dataclasses.fields(section):
        hint = hints[field.name]
        for one in (hint, *get_args(hint)):
            if isinstance(one, type) and dataclasses.is_dataclass(one):
                name = f"{path}.{field.name}".lstrip(".")
                yield from _section(one, f"{name}.NAME" if one is OwnTextConfig else name, seen)


def fields_table(section: type[Any]) -> list[str]:
    """A row for each field of a dataclass that is no dataclass itself."""
    hints = get_type_hints(section, include_extras=True)
    texts = field_texts(section)
    rows = [
        (f"`{field.name}`", type_text(hints[field.name]), default_text(field), texts.get(field.name, ""))
        for field in dataclasses.fields(section)
        if not dataclasses.is_dataclass(hints[field.name])
    ]
    return table(("setting", "type", "default", "what"), rows) if rows else []


def type_text(hint: Any) -> str:
    """A type in the words of TOML, with the interval of its numbers."""
    if get_origin(hint) is Annotated:
        inner, interval = get_args(hint)
        return f"{type_text(inner)}, {interval}"
    if get_origin(hint) is Literal:
        return " or ".join(f'`"{value}"`' for value in get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(type_text(one) for one in get_args(hint) if one is not type(None))
    if get_origin(hint) is tuple:
        first, *others = get_args(hint)
        return (
            f"list of {type_text(first)}"
            if others == [...]
            else f"{len(get_args(hint))} x {type_text(first)}"
        )
    if get_origin(hint) is dict:
        return f"table of {type_text(get_args(hint)[1])}"
    return {int: "integer", float: "number", str: "string", bool: "`true` or `false`"}.get(hint) or "sections"


def default_text(field: dataclasses.Field[Any]) -> str:
    """A field's default as TOML writes it."""
    if field.default_factory is not dataclasses.MISSING:
        return "none"
    if field.default is dataclasses.MISSING:
        return "must be given"
    return f"`{_toml(field.default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, int):
        return f"{value:_}" if value >= 10_000 else str(value)
    return re.sub(r"e-0", "e-", str(value))
