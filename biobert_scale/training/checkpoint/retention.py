"""A run's checkpoints on disk: which there are, and which may go."""

from __future__ import annotations

import logging
import math
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from biobert_scale.config import CheckpointConfig
from biobert_scale.errors import UserError
from biobert_scale.files import MANIFEST, sync
from biobert_scale.training.checkpoint.manifest import missing, problem, read_record

logger = logging.getLogger(__name__)

DIRECTORY = "checkpoints"
FINISHED = "finished.json"
_NAME = re.compile(r"step-(\d{8,})")
_UNFINISHED = re.compile(r"\.step-\d{8,}\.part")
_REPLACED = re.compile(r"\.step-(\d{8,})\.old")
"""A checkpoint whose successor of the same step is being named; it counts until then."""


def checkpoint_path(run: Path, step: int) -> Path:
    return run / DIRECTORY / f"step-{step:08d}"


def staging_path(final: Path) -> Path:
    return final.with_name(f".{final.name}.part")


def replaced_path(final: Path) -> Path:
    return final.with_name(f".{final.name}.old")


def step_in(name: str) -> int | None:
    """The step of a checkpoint's name; None for any other name."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def step_of(checkpoint: Path) -> int:
    found = _NAME.fullmatch(checkpoint.name) or _REPLACED.fullmatch(checkpoint.name)
    assert found is not None, checkpoint
    return int(found[1])


def complete(run: Path) -> list[Path]:
    """The run's checkpoints that have a manifest, oldest first; their contents are not yet verified."""
    found: dict[int, Path] = {}
    for pattern in (_REPLACED, _NAME):
        found |= {step_of(path): path for path in _directories(run, pattern) if (path / MANIFEST).is_file()}
    return [found[step] for step in sorted(found)]


def incomplete(run: Path) -> list[Path]:
    """What interrupted saves left: without a manifest, never given their name, or replaced."""
    counted = set(complete(run))
    left = [path for pattern in (_UNFINISHED, _REPLACED, _NAME) for path in _directories(run, pattern)]
    return sorted(path for path in left if path not in counted)


def leftovers(run: Path) -> list[Path]:
    """What of `incomplete` may go: a directory with a checkpoint's name that lost its manifest stays while no
    complete one is newer, for somebody may restore it."""
    newest = max(map(step_of, complete(run)), default=-1)
    return [path for path in incomplete(run) if not _NAME.fullmatch(path.name) or step_of(path) < newest]


def _directories(run: Path, pattern: re.Pattern[str]) -> list[Path]:
    directory = run / DIRECTORY
    found = directory.iterdir() if directory.is_dir() else ()
    return [path for path in found if pattern.fullmatch(path.name)]


def is_finished(run: Path) -> bool:
    """Whether a run has nothing left to do: it said so, and what it said so of is still there."""
    return (run / FINISHED).exists() and bool(complete(run))


def newest_intact(run: Path) -> Path | None:
    """The newest checkpoint whose files verify; broken ones are named in the log and passed over."""
    for checkpoint in reversed(complete(run)):
        if (trouble := problem(checkpoint)) is None:
            return checkpoint
        logger.warning("checkpoint %s is passed over: %s", checkpoint.name, trouble)
    return None


def find_checkpoint(source: Path) -> Path:
    """The newest intact checkpoint of a run, or the checkpoint itself once its checksums hold.

    Raises:
        UserError: there is none.
    """
    if (source / MANIFEST).is_file():
        if trouble := problem(source):
            raise UserError(f"the checkpoint is broken: {trouble}", where=source, remedy="take another one")
        return source
    if (checkpoint := newest_intact(source)) is None:
        remedy = "give the --output of `biobert-scale train`, or one of its checkpoints"
        raise UserError("no intact checkpoint", where=source, remedy=remedy)
    return checkpoint


def milestones(run: Path, config: CheckpointConfig) -> list[Path]:
    """The checkpoints that a run keeps for good, oldest first: those of multiples of `keep_every_steps`, and
    the last one of a finished run. Without `keep_every_steps` all that are there.

    Raises:
        UserError: there is none yet.
    """
    found = complete(run)
    if every := config.keep_every_steps:
        last = found[-1:] if is_finished(run) else []
        found = [path for path in found if step_of(path) % every == 0 or path in last]
    if not found:
        what = f"no milestone yet (training.checkpoint.keep_every_steps = {every:,})"
        raise UserError(what, where=run, remedy="wait for one, or leave out --all-milestones")
    return found


