"""How people take optimizer steps otherwise: transformers' model in an Accelerate loop, and its Trainer."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from typing import Any, TypedDict

import numpy as np
import torch
from accelerate import Accelerator
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    BertForPreTraining,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
)

from benchmarks.train_step.load import Load, Runner, timed
from benchmarks.trainer import Rows, rows, training_arguments
from biobert_scale.data.batches import RankStep
from biobert_scale.training.engine.optimizer import build_optimizer


def loop(load: Load, *, compiled: bool = False) -> Runner:
    """`BertForPreTraining` on padded micro-batches under Accelerate, a step's sequences in an order that
    knows nothing of lengths."""
    accelerator = Accelerator(mixed_precision=load.mixed_precision, cpu=load.device.type == "cpu")
    shape = load.shape()
    shape._attn_implementation = "sdpa"
    with load.device:
        model: nn.Module = BertForPreTraining(shape)
    optimizer = build_optimizer(model, load.config.training.optimizer, fused=load.dtype != torch.float16)
    model, optimizer = accelerator.prepare(model, optimizer)
    called: Any = torch.compile(model) if compiled else model
    model.train()
    # A compiled model wants one shape, and gets the full one.
    batches = [shuffled(step, load, full_length=compiled) for step in load.steps]

    def run() -> None:
        for micro_batches in batches:
            for inputs in micro_batches:
                loss = called(
                    **{name: tensor.to(load.device, non_blocking=True) for name, tensor in inputs.items()}
                ).loss
                accelerator.backward(loss / len(micro_batches))
            accelerator.clip_grad_norm_(model.parameters(), load.config.training.optimizer.max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()

    return lambda: timed(load, run)


def shuffled(step: RankStep, load: Load, *, full_length: bool = False) -> list[Rows]:
    """A step's sequences in random order, as padded micro-batches of the same numbers: this package's
    balancing by length puts a long one into each, the worst for padding.

    Args:
        full_length: pad to the full length, and not to the longest sequence of the micro-batch.
    """
    padded = [
        rows(batch, load.pad_token_id, length=load.config.data.max_seq_length) for batch in step.micro_batches
    ]
    whole = {name: torch.cat([batch[name] for batch in padded]) for name in padded[0]}
    order = torch.from_numpy(np.random.default_rng(1).permutation(step.global_sequences))
    made = []
    for chosen in order.split([len(batch.nsp_labels) for batch in step.micro_batches]):
        batch = {name: tensor[chosen] for name, tensor in whole.items()}
        longest = None if full_length else int(batch["attention_mask"].sum(1).max())
        batch = {
            name: tensor[..., :longest] if tensor.dim() == 2 else tensor for name, tensor in batch.items()
        }
        batch = {name: tensor.contiguous() for name, tensor in batch.items()}
        made.append(
            {name: tensor.pin_memory() for name, tensor in batch.items()}
            if load.device.type == "cuda"
            else batch
        )
    return made


def _tokenizer(load: Load) -> PreTrainedTokenizerFast:
    """For the collator: it asks for the mask's and the special tokens' ids and for the number of entries
    alone."""
    if load.tokenizer is not None:
        return PreTrainedTokenizerFast.from_pretrained(load.tokenizer)
    entries = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
    words = {f"w{number}": number for number in range(load.vocabulary_size) if number not in entries.values()}
    named = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({**entries, **words}, unk_token="[UNK]")), **named
    )


class _Row(TypedDict):
    input_ids: list[int]
    token_type_ids: list[int]
    next_sentence_label: int


class _Rows(Dataset[_Row]):
    """The same sequences, unmasked: the collator masks."""

    def __init__(self, load: Load) -> None:
        self.rows: list[_Row] = []
        for step in load.steps:
            for batch in step.micro_batches:
                ids = batch.input_ids.copy()
                ids[batch.mlm_positions] = batch.mlm_labels
                for number, (start, stop) in enumerate(
                    zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True)
                ):
                    self.rows.append(
                        {
                            "input_ids": ids[start:stop].tolist(),
                            "token_type_ids": batch.token_type_ids[start:stop].tolist(),
                            "next_sentence_label": int(batch.nsp_labels[number]),
                        }
                    )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> _Row:
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


def trainer(load: Load) -> Runner:
    """transformers' Trainer, which masks as it goes."""
    training = load.config.training
    tokenizer = _tokenizer(load)
    clock, on_gpu = _Clock(), load.device.type == "cuda"
    with load.device:
        model = BertForPreTraining(load.shape())
    schedule = replace(training.schedule, warmup_steps=0, total_steps=len(load.steps))
    arguments = training_arguments(
        replace(load.config, training=replace(training, schedule=schedule)),
        tempfile.mkdtemp(),
        batch_size=training.micro_batch_size,
        optim="adamw_torch" if load.dtype == torch.float16 else "adamw_torch_fused",
        gradient_accumulation_steps=training.global_batch_size // training.micro_batch_size,
        use_cpu=not on_gpu,
        dataloader_num_workers=4 * on_gpu,
    )
    worker = Trainer(
        model=model,
        args=arguments,
        train_dataset=_Rows(load),
        data_collator=DataCollatorForLanguageModeling(tokenizer),
        callbacks=[clock],
    )
    worker.remove_callback(PrinterCallback)  # of a dictionary a turn

    def run() -> float:
        worker.train()
        return clock.seconds

    return run
