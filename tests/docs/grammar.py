"""Whether a command could be begun: its program, its options, the files of the repository that it names.
Nothing is run."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import tyro

from biobert_scale.commands import COMMANDS, function_of
from biobert_scale.commands.training import _parse_options
from biobert_scale.errors import UserError
from biobert_scale.recipes import change_settings, load_config

ROOT = Path(__file__).parents[2]
PLAIN = set(
    "apptainer curl docker export zcat cat cp mkdir echo head tail python3 env/bin/pip . [ sleep squeue"
    " tensorboard".split()
)
"""Programs that are not the project's own; a wrong option of theirs shows when the block is run."""


class Rotten(Exception):
    """What is wrong with a command of a document."""


def check_command(words: list[str]) -> None:
    """Look at one command as it stands in the document.

    Raises:
        Rotten: a program, a subcommand, an option, a value, a recipe or a file of the repository that is not
            there.
    """
    check_files(words)
    match words:
        case ["biobert-scale", "--version"]:
            pass
        case ["biobert-scale", *rest]:
            _own(rest)
        case ["accelerate", "launch", *rest]:
            known = _parsed(_accelerate().parse_args, rest)
            _module(known.training_script if known.module else "a script", known.training_script_args)
        case ["torchrun", *rest]:
            known = _parsed(_torchrun().parse_args, rest)
            _module(known.training_script if known.module else "a script", known.training_script_args)
        case ["deepspeed", *rest]:
            known = _parsed(_deepspeed(), rest)
            _module(known.user_script if known.module else "a script", known.user_args)
        case ["make", target]:
            tried = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
            if tried.returncode:
                raise Rotten(tried.stderr.strip())
        case [program, *_] if program not in PLAIN:
            raise Rotten(f"nobody knows the program {program}")


def check_files(words: list[str]) -> None:
    """What begins like a path of the repository is there."""
    for word in words:
        first, slash, _ = word.partition("/")
        if (
            slash
            and (ROOT / first).is_dir()
            and first not in (".venv", "runs", "env")
            and not (ROOT / word).exists()
        ):
            raise Rotten(f"there is no {word}")


def options_of(name: str) -> set[str]:
    """The options that the help of a `biobert-scale` command names."""
    return _named(functools.partial(_cli, name))


def foreign_options() -> set[str]:
    """Those that the launchers' help names."""
    return _named(_accelerate().parse_args) | _named(_torchrun().parse_args) | _named(_deepspeed())


def _named(parse: Callable[[list[str]], Any]) -> set[str]:
    told = StringIO()
    with suppress(SystemExit), redirect_stdout(told):
        parse(["--help"])
    return set(re.findall(r"--[a-z][\w.-]*", told.getvalue()))


def _accelerate() -> Any:
    from accelerate.commands.launch import launch_command_parser

    return launch_command_parser()


def _torchrun() -> Any:
    from torch.distributed.run import get_args_parser

    return get_args_parser()


def _deepspeed() -> Callable[[list[str]], Any]:
    from deepspeed.launcher.runner import parse_args

    return parse_args


def _own(words: list[str]) -> None:
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    if name not in COMMANDS:
        raise Rotten(f"there is no command biobert-scale {' '.join(words[:2])}")
    arguments = words[len(name.split()) :]
    values = _parsed(functools.partial(_cli, name), arguments)
    try:
        if isinstance(values.get("config"), str):
            change_settings(load_config(values["config"]), values.get("settings", ()), where="--settings")
    except UserError as error:
        raise Rotten(str(error)) from None


def _module(module: str, arguments: list[str]) -> None:
    if module not in ("biobert_scale.train", "biobert_scale.doctor"):
        raise Rotten(f"a launcher starts {module}")
    _own([module.removeprefix("biobert_scale."), *arguments])


def _cli(name: str, arguments: list[str]) -> dict[str, Any]:
    """The values that a command's own parser makes of its arguments."""
    if name == "train":
        _parse_options(arguments)
        return {}
    values: dict[str, Any] = {}

    @functools.wraps(function_of(name, arguments))
    def take(*positional: Any, **options: Any) -> None:
        values.update(options)

    tyro.cli(take, args=arguments)
    return values


def _parsed(parse: Callable[[list[str]], Any], arguments: list[str]) -> Any:
    """A parser's result, or its complaint."""
    told = StringIO()
    try:
        with redirect_stderr(told), redirect_stdout(told):
            return parse(arguments)
    except SystemExit:
        raise Rotten(told.getvalue()) from None
    except UserError as error:
        raise Rotten(str(error)) from None
