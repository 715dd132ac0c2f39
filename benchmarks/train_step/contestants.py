"""Ways to take optimizer steps: this project's, and what people run otherwise, on the same model, samples,
precision and AdamW."""

from __future__ import annotations

import atexit
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from accelerate import Accelerator
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    AutoTokenizer,
    BertForPreTraining,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
)

from benchmarks.trainer import Rows, rows, training_arguments
from biobert_scale.config import Config
from biobert_scale.data.batches import MicroBatch, RankStep
from biobert_scale.data.samples import build_samples
from biobert_scale.data.stream import SampleStream
from biobert_scale.errors import UserError
from biobert_scale.files import read_manifest
from biobert_scale.modeling.model import bert_config, build_model
from biobert_scale.training import runtime
from biobert_scale.training.engine.ddp import DdpEngine
from biobert_scale.training.engine.optimizer import build_optimizer
from biobert_scale.training.preemption import signals_given_back
from biobert_scale.training.ranks import rank_environment
from biobert_scale.training.step import HostStep, StepResult, train_step
from biobert_scale.training.trainer import Trainer as PreTrainer
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

    def shape(self) -> Any:
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


def _timed(load: Load, work: Callable[[], object]) -> float:
    if load.device.type == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    if load.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def ours(load: Load) -> Runner:
    """This package's model on its own micro-batches; as `load.config.compute` has it."""
    take = stepper(load)

    def run() -> None:
        for number in range(len(load.steps)):
            take(number)

    return lambda: _timed(load, run)


def trained(load: Load) -> Runner:
    """`train`'s own loop: making batches, guards, joining the ranks' figures and records included; neither
    saves nor validation.

    Raises:
        UserError: there are no token shards.
    """
    if load.tokenizer is None:
        what = "`train` needs token shards"
        raise UserError(what, where="--contestants t", remedy="give --tokens")
    tokens, run = load.tokenizer.parent, Path(tempfile.mkdtemp())
    training = replace(
        load.config.training, engine=replace(load.config.training.engine, name="ddp"), trackers=()
    )
    config = replace(load.config, training=training)
    with rank_environment() as ranks:
        accelerator = runtime.start(ranks, config, run=str(run))
    build_samples(tokens, run / "samples", config.data, seed=config.seed)
    with signals_given_back():
        trainer = PreTrainer(accelerator, config, tokens, run, run / "samples")
    loader = trainer.loader()
    atexit.register(_end, trainer)

    def take() -> None:
        for _ in load.steps:
            trainer.take_step(loader)

    return lambda: _timed(load, take)


def _end(trainer: PreTrainer) -> None:
    trainer.close()
    runtime.leave()


def stepper(load: Load) -> Callable[..., StepResult]:
    """Training's own step on the load's of a number, at a learning rate where one is given."""
    with load.device:  # where drawing weights takes no time
        model = build_model(load.shape(), load.config.compute, seed=load.config.seed)
    optimizer, scaled = load.config.training.optimizer, load.dtype == torch.float16
    fused = load.config.compute.fused_optimizer and not scaled
    engine = DdpEngine(
        model,
        build_optimizer(model, optimizer, fused=fused),
        device=load.device,
        micro_steps=len(load.steps[0].micro_batches),
        max_grad_norm=optimizer.max_grad_norm,
        autocast=None if load.dtype == torch.float32 else load.dtype,
        scaler=torch.amp.GradScaler(load.device.type) if scaled else None,
    )
    batches = [HostStep.of(step, pin=load.device.type == "cuda") for step in load.steps]

    def take(number: int, learning_rate: float = optimizer.learning_rate) -> StepResult:
        return train_step(engine, batches[number], learning_rate)

    return take


