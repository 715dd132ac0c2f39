"""numba's `njit` with a cache, wherever one can be kept.

numba keeps compiled code beside the source or in the user's home, and raises where it can write to neither (a
container, a system-wide installation). Then it is kept in a directory for temporary files that is this user's
alone, or not at all: every process compiles again, which takes seconds.

numba compiles a function again where its own file has changed. A kernel also holds what it calls and the
order of its named tuples' fields, from other files of its directory (and from `splitmix.py`), so it is
compiled again where any of them has changed.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config as _config

config: Any = _config

F = TypeVar("F", bound=Callable[..., Any])


def njit(*, nogil: bool = False) -> Callable[[F], F]:
    """Compile a function at its first call with each combination of types, or take it from the cache."""

    def decorate(function: F) -> F:
        dispatcher = numba.njit(nogil=nogil)(function)
        _enable_cache(dispatcher)
        return cast(F, dispatcher)

    return decorate


def _enable_cache(dispatcher: Any) -> None:
    try:
        dispatcher.enable_caching()
    except RuntimeError:  # no place to write to
        if (own := _own_directory()) is None:
            return
        before, config.CACHE_DIR = config.CACHE_DIR, str(own)
        try:
            dispatcher.enable_caching()
        except RuntimeError:
            return
        finally:
            config.CACHE_DIR = before
    cache = dispatcher._cache
    cache._cache_file._source_stamp = _source_digest(Path(dispatcher.py_func.__code__.co_filename).parent)
    load, save = cache.load_overload, cache.save_overload

    def load_if_possible(*arguments: Any) -> Any:
        try:
            return load(*arguments)
        except Exception:  # pickle's, of any kind: a file cut off, or a tuple that this version does not have
            with _without_a_cache_that_fails(cache):
                cache.flush()
            return None

    def save_if_possible(*arguments: Any) -> None:
        with _without_a_cache_that_fails(cache):
            save(*arguments)

    cache.load_overload, cache.save_overload = load_if_possible, save_if_possible


@contextmanager
def _without_a_cache_that_fails(cache: Any) -> Iterator[None]:
    try:
        yield
    except OSError:  # a full disk, a quota: the compiled code is in memory all the same
        cache.disable()


@functools.cache
def _source_digest(directory: Path) -> str:
    """SHA-256 of the Python files in a directory, and of the one kernel that several directories share."""
    digest = hashlib.sha256()
    for path in (*sorted(directory.glob("*.py")), Path(__file__).with_name("splitmix.py")):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def _own_directory() -> Path | None:
    """A directory that nobody else can write to: what is in the cache is executed."""
    path = Path(tempfile.gettempdir()) / f"biobert-scale-numba-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError:
        return None
    safe = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return path if safe else None
