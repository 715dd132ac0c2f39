"""A new run from another one's weights, moments and place in the data, with whatever settings differ.

The other run is read only. The new one begins with a checkpoint of its own, so that it needs the other no
more; the manifest of every checkpoint has the lineage.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from biobert_scale.config import BatchSizes, Config, phases_of
from biobert_scale.config.tree import get
from biobert_scale.data.run_stream import run_samples_fingerprint
from biobert_scale.data.samples import index_fingerprint
from biobert_scale.errors import UserError
from biobert_scale.files import MANIFEST, read_json, sha256_file
from biobert_scale.recipes import structure_saved
from biobert_scale.training.checkpoint.identity import CONFIG, differences
from biobert_scale.training.checkpoint.manifest import CheckpointRecord, Link, read_record
from biobert_scale.training.checkpoint.retention import complete, step_of

logger = logging.getLogger(__name__)

OPTION = "--continue-from"
_SECTIONS = ("seed", "model", "data", "loader", "compute", "training")
_SHAPE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_FIXED = {f"model.{name}" for name in (*_SHAPE, "max_position_embeddings")}


class Origin(NamedTuple):
    """What a new run begins with."""

    checkpoint: Path
    link: Link


def vocabulary_hash(tokens: Path) -> str:
    """SHA-256 of the vocabulary of token shards."""
    return sha256_file(tokens / "tokenizer" / "vocab.txt")


def find_origin(source: str) -> Path:
    """The checkpoint that `RUN[@STEP]` names, by default the newest; its files are not verified.

    Raises:
        UserError: there is none.
    """
    run, step = _parsed(source)
    found = {step_of(path): path for path in complete(run)}
    if not found:
        remedy = "give RUN or RUN@STEP, where RUN is the --output of `biobert-scale train`"
        raise UserError(f"no complete checkpoint in {run}", where=OPTION, remedy=remedy)
    if step is not None and step not in found:
        remedy = f"there are the steps {', '.join(map(str, found))}"
        raise UserError(f"no complete checkpoint of step {step} in {run}", where=OPTION, remedy=remedy)
    return found[max(found) if step is None else step]


def origin_of(source: str, output: Path, config: Config, tokens: Path) -> Origin | None:
    """What a run begins with that continues another; None where it resumes: it has begun already.

    Raises:
        UserError: it has begun otherwise, or cannot continue the other one.
    """
    run, _ = _parsed(source)
    if output.resolve().is_relative_to(run.resolve()):
        what, remedy = f"{OPTION} never writes into the run that it continues", "choose another --output"
        raise UserError(what, where=output, remedy=remedy)
    if begun := complete(output):
        check_lineage(read_record(begun[-1]), source, where=output)
        return None
    checkpoint = find_origin(source)
    link = _link(checkpoint, config, tokens)
    logger.info("continuing the run %s", described(link))
    return Origin(checkpoint, link)


def described(link: Link) -> str:
    """A run that was continued, and what was changed then, in one line for people."""
    samples = "" if link["samples_continue"] else "; the samples begin anew"
    changes = "".join(
        f"; {key} was {was!r} and is now {now!r}" for key, (was, now) in link["changes"].items()
    )
    return f"{Path(link['run']).name} at step {link['global_step']:,}{samples}{changes}"


def _parsed(source: str) -> tuple[Path, int | None]:
    """A run's directory and a step; a directory whose own name ends like a step is itself."""
    run, sign, step = source.rpartition("@")
    if sign and step.isdecimal() and not Path(source).exists():
        return Path(run), int(step)
    return Path(source), None


def check_lineage(record: CheckpointRecord, source: str, *, where: Path) -> None:
    """Refuse a run that has begun otherwise.

    Args:
        record: of one of its checkpoints.
        source: RUN or RUN@STEP that it is to have continued.
        where: its directory.

    Raises:
        UserError: it has continued another run, or none.
    """
    run, step = _parsed(source)
    lineage = record.get("lineage", [])
    last = lineage[-1] if lineage else None
    if last and Path(last["run"]) == run.resolve() and step in (None, last["global_step"]):
        return
    what = (
        f"the run there continued {last['run']} at step {last['global_step']}" if last else "a run is there"
    )
    remedy = f"leave {OPTION} out to resume it, or choose another --output"
    raise UserError(what, where=where, remedy=remedy)


