"""Programs that write, run under a trace: `python -m tests.power_failure.program NAME ROOT INPUTS`.

Each line of code that syncs says so before it does; what is reached is said as well.
"""

from __future__ import annotations

import inspect
import linecache
import os
import sys
from pathlib import Path

from biobert_scale import files
from biobert_scale.cli import main
from biobert_scale.config import CorpusConfig, DataConfig
from biobert_scale.corpus.build import build_corpus
from biobert_scale.data.samples import build_samples
from biobert_scale.training.checkpoint import commit as checkpoint
from biobert_scale.training.checkpoint.manifest import read_record
from biobert_scale.training.checkpoint.retention import complete, staging_path
from tests.power_failure.trace import MARK

OF_THE_RUN: tuple[str, ...] = (
    "--training.checkpoint.every-steps",
    "1",
    "--training.checkpoint.keep-last",
    "1",
)
OF_THE_RUN += ("--training.schedule.total-steps", "3", "--training.engine.name", "ddp")
OF_THE_SECOND_SAVE = 1.5
"""The validation loss by which it is known."""
_fsync = os.fsync


def reached(text: str) -> None:
    os.access(f"{MARK}mark/{text}", os.F_OK)


def say_and_sync(descriptor: int) -> None:
    """`os.fsync`, preceded by the line of code that it is for."""
    frames = (frame for frame in inspect.stack(0)[1:] if frame.function != "sync")
    frame = next(frames)
    line = linecache.getline(frame.filename, frame.lineno).strip()
    os.access(f"{MARK}sync/{Path(frame.filename).stem}.{frame.function}: {line}", os.F_OK)
    _fsync(descriptor)


def write_file(root: Path, inputs: Path) -> None:
    files.write_atomically(root / "there", "new")
    files.write_atomically(root / "a" / "b" / "other", "new")
    reached("written")


def train(root: Path, inputs: Path) -> None:
    commit = checkpoint.commit

    def commit_and_say(staging: Path, final: Path, record: object) -> None:
        commit(staging, final, record)  # type: ignore[arg-type]
        reached(final.name)

    checkpoint.commit = commit_and_say
    line = ["train", "--config", str(inputs / "recipe.json"), "--tokens", str(inputs / "tokens")]
    assert main([*line, *OF_THE_RUN, "--output", str(root / "runs" / "run")]) == 0
    reached("finished")


def save_again(root: Path, inputs: Path) -> None:
    final = complete(root / "run")[-1]
    staging = staging_path(final)
    staging.mkdir()
    for path in final.iterdir():
        if path.name != files.MANIFEST:
            files.write_synced(staging / path.name, path.read_bytes())
    checkpoint.commit(staging, final, read_record(final) | {"validation_mlm_loss": OF_THE_SECOND_SAVE})
    reached("written")


def corpus(root: Path, inputs: Path) -> None:
    build_corpus(inputs / "raw", root / "corpus", CorpusConfig(), workers=1)
    reached("written")


def samples(root: Path, inputs: Path) -> None:
    build_samples(inputs / "tokens", root / "samples", DataConfig(max_seq_length=64), seed=1, overwrite=True)
    reached("written")


def export(root: Path, inputs: Path) -> None:
    line = ["export", str(inputs / "run"), "--tokens", str(inputs / "tokens")]
    assert main([*line, "--output", str(root / "model")]) == 0
    reached("written")
    assert main([*line, "--output", str(root / "model"), "--license", "cc0-1.0"]) == 0
    reached("licensed")


if __name__ == "__main__":
    os.fsync = say_and_sync  # type: ignore[assignment]
    name, root, inputs = sys.argv[1:]
    globals()[name](Path(root), Path(inputs))
