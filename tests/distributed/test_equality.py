"""The same mathematics everywhere: losses, gradient norms and weights of twenty steps, and the plain library
beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BertForPreTraining

from biobert_scale.config import Config
from biobert_scale.data.layouts import padded
from biobert_scale.data.stream import SampleStream
from biobert_scale.modeling.model import bert_config, build_model
from biobert_scale.recipes import structure_config
from biobert_scale.release.export import export_model
from biobert_scale.tokens.vocabulary import special_ids
from tests.factories import TINY, write_samples, write_tokens
from tests.launching import column, train

STEPS = 20
NAMES = ("train/loss", "optim/grad_norm", "optim/learning_rate")
Run = tuple[list[tuple[Any, ...]], dict[str, Tensor]]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=400)


def result(tokens: Path, directory: Path, *overrides: str, processes: int, steps: int = STEPS) -> Run:
    """A run's figures by step, and its last weights."""
    metrics = train(tokens, directory / "run", *overrides, processes=processes, steps=steps)
    export_model(directory / "run", tokens, directory / "export")
    return column(metrics, *NAMES), load_file(directory / "export" / "model.safetensors")


@pytest.fixture(scope="module")
def alone(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A single process without an engine, the whole batch at once."""
    return result(
        tokens,
        tmp_path_factory.mktemp("alone"),
        "--training.engine.name",
        "ddp",
        "--training.micro-batch-size",
        "16",
        processes=1,
    )


def assert_equal(ours: Run, theirs: Run) -> None:
    for step, expected in zip(ours[0], theirs[0], strict=True):
        assert step == pytest.approx(expected, rel=1e-5)
    assert ours[1].keys() == theirs[1].keys()
    for name, weight in theirs[1].items():
        if name.endswith(
            "key.bias"
        ):  # softmax takes no notice of what is added to every key: rounding alone moves it
            assert float(ours[1][name].abs().max()) < 1e-6, name
        else:
            assert float((ours[1][name] - weight).norm()) <= 1e-5 * float(weight.norm()), name


@pytest.mark.proof
@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("engine", ["ddp", "zero0", "zero1", "zero2", "zero3"])
def test_every_engine_at_every_world_size_is_one_process(
    tokens: Path, alone: Run, tmp_path: Path, engine: str, processes: int
) -> None:
    chosen = (
        ("--training.engine.name", "ddp")
        if engine == "ddp"
        else ("--training.engine.deepspeed-config", engine)
    )
    assert_equal(
        result(tokens, tmp_path, *chosen, "--training.micro-batch-size", "2", processes=processes), alone
    )


@pytest.mark.proof
def test_sixteen_ranks_of_two_by_eight_are_one_rank_of_256(tokens: Path, tmp_path: Path) -> None:
    batch = ("--training.global-batch-size", "256")
    one = result(
        tokens,
        tmp_path / "one",
        *batch,
        "--training.micro-batch-size",
        "256",
        "--training.engine.name",
        "ddp",
        processes=1,
        steps=3,
    )
    sixteen = result(
        tokens,
        tmp_path / "sixteen",
        *batch,
        "--training.micro-batch-size",
        "2",
        "--training.engine.deepspeed-config",
        "zero1",
        processes=16,
        steps=3,
    )
    assert_equal(sixteen, one)


def test_the_plain_library_on_padded_batches_gives_the_same_losses(tokens: Path, alone: Run) -> None:
    """`transformers.BertForPreTraining` and `torch.optim.AdamW`, written out here, on the same samples
    normalised the same way."""
    config = structure_config(TINY, where="tiny")
    for ours, theirs in zip(alone[0], plain_training(config, tokens, alone), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


def plain_training(config: Config, tokens: Path, alone: Run) -> list[tuple[float, ...]]:
    special = special_ids(tokens / "tokenizer")
    stream = SampleStream.open(
        tokens, write_samples(tokens, tokens.parent / "samples", config.data), config.data, seed=config.seed
    )
    size = alone[1]["bert.embeddings.word_embeddings.weight"].shape[0]
    ours, plain = (
        bert_config(config.model, vocabulary_size=size, pad_token_id=special["[PAD]"]) for _ in range(2)
    )
    model = BertForPreTraining(plain)
    model.load_state_dict(build_model(ours, seed=config.seed).state_dict())
    settings, schedule = config.training.optimizer, config.training.schedule
    bare = [
        parameter
        for name, parameter in model.named_parameters()
        if name.endswith("bias") or "LayerNorm" in name
    ]
    decayed = [
        parameter
        for name, parameter in model.named_parameters()
        if not (name.endswith("bias") or "LayerNorm" in name)
    ]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": bare, "weight_decay": 0.0}],
        betas=settings.betas,
        eps=settings.epsilon,
    )
    found: list[tuple[float, ...]] = []
    for taken in range(STEPS):
        step = stream.step(taken * 16, global_batch_size=16, micro_batch_size=16, world_size=1, rank=0)
        rows = {
            name: torch.from_numpy(array)
            for name, array in padded(step.micro_batches[0], pad_token_id=special["[PAD]"]).items()
        }
        labels, relation = rows.pop("labels"), rows.pop("next_sentence_label")
        output = model(**rows)
        mlm = nn.functional.cross_entropy(
            output.prediction_logits.flatten(0, 1), labels.flatten(), reduction="sum"
        )
        nsp = nn.functional.cross_entropy(output.seq_relationship_logits, relation, reduction="sum")
        loss = mlm / step.global_predictions + nsp / step.global_sequences
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        rate = (
            min((taken + 1) / schedule.warmup_steps, (STEPS - taken) / (STEPS - schedule.warmup_steps))
            * settings.learning_rate
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        found.append((taken + 1, float(loss), float(norm), rate))
    return found
