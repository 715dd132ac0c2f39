"""Extracts one piece of a package, alone in a process: how many records, and how long it takes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypedDict

from benchmarks.child import answer
from benchmarks.turns import cpu_seconds
from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.packages import package_members
from biobert_scale.corpus.pipeline import FileTask, extract_file
from biobert_scale.corpus.raw import divided, find_raw_files
from biobert_scale.resident import peak_resident_bytes


class Piece(TypedDict):
    """A piece, and what it takes."""

    number: int
    members: int
    xml_bytes: int
    skipping_seconds: float
    """CPU time of expanding what comes before its members."""
    seconds: float
    """CPU time of the whole task."""
    peak_bytes: int


def extract_piece(*, raw: str, number: int, scratch: str) -> Piece:
    """Extract the piece of that number of the only package in a directory."""
    (file,) = find_raw_files(Path(raw))
    piece = divided(file)[number]
    with TemporaryDirectory(dir=scratch) as work:
        task = FileTask(file=piece, name="piece", work=Path(work))
        begun = cpu_seconds()
        extract_file([task], CorpusConfig(), None, 0)
        seconds = cpu_seconds() - begun
    peak = peak_resident_bytes()
    begun, skipped, sizes = cpu_seconds(), 0.0, []
    for member in package_members(piece.path, start=piece.start, stop=piece.stop):
        skipped = skipped or cpu_seconds() - begun
        sizes.append(len(member.stream.read()))
    return Piece(
        number=number,
        members=len(sizes),
        xml_bytes=sum(sizes),
        skipping_seconds=skipped,
        seconds=seconds,
        peak_bytes=peak,
    )


if __name__ == "__main__":
    answer(extract_piece)
