from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast  # type: ignore[attr-defined]

from biobert_scale.config import FinetuneConfig
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.evaluation.entity_scores import score_tags
from biobert_scale.evaluation.finetune import finetune
from biobert_scale.evaluation.fit import fit
from biobert_scale.evaluation.ner import EntityTask, Tagger, make_windows
from biobert_scale.evaluation.packed_sequences import in_batches, load_tokenizer, pack
from biobert_scale.evaluation.prepare import prepare
from biobert_scale.evaluation.prepared import read_gold, read_sentences
from biobert_scale.evaluation.readers import TaggedSentence
from biobert_scale.evaluation.table import compare, render_table, score_table
from biobert_scale.modeling.weights import load_encoder
from biobert_scale.training.ranks import rank_environment
from biobert_scale.training.runtime import start_plain
from tests.factories import write_model, write_prepared

OVERFIT = FinetuneConfig(
    learning_rate=1e-3, epochs=12, batch_size=8, max_seq_length=64, dropout=0.0, weight_decay=0.0
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("benchmarks"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def runs(prepared, model, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs")
    for seed in (1, 2):
        finetune(prepared, "NCBI-disease", model, directory / f"entities-{seed}", OVERFIT, seed=seed)
    return directory


def test_the_caller_s_number_of_threads_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with rank_environment() as ranks:
            start_plain(ranks, "fp32")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_32_sentences_are_learned_by_heart(runs):
    metrics = json.loads((runs / "entities-1" / "metrics.json").read_text())
    assert metrics["score"] == 100.0
    assert metrics["scores"]["discard"] == {
        "precision": 100.0,
        "recall": 100.0,
        "f1": 100.0,
        "tp": 32,
        "fp": 0,
        "fn": 0,
    }
    assert metrics["chosen_epoch"] == 1 + metrics["dev_scores"].index(max(metrics["dev_scores"]))
    assert metrics["train_losses"][-1] < 0.05 < metrics["train_losses"][0]
    lines = (runs / "entities-1" / "predictions.tsv").read_text().splitlines()
    assert (
        all(line == "" or line.split(" ")[1] == line.split(" ")[2] for line in lines) and "palsy I I" in lines
    )


def test_an_untrained_model_scores_under_10(prepared, model, tmp_path):
    metrics = finetune(
        prepared,
        "NCBI-disease",
        model,
        tmp_path / "run",
        dataclasses.replace(OVERFIT, learning_rate=0.0, epochs=1),
        seed=3,
    )
    assert metrics["score"] < 10.0
    assert sum(metrics["scores"]["conlleval"][name] for name in ("tp", "fn")) == 32


def test_documents_are_learned_by_heart_and_the_unlabelled_count(prepared, model, tmp_path):
    config = dataclasses.replace(OVERFIT, learning_rate=3e-3, epochs=40, batch_size=4)
    metrics = finetune(prepared, "HoC", model, tmp_path / "run", config, seed=1)
    assert metrics["protocol"] == "hoc-blurb" and metrics["score"] == 100.0
    assert metrics["scores"]["example"]["documents"] == 16 and metrics["n_truncated_tokens"] == 0
    lines = (tmp_path / "run" / "predictions.tsv").read_text().splitlines()
    assert (
        len(lines) == 25
        and lines[2].split("\t")[:3] == ["3001", "1", "1"]
        and len(lines[2].split("\t")[3].split(",")) == 10
    )


def test_a_task_s_own_length_is_taken_where_none_is_asked_for(prepared, model, tmp_path):
    """A document is read as far as the model can; BLURB cuts at 512 pieces."""
    shutil.copytree(model, tmp_path / "long")
    settings = json.loads((model / "config.json").read_text())
    encoder = BertModel(BertConfig(**settings | {"max_position_embeddings": 700}), add_pooling_layer=False)
    encoder.save_pretrained(tmp_path / "long")
    budget = dataclasses.replace(OVERFIT, max_seq_length=0, epochs=1, keep_weights=False)
    found = {
        (task, unit, home.name): finetune(
            prepared,
            task,
            home,
            tmp_path / "runs" / f"{task}-{unit}-{home.name}",
            dataclasses.replace(budget, hallmark_unit=unit),  # type: ignore[arg-type]
            seed=1,
        )["max_seq_length"]
        for task, unit in (("HoC", "document"), ("HoC", "sentence-union"), ("NCBI-disease", "document"))
        for home in (tmp_path / "long", model)
    }
    assert [length for (*_, name), length in found.items() if name == "long"] == [512, 256, 256]
    assert {length for (*_, name), length in found.items() if name != "long"} == {64}, (
        "as many as it has positions"
    )


def test_a_model_that_is_not_all_there_is_not_filled_up_at_random(model, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    for name, kept in (
        ("alien", {f"electra.{key}": value for key, value in weights.items()}),
        ("half", {key: value for key, value in weights.items() if "layer.1." not in key}),
    ):
        shutil.copytree(model, tmp_path / name)
        save_file(kept, tmp_path / name / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(UserError, match="the model lacks"):
            load_encoder(tmp_path / name)
    shutil.copytree(model, tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read"):
        load_encoder(tmp_path / "cut")
    for content, says in (
        ("{", "not valid JSON"),
        ('{"model_type": "roberta"}', r"not a BERT model \(roberta\)"),
        ('{"hidden_size": "wide"}', "not a model's settings"),
    ):
        (tmp_path / "cut" / "config.json").write_text(content)
        with pytest.raises(UserError, match=says):
            load_encoder(tmp_path / "cut", random_weights=True)


@pytest.mark.parametrize(
    "precision",
    [
        "bf16",
        pytest.param(
            "fp16", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="fp16 is for GPUs")
        ),
    ],
)
def test_16_bits_learn_by_heart_as_well(prepared, model, tmp_path, precision):
    metrics = finetune(
        prepared,
        "NCBI-disease",
        model,
        tmp_path / "run",
        dataclasses.replace(OVERFIT, precision=precision),
        seed=1,
    )
    assert metrics["score"] == 100.0 and metrics["precision"] == precision


def test_long_documents_are_cut_and_the_cut_pieces_counted(prepared, model, tmp_path):
    config = dataclasses.replace(OVERFIT, epochs=1, max_seq_length=8)
    assert finetune(prepared, "HoC", model, tmp_path / "run", config, seed=1)["n_truncated_tokens"] > 0


def test_finished_work_is_not_done_again_and_other_work_is_refused(prepared, model, runs):
    path = runs / "entities-1" / "metrics.json"
    before = path.stat().st_mtime_ns
    again = finetune(prepared, "NCBI-disease", model, runs / "entities-1", OVERFIT, seed=1)
    assert again == json.loads(path.read_text()) and path.stat().st_mtime_ns == before
    with pytest.raises(UserError, match="--overwrite"):
        finetune(prepared, "NCBI-disease", model, runs / "entities-1", OVERFIT, seed=9)


def test_equal_seeds_give_equal_runs_and_random_weights_differ(prepared, model, tmp_path):
    config = dataclasses.replace(OVERFIT, epochs=1, dropout=0.1)
    losses = [
        finetune(prepared, "NCBI-disease", model, tmp_path / name, config, seed=5, random_weights=random)[
            "train_losses"
        ]
        for name, random in (("a", False), ("b", False), ("c", True))
    ]
    assert losses[0] == losses[1] != losses[2]


def test_users_mistakes_are_told(prepared, model, tmp_path):
    with pytest.raises(UserError, match="no task 'NCBI'"):
        finetune(prepared, "NCBI", model, tmp_path / "a", OVERFIT, seed=1)
    with pytest.raises(UserError, match="64 positions"):
        finetune(
            prepared, "HoC", model, tmp_path / "b", dataclasses.replace(OVERFIT, max_seq_length=65), seed=1
        )
    with pytest.raises(UserError, match="missing input"):
        finetune(prepared, "HoC", tmp_path / "nowhere", tmp_path / "c", OVERFIT, seed=1)
    for changes, says in (
        ({"dropout": 1.5}, "dropout cannot be 1.5"),
        ({"learning_rate": -1.0}, "learning_rate cannot be -1.0"),
        ({"epochs": 0}, "epochs cannot be 0"),
        ({"warmup_fraction": 3.0}, "warmup_fraction"),
        ({"weight_decay": -1.0}, "weight_decay"),
    ):
        with pytest.raises(UserError, match=says):
            finetune(prepared, "HoC", model, tmp_path / "e", dataclasses.replace(OVERFIT, **changes), seed=1)
    for seed in (-1, 2**40):
        with pytest.raises(UserError, match="--seed"):
            finetune(prepared, "HoC", model, tmp_path / "e", OVERFIT, seed=seed)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RunFailed, match="lower the learning rate"):
        patch.setattr(
            FinetuneConfig, "__post_init__", lambda self: None
        )  # no rate that is allowed diverges so
        finetune(
            prepared,
            "HoC",
            model,
            tmp_path / "d",
            dataclasses.replace(OVERFIT, learning_rate=1e30, epochs=2),
            seed=1,
        )


def test_a_tokenizer_that_lower_cases_a_cased_vocabulary_is_refused(model, tmp_path):
    assert load_tokenizer(model).tokenize("Noxal noxal") == ["Noxal", "n", "##o", "##x", "##a", "##l"]
    with pytest.raises(UserError, match="lower-cases"):
        load_tokenizer(write_model(tmp_path / "wrong", lowercase=True))
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "palsy"]
    for lowercase in (True, False):
        directory = tmp_path / f"uncased-{lowercase}"
        BertTokenizerFast(
            vocab={piece: number for number, piece in enumerate(pieces)}, do_lower_case=lowercase
        ).save_pretrained(directory)
        if lowercase:
            assert load_tokenizer(directory).tokenize("Palsy") == ["palsy"]
        else:
            with pytest.raises(UserError, match="no capitals"):
                load_tokenizer(directory)


def long_sentence(words):
    tokens = ["leaf", "palsy", "Moss", "and"] * (words // 4)
    starts = list(range(0, 10 * len(tokens), 10))
    ends = [start + len(token) for start, token in zip(starts, tokens, strict=True)]
    return TaggedSentence(
        pmid="1",
        sentence=0,
        tokens=tokens,
        starts=starts,
        ends=ends,
        tags=["B", "I", "O", "O"] * (words // 4),
    )


@pytest.mark.parametrize("max_seq_length", [8, 13, 64])
def test_windows_overlap_and_score_every_word_once(model, max_seq_length):
    sentences = [
        long_sentence(120),
        long_sentence(4),
        dataclasses.replace(long_sentence(4), tokens=["q" * 90, "leaf", "\u200b", "palsy"]),
    ]
    windows = make_windows(sentences, load_tokenizer(model), max_seq_length)
    for index, sentence in enumerate(sentences):
        mine = [window for window in windows if window.sentence == index]
        assert [word for window in mine for word in window.words] == list(range(len(sentence.tokens)))
        assert all(len(window.input_ids) <= max_seq_length for window in mine)
        assert all(
            position < len(window.input_ids) - 1 for window in mine for position in window.first_pieces
        )
    tokenizer = load_tokenizer(model)
    for window in windows:
        for position, word in zip(window.first_pieces, window.scored, strict=True):
            first = tokenizer.tokenize(sentences[window.sentence].tokens[word])[0]
            assert tokenizer.convert_ids_to_tokens(window.input_ids[position]) == first
    several = [window for window in windows if window.sentence == 0]
    if len(several) > 1:
        assert max_seq_length < 13 or all(
            window.first_pieces[0] > 1 for window in several[1:]
        )  # the first word has context


def test_gold_beyond_the_window_and_unreadable_words_still_count(model, tmp_path):
    lines = [word for number in range(40) for word in (f"leaf\tB\npalsy\tI\nand{number}\tO\n",)]
    lines.append("\u200b\tB\n")
    for name in ("train", "dev", "test"):
        path = tmp_path / "in" / "NCBI-disease" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")
    prepare(tmp_path / "in", tmp_path / "out")
    task = EntityTask(tmp_path / "out", "NCBI-disease", load_tokenizer(model), 16)
    result = task.evaluate(Tagger(load_encoder(model), 0.0).eval(), "test", torch.device("cpu"))
    counts = result["scores"]["conlleval"]
    assert counts["tp"] + counts["fn"] == 41 and result["n_truncated_tokens"] == 1
    sentences, gold = (
        read_sentences(tmp_path / "out", "NCBI-disease", "test"),
        read_gold(tmp_path / "out", "NCBI-disease", "test"),
    )
    assert score_tags(sentences, gold, [["O"] * 121])["scores"]["conlleval"]["fn"] == 41
    assert score_tags(sentences, gold, [sentence.tags for sentence in sentences])["score"] == 100.0


def test_a_sequence_is_encoded_alike_alone_and_in_company(model):
    encoder = load_encoder(model).eval()
    device = torch.device("cpu")
    rows = [[2, 7, 8, 9, 3], [2, 11, 3], [2, 5, 6, 12, 13, 14, 3]]
    together = encoder(pack(rows, device))
    alone = torch.cat([encoder(pack([row], device)) for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert pack(rows, device).position_ids.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3, 4, 5, 6]


class GettingWorse(EntityTask):
    """A benchmark whose dev score falls from epoch to epoch, and which remembers the weights that it
    scored."""

    seen: list[torch.Tensor]

    def evaluate(self, model, split, device):
        self.seen = [*getattr(self, "seen", []), model.classifier.weight.detach().clone()]
        return super().evaluate(model, split, device) | {"score": 50.0 - len(self.seen)}


def test_the_best_epochs_weights_are_kept_and_not_the_last_ones(prepared, model):
    benchmark = GettingWorse(prepared, "NCBI-disease", load_tokenizer(model), 64)
    tagger = benchmark.model(load_encoder(model), 0.0)
    with rank_environment() as ranks:
        accelerator = start_plain(ranks, "auto")
        fitted = fit(
            tagger,
            benchmark,
            dataclasses.replace(OVERFIT, epochs=3),
            accelerator,
            seed=1,
            description="falling",
        )
    assert fitted.dev_scores == [49.0, 48.0, 47.0] and fitted.chosen_epoch == 1
    weights = tagger.classifier.weight.detach().cpu()
    assert torch.equal(weights, benchmark.seen[0].cpu()) and not torch.equal(weights, benchmark.seen[2].cpu())


def test_dropout_reaches_attention(model):
    encoder = load_encoder(model, dropout=0.25)
    layer = encoder.encoder["layer"][0]
    assert (
        layer.attention["self"].probability == 0.25 == layer.output.dropout.p == encoder.embeddings.dropout.p
    )


def test_batches_hold_every_sequence_once_within_the_budget():
    lengths = [5, 9, 3, 20, 1, 1]
    batches = list(in_batches(lengths, 12))
    assert [index for batch in batches for index in batch] == list(range(6))
    assert all(len(batch) == 1 or sum(lengths[index] for index in batch) <= 12 for batch in batches)


def test_the_table_gathers_seeds_and_leaves_unfinished_runs_out(runs, tmp_path):
    table = score_table(runs)
    (row,) = table["rows"]
    assert (
        row["seeds"] == [1, 2]
        and row["mean"] == pytest.approx(sum(row["scores"]) / 2)
        and row["sd"] is not None
    )
    assert {reference.model for reference in table["references"]} >= {"BioBERT-base v1.1"}
    text = render_table(table)
    assert "pre-trained" in text and "89.13" not in text, "published scores do not belong beside made-up data"
    text = render_table(table | {"rows": [row | {"published_data": True}]})
    assert (
        "89.13" in text
        and "81.54" not in text
        and row["interval_95"][0] <= row["mean"] <= row["interval_95"][1]
    )
    text = render_table(table | {"rows": [row | {"published_data": True, "protocol": "biobert"}]})
    assert "89.13" not in text and "89.71" in text, "published scores of another protocol are called the same"
    unfinished = tmp_path / "runs" / "x"
    unfinished.mkdir(parents=True)
    (unfinished / "metrics.json").write_text((runs / "entities-1" / "metrics.json").read_text())
    with pytest.raises(UserError, match="no finished evaluation"):
        score_table(tmp_path / "runs")


def test_two_runs_are_compared_document_by_document(runs, prepared, model, tmp_path):
    finetune(
        prepared,
        "NCBI-disease",
        model,
        tmp_path / "weak",
        dataclasses.replace(OVERFIT, learning_rate=0.0, epochs=1),
        seed=3,
    )
    found = compare(runs / "entities-1", tmp_path / "weak")
    assert found["difference"] > 80 and found["p_not_better"] == 0.0
