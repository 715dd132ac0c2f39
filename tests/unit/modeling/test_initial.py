"""What a run starts from: every source's weights, exactly, on whatever vocabulary; what does not fit is
refused."""

from __future__ import annotations

import logging
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForPreTraining, BertConfig, BertForMaskedLM, BertForPreTraining, BertModel

from biobert_scale.config import ModelConfig
from biobert_scale.errors import UserError
from biobert_scale.files import write_json
from biobert_scale.modeling.carry import carry_embeddings
from biobert_scale.modeling.initial import initial_model
from biobert_scale.modeling.model import PackedBertForPreTraining, bert_config, build_model
from biobert_scale.tokens.vocabulary_file import read_entries

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
OLD = [
    *SPECIAL,
    "heart",
    "##less",
    "##ness",
    "kind",
    "##ly",
    "un",
    "##k",
    "##i",
    "##n",
    "##d",
    "cardio",
    "##gram",
    "α",
]
SHAPE = ModelConfig(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=40,
    max_position_embeddings=64,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
EMBEDDINGS, BIAS = "bert.embeddings.word_embeddings.weight", "cls.predictions.bias"


def shape(entries: list[str] = OLD) -> BertConfig:
    return bert_config(SHAPE, vocabulary_size=len(entries), pad_token_id=entries.index("[PAD]"))


def write_vocabulary(directory: Path, entries: list[str] = OLD) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "vocab.txt").write_text("\n".join(entries) + "\n")
    return directory


def trained(kind: type[Any] = BertForPreTraining, config: BertConfig | None = None) -> Any:
    """A library model whose every parameter is its own: no zeros and ones left."""
    torch.manual_seed(11)
    model = kind(config or BertConfig(**{**shape().to_dict(), "hidden_dropout_prob": 0.1}))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def of_library(model: Any) -> Any:
    """The library's model with the same weights."""
    if isinstance(model, PackedBertForPreTraining):
        theirs = BertForPreTraining(model.config)
        theirs.load_state_dict(model.state_dict())
        return theirs
    return model


def save(directory: Path, model: Any, entries: list[str] = OLD, **options: Any) -> Path:
    of_library(model).save_pretrained(directory, **options)
    return write_vocabulary(directory, entries)


def start(source: Path, entries: list[str] = OLD, *, seed: int = 3) -> Any:
    return initial_model(
        shape(entries), source, seed=seed, tokenizer=write_vocabulary(source.parent / "tokenizer", entries)
    )


def test_no_source_means_random_weights(tmp_path: Path) -> None:
    expected = build_model(shape(), seed=3).state_dict()
    for source in (None, ""):
        found = initial_model(shape(), source, seed=3, tokenizer=tmp_path).state_dict()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_saved_model_comes_in_and_goes_out_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    saved = trained().to(dtype)
    model = start(save(tmp_path / "model", saved))
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    assert model.cls.predictions.decoder.bias is model.cls.predictions.bias
    of_library(model).save_pretrained(tmp_path / "out")
    opened = AutoModelForPreTraining.from_pretrained(tmp_path / "out")
    assert opened.dtype == torch.float32
    for name, parameter in saved.named_parameters():
        for ours in (model, opened):
            assert torch.equal(ours.get_parameter(name), parameter.float()), name


@pytest.mark.parametrize(
    ("kind", "fresh"),
    [
        (
            BertForMaskedLM,
            (
                "bert.pooler.dense.weight",
                "bert.pooler.dense.bias",
                "cls.seq_relationship.weight",
                "cls.seq_relationship.bias",
            ),
        ),
        (
            BertModel,
            (
                BIAS,
                "cls.predictions.transform.dense.weight",
                "cls.predictions.transform.LayerNorm.weight",
                "cls.seq_relationship.weight",
            ),
        ),
    ],
)
def test_heads_that_are_missing_are_fresh_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: type[Any], fresh: tuple[str, ...]
) -> None:
    saved = trained(kind)
    with caplog.at_level(logging.INFO):
        model = start(save(tmp_path / "model", saved))
    told = next(record.getMessage() for record in caplog.records if record.getMessage().startswith("freshly"))
    random = build_model(shape(), seed=3)
    present = {
        name if kind is BertForMaskedLM else f"bert.{name}": parameter
        for name, parameter in saved.named_parameters()
    }
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, present.get(name, random.get_parameter(name))), name
        assert (name in told) == (name not in present), name
    assert set(fresh) <= set(told.replace(",", " ").split())


