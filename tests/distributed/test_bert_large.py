"""The real model from the recipe: two optimizer steps under ZeRO-3 on four ranks. Needs 20 GB of memory and
10 GB of disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from biobert_scale.config import TokensConfig, VocabularyConfig
from biobert_scale.tokens.build import build_tokens
from biobert_scale.tokens.vocabulary import build_vocabulary
from biobert_scale.training.monitor.telemetry import read_metrics
from tests.factories import write_corpus
from tests.launching import environment, free_port

pytestmark = pytest.mark.proof


def test_bert_large_takes_two_steps_under_zero_3(tmp_path: Path) -> None:
    if psutil.virtual_memory().available < 20e9 or shutil.disk_usage(tmp_path).free < 15e9:
        pytest.skip("needs 20 GB of memory and 15 GB of disk")
    entries = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyzW0123456789.",
        *(f"##{letter}" for letter in "ord0123456789"),
    ]
    entries += [f"filler{number}" for number in range(28_996 - len(entries))]
    (tmp_path / "vocab.txt").write_text("\n".join(entries) + "\n")
    write_corpus(tmp_path / "corpus", documents=100)
    build_vocabulary(
        tmp_path / "corpus", tmp_path / "vocabulary", VocabularyConfig(), vocabulary=tmp_path / "vocab.txt"
    )
    build_tokens(
        tmp_path / "corpus",
        tmp_path / "vocabulary",
        tmp_path / "tokens",
        TokensConfig(validation_fraction=0.1),
    )
    launcher = [
        "-m",
        "accelerate.commands.launch",
        "--use_deepspeed",
        "--num_processes",
        "4",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--num_cpu_threads_per_process",
        "1",
        "--main_process_port",
        str(free_port()),
    ]
    overrides = {
        "data.max-seq-length": 32,
        "training.global-batch-size": 16,
        "training.schedule.warmup-steps": 1,
        "training.schedule.total-steps": 2,
        "training.precision.dtype": "bf16",
        "training.engine.deepspeed-config": "zero3",
        "training.validation.sequences": 8,
        "training.log-every-steps": 1,
        "training.checkpoint.every-steps": 100,
    }
    options = [
        "--config",
        "biobert-large",
        "--tokens",
        str(tmp_path / "tokens"),
        "--output",
        str(tmp_path / "run"),
        *(text for name, value in overrides.items() for text in (f"--{name}", str(value))),
    ]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "biobert_scale.train", *options],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=1500,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    steps = [record for record in read_metrics(tmp_path / "run") if "train/loss" in record]
    assert [record["global_step"] for record in steps] == [1, 2] and all(
        5 < record["train/loss"] < 15 for record in steps
    )
    assert (tmp_path / "run" / "checkpoints" / "step-00000002" / "manifest.json").exists()
    for record in read_metrics(tmp_path / "run"):
        print(record)
