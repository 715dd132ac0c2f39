"""BioC in XML and JSON: documents of passages with offsets, annotations with locations. Comeau et al. 2013,
"BioC: a minimalist approach to interoperability for biomedical text processing"."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lxml import etree

from biobert_scale.errors import UserError
from biobert_scale.evaluation.pubtator import AnnotatedDocument
from biobert_scale.evaluation.readers.annotations import DocumentBuilder


class _Annotation(NamedTuple):
    kind: str
    text: str
    parts: list[tuple[int, int]]
    where: str


class _Document(NamedTuple):
    name: str
    passages: list[tuple[int, str]]
    """(offset, text)."""
    annotations: list[_Annotation]
    relations: int


def read_bioc(
    path: Path, kinds: frozenset[str], others: frozenset[str] = frozenset()
) -> tuple[list[AnnotatedDocument], Counter[str]]:
    """Read a file of either form; the first passage is the title. Offsets count the document's characters.

    Raises:
        UserError: not BioC, passages that overlap, an unknown type, an offset that does not fit, or a document
            that is there twice.
    """
    counts: Counter[str] = Counter()
    documents: dict[str, AnnotatedDocument] = {}
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    found = _from_json(path, content) if content.lstrip()[:1] in (b"{", b"[") else _from_xml(path, content)
    for document in found:
        where = f"{path}: document {document.name}"
        text = ""
        for offset, passage in document.passages:
            if offset < len(text) + bool(text):
                what = f"the passage at {offset} begins inside the one before it"
                raise UserError(what, where=where, remedy="correct the offsets: they count characters")
            text = text.ljust(offset) + passage
        title_length = len(document.passages[0][1]) + document.passages[0][0] if document.passages else 0
        builder = DocumentBuilder(document.name, text, title_length, kinds, others, counts)
        for annotation in document.annotations:
            builder.add(annotation.kind, annotation.parts, annotation.text, annotation.where)
        counts["relations"] += document.relations
        if documents.setdefault(document.name, built := builder.build()) is not built:
            raise UserError(f"document {document.name} is there twice", where=path, remedy="keep one of them")
    if not documents:
        raise UserError("no document in the file", where=path, remedy="give a BioC file")
    return list(documents.values()), counts


def _from_xml(path: Path, content: bytes) -> Iterator[_Document]:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise UserError(f"not XML ({error})", where=path, remedy="restore the original file") from None
    for document in root.iter("document"):
        where = f"{path}:{document.sourceline}"
        try:
            passages = [
                (int(passage.findtext("offset", "")), passage.findtext("text") or "")
                for passage in document.iter("passage")
            ]
            annotations = [
                _Annotation(
                    kind=annotation.xpath("string(infon[@key='type'])"),
                    text=annotation.findtext("text") or "",
                    parts=sorted(
                        (int(place.get("offset")), int(place.get("offset")) + int(place.get("length")))
                        for place in annotation.iter("location")
                    ),
                    where=f"{path}:{annotation.sourceline}, annotation {annotation.get('id')}",
                )
                for annotation in document.iter("annotation")
            ]
        except (ValueError, TypeError):
            what = "a passage or annotation without its offset"
            raise UserError(what, where=where, remedy="restore the original file") from None
        yield _checked(
            _Document(
                document.findtext("id") or "",
                passages,
                annotations,
                sum(1 for _ in document.iter("relation")),
            ),
            where,
        )


def _from_json(path: Path, content: bytes) -> Iterator[_Document]:
    try:
        found = json.loads(content)
        for document in found["documents"] if isinstance(found, dict) else found:
            name, passages = str(document["id"]), document["passages"]
            annotations = [
                _Annotation(
                    kind=annotation["infons"].get("type", ""),
                    text=annotation["text"],
                    parts=sorted(
                        (place["offset"], place["offset"] + place["length"])
                        for place in annotation["locations"]
                    ),
                    where=f"{path}: document {name}, annotation {annotation.get('id')}",
                )
                for passage in passages
                for annotation in passage.get("annotations", [])
            ]
            texts = [(passage["offset"], passage.get("text", "")) for passage in passages]
            relations = len(document.get("relations", []))
            yield _checked(_Document(name, texts, annotations, relations), str(path))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"not BioC JSON ({type(error).__name__}: {error})"
        raise UserError(what, where=path, remedy="restore the original file") from None


def _checked(document: _Document, where: str) -> _Document:
    for annotation in document.annotations:
        if not annotation.parts:
            raise UserError("an annotation without a location", where=annotation.where, remedy="add it")
    if not document.name:
        raise UserError("a document without an ID", where=where, remedy="add its <id>")
    return document