def test_pickled_sharded_and_old_names_are_read(tmp_path: Path) -> None:
    saved = trained()
    old_names = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in saved.state_dict().items()
    }
    pickled = save(tmp_path / "pickled", saved)
    (pickled / "model.safetensors").unlink()
    torch.save(old_names, pickled / "pytorch_model.bin")
    sharded = save(tmp_path / "sharded", saved, max_shard_size="8KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    for source in (pickled, sharded):
        model = start(source)
        assert all(
            torch.equal(model.get_parameter(name), parameter) for name, parameter in saved.named_parameters()
        ), source
    next(sharded.glob("*.safetensors")).unlink()
    with pytest.raises(UserError, match=r"a file of the weights is missing: .*safetensors"):
        start(sharded)


@pytest.mark.fault("initial weights whose pickle would run code", "not opened")
def test_a_pickle_that_would_run_code_is_not_opened(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "harm"),)

    source = save(tmp_path / "model", trained())
    (source / "model.safetensors").unlink()
    for write in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))):
        write({"bert.pooler.dense.bias": Harmful()}, source / "pytorch_model.bin")
        with pytest.raises(UserError, match="the weights cannot be read") as caught:
            start(source)
        assert "\n" not in str(caught.value) and not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("key", "theirs", "ours"),
    [
        ("hidden_size", 32, 16),
        ("num_hidden_layers", 3, 2),
        ("num_attention_heads", 4, 2),
        ("intermediate_size", 24, 40),
        ("max_position_embeddings", 96, 64),
        ("type_vocab_size", 3, 2),
        ("hidden_act", "relu", "gelu"),
        ("layer_norm_eps", 1e-5, 1e-12),
    ],
)
def test_another_shape_is_refused_by_its_key_and_both_values(
    tmp_path: Path, key: str, theirs: Any, ours: Any
) -> None:
    config = BertConfig(**{**shape().to_dict(), key: theirs})
    with pytest.raises(UserError) as caught:
        start(save(tmp_path / "model", trained(config=config)))
    assert str(caught.value).startswith(
        f"{key} is {ours} in the recipe and {theirs} in the initial weights: {tmp_path / 'model'}; "
    )


def test_positions_beyond_those_of_the_weights_repeat_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = trained(config=BertConfig(**{**shape().to_dict(), "max_position_embeddings": 24}))
    with caplog.at_level(logging.INFO):
        ours = start(save(tmp_path / "model", theirs)).state_dict()
    assert "embeddings of positions: 24 copied, and 40 more of them repeated" in caplog.text
    name = "bert.embeddings.position_embeddings.weight"
    rows = theirs.state_dict()[name]
    assert torch.equal(ours[name], torch.cat([rows, rows, rows[:16]]))
    others = [key for key in ours if key != name]
    assert all(torch.equal(ours[key], theirs.state_dict()[key]) for key in others)


