"""BioC in XML and JSON: documents of passages with offsets, annotations with locations. Comeau et al. 2013,
"BioC: a minimalist approach to interoperability for biomedical text processing"."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
    where: str
    passages: list[tuple[int, str]]
    """(offset, text)."""
    annotations: list[_Annotation]
    relations: int


def read_bioc(
    path: Path, kinds: frozenset[str], others: frozenset[str] = frozenset()
) -> tuple[list[AnnotatedDocument], Counter[str]]:
    """Read a file of either form; the first passage is the title. Offsets count the document's characters.

    Raises:
        UserError: not BioC, passages that overlap, an unknown type, an offset that does not fit, or a
            document without an ID or with one that is there twice; with line (XML) or document (JSON).
    """
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    is_json = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")
    counts: Counter[str] = Counter()
    documents: dict[str, AnnotatedDocument] = {}
    for document in _from_json(path, content) if is_json else _from_xml(path, content):
        if not document.name:
            raise UserError("a document without an ID", where=document.where, remedy="add its ID")
        if document.name in documents:
            what = f"document {document.name} is there twice"
            raise UserError(what, where=document.where, remedy="keep one of the two")
        documents[document.name] = _annotated(document, kinds, others, counts)
        counts["relations"] += document.relations
    if not documents:
        raise UserError("no document in the file", where=path, remedy="give a BioC file")
    return list(documents.values()), counts


def _annotated(
    document: _Document, kinds: frozenset[str], others: frozenset[str], counts: Counter[str]
) -> AnnotatedDocument:
    text, title_length = "", 0
    for number, (offset, passage) in enumerate(document.passages):
        if offset < len(text) + (number > 0):
            what = f"the passage at {offset} begins inside the one before it"
            raise UserError(what, where=document.where, remedy="correct the offsets: they count characters")
        text = text.ljust(offset) + passage
        title_length = len(text) if number == 0 else title_length
    builder = DocumentBuilder(document.name, text, title_length, kinds, others, counts)
    for annotation in document.annotations:
        if not annotation.parts:
            raise UserError("an annotation without a location", where=annotation.where, remedy="add it")
        builder.add(annotation.kind, annotation.parts, annotation.text, annotation.where)
    return builder.build()


def _from_xml(path: Path, content: bytes) -> Iterator[_Document]:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise UserError(f"not XML ({error})", where=path, remedy="restore the original file") from None
    for document in root.iter("document"):
        passages = [
            (_number(passage.findtext("offset"), path, passage), passage.findtext("text") or "")
            for passage in document.iter("passage")
        ]
        yield _Document(
            name=document.findtext("id") or "",
            where=f"{path}:{document.sourceline}",
            passages=passages,
            annotations=[_xml_annotation(path, annotation) for annotation in document.iter("annotation")],
            relations=sum(1 for _ in document.iter("relation")),
        )


def _xml_annotation(path: Path, annotation: Any) -> _Annotation:
    parts = []
    for place in annotation.iter("location"):
        start = _number(place.get("offset"), path, place)
        parts.append((start, start + _number(place.get("length"), path, place)))
    kinds = [infon.text or "" for infon in annotation.iter("infon") if infon.get("key") == "type"]
    where = f"{path}:{annotation.sourceline}"
    return _Annotation("".join(kinds[:1]), annotation.findtext("text") or "", sorted(parts), where)


def _number(text: str | None, path: Path, element: Any) -> int:
    if text is None or not text.strip().isdecimal():
        what = f"<{element.tag}> without an offset or length in characters"
        raise UserError(what, where=f"{path}:{element.sourceline}", remedy="restore the original file")
    return int(text)


def _from_json(path: Path, content: bytes) -> Iterator[_Document]:
    try:
        found = json.loads(content)
        for document in found["documents"] if isinstance(found, dict) else found:
            yield _json_document(path, document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"not BioC JSON ({type(error).__name__}: {error})"
        raise UserError(what, where=path, remedy="restore the original file") from None


def _json_document(path: Path, document: dict[str, Any]) -> _Document:
    where = f"{path}, document {document['id']}"
    annotations = [
        _Annotation(
            kind=annotation["infons"].get("type", ""),
            text=annotation["text"],
            parts=sorted(
                (part["offset"], part["offset"] + part["length"]) for part in annotation["locations"]
            ),
            where=f"{where}, annotation {annotation.get('id')}",
        )
        for passage in document["passages"]
        for annotation in passage.get("annotations", [])
    ]
    return _Document(
        name=str(document["id"]),
        where=where,
        passages=[(int(passage["offset"]), passage.get("text") or "") for passage in document["passages"]],
        annotations=annotations,
        relations=len(document.get("relations", [])),
    )
