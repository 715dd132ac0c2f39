"""A run from existing weights, on real ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForPreTraining

from biobert_scale.data.layouts import IGNORED
from biobert_scale.data.stream import SampleStream
from biobert_scale.modeling.model import bert_config
from biobert_scale.recipes import structure_config
from biobert_scale.tokens.vocabulary_file import read_entries
from tests.factories import TINY, write_tokens
from tests.launching import train


def test_two_ranks_begin_with_the_loss_that_the_library_computes(tmp_path: Path) -> None:
    """The weights' vocabulary has the run's entries in another order."""
    tokens = write_tokens(tmp_path / "made", documents=60)
    entries, config = read_entries(tokens / "tokenizer"), structure_config(TINY, where="test")
    torch.manual_seed(1)
    model = BertForPreTraining(bert_config(config.model, vocabulary_size=len(entries), pad_token_id=0)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(tmp_path / "source")
    weights, by_entry = (
        load_file(tmp_path / "source" / "model.safetensors"),
        ("bert.embeddings.word_embeddings.weight", "cls.predictions.bias"),
    )
    turned = {
        name: tensor.flip(0).contiguous() if name in by_entry else tensor for name, tensor in weights.items()
    }
    save_file(turned, tmp_path / "source" / "model.safetensors")
    (tmp_path / "source" / "vocab.txt").write_text("\n".join(entries[::-1]) + "\n")

    overrides = (
        "--training.initial-weights",
        str(tmp_path / "source"),
        "--training.schedule.warmup-steps",
        "0",
    )
    first = next(
        record
        for record in train(tokens, tmp_path / "run", *overrides, processes=2, steps=1)
        if "validation/mlm_loss" in record
    )
    assert first["global_step"] == 0

    stream = SampleStream.open(
        tokens, tmp_path / "run" / "samples", config.data, seed=config.seed, split="validation"
    )
    mlm, nsp, predictions, sequences = 0.0, 0.0, 0, 0
    for batch in stream.validation(
        config.training.validation.sequences, micro_batch_size=4, world_size=1, rank=0
    ):
        labels = np.full(len(batch.input_ids), IGNORED)
        labels[batch.mlm_positions] = batch.mlm_labels
        for number, (begin, end) in enumerate(zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True)):
            ids, kinds, truth = (
                torch.from_numpy(row[begin:end])[None].long()
                for row in (batch.input_ids, batch.token_type_ids, labels)
            )
            with torch.no_grad():
                output = model(input_ids=ids, token_type_ids=kinds)
            mlm += float(
                torch.nn.functional.cross_entropy(
                    output.prediction_logits[0], truth[0], ignore_index=IGNORED, reduction="sum"
                )
            )
            nsp += float(
                torch.nn.functional.cross_entropy(
                    output.seq_relationship_logits, torch.tensor([int(batch.nsp_labels[number])])
                )
            )
            predictions, sequences = predictions + int((truth != IGNORED).sum()), sequences + 1
    assert sequences == first["validation/sequences"]
    assert first["validation/mlm_loss"] == pytest.approx(mlm / predictions, rel=1e-5)
    assert first["validation/nsp_loss"] == pytest.approx(nsp / sequences, rel=1e-5)
