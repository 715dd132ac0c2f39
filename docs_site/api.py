"""The page of the Python API: signatures and docstrings."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import docstring_parser

import biobert_scale
from biobert_scale.api import Entity
from biobert_scale.config import FinetuneConfig
from biobert_scale.errors import RunFailed, UserError
from docs_site.settings import fields_table
from docs_site.text import one_line

HEAD = """# The Python API, name by name

Signatures and docstrings, made from the code. [From Python](python.md) is the introduction.
"""


def page() -> str:
    lines = [HEAD]
    for name in biobert_scale.__all__:
        if not name.startswith("_"):
            lines += _described(getattr(biobert_scale, name), f"biobert_scale.{name}")
    for one in (Entity, FinetuneConfig, UserError, RunFailed):
        lines += _described(one, f"{one.__module__}.{one.__name__}")
    return "\n".join([*lines, ""])


def _described(one: Any, path: str) -> Iterator[str]:
    """A class or function: where it is, its signature, its docstring, a class's own methods or fields."""
    name = path.rpartition(".")[2]
    yield f"## {name}\n"
    yield f"`from {path.rpartition('.')[0]} import {name}`\n"
    if dataclasses.is_dataclass(one):
        yield from _docstring(one)
        yield from fields_table(one)  # type: ignore[arg-type]
        yield ""
        return
    yield f"```python\n{signature(one, name)}\n```\n"
    yield from _docstring(one)
    for own, value in vars(one).items() if isinstance(one, type) else ():
        if isinstance(value, property):
            yield f"`{name.lower()}.{own}`: {one_line(inspect.getdoc(value))}\n"
        elif own == "__call__":
            yield f"```python\n{signature(value, name.lower())}\n```\n"
            yield from _docstring(value)


def signature(one: Any, name: str) -> str:
    """A signature in Python, a parameter a line where it is long."""
    found = inspect.signature(one)
    parameters = list(_parameters(value for key, value in found.parameters.items() if key != "self"))
    returns = "" if isinstance(one, type) else f" -> {found.return_annotation}"
    text = f"{name}({', '.join(parameters)}){returns}"
    if len(text) > 88:
        inner = "".join(f"    {parameter},\n" for parameter in parameters)
        text = f"{name}(\n{inner}){returns}"
    return text


def _parameters(parameters: Iterable[inspect.Parameter]) -> Iterator[str]:
    starred = False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            yield "*"
        starred = starred or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        default = parameter.default
        value = f"{type(default).__name__}()" if dataclasses.is_dataclass(default) else repr(default)
        given = "" if default is parameter.empty else f" = {value}"
        yield f"{star}{parameter.name}: {parameter.annotation}{given}"


def _docstring(one: Any) -> Iterator[str]:
    """The parts of a docstring in Google's form (https://google.github.io/styleguide/pyguide.html)."""
    found = docstring_parser.parse(inspect.getdoc(one) or "")
    texts = [found.short_description or "", found.long_description or ""]
    for text in texts if found.blank_after_short_description else [" ".join(texts)]:
        if text.strip():
            yield one_line(text) + "\n"
    for parameter in found.params:
        yield f"- `{parameter.arg_name}`: {one_line(parameter.description)}"
    if found.returns:
        yield f"- returns: {one_line(found.returns.description)}"
    for error in found.raises:
        yield f"- raises `{error.type_name}`: {one_line(error.description)}"
    yield ""
