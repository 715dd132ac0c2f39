"""What contestants compute on: optimizer steps of one process, and the device."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig

from biobert_scale.config import Config
from biobert_scale.data.batches import RankStep
from biobert_scale.data.samples import build_samples
from biobert_scale.data.stream import SampleStream
from biobert_scale.files import read_manifest
from biobert_scale.modeling.model import bert_config
from biobert_scale.tune.made_up import made_up_steps


@dataclass(frozen=True, kw_only=True)
class Load:
    """What every contestant computes on."""

    config: Config
    vocabulary_size: int
    pad_token_id: int
    tokenizer: Path | None
    steps: list[RankStep]
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
            self.config.training.precision.dtype
        ]

    @property
    def mixed_precision(self) -> str:
        return "no" if self.dtype == torch.float32 else self.config.training.precision.dtype

    def shape(self) -> BertConfig:
        return bert_config(
            self.config.model, vocabulary_size=self.vocabulary_size, pad_token_id=self.pad_token_id
        )


Runner = Callable[[], float]
"""Takes all steps once, and returns the seconds that they took."""


def this_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_of(config: Config, tokens: Path | None, steps: int, lengths: str, device: torch.device) -> Load:
    """Steps of one process: of finished token shards, or made up (`full` or `abstracts`) where there are
    none."""
    batch, micro_batch_size = config.training.global_batch_size, config.training.micro_batch_size
    if tokens is None:
        made = made_up_steps(
            steps,
            sequences=batch,
            micro_batch_size=micro_batch_size,
            max_seq_length=config.data.max_seq_length,
            mlm_probability=config.data.mlm_probability,
            vocabulary_size=config.vocabulary.size,
            lengths=lengths,
        )
        return Load(
            config=config,
            vocabulary_size=config.vocabulary.size,
            pad_token_id=0,
            tokenizer=None,
            steps=made,
            device=device,
        )
    with tempfile.TemporaryDirectory() as scratch:
        build_samples(tokens, Path(scratch) / "samples", config.data, seed=config.seed)
        stream = SampleStream.open(tokens, Path(scratch) / "samples", config.data, seed=config.seed)
        made = [
            stream.step(
                step * batch, global_batch_size=batch, micro_batch_size=micro_batch_size, world_size=1, rank=0
            )
            for step in range(steps)
        ]
    return Load(
        config=config,
        vocabulary_size=read_manifest(tokens).counts["vocabulary"],
        pad_token_id=AutoTokenizer.from_pretrained(tokens / "tokenizer").pad_token_id,
        tokenizer=tokens / "tokenizer",
        steps=made,
        device=device,
    )


def timed(load: Load, work: Callable[[], object]) -> float:
    if load.device.type == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    if load.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun
