"""The list of commands is the only one: their functions and their descriptions follow from it."""

from __future__ import annotations

import importlib
import inspect

import pytest

from biobert_scale.cli import usage
from biobert_scale.commands import COMMANDS, function_of, summary_of


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_described_once_by_its_function(name: str) -> None:
    first, *rest = (inspect.getdoc(function_of(name)) or "").splitlines()
    assert first.endswith(".") and (not rest or not rest[0]), "a summary of one line"
    assert summary_of(name) == first.rstrip(".") and len(first) < 100
    assert f"  {name} " in usage() and usage([name]).splitlines()[2].endswith(f"  {summary_of(name)}")


def test_every_function_of_a_command_s_module_is_in_the_list() -> None:
    for home in set(COMMANDS.values()):
        module = importlib.import_module(f"biobert_scale.commands.{home}")
        public = {
            name
            for name, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        }
        assert public == {function_of(name).__name__ for name in COMMANDS if COMMANDS[name] == home}
