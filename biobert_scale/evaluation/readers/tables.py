"""Rows by column: JSON lines, CSV, TSV, and directories or Parquet files of Hugging Face `datasets`.

CSV has quoted fields (RFC 4180) and may have line ends in them. In TSV quotes are text.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from biobert_scale.errors import UserError
from biobert_scale.evaluation.pubtator import read_lines


class Record(NamedTuple):
    """A row with its place; missing values are left out."""

    where: str
    values: Mapping[str, Any]


def read_records(
    paths: Sequence[Path], file_format: str, columns: Mapping[str, str | int]
) -> Iterator[Record]:
    """Yield the rows of a split's files, each value by its role or, where `columns` does not name it, by its
    column's own name.

    Args:
        file_format: jsonl, csv, tsv, or datasets.
        columns: role to a column's name, or its number from 0. CSV and TSV have no header where all are
            numbers.

    Raises:
        UserError: a file or row that is not in this format, or without a column; with file and line.
    """
    for path in paths:
        if file_format == "jsonl":
            rows = _json_rows(path)
        elif file_format == "datasets":
            rows = _datasets_rows(path)
        else:
            rows = _with_header(_csv_rows(path) if file_format == "csv" else _tsv_rows(path), path, columns)
        yield from (_by_role(where, values, columns) for where, values in rows)


def _by_role(where: str, values: Mapping[str, Any], columns: Mapping[str, str | int]) -> Record:
    roles = {role: str(name) for role, name in columns.items()}
    if missing := sorted(name for name in roles.values() if name not in values):
        what = f"no column '{missing[0]}' (there are {', '.join(values)})"
        raise UserError(what, where=where, remedy="correct the row, or the task's `columns`")
    found = {name: value for name, value in values.items() if name not in roles.values()}
    found |= {role: values[name] for role, name in roles.items()}
    return Record(where, {name: value for name, value in found.items() if value is not None})


def _json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in read_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            values = json.loads(line)
        except ValueError as error:
            raise UserError(f"not JSON ({error})", where=where, remedy="correct the line") from None
        if not isinstance(values, dict):
            raise UserError("expected an object of columns", where=where, remedy="correct the line")
        yield where, values


def _tsv_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    for number, line in read_lines(path):
        if line.strip():
            yield f"{path}:{number}", line.split("\t")


def _csv_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", where=path, remedy="convert it with iconv") from None
    line = 1
    try:
        for fields in reader:
            if fields:
                yield f"{path}:{line}", fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"not CSV ({error})", where=f"{path}:{line}", remedy="correct the row") from None


def _with_header(
    rows: Iterator[tuple[str, list[str]]], path: Path, columns: Mapping[str, str | int]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    names: list[str] = []
    has_header = not columns or any(isinstance(name, str) for name in columns.values())
    for where, fields in rows:
        if not names:
            names = fields if has_header else [str(number) for number in range(len(fields))]
            if len(set(names)) < len(names):
                raise UserError("two columns have one name", where=where, remedy="give each its own")
            if has_header:
                continue
        if len(fields) != len(names):
            what = f"{len(fields)} columns where the first row has {len(names)}"
            raise UserError(what, where=where, remedy="correct the row")
        yield where, dict(zip(names, fields, strict=True))


def _datasets_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Numbers of classes become their names."""
    from datasets import Dataset, load_from_disk
    from datasets.features import ClassLabel, List

    try:
        rows = Dataset.from_parquet(str(path)) if path.is_file() else load_from_disk(str(path))
    except (OSError, ValueError, KeyError) as error:
        what = f"datasets cannot read it ({type(error).__name__}: {error})"
        raise UserError(what, where=path, remedy="write it again with Dataset.save_to_disk") from None
    names: dict[str, list[str]] = {}
    for column, feature in rows.features.items():
        feature = feature.feature if isinstance(feature, List) else feature
        if isinstance(feature, ClassLabel):
            names[column] = [*feature.names, ""]  # -1: no label
    for number, row in enumerate(rows):
        for column, known in names.items():
            value = row[column]
            row[column] = [known[each] for each in value] if isinstance(value, list) else known[value]
        yield f"{path}, row {number}", row
