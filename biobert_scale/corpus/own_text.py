"""Finds own text: JSON lines, Parquet, plain text, and directories that `datasets.load_from_disk` opens; and
divides what is large into pieces, each the work of one task."""

from __future__ import annotations

import bisect
import codecs
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from biobert_scale.config import OwnTextConfig
from biobert_scale.corpus.not_read import NotRead, note
from biobert_scale.errors import UserError, printable
from biobert_scale.files import describe_inputs, fingerprint, walk

Form = Literal["jsonl", "text", "text_files", "parquet", "dataset"]
SUFFIXES = {
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".jsonl.zst": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
}
COMPRESSED = (".gz", ".zst")
_PIECE_BYTES = 64_000_000
"""About what a task reads; a compressed file is one task, since it can be read from its beginning only."""
_FILES_TOGETHER = 10_000
MAXIMUM_DOCUMENT_BYTES = 32_000_000
"""Of one document; larger is a mistake, such as a file without line ends."""
_DATASET_FILES = {"state.json", "dataset_info.json"}
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, kw_only=True)
class OwnPiece:
    """What one task reads of a source of own text."""

    source: str
    config: OwnTextConfig
    form: Form
    paths: tuple[Path, ...]
    """One file or dataset directory, or several `.txt` files that are a document each."""
    start: int = 0
    stop: int = 0
    """Bytes of `jsonl` and `text`, row groups of `parquet`, rows of `dataset`. A compressed file has none."""

    @property
    def path(self) -> Path:
        return self.paths[0]


@dataclass(frozen=True, kw_only=True)
class OwnTexts:
    """What there is of own text."""

    pieces: list[OwnPiece]
    inputs: list[dict[str, Any]]
    """Of the manifest: one a file, or a group of files."""
    names: list[str]
    """For each piece a name of its content, for the work directory."""
    not_read: NotRead


def find_own_texts(paths: Iterable[tuple[str, Path]], configs: Mapping[str, OwnTextConfig]) -> OwnTexts:
    """Find the files of every source, and divide them.

    Args:
        paths: (source, file or directory); a directory is searched at any depth.
        configs: the settings of every source.

    Raises:
        UserError: no such path, nothing to read below it, or a file that cannot be opened or is damaged.
    """
    found = OwnTexts(pieces=[], inputs=[], names=[], not_read={})
    for source, path in paths:
        pieces: list[OwnPiece] = []
        for form, files in _grouped(_walk(path, found.not_read), configs[source]):
            whole = OwnPiece(source=source, config=configs[source], form=form, paths=tuple(files))
            described = _described(whole)
            found.inputs.append(described)
            for piece in _divided(whole):
                pieces.append(piece)
                content = fingerprint([described, piece.start, piece.stop])[:16]
                found.names.append(f"{source}-{len(found.names):06d}-{content}")
        if not pieces:
            raise UserError(
                f"no own text ({', '.join(SUFFIXES)}, or a directory that datasets saved)",
                where=path,
                remedy=f"correct --own {source}=PATH",
            )
        found.pieces.extend(pieces)
    return found


def _walk(path: Path, not_read: NotRead) -> Iterator[tuple[str, Path]]:
    """The form and the path of all that can be read, by name; a dataset's directory is one."""

    if not path.exists():
        raise UserError("no such file or directory", where=path, remedy="check the path in --own")
    if path.is_file():
        if form := _form(path.name):
            yield form, path
        return
    for directory, below, names in walk(path):
        below[:] = sorted(name for name in below if not name.startswith("."))
        if _DATASET_FILES.issubset(names):
            yield "dataset", directory
            continue
        for name in sorted(names):
            file = directory / name
            if (form := _form(name)) and not name.startswith(".") and file.is_file():
                yield form, file
            elif name != "dataset_dict.json":
                note(not_read, "files that are no own text", printable(file.relative_to(path)))


def _form(name: str) -> str:
    return next((form for suffix, form in SUFFIXES.items() if name.lower().endswith(suffix)), "")


