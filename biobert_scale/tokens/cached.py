"""Token shards of object storage, in a directory of this machine.

Every process that trains on a machine calls `cached_tokens`; the first one fetches, the others wait. A file
has its name only once its SHA-256 is the manifest's. When the directory has a limit, the files of the tokens
that were not used for longest are removed, never those that a process uses: each holds a lock on its own.
Training reads at random places of all shards, so all of them are there before it begins.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from biobert_scale.display import size
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.files import MANIFEST, make_directory, write_atomically
from biobert_scale.object_store import NoObject, ObjectStore

logger = logging.getLogger(__name__)

_FILL, _USE = ".fill", ".use"
_CONNECTIONS = 8
_held: list[TextIO] = []
"""The locks of what this process uses, until it ends."""


def cached_tokens(address: str, cache: Path, *, limit_bytes: int = 0) -> Path:
    """The directory that holds the token shards of an address, fetched where something is missing.

    Args:
        address: of finished token shards, `s3://BUCKET/PREFIX`.
        cache: a directory on a disk of this machine; made where it is missing.
        limit_bytes: that it may hold; 0 for any number.

    Raises:
        UserError: no finished token shards are there, or they are larger than the limit.
        RunFailed: an object cannot be fetched or is corrupted, or the disk is too small.
    """
    store = ObjectStore(address)
    try:
        content = store.read(MANIFEST)
    except NoObject:
        remedy = "copy a finished directory of `biobert-scale tokens build` there"
        raise UserError("no finished token shards (no manifest.json)", where=address, remedy=remedy) from None
    try:
        digests: dict[str, str] = json.loads(content)["outputs"]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            "not a stage's manifest", where=f"{address}/{MANIFEST}", remedy="copy it again"
        ) from None
    entry = cache / hashlib.sha256(content).hexdigest()[:16]
    directory = entry / store.address.rpartition("/")[2]
    make_directory(directory)
    _held.append(_locked(entry / _USE, fcntl.LOCK_SH))
    os.utime(entry / _USE)
    with _filling(cache):
        for left in directory.rglob(".*.part"):  # of a process that was killed
            left.unlink()
        missing = [name for name in digests if not (directory / name).exists()]
        if missing:
            _make_room(cache, entry, store.sizes(), digests, missing, limit_bytes)
            logger.info("fetching %d file(s) of %s", len(missing), address)
            _fetch(store, directory, {name: digests[name] for name in missing})
        if not (directory / MANIFEST).exists():
            write_atomically(directory / MANIFEST, content)
    logger.info("the tokens of %s are in %s", address, directory)
    return directory


def _locked(path: Path, kind: int) -> TextIO:
    """A file that is locked until it is closed."""
    stream = open(path, "a")  # noqa: SIM115
    fcntl.flock(stream, kind)
    return stream


@contextmanager
def _filling(cache: Path) -> Iterator[None]:
    """One process at a time changes the files of a cache."""
    with open(cache / _FILL, "a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for another process that fetches tokens into %s", cache)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _fetch(store: ObjectStore, directory: Path, digests: dict[str, str]) -> None:
    """Fetch files, each into its place once it is verified.

    Raises:
        RunFailed: one is missing or corrupted, or does not come.
    """

    def fetch(name: str) -> None:
        target = directory / name
        make_directory(target.parent)
        part = target.with_name(f".{target.name}.part")
        try:
            if store.fetch(name, part) != digests[name]:
                what, remedy = (
                    "the object is corrupted (its SHA-256 is not the manifest's)",
                    "copy it there again",
                )
                raise RunFailed(what, where=f"{store.address}/{name}", remedy=remedy)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for _ in pool.map(fetch, digests):
            pass


def _make_room(
    cache: Path,
    entry: Path,
    sizes: dict[str, int],
    digests: dict[str, str],
    missing: list[str],
    limit_bytes: int,
) -> None:
    """Remove files of other tokens, those that were not used for longest first, until what is missing fits.

    Args:
        entry: what belongs to these tokens.
        sizes: bytes of the objects, by the files' names.

    Raises:
        UserError: the tokens are larger than the limit.
        RunFailed: what others use, or the disk, leaves too little.
    """
    needed, whole = (sum(sizes.get(name, 0) for name in names) for names in (missing, digests))
    if limit_bytes and whole > limit_bytes:
        what = f"the tokens have {size(whole)}, the cache may hold {size(limit_bytes)}"
        raise UserError(what, where=cache, remedy="raise --token-cache-gigabytes: training reads all of them")
    used = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    others = [path for path in cache.iterdir() if path != entry and (path / _USE).exists()]
    for other in sorted(others, key=lambda path: (path / _USE).stat().st_mtime):
        if _fits(cache, used, needed, limit_bytes):
            return
        with open(other / _USE, "a") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # in use
                continue
            files = [path for path in other.rglob("*") if path.is_file() and path.name != _USE]
            for path in sorted(
                files, key=lambda path: path.name != MANIFEST
            ):  # first it is no stage any more
                used -= path.stat().st_size
                path.unlink()
                logger.info("removed %s from the cache", path)
                if _fits(cache, used, needed, limit_bytes):
                    return
    if not _fits(cache, used, needed, limit_bytes):
        free = size(shutil.disk_usage(cache).free)
        what = f"{size(needed)} are to be fetched, {free} are free, and {size(used)} of the cache are in use"
        remedy = "free some space, raise --token-cache-gigabytes, or choose another --token-cache"
        raise RunFailed(what, where=cache, remedy=remedy)


def _fits(cache: Path, used: int, needed: int, limit_bytes: int) -> bool:
    return (not limit_bytes or used + needed <= limit_bytes) and shutil.disk_usage(cache).free >= needed
