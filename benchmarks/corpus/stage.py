"""The whole corpus stage (read, clean, compare, write), with one worker and with two, on real material as it
is or enlarged."""

from __future__ import annotations

import io
import itertools
import multiprocessing
import shutil
import tarfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from isal import igzip
from lxml import etree

from benchmarks.corpus.other_words import original
from benchmarks.corpus.records import Stage
from benchmarks.turns import cpu_seconds
from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.build import build_corpus
from biobert_scale.corpus.cleaning.markup import PARSER_OPTIONS
from biobert_scale.corpus.opening import open_decompressed
from biobert_scale.corpus.packages import package_members
from biobert_scale.corpus.raw import RawFile

_FILES = 8


def measure_stage(
    medline: list[Path], packages: list[RawFile], scratch: Path, *, repeats: int, copies: int = 1
) -> Stage:
    """The whole stage (read, clean, compare, write) on all the material, in turns, by the clock and by CPU
    time.

    A file is one worker's work, and so is a shard: the same material is first divided into files of equal
    size, and written to several shards. Two builds side by side, which share nothing but the machine, show
    what a second worker can bring there at most. Real corpora are far larger than what starting costs:
    `copies` enlarges the material; no copy is a duplicate (see `Original`).
    """
    raw = scratch / "raw"
    records = [
        original(record).copy(copy)
        for copy in range(copies)
        for path in medline
        for record in serialised_records(path)
    ]
    articles = [
        (
            member.name.replace("PMC", f"PMC{copy}00" if copy else "PMC"),
            original(member.stream.read()).copy(copy),
        )
        for copy in range(copies)
        for file in packages
        for member in package_members(file.path)
    ]
    megabytes = (_write_parts(records, raw) + _write_packages(articles, raw)) / 1e6
    config = CorpusConfig(
        characters_per_shard=max(int(megabytes * 1e6 / 3 / _FILES), 1)
    )  # about a third of the XML is text
    alone = replace(config, near_duplicate_similarity=2.0)
    turns: dict[str, list[tuple[float, float]]] = {}
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        builds: dict[str, Callable[[], object]] = {
            "1 worker, no near-duplicate search": lambda: _build(raw, scratch / "corpus", alone, 1),
            "1 worker": lambda: _build(raw, scratch / "corpus", config, 1),
            "2 workers": lambda: _build(raw, scratch / "corpus", config, 2),
            "2 builds side by side": lambda: list(
                pool.map(_build, [raw] * 2, [scratch / "left", scratch / "right"], [config] * 2, [1] * 2)
            ),
        }
        builds["2 builds side by side"]()  # loads the libraries there
        documents = _build(raw, scratch / "corpus", config, 1)
        for _, (name, build) in itertools.product(range(repeats), builds.items()):
            begun, cpu = time.perf_counter(), cpu_seconds()
            build()
            turns.setdefault(name, []).append((time.perf_counter() - begun, cpu_seconds() - cpu))
    return Stage(
        megabytes=megabytes,
        files=2 * _FILES,
        documents=documents,
        seconds={name: [clock for clock, _ in taken] for name, taken in turns.items()},
        cpu_seconds={
            name: [cpu for _, cpu in taken] for name, taken in turns.items() if name.startswith("1 worker")
        },
    )


def _build(raw: Path, output: Path, config: CorpusConfig, workers: int) -> int:
    """Build, count the documents, and take the result away."""
    documents: int = build_corpus(raw, output, config, workers=workers).counts["documents"]
    shutil.rmtree(output)
    return documents


def _write_parts(records: list[bytes], raw: Path) -> int:
    raw.mkdir()
    for part in range(_FILES):
        write_records(raw / f"pubmed24n{part:04d}.xml.gz", records[part::_FILES])
    return sum(map(len, records))


def _write_packages(members: list[tuple[str, bytes]], raw: Path) -> int:
    for part in range(_FILES):
        write_members(raw / f"oa_comm_xml.{part:02d}.tar.gz", members[part::_FILES])
    return sum(len(content) for _, content in members)


def serialised_records(path: Path) -> list[bytes]:
    """Every record of a MEDLINE file as it is in the file."""
    with open_decompressed(path) as stream:
        return [
            etree.tostring(element, encoding="utf-8")
            for element in etree.parse(stream, etree.XMLParser(**PARSER_OPTIONS)).getroot()
        ]


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write a MEDLINE file of records as `serialised_records` gives them."""
    with igzip.open(path, "wb") as out:  # type: ignore[no-untyped-call]
        out.write(b"<PubmedArticleSet>")
        out.writelines(records)
        out.write(b"</PubmedArticleSet>")


def write_members(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write a package of files: their paths in it, and their contents."""
    with igzip.open(path, "wb", compresslevel=1) as out, tarfile.open(fileobj=out, mode="w|") as package:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            package.addfile(header, io.BytesIO(content))
