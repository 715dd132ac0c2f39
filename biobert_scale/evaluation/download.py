"""Fetches the benchmarks' original files from their publishers, and believes no file without its checksum."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import tomllib
import zipfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path, PurePosixPath

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
    refused = partial(UserError, where=path or "benchmarks.toml")
    file = path or resources.files("biobert_scale.evaluation") / "benchmarks.toml"
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8"))["file"]
        sources = [Source(**{name: str(value) for name, value in entry.items()}) for entry in entries]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        remedy = "give [[file]] entries with path, url and sha256"
        raise refused(f"not a file of addresses ({error})", remedy=remedy) from None
    for source in sources:
        place = PurePosixPath(source.path)
        if place.is_absolute() or ".." in place.parts or not place.name:
            raise refused(f"'{source.path}' leaves the directory", remedy="give paths below it")
        if not re.fullmatch("[0-9a-f]{64}", source.sha256):
            remedy = "give its 64 hexadecimal digits in small letters"
            raise refused(f"no SHA-256 for {source.path}", remedy=remedy)
        if not source.url.startswith(("http://", "https://")):
            remedy = "give one that begins with https:// or http://"
            raise refused(f"'{source.url}' is no address", remedy=remedy)
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
            remedy = "delete it to have it fetched again, or leave --download out"
            raise UserError("not the published file (its SHA-256 differs)", where=target, remedy=remedy)
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
                    name = PurePosixPath(source.path).name
                    what = f"{name} is not the published file (its SHA-256 differs)"
                    raise RunFailed(what, where=url, remedy=_REMEDY)
                write_atomically(benchmarks / source.path, data)
                fetched.append(benchmarks / source.path)
                logger.info("fetched %s", source.path)
    return fetched


def _read(server: Server, url: str) -> bytes:
    with server.request("GET", url) as response:
        content = bytearray()
        for part in response.iter_bytes():
            content += part
            if len(content) > _MOST_BYTES:
                raise RunFailed("the reply is larger than any benchmark", where=url, remedy=_REMEDY)
        announced = int(response.headers.get("Content-Length", len(content)))
        if announced != len(content):
            raise Later(f"{len(content):,} of {announced:,} bytes came")
        return bytes(content)


def _pick(content: bytes, source: Source) -> bytes:
    """The file itself, or the archive's one member of its name."""
    name = PurePosixPath(source.path).name
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            named = [member for member in archive.infolist() if PurePosixPath(member.filename).name == name]
            members = [member for member in named if not member.filename.startswith("__MACOSX")]
            if len(members) != 1 or members[0].file_size > _MOST_BYTES:
                what = f"the archive holds {name} {len(members)} times"
                raise RunFailed(what, where=source.url, remedy=_REMEDY)
            return archive.read(members[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise RunFailed(f"a damaged archive ({error})", where=source.url, remedy=_REMEDY) from None
