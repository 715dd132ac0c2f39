"""A fresh process that opens a data stream and draws one step: how long, and how much memory of its own."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.child import answer

if TYPE_CHECKING:  # its libraries would be counted
    from benchmarks.data.records import Drawn


def first_step(
    *,
    begun: float,
    tokens: str,
    samples: str,
    max_seq_length: int,
    first_sample: int,
    world_size: int,
    rank: int,
    global_batch_size: int,
    micro_batch_size: int,
    seed: int,
) -> Drawn:
    """Open the stream and draw a rank's share of the step that begins at `first_sample`.

    Args:
        begun: when the process was started, by the monotonic clock.
    """
    from biobert_scale.config import DataConfig
    from biobert_scale.data.stream import SampleStream

    imported, before = time.monotonic(), private_megabytes()
    stream = SampleStream.open(
        Path(tokens), Path(samples), DataConfig(max_seq_length=max_seq_length), seed=seed
    )
    opened = time.monotonic()
    step = stream.step(
        first_sample,
        global_batch_size=global_batch_size,
        micro_batch_size=micro_batch_size,
        world_size=world_size,
        rank=rank,
    )
    drawn = time.monotonic()
    return {
        "import_seconds": imported - begun,
        "open_seconds": opened - imported,
        "draw_seconds": drawn - opened,
        "private_megabytes_before": before,
        "private_megabytes_after": private_megabytes(),
        "sequences": sum(len(batch.nsp_labels) for batch in step.micro_batches),
        "tokens": sum(len(batch.input_ids) for batch in step.micro_batches),
    }


def private_megabytes() -> float:
    """This process' resident memory that is no file's (Linux), in 10^6 bytes."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found.group(1)) * 1024 / 1e6


if __name__ == "__main__":
    answer(first_step)
