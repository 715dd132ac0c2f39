"""What TOML or JSON held, as frozen dataclasses."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, NamedTuple, TypeVar

import cattrs
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn

from biobert_scale.errors import UserError

T = TypeVar("T")


@functools.cache
def strict_converter() -> cattrs.Converter:
    """Makes frozen dataclasses of what TOML or JSON held: unknown keys and wrong types are refused."""
    converter = cattrs.Converter(forbid_extra_keys=True)

    def structure_table(kind: type[T]) -> Callable[[Any, Any], T]:
        structure = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)

        def checked(value: Any, _: Any) -> T:
            if not isinstance(value, dict):
                raise TypeError(f"expected a table, found {type(value).__name__} {value!r}")
            return structure(value, kind)

        return checked

    converter.register_structure_hook_factory(is_dataclass, structure_table)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _structure_strictly)
    converter.register_structure_hook(float, _structure_float)
    converter.register_structure_hook_func(lambda kind: kind == dict[str, float], _structure_numbers)
    return converter


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


def _structure_numbers(value: Any, _: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise TypeError(f"expected a table of numbers, found {type(value).__name__} {value!r}")
    for name, number in value.items():
        if type(number) not in (int, float):
            raise TypeError(f"expected a number for {name}, found {type(number).__name__} {number!r}")
    return {name: _structure_float(number, float) for name, number in value.items()}


class Problem(NamedTuple):
    """A setting that is refused; its key has its sections, dotted."""

    key: str
    what: str
    remedy: str


def first_problem(error: BaseException, path: tuple[str, ...] = ()) -> Problem:
    """The first leaf of the group of errors that a converter raises.

    Args:
        path: of the section that the group is about.
    """
    match error:
        case ForbiddenExtraKeysError():
            known = ", ".join(sorted(error.cl.__dataclass_fields__))  # type: ignore[attr-defined]
            key = ".".join((*path, sorted(error.extra_fields)[0]))
            return Problem(
                key, "unknown configuration key", f"remove it or correct its name (known: {known})"
            )
        case ClassValidationError() | IterableValidationError():
            inner = error.exceptions[0]
            notes = getattr(inner, "__notes__", [])
            names = [str(note.name) for note in notes if hasattr(note, "name")]
            return first_problem(inner, (*path, *names))
        case KeyError():
            return Problem(".".join(path) or str(error.args[0]), "missing configuration key", "add it")
        case UserError():  # a section that was made refused a value
            # Most sections give their whole name; a recipe has some of them twice.
            inside = ".".join((*path, ""))
            key = error.where if error.where.startswith(inside) else inside + error.where.rpartition(".")[2]
            return Problem(key, error.what, error.remedy)
        case _:
            return Problem(".".join(path), str(error), "correct the value")
