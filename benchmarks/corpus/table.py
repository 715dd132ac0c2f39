"""How fast raw XML is read: bare lxml, this package's readers and pubmed-parser take turns on the same files.

Speeds are expanded XML bytes per second of one core. Readers are single-threaded, so their clock is the
process' CPU time; the whole stage runs in worker processes, so its clock is the wall's. Other work on the
machine disturbs both: turns alternate, and medians count.
"""

from __future__ import annotations

import importlib
import itertools
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from isal import igzip
from lxml import etree

from benchmarks.child import run_alone
from benchmarks.corpus.memory import ReadingMemory
from benchmarks.corpus.page import corpus_page
from benchmarks.corpus.records import CorpusResult, FileMemory, Race, Speed
from benchmarks.corpus.stage import measure_stage, serialised_records
from benchmarks.result import conditions, write_result
from benchmarks.turns import in_turns
from biobert_scale.corpus.cleaning.markup import PARSER_OPTIONS
from biobert_scale.corpus.opening import open_decompressed
from biobert_scale.corpus.packages import package_members
from biobert_scale.corpus.raw import RawFile, find_raw_files
from biobert_scale.corpus.readers.jats import read_jats
from biobert_scale.corpus.readers.medline import read_medline
from biobert_scale.errors import UserError
from biobert_scale.ranges import within

_WALK, _READER, _PEER = "lxml alone", "this reader", "pubmed-parser"
_PMID = re.compile(rb"(<PMID[^>]*>)\d+(</PMID>)")
_FIRST_NUMBER = 100_000_000
_LIBRARIES = ("lxml", "isal", "pyarrow", "pubmed-parser")


@dataclass(frozen=True, kw_only=True)
class Contestant:
    name: str
    read: Callable[[Path], int]
    """Reads one file and returns how many documents it held."""


@within(repeats="[1, 1000]", jats_megabytes="(0, 1e6]", memory_gigabytes="[0, 1e6]", copies="[1, 1e6]")
def corpus(
    *,
    raw: Path,
    output: Path,
    repeats: int = 5,
    jats_megabytes: float = 30,
    memory_gigabytes: float = 1,
    copies: int = 1,
) -> None:
    """Measure how fast raw XML is read, and in what memory, beside lxml and pubmed-parser.

    Writes dated JSON and Markdown.

    Args:
        raw: directory with MEDLINE `*.xml.gz` files and PMC `*.tar.gz` packages, at any depth.
        output: directory of the results.
        repeats: turns of each contestant.
        jats_megabytes: size of the sample of articles that the JATS readers take turns on, in MB.
        memory_gigabytes: expanded size of the MEDLINE file whose reading's memory is measured, in GB; 0
            leaves that out.
        copies: times that the whole stage meets all the material, each time with other words and ids.
    """
    files = find_raw_files(raw)
    medline = [file.path for file in files if file.source == "medline"]
    packages = [file for file in files if file.source == "pmc"]
    if not medline or not packages:
        raise UserError(
            "no MEDLINE file, or no PMC package", where=raw, remedy="name a directory that holds both"
        )
    with tempfile.TemporaryDirectory() as scratch:
        articles = _unpack_sample(packages, Path(scratch) / "articles", jats_megabytes * 1e6)
        result: CorpusResult = {
            **conditions(
                f"corpus --raw DIR --repeats {repeats} --jats-megabytes {jats_megabytes:g}"
                f" --memory-gigabytes {memory_gigabytes:g} --copies {copies}",
                _LIBRARIES,
            ),
            "races": [*_medline_races(medline, repeats), *_jats_races(articles, repeats)],
            "stage": measure_stage(medline, packages, Path(scratch), repeats=repeats, copies=copies),
            "memory": _memory(medline, Path(scratch), memory_gigabytes) if memory_gigabytes else [],
        }
    page = corpus_page(result)
    write_result(output, f"corpus-{result['date']}", result, page)
    print(page)


def race(
    title: str, files: list[Path], contestants: list[Contestant], *, repeats: int, note: str = ""
) -> Race:
    """Let contestants take turns on files; who begins changes from turn to turn."""
    megabytes = sum(_expanded_bytes(path) for path in files) / 1e6
    documents = {item.name: _read_all(item, files) for item in contestants}  # also warms the file cache
    seconds: dict[str, list[float]] = {item.name: [] for item in contestants}
    for _, item in in_turns(contestants, repeats):
        begun = time.process_time()
        _read_all(item, files)
        seconds[item.name].append(time.process_time() - begun)
    speeds = [
        Speed(
            name=item.name,
            megabytes_per_second=[megabytes / taken for taken in seconds[item.name]],
            documents_per_second=[documents[item.name] / taken for taken in seconds[item.name]],
        )
        for item in contestants
    ]
    return Race(
        title=title,
        files=len(files),
        megabytes=megabytes,
        documents=documents[_READER],
        speeds=speeds,
        note=note,
    )


def _read_all(contestant: Contestant, files: list[Path]) -> int:
    return sum(contestant.read(path) for path in files)