def _grouped(found: Iterable[tuple[str, Path]], config: OwnTextConfig) -> Iterator[tuple[Form, list[Path]]]:
    """Files one by one, but `.txt` files that are a document each together."""
    for form, group in itertools.groupby(found, lambda item: item[0]):
        files = [path for _, path in group]
        if form != "text" or config.txt_documents == "blank_lines":
            yield from ((form, [path]) for path in files)
            continue
        together: list[Path] = []
        held = 0
        for path in files:
            size = path.stat().st_size
            if together and (held + size > _PIECE_BYTES or len(together) >= _FILES_TOGETHER):
                yield "text_files", together
                together, held = [], 0
            together.append(path)
            held += size
        yield "text_files", together


def _described(piece: OwnPiece) -> dict[str, Any]:
    """One input of the manifest. Its names are the owner's: they stay there."""
    if piece.form == "dataset":
        files = describe_inputs(sorted(path for path in piece.path.iterdir() if path.is_file()))
    else:
        files = describe_inputs(piece.paths)
    first = {"source": piece.source, "name": printable(piece.path.name)}
    if len(files) == 1:
        return files[0] | first
    digest = fingerprint([(printable(file["name"]), file["sha256"]) for file in files])
    return {**first, "files": len(files), "bytes": sum(file["bytes"] for file in files), "sha256": digest}


def _divided(piece: OwnPiece) -> Iterator[OwnPiece]:
    """The pieces of a file or dataset, of nearly the same size, in order."""
    match piece.form:
        case "text_files":
            yield piece
            return
        case "parquet":
            ends = _row_groups(piece.path)
        case "dataset":
            ends = _rows(piece.path)
        case _:
            with open(piece.path, "rb") as stream:
                if stream.read(2) in _WIDE:
                    raise UserError(
                        "the file is UTF-16, not UTF-8",
                        where=piece.path,
                        remedy="convert it, for example with iconv -f UTF-16 -t UTF-8",
                    )
                if piece.path.name.lower().endswith(COMPRESSED):
                    yield piece
                    return
                ends = _boundaries(stream, piece)
    for start, stop in itertools.pairwise([0, *ends]):
        yield replace(piece, start=start, stop=stop)


def _row_groups(path: Path) -> list[int]:
    """Row groups up to the end of each piece."""
    try:
        found = pq.read_metadata(path)
    except (pa.ArrowInvalid, OSError):
        raise damaged(path) from None
    sizes = (found.row_group(group).total_byte_size for group in range(found.num_row_groups))
    return _cut(list(itertools.accumulate(sizes)))


def _cut(sizes: list[int]) -> list[int]:
    """Items up to the end of each piece, of the bytes up to the end of each item."""
    wanted = range(_PIECE_BYTES, sizes[-1] if sizes else 0, _PIECE_BYTES)
    ends = {bisect.bisect_left(sizes, size) + 1 for size in wanted}
    return sorted({*ends, len(sizes)} - {0})


def _rows(path: Path) -> list[int]:
    """Rows of a dataset up to the end of each piece."""
    rows, size = len(open_dataset(path)), sum(file.stat().st_size for file in path.glob("*.arrow"))
    pieces = max(min(size // _PIECE_BYTES, rows), 1)
    return sorted({rows * piece // pieces for piece in range(1, pieces + 1)} - {0})


def _boundaries(stream: BinaryIO, piece: OwnPiece) -> list[int]:
    """Bytes up to the end of each piece, which is where a line ends, or in text an empty line does."""
    size = os.fstat(stream.fileno()).st_size
    ends: list[int] = []
    for wanted in range(_PIECE_BYTES, size, _PIECE_BYTES):
        if ends and wanted < ends[-1]:
            continue
        stream.seek(wanted - 1)
        line = stream.readline(MAXIMUM_DOCUMENT_BYTES)
        while piece.form == "text" and (line := stream.readline(MAXIMUM_DOCUMENT_BYTES)).strip():
            pass
        if line.endswith(b"\n") and stream.tell() < size:
            ends.append(stream.tell())
    return [*ends, size] if size else []


def open_dataset(path: Path) -> Any:
    """A directory that `datasets` saved, with rows as Arrow tables.

    Raises:
        UserError: it is damaged.
    """
    from datasets import load_from_disk

    try:
        return load_from_disk(str(path)).with_format("arrow")
    except (ValueError, KeyError, TypeError, OSError, pa.ArrowException):
        raise damaged(path) from None


def damaged(path: Path) -> UserError:
    """What is said of a file that Arrow cannot read; Arrow's own message may quote it."""
    return UserError(
        "the file is damaged or breaks off", where=path, remedy="restore it, or take it out of --own"
    )
