"""Tags a stream of documents and writes it out again."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from biobert_scale.files import sync
from biobert_scale.tag.document import TextDocument
from biobert_scale.tag.documents import STANDARD
from biobert_scale.tag.outputs import OutputFormat, output_form
from biobert_scale.tag.tagger import Entity, EntityTagger, Prepared, merge_entities

_CHARACTERS_AT_ONCE = 1 << 16
"""Text that is prepared together: some ten forward passes on a CPU."""
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
        form: see `output_form`.
    """
    started, counted, number, characters = time.monotonic(), Counter[str](), 0, 0
    written = output_form(form, types_of(taggers))
    with _written(output) as stream, tqdm(unit=" documents", desc="tagging", disable=None) as bar:
        stream.write(written.beginning)
        for group, entities in tagged(group_documents(documents), taggers):
            for document, found in zip(group, entities, strict=True):
                stream.write(written.between if number else "")
                stream.write(written.write(document, found))
                number += 1
                counted.update(entity.type for entity in found)
                characters += len(document.text)
            stream.flush()
            bar.update(len(group))
        stream.write(written.end)
    return TagCounts(
        documents=number,
        characters=characters,
        entities=dict(sorted(counted.items())),
        seconds=time.monotonic() - started,
    )


def types_of(taggers: Sequence[EntityTagger]) -> list[str]:
    """All types that may be found."""
    return sorted({kind for tagger in taggers for kind in tagger.types})


def tagged(
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
            yield group, merge_entities(found)


def group_documents(documents: Iterable[TextDocument]) -> Iterator[list[TextDocument]]:
    """Documents of about 65,000 characters together."""
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
