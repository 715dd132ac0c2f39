"""Where checkpoints go: written how fast, with enough room, and seen by all nodes."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from biobert_scale.config import Config
from biobert_scale.doctor.findings import Finding
from biobert_scale.doctor.ranks import Ranks
from biobert_scale.plan.dry_run import kept_checkpoints
from biobert_scale.training.checkpoint.retention import DIRECTORY

_MIB = 1 << 20
_PATIENCE_SECONDS = 10.0
"""A network file system may show another node's new file a few seconds late."""
_DIRECTORY, _SPACE, _SHARED = "checkpoint directory", "checkpoint space", "checkpoint directory on all ranks"


def check_storage(ranks: Ranks, run: Path, config: Config, *, checkpoint_bytes: int) -> list[Finding]:
    """Write as all ranks write a checkpoint, and read what the others wrote.

    Args:
        run: the run directory; where it does not exist yet, the directory that it would be made in.
        checkpoint_bytes: of one checkpoint, all ranks' files.
    """
    folder = Path(
        ranks.gather(str(_nearest(run) / f".doctor-{secrets.token_hex(8)}"))[0]
    )  # rank 0's place is everybody's
    place, room = folder.parent, None
    token, trouble = folder.name, ""
    if ranks.rank == 0:
        trouble = _attempt(lambda: _begin(folder, token))
    if begun := ranks.gather(trouble)[0]:
        remedy = "choose another --output, or have its owner and mode changed"
        return [Finding(_DIRECTORY, "FAIL", f"cannot be written: {begun}", remedy)]
    try:
        seen = ranks.gather(_appears(folder / "token", token))
        size = max(8, min(64, 512 // ranks.world_size)) * _MIB
        seconds, trouble = 0.0, ""
        if seen[ranks.rank]:
            started = time.perf_counter()
            trouble = _attempt(lambda: _write(folder / f"rank-{ranks.rank}", size))
            seconds = time.perf_counter() - started
        written = ranks.gather((seconds, trouble))
        absent: list[int] = []
        if ranks.rank == 0:
            room = _room(run, place, config, checkpoint_bytes)
            absent = [
                rank
                for rank in range(ranks.world_size)
                if seen[rank] and not written[rank][1] and not _appears(folder / f"rank-{rank}")
            ]
        absent, room = ranks.gather((absent, room))[0]
        ranks.meet()
    finally:
        if ranks.rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
    hosts, blind = ranks.hosts(), [rank for rank, sees in enumerate(seen) if not sees]
    return [
        _speed(config, place, size, written, checkpoint_bytes),
        room,
        _shared(ranks, place, sorted({*absent, *blind}), hosts),
    ]


def _nearest(path: Path) -> Path:
    path = path.absolute()
    return path if path.exists() or path == path.parent else _nearest(path.parent)


def _begin(folder: Path, token: str) -> None:
    folder.mkdir()
    (folder / "token").write_text(token)


def _attempt(work: Callable[[], None]) -> str:
    """What went wrong, or nothing."""
    try:
        work()
    except OSError as error:
        return f"{error.filename or ''} ({error.strerror})"
    return ""


def _appears(path: Path, content: str | None = None) -> bool:
    """Whether a file can be read here, soon, with this content."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            if content is None or path.read_text() == content:
                path.stat()
                return True
        except OSError:
            pass
        if time.monotonic() > until:
            return False
        time.sleep(0.1)


def _write(path: Path, size: int) -> None:
    block = os.urandom(8 * _MIB)
    with open(path, "wb") as stream:
        for _ in range(size // len(block)):
            stream.write(block)
        stream.flush()
        os.fsync(stream.fileno())


def _speed(
    config: Config, place: Path, size: int, written: list[tuple[float, str]], checkpoint_bytes: int
) -> Finding:
    for rank, (_, trouble) in enumerate(written):
        if trouble:
            remedy = "have its owner, mode or quota changed, or choose another --output"
            return Finding(_DIRECTORY, "FAIL", f"rank {rank} cannot write: {trouble}", remedy)
    seconds = [seconds for seconds, _ in written if seconds]
    speed = size * len(seconds) / max(seconds)
    takes, patience = checkpoint_bytes / speed, config.training.guards.stall_seconds
    text = (
        f"{speed / 1e6:,.0f} MB/s to the disk from {len(seconds)} rank(s) in {place}; a checkpoint of"
        f" {checkpoint_bytes / 1e9:.3g} GB takes {takes:,.1f} s"
    )
    figures = {"bytes_per_second": speed, "checkpoint_bytes": checkpoint_bytes}
    if takes <= patience:
        return Finding(_DIRECTORY, "OK", text, figures=figures)
    text += f", more than the {patience:g} s of training.guards.stall_seconds"
    remedy = "choose a faster --output: a stop would wait that long for its checkpoint"
    return Finding(_DIRECTORY, "WARN", text, remedy, figures=figures)


def _room(run: Path, place: Path, config: Config, checkpoint_bytes: int) -> Finding:
    free, kept = shutil.disk_usage(place).free, kept_checkpoints(config)
    there = sum(path.stat().st_size for path in (run / DIRECTORY).rglob("*") if path.is_file())
    need = max(checkpoint_bytes, (kept + 1) * checkpoint_bytes - there)
    text = f"{free / 1e9:,.1f} GB free, {need / 1e9:,.3g} GB needed for {kept} kept and one being written"
    figures = {"free": free, "needed": need}
    if free >= need:
        return Finding(_SPACE, "OK", text, figures=figures)
    remedy = "free some space, or keep fewer (training.checkpoint.keep_last, keep_every_steps, keep_best)"
    return Finding(_SPACE, "FAIL", text, remedy, figures=figures)


def _shared(ranks: Ranks, place: Path, blind: list[int], hosts: list[str]) -> Finding:
    if ranks.world_size == 1:
        text = "one process alone: start the doctor under the run's launcher to know of other nodes"
        return Finding(_SHARED, "OK", text)
    if blind:
        nodes = ", ".join(sorted({hosts[rank] for rank in blind}))
        text = f"{len(blind)} rank(s) on {nodes} share no files with rank 0 in {place}"
        remedy = "choose an --output on a file system that all nodes mount"
        return Finding(_SHARED, "FAIL", text, remedy, figures={"ranks": blind})
    readers = f"all {ranks.world_size} ranks read, and the reverse ({len(set(hosts))} host(s))"
    return Finding(_SHARED, "OK", f"what rank 0 writes, {readers}")