def _medline_races(files: list[Path], repeats: int) -> list[Race]:
    ours = [
        Contestant(name=_WALK, read=_walk_medline),
        Contestant(name=_READER, read=lambda path: _count(read_medline(path))),
    ]
    races = [race("MEDLINE, all files", files, ours, repeats=repeats)]
    if (peer := pubmed_parser()) is not None:
        theirs = Contestant(name=_PEER, read=lambda path: _count(peer.parse_medline_xml(str(path))))
        shared = [path for path in files if path.name.endswith(".gz") and _can_read(theirs, path)]
        note = (
            f"{len(files) - len(shared)} of {len(files)} files left out: pubmed-parser stops at one of their"
            " records"
            if len(shared) < len(files)
            else ""
        )
        if shared:
            races.append(
                race(
                    "MEDLINE, the files that pubmed-parser can read",
                    shared,
                    [*ours, theirs],
                    repeats=repeats,
                    note=note,
                )
            )
    return races


def _jats_races(articles: list[Path], repeats: int) -> list[Race]:
    ours = [
        Contestant(name=_WALK, read=_walk_jats),
        Contestant(name=_READER, read=lambda path: _count([read_jats(path.read_bytes())])),
    ]
    if (peer := pubmed_parser()) is None:
        return [race("JATS", articles, ours, repeats=repeats)]

    def read(path: Path) -> int:
        peer.parse_pubmed_xml(str(path))
        peer.parse_pubmed_paragraph(str(path), all_paragraph=True)
        return 1

    theirs = Contestant(name=_PEER, read=read)
    shared = [path for path in articles if _can_read(theirs, path)]
    if not shared:
        return [race("JATS", articles, ours, repeats=repeats, note="pubmed-parser stops at all of them")]
    note = (
        f"{len(articles) - len(shared)} of {len(articles)} articles left out: pubmed-parser stops at them"
        if len(shared) < len(articles)
        else ""
    )
    return [race("JATS", shared, [*ours, theirs], repeats=repeats, note=note)]


def pubmed_parser() -> Any:
    """The package, or None where it is not installed."""
    try:
        return importlib.import_module("pubmed_parser")
    except ImportError:
        return None


def _can_read(contestant: Contestant, path: Path) -> bool:
    try:
        contestant.read(path)
    except Exception:
        return False
    return True


def _count(records: Iterable[object]) -> int:
    return sum(1 for _ in records)


def _walk_medline(path: Path) -> int:
    """What no reader on lxml can beat: build each record's tree and free it."""
    documents = 0
    with open_decompressed(path) as stream:
        for _, element in etree.iterparse(
            stream, events=("end",), tag=("PubmedArticle", "PubmedBookArticle"), **PARSER_OPTIONS
        ):
            documents += 1
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    return documents


def _walk_jats(path: Path) -> int:
    etree.fromstring(path.read_bytes(), etree.XMLParser(**PARSER_OPTIONS))
    return 1


def _expanded_bytes(path: Path) -> int:
    with open_decompressed(path) as stream:
        return sum(map(len, iter(lambda: stream.read(1 << 20), b"")))


def _unpack_sample(packages: list[RawFile], directory: Path, wanted_bytes: float) -> list[Path]:
    """Unpack every n-th article of all packages, so that about `wanted_bytes` of them are in `directory`."""
    directory.mkdir()
    total = sum(len(member.stream.read()) for file in packages for member in package_members(file.path))
    step = max(round(total / wanted_bytes), 1)
    paths = []
    members = itertools.chain.from_iterable(package_members(file.path) for file in packages)
    for index, member in enumerate(itertools.islice(members, 0, None, step)):
        paths.append(directory / f"{index:05d}.xml")
        paths[-1].write_bytes(member.stream.read())
    return paths


def _memory(medline: list[Path], scratch: Path, gigabytes: float) -> list[FileMemory]:
    """Peak memory of a process that reads the largest real file, and one that reads a far larger file of the
    same records."""
    largest = max(medline, key=_expanded_bytes)
    repeated = scratch / "repeated.xml.gz"
    _write_repeated(largest, repeated, int(gigabytes * 1e9))
    return [
        {
            "expanded_megabytes": _expanded_bytes(path) / 1e6,
            **cast(ReadingMemory, run_alone("benchmarks.corpus.memory", {"path": str(path)})),
        }
        for path in (largest, repeated)
    ]


def _write_repeated(source: Path, target: Path, wanted_bytes: int) -> None:
    """Repeat a file's records in one PubmedArticleSet until it is `wanted_bytes` long; every record gets a
    PMID of its own."""
    records = serialised_records(source)
    written, number = 0, _FIRST_NUMBER
    with igzip.open(target, "wb", compresslevel=1) as out:
        out.write(b"<?xml version='1.0' encoding='utf-8'?>\n<PubmedArticleSet>\n")
        for record in itertools.cycle(records):
            if written >= wanted_bytes:
                break
            number += 1
            written += out.write(_PMID.sub(rb"\g<1>%d\g<2>" % number, record, count=1))
        out.write(b"</PubmedArticleSet>\n")
