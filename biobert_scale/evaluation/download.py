"""Fetches the benchmarks' original files from their publishers, and believes no file without its checksum."""

from __future__ import annotations

import hashlib
import io
import logging
import tomllib
import zipfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

from biobert_scale.corpus.listing import MirrorConfig
from biobert_scale.corpus.transport import Later, Server
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.files import sha256_file, write_atomically

logger = logging.getLogger(__name__)

_MOST_BYTES = 1 << 28
"""A reply or a member beyond this is no benchmark."""
_REMEDY = "get the files by hand, or name other addresses with --sources"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file of a benchmark: its place below the benchmarks' directory, its address, its SHA-256."""

    path: str
    url: str
    sha256: str


def read_sources(path: Path | None) -> list[Source]:
    """Read a file of addresses; the package's own where none is named.

    Raises:
        UserError: not TOML, a missing or unknown key, a checksum that is none, or a place outside the
            directory.
    """
    where = str(path or "benchmarks.toml")
    try:
        text = (
            path.read_text(encoding="utf-8")
            if path
            else (resources.files("biobert_scale.evaluation") / "benchmarks.toml").read_text()
        )
        sources = [
            Source(**{name: str(value) for name, value in entry.items()})
            for entry in tomllib.loads(text)["file"]
        ]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"not a file of addresses ({error})",
            where=where,
            remedy="give [[file]] entries with path, url and sha256",
        ) from None
    for source in sources:
        place = PurePosixPath(source.path)
        if place.is_absolute() or ".." in place.parts or not place.name:
            raise UserError(
                f"'{source.path}' leaves the directory", where=where, remedy="give paths below it"
            )
        if len(source.sha256) != 64 or set(source.sha256) - set("0123456789abcdef"):
            raise UserError(
                f"no SHA-256 for {source.path}",
                where=where,
                remedy="give its 64 hexadecimal digits in small letters",
            )
        if not source.url.startswith(("http://", "https://")):
            raise UserError(
                f"'{source.url}' is no address",
                where=where,
                remedy="give one that begins with https:// or http://",
            )
    return sources


def download(
    benchmarks: Path,
    sources: list[Source],
    *,
    retries: int = 4,
    timeout_seconds: float = 60.0,
    wait: Callable[[float], object] | None = None,
) -> list[Path]:
    """Fetch what is not there yet, each address once.

    Returns:
        The files that were fetched.

    Raises:
        UserError: a file that is there has another checksum.
        RunFailed: the server is out of reach, or sends something else than the published file; nothing of it
            is kept.
    """
    wanted: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        target = benchmarks / source.path
        if not target.is_file():
            wanted[source.url].append(source)
        elif sha256_file(target) != source.sha256:
            raise UserError(
                "not the published file (its SHA-256 differs)",
                where=target,
                remedy="delete it to have it fetched again, or leave --download out",
            )
    fetched = []
    config = MirrorConfig(
        groups=(), base_url="", connections=1, retries=retries, timeout_seconds=timeout_seconds
    )
    with Server(config, wait) as server:
        for url, files in wanted.items():
            content = server.persist(partial(_read, server, url), url)
            for source in files:
                data = _pick(content, source)
                if hashlib.sha256(data).hexdigest() != source.sha256:
                    raise RunFailed(
                        f"{PurePosixPath(source.path).name} is not the published file (its SHA-256 differs)",
                        where=url,
                        remedy=_REMEDY,
                    )
                write_atomically(benchmarks / source.path, data)
                fetched.append(benchmarks / source.path)
                logger.info("fetched %s", source.path)
    return fetched


def _read(server: Server, url: str) -> bytes:
    with server.request("GET", url) as response:
        parts, size = [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > _MOST_BYTES:
                raise RunFailed("the reply is larger than any benchmark", where=url, remedy=_REMEDY)
        announced: Any = response.headers.get("Content-Length")
        if announced is not None and int(announced) != size:
            raise Later(f"{size:,} of {int(announced):,} bytes came")
        return b"".join(parts)


def _pick(content: bytes, source: Source) -> bytes:
    """The file itself, or the archive's one member of its name."""
    name = PurePosixPath(source.path).name
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [
                member
                for member in archive.infolist()
                if PurePosixPath(member.filename).name == name and not member.filename.startswith("__MACOSX")
            ]
            if len(members) != 1 or members[0].file_size > _MOST_BYTES:
                raise RunFailed(
                    f"the archive holds {name} {len(members)} times", where=source.url, remedy=_REMEDY
                )
            return archive.read(members[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise RunFailed(f"a damaged archive ({error})", where=source.url, remedy=_REMEDY) from None
