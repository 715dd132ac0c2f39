"""Documents in; token shards out: sentences found, split into word pieces, and laid end to end.

One document shard makes one token shard in each split: one task a shard, with completion markers, so that an
interrupted build resumes where it was.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tqdm import tqdm

from biobert_scale.config import SlurmConfig, TokensConfig
from biobert_scale.corpus.build import STAGE as CORPUS_STAGE
from biobert_scale.corpus.document import private_sources
from biobert_scale.corpus.pipeline import staged
from biobert_scale.corpus.task_runner import run_tasks
from biobert_scale.errors import UserError
from biobert_scale.files import (
    MANIFEST,
    Manifest,
    describe_inputs,
    fingerprint,
    read_json,
    read_manifest,
    sha256_file,
    stage_key,
    write_json,
)
from biobert_scale.ranges import WORKERS, check_number
from biobert_scale.stage import Stage
from biobert_scale.tokens.pieces import WordPieces, tokenize_documents
from biobert_scale.tokens.shards import (
    SPLITS,
    Rows,
    id_type,
    schema,
    shard_name,
    token_counts,
    write_dataset_files,
)
from biobert_scale.tokens.sources import SourceRun, write_runs
from biobert_scale.tokens.vocabulary import REPORT as VOCABULARY_REPORT
from biobert_scale.tokens.vocabulary import STAGE as VOCABULARY_STAGE
from biobert_scale.tokens.vocabulary import load_tokenizer, special_ids

STAGE = "tokens"
_FILES = "0.2.0"
"""The version of the package that last changed which files are written."""
_DOCUMENTS_AT_ONCE = 128
_log = logging.getLogger(__name__)


def build_tokens(
    corpus: Path,
    vocabulary: Path,
    output: Path,
    config: TokensConfig,
    *,
    workers: int = 1,
    slurm: SlurmConfig | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write the splits `train` and `validation`, and the tokenizer beside them.

    Args:
        corpus: a finished corpus.
        vocabulary: a finished vocabulary.
        workers: processes at once, each on one core; the output does not depend on it.
        slurm: run the shards as array jobs instead; `output` is then on a file system that all nodes see.

    Returns:
        The manifest. The corpus' documents are those of both splits plus the rejects: `no_text` (no piece at
        all) and `unknown_pieces_only`. `unknown_sentences` counts what was left out of the documents that
        stayed.

    Raises:
        UserError: an input is missing, unfinished or damaged, `output` holds something else, or no document
            is left to train on.
    """
    check_number(workers, WORKERS, "--workers")
    corpus_manifest = read_manifest(corpus, CORPUS_STAGE)
    vocabulary_manifest = read_manifest(vocabulary, VOCABULARY_STAGE)
    inputs = describe_inputs([corpus, vocabulary])
    work = output / ".work"
    private = private_sources(corpus_manifest)
    with Stage(
        output,
        STAGE,
        inputs=inputs,
        config={**asdict(config), "private_sources": private} if private else config,
        key=fingerprint([stage_key(STAGE, inputs, config), _FILES]),
        overwrite=overwrite,
        reads=[corpus, vocabulary],
    ) as stage:
        if stage.finished is not None:
            shutil.rmtree(work, ignore_errors=True)
            return stage.finished
        for name in vocabulary_manifest.outputs:
            _check_file(vocabulary, vocabulary_manifest, name)
        entries = vocabulary_manifest.counts["entries"]
        tokenize = _Tokenize(corpus, corpus_manifest, vocabulary, output, entries, config)
        shards = len(tokenize.sources)
        run_tasks(
            tokenize,
            tasks=shards,
            workers=workers,
            slurm=slurm,
            work=work / "tasks",
            description="tokenizing",
        )
        counts, rejects = tokenize.count()
        _check_counts(counts, rejects, corpus)
        others = write_dataset_files(output, schema(tokenize.entries), len(tokenize.sources), stage.key)
        others += [write_runs(output / split, runs) for split, runs in tokenize.runs().items() if runs]
        left_out = shutil.ignore_patterns(MANIFEST, VOCABULARY_REPORT)
        shutil.copytree(vocabulary, output / "tokenizer", dirs_exist_ok=True, ignore=left_out)
        names = (name for name in vocabulary_manifest.outputs if name != VOCABULARY_REPORT)
        others += [output / "tokenizer" / name for name in names]
        for split in SPLITS:
            for stale in (output / split).glob(".*.part"):  # of a killed task
                stale.unlink()
        manifest = stage.finish(
            counts=counts,
            rejects=rejects,
            outputs=[*(path for split in SPLITS for path in tokenize.shards(split)), *others],
            libraries=["tokenizers", "sentencex", "pyarrow", "datasets"],
        )
        shutil.rmtree(work, ignore_errors=True)
        return manifest


def _check_counts(counts: dict[str, Any], rejects: dict[str, int], corpus: Path) -> None:
    assert counts["documents"] == sum(counts[split]["documents"] for split in SPLITS) + sum(rejects.values())
    if not counts["train"]["documents"]:
        reasons = ", ".join(f"{reason} {number}" for reason, number in rejects.items())
        what = f"no document is left to train on of {counts['documents']}{reasons and f' ({reasons})'}"
        remedy = "build a larger corpus, or check that the vocabulary fits its language"
        raise UserError(what, where=corpus, remedy=remedy)
    if not counts["validation"]["documents"]:
        message = "no document fell into the validation split: hold out more with tokens.validation_fraction"
        _log.warning(message)


