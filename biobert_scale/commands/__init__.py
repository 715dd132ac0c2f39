"""The commands: which there are, and how one is found and run.

A command is a function: its signature is its options, of which tyro makes the parsing and the help, and its
docstring is its description. The work's own modules are imported inside, so that `--help` does not wait for
torch.
"""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Any

from biobert_scale.errors import UserError
from biobert_scale.object_address import SCHEME

COMMANDS = {
    "demo": "whole",
    "corpus download": "corpus",
    "corpus build": "corpus",
    "corpus inspect": "corpus",
    "corpus synthesize": "corpus",
    "tokens vocabulary": "tokens",
    "tokens build": "tokens",
    "tokens inspect": "tokens",
    "train": "training",
    "status": "whole",
    "checkpoint list": "checkpoint_files",
    "checkpoint verify": "checkpoint_files",
    "checkpoint prune": "checkpoint_files",
    "export": "release",
    "tag": "release",
    "serve": "serve",
    "evaluate prepare": "evaluation",
    "evaluate baselines": "evaluation",
    "evaluate finetune": "evaluation",
    "evaluate blurb": "evaluation",
    "evaluate predict": "evaluation",
    "evaluate score": "evaluation",
    "evaluate errors": "evaluation",
    "evaluate table": "evaluation",
    "tune": "plan",
    "plan": "plan",
    "doctor": "doctor",
    "launch site": "launch",
    "launch slurm": "launch",
    "report": "whole",
}
"""Command -> the module here that holds its function, which has the command's name (`corpus_build`)."""

LAUNCHED = ("train", "doctor")
"""Commands that launchers start on every rank."""


def function_of(name: str, arguments: Sequence[str] = ()) -> Callable[..., int | None]:
    """A command's function; its options may depend on the arguments."""
    module = importlib.import_module(f"{__name__}.{COMMANDS[name]}")
    function: Callable[..., int | None] = getattr(module, _function_name(name))
    if name == "corpus build":
        from biobert_scale.commands.own_text import with_recipe

        return with_recipe(function, list(arguments))
    return function


def summary_of(name: str) -> str:
    """The first line of a command's docstring, read without importing tyro, or whatever else its module
    needs."""
    return first_line(Path(__file__).with_name(f"{COMMANDS[name]}.py"), _function_name(name))


def run(name: str, arguments: list[str]) -> int:
    """Parse a command's arguments and run it; returns the exit code."""
    function = function_of(name, arguments)
    if (
        name in LAUNCHED
    ):  # deepspeed appends its rank to everybody's arguments; the environment has it as well
        arguments = [argument for argument in arguments if not argument.startswith("--local_rank=")]
    own = {"--tokens", "--output"} if name == "train" else set[str]()  # one it reads, the other it refuses
    refuse_addresses(arguments, allowed={"--training.checkpoint.mirror", *own})
    if name == "train":  # its recipe decides the defaults of its options
        return function(arguments) or 0
    return call(function, prog=f"biobert-scale {name}", arguments=arguments)


def call(function: Callable[..., int | None], *, prog: str, arguments: list[str]) -> int:
    """Call a command's function with the options that its arguments give; returns the exit code."""
    from biobert_scale.commands.common import parse

    @functools.wraps(function)
    def with_options(*positional: Any, **options: Any) -> Callable[[], int | None]:
        return functools.partial(function, *positional, **options)

    return parse(with_options, prog=prog, arguments=arguments)() or 0


def refuse_addresses(arguments: Sequence[str], *, allowed: Set[str]) -> None:
    """Refuse an address of object storage where a path is wanted: as one, it would name another place.

    Args:
        allowed: options that may have one.

    Raises:
        UserError: with what to do.
    """
    option = ""
    for argument in arguments:
        named, sign, value = argument.partition("=")
        if not argument.startswith("--"):
            named, sign, value = option, "=", argument
        if sign and value.startswith(SCHEME) and named not in allowed:
            what, remedy = "object storage is not read or written here", "copy it, and give the directory"
            hint = "; `train --tokens` and training.checkpoint.mirror take an address"
            raise UserError(what, where=f"{named} {value}".strip(), remedy=remedy + hint)
        option = argument if argument.startswith("--") else ""


def _function_name(command: str) -> str:
    return command.translate({ord(" "): "_", ord("-"): "_"})


def first_line(file: Path, name: str) -> str:
    """The first line of the docstring of a module's function, without its full stop."""
    (function,) = (
        node for node in _parsed(file).body if isinstance(node, ast.FunctionDef) and node.name == name
    )
    return (ast.get_docstring(function) or "").partition("\n")[0].rstrip(".")


@functools.cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))
