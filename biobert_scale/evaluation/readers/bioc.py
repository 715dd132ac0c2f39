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


class BioCAnnotation(NamedTuple):
    kind: str
    text: str
    parts: list[tuple[int, int]]
    where: str


class BioCPassage(NamedTuple):
    offset: int
    """In characters of the document."""
    text: str
    kind: str
    """What the file calls it (`title`, `abstract`, ...); empty where it says nothing."""


class BioCDocument(NamedTuple):
    name: str
    """Its ID, or empty."""
    where: str
    """The place in the file."""
    passages: list[BioCPassage]
    annotations: list[BioCAnnotation]
    relations: int

    def stretches(self) -> list[str]:
        """The passages' texts, filled up with blanks: with one blank between them each begins at its offset.

        Raises:
            UserError: one begins inside the one before it.
        """
        texts: list[str] = []
        end = 0
        for number, passage in enumerate(self.passages):
            if passage.offset < end + (number > 0):
                what = f"the passage at {passage.offset} begins inside the one before it"
                raise UserError(what, where=self.where, remedy="correct the offsets: they count characters")
            if texts:
                texts[-1] += " " * (passage.offset - end - 1)
            texts.append(passage.text if texts else " " * passage.offset + passage.text)
            end = passage.offset + len(passage.text)
        return texts


def read_bioc(
    path: Path, kinds: frozenset[str], others: frozenset[str] = frozenset()
) -> tuple[list[AnnotatedDocument], Counter[str]]:
    """Read a file of either form; the first passage is the title. Offsets count the document's characters.

    Raises:
        UserError: not BioC, passages that overlap, an unknown type, an offset that does not fit, or a
            document without an ID or with one that is there twice; with line (XML) or document (JSON).
    """
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    counts: Counter[str] = Counter()
    documents: dict[str, AnnotatedDocument] = {}
    for document in bioc_documents(content, str(path)):
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
    document: BioCDocument, kinds: frozenset[str], others: frozenset[str], counts: Counter[str]
) -> AnnotatedDocument:
    text = " ".join(document.stretches())
    title_length = next((passage.offset + len(passage.text) for passage in document.passages), 0)
    builder = DocumentBuilder(document.name, text, title_length, kinds, others, counts)
    for annotation in document.annotations:
        if not annotation.parts:
            raise UserError("an annotation without a location", where=annotation.where, remedy="add it")
        builder.add(annotation.kind, annotation.parts, annotation.text, annotation.where)
    return builder.build()


def bioc_documents(content: bytes, where: str) -> Iterator[BioCDocument]:
    """Yield the documents of BioC, in XML or JSON; also of a list of JSON collections, as PMC's service gives
    it, and of PubTator's answers.

    Args:
        where: names the file in errors.

    Raises:
        UserError: it is not BioC; with line (XML) or document (JSON).
    """
    is_json = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")
    yield from _from_json(where, content) if is_json else _from_xml(where, content)


def _from_xml(path: str, content: bytes) -> Iterator[BioCDocument]:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise UserError(f"not XML ({error})", where=path, remedy="restore the original file") from None
    for document in root.iter("document"):
        passages = [
            BioCPassage(
                offset=_number(passage.findtext("offset"), path, passage),
                text=passage.findtext("text") or "",
                kind=_kind(passage),
            )
            for passage in document.iter("passage")
        ]
        yield BioCDocument(
            name=document.findtext("id") or "",
            where=f"{path}:{document.sourceline}",
            passages=passages,
            annotations=[_xml_annotation(path, annotation) for annotation in document.iter("annotation")],
            relations=sum(1 for _ in document.iter("relation")),
        )


def _kind(element: Any) -> str:
    return next(
        (infon.text or "" for infon in element.iterchildren("infon") if infon.get("key") == "type"), ""
    )


def _xml_annotation(path: str, annotation: Any) -> BioCAnnotation:
    parts = []
    for place in annotation.iter("location"):
        start = _number(place.get("offset"), path, place)
        parts.append((start, start + _number(place.get("length"), path, place)))
    where = f"{path}:{annotation.sourceline}"
    return BioCAnnotation(_kind(annotation), annotation.findtext("text") or "", sorted(parts), where)


def _number(text: str | None, path: str, element: Any) -> int:
    if text is None or not text.strip().isdecimal():
        what = f"<{element.tag}> without an offset or length in characters"
        raise UserError(what, where=f"{path}:{element.sourceline}", remedy="restore the original file")
    return int(text)


def _from_json(path: str, content: bytes) -> Iterator[BioCDocument]:
    try:
        found = json.loads(content)
        collections = found if isinstance(found, list) else [found]
        for collection in collections:
            documents = collection.get("documents", collection.get("PubTator3"))
            for document in [collection] if documents is None else documents:
                yield _json_document(path, document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"not BioC JSON ({type(error).__name__}: {error})"
        raise UserError(what, where=path, remedy="restore the original file") from None


def _json_document(path: str, document: dict[str, Any]) -> BioCDocument:
    where = f"{path}, document {document['id']}"
    annotations = [
        BioCAnnotation(
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
    return BioCDocument(
        name=str(document["id"]),
        where=where,
        passages=[
            BioCPassage(
                offset=int(passage["offset"]),
                text=passage.get("text") or "",
                kind=str(passage.get("infons", {}).get("type", "")),
            )
            for passage in document["passages"]
        ],
        annotations=annotations,
        relations=len(document.get("relations", [])),
    )