def verify_tokens(directory: Path) -> None:
    """Compare every file of finished token shards with the manifest's SHA-256.

    Raises:
        UserError: the first shard or other file that is missing or damaged; or no finished token shards.
    """
    manifest = read_manifest(directory, STAGE)
    for name in tqdm(sorted(manifest.outputs), desc="verifying", disable=None):
        _check_file(directory, manifest, name)


def _check_file(directory: Path, manifest: Manifest, name: str) -> None:
    remedy = f"restore the file, or build '{manifest.stage}' again with --overwrite"
    if not (directory / name).is_file():
        raise UserError("missing file", where=directory / name, remedy=remedy)
    if sha256_file(directory / name) != manifest.outputs[name]:
        what = "damaged or changed: its SHA-256 is not the manifest's"
        raise UserError(what, where=directory / name, remedy=remedy)


class _Tokenize:
    """Task `rank`: document shard `rank`."""

    def __init__(
        self,
        corpus: Path,
        manifest: Manifest,
        vocabulary: Path,
        output: Path,
        entries: int,
        config: TokensConfig,
    ) -> None:
        self.corpus, self.manifest, self.vocabulary = corpus, manifest, vocabulary
        self.output, self.entries, self.config = output, entries, config
        self.schema = schema(entries)
        self.sources = sorted(name for name in manifest.outputs if name.endswith(".parquet"))
        # A process' tasks share one: words that one has met are known to the next.
        self.pieces: WordPieces | None = None

    def shards(self, split: str) -> list[Path]:
        """The shards of all tasks."""
        count = len(self.sources)
        return [self.output / split / shard_name(index, count) for index in range(count)]

    def __call__(self, rank: int) -> None:
        _check_file(self.corpus, self.manifest, self.sources[rank])
        if self.pieces is None:
            self.pieces = WordPieces(load_tokenizer(self.vocabulary), id_type(self.schema))
        unknown = self.pieces.id_type.type(special_ids(self.vocabulary)["[UNK]"]).tobytes()
        notes = Counter[str]()
        # By the documents' sources.
        rows = {split: defaultdict[str, Rows](partial(Rows, self.schema)) for split in SPLITS}
        for ids, texts, sources in _batches(self.corpus / self.sources[rank]):
            notes["documents"] += len(ids)
            for document_id, source, sentences in zip(
                ids, sources, tokenize_documents(self.pieces, texts), strict=True
            ):
                # A sentence of unknown pieces only (a stray symbol) teaches nothing and would be masked as
                # [UNK].
                known = [s for s in sentences if s != unknown * (len(s) // len(unknown))]
                if known:
                    own = rows[split_of(document_id, self.config.validation_fraction)]
                    own[source].append(document_id, known)
                    notes["unknown_sentences"] += len(sentences) - len(known)
                else:
                    notes["unknown_pieces_only" if sentences else "no_text"] += 1
        runs = {}
        for split, by_source in rows.items():
            # The documents of a source side by side: few runs, however a corpus mixes its sources.
            runs[split] = [
                (source, len(held.ids), len(held.sentence_lengths), held.token_offsets[-1])
                for source, held in by_source.items()
            ]
            whole, *others = by_source.values() or [Rows(self.schema)]
            for other in others:
                whole.extend(other)
            with staged(self.shards(split)[rank]) as path:
                whole.write(path)
        write_json(self._notes(rank), {"counts": notes, "runs": runs})

    def _notes(self, rank: int) -> Path:
        return self.output / ".work" / "notes" / f"{rank:05d}.json"

    def count(self) -> tuple[dict[str, Any], dict[str, int]]:
        """The manifest's counts and rejects, when all tasks are done."""
        notes = Counter[str]()
        for rank in range(len(self.sources)):
            notes.update(read_json(self._notes(rank))["counts"])
        counts: dict[str, Any] = {
            "documents": notes["documents"],
            "vocabulary": self.entries,
            "shards": len(self.sources),
            **{split: token_counts(self.shards(split))._asdict() for split in SPLITS},
            "unknown_sentences": notes["unknown_sentences"],
        }
        return counts, {name: notes[name] for name in ("no_text", "unknown_pieces_only") if notes[name]}

    def runs(self) -> dict[str, list[SourceRun]]:
        """The sources of each split's documents, when all tasks are done; no runs where the corpus names no
        source."""
        notes = [read_json(self._notes(rank))["runs"] for rank in range(len(self.sources))]
        runs = {split: [SourceRun(*run) for own in notes for run in own[split]] for split in SPLITS}
        return {split: own if any(run.source for run in own) else [] for split, own in runs.items()}


def _batches(shard: Path) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """Ids, texts and sources of some documents at a time; empty sources where the corpus has no such
    column."""
    with pq.ParquetFile(shard) as file:
        has_sources = "source" in file.schema_arrow.names
        columns = ["id", "text", *["source"] * has_sources]
        for batch in file.iter_batches(batch_size=_DOCUMENTS_AT_ONCE, columns=columns, use_threads=False):
            fields = batch.to_pydict()
            sources = fields.get("source") or [""] * len(batch)
            yield fields["id"], fields["text"], [source or "" for source in sources]


def split_of(document_id: str, validation_fraction: float) -> str:
    """`train` or `validation`, by a hash of the id: the same for a document in every build."""
    value = int.from_bytes(hashlib.blake2b(document_id.encode(), digest_size=8).digest()) / 2**64
    return "validation" if value < validation_fraction else "train"
