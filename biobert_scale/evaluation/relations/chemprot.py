"""ChemProt (BioCreative VI, Krallinger et al. 2017): every pair of a chemical and a gene in one sentence, and
its relation.

Tab-separated files without a header: abstracts (PMID, title, abstract), entities (PMID, id, type, start, end,
text), relations (PMID, group, whether it is evaluated, name, Arg1:chemical, Arg2:gene). Offsets count
characters of the title, one separator, and the abstract.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from biobert_scale.errors import UserError
from biobert_scale.evaluation.pubtator import read_lines
from biobert_scale.evaluation.relations.masking import FALSE, Entity, Masked, RelationRow, mask

LABELS = ("CPR:3", "CPR:4", "CPR:5", "CPR:6", "CPR:9", FALSE)
"""The evaluated groups; pairs of another group, or of none, are `false`."""
_CHEMICAL, _GENE = "CHEMICAL", "GENE"
_KINDS = {_CHEMICAL: _CHEMICAL, "GENE-Y": _GENE, "GENE-N": _GENE, _GENE: _GENE}
"""GENE-Y: a gene that a database knows; GENE-N: another."""
_JOINT = "@CHEM-GENE$"

Spans = Iterable[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class ChemProtDocument:
    """An abstract with its entities (of `text`), and the groups of related pairs in the order of the file."""

    pmid: str
    title: str
    abstract: str
    entities: dict[str, Entity] = field(default_factory=dict)
    relations: list[tuple[str, str, str]] = field(default_factory=list)
    """Chemical, gene, group."""

    @property
    def text(self) -> str:
        """The string that offsets count in."""
        return f"{self.title}\t{self.abstract}"


def read_chemprot(abstracts: Path, entities: Path, relations: Path) -> list[ChemProtDocument]:
    """Read one split's three files and check every offset against the text.

    Raises:
        UserError: a malformed row, an unknown or repeated document or entity, an offset where another text
            is, or a relation that does not go from a chemical to a gene; with the line.
    """
    documents: dict[str, ChemProtDocument] = {}
    for where, (pmid, title, abstract) in _rows(abstracts, 3):
        if pmid in documents:
            raise _damaged(f"document {pmid} is there twice", where)
        documents[pmid] = ChemProtDocument(pmid=pmid, title=title, abstract=abstract)
    for where, (pmid, name, kind, start, end, text) in _rows(entities, 6):
        document = _known(documents, pmid, where)
        if kind not in _KINDS or not start.isdecimal() or not end.isdecimal() or name in document.entities:
            raise _damaged(
                "expected an entity's id, once, its type (CHEMICAL, GENE-Y, GENE-N) and ends", where
            )
        entity = Entity(id=name, kind=_KINDS[kind], start=int(start), end=int(end))
        if (found := document.text[entity.start : entity.end]) != text or not text:
            raise _damaged(f"the text at {start}-{end} is {found!r}, not {text!r}", where)
        document.entities[name] = entity
    for where, (pmid, group, _, _, first, second) in _rows(relations, 6):
        document = _known(documents, pmid, where)
        pair = first.removeprefix("Arg1:"), second.removeprefix("Arg2:")
        kinds = [document.entities[name].kind for name in pair if name in document.entities]
        if kinds != [_CHEMICAL, _GENE]:
            raise _damaged("expected Arg1:ID of a chemical and Arg2:ID of a gene", where)
        document.relations.append((*pair, group))
    return list(documents.values())


def punkt() -> Callable[[str], Spans]:
    """NLTK's sentence splitter with its English model (Kiss and Strunk 2006), by which BLURB's pairs were
    made."""
    from punkt import tokenizer_for

    return tokenizer_for("english").span_tokenize


def chemprot_rows(
    documents: Iterable[ChemProtDocument], split: Callable[[str], Spans] | None = None
) -> Masked:
    """Every pair of a chemical and a gene that are whole in one sentence.

    A pair with several groups has the last one of the file. An id is PMID, the entity that starts first (the
    gene, where both start together) and the other.

    Args:
        split: gives the ends of a text's sentences; `punkt` by default.

    Returns:
        The rows, and as counts: `overlapping_pairs`; `several_labels`: pairs with several groups;
        `cut_entities`: those that no sentence holds whole; and of the evaluated relations, that no row has:
        `relations_across_sentences`, and `overwritten_relations`, whose pair has a later group.
    """
    split, rows, counts = split or punkt(), list[RelationRow](), Counter[str]()
    for document in documents:
        groups = {(chemical, gene): group for chemical, gene, group in document.relations}
        held: set[str] = set()
        related: set[tuple[str, str]] = set()
        for start, end in _sentences(document, split):
            inside = [
                replace(entity, start=entity.start - start, end=entity.end - start)
                for entity in document.entities.values()
                if start <= entity.start and entity.end <= end
            ]
            held |= {entity.id for entity in inside}
            for pair in _pairs(inside):
                related.add((pair[0].id, pair[1].id))
                rows.append(_row(document, document.text[start:end], *pair, groups))
                counts["overlapping_pairs"] += _JOINT in rows[-1].sentence
        counts["cut_entities"] += len(document.entities.keys() - held)
        different = set(document.relations)
        labels = Counter((chemical, gene) for chemical, gene, _ in different)
        counts["several_labels"] += sum(number > 1 for number in labels.values())
        for chemical, gene, group in different:
            if group in LABELS and (chemical, gene) not in related:
                counts["relations_across_sentences"] += 1
            elif group in LABELS and groups[chemical, gene] != group:
                counts["overwritten_relations"] += 1
    return Masked(rows, counts)


def _row(
    document: ChemProtDocument,
    sentence: str,
    chemical: Entity,
    gene: Entity,
    groups: Mapping[tuple[str, str], str],
) -> RelationRow:
    first, second = (chemical, gene) if chemical.start < gene.start else (gene, chemical)
    group = groups.get((chemical.id, gene.id), FALSE)
    return RelationRow(
        id=f"{document.pmid}.{first.id}.{second.id}",
        document=document.pmid,
        sentence=mask(sentence, first, second, (f"@{first.kind}$", f"@{second.kind}$"), _JOINT),
        label=group if group in LABELS else FALSE,
    )


def _pairs(entities: Sequence[Entity]) -> Iterator[tuple[Entity, Entity]]:
    genes = [entity for entity in entities if entity.kind == _GENE]
    yield from ((entity, gene) for entity in entities if entity.kind == _CHEMICAL for gene in genes)


def _sentences(document: ChemProtDocument, split: Callable[[str], Spans]) -> Iterator[tuple[int, int]]:
    """Title and abstract are split apart from each other."""
    offset = 0
    for text in (document.title, document.abstract):
        yield from ((offset + start, offset + end) for start, end in split(text))
        offset += len(text) + 1


def _rows(path: Path, columns: int) -> Iterator[tuple[str, list[str]]]:
    for number, line in read_lines(path):
        fields = line.split("\t")
        if len(fields) != columns:
            raise _damaged(f"{len(fields)} fields where {columns} are due", f"{path}:{number}")
        yield f"{path}:{number}", fields


def _known(documents: dict[str, ChemProtDocument], pmid: str, where: str) -> ChemProtDocument:
    if pmid not in documents:
        raise _damaged(f"document {pmid} is not among the abstracts", where)
    return documents[pmid]


def _damaged(what: str, where: str) -> UserError:
    return UserError(what, where=where, remedy="restore the original file")
