"""Training the rows of the word embeddings that occur, and what becomes of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from biobert_scale.config import OptimizerConfig
from biobert_scale.evaluation.layer_rates import layer_groups
from biobert_scale.evaluation.ner import Tagger
from biobert_scale.evaluation.occurring_entries import OccurringEntries
from biobert_scale.evaluation.packed_sequences import pack
from biobert_scale.modeling.weights import load_encoder
from biobert_scale.training.engine.optimizer import build_optimizer
from tests.factories import write_model

CPU = torch.device("cpu")
SENTENCES = [[2, 9, 11, 9, 3], [2, 30, 3]]


def trained(directory: Path, entries: set[int] | None) -> dict[str, torch.Tensor]:
    """The weights after five steps, with all rows of the embeddings or some."""
    torch.manual_seed(1)
    tagger = Tagger(load_encoder(directory, dropout=0.0), 0.0)
    occurring = None if entries is None else OccurringEntries(tagger.bert, entries)
    groups = layer_groups(tagger, layers=2, layer_decay=0.9, weight_decay=0.1)
    optimizer = build_optimizer(tagger, OptimizerConfig(), fused=True, groups=groups)
    for step in range(5):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (1 + step) * group["scale"]
        scores = tagger(pack(SENTENCES, CPU), torch.tensor([1, 2, 6]))
        torch.nn.functional.cross_entropy(scores, torch.tensor([0, 1, 2])).backward()
        torch.nn.utils.clip_grad_norm_(tagger.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    if occurring is not None:
        occurring.restore()
    return tagger.state_dict()


def test_rows_that_do_not_occur_shrink_as_adamw_would_shrink_them(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    all_rows, some = trained(model, None), trained(model, {2, 3, 9, 11, 30, 31})
    assert all_rows.keys() == some.keys()
    for name, weights in all_rows.items():
        torch.testing.assert_close(some[name], weights, rtol=1e-5, atol=1e-7, msg=name)
    before = load_encoder(model).embeddings.word_embeddings.weight
    moved = (some["bert.embeddings.word_embeddings.weight"] - before).abs().amax(1)
    assert moved[[9, 30]].min() > 1e-3 > moved[31] > 0, "by gradients, and by weight decay alone"


def test_an_entry_that_was_not_named_is_not_read(tmp_path: Path) -> None:
    encoder = load_encoder(write_model(tmp_path))
    OccurringEntries(encoder, {2, 3})
    with pytest.raises(IndexError):
        encoder(pack([[2, 9, 3]], CPU))
