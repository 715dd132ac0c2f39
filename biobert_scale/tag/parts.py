"""An input file in parts: documents that one process tags, and what it makes of them, each in a file of its
own until the file's output is put together."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict

import torch

from biobert_scale.corpus.not_read import NotRead
from biobert_scale.corpus.pipeline import Damage, damage, staged
from biobert_scale.errors import UserError
from biobert_scale.files import fingerprint, make_directory, read_json, write_atomically, write_json
from biobert_scale.tag.document import TextDocument
from biobert_scale.tag.documents import read_inputs
from biobert_scale.tag.formats import InputFormat
from biobert_scale.tag.outputs import OutputFormat, output_form
from biobert_scale.tag.run import group_documents, tagged, types_of
from biobert_scale.tag.tagger import EntityTagger, TaggerConfig, load_taggers

_GROUPS_PER_PART = 8
"""About 500,000 characters: what a killed task may lose, and what workers share out."""


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """An input, and where its output and its parts are."""

    path: Path
    output: Path
    """The stage's directory."""
    name: str
    """Of its output there."""
    sha256: str

    @property
    def key(self) -> str:
        """Names the file's parts; of another content they are others."""
        return fingerprint([self.name, self.sha256])[:32]

    @property
    def parts(self) -> Path:
        return self.output / ".work" / "parts" / self.key

    @property
    def read(self) -> Path:
        """What was counted when it was read; written after its parts' documents."""
        return self.parts / "read.json"

    @property
    def notes(self) -> Path:
        """What was counted in it; written after its output."""
        return self.output / ".work" / "notes" / f"{fingerprint(self.name)[:32]}.json"

    @property
    def is_done(self) -> bool:
        return self.notes.exists() and bool(read_json(self.notes)["key"] == self.key)

    def number_of_parts(self) -> int:
        """Of a file that was read."""
        read: ReadNotes = read_json(self.notes if self.is_done else self.read)
        return read["parts"]

    def documents(self, part: int) -> Path:
        return self.parts / f"{part:06d}.documents.json"

    def tagged(self, part: int) -> Path:
        return self.parts / f"{part:06d}.tagged.json"


class ReadNotes(TypedDict):
    """What was counted when a file was read."""

    parts: int
    not_read: NotRead
    damaged: list[Damage]
    """One, or none."""


class FileNotes(ReadNotes):
    """What was counted in a file."""

    key: str
    documents: int
    characters: int
    entities: dict[str, int]


class ReadFiles:
    """Task `rank`: write down the documents of file `rank` in parts."""

    def __init__(self, files: Sequence[InputFile], form: InputFormat) -> None:
        self.files, self.form = files, form

    def __call__(self, rank: int) -> None:
        file = self.files[rank]
        if file.is_done or file.read.exists():
            return
        not_read: NotRead = {}
        damaged: list[Damage] = []
        make_directory(file.parts)
        groups, number = group_documents(self._until_damage(file.path, not_read, damaged)), 0
        while part := list(islice(groups, _GROUPS_PER_PART)):
            content = json.dumps([[asdict(document) for document in group] for group in part])
            write_atomically(file.documents(number), content)
            number += 1
        write_json(file.read, ReadNotes(parts=number, not_read=not_read, damaged=damaged))

    def _until_damage(self, path: Path, not_read: NotRead, damaged: list[Damage]) -> Iterator[TextDocument]:
        try:
            yield from read_inputs([path], self.form, not_read=not_read, damaged=None)
        except UserError as error:
            if error.exit_code != UserError.exit_code:
                raise
            damaged.append(damage(error))  # said by the process that waits for all files


class TagParts:
    """Task `rank`: tag part `rank` of all files' parts."""

    def __init__(
        self,
        models: Sequence[Path],
        parts: Sequence[tuple[InputFile, int]],
        form: OutputFormat,
        config: TaggerConfig,
    ) -> None:
        self.models, self.parts, self.form, self.config = models, parts, form, config
        self.taggers: list[EntityTagger] = []  # a process' tasks share them

    def __call__(self, rank: int) -> None:
        file, number = self.parts[rank]
        if file.is_done or file.tagged(number).exists():
            return
        if not self.taggers:
            torch.set_num_threads(1)  # each process has a core, and rounds as all others do
            self.taggers = load_taggers(self.models, self.config)
        groups = ([_document(each) for each in group] for group in read_json(file.documents(number)))
        write_json(file.tagged(number), self._tag(groups))
        file.documents(number).unlink()

    def _tag(self, groups: Iterator[list[TextDocument]]) -> dict[str, Any]:
        """A part of the output's text, and its counts."""
        form, characters, entities = output_form(self.form, types_of(self.taggers)), 0, Counter[str]()
        pieces = []
        for group, of_group in tagged(groups, self.taggers):
            for document, found in zip(group, of_group, strict=True):
                pieces.append(form.write(document, found))
                characters += len(document.text)
                entities.update(entity.type for entity in found)
        text = form.between.join(pieces)
        return {"text": text, "documents": len(pieces), "characters": characters, "entities": entities}


def _document(fields: dict[str, Any]) -> TextDocument:
    tuples = {"sections": tuple(map(tuple, fields["sections"])), "names": tuple(fields["names"])}
    return TextDocument(**{**fields, **tuples})


def join_parts(file: InputFile, form: OutputFormat, types: Sequence[str]) -> FileNotes:
    """Put a file's output together, once; returns what was counted in it.

    Args:
        types: that the models mark.
    """
    if not file.is_done:
        read: ReadNotes = read_json(file.read)
        written, counts, entities = output_form(form, types), Counter[str](), Counter[str]()
        with (
            staged(file.output / file.name) as path,
            open(path, "w", encoding="utf-8", newline="\n") as stream,
        ):
            stream.write(written.beginning)
            for number in range(read["parts"]):
                part = read_json(file.tagged(number))
                stream.write((written.between if number else "") + part["text"])
                counts.update({name: part[name] for name in ("documents", "characters")})
                entities.update(part["entities"])
            stream.write(written.end)
        notes = FileNotes(
            **read,
            key=file.key,
            documents=counts["documents"],
            characters=counts["characters"],
            entities=entities,
        )
        write_json(file.notes, notes)
    shutil.rmtree(file.parts, ignore_errors=True)
    found: FileNotes = read_json(file.notes)
    return found
