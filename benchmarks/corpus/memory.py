"""Reads one file, alone in a process: how many records, and how much memory."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from benchmarks.child import answer
from biobert_scale.corpus.readers.medline import read_medline
from biobert_scale.resident import peak_resident_bytes


class ReadingMemory(TypedDict):
    """Resident memory in 10^6 bytes (Linux)."""

    records: int
    peak_megabytes_before: float
    peak_megabytes: float


def read(*, path: str) -> ReadingMemory:
    """Read a MEDLINE file."""
    before = peak_resident_bytes() / 1e6
    records = sum(1 for _ in read_medline(Path(path)))
    return {
        "records": records,
        "peak_megabytes_before": before,
        "peak_megabytes": peak_resident_bytes() / 1e6,
    }


if __name__ == "__main__":
    answer(read)