def _link(checkpoint: Path, config: Config, tokens: Path) -> Link:
    """What continuing a checkpoint means.

    Raises:
        UserError: another shape or vocabulary, or a schedule without a step left.
    """
    record = read_record(checkpoint)
    before = structure_saved(read_json(checkpoint / CONFIG), where=str(checkpoint / CONFIG))
    try:
        same = run_samples_fingerprint(tokens, before) == record["samples_fingerprint"]
    except UserError:  # a source that has a weight there is not among these tokens
        same = False
    _check_vocabulary(record, tokens, same=same, where=checkpoint)
    old, new = asdict(before), asdict(config)
    found = [change for key in _SECTIONS for change in differences(key, get(old, key), get(new, key))]
    for key, was, now in found:
        if key in _FIXED:
            what = f"{key} was {was!r} and is now {now!r}"
            raise UserError(what, where=OPTION, remedy="set it back: the weights have that shape")
    step, total = record["global_step"], config.training.schedule.total_steps
    if step >= total:
        what = f"the schedule of {total:,} steps has none left after step {step:,}"
        raise UserError(what, where=OPTION, remedy="set training.schedule.total_steps higher")
    consumed = record["consumed_samples"]
    streams = [_begun_streams(each, tokens, consumed) for each in (before, config)]
    samples_continue = same and streams[0] == streams[1] and before.data.sources == config.data.sources
    _check_place(before, config, record, consumed if samples_continue else 0)
    return {
        "run": str(checkpoint.parent.parent.resolve()),
        "global_step": step,
        "consumed_samples": consumed,
        "consumed_tokens": record["consumed_tokens"],
        "checkpoint_sha256": sha256_file(checkpoint / MANIFEST),
        "samples_continue": samples_continue,
        "initial_weights": before.training.initial_weights,
        "changes": {key: [was, now] for key, was, now in found},
    }


def _begun_streams(config: Config, tokens: Path, consumed: int) -> list[tuple[int, str]]:
    """The streams that a run of so many samples has seen: where each phase begins, and its index."""
    sizes, found = BatchSizes.of(config), []
    for number, phase in enumerate(phases_of(config)):
        if number == 0 or sizes.first_sample(number) < consumed:
            index = index_fingerprint(tokens, phase.config.data, seed=config.seed)
            found.append((sizes.first_sample(number), index))
    return found


def _check_place(before: Config, config: Config, record: CheckpointRecord, consumed: int) -> None:
    """Refuse a warm-up of the batch, or phases, that would be at another of their steps there.

    Args:
        consumed: samples that the new run begins with.
    """
    step = BatchSizes.of(before).step_at(record["consumed_samples"])
    expected = BatchSizes.of(config).samples_before(step)
    training = config.training
    if (training.batch_warmup_steps or training.phases) and consumed != expected:
        parts = "these phases are" if training.phases else "this warm-up of the batch is"
        what = f"{parts} at {expected:,} samples at step {step:,}, the run at {consumed:,}"
        remedy = "set training.batch_warmup_start and training.batch_warmup_steps to 0"
        if training.phases:
            remedy = (
                "begin with the old run's phases, and add or change later ones; or leave out training.phases"
            )
        raise UserError(what, where=OPTION, remedy=remedy)


def _check_vocabulary(record: CheckpointRecord, tokens: Path, *, same: bool, where: Path) -> None:
    """Refuse tokens whose identifiers mean other words.

    Args:
        same: the tokens are those of the checkpoint, which may be too old to have the hash.
    """
    ours = vocabulary_hash(tokens)
    theirs = record.get("vocabulary") or (ours if same else "")
    if not theirs:
        what = "a checkpoint of an older version, which does not say what its vocabulary was"
        remedy = f"continue it on its own tokens first ({OPTION}, a few steps), then from that run"
        raise UserError(what, where=where, remedy=remedy)
    if theirs != ours:
        what = f"the vocabulary of these tokens ({ours[:12]}) is not the checkpoint's ({theirs[:12]})"
        remedy = "build the tokens with the run's own: `tokens build --vocabulary`"
        raise UserError(what, where=tokens, remedy=remedy)
