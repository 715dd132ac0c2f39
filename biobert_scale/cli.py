"""`biobert-scale <command>`: finds the command, hands it its arguments, and turns errors into one line and an
exit code."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import select
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from biobert_scale import __version__, commands, notices
from biobert_scale.commands import COMMANDS
from biobert_scale.environment import is_first_rank
from biobert_scale.errors import UserError, from_os_error

_SIGPIPE_CODE = 141
"""What a shell reports of a program whose output nobody reads any more."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 a failed run, 2 a user's mistake, 75 stopped early and
    resumable."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        print(_version())
        return 0
    words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
    name = " ".join(arguments[:words])
    if name not in COMMANDS:
        group = [command for command in COMMANDS if command.startswith(f"{arguments[0]} ")]
        if group and (len(arguments) == 1 or arguments[1] in ("-h", "--help")):
            print(usage(group))
            return 0
        if arguments[0] == "bench":
            print(f"biobert-scale: {_moved(arguments)}", file=sys.stderr)
            return 2
        there = f"the commands are: {', '.join(group or COMMANDS)}"
        print(f"biobert-scale: no command '{' '.join(arguments[:2])}'; {there}", file=sys.stderr)
        return 2
    return run(name, arguments[words:])


def _version() -> str:
    """The version with its commit, and those of Python and the libraries that compute."""
    lines = [f"biobert-scale {__version__}", f"Python {platform.python_version()}"]
    checkout = Path(__file__).parents[1]
    if (checkout / ".git").exists():
        line = ("git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
        with suppress(OSError, subprocess.CalledProcessError):
            commit = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
            lines[0] += f" (commit {commit})"
    else:
        with suppress(importlib.metadata.PackageNotFoundError):
            lines[0] = f"biobert-scale {importlib.metadata.version('biobert_scale')}"
    for name in ("torch", "deepspeed", "accelerate", "transformers"):
        with suppress(importlib.metadata.PackageNotFoundError):
            lines.append(f"{name} {importlib.metadata.version(name)}")
    return "\n".join(lines)


def _moved(arguments: list[str]) -> UserError:
    """Where the commands `bench ...` of earlier versions are now."""
    table = next((word for word in arguments[1:2] if not word.startswith("-")), "TABLE")
    remedy = f"run `python -m benchmarks {table}`, in a checkout of the repository"
    if table == "train":
        remedy = "run `biobert-scale tune`"
    return UserError("this command has moved", where=" ".join(arguments[:2]), remedy=remedy)


def run(name: str, arguments: list[str]) -> int:
    """Run one command by its name."""
    return reporting_errors(lambda: commands.run(name, arguments), program="biobert-scale")


def reporting_errors(work: Callable[[], int], *, program: str) -> int:
    """Do a command's work, with what it logs on the standard error and its errors as one line; returns the
    exit code."""
    # Under a launcher every rank meets the same error: one of them reports it.
    speaks = is_first_rank()
    logging.basicConfig(
        level=logging.INFO if speaks else logging.ERROR,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    notices.switch_off()
    try:
        try:
            return work()
        finally:
            sys.stdout.flush()
    except UserError as error:
        problem = error
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            # What is still buffered would fail again at the exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _SIGPIPE_CODE
        known = from_os_error(error)
        if known is None:
            raise
        problem = known
    except KeyboardInterrupt:
        print(f"{program}: interrupted; the same command continues from what is finished", file=sys.stderr)
        return 130
    if speaks:
        print(f"{program}: {problem}", file=sys.stderr)
    return problem.exit_code


def _nobody_reads() -> bool:
    """Whether the reader of this process's output is gone, as in `biobert-scale plan ... | head`."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def usage(names: list[str] | None = None) -> str:
    """The list of commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {commands.summary_of(name)}" for name in names or COMMANDS]
    codes = "exit codes: 0 done, 1 a failed run, 2 a mistake in the input, 75 stopped early and resumable"
    return "\n".join(["usage: biobert-scale COMMAND [--help] ...", "", *lines, "", codes])


if __name__ == "__main__":
    sys.exit(main())
