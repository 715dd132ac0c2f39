"""Optimizer steps a second, beside what people run otherwise: the same model, samples, precision and AdamW, in turns.

Each contestant's turn is a few whole steps on the same batches of the stream: forward, backward, clipping, AdamW.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import (
    AutoTokenizer,
    BertForPreTraining,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from biobert_scale.bench.environment import machine, versions
from biobert_scale.bench.made_up import made_up_steps
from biobert_scale.bench.train_step_page import train_step_page
from biobert_scale.bench.turns import in_turns
from biobert_scale.config import Config
from biobert_scale.data.batches import MicroBatch, RankStep
from biobert_scale.data.layouts import padded
from biobert_scale.files import read_manifest, write_atomically, write_json
from biobert_scale.modeling.bert import PackedBatch, bert_config, build_model
from biobert_scale.modeling.flops import training_flops
from biobert_scale.training.device import device_peak, peak_memory_bytes
from biobert_scale.training.optimizer import build_optimizer

_LIBRARIES = ("torch", "transformers", "accelerate")
OURS, LOOP, TRAINER, COMPILED = "this project", "(a) BertForPreTraining, plain Accelerate loop", "(b) Trainer with its masked-LM collator", "(c) as (a), sdpa and torch.compile"


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
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.config.training.precision.dtype]

    @property
    def mixed_precision(self) -> str:
        return "no" if self.dtype == torch.float32 else self.config.training.precision.dtype

    def shape(self) -> Any:
        return bert_config(self.config.model, vocabulary_size=self.vocabulary_size, pad_token_id=self.pad_token_id)


Runner = Callable[[], float]
"""Takes all steps once, and returns the seconds that they took."""


def bench_train_step(
    config: Config, tokens: Path | None, output: Path, *, steps: int, repeats: int, contestants: tuple[str, ...], name: str, lengths: str = "full"
) -> str:
    """Measure, and write `train-step-NAME-DATE.json` and `.md`.

    Args:
        config: model, sample lengths, precision and batch; one process computes the whole global batch, in micro-batches.
        tokens: finished token shards, whose documents decide the samples' lengths; None for made-up samples (see `lengths`).
        steps: optimizer steps of a turn.
        repeats: turns of each contestant, after one that is not counted.
        contestants: of `OURS`, `LOOP`, `TRAINER`, `COMPILED`, by the letters `o`, `a`, `b`, `c`.
        name: what the result is called.
        lengths: of made-up samples: `full` or `abstracts`.

    Returns:
        The page.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    makers = {"o": (OURS, _ours), "a": (LOOP, _loop), "b": (TRAINER, _trainer), "c": (COMPILED, _compiled)}
    load = _load(config, tokens, steps, lengths, device)
    made = load.steps
    runners = {title: make(load) for letter, (title, make) in makers.items() if letter in contestants}
    seconds: dict[str, list[float]] = {title: [] for title in runners}
    memory: dict[str, int] = {}
    for title, run in runners.items():  # compiles, allocates
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        run()
        memory[title] = peak_memory_bytes(device) if device.type == "cuda" else 0
    for _, title in in_turns(list(runners), repeats):
        seconds[title].append(runners[title]())
    sizes = np.concatenate([np.diff(micro_batch.cu_seqlens) for step in made for micro_batch in step.micro_batches])
    predictions = sum(len(micro_batch.mlm_labels) for step in made for micro_batch in step.micro_batches)
    result = {
        "date": date.today().isoformat(), "machine": {**machine(), "device": device_peak(device, load.dtype).device}, "versions": versions(_LIBRARIES),
        "name": name, "dtype": config.training.precision.dtype, "steps": steps, "sequences": len(sizes), "tokens": int(sizes.sum()),
        "predictions": predictions, "mean_length": float(sizes.mean()), "max_seq_length": config.data.max_seq_length,
        "micro_batch_size": config.training.micro_batch_size, "global_batch_size": config.training.global_batch_size,
        "model": [config.model.num_hidden_layers, config.model.hidden_size, config.model.intermediate_size, load.vocabulary_size],
        "flops": float(training_flops(load.shape(), sizes, predictions)), "peak": device_peak(device, load.dtype).flops_per_second,
        "seconds": seconds, "peak_memory_bytes": memory,
    }  # fmt: skip
    page = train_step_page(result)
    stem = f"train-step-{name}-{result['date']}"
    write_json(output / f"{stem}.json", result)
    write_atomically(output / f"{stem}.md", page)
    return page


def _load(config: Config, tokens: Path | None, steps: int, lengths: str, device: torch.device) -> Load:
    batch, micro_batch_size = config.training.global_batch_size, config.training.micro_batch_size
    if tokens is None:
        made = made_up_steps(
            steps, sequences=batch, micro_batch_size=micro_batch_size, max_seq_length=config.data.max_seq_length,
            mlm_probability=config.data.mlm_probability, vocabulary_size=config.vocabulary.size, lengths=lengths,
        )  # fmt: skip
        return Load(config=config, vocabulary_size=config.vocabulary.size, pad_token_id=0, tokenizer=None, steps=made, device=device)
    from biobert_scale.data.samples import build_samples
    from biobert_scale.data.stream import SampleStream

    with tempfile.TemporaryDirectory() as scratch:
        build_samples(tokens, Path(scratch) / "samples", config.data, seed=config.seed)
        stream = SampleStream.open(tokens, Path(scratch) / "samples", config.data, seed=config.seed)
        made = [stream.step(step * batch, global_batch_size=batch, micro_batch_size=micro_batch_size, world_size=1, rank=0) for step in range(steps)]
    return Load(
        config=config, vocabulary_size=read_manifest(tokens).counts["vocabulary"], pad_token_id=AutoTokenizer.from_pretrained(tokens / "tokenizer").pad_token_id,
        tokenizer=tokens / "tokenizer", steps=made, device=device,
    )  # fmt: skip


