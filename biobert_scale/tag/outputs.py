"""Writes tagged documents: JSON lines, PubTator, BioC JSON, CSV, and a page with the entities in colours."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Literal, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from biobert_scale.evaluation.pubtator_blocks import LINE_BREAKS, one_line
from biobert_scale.tag.document import Section, TextDocument
from biobert_scale.tag.tagger import Entity

OutputFormat = Literal["jsonl", "pubtator", "bioc", "csv", "html"]
_JSON_LINE_BREAKS = re.compile(f"[{''.join(character for character in LINE_BREAKS if ord(character) > 127)}]")
"""What `json.dumps` leaves as it is in a string, and readers of lines split at."""
_CSV_COLUMNS = ("id", "start", "end", "type", "text", "score")
_HERE = "\0"


class Form(NamedTuple):
    """How a file of documents is written: its beginning, each document, what is between two, its end."""

    write: Callable[[TextDocument, Sequence[Entity]], str]
    beginning: str = ""
    between: str = ""
    end: str = ""


def output_form(name: OutputFormat, types: Sequence[str]) -> Form:
    """A format by its name.

    Args:
        types: the types that may be found.
    """
    if name == "jsonl":
        return Form(json_line)
    if name == "pubtator":
        return Form(pubtator_block)
    if name == "csv":
        return Form(csv_rows, beginning=",".join(_CSV_COLUMNS) + "\n")
    if name == "bioc":
        head = json.dumps({"source": "biobert-scale tag", "date": "", "key": "", "infons": {}})
        return Form(bioc_document, head.removesuffix("}") + ', "documents": [\n', ",\n", "\n]}\n")
    templates = template_environment("biobert_scale.tag")
    page = templates.get_template("page.html").render(types=types, documents=_HERE)
    beginning, end = page.split(_HERE)
    return Form(partial(_article, templates.get_template("document.html"), types), beginning, "", end)


def template_environment(package: str) -> Environment:
    """The templates of a package, and how they are filled in."""
    return Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style_sheet(types: Sequence[str]) -> str:
    """The colours and the type of `html`, as CSS."""
    return template_environment("biobert_scale.tag").get_template("style.css").render(types=types)


def json_line(document: TextDocument, entities: Sequence[Entity]) -> str:
    """`{"id", "text", "entities": [{"start", "end", "type", "text", "score"}]}` on one line;
    `text[start:end]` is the entity. A text of several sections has `"sections": [{"name", "start", "end"}]`,
    too."""
    rows = [asdict(entity) | {"score": round(entity.score, 4)} for entity in entities]
    found: dict[str, Any] = {"id": document.id, "text": document.text, "entities": rows}
    sections = document.stretches()
    if len(sections) > 1:
        found["sections"] = [
            {"name": section.name, "start": section.start, "end": section.start + len(section.text)}
            for section in sections
        ]
    line = json.dumps(found, ensure_ascii=False)
    return _JSON_LINE_BREAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", line) + "\n"


def pubtator_block(document: TextDocument, entities: Sequence[Entity]) -> str:
    """A document as PubTator has it, the concept `-` where it names one; line breaks of every kind and tabs
    in the text become blanks. Sections after the abstract keep a name of one letter, and are `b` else."""
    later = [(name if len(name) == 1 else "b", text) for name, text in document.sections]
    name = one_line(document.id).replace("|", " ")
    sections = [("t", document.title), ("a", document.abstract), *later]
    lines = [f"{name}|{letter}|{one_line(text)}\n" for letter, text in sections]
    for entity in entities:
        assert entity.text == document.text[entity.start : entity.end]
        lines.append(f"{name}\t{entity.start}\t{entity.end}\t{one_line(entity.text)}\t{entity.type}\t-\n")
    return "".join([*lines, "\n"])


def csv_rows(document: TextDocument, entities: Sequence[Entity]) -> str:
    """A row for each entity, with its score; a document without one has none."""
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator="\n")
    for entity in entities:
        score = f"{entity.score:.4f}"
        rows.writerow([document.id, entity.start, entity.end, entity.type, entity.text, score])
    return stream.getvalue()


def bioc_document(document: TextDocument, entities: Sequence[Entity]) -> str:
    """A BioC document: passages at their offsets in the text, each with the annotations that begin in it."""
    numbered = list(enumerate(entities))
    passages = []
    for section in document.stretches():
        text = section.text.strip(" ") or section.text
        start = section.start + section.text.index(text)
        within = range(section.start, section.start + len(section.text))
        annotations = [
            {
                "id": str(number),
                "infons": {"type": entity.type, "score": round(entity.score, 4)},
                "text": entity.text,
                "locations": [{"offset": entity.start, "length": entity.end - entity.start}],
            }
            for number, entity in numbered
            if entity.start in within
        ]
        infons = {"type": section.name}
        passages.append({"offset": start, "infons": infons, "text": text, "annotations": annotations})
    found = {"id": document.id, "infons": {}, "passages": passages, "relations": []}
    return json.dumps(found, ensure_ascii=False)


class _Piece(NamedTuple):
    text: str
    end: int
    entities: list[Entity]


class _Pieces(NamedTuple):
    name: str
    pieces: list[_Piece]


def _article(template: Any, types: Sequence[str], document: TextDocument, entities: Sequence[Entity]) -> str:
    sections = [_Pieces(section.name, _cut(section, entities)) for section in document.stretches()]
    return str(template.render(document=document, sections=sections, types=types))


def _cut(section: Section, entities: Sequence[Entity]) -> list[_Piece]:
    """A section in pieces, each with the entities that cover the whole of it: those of several models may
    overlap."""
    first, last = section.start, section.start + len(section.text)
    inside = [entity for entity in entities if entity.start < last and entity.end > first]
    places = {place for entity in inside for place in (entity.start, entity.end) if first < place < last}
    edges = sorted({first, last, *places})
    return [
        _Piece(
            section.text[start - first : end - first],
            end,
            [entity for entity in inside if entity.start <= start and entity.end >= end],
        )
        for start, end in itertools.pairwise(edges)
    ]
