"""Every output format gives each entity back at its place, whatever is in the text."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from pathlib import Path

import pytest
from lxml import etree, html

from biobert_scale.evaluation.readers.bioc import read_bioc
from biobert_scale.tag.document import TextDocument
from biobert_scale.tag.documents import read_documents
from biobert_scale.tag.outputs import OutputFormat, output_form
from biobert_scale.tag.tagger import Entity

TYPES = ("Disease", "Gene <A&B>")
WORDS = ["leaf", "palsy", "<i>", '"q"', "=1+2", "ﬁ", "𝒳-ray", "a|b", "&amp;", "é", "{{x}}", "\u2028", "x\ty"]


def made(number: int) -> tuple[TextDocument, list[Entity]]:
    """A document of one to five sections and entities of two models, which may overlap."""
    rng = random.Random(number)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 12))) for _ in range(rng.randint(1, 5))]
    document = TextDocument(
        id=f"{number}",
        title=texts[0],
        abstract="".join(texts[1:2]),
        sections=tuple(("paragraph", text) for text in texts[2:]),
    )
    entities = []
    for section in document.stretches():
        for kind in TYPES:
            words = [word.span() for word in re.finditer(r"\S+", section.text)]
            if not words:
                continue
            first = rng.randrange(len(words))
            last = min(first + rng.randrange(3), len(words) - 1)
            start, end = section.start + words[first][0], section.start + words[last][1]
            text = document.text[start:end]
            entities.append(Entity(start=start, end=end, type=kind, text=text, score=rng.random()))
    return document, sorted(entities)


def written(name: OutputFormat, documents: list[tuple[TextDocument, list[Entity]]]) -> str:
    form = output_form(name, TYPES)
    return form.beginning + form.between.join(form.write(*each) for each in documents) + form.end


@pytest.mark.parametrize("number", [0, 1, 7, 200])
def test_bioc_json_is_read_back_with_every_entity(number: int, tmp_path: Path) -> None:
    documents = [made(each) for each in range(number)]
    path = tmp_path / "out.json"
    path.write_text(written("bioc", documents))
    collection = json.loads(path.read_text())
    assert len(collection["documents"]) == number
    if not number:
        return
    for (document, entities), found in zip(documents, read_documents(path), strict=True):
        assert found.id == document.id and found.text.rstrip() == document.text.rstrip()
        assert all(found.text[entity.start : entity.end] == entity.text for entity in entities)
    given, _ = read_bioc(path, frozenset(TYPES))
    for (document, entities), annotated in zip(documents, given, strict=True):
        spans = {(entity.start, entity.end, entity.type) for entity in entities}
        assert {(each.start, each.end, each.kind) for each in annotated.mentions} == spans, document


def test_json_lines_name_the_sections() -> None:
    for number in range(50):
        document, entities = made(number)
        found = json.loads(written("jsonl", [(document, entities)]))
        sections = [found["text"][each["start"] : each["end"]] for each in found.get("sections", [])]
        assert sections == ([text for _, _, text in document.stretches()] if len(sections) else [])
        assert ("sections" in found) == (len(document.stretches()) > 1)


def test_csv_has_a_row_for_each_entity() -> None:
    documents = [made(number) for number in range(50)]
    rows = list(csv.DictReader(io.StringIO(written("csv", documents), newline="")))
    due = [(document.id, entity) for document, entities in documents for entity in entities]
    assert len(rows) == len(due)
    for row, (name, entity) in zip(rows, due, strict=True):
        assert (row["id"], int(row["start"]), int(row["end"])) == (name, entity.start, entity.end)
        assert (row["type"], row["text"]) == (entity.type, entity.text)


def test_the_page_shows_the_text_and_marks_what_entities_cover() -> None:
    documents = [made(number) for number in range(50)]
    root = html.fromstring(written("html", documents))
    for element in root.iter("small"):
        if element.getparent().tag == "mark":
            element.text = ""
    articles = root.findall(".//article")
    assert len(articles) == len(documents)
    for article, (document, entities) in zip(articles, documents, strict=True):
        shown = ["".join(part.itertext()) for part in article.iter("h1", "p")]
        assert shown == [text for _, _, text in document.stretches()]
        marked = sum(len("".join(mark.itertext())) for mark in article.iter("mark"))
        assert marked == len({place for each in entities for place in range(each.start, each.end)})
    assert not root.findall(".//script") and isinstance(root, etree._Element)
