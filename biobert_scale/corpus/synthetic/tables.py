"""The words, frames and templates beside this file; each is read once."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Any


@functools.cache
def template(name: str) -> str:
    """A file with fields in braces, for `str.format`."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


@functools.cache
def table(name: str) -> dict[str, Any]:
    """The TOML file of that name: `words`, `phrases` or `frames`."""
    return tomllib.loads(template(f"{name}.toml"))


def frames(section: str, style: str) -> list[str]:
    """The frames of a section, such as `titles` or `methods`, in a style."""
    lines: str = table("frames")[section][style]
    return lines.splitlines()
