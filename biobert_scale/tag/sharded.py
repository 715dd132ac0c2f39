"""The stage `tag`: a directory with an output for every input file, made by processes or array jobs.

A killed run resumes within a file: what is tagged is kept in parts, and the same groups of documents are
computed together again, so that the bytes are the same.
"""

from __future__ import annotations

import itertools
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch

from biobert_scale.config import SlurmConfig
from biobert_scale.corpus.not_read import NotRead
from biobert_scale.corpus.pipeline import Damage, damage, staged
from biobert_scale.corpus.task_runner import run_tasks
from biobert_scale.errors import UserError
from biobert_scale.evaluation.finetune import model_files
from biobert_scale.files import Manifest, describe_inputs, fingerprint, read_json, stage_key, write_json
from biobert_scale.ranges import WORKERS, check_number
from biobert_scale.stage import Stage
from biobert_scale.tag.document import TextDocument
from biobert_scale.tag.documents import STANDARD, read_inputs
from biobert_scale.tag.formats import InputFormat
from biobert_scale.tag.outputs import OutputFormat, output_form
from biobert_scale.tag.run import group_documents, tagged, types_of
from biobert_scale.tag.tagger import EntityTagger, TaggerConfig, load_taggers

STAGE = "tag"
SUFFIXES = {"jsonl": "jsonl", "pubtator": "pubtator", "bioc": "bioc.json", "csv": "csv", "html": "html"}
"""Of the outputs, which have their inputs' names before it."""
_GROUPS_PER_PART = 8
"""About 500,000 characters: what a killed task may lose."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _File:
    """An input, and its output's name in the stage's directory."""

    path: Path
    name: str
    sha256: str

    @property
    def key(self) -> str:
        """Names the file's notes and parts; of another content they are others."""
        return fingerprint([self.name, self.sha256])[:32]


class _Notes(TypedDict):
    """What was counted in a file."""

    key: str
    counts: dict[str, Any]
    not_read: NotRead
    damaged: list[Damage]
    """One, or none."""


