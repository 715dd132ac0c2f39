"""A run's checkpoints in object storage: which are whole there, and how one comes back.

A checkpoint's objects are below `PREFIX/step-00001000/`: its files, and the run's records up to then below
`run/`. The last object is `mirror.json`, with the size and SHA-256 of every other one: without it the
checkpoint does not count.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from biobert_scale.config import Config
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.files import MANIFEST, make_directory, read_json, sync, write_atomically, write_json
from biobert_scale.object_store import NoObject, ObjectStore, StoreFailed
from biobert_scale.recipes import structure_saved
from biobert_scale.training.checkpoint.commit import give_name
from biobert_scale.training.checkpoint.continuation import check_lineage
from biobert_scale.training.checkpoint.identity import CONFIG, refuse_changes, run_fingerprint
from biobert_scale.training.checkpoint.manifest import FileRecord, missing, read_record, unsealed
from biobert_scale.training.checkpoint.retention import (
    checkpoint_path,
    complete,
    remove,
    staging_path,
    step_in,
    step_of,
)

logger = logging.getLogger(__name__)

MARKER = "mirror.json"
RECORDS = "run"
"""The directory of the run's own files among a checkpoint's objects."""
SETTING = "training.checkpoint.mirror"
_CONNECTIONS = 4


class Copy(TypedDict):
    """What a marker says of a checkpoint."""

    format: int
    run: str
    """`run_of`."""
    validation_mlm_loss: float | None
    files: dict[str, FileRecord]
    """By their keys below the checkpoint's."""


class Found(NamedTuple):
    """What is in a mirror, by steps."""

    whole: dict[int, Copy]
    broken: dict[int, str]
    """What is wrong with those that have a marker."""
    keys: dict[int, list[str]]
    """Of every object, unfinished checkpoints included."""


def run_of(checkpoint: Path) -> str:
    """What all checkpoints of one run share, and those of no other."""
    record = read_record(checkpoint)
    config = structure_saved(read_json(checkpoint / CONFIG), where=str(checkpoint / CONFIG))
    weights = record.get("initial_weights", "")
    return run_fingerprint(config, record["samples_fingerprint"], initial_weights=weights)


def look(store: ObjectStore) -> Found:
    """List a mirror and read its markers.

    Raises:
        StoreFailed: it cannot be reached.
    """
    objects: dict[int, dict[str, int]] = {}
    for key, size in store.sizes().items():
        name, _, rest = key.partition("/")
        if (step := step_in(name)) is not None and rest:
            objects.setdefault(step, {})[rest] = size
    found = Found({}, {}, {step: [key_of(step, name) for name in sizes] for step, sizes in objects.items()})
    for step, sizes in sorted(objects.items()):
        if MARKER not in sizes:
            continue
        try:
            copy = _read_marker(store, step)
        except NoObject:  # deleted meanwhile
            continue
        wrong = f"its {MARKER} is corrupted" if copy is None else _difference(copy, sizes)
        if copy is None or wrong:
            found.broken[step] = wrong
        else:
            found.whole[step] = copy
    return found


def key_of(step: int, name: str) -> str:
    return f"{checkpoint_path(Path(), step).name}/{name}"


def _read_marker(store: ObjectStore, step: int) -> Copy | None:
    try:
        copy: Copy | None = unsealed(json.loads(store.read(key_of(step, MARKER))))  # type: ignore[assignment]
    except (ValueError, AttributeError):
        return None
    return copy


def _difference(copy: Copy, sizes: Mapping[str, int]) -> str:
    """What the listing says against a marker; empty for nothing."""
    for name, record in copy["files"].items():
        if name not in sizes:
            return f"{name} is missing"
        if sizes[name] != record["bytes"]:
            return f"{name} has {sizes[name]} bytes, not {record['bytes']}"
    return ""


