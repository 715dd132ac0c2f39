"""Atomic files, checksums, and the manifest that makes a directory a finished stage.

A stage reads one directory and writes another. It writes `manifest.json` last, so a directory without one is
unfinished, whatever else it holds.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from biobert_scale import __version__
from biobert_scale.errors import UserError

MANIFEST = "manifest.json"
BEGUN = ".begun.json"
"""In an output directory whose stage has not finished."""
_CHUNK_BYTES = 1 << 22


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """SHA-256 of a value's canonical JSON (dataclasses as dictionaries, keys sorted), as 64 hexadecimal
    digits. An object with a method `fingerprinted` says itself what of it counts."""
    return hashlib.sha256(canonical_json(value, default=_fingerprinted).encode()).hexdigest()


def canonical_json(value: Any, *, default: Callable[[Any], Any] | None = None) -> str:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=default or _plain
    )


def _fingerprinted(value: Any) -> Any:
    return value.fingerprinted() if hasattr(value, "fingerprinted") else _plain(value)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def walk(directory: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """As `os.walk`, also behind links to directories; a directory is entered once, by whatever names.

    Raises:
        OSError: one cannot be listed.
    """

    def refuse(error: OSError) -> None:
        raise error

    entered: set[tuple[int, int]] = set()
    for place, below, names in os.walk(directory, followlinks=True, onerror=refuse):
        found = os.stat(place)
        if (found.st_dev, found.st_ino) in entered:
            below.clear()
            continue
        entered.add((found.st_dev, found.st_ino))
        yield Path(place), below, names


def files_below(directory: Path) -> list[Path]:
    """All files, sorted, also those behind links; see `walk`."""
    return sorted(place / name for place, _, names in walk(directory) for name in names)


def sync(path: Path) -> None:
    """Have a file's bytes, or a directory's entries, survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """The same for everything in a directory, hidden files aside: they are at work, or locks."""
    for place, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                sync(Path(place, name))
        sync(Path(place))


def make_directory(path: Path) -> None:
    """Make a directory and the missing ones above it, and have them survive a power failure."""
    made = [place for place in (path, *path.parents) if not place.is_dir()]
    path.mkdir(parents=True, exist_ok=True)
    for place in made:
        sync(place.parent)


def write_synced(path: Path, content: str | bytes) -> None:
    """Write a file whose bytes survive a power failure; whether its name does is the directory's matter."""
    with open(path, "wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
        stream.flush()
        os.fsync(stream.fileno())


def write_atomically(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Write beside `path` and rename: a reader sees the old content or the new, never a part.

    Args:
        durable: also after a power failure, which otherwise may leave anything.
    """
    make_directory(path.parent)
    staging = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if durable:
            write_synced(staging, content)
        else:
            staging.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(staging, path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def json_text(value: Any) -> str:
    """Indented JSON for a file; dataclasses as dictionaries, paths as strings."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n"


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write a value as indented JSON; see `write_atomically`."""
    write_atomically(path, json_text(value), durable=durable)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        what, remedy = "missing file", "check the path, or run the stage that writes it"
    except json.JSONDecodeError as error:
        what, remedy = f"not valid JSON (line {error.lineno})", "restore the file or build it again"
    except UnicodeDecodeError as error:
        what, remedy = f"byte {error.start} is not UTF-8", "restore the file or build it again"
    raise UserError(what, where=path, remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a finished stage says of itself.

    `key` is the fingerprint of (stage, inputs' checksums, configuration): equal keys mean equal output.
    """

    stage: str
    key: str
    inputs: list[dict[str, Any]]
    config: Any
    counts: dict[str, Any]
    rejects: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


def describe_inputs(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Name, size in bytes and SHA-256 of each input; a finished stage's directory stands for itself by its
    manifest.

    Raises:
        UserError: an input does not exist.
    """
    records = []
    for path in paths:
        if not path.exists():
            raise UserError("missing input", where=path, remedy="check the path")
        target = path / MANIFEST if path.is_dir() else path
        if not target.exists():
            remedy = "run the stage that builds it to its end"
            raise UserError("unfinished input (no manifest.json)", where=path, remedy=remedy)
        records.append({"name": path.name, "bytes": target.stat().st_size, "sha256": sha256_file(target)})
    return records


def stage_key(stage: str, inputs: list[dict[str, Any]], config: Any) -> str:
    """The fingerprint that decides whether a stage has already been done."""
    return fingerprint({"stage": stage, "version": __version__, "inputs": inputs, "config": config})


def finish_stage(
    output: Path,
    *,
    stage: str,
    key: str,
    inputs: list[dict[str, Any]],
    config: Any,
    counts: Mapping[str, Any],
    rejects: Mapping[str, int] | None = None,
    outputs: Iterable[Path] = (),
    libraries: Iterable[str] = (),
) -> Manifest:
    """Write the manifest (last and atomically) and return it.

    Args:
        outputs: the files that the stage stands for; each is recorded with its SHA-256.
        libraries: distributions whose versions the output may depend on.
    """
    sync_tree(output)
    manifest = Manifest(
        stage=stage,
        key=key,
        inputs=inputs,
        config=json.loads(canonical_json(config)),
        counts=dict(counts),
        rejects=dict(sorted((rejects or {}).items())),
        outputs={str(path.relative_to(output)): sha256_file(path) for path in sorted(outputs)},
        versions={
            "biobert_scale": __version__,
            **{name: importlib.metadata.version(name) for name in libraries},
        },
    )
    write_json(output / MANIFEST, manifest)
    (output / BEGUN).unlink(missing_ok=True)
    return manifest


_MAKERS = {
    "corpus": "corpus build",
    "vocabulary": "tokens vocabulary",
    "tokens": "tokens build",
    "benchmarks": "evaluate prepare",
    "finetune": "evaluate finetune",
}
"""Stage -> the command that makes it."""


def read_manifest(directory: Path, stage: str | None = None) -> Manifest:
    """Read a finished stage's manifest.

    Args:
        stage: where given, the stage that the directory must come from.

    Raises:
        UserError: the directory is missing, unfinished, or another stage's.
    """
    path = directory / MANIFEST
    if not path.exists():
        what = "unfinished (no manifest.json)" if directory.is_dir() else "no such directory"
        maker = f"`biobert-scale {_MAKERS[stage]}`" if stage in _MAKERS else "the stage that builds it"
        remedy = f"run {maker} to its end, or check the path"
        raise UserError(what, where=directory, remedy=remedy)
    try:
        manifest = Manifest(**read_json(path))
    except TypeError:
        raise UserError("not a stage's manifest", where=path, remedy="check the path") from None
    if stage is not None and manifest.stage != stage:
        what = f"holds the output of '{manifest.stage}', not of '{stage}'"
        raise UserError(what, where=directory, remedy="check the path")
    return manifest
