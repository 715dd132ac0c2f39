"""Tasks for the corpus' engine. Other processes and nodes import them: nothing heavy here."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from biobert_scale.errors import UserError


class HoldsFunction(Exception):
    """Cannot be pickled."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.function = lambda: None


class TwoParts(Exception):
    """Can be pickled, and not unpickled."""

    def __init__(self, message: str, _more: int) -> None:
        super().__init__(message)


def leave_a_mark(directory: Path, rank: int) -> None:
    with open(directory / f"mark-{rank}", "a") as stream:
        stream.write("x")


def divide(directory: Path, rank: int) -> None:
    """Of rank 4 it fails."""
    leave_a_mark(directory, rank)
    assert 1 / (4 - rank)


def die_once(directory: Path, rank: int) -> None:
    """Task 2 is killed the first time, as by a machine that runs out of memory."""
    if rank == 2 and not (directory / "died").exists():
        (directory / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    leave_a_mark(directory, rank)


def refuse(directory: Path, rank: int) -> None:
    """Task 1 finds a mistake in its input."""
    if rank == 1:
        raise UserError("not what it says", where=directory / "a.xml.gz", remedy="fetch it again")
    leave_a_mark(directory, rank)


def leave_early(code: int, _rank: int) -> None:
    os._exit(code)


def raise_what_no_pickle_holds(rank: int) -> None:
    raise HoldsFunction("page 3 is torn") if rank else TwoParts("page 3 is torn", 3)


def stay(rank: int) -> None:
    """Write the number of the process, and wait for a signal."""
    os.write(1, b"%d\n" % os.getpid())  # in one piece: others write there too
    signal.pause()
