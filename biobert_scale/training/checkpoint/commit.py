"""The end of a checkpoint's transaction: compared, its manifest written, its name given."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from biobert_scale.config import Config
from biobert_scale.errors import RunFailed
from biobert_scale.files import MANIFEST, json_text, sha256_file, sync, write_synced
from biobert_scale.training.checkpoint.identity import CONFIG
from biobert_scale.training.checkpoint.manifest import CheckpointRecord, FileRecord, Verified, sealed
from biobert_scale.training.checkpoint.outliving import MARK
from biobert_scale.training.checkpoint.retention import remove, replaced_path, staging_path, superfluous
from biobert_scale.training.checkpoint.state import TrainerState
from biobert_scale.training.checkpoint.tensor_files import Shards
from biobert_scale.training.checkpoint.writer import note_path

STATE = "trainer_state.json"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What the main process does once every rank has written, perhaps in a thread or a fork."""

    final: Path
    """The checkpoint's directory; its files are in `staging_path(final)`."""
    config: Config
    state: TrainerState
    loss_scale: dict[str, float]
    record: CheckpointRecord
    """The manifest, of which `shards` and `files` are filled in."""
    sample: dict[str, dict[str, Tensor]]
    """`Engine.full_values` of a few parameters, by their names."""
    verified: Verified
    spare: Callable[[], Path | None] = lambda: None
    """An older checkpoint that must not be deleted now; the next commit does so."""

    def __call__(self, shards: dict[str, FileRecord]) -> None:
        """Compare with the sample, write the small files and the manifest, give the checkpoint its name; then
        older ones may go.

        Args:
            shards: the ranks' files.

        Raises:
            RunFailed: what was written is not what the engine holds.
        """
        staging = staging_path(self.final)
        compare(staging, sorted(shards), self.sample)
        files = dict(shards)
        trainer_state = {"state": asdict(self.state), "loss_scale": self.loss_scale}
        for name, content in ((STATE, trainer_state), (CONFIG, self.config)):
            path = staging / name
            write_synced(path, json_text(content))
            files[name] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        commit(staging, self.final, {**self.record, "shards": sorted(shards), "files": files})
        # Until it has its name, a process is at work on it; were that lost, its rank would need the notes.
        for left in (*self.final.glob(MARK), *(note_path(self.final, rank) for rank in range(len(shards)))):
            left.unlink()
        self.verified.add(self.final)
        run, keeping = self.final.parent.parent, self.config.training.checkpoint
        for old in superfluous(run, keeping, trouble=self.verified.trouble):
            if old != self.spare():
                remove(old)


def compare(staging: Path, shards: list[str], sample: dict[str, dict[str, Tensor]]) -> None:
    """Read a sample of what was written, and compare it with what the engine says it holds.

    Raises:
        RunFailed: they differ.
    """
    with Shards(staging, shards) as written:
        for name, values in sample.items():
            for kind, value in values.items():
                found = torch.empty(value.numel())
                written.read(kind, name, 0, found)
                # In the engine's type: where that is not fp32, the fp32 weight rounds to it.
                if not torch.equal(found.to(value.dtype), value):
                    raise RunFailed(
                        f"what was written as {kind} of {name} is not what the engine holds",
                        where=staging,
                        remedy="use one of the files in ds_configs, and the versions in constraints.txt; the"
                        " last checkpoint is kept",
                    )


def commit(staging: Path, final: Path, record: Mapping[str, Any]) -> None:
    """Write a staging directory's manifest, and give it its name."""
    write_synced(staging / MANIFEST, json_text(sealed(record)))
    sync(staging)
    give_name(staging, final)


def give_name(staging: Path, final: Path) -> None:
    """Rename a whole and synced staging directory; only then an earlier one of that name goes."""
    old = replaced_path(final)
    if final.is_symlink() or final.exists():
        if not (old / MANIFEST).exists():  # else it counts, and what has the name is the rest of an attempt
            remove(old)
            os.rename(final, old)
        else:
            remove(final)
    os.rename(staging, final)
    sync(final.parent)
    if old.exists():
        remove(old)
