"""The options of `checkpoint ...`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from biobert_scale.config import CheckpointConfig
from biobert_scale.display import quantity, show, size, table
from biobert_scale.errors import UserError
from biobert_scale.lock import Lock
from biobert_scale.ranges import within

_REMEDY = "check the path: it is the --output of `biobert-scale train`"


def checkpoint_list(run: Positional[Path], /) -> int:
    """List a run's checkpoints, oldest first: sizes, ages, and what is not whole.

    Also ranks, engine and validation loss. Files are looked at by their sizes; `checkpoint verify` reads
    them. Exit code 1 where something is not whole.

    Args:
        run: the run directory.
    """
    from biobert_scale.training.checkpoint.manifest import missing, read_record
    from biobert_scale.training.checkpoint.retention import complete, incomplete

    found, broken = complete(run), incomplete(run)
    if not found and not broken:
        raise UserError("no checkpoint", where=run, remedy=_REMEDY)
    rows = []
    for checkpoint in found:
        trouble = missing(checkpoint)
        try:
            record: Mapping[str, Any] = read_record(checkpoint)
        except UserError as error:
            record, trouble = {}, error.what
        loss, stage = record.get("validation_mlm_loss"), record.get("zero_stage")
        run_by = (quantity(record.get("world_size", "?")), record.get("engine", "?"), quantity(stage))
        validation = "" if loss is None else f"{loss:.4f}"
        rows.append((*_described(checkpoint), *run_by, validation, trouble or "complete"))
        broken += [checkpoint] if trouble else []
    for checkpoint in incomplete(run):
        state = "never finished: a save was interrupted, or is under way"
        rows.append((*_described(checkpoint), "", "", "", "", state))
    header = ("checkpoint", "size", "written", "ranks", "engine", "ZeRO stage", "validation loss", "state")
    show(table(rows, header=header))
    return int(any(not path.name.startswith(".") for path in broken))


def checkpoint_verify(source: Positional[Path], /) -> int:
    """Compare every file of a run's checkpoints, or of one, with its checksum.

    Exit code 1 where one is broken.

    Args:
        source: a run directory, or a checkpoint directory.
    """
    from biobert_scale.training.checkpoint.manifest import problem
    from biobert_scale.training.checkpoint.retention import complete

    found = [source] if (source / "manifest.json").is_file() else complete(source)
    if not found:
        raise UserError(
            "no complete checkpoint", where=source, remedy=f"{_REMEDY}, or one of its checkpoints"
        )
    troubles = {checkpoint: problem(checkpoint) for checkpoint in found}
    show(table([(checkpoint.name, trouble or "intact") for checkpoint, trouble in troubles.items()]))
    return int(any(troubles.values()))


@within(keep_last="[1, 1e9]", keep_every_steps="[0, 1e12]", keep_best="[0, 1e9]")
def checkpoint_prune(
    run: Positional[Path],
    /,
    *,
    keep_last: int = CheckpointConfig.keep_last,
    keep_every_steps: int = CheckpointConfig.keep_every_steps,
    keep_best: int = CheckpointConfig.keep_best,
    dry_run: bool = False,
) -> None:
    """Delete a run's older checkpoints, and what interrupted saves have left.

    Not while the run is going. Only intact ones are counted: their files are read. Where none is, nothing is
    deleted.

    Args:
        run: the run directory.
        keep_last: so many of the newest stay.
        keep_every_steps: those of multiples of this step stay; 0 for none.
        keep_best: so many of the best by validation loss stay; 0 for none.
        dry_run: say what would go, and delete nothing.
    """
    from biobert_scale.training.checkpoint.manifest import missing, problem
    from biobert_scale.training.checkpoint.outliving import being_written
    from biobert_scale.training.checkpoint.retention import (
        complete,
        leftovers,
        refuse_link,
        remove,
        superfluous,
    )

    if not complete(run):
        raise UserError("no complete checkpoint", where=run, remedy=_REMEDY)
    refuse_link(run)
    troubles: dict[Path, str | None] = {}

    def trouble(checkpoint: Path) -> str | None:
        if checkpoint not in troubles:
            troubles[checkpoint] = problem(checkpoint)
        return troubles[checkpoint]

    keeping = CheckpointConfig(keep_last=keep_last, keep_every_steps=keep_every_steps, keep_best=keep_best)
    with nullcontext() if dry_run else Lock(run, "checkpoint prune"):
        left = [path for path in leftovers(run) if not being_written(path)]
        go = [*left, *superfluous(run, keeping, trouble=trouble)]
        freed = sum(map(_bytes, go))
        for checkpoint in go:
            show(checkpoint.name)
            if not dry_run:
                remove(checkpoint)
    broken = [path for path in complete(run) if path not in go and (missing(path) or troubles.get(path))]
    for checkpoint in broken:
        show(f"{checkpoint.name} is broken and does not count: {missing(checkpoint) or troubles[checkpoint]}")
    show(f"{len(go)} checkpoint(s), {size(freed)} {'would be freed' if dry_run else 'freed'}")
    if broken and not go:
        show("nothing goes before an intact checkpoint after it is there")


def _bytes(directory: Path) -> int:
    """Of its own: nothing behind a link."""
    own = [] if directory.is_symlink() else directory.rglob("*")
    return sum(path.lstat().st_size for path in own if path.is_file())


def _described(checkpoint: Path) -> tuple[str, str, str]:
    """Name, size, and when it was written."""
    moment = datetime.fromtimestamp(checkpoint.stat().st_mtime)
    return checkpoint.name, size(_bytes(checkpoint)), moment.isoformat(sep=" ", timespec="seconds")