def tag_files(
    models: Sequence[Path],
    files: Sequence[Path],
    output: Path,
    form: OutputFormat,
    *,
    given: Sequence[Path] = (),
    input_format: InputFormat = "auto",
    config: TaggerConfig = TaggerConfig(),
    workers: int = 1,
    slurm: SlurmConfig | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Tag every file, each into a file of its own. The bytes do not depend on `workers` or `slurm`.

    An interrupted run continues, also where files were mended, added or taken away meanwhile: what is tagged
    is kept.

    Args:
        models: see `EntityTagger`; each marks its own types.
        output: the stage's directory: of `raw/a/b.xml.gz`, where `raw` was given, `a/b.xml.gz.jsonl`.
        given: the directories among what `files` were found in.
        workers: processes, each on one core; one file is one process' work.
        slurm: run the files as array jobs instead; all paths are then on a file system that all nodes see.
        overwrite: replace another run's output.

    Returns:
        The manifest.

    Raises:
        UserError: files are damaged (the others are tagged, and the damaged ones up to that place; the stage
            is not finished), two files would have one output, or `output` holds something else.
    """
    check_number(workers, WORKERS, "--workers")
    if STANDARD in files or output == STANDARD:
        what = "standard input and output are no directory"
        raise UserError(what, where="--workers", remedy="give --input and --output, or leave it out")
    for directory in given:
        if directory.is_dir() and output.resolve().is_relative_to(directory.resolve()):
            raise UserError("the output is inside the input", where=output, remedy="choose another --output")
    named = {path: f"{_relative(path, given)}.{SUFFIXES[form]}" for path in files}
    if several := [name for name, number in Counter(named.values()).items() if number > 1]:
        where = ", ".join(str(path) for path, name in named.items() if name == several[0])
        remedy = "give the directory that holds both, or tag them into two outputs"
        raise UserError(f"two inputs have one output ({several[0]})", where=where, remedy=remedy)
    described = describe_inputs(files)
    tasks = [
        _File(path=path.absolute(), name=name, sha256=record["sha256"])
        for (path, name), record in zip(named.items(), described, strict=True)
    ]
    of_models = describe_inputs(file for model in models for file in model_files(model))
    settings = {"format": form, "input_format": input_format, "tagger": config}
    with Stage(
        output,
        STAGE,
        inputs=[*of_models, *described],
        config=settings,
        key=fingerprint(
            [stage_key(STAGE, of_models, settings), [(task.name, task.sha256) for task in tasks]]
        ),
        begun_key=stage_key(STAGE, of_models, settings),
        overwrite=overwrite,
        reads=[*models, *files],
    ) as stage:
        if stage.finished is not None:
            return stage.finished
        work = output / ".work"
        tag = _TagFile(
            [model.absolute() for model in models], tasks, output.absolute(), form, input_format, config
        )
        markers = work / f"tasks-{stage.key[:12]}"
        run_tasks(tag, tasks=len(tasks), workers=workers, slurm=slurm, work=markers, description="tagging")
        notes: list[_Notes] = [read_json(tag.notes(task)) for task in tasks]
        _refuse_damaged(notes)
        counts, rejects = _summed(notes)
        outputs = {output / task.name for task in tasks}
        for path in {*output.rglob("*")} - outputs:
            if path.is_file() and not _is_own(path.relative_to(output)):
                path.unlink()  # of a file that is no longer there, or of a killed writer
        manifest = stage.finish(
            counts=counts,
            rejects=rejects,
            outputs=outputs,
            libraries=["torch", "transformers", "tokenizers", "sentencex"],
        )
        shutil.rmtree(work, ignore_errors=True)
        return manifest


def _relative(path: Path, given: Sequence[Path]) -> Path:
    inside = next(
        (directory for directory in given if directory.is_dir() and path.is_relative_to(directory)), None
    )
    return path.relative_to(inside) if inside else Path(path.name)


def _is_own(path: Path) -> bool:
    """Whether a file is the stage's note or lock, or in the work directory."""
    top = path.parts[0]
    return top == ".work" or (top.startswith(".") and not top.endswith(".part"))


class _TagFile:
    """Task `rank`: file `rank`."""

    def __init__(
        self,
        models: list[Path],
        tasks: list[_File],
        output: Path,
        form: OutputFormat,
        input_format: InputFormat,
        config: TaggerConfig,
    ) -> None:
        self.models, self.tasks, self.output, self.form = models, tasks, output, form
        self.input_format, self.config = input_format, config
        self.taggers: list[EntityTagger] = []  # a process' tasks share them

    def notes(self, task: _File) -> Path:
        """What was counted in a file; written last."""
        return self.output / ".work" / "notes" / f"{fingerprint(task.name)[:32]}.json"

    def __call__(self, rank: int) -> None:
        task = self.tasks[rank]
        notes = self.notes(task)
        if notes.exists() and read_json(notes)["key"] == task.key:
            return
        notes.unlink(missing_ok=True)  # of another content
        if not self.taggers:
            torch.set_num_threads(1)  # each process has a core, and rounds as all others do
            self.taggers = load_taggers(self.models, self.config)
        form = output_form(self.form, types_of(self.taggers))
        not_read: NotRead = {}
        damaged: list[UserError] = []
        documents = self._until_damage(task.path, not_read, damaged)
        parts = self.output / ".work" / "parts" / task.key
        counts = {"documents": 0, "characters": 0}
        entities = Counter[str]()
        with (
            staged(self.output / task.name) as path,
            open(path, "w", encoding="utf-8", newline="\n") as stream,
        ):
            stream.write(form.beginning)
            for part in self._parts(documents, parts):
                if part["text"]:
                    stream.write(form.between if counts["documents"] else "")
                    stream.write(part["text"])
                counts = {name: number + part[name] for name, number in counts.items()}
                entities.update(part["entities"])
            stream.write(form.end)
        noted = _Notes(
            key=task.key,
            counts={**counts, "entities": entities},
            not_read=not_read,
            damaged=[damage(error) for error in damaged],
        )
        write_json(notes, noted)
        shutil.rmtree(parts, ignore_errors=True)

    def _until_damage(
        self, path: Path, not_read: NotRead, damaged: list[UserError]
    ) -> Iterator[TextDocument]:
        try:
            yield from read_inputs([path], self.input_format, not_read=not_read, damaged=None)
        except UserError as error:
            if error.exit_code != UserError.exit_code:
                raise
            damaged.append(error)  # said by the process that waits for all files

    def _parts(self, documents: Iterator[TextDocument], directory: Path) -> Iterator[dict[str, Any]]:
        """The file's parts in order: those that an interrupted run left are read, and the others made. What
        is read is cut into groups all the same: it costs little beside the model."""
        groups = group_documents(documents)
        for number in itertools.count():
            path = directory / f"{number:06d}.json"
            chosen = itertools.islice(groups, _GROUPS_PER_PART)
            if path.exists():
                if not sum(1 for _ in chosen):
                    return
            elif part := self._tag(chosen):
                write_json(path, part)
            else:
                return
            yield read_json(path)

    def _tag(self, groups: Iterator[list[TextDocument]]) -> dict[str, Any]:
        """A part of the output's text, and its counts; empty where no document is left."""
        form, characters, entities = output_form(self.form, types_of(self.taggers)), 0, Counter[str]()
        pieces = []
        for group, of_group in tagged(groups, self.taggers):
            for document, found in zip(group, of_group, strict=True):
                pieces.append(form.write(document, found))
                characters += len(document.text)
                entities.update(entity.type for entity in found)
        if not pieces:
            return {}
        text = form.between.join(pieces)
        return {"text": text, "documents": len(pieces), "characters": characters, "entities": entities}


def _summed(notes: Sequence[_Notes]) -> tuple[dict[str, Any], dict[str, int]]:
    """The manifest's counts and rejects."""
    entities, not_read = Counter[str](), Counter[str]()
    for each in notes:
        entities.update(each["counts"]["entities"])
        not_read.update({reason: unread["count"] for reason, unread in each["not_read"].items()})
    counts = {name: sum(each["counts"][name] for each in notes) for name in ("documents", "characters")}
    return {"files": len(notes), **counts, "entities": dict(sorted(entities.items()))}, dict(not_read)


def _refuse_damaged(notes: Sequence[_Notes]) -> None:
    damaged = [UserError(**found) for each in notes for found in each["damaged"]]
    for error in damaged:
        _log.error("%s", error)
    if damaged:
        what = f"{len(damaged)} of {len(notes)} files could not be read to their end (each is named above)"
        remedy = "mend them, or take them away, and run the same command again: all others are kept"
        raise UserError(what, where=damaged[0].where, remedy=remedy)
