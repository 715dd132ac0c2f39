"""Tags a stream of documents and writes it out again, as JSON lines or PubTator."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TextIO

from tqdm import tqdm

from biobert_scale.evaluation.pubtator_blocks import LINE_BREAKS, one_line
from biobert_scale.files import sync
from biobert_scale.tag.documents import STANDARD, TextDocument
from biobert_scale.tag.tagger import Entity, EntityTagger, Prepared

OutputFormat = Literal["jsonl", "pubtator"]
_CHARACTERS_AT_ONCE = 1 << 16
"""Text that is prepared together: some ten forward passes on a CPU."""
_JSON_LINE_BREAKS = re.compile(f"[{''.join(character for character in LINE_BREAKS if ord(character) > 127)}]")
"""What `json.dumps` leaves as it is in a string, and readers of lines split at."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TagCounts:
    documents: int
    characters: int
    entities: dict[str, int]
    """By type."""
    seconds: float


def tag_stream(
    documents: Iterable[TextDocument], taggers: Sequence[EntityTagger], output: Path, form: OutputFormat
) -> TagCounts:
    """Tag documents one group after another and write each group as soon as it is done, in the order of the
    input.

    Args:
        taggers: each marks its own types; their entities are put in one order.
        output: a file, written beside and renamed at the end; `-` for standard output.
        form: `jsonl` (one object a document: `id`, `text`, `entities`) or `pubtator`.
    """
    started, counted, number, characters = time.monotonic(), Counter[str](), 0, 0
    write = json_line if form == "jsonl" else pubtator_block
    with _written(output) as stream, tqdm(unit=" documents", desc="tagging", disable=None) as bar:
        for group, entities in _tagged(_groups(documents), taggers):
            for document, found in zip(group, entities, strict=True):
                stream.write(write(document, found))
                counted.update(entity.type for entity in found)
                characters += len(document.text)
            stream.flush()
            number += len(group)
            bar.update(len(group))
    return TagCounts(
        documents=number,
        characters=characters,
        entities=dict(sorted(counted.items())),
        seconds=time.monotonic() - started,
    )


def _tagged(
    groups: Iterator[list[TextDocument]], taggers: Sequence[EntityTagger]
) -> Iterator[tuple[list[TextDocument], list[list[Entity]]]]:
    """Each group with its entities. While one is computed the next is read and cut into pieces by a
    thread."""

    def prepare() -> tuple[list[TextDocument], list[Prepared]]:
        group = next(groups, [])
        return group, [tagger.prepare(group) for tagger in taggers] if group else []

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(prepare)
        while (ready := coming.result())[0]:
            coming = pool.submit(prepare)
            group, prepared = ready
            found = [tagger.compute(part) for tagger, part in zip(taggers, prepared, strict=True)]
            yield group, [sorted(itertools.chain(*of_taggers)) for of_taggers in zip(*found, strict=True)]


def _groups(documents: Iterable[TextDocument]) -> Iterator[list[TextDocument]]:
    group: list[TextDocument] = []
    characters = 0
    for document in documents:
        group.append(document)
        characters += len(document.text)
        if characters >= _CHARACTERS_AT_ONCE:
            yield group
            group, characters = [], 0
    if group:
        yield group


def json_line(document: TextDocument, entities: Sequence[Entity]) -> str:
    """`{"id", "text", "entities": [{"start", "end", "type", "text", "score"}]}` on one line;
    `text[start:end]` is the entity."""
    rows = [asdict(entity) | {"score": round(entity.score, 4)} for entity in entities]
    line = json.dumps({"id": document.id, "text": document.text, "entities": rows}, ensure_ascii=False)
    return _JSON_LINE_BREAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", line) + "\n"


def pubtator_block(document: TextDocument, entities: Sequence[Entity]) -> str:
    """A document as PubTator has it, the concept `-` where it names one; line breaks of every kind and tabs
    in the text become blanks."""
    sections = [("t", document.title), ("a", document.abstract), *document.sections]
    lines = [f"{document.id}|{letter}|{one_line(text)}\n" for letter, text in sections]
    for entity in entities:
        assert entity.text == document.text[entity.start : entity.end]
        name = one_line(entity.text)
        lines.append(f"{document.id}\t{entity.start}\t{entity.end}\t{name}\t{entity.type}\t-\n")
    return "".join([*lines, "\n"])


@contextmanager
def _written(output: Path) -> Iterator[TextIO]:
    if output == STANDARD:
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr] # whatever the terminal's locale says
        yield sys.stdout
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    staging = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with open(staging, "w", encoding="utf-8", newline="\n") as stream:
            yield stream
        sync(staging)
        os.replace(staging, output)
        sync(output.parent)
    finally:
        staging.unlink(missing_ok=True)
