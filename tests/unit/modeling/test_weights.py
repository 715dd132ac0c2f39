"""Weights from transformers and back, and the encoder that fine-tuning and tagging use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, BertForPreTraining

from biobert_scale.errors import UserError
from biobert_scale.evaluation.packed_sequences import pack
from biobert_scale.modeling.model import bert_config, build_model
from biobert_scale.modeling.weights import load_encoder, read_model_config
from tests.factories import SMALL_BERT, write_model


def test_random_weights_are_those_that_the_library_draws() -> None:
    config = bert_config(SMALL_BERT, vocabulary_size=100, pad_token_id=0)
    torch.manual_seed(5)
    theirs = BertForPreTraining(config)
    ours = build_model(config, seed=5)
    names = [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in ours.named_parameters()] == names
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name


def test_an_encoder_computes_what_the_library_s_does(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "model")
    theirs = AutoModel.from_pretrained(directory, add_pooling_layer=False).eval()
    ours = load_encoder(directory).eval()
    rows = [[2, 7, 8, 9, 3], [2, 11, 3]]
    with torch.no_grad():
        expected = torch.cat([theirs(torch.tensor([row])).last_hidden_state[0] for row in rows])
        torch.testing.assert_close(ours(pack(rows, torch.device("cpu"))), expected, rtol=1e-5, atol=1e-5)


def test_loading_draws_nothing_and_random_weights_follow_from_their_seed(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "model")
    state = torch.get_rng_state()
    loaded = load_encoder(directory)
    assert torch.equal(torch.get_rng_state(), state)
    first, second, third = (load_encoder(directory, random_weights=True, seed=seed) for seed in (5, 5, 6))
    words = [one.embeddings.word_embeddings.weight for one in (first, second, third, loaded)]
    assert torch.equal(words[0], words[1]) and not any(torch.equal(words[0], other) for other in words[2:])


def test_a_shape_that_is_not_the_weights_is_named(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "model")
    settings = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(settings | {"intermediate_size": 96}))
    with pytest.raises(UserError, match=r"intermediate\.dense\.weight is \(128, 64\) .*\(96, 64\)"):
        load_encoder(directory)


def test_the_original_code_s_names_of_files_and_weights_are_read(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "model")
    older = tmp_path / "older"
    shutil.copytree(directory, older)
    (older / "config.json").rename(older / "bert_config.json")
    weights = load_file(older / "model.safetensors")
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in weights.items()
    }
    save_file(renamed, older / "model.safetensors", metadata={"format": "pt"})
    new, old = load_encoder(directory), load_encoder(older)
    for (name, ours), theirs in zip(new.named_parameters(), old.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_directory_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model \(config\.json or bert_config\.json is missing\)"):
        read_model_config(tmp_path)
    BertConfig(hidden_size=48, num_attention_heads=4).save_pretrained(tmp_path)
    assert read_model_config(tmp_path).hidden_size == 48
