"""One rank of a run whose disk fills up while the checkpoint of step CROWDED_AT is being written."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from biobert_scale.cli import main
from biobert_scale.training.checkpoint import writer as snapshot


def write_shard(path: Path, tensors: Any) -> Any:
    if path.parent.name.endswith(f"{int(os.environ.get('CROWDED_AT', '-1')):08d}.part"):
        with suppress(OSError), open(path.parents[3] / "junk", "wb", buffering=0) as junk:
            while True:
                junk.write(bytes(1 << 16))
    return original(path, tensors)


original = snapshot.write_shard
snapshot.write_shard = write_shard

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
