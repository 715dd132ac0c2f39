"""A file under way: the part beside its target, held by one run alone, and how a file is checked."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx2
from isal import igzip, isal_zlib

from biobert_scale.corpus.transport import WrongRange, length_of, validator_of
from biobert_scale.errors import RunFailed
from biobert_scale.files import sync, write_json

_READ_BYTES = 1 << 20


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def part_path(target: Path) -> Path:
    # the dot in front keeps it from being taken for a raw file
    return target.with_name(f".{target.name}.part")


def damage(path: Path, md5: str | None) -> str:
    """What is wrong with a file, by its MD5 where that is known, else (`.gz`) by decompressing it to the
    trailer; empty if nothing."""
    if md5 is not None:
        with open(path, "rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        return "" if found == md5 else f"damaged: its MD5 is {found}, the server states {md5}"
    if path.name.removesuffix(".part").endswith(".gz"):
        try:
            with igzip.open(path, "rb") as content:  # type: ignore[no-untyped-call]
                while content.read(_READ_BYTES):
                    pass
        except (EOFError, igzip.BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]
            return f"damaged: the gzip file does not decompress ({error})"
        if not path.stat().st_size:
            return "damaged: the gzip file is empty"
    return ""


def md5_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.md5")


class Part:
    """The unfinished file beside a target, and the validator of the file it is a part of."""

    def __init__(self, target: Path, stream: BinaryIO) -> None:
        self.target, self.path, self.stream = target, part_path(target), stream
        self.state = self.path.with_name(f"{self.path.name}.json")
        self.size = self.furthest = stream.seek(0, os.SEEK_END)
        try:
            self.validator = str(json.loads(self.state.read_text())["validator"])
        except (
            FileNotFoundError,
            ValueError,
            KeyError,
            TypeError,
        ):  # nothing is known of the part: it is begun anew
            self.validator = ""

    def accept(self, response: httpx2.Response) -> int | None:
        """Make ready for a reply's body; returns the length of the whole file, None where the server does not
        give it."""
        if response.status_code == 206:
            reply = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
            if reply is None or int(reply[1]) != self.size:
                raise WrongRange("the server sent another range than the one asked for")
            return int(reply[2])
        self.start_over(validator_of(response))
        return length_of(response)

    def start_over(self, validator: str) -> None:
        self.stream.seek(0)
        self.stream.truncate()
        # after the truncation and before the first byte: whenever the run is killed, or the power fails,
        # bytes and validator belong together
        os.fsync(self.stream.fileno())
        write_json(self.state, {"validator": validator})
        self.size, self.validator = 0, validator

    def write(self, piece: bytes) -> None:
        self.stream.write(piece)
        self.stream.flush()  # what a killed run has received stays
        self.size += len(piece)
        self.furthest = max(self.furthest, self.size)

    def publish(self, modified: int | None) -> None:
        """Give the part its target's name, and the server's time."""
        os.fsync(self.stream.fileno())
        if modified is not None:
            os.utime(self.path, (modified, modified))
        os.replace(self.path, self.target)
        self.state.unlink(missing_ok=True)
        sync(self.target.parent)


@contextmanager
def open_part(target: Path) -> Iterator[Part]:
    """Open a target's part for this run alone; the system gives the lock back however the run ends.

    Raises:
        RunFailed: another run has the file, or the file system has no locks.
    """
    path = part_path(target)
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFailed(
                "another run is fetching this file", where=target, remedy="let it finish"
            ) from None
        except OSError as error:
            what = f"the file system cannot lock files ({error.strerror})"
            raise RunFailed(what, where=target, remedy="choose an --output on another one") from None
        opened = os.fstat(stream.fileno())
        if not _is_at(path, opened):
            raise RunFailed(
                "another run has just finished this file",
                where=target,
                remedy="run the same command again to check it",
            )
        part = Part(target, stream)
        try:
            yield part
        finally:
            if part.size == 0 and _is_at(path, opened):
                path.unlink()
                part.state.unlink(missing_ok=True)


def _is_at(path: Path, opened: os.stat_result) -> bool:
    return path.exists() and os.path.samestat(opened, path.stat())
