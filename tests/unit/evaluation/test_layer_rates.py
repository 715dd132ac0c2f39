"""What a recipe of fine-tuning changes: layers' learning rates, fresh layers, more steps, smoothed labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from biobert_scale.config import FinetuneConfig, GridConfig
from biobert_scale.errors import UserError
from biobert_scale.evaluation.finetune import finetune
from biobert_scale.evaluation.layer_rates import layer_groups
from biobert_scale.evaluation.ner import EntityTask, Tagger
from biobert_scale.evaluation.packed_sequences import load_tokenizer
from biobert_scale.evaluation.sequences import SequenceTask
from biobert_scale.modeling.weights import load_encoder
from biobert_scale.training.engine.optimizer import parameter_groups
from tests.factories import OWN_TASKS, own_rows, write_model, write_own_task, write_prepared

BUDGET = FinetuneConfig(learning_rate=1e-3, epochs=1, batch_size=8, max_seq_length=64, dropout=0.0)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("benchmarks"))


def names_by_scale(tagger: nn.Module, layer_decay: float) -> dict[float, set[str]]:
    names = {id(parameter): name for name, parameter in tagger.named_parameters()}
    found: dict[float, set[str]] = {}
    for group in layer_groups(tagger, layers=2, layer_decay=layer_decay, weight_decay=0.01):
        found.setdefault(group["scale"], set()).update(names.pop(id(p)) for p in group["params"])
    assert not names, "every parameter is in one group"
    return found


def test_the_rate_falls_from_the_new_layer_to_the_embeddings(model: Path) -> None:
    found = names_by_scale(Tagger(load_encoder(model), 0.0), 0.5)
    assert found[1.0] == {"classifier.weight", "classifier.bias"}
    assert all(".layer.1." in name for name in found[0.5]) and len(found[0.5]) == 16
    assert all(".layer.0." in name for name in found[0.25]) and len(found[0.25]) == 16
    assert all(".embeddings." in name for name in found[0.125]) and len(found[0.125]) == 5


def test_without_a_decay_the_groups_are_those_of_pre_training(model: Path) -> None:
    tagger = Tagger(load_encoder(model), 0.0)
    ours = layer_groups(tagger, layers=2, layer_decay=1.0, weight_decay=0.01)
    theirs = parameter_groups(tagger.parameters(), 0.01)
    assert [group["scale"] for group in ours] == [1.0, 1.0]
    assert [[id(p) for p in group["params"]] for group in ours] == [
        [id(p) for p in group["params"]] for group in theirs
    ]


def test_a_strong_decay_leaves_the_embeddings_where_they_are(
    prepared: Path, model: Path, tmp_path: Path
) -> None:
    before = load_file(model / "model.safetensors")["embeddings.word_embeddings.weight"]
    moved = {}
    for decay in (1.0, 1e-3):
        budget = replace(BUDGET, layer_decay=decay)
        metrics = finetune(prepared, "NCBI-disease", model, tmp_path / str(decay), budget, seed=1)
        assert metrics["config"]["layer_decay"] == decay
        after = load_file(tmp_path / str(decay) / "model" / "model.safetensors")
        moved[decay] = (after["bert.embeddings.word_embeddings.weight"] - before).abs().max().item()
    assert moved[1e-3] < 1e-6 < 1e-4 < moved[1.0]
    with pytest.raises(UserError, match="other inputs or settings"):
        finetune(prepared, "NCBI-disease", model, tmp_path / "1.0", replace(BUDGET, layer_decay=0.9), seed=1)


def test_the_last_layers_are_drawn_anew_from_the_seed(model: Path) -> None:
    def layers(**options: Any) -> list[dict[str, torch.Tensor]]:
        encoder = load_encoder(model, **options)
        return [layer.state_dict() for layer in cast(nn.ModuleList, encoder.encoder["layer"])]

    def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(one[name], other[name]) for name in one)

    kept, fresh = layers(), layers(fresh_layers=1, seed=3)
    assert same(kept[0], fresh[0]) and not same(kept[1], fresh[1])
    assert same(fresh[1], layers(random_weights=True, seed=3)[1])
    assert not same(fresh[1], layers(fresh_layers=1, seed=4)[1])
    assert fresh[1]["output.LayerNorm.weight"].eq(1).all() and fresh[1]["output.dense.bias"].eq(0).all()


def test_more_fresh_layers_than_the_model_has_are_refused(
    prepared: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="reinitialized_layers 3 is more than the model's 2 layers"):
        finetune(prepared, "HoC", model, tmp_path / "run", replace(BUDGET, reinitialized_layers=3), seed=1)


def test_a_small_set_gets_the_epochs_that_the_steps_take(prepared: Path, model: Path, tmp_path: Path) -> None:
    """64 sentences are 8 steps an epoch: 20 steps take three epochs, whichever of 1 and 2 was asked for."""
    budget = replace(BUDGET, minimum_steps=20, keep_weights=False)
    metrics = finetune(
        prepared, "NCBI-disease", model, tmp_path / "run", budget, seed=1, grid=GridConfig(epochs=(1, 2))
    )
    assert metrics["selection"]["chosen"]["epochs"] == 3 == len(metrics["dev_scores"])
    assert len(metrics["selection"]["trials"]) == 1
    recorded = json.loads((tmp_path / "run" / "metrics.json").read_text())["config"]
    assert recorded["minimum_steps"] == 20 and recorded["epochs"] == [1, 2]


def test_smoothed_labels_are_a_mixture_with_all_labels(prepared: Path, model: Path) -> None:
    task = EntityTask(prepared, "NCBI-disease", load_tokenizer(model), 64)
    chosen = [0, 1, 2]
    torch.manual_seed(1)
    logits = torch.randn(task.terms(chosen), 3)

    def loss(smoothing: float) -> float:
        return task.loss(lambda *_: logits, chosen, CPU, smoothing).item()  # type: ignore[arg-type]

    even = -logits.log_softmax(-1).mean(-1).sum().item()
    assert loss(0.3) == pytest.approx(0.7 * loss(0.0) + 0.3 * even, rel=1e-5)


@pytest.mark.parametrize("kind", ["single", "several", "similarity"])
def test_smoothed_labels_of_texts(kind: str, model: Path, tmp_path: Path) -> None:
    splits = {split: {".jsonl": own_rows(kind, split)} for split in ("train", "dev", "test")}
    prepared = write_own_task(tmp_path / "p", kind, OWN_TASKS[kind], splits)
    task, chosen = SequenceTask(prepared, kind, load_tokenizer(model), 64), [0, 1, 2, 3]
    torch.manual_seed(1)
    logits = torch.randn(4, 1 if kind == "similarity" else 3)

    def loss(smoothing: float) -> float:
        return task.loss(lambda _: logits, chosen, CPU, smoothing).item()  # type: ignore[arg-type]

    even = {
        "single": -logits.log_softmax(-1).mean(-1).sum(),
        "several": -(logits.sigmoid().log() + (-logits).sigmoid().log()).sum() / 2,
        "similarity": torch.tensor(loss(0.0)),  # numbers have no labels to smooth
    }[kind]
    assert loss(0.2) == pytest.approx(0.8 * loss(0.0) + 0.2 * even.item(), rel=1e-5)
