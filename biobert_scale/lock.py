"""One process at a time in a directory, on any number of hosts that share it.

The lock is the file `.lock`, which names its holder. A hard link makes it: that either happens or does not,
on NFS as on a local disk. It ends with its holder, also where that was killed: a rival looks the holder up
(see `holder`), and one that cannot be seen from there has to touch the file every few seconds. A holder that
has been silent for `LAPSE_SECONDS` is replaced, and ends itself should it come back. Times are compared as
the file server stamps them: the hosts' clocks may differ.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from biobert_scale.errors import UserError
from biobert_scale.files import make_directory, write_synced
from biobert_scale.holder import Holder, is_at_work, this_process

LOCK = ".lock"
"""The file's name; rivals keep theirs beside it, with a longer one."""
BEAT_SECONDS = 10.0
LAPSE_SECONDS = 120.0
"""Twice as long as an NFS client keeps a file's time by default."""
_LOOK_SECONDS = 1.0
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

_log = logging.getLogger(__name__)


class Lock:
    """`with Lock(directory, "train"):` excludes every other process from the same.

    Args:
        directory: made where it is missing.
        work: what the process does, for the others' message.
        wait: wait for the end of a holder that works, instead of refusing.

    Raises:
        UserError: on entry, another process holds it; it is named.
    """

    def __init__(self, directory: Path, work: str, *, wait: bool = False) -> None:
        self.directory, self.wait = directory, wait
        self.path = directory / LOCK
        self.me = this_process(work)
        self._record = directory / f"{LOCK}-{self.me.token}"
        self._text = json.dumps(asdict(self.me)) + "\n"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="lock")
        self._announced = False

    def __enter__(self) -> Lock:
        make_directory(self.directory)
        try:
            write_synced(self._record, self._text)  # an empty one would be waited for after a power failure
            while not self._place(self.path):
                if self._take_over():
                    break
        finally:
            self._record.unlink(missing_ok=True)
        self._remove_leftovers()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if (holder := _read(self.path)) is not None and holder.token == self.me.token:
            self.path.unlink(missing_ok=True)

    def _place(self, path: Path) -> bool:
        """Make `path` this process' record, if there is no file of that name."""
        try:
            os.link(self._record, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            try:  # a file system without hard links
                with open(path, "x") as stream:
                    stream.write(self._text)
            except FileExistsError:
                return False
        return True

    def _take_over(self) -> bool:
        """Replace a holder that is gone. False: try again."""
        holder = _read(self.path)
        if holder is None:  # it has just ended
            return False
        match self._look(self.path, holder):
            case "gone":
                return self._succeed(holder, holder)
            case "at work" if not self.wait:
                raise UserError(
                    f"'{holder.work}' is at work here: {holder}",
                    where=self.directory,
                    remedy="wait for its end, or stop it, or choose another --output",
                )
            case "at work":
                _log.info("waiting for '%s' at work in %s: %s", holder.work, self.directory, holder)
                self._wait_for_end(holder)
        return False

    def _succeed(self, first: Holder, dead: Holder) -> bool:
        """Take a dead holder's place, which only one rival can: the one whose record bears the dead's name.

        Args:
            first: the holder that `.lock` names.
            dead: the same, or the rival that died as it took the first one's place.
        """
        claim = self.directory / f"{LOCK}-after-{dead.token}"
        if not self._place(claim):
            rival = _read(claim)
            if rival is not None and self._look(claim, rival) == "gone":
                return self._succeed(first, rival)
            time.sleep(0.1)
            return False
        try:
            # A quicker rival may have removed its claim already; then it is in the first one's place.
            if (now := _read(self.path)) is None or now.token != first.token:
                return False
            _log.info("taking over from '%s', which is gone: %s", first.work, first)
            os.replace(self._record, self.path)
            return True
        finally:
            claim.unlink(missing_ok=True)

    def _look(self, path: Path, holder: Holder) -> Literal["at work", "gone", "changed"]:
        """What has become of the holder that `path` names."""
        if (known := is_at_work(holder)) is not None:
            return "at work" if known else "gone"
        first = _modified(path)
        if not self._announced:
            _log.info("is '%s' still at work in %s? %s", holder.work, self.directory, holder)
            self._announced = True
        while (last := _modified(path)) is not None:
            os.utime(self._record)
            now = _modified(self._record)
            if now is not None and now - last > LAPSE_SECONDS:
                return "gone"
            if last != first:
                return "at work"
            time.sleep(_LOOK_SECONDS)
        return "changed"

    def _wait_for_end(self, holder: Holder) -> None:
        while (now := _read(self.path)) is not None and now.token == holder.token:
            if self._look(self.path, holder) != "at work":
                return
            os.utime(self._record)
            time.sleep(_LOOK_SECONDS)

    def _remove_leftovers(self) -> None:
        """What killed rivals left."""
        now = _modified(self.path)
        for path in self.directory.glob(f"{LOCK}-*"):
            if (last := _modified(path)) is not None and now is not None and now - last > LAPSE_SECONDS:
                path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_SECONDS):
            with suppress(OSError):  # a file server that is away for a moment
                self.beat()

    def beat(self) -> None:
        """Show that this process works. It ends where another has taken its place: what both would write
        cannot be put right."""
        holder = _read(self.path)
        if holder is None:  # removed by hand
            self._record.write_text(self._text)
            self._place(self.path)
            self._record.unlink()
        elif holder.token == self.me.token:
            os.utime(self.path)
        else:
            print(
                f"biobert-scale: another process has taken over: {self.directory}; this one was silent for"
                f" {LAPSE_SECONDS:.0f} s or more and ends: {holder} works there now",
                file=sys.stderr,
                flush=True,
            )
            os._exit(1)


def holder_of(directory: Path) -> tuple[Holder, bool] | None:
    """Who holds a directory's lock, and whether it is at work, as far as that is known without waiting: of
    one that cannot be seen from here, whether its last sign of life is young by this host's clock."""
    path = directory / LOCK
    holder, last = _read(path), _modified(path)
    if holder is None or last is None:
        return None
    known = is_at_work(holder)
    return holder, time.time() - last < LAPSE_SECONDS if known is None else known


def _read(path: Path) -> Holder | None:
    """The holder that a file names, or None where there is no file."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        return Holder(**json.loads(text))
    except (TypeError, ValueError):  # being written, or another version's
        token = hashlib.sha256(text.encode()).hexdigest()
        return Holder(
            token=token, work="another command", since="", host="", boot="", namespace="", pid=0, started=""
        )


def _modified(path: Path) -> float | None:
    """When a file was last touched, by the file server's clock; None where it is gone."""
    try:
        with open(path) as stream:  # opening makes an NFS client ask the server
            return os.fstat(stream.fileno()).st_mtime
    except FileNotFoundError:
        return None
