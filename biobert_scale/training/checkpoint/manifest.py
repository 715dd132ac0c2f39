"""A checkpoint's manifest: what it says, and whether its files are those that it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from biobert_scale.errors import UserError
from biobert_scale.files import MANIFEST, fingerprint, read_json, sha256_file

FORMAT = 1
_SEAL = "manifest_sha256"


class FileRecord(TypedDict):
    """A file of a checkpoint."""

    bytes: int
    sha256: str
    """64 hexadecimal digits."""


class Link(TypedDict):
    """A run that was continued by another one, and where."""

    run: str
    """Its directory."""
    global_step: int
    consumed_samples: int
    consumed_tokens: int
    checkpoint_sha256: str
    """Of its checkpoint's manifest, which has its files'."""
    samples_continue: bool
    """Whether the other run's samples are those that would have followed; otherwise they begin anew."""
    initial_weights: str
    """The setting."""
    changes: dict[str, list[Any]]
    """Dotted setting -> its value in this run, and in the one that continued it."""


class CheckpointRecord(TypedDict):
    """What a manifest says; its counts are those of `TrainerState`."""

    stage: str
    format: int
    global_step: int
    consumed_samples: int
    consumed_tokens: int
    skipped_steps: int
    world_size: int
    engine: str
    zero_stage: int | None
    validation_mlm_loss: float | None
    """Of this very step, where it is known."""
    samples_fingerprint: str
    config_fingerprint: str
    initial_weights: NotRequired[str]
    """The fingerprint of the files that the run began with; empty for random weights."""
    vocabulary: NotRequired[str]
    """SHA-256 of the tokens' `vocab.txt`."""
    lineage: NotRequired[list[Link]]
    """The runs that were continued until this one, oldest first."""
    versions: dict[str, str]
    shards: list[str]
    """The files that hold tensors, one for each rank that wrote."""
    files: dict[str, FileRecord]


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with the SHA-256 of what it says, which no other file could hold."""
    return {**record, _SEAL: fingerprint(record)}


def unsealed(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a sealed manifest says; None where its SHA-256 differs. Older checkpoints have no seal."""
    record = dict(manifest)
    seal = record.pop(_SEAL, None)
    return record if seal is None or seal == fingerprint(record) else None


def read_record(checkpoint: Path) -> CheckpointRecord:
    """A checkpoint's manifest.

    Raises:
        UserError: it is unreadable, corrupted, or of another version's format.
    """
    path = checkpoint / MANIFEST
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise UserError("no checkpoint's manifest", where=path, remedy="give another checkpoint")
    if manifest.get("format") != FORMAT:
        what = f"written in format {manifest.get('format')}, this version reads format {FORMAT}"
        raise UserError(what, where=checkpoint, remedy="use the version that wrote it")
    if (record := unsealed(manifest)) is None:
        what = "its manifest is corrupted (its SHA-256 differs)"
        raise UserError(what, where=path, remedy="give another checkpoint")
    return cast(CheckpointRecord, record)


def problem(checkpoint: Path, *, part: int = 0, parts: int = 1) -> str | None:
    """What is wrong with a checkpoint, or None where every file has the size and SHA-256 of its manifest.

    Args:
        part: of `parts` that share the work, the one that looks into every so-many-th file; sizes are looked
            at by each.
    """
    try:
        if trouble := missing(checkpoint):
            return trouble
        files = read_record(checkpoint)["files"]
        for name in sorted(files)[part::parts]:
            if sha256_file(checkpoint / name) != files[name]["sha256"]:
                return f"{name} is corrupted (its SHA-256 differs)"
    except OSError as error:
        return f"{error.filename or checkpoint} cannot be read ({error.strerror})"
    return None


def missing(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint by its manifest and its files' sizes alone."""
    try:
        for name, record in read_record(checkpoint)["files"].items():
            path = checkpoint / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != record["bytes"]:
                return f"{name} has {path.stat().st_size} bytes, not {record['bytes']}"
            if not isinstance(record["sha256"], str):
                return "its manifest is unreadable"
    except UserError as error:
        return error.what
    except (KeyError, TypeError):
        return "its manifest is unreadable"
    return None


class Verified:
    """Remembers which checkpoints have been read and found intact, while their files stay as they are."""

    def __init__(self) -> None:
        self._known: dict[Path, object] = {}

    def add(self, checkpoint: Path) -> None:
        self._known[checkpoint] = self._signature(checkpoint)

    def trouble(self, checkpoint: Path) -> str | None:
        """As `problem`."""
        try:
            if self._known.get(checkpoint) == self._signature(checkpoint):
                return None
        except OSError as error:
            return f"{error.filename} cannot be read ({error.strerror})"
        if (found := problem(checkpoint)) is None:
            self.add(checkpoint)
        return found

    @staticmethod
    def _signature(checkpoint: Path) -> object:
        files = ((path.name, path.stat()) for path in checkpoint.iterdir())
        return sorted((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in files)