def check_resume(run: Path, policy: str) -> None:
    """Refuse a run directory that is not what the user took it for.

    Args:
        policy: `auto` takes any, `never` none that has a checkpoint, `must` only one that has.

    Raises:
        UserError: with what is there.
    """
    refuse_link(run)
    if policy not in ("auto", "never", "must"):
        raise UserError(f"no policy '{policy}'", where="--resume", remedy="use auto, never or must")
    found = complete(run)
    if policy == "never" and found:
        what = f"there are checkpoints up to step {step_of(found[-1])}"
        raise UserError(what, where=run, remedy="choose another --output, or go on with --resume auto")
    if policy == "must" and not found:
        what, remedy = "there is no checkpoint to go on from", "check --output, or begin with --resume auto"
        raise UserError(what, where=run, remedy=remedy)


def superfluous(
    run: Path, config: CheckpointConfig, *, trouble: Callable[[Path], str | None] | None = None
) -> list[Path]:
    """Checkpoints beyond those to keep: the last ones, every so-many-th step, and the best by validation
    loss.

    Only what verifies counts among the last and the best. Nothing goes that has no intact one after it.

    Args:
        trouble: what is wrong with a checkpoint, its contents read (default: `problem`). Asked only of those
            for whose sake others would go.
    """
    trouble = trouble or problem
    found = complete(run)
    whole = [path for path in found if missing(path) is None]
    while whole:
        losses = {step_of(path): _validation_loss(path) if config.keep_best else None for path in whole}
        kept = [path for path in whole if step_of(path) in last_and_best(losses, config)]
        go = [path for path in found if may_go(step_of(path), losses, config)]
        broken = next((path for path in reversed(kept) if go and trouble(path) is not None), None)
        if broken is None:
            return go
        whole.remove(broken)
    return []


def may_go(step: int, losses: Mapping[int, float | None], config: CheckpointConfig) -> bool:
    """Whether a checkpoint is beyond those to keep.

    Args:
        losses: the validation losses, where they are known, of the whole checkpoints, of which there is one.
    """
    milestone = config.keep_every_steps and step % config.keep_every_steps == 0
    return step < max(losses) and not milestone and step not in last_and_best(losses, config)


def last_and_best(losses: Mapping[int, float | None], config: CheckpointConfig) -> set[int]:
    """The steps that are kept for being the last ones or the best; see `may_go`."""
    scored = sorted((loss, step) for step, loss in losses.items() if loss is not None)
    best = {step for _, step in scored[: config.keep_best]}
    return {*sorted(losses)[-config.keep_last :], *best}


def _validation_loss(checkpoint: Path) -> float | None:
    """None where it was not measured, or is no number."""
    try:
        loss = read_record(checkpoint).get("validation_mlm_loss")
    except UserError:
        return None
    return float(loss) if isinstance(loss, int | float) and math.isfinite(loss) else None


def remove(checkpoint: Path) -> None:
    """Delete a checkpoint, its manifest first: what a crash or a power failure leaves of it does not count as
    one. Of a symbolic link only the link: what is behind it belongs to somebody else."""
    if checkpoint.is_symlink():
        checkpoint.unlink()
        return
    if (checkpoint / MANIFEST).exists():
        (checkpoint / MANIFEST).unlink()
        sync(checkpoint)
    shutil.rmtree(checkpoint, ignore_errors=True)


def refuse_link(run: Path) -> None:
    """Refuse a run whose checkpoints are behind a symbolic link: they would be deleted as they grow old.

    Raises:
        UserError: with what to do.
    """
    directory = run / DIRECTORY
    if directory.is_symlink():
        what = f"a symbolic link to {directory.resolve()}, whose checkpoints would be deleted in time"
        remedy = "name the run directory that they belong to (which may be behind a link), or copy them"
        raise UserError(what, where=directory, remedy=remedy)
