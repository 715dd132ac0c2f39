"""The peer of the learning benchmark: transformers' `Trainer` and plain `BertForPreTraining` on padded
batches of the stream's samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import IterableDataset
from transformers import BertForPreTraining, Trainer

from benchmarks.child import answer
from benchmarks.learning.records import PeerTraining
from benchmarks.trainer import EqualRates, Evaluation, Rows, Score, rows, training_arguments
from biobert_scale.config import Config
from biobert_scale.data.layouts import IGNORED
from biobert_scale.data.stream import SampleStream
from biobert_scale.files import read_manifest
from biobert_scale.modeling.initial import initial_model
from biobert_scale.modeling.model import bert_config
from biobert_scale.recipes import load_config
from biobert_scale.tokens.build import STAGE as TOKENS_STAGE
from biobert_scale.tokens.vocabulary import special_ids


def train_with_transformers(
    *, config: str, tokens: str, samples: str, scratch: str, equal_rates: bool
) -> PeerTraining:
    """Train as a recipe says, on the samples of its stream in their order, one padded global batch a step.

    Args:
        config: the recipe's file.
        scratch: where the `Trainer` may write.
        equal_rates: give it this package's learning rate at each step, in place of its own `linear` schedule.
    """
    recipe, directory = load_config(config), Path(tokens)
    pad_token_id = special_ids(directory / "tokenizer")["[PAD]"]
    batches = PaddedSteps(
        SampleStream.open(directory, Path(samples), recipe.data, seed=recipe.seed),
        recipe.training.global_batch_size,
        pad_token_id,
    )
    held_out = SampleStream.open(
        directory, Path(samples), recipe.data, seed=recipe.seed, split="validation"
    ).validation(
        recipe.training.validation.sequences,
        micro_batch_size=recipe.training.micro_batch_size,
        world_size=1,
        rank=0,
    )
    model, scored = (
        plain_model(recipe, directory, pad_token_id),
        [rows(batch, pad_token_id) for batch in held_out],
    )

    def score(model: BertForPreTraining, step: int) -> Score:
        mlm, nsp = held_out_losses(model, scored)
        return {
            "consumed_tokens": batches.consumed(step),
            "validation/mlm_loss": mlm,
            "validation/nsp_loss": nsp,
        }

    watch = Evaluation(score, every_steps=recipe.training.validation.every_steps)
    trainer = EqualRates if equal_rates else Trainer
    trainer(
        model=model,
        args=training_arguments(recipe, Path(scratch)),
        train_dataset=batches,
        data_collator=lambda items: items[0],
        callbacks=[watch],
    ).train()
    return {
        "curve": watch.curve,
        "training_seconds": watch.seconds,
        "real_tokens": batches.consumed(recipe.training.schedule.total_steps),
        "attention": model.config._attn_implementation,
    }


class PaddedSteps(IterableDataset[Rows]):
    """The global steps of a stream without end, each item a whole padded batch."""

    def __init__(self, stream: SampleStream, global_batch_size: int, pad_token_id: int) -> None:
        self.stream, self.size, self.pad_token_id = stream, global_batch_size, pad_token_id
        self.tokens: list[int] = []

    def __iter__(self) -> Iterator[Rows]:
        for step in itertools.count():
            made = self.stream.step(
                step * self.size,
                global_batch_size=self.size,
                micro_batch_size=self.size,
                world_size=1,
                rank=0,
            )
            self.tokens.append(made.global_tokens)
            yield rows(made.micro_batches[0], self.pad_token_id)

    def consumed(self, steps: int) -> int:
        """Real tokens of the first `steps` steps; the loader may have asked for one more."""
        return sum(self.tokens[:steps])


def plain_model(config: Config, tokens: Path, pad_token_id: int) -> BertForPreTraining:
    """transformers' own model, with its default attention and the weights that this package's training starts
    from."""
    size = read_manifest(tokens, TOKENS_STAGE).counts["vocabulary"]
    started = initial_model(
        bert_config(config.model, vocabulary_size=size, pad_token_id=pad_token_id),
        config.training.initial_weights,
        seed=config.seed,
        tokenizer=tokens / "tokenizer",
    )
    model = BertForPreTraining(bert_config(config.model, vocabulary_size=size, pad_token_id=pad_token_id))
    model.load_state_dict(started.state_dict())
    return model


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
        mlm += nn.functional.cross_entropy(
            output.prediction_logits.float().flatten(0, 1),
            labels.flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        ).item()
        nsp += nn.functional.cross_entropy(
            output.seq_relationship_logits.float(), relation, reduction="sum"
        ).item()
        predictions, pairs = predictions + int((labels != IGNORED).sum()), pairs + len(relation)
    model.train()
    return mlm / predictions, nsp / pairs


if __name__ == "__main__":
    answer(train_with_transformers)