def bring(run: Path, config: Config, *, resume: str = "auto", continue_from: str = "") -> bool:
    """Fetch the newest whole checkpoint of a run's mirror, with the run's records, where it is newer than
    those in the run directory; returns whether that has been done.

    Args:
        resume: `auto`, `never` or `must`, as `train --resume`.
        continue_from: as `train --continue-from`: the mirror's run must be the one that continued it.

    Raises:
        UserError: the mirror is another run's, or `resume` does not allow what is there.
        RunFailed: a run directory without a checkpoint, and a mirror that cannot be read or has none that is
            intact: to begin anew would not be resuming.
    """
    store = ObjectStore(config.training.checkpoint.mirror)
    local = max(map(step_of, complete(run)), default=-1)
    try:
        found = look(store)
        newest = max(found.whole, default=-1)
        if newest >= 0:
            content = {name: _small(store, newest, found.whole[newest], name) for name in (MANIFEST, CONFIG)}
            _check_run(content, config, where=store.address, run=run, continue_from=continue_from)
    except StoreFailed as error:
        if local < 0:
            remedy = f"start it again when it is there, or without {SETTING}: the run then begins anew"
            raise RunFailed(error.what, where=error.where, remedy=remedy) from None
        logger.warning("the mirror cannot be read now: %s", error)
        return False
    if local < 0 and resume == "never" and (found.whole or found.broken):
        what = f"the mirror has checkpoints up to step {max([*found.whole, *found.broken])}"
        remedy = f"give another {SETTING}, or resume with --resume auto"
        raise UserError(what, where=store.address, remedy=remedy)
    candidates = sorted((step for step in (*found.whole, *found.broken) if step > local), reverse=True)
    for step in candidates:
        trouble = found.broken.get(step) or _fetch(store, step, found.whole[step], run)
        if not trouble:
            return True
        logger.warning("checkpoint step-%08d in the mirror is passed over: %s", step, trouble)
    if local < 0 and candidates:
        what = f"none of {len(candidates)} checkpoint(s) in the mirror is intact"
        remedy = f"restore an object that is named above, or give another {SETTING} to begin anew"
        raise RunFailed(what, where=store.address, remedy=remedy)
    if local < 0 and resume == "must":
        what, remedy = "there is no checkpoint to resume from, here or in the mirror", "use --resume auto"
        raise UserError(what, where=run, remedy=remedy)
    return False


def _small(store: ObjectStore, step: int, copy: Copy, name: str) -> Any:
    """A JSON object of a checkpoint; None where it is not intact, which `_fetch` reports."""
    try:
        content = store.read(key_of(step, name))
    except NoObject:
        return None
    intact = hashlib.sha256(content).hexdigest() == copy["files"][name]["sha256"]
    return json.loads(content) if intact else None


def _check_run(
    content: Mapping[str, Any], config: Config, *, where: str, run: Path, continue_from: str
) -> None:
    """Refuse the mirror of a run with other settings, before anything of it is fetched. Its initial weights
    are compared when it resumes.

    Args:
        content: of a checkpoint's manifest and configuration.
    """
    try:
        if continue_from and content[MANIFEST] is not None:
            check_lineage(content[MANIFEST], continue_from, where=run)
        if content[CONFIG] is not None:
            refuse_changes(content[CONFIG], config, where=Path(CONFIG), weights=("any", "any"))
    except UserError as error:
        what, remedy = (
            f"the mirror has another run: {error.what}",
            f"give another {SETTING}, or {error.remedy}",
        )
        raise UserError(what, where=where, remedy=remedy) from None


def _fetch(store: ObjectStore, step: int, copy: Copy, run: Path) -> str:
    """Fetch a checkpoint and the run's records, verified; returns what is wrong with it, or nothing once it
    is in place."""
    final = checkpoint_path(run, step)
    staging = staging_path(final)
    remove(staging)
    make_directory(staging / RECORDS)
    logger.info("fetching checkpoint %s from %s", final.name, store.address)

    def fetch(name: str) -> str:
        target, record = staging / name, copy["files"][name]
        target.parent.mkdir(exist_ok=True)
        try:
            digest = store.fetch(key_of(step, name), target)
        except NoObject:
            return f"{name} is missing"
        return "" if digest == record["sha256"] else f"{name} is corrupted (its SHA-256 differs)"

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        troubles = list(filter(None, pool.map(fetch, copy["files"])))
    if trouble := (troubles[0] if troubles else missing(staging)):
        shutil.rmtree(staging)
        return trouble
    _place_records(staging / RECORDS, run)
    shutil.rmtree(staging / RECORDS)
    sync(staging)
    give_name(staging, final)
    logger.info("checkpoint %s is fetched and verified", final.name)
    return ""


def _place_records(records: Path, run: Path) -> None:
    """Put the run's own files in their places; TensorBoard's begins anew from them."""
    for path in sorted(path for path in records.rglob("*") if path.is_file()):
        target = run / path.relative_to(records)
        write_atomically(target, path.read_bytes())
        if target.name == "tensorboard.json":
            write_json(target, {**read_json(target), "sent": -1})
