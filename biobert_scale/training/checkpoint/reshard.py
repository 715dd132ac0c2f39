"""A checkpoint written again with another number of files."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from biobert_scale.errors import UserError
from biobert_scale.files import make_directory, write_synced
from biobert_scale.training.checkpoint.checkpoints import CONFIG, STATE, commit
from biobert_scale.training.checkpoint.retention import (
    checkpoint_path,
    find_checkpoint,
    read_record,
    staging_path,
)
from biobert_scale.training.checkpoint.tensor_files import Shards, shard_name, tensor_name, write_shard
from biobert_scale.training.engine.fragments import KINDS, Fragment, partition


def reshard(source: Path, ranks: int, output: Path) -> Path:
    """Write a checkpoint's tensors to `ranks` files of nearly the same size.

    Args:
        source: a run directory (its newest intact checkpoint is taken) or a checkpoint directory.
        output: a run directory; a checkpoint of the same step there is replaced.

    Returns:
        The new checkpoint's directory.

    Raises:
        UserError: no intact checkpoint, or no positive number of files.
    """
    if ranks < 1:
        raise UserError(f"{ranks} files", where="--ranks", remedy="use at least 1")
    checkpoint = find_checkpoint(source)
    record = read_record(checkpoint)
    final = checkpoint_path(output, record["global_step"])
    staging = staging_path(final)
    shutil.rmtree(staging, ignore_errors=True)
    make_directory(staging.parent)
    staging.mkdir()
    files = {name: record["files"][name] for name in (STATE, CONFIG)}
    for name in files:
        write_synced(staging / name, (checkpoint / name).read_bytes())
    with Shards(checkpoint, record["shards"]) as shards:
        whole = [
            Fragment(name, 0, {"weight": torch.empty(shards.numel(name), device="meta")})
            for name in shards.names()
        ]
        for rank in range(ranks):
            tensors = {}
            for part in partition(whole, rank=rank, world_size=ranks):
                for kind in KINDS:
                    tensors[tensor_name(kind, part.name, part.start)] = torch.empty(part.numel)
                    shards.read(
                        kind, part.name, part.start, tensors[tensor_name(kind, part.name, part.start)]
                    )
            size, digest = write_shard(staging / shard_name(rank, ranks), tensors)
            files[shard_name(rank, ranks)] = {"bytes": size, "sha256": digest}
    commit(
        staging,
        final,
        {**record, "shards": [shard_name(rank, ranks) for rank in range(ranks)], "files": files},
    )
    return final
