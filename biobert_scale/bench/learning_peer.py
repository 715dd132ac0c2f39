"""The peer of the learning benchmark: transformers' `Trainer` and plain `BertForPreTraining` on padded batches of the stream's samples."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import IterableDataset
from transformers import BertForPreTraining, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from biobert_scale.bench.child import answer
from biobert_scale.config import Config, ScheduleConfig
from biobert_scale.data.batches import MicroBatch
from biobert_scale.data.layouts import IGNORED, padded
from biobert_scale.data.stream import SampleStream
from biobert_scale.files import read_manifest
from biobert_scale.modeling.bert import bert_config
from biobert_scale.modeling.initial import initial_model
from biobert_scale.recipes import load_config
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.tokens.vocabulary import special_ids
from biobert_scale.training.schedule import learning_rate

Rows = dict[str, Tensor]


def train_with_transformers(*, begun: float, config: str, tokens: str, samples: str, scratch: str, equal_rates: bool) -> dict[str, Any]:
    """Train as a recipe says, on the samples of its stream in their order, one padded global batch a step.

    Args:
        begun: the process' beginning, by the monotonic clock.
        config: the recipe's file.
        scratch: where the `Trainer` may write.
        equal_rates: give it this package's learning rate at each step, in place of its own `linear` schedule.

    Returns:
        `curve` (held-out losses by step, as `metrics.jsonl` names them, with the real tokens consumed), `training_seconds` (evaluation
        left out), `real_tokens`, `attention` (transformers' implementation).
    """
    recipe, directory = load_config(config), Path(tokens)
    pad_token_id = special_ids(directory / "tokenizer")["[PAD]"]
    batches = PaddedSteps(SampleStream.open(directory, Path(samples), recipe.data, seed=recipe.seed), recipe.training.global_batch_size, pad_token_id)
    held_out = SampleStream.open(directory, Path(samples), recipe.data, seed=recipe.seed, split="validation").validation(
        recipe.training.validation.sequences, micro_batch_size=recipe.training.micro_batch_size, world_size=1, rank=0
    )
    model = plain_model(recipe, directory, pad_token_id)
    watch = Evaluation([rows(batch, pad_token_id) for batch in held_out], every_steps=recipe.training.validation.every_steps, batches=batches)
    trainer = EqualRates if equal_rates else Trainer
    trainer(model=model, args=training_arguments(recipe, Path(scratch)), train_dataset=batches, data_collator=lambda items: items[0], callbacks=[watch]).train()
    return {
        "curve": watch.curve,
        "training_seconds": watch.seconds,
        "real_tokens": batches.consumed(recipe.training.schedule.total_steps),
        "attention": model.config._attn_implementation,
    }


class EqualRates(Trainer):
    """A `Trainer` with this package's learning rates: in the warm-up its own are those of one step before."""

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LambdaLR:
        """Called by `train`."""
        schedule = ScheduleConfig(warmup_steps=int(self.args.warmup_steps), total_steps=num_training_steps)
        taken_on = optimizer or self.optimizer
        assert taken_on is not None
        self.lr_scheduler = LambdaLR(taken_on, lambda steps_taken: learning_rate(steps_taken, peak=1, schedule=schedule))
        return self.lr_scheduler


class PaddedSteps(IterableDataset[Rows]):
    """The global steps of a stream without end, each item a whole padded batch."""

    def __init__(self, stream: SampleStream, global_batch_size: int, pad_token_id: int) -> None:
        self.stream, self.size, self.pad_token_id = stream, global_batch_size, pad_token_id
        self.tokens: list[int] = []

    def __iter__(self) -> Iterator[Rows]:
        for step in itertools.count():
            made = self.stream.step(step * self.size, global_batch_size=self.size, micro_batch_size=self.size, world_size=1, rank=0)
            self.tokens.append(made.global_tokens)
            yield rows(made.micro_batches[0], self.pad_token_id)

    def consumed(self, steps: int) -> int:
        """Real tokens of the first `steps` steps; the loader may have asked for one more."""
        return sum(self.tokens[:steps])


def rows(batch: MicroBatch, pad_token_id: int) -> Rows:
    """The model's arguments as tensors."""
    return {name: torch.from_numpy(array) for name, array in padded(batch, pad_token_id=pad_token_id).items()}


def plain_model(config: Config, tokens: Path, pad_token_id: int) -> BertForPreTraining:
    """transformers' own model, with its default attention and the weights that this package's training starts from."""
    size = read_manifest(tokens, TOKENS_STAGE).counts["vocabulary"]
    started = initial_model(
        bert_config(config.model, vocabulary_size=size, pad_token_id=pad_token_id), config.training.initial_weights, seed=config.seed, tokenizer=tokens / "tokenizer"
    )
    model = BertForPreTraining(bert_config(config.model, vocabulary_size=size, pad_token_id=pad_token_id))
    model.load_state_dict(started.state_dict())
    return model


def training_arguments(config: Config, scratch: Path) -> TrainingArguments:
    """A recipe in the `Trainer`'s terms."""
    training, optimizer = config.training, config.training.optimizer
    return TrainingArguments(
        output_dir=str(scratch),
        max_steps=training.schedule.total_steps,
        per_device_train_batch_size=1,  # an item is a batch
        optim="adamw_torch",
        learning_rate=optimizer.learning_rate,
        adam_beta1=optimizer.betas[0],
        adam_beta2=optimizer.betas[1],
        adam_epsilon=optimizer.epsilon,
        weight_decay=optimizer.weight_decay,
        max_grad_norm=optimizer.max_grad_norm,
        lr_scheduler_type="linear",
        warmup_steps=training.schedule.warmup_steps,
        bf16=training.precision.dtype == "bf16",
        seed=config.seed,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


class Evaluation(TrainerCallback):
    """Scores the held-out samples before the first step, every so many steps and after the last; the clock stands meanwhile."""

    def __init__(self, held_out: list[Rows], *, every_steps: int, batches: PaddedSteps) -> None:
        self.held_out, self.every_steps, self.batches = held_out, every_steps, batches
        self.curve: list[dict[str, Any]] = []
        self.seconds = self.since = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.score(kwargs["model"], 0)
        self.since = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step % self.every_steps == 0 or state.global_step == state.max_steps:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds += time.perf_counter() - self.since
            self.score(kwargs["model"], state.global_step)
            self.since = time.perf_counter()

    def score(self, model: BertForPreTraining, step: int) -> None:
        mlm, nsp = held_out_losses(model, self.held_out)
        self.curve.append({"global_step": step, "consumed_tokens": self.batches.consumed(step), "validation/mlm_loss": mlm, "validation/nsp_loss": nsp})


@torch.no_grad()
def held_out_losses(model: BertForPreTraining, batches: list[Rows]) -> tuple[float, float]:
    """Mean MLM loss over all predictions and mean NSP loss over all pairs, in nats."""
    mlm = nsp = 0.0
    predictions = pairs = 0
    model.eval()
    for batch in batches:
        on_device = {name: tensor.to(model.device) for name, tensor in batch.items()}
        labels, relation = on_device.pop("labels"), on_device.pop("next_sentence_label")
        output = model(**on_device)
        mlm += nn.functional.cross_entropy(output.prediction_logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum").item()
        nsp += nn.functional.cross_entropy(output.seq_relationship_logits.float(), relation, reduction="sum").item()
        predictions, pairs = predictions + int((labels != IGNORED).sum()), pairs + len(relation)
    model.train()
    return mlm / predictions, nsp / pairs


if __name__ == "__main__":
    answer(train_with_transformers)
