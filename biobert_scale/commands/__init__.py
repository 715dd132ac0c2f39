"""The commands' options, as signatures: tyro makes the parsing and the help of each from its function.

The work's own modules are imported inside the functions, so that `--help` does not wait for torch.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from biobert_scale.commands.common import parse

_HOMES = {
    "corpus": "corpus",
    "tokens": "tokens",
    "train": "training",
    "checkpoint": "checkpoint",
    "export": "release",
    "tag": "release",
    "evaluate": "evaluation",
    "bench": "whole",
    "demo": "whole",
    "report": "whole",
    "plan": "plan",
    "doctor": "doctor",
    "launch": "launch",
}
"""First word of a command -> the module that holds its function."""


def run(name: str, arguments: list[str]) -> int:
    """Parse a command's arguments and run it; returns the exit code."""
    module = importlib.import_module(f"{__name__}.{_HOMES[name.split()[0]]}")
    function: Callable[..., int | None] = getattr(module, name.translate({ord(" "): "_", ord("-"): "_"}))
    if name == "train":  # its recipe decides the defaults of its options
        return function(arguments) or 0
    if (
        name == "doctor"
    ):  # the deepspeed launcher appends its rank to everybody's arguments; the environment tells it as well
        arguments = [argument for argument in arguments if not argument.startswith("--local_rank=")]

    @functools.wraps(function)
    def with_options(*positional: Any, **options: Any) -> Callable[[], int | None]:
        return functools.partial(function, *positional, **options)

    return parse(with_options, prog=f"biobert-scale {name}", arguments=arguments)() or 0
