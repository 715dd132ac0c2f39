"""What the readers make, and the reader of the Hallmarks of Cancer as BLURB and BLUE distribute them.

Hanahan and Weinberg's hallmarks: Baker et al. 2016, "Automatic semantic classification of scientific
literature according to the hallmarks of cancer". BLURB: Gu et al. 2021.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from biobert_scale.errors import UserError
from biobert_scale.evaluation.pubtator import read_lines

HALLMARKS = (
    "activating invasion and metastasis",
    "avoiding immune destruction",
    "cellular energetics",
    "enabling replicative immortality",
    "evading growth suppressors",
    "genomic instability and mutation",
    "inducing angiogenesis",
    "resisting cell death",
    "sustaining proliferative signaling",
    "tumor promoting inflammation",
)
HALLMARK_HEADER = "labels\tsentence\tindex"
_COLUMNS = {
    HALLMARK_HEADER: (0, 1, 2),  # BLURB
    "index\tsentence\tlabels": (2, 1, 0),  # BLUE
    "index\tsentence1\tsentence2\tlabel": (-1, 1, 0),  # BLUE's later script: four names above three fields
}
"""Known headers -> the places of labels, sentence and index."""


@dataclass(frozen=True, kw_only=True)
class TaggedSentence:
    """One sentence of an entity benchmark: words, their document characters, and gold tags (B, I, O)."""

    pmid: str
    sentence: int
    """Number of the sentence in its document, from 0."""
    tokens: list[str]
    starts: list[int]
    ends: list[int]
    tags: list[str]


@dataclass(frozen=True, kw_only=True)
class HallmarkDocument:
    """One abstract: its sentences, each sentence's hallmarks (numbers in `HALLMARKS`), and their union."""

    pmid: str
    sentences: list[str]
    sentence_labels: list[list[int]]
    labels: list[int]


def _damaged(what: str, where: Path | str) -> UserError:
    return UserError(what, where=where, remedy="restore the original file")


def is_sentence_break(line: str) -> bool:
    """An empty line, or the CoNLL-2003 files' mark of a new document."""
    return not line.strip() or line.split(maxsplit=1)[0] == "-DOCSTART-"


class TagTypes:
    """The types behind a file's tags, compared with those that a task has, capitals ignored.

    Args:
        kinds: the task's; empty: one type, whichever.
    """

    def __init__(self, kinds: Collection[str]) -> None:
        self._kinds = {kind.casefold(): kind for kind in kinds}
        self._entities: Counter[str] = Counter()
        self._lines: dict[str, int] = {}

    def note(self, letter: str, kind: str, line: int) -> None:
        """One tag with its line in the file."""
        if kind:
            self._lines.setdefault(kind, line)
            self._entities[kind] += letter == "B"

    @property
    def several(self) -> bool:
        return len({kind.casefold() for kind in self._lines}) > 1

    def check(self, path: Path, *, remedy: str) -> None:
        """Refuse types that are not the task's, with their numbers of entities.

        Raises:
            UserError: with the line of the first.
        """
        strange = [kind for kind in self._lines if kind.casefold() not in self._kinds]
        if not self._kinds and not self.several:
            return
        if strange:
            found = ", ".join(f"{kind} {self._entities[kind]:,}" for kind in sorted(strange))
            known = ", ".join(sorted(self._kinds.values())) or "a single one"
            first = min(self._lines[kind] for kind in strange)
            what = f"entities of other types than the task's ({found}; the task has {known})"
            raise UserError(what, where=f"{path}:{first}", remedy=remedy)


def read_hallmarks(path: Path) -> list[HallmarkDocument]:
    """Read sentence rows of labels, sentence and PMID_sN, in BLURB's or BLUE's columns (quotes are text), and
    gather them into documents.

    Where `<split>_pmid.tsv` is beside the file, the documents must be exactly those that it lists.

    Raises:
        UserError: a malformed row, a sentence out of its order, or documents other than the listed ones.
    """
    documents: dict[str, HallmarkDocument] = {}
    columns = _COLUMNS[HALLMARK_HEADER]
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        if number == 1:
            if line not in _COLUMNS:
                raise _damaged("expected the header labels, sentence, index", where)
            columns = _COLUMNS[line]
            continue
        fields = line.split("\t")
        flags, sentence, place = (fields[column] for column in columns) if len(fields) == 3 else ("", "", "")
        pmid, _, index = place.rpartition("_s")
        if not pmid or not index.isdecimal() or not sentence.strip():
            raise _damaged("expected three fields: labels, sentence, PMID_sN", where)
        labels = _hallmark_numbers(flags, where, names=columns[0] != 0)
        document = documents.setdefault(
            pmid, HallmarkDocument(pmid=pmid, sentences=[], sentence_labels=[], labels=[])
        )
        if int(index) != len(document.sentences):
            due = f"where sentence {len(document.sentences)} is due"
            raise _damaged(f"sentence {index} of document {pmid} is {due}", where)
        document.sentences.append(sentence)
        document.sentence_labels.append(labels)
        document.labels[:] = sorted({*document.labels, *labels})
    if not documents:
        raise _damaged("no document in the file", path)
    _check_listed(path, set(documents))
    return list(documents.values())


def _hallmark_numbers(field: str, where: str, *, names: bool) -> list[int]:
    """Labels from flags (`0_0,1_1,...`), or where `names` also from the hallmarks' names."""
    flags = field.split(",")
    if names and not flags[0].startswith("0_"):
        labels = [name.strip() for name in flags if name.strip() not in ("", "NULL")]
        if unknown := sorted(set(labels) - set(HALLMARKS)):
            raise _damaged(f"unknown hallmark '{unknown[0]}'", where)
        return sorted({HALLMARKS.index(name) for name in labels})
    known = [(f"{number}_0", f"{number}_1") for number in range(len(HALLMARKS))]
    if len(flags) != len(known) or any(flag not in pair for flag, pair in zip(flags, known, strict=True)):
        raise _damaged("expected labels as 0_0,1_0,...,9_0 with 1 where a hallmark applies", where)
    return [number for number, flag in enumerate(flags) if flag.endswith("_1")]


def _check_listed(path: Path, pmids: set[str]) -> None:
    listing = path.with_name(f"{path.stem}_pmid.tsv")
    if not listing.is_file():
        return
    listed = {
        name.strip().removesuffix(".txt")
        for _, line in read_lines(listing)
        for name in line.split(",")
        if name.strip()
    }
    if listed != pmids:
        what = f"{len(listed - pmids)} listed documents are missing and {len(pmids - listed)} are not listed"
        raise UserError(what, where=f"{path} ({listing.name})", remedy="restore the original files")