def _tokenizer(load: Load) -> PreTrainedTokenizerFast:
    """For the collator: it asks for the mask's and the special tokens' ids and for the number of entries alone."""
    if load.tokenizer is not None:
        return PreTrainedTokenizerFast.from_pretrained(load.tokenizer)
    entries = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
    words = {f"w{number}": number for number in range(load.vocabulary_size) if number not in entries.values()}
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({**entries, **words}, unk_token="[UNK]")), **named)


def _timed(load: Load, work: Callable[[], object]) -> float:
    if load.device.type == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    if load.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def _ours(load: Load) -> Runner:
    accelerator = Accelerator(mixed_precision=load.mixed_precision, cpu=load.device.type == "cpu")
    model = build_model(load.shape(), seed=load.config.seed)
    model, optimizer = accelerator.prepare(model, build_optimizer(model, load.config.training.optimizer))
    model.train()
    batches = [[PackedBatch.of(micro_batch, pin=load.device.type == "cuda") for micro_batch in step.micro_batches] for step in load.steps]

    def run() -> None:
        for step, micro_batches in zip(load.steps, batches, strict=True):
            for micro_batch in micro_batches:
                sums = model(micro_batch.to(load.device))
                accelerator.backward(sums["mlm_loss"] / step.global_predictions + sums["nsp_loss"] / step.global_sequences)
            _finish(load, accelerator, model, optimizer)

    return lambda: _timed(load, run)


def _finish(load: Load, accelerator: Accelerator, model: nn.Module, optimizer: Any) -> None:
    accelerator.clip_grad_norm_(model.parameters(), load.config.training.optimizer.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()


def _loop(load: Load, *, compiled: bool = False) -> Runner:
    accelerator = Accelerator(mixed_precision=load.mixed_precision, cpu=load.device.type == "cpu")
    shape = load.shape()
    shape._attn_implementation = "sdpa"
    model: nn.Module = BertForPreTraining(shape)
    optimizer = build_optimizer(model, load.config.training.optimizer)
    model, optimizer = accelerator.prepare(model, optimizer)
    called: Any = torch.compile(model) if compiled else model
    model.train()
    # A compiled model wants one shape, and gets the full one; the other pads to the longest of each micro-batch.
    length = load.config.data.max_seq_length if compiled else 0
    batches = [[_tensors(micro_batch, load, length) for micro_batch in step.micro_batches] for step in load.steps]

    def run() -> None:
        for micro_batches in batches:
            for rows in micro_batches:
                loss = called(**{name: tensor.to(load.device, non_blocking=True) for name, tensor in rows.items()}).loss
                accelerator.backward(loss / len(micro_batches))
            _finish(load, accelerator, model, optimizer)

    return lambda: _timed(load, run)


def _tensors(batch: MicroBatch, load: Load, length: int) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in padded(batch, pad_token_id=load.pad_token_id, length=length).items()}


def _compiled(load: Load) -> Runner:
    return _loop(load, compiled=True)


class _Rows(Dataset[dict[str, Any]]):
    """The same sequences, unmasked: the collator masks."""

    def __init__(self, load: Load) -> None:
        self.rows: list[dict[str, Any]] = []
        for step in load.steps:
            for batch in step.micro_batches:
                ids = batch.input_ids.copy()
                ids[batch.mlm_positions] = batch.mlm_labels
                for number, (start, stop) in enumerate(zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True)):
                    row = {"input_ids": ids[start:stop].tolist(), "token_type_ids": batch.token_type_ids[start:stop].tolist()}
                    self.rows.append({**row, "next_sentence_label": int(batch.nsp_labels[number])})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]


class _Clock(TrainerCallback):
    """The seconds between the beginning of the first step and the end of the last."""

    def __init__(self) -> None:
        self.begun = self.seconds = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            self.begun = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == state.max_steps:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds = time.perf_counter() - self.begun


def _trainer(load: Load) -> Runner:
    training = load.config.training
    tokenizer = _tokenizer(load)
    model, rows, clock = BertForPreTraining(load.shape()), _Rows(load), _Clock()
    scratch = tempfile.mkdtemp()
    arguments = TrainingArguments(
        output_dir=scratch, max_steps=len(load.steps), per_device_train_batch_size=training.micro_batch_size,
        gradient_accumulation_steps=training.global_batch_size // training.micro_batch_size, optim="adamw_torch", learning_rate=training.optimizer.learning_rate,
        weight_decay=training.optimizer.weight_decay, max_grad_norm=training.optimizer.max_grad_norm, bf16=load.dtype == torch.bfloat16, fp16=load.dtype == torch.float16,
        remove_unused_columns=False, save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True, dataloader_pin_memory=load.device.type == "cuda",
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=DataCollatorForLanguageModeling(tokenizer), callbacks=[clock])

    def run() -> float:
        trainer.train()
        return clock.seconds

    return run