def test_weights_that_do_not_make_this_model_are_refused_in_one_line(tmp_path: Path) -> None:
    source = save(tmp_path / "model", trained())
    path, whole = source / "model.safetensors", load_file(source / "model.safetensors")
    query = "bert.encoder.layer.1.attention.self.query.weight"
    broken = {
        r"lack bert\.encoder\.layer\.1\.attention\.self\.query\.weight": {
            name: tensor for name, tensor in whole.items() if name != query
        },
        r"have, unlike BERT, bert\.encoder\.layer\.0\.attention\.self\.distance_embedding\.weight": {
            **whole,
            "bert.encoder.layer.0.attention.self.distance_embedding.weight": torch.ones(2),
        },
        r"query\.weight has the shape \(16, 8\) in the initial weights and \(16, 16\)": {
            **whole,
            query: torch.ones(16, 8),
        },
        r"query\.weight is stored as torch\.int8": {**whole, query: whole[query].to(torch.int8)},
        r"query\.weight holds values that are not finite": {**whole, query: torch.full((16, 16), torch.nan)},
        r"cls\.predictions\.decoder\.weight differs from bert\.embeddings": {
            **whole,
            "cls.predictions.decoder.weight": torch.ones(18, 16),
        },
        r"18 embeddings and 17 output biases do not fit a vocabulary of 18": {**whole, BIAS: torch.ones(17)},
    }
    for told, tensors in broken.items():
        save_file(tensors, path, {"format": "pt"})
        with pytest.raises(UserError, match=told):
            start(source)
    save_file(whole, path, {"format": "pt"})
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(UserError, match=r"the weights cannot be read .*model\.safetensors"):
        start(source)
    path.write_bytes(content)
    write_json(source / "config.json", {"model_type": "roberta"})
    with pytest.raises(UserError, match="not a BERT model \\(roberta\\)"):
        start(source)


def test_a_place_without_weights_is_told_with_what_may_stand_there(tmp_path: Path) -> None:
    write_vocabulary(tmp_path / "empty")
    for path, told in (
        (tmp_path / "empty", "no weights to start from"),
        (tmp_path / "bert-large-cased", "no such directory or checkpoint"),
    ):
        with pytest.raises(UserError, match=told) as caught:
            start(path)
        assert "bert_model.ckpt" in str(caught.value)
    source = save(tmp_path / "model", trained())
    (source / "vocab.txt").unlink()
    with pytest.raises(UserError, match=r"no vocab\.txt and no tokenizer\.json"):
        start(source)
    write_vocabulary(source, [*OLD, "more"])
    with pytest.raises(
        UserError, match="18 embeddings and 18 output biases do not fit a vocabulary of 19 entries"
    ):
        start(source)


def test_rows_go_by_entries_and_never_by_ids(tmp_path: Path) -> None:
    saved = trained()
    new = [*OLD[::-1], "heartless"]
    model = start(save(tmp_path / "model", saved), new)
    rows, bias = saved.get_parameter(EMBEDDINGS), saved.get_parameter(BIAS)
    for entry in OLD:
        assert torch.equal(model.get_parameter(EMBEDDINGS)[new.index(entry)], rows[OLD.index(entry)]), entry
        assert torch.equal(model.get_parameter(BIAS)[new.index(entry)], bias[OLD.index(entry)]), entry
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    ids = torch.arange(len(OLD))[None]
    ours, theirs = (
        module.eval()(input_ids=input_ids).prediction_logits
        for module, input_ids in (
            (BertForPreTraining.from_pretrained(save(tmp_path / "out", model)), len(OLD) - 1 - ids),
            (saved, ids),
        )
    )
    torch.testing.assert_close(ours[..., : len(OLD)].flip(-1), theirs)


@pytest.mark.parametrize(
    ("entry", "pieces"),
    [
        ("heartless", ["heart", "##less"]),
        ("##lessness", ["##less", "##ness"]),  # as a continuation, not as a word
        ("##kindly", ["##k", "##i", "##n", "##d", "##ly"]),  # "kind" would be a word
        ("kindly", ["kind", "##ly"]),
        ("##heart", ["heart"]),  # no continuation fits: better the word than nothing
        ("##α", ["α"]),
        ("Heartless", []),  # the old tokenizer knows no capital letters
        ("β", []),
        ("##β", []),
    ],
)
def test_a_new_entry_is_the_mean_of_the_pieces_that_the_old_tokenizer_makes(
    entry: str, pieces: list[str]
) -> None:
    generator = torch.Generator().manual_seed(1)
    rows, bias = (
        torch.randn(len(OLD) + 3, 8, generator=generator),
        torch.randn(len(OLD) + 3, generator=generator),
    )
    made, made_bias, counts = carry_embeddings(rows, bias, old=OLD, new=[entry, *OLD], lowercase=False)
    assert made_bias is not None
    sources = [OLD.index(piece) for piece in pieces or OLD]  # with no piece the mean of all, padding left out
    torch.testing.assert_close(made[0], rows[sources].mean(0))
    torch.testing.assert_close(made_bias[0], bias[sources].mean())
    assert torch.equal(made[1:], rows[: len(OLD)]) and torch.equal(made_bias[1:], bias[: len(OLD)])
    assert (counts.copied, counts.averaged, counts.unknown) == (len(OLD), int(bool(pieces)), int(not pieces))


