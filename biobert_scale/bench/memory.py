"""Peak memory of reading one file."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from biobert_scale.corpus.medline import read_medline
from biobert_scale.resident import peak_resident_bytes


def measure_reading(path: Path) -> dict[str, Any]:
    """Read a MEDLINE file in a process of its own: its records, and the peak of its resident memory in 10^6
    bytes (Linux)."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_read_and_tell, args=(path, sender))
    process.start()
    sender.close()
    told: dict[str, Any] = receiver.recv()
    process.join()
    return told


def _read_and_tell(path: Path, sender: Connection) -> None:
    before = peak_resident_bytes() / 1e6
    records = sum(1 for _ in read_medline(path))
    sender.send(
        {"records": records, "peak_megabytes_before": before, "peak_megabytes": peak_resident_bytes() / 1e6}
    )
