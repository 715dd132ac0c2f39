"""The errors that people see, and the exit code each one means."""

from __future__ import annotations

import errno
from pathlib import Path


def printable(name: object) -> str:
    """A file's name for people and for files in UTF-8: bytes of it that are not UTF-8 are written `\\xe9`."""
    return str(name).encode("utf-8", "backslashreplace").decode().replace(r"\udc", r"\x")


class UserError(Exception):
    """A mistake in the input or the configuration: reported in one line, exit code 2.

    Args:
        what: what is wrong.
        where: the file, key or option that holds the mistake.
        remedy: what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | Path, remedy: str) -> None:
        self.what, self.where, self.remedy = printable(what), printable(where), remedy
        super().__init__(f"{self.what}: {self.where}; {remedy}")

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes hand their errors back pickled; keyword-only arguments need help to survive that.
        return _rebuild, (type(self), self.what, self.where, self.remedy)


class RunFailed(UserError):
    """Something outside the user's input stopped the work (a full disk, a killed worker): one line, exit code
    1."""

    exit_code = 1


def _rebuild(kind: type[UserError], what: str, where: str, remedy: str) -> UserError:
    return kind(what, where=where, remedy=remedy)


def from_os_error(error: OSError) -> UserError | None:
    """The one-line form of an operating-system error that a user can act on, or None for any other."""
    where = error.filename or "the output directory"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return RunFailed(
                "no space is left on the disk",
                where=where,
                remedy="free some space and run it again: finished parts are kept",
            )
        case errno.ENOENT:
            return UserError("no such file or directory", where=where, remedy="check the path")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return UserError(
                "permission denied",
                where=where,
                remedy="check the owner and mode, or choose another --output",
            )
        case errno.ENOTDIR | errno.EISDIR | errno.EEXIST:
            return UserError(
                "a file is where a directory is needed, or the reverse",
                where=where,
                remedy="check the path",
            )
        case errno.ENAMETOOLONG | errno.ELOOP:
            return UserError("a path that no file can have", where=where, remedy="check the path")
        case errno.EIO | errno.ESTALE | errno.ETIMEDOUT:
            return RunFailed(
                f"the file system fails ({error.strerror})",
                where=where,
                remedy="run it again when it is back: finished parts are kept",
            )
        case _:
            return None