def test_a_lower_casing_tokenizer_splits_capitals_and_accents(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved = trained()
    source = save(tmp_path / "model", saved)
    write_json(source / "tokenizer_config.json", {"do_lower_case": True})
    with caplog.at_level(logging.INFO):
        model = start(source, [*SPECIAL, "Heartless", "Kínd", "heart", "Ω"])
    rows = saved.get_parameter(EMBEDDINGS)
    torch.testing.assert_close(
        model.get_parameter(EMBEDDINGS)[5], rows[[OLD.index("heart"), OLD.index("##less")]].mean(0)
    )
    assert torch.equal(model.get_parameter(EMBEDDINGS)[6], rows[OLD.index("kind")])
    assert (
        "9 entries: 6 copied, 2 averaged over pieces of the old vocabulary, 1 the mean of all its rows"
        in caplog.text
    )


def test_words_are_split_as_the_real_tokenizer_splits_them(real_data: Path) -> None:
    """Every other entry of BERT's vocabulary taken away, but for single characters; what is left splits
    it."""
    from transformers import BertTokenizer

    entries = read_entries(real_data / "bert" / "bert-large-cased")
    old = [
        entry
        for number, entry in enumerate(entries)
        if number % 2 or entry in SPECIAL or len(entry.removeprefix("##")) == 1
    ]
    tokenizer = BertTokenizer(vocab={entry: index for index, entry in enumerate(old)}, do_lower_case=False)
    kept = set(old)
    new = [entry for entry in entries if entry not in kept and not entry.startswith(("##", "["))]
    rows = torch.randn(len(old), 4, generator=torch.Generator().manual_seed(1))
    made, _, counts = carry_embeddings(rows, None, old=old, new=new, lowercase=False)
    assert counts.copied == 0 and counts.averaged > 10_000 and counts.unknown < 100
    for index in range(0, len(new), 97):
        pieces = [
            piece
            for piece in tokenizer(new[index], add_special_tokens=False)["input_ids"]
            if piece != old.index("[UNK]")
        ]
        torch.testing.assert_close(made[index], rows[pieces or slice(None)].mean(0))


def test_the_real_tensorflow_checkpoint_starts_a_run(
    real_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = real_data / "bert" / "tf_tiny_checkpoint"
    entries = read_entries(directory)
    config = BertConfig(
        vocab_size=15,
        hidden_size=4,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    tokenizer = write_vocabulary(tmp_path / "tokenizer", entries)
    with caplog.at_level(logging.INFO):
        models = [
            initial_model(config, source, seed=seed, tokenizer=tokenizer)
            for source, seed in ((directory, 1), (directory / "bert_model.ckpt", 2))
        ]
    assert "freshly" not in caplog.text and "no place" not in caplog.text
    for (name, ours), other in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert torch.equal(ours, other), f"{name} is random"
    with pytest.raises(
        UserError, match="num_attention_heads is 2 in the recipe and 4 in the initial weights"
    ):
        initial_model(
            BertConfig(**{**config.to_dict(), "num_attention_heads": 2}),
            directory,
            seed=1,
            tokenizer=tokenizer,
        )


def test_of_several_tensorflow_checkpoints_one_must_be_named(tmp_path: Path) -> None:
    for step in (1, 2):
        (tmp_path / f"model.ckpt-{step}.index").touch()
    with pytest.raises(UserError, match=r"several TensorFlow checkpoints \(model\.ckpt-1, model\.ckpt-2\)"):
        start(tmp_path)