def _finish(load: Load, accelerator: Accelerator, model: nn.Module, optimizer: Any) -> None:
    accelerator.clip_grad_norm_(model.parameters(), load.config.training.optimizer.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()


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
    # A compiled model wants one shape, and gets the full one; the other pads to the longest of each
    # micro-batch.
    length = load.config.data.max_seq_length if compiled else None
    batches = [[_tensors(micro_batch, load, length) for micro_batch in shuffled(step)] for step in load.steps]

    def run() -> None:
        for micro_batches in batches:
            for inputs in micro_batches:
                loss = called(
                    **{name: tensor.to(load.device, non_blocking=True) for name, tensor in inputs.items()}
                ).loss
                accelerator.backward(loss / len(micro_batches))
            _finish(load, accelerator, model, optimizer)

    return lambda: _timed(load, run)


def _tensors(batch: MicroBatch, load: Load, length: int | None) -> Rows:
    made = rows(batch, load.pad_token_id, length=length)
    return (
        {name: tensor.pin_memory() for name, tensor in made.items()} if load.device.type == "cuda" else made
    )


def shuffled(step: RankStep) -> list[MicroBatch]:
    """A step's sequences in random order, in micro-batches of the same numbers: this package's balancing by
    length puts a long one into each, the worst for padding."""
    sequences = [
        _sequence(batch, number) for batch in step.micro_batches for number in range(len(batch.nsp_labels))
    ]
    order = iter(np.random.default_rng(1).permutation(len(sequences)))
    return [_joined([sequences[next(order)] for _ in batch.nsp_labels]) for batch in step.micro_batches]


def _sequence(batch: MicroBatch, number: int) -> MicroBatch:
    """One sequence as a micro-batch."""
    start, stop = batch.cu_seqlens[number : number + 2]
    tokens, own, predicted = (
        slice(start, stop),
        slice(number, number + 1),
        (batch.mlm_positions >= start) & (batch.mlm_positions < stop),
    )
    return MicroBatch(
        input_ids=batch.input_ids[tokens],
        token_type_ids=batch.token_type_ids[tokens],
        position_ids=batch.position_ids[tokens],
        cu_seqlens=np.array([0, stop - start], np.int32),
        mlm_positions=batch.mlm_positions[predicted] - start,
        mlm_labels=batch.mlm_labels[predicted],
        nsp_labels=batch.nsp_labels[own],
        epochs=batch.epochs[own],
        indices=batch.indices[own],
    )


def _joined(sequences: list[MicroBatch]) -> MicroBatch:
    ends = np.cumsum([0, *(len(sequence.input_ids) for sequence in sequences)])
    names = [name for name in MicroBatch.__dataclass_fields__ if name not in ("cu_seqlens", "mlm_positions")]
    return MicroBatch(
        cu_seqlens=ends.astype(np.int32),
        mlm_positions=np.concatenate(
            [sequence.mlm_positions + start for sequence, start in zip(sequences, ends, strict=False)]
        ),
        **{name: np.concatenate([getattr(sequence, name) for sequence in sequences]) for name in names},
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


def with_settings(load: Load, **changes: Any) -> Runner:
    """This package's model with other settings of `compute`."""
    return ours(replace(load, config=replace(load.config, compute=replace(load.config.compute, **changes))))


Maker = Callable[[Load], Runner]
CONTESTANTS: dict[str, tuple[str, Maker]] = {
    "o": ("this project", ours),
    "p": ("this project, compiled", partial(with_settings, compile=True)),
    "a": ("(a) BertForPreTraining, plain Accelerate loop", loop),
    "b": ("(b) Trainer with its masked-LM collator", trainer),
    "c": ("(c) as (a), sdpa and torch.compile", partial(loop, compiled=True)),
    "t": ("this project, as `train` runs it", trained),
}
"""By the letter that names them on the command line. `t` joins a process group, which would slow Accelerate's
loop down: it goes with `o` and `p` alone."""

SETTINGS: dict[str, dict[str, Any]] = {
    "compiled": {"compile": True},
    "padded rows": {"unpadded": False},
    "MLM head on all positions": {"head_on_masked_positions_only": False},
    "last layer on all positions": {"last_layer_on_masked_positions_only": False},
    "fp32 logits, all at once": {"head_rows": 0},
    "attention and dropout as PyTorch has them": {"attention": "sdpa", "quick_dropout": False},
    "three products for queries, keys, values": {"fused_qkv": False},
    "AdamW one operation after another": {"fused_optimizer": False},
}
"""Settings of `compute` other than as shipped, by name."""
SETTINGS["every switch off"] = {
    name: value for changes in SETTINGS.values() for name, value in changes.items()
} | {"compile": False}

ABLATION: dict[str, Maker] = {
    "as shipped": ours,
    **{title: partial(with_settings, **changes) for title, changes in SETTINGS.items()},
}
"""This package's model with one setting of `compute` changed, and with all of them off."""
