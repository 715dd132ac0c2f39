"""The stage `tag`: a directory with an output for every input file, made by processes or array jobs.

Files are read in parts, parts are tagged, and each file's are put together. The same groups of documents are
computed together whoever tags them, so that a killed run, which keeps the parts that it has, gives the same
bytes.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from biobert_scale.config import SlurmConfig
from biobert_scale.corpus.task_runner import run_tasks
from biobert_scale.errors import UserError
from biobert_scale.evaluation.finetune import model_files
from biobert_scale.files import Manifest, describe_inputs, fingerprint, stage_key
from biobert_scale.ranges import WORKERS, check_number
from biobert_scale.stage import Stage
from biobert_scale.tag.documents import STANDARD
from biobert_scale.tag.formats import InputFormat
from biobert_scale.tag.outputs import OutputFormat
from biobert_scale.tag.parts import FileNotes, InputFile, ReadFiles, TagParts, join_parts
from biobert_scale.tag.tagger import TaggerConfig, model_types

STAGE = "tag"
SUFFIXES = {"jsonl": "jsonl", "pubtator": "pubtator", "bioc": "bioc.json", "csv": "csv", "html": "html"}
"""Of the outputs, which have their inputs' names before it."""
_log = logging.getLogger(__name__)


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
        workers: processes, each on one core, which share out the files to read and then their parts.
        slurm: run them as two array jobs instead; all paths are then on a file system that all nodes see.
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
    types = sorted({kind for model in models for kind in model_types(model)})
    described = describe_inputs(files)
    inputs = [
        InputFile(path=path.absolute(), output=output.absolute(), name=name, sha256=record["sha256"])
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
            [stage_key(STAGE, of_models, settings), [(file.name, file.sha256) for file in inputs]]
        ),
        begun_key=stage_key(STAGE, of_models, settings),
        overwrite=overwrite,
        reads=[*models, *files],
    ) as stage:
        if stage.finished is not None:
            return stage.finished
        work = output / ".work"
        markers = work / f"tasks-{stage.key[:12]}"
        run_tasks(
            ReadFiles(inputs, input_format),
            tasks=len(inputs),
            workers=workers,
            slurm=slurm,
            work=markers / "read",
            description="reading",
        )
        parts = [(file, part) for file in inputs for part in range(file.number_of_parts())]
        run_tasks(
            TagParts([model.absolute() for model in models], parts, form, config),
            tasks=len(parts),
            workers=workers,
            slurm=slurm,
            work=markers / "tag",
            description="tagging",
        )
        notes = [join_parts(file, form, types) for file in inputs]
        _refuse_damaged(notes)
        counts, rejects = _summed(notes)
        outputs = {output / file.name for file in inputs}
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


def _summed(notes: Sequence[FileNotes]) -> tuple[dict[str, Any], dict[str, int]]:
    """The manifest's counts and rejects."""
    entities, not_read = Counter[str](), Counter[str]()
    for each in notes:
        entities.update(each["entities"])
        not_read.update({reason: unread["count"] for reason, unread in each["not_read"].items()})
    documents = sum(each["documents"] for each in notes)
    characters = sum(each["characters"] for each in notes)
    counts = {"files": len(notes), "documents": documents, "characters": characters}
    return {**counts, "entities": dict(sorted(entities.items()))}, dict(not_read)


def _refuse_damaged(notes: Sequence[FileNotes]) -> None:
    damaged = [UserError(**found) for each in notes for found in each["damaged"]]
    for error in damaged:
        _log.error("%s", error)
    if damaged:
        what = f"{len(damaged)} of {len(notes)} files could not be read to their end (each is named above)"
        remedy = "mend them, or take them away, and run the same command again: all others are kept"
        raise UserError(what, where=damaged[0].where, remedy=remedy)
