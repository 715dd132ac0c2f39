"""DDIExtraction 2013 (Herrero-Zazo et al. 2013): every pair of drugs that its XML files list, and their
interaction.

One file a document: sentences with entities and pairs. Offsets count characters of the sentence, the last one
included (`3-9`); a name in several stretches (`3-9;14-20`) is taken from its first character to its last.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from biobert_scale.errors import UserError
from biobert_scale.evaluation.pubtator import read_lines
from biobert_scale.evaluation.relations.masking import Entity, Masked, RelationRow, mask, overlap

TYPES = ("mechanism", "effect", "advise", "int")
LABELS = tuple(f"DDI-{name}" for name in (*TYPES, "false"))
_DRUG, _JOINT = "@DRUG$", "@DRUG-DRUG$"


@dataclass(frozen=True, kw_only=True)
class DrugPair:
    id: str
    first: Entity
    """Starts no later than `second`."""
    second: Entity
    label: str


@dataclass(frozen=True, kw_only=True)
class DrugSentence:
    document: str
    text: str
    pairs: list[DrugPair]
    discontinuous: int
    """Names in several stretches."""


def find_corpus(listing: Path) -> Path:
    """The directory that a list's paths begin at: the list's own, the one above it, or one at most two levels
    below either of them.

    Raises:
        UserError: the first file of the list is in none of them.
    """
    first = next((line.strip() for _, line in read_lines(listing) if line.strip()), "")
    homes = listing.parent, listing.parent.parent
    below = [place for home in homes for depth in ("*/", "*/*/") for place in sorted(home.glob(depth))]
    for place in (*homes, *below):
        if os.path.isfile(place / first):  # also of directories that may not be read
            return place
    remedy = "unpack the corpus beside the list, or beside the list's directory"
    raise UserError(f"{first or 'a listed file'} is not there", where=f"{listing}:1", remedy=remedy)


def listed_files(corpus: Path, listing: Path) -> list[Path]:
    """The files that a list names, in its order; see `read_ddi`."""
    found = []
    for number, line in read_lines(listing):
        if not line.strip():
            continue
        path = corpus / line.strip()
        if not path.is_file():
            raise UserError(
                f"{path} is not there", where=f"{listing}:{number}", remedy="restore the original files"
            )
        found.append(path)
    return found


def read_ddi(corpus: Path, listing: Path) -> list[DrugSentence]:
    """Read the files that a list names, in its order.

    Args:
        corpus: the directory that the list's paths begin at.
        listing: one path a line.

    Raises:
        UserError: a file that is not there or no such XML, or an offset, pair or type that does not fit; with
            the place.
    """
    return [sentence for path in listed_files(corpus, listing) for sentence in _read_document(path)]


def ddi_rows(sentences: Iterable[DrugSentence]) -> Masked:
    """Every pair, in the order of the files; line ends and tabs in a sentence become blanks.

    Returns:
        The rows, and as counts: `overlapping_pairs`; `discontinuous_names`.
    """
    rows, counts = list[RelationRow](), Counter[str]()
    for sentence in sentences:
        counts["discontinuous_names"] += sentence.discontinuous
        text = sentence.text.translate(_BLANKS)
        for pair in sentence.pairs:
            counts["overlapping_pairs"] += overlap(pair.first, pair.second)
            masked = mask(text, pair.first, pair.second, (_DRUG, _DRUG), _JOINT)
            rows.append(RelationRow(pair.id, sentence.document, masked, pair.label))
    return Masked(rows, counts)


_BLANKS = str.maketrans("\r\n\t", "   ")


def _read_document(path: Path) -> list[DrugSentence]:
    try:
        root = etree.parse(path, etree.XMLParser(resolve_entities=False, no_network=True)).getroot()
    except etree.XMLSyntaxError as error:
        raise _damaged(f"not XML ({error.msg})", str(path)) from None
    if root.tag != "document" or not root.get("id"):
        raise _damaged("expected a <document> with an id", str(path))
    return [_read_sentence(root.get("id", ""), element, path) for element in root.iterfind("sentence")]


def _read_sentence(document: str, element: etree._Element, path: Path) -> DrugSentence:
    text, names, pairs = element.get("text", ""), dict[str, Entity](), list[DrugPair]()
    for entity in element.iterfind("entity"):
        start, end = _ends(entity.get("charOffset", ""), f"{path}:{entity.sourceline}")
        if not 0 <= start < end <= len(text):
            raise _damaged(f"no characters {start}-{end - 1} in the sentence", f"{path}:{entity.sourceline}")
        name = entity.get("id", "")
        names[name] = Entity(id=name, kind=entity.get("type", ""), start=start, end=end)
    for pair in element.iterfind("pair"):
        where = f"{path}:{pair.sourceline}"
        ends = [names.get(pair.get(end, "")) for end in ("e1", "e2")]
        if None in ends or not pair.get("id"):
            raise _damaged("a pair of entities that the sentence does not have", where)
        label = f"DDI-{pair.get('type')}" if pair.get("ddi") == "true" else "DDI-false"
        if label not in LABELS:
            raise _damaged(f"an interaction of no known type ({pair.get('type')})", where)
        first, second = sorted((name for name in ends if name), key=lambda name: name.start)
        pairs.append(DrugPair(id=pair.get("id", ""), first=first, second=second, label=label))
    stretches = [entity.get("charOffset", "") for entity in element.iterfind("entity")]
    return DrugSentence(
        document=document, text=text, pairs=pairs, discontinuous=sum(";" in each for each in stretches)
    )


def _ends(offsets: str, where: str) -> tuple[int, int]:
    numbers = offsets.replace(";", "-").split("-")
    if len(numbers) < 2 or not all(number.isdecimal() for number in numbers):
        raise _damaged(f"'{offsets}' are no offsets", where)
    return int(numbers[0]), int(numbers[-1]) + 1


def _damaged(what: str, where: str) -> UserError:
    return UserError(what, where=where, remedy="restore the original file")
