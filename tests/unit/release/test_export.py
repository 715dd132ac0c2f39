"""A tiny run pre-trained, exported, fine-tuned and exported again: what transformers opens is what was
trained, and the card says what it is."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    pipeline,
)

from biobert_scale.cli import main
from biobert_scale.config import FinetuneConfig
from biobert_scale.data.samples import build_samples
from biobert_scale.errors import UserError
from biobert_scale.evaluation.finetune import finetune
from biobert_scale.evaluation.packed_sequences import pack
from biobert_scale.evaluation.protocols import PROTOCOLS
from biobert_scale.evaluation.sequences import SequenceClassifier
from biobert_scale.files import read_json, sha256_file, write_json
from biobert_scale.modeling.weights import load_encoder
from biobert_scale.recipes import load_config
from biobert_scale.release.checksums import released_files, verify_checksums
from biobert_scale.release.export import export_model, find_milestones
from biobert_scale.release.finetuned import export_finetuned, finetuned_card
from biobert_scale.release.finetuning_results import read_scores
from biobert_scale.release.heads import save_head
from biobert_scale.release.weights import save_weights
from biobert_scale.training import runtime
from biobert_scale.training.checkpoint.identity import CONFIG
from biobert_scale.training.checkpoint.manifest import read_record, sealed
from biobert_scale.training.checkpoint.retention import FINISHED
from biobert_scale.training.ranks import rank_environment
from biobert_scale.training.trainer import Trainer
from tests.factories import write_model, write_prepared, write_tokens
from tests.hub_server import TOKEN, serving

SEQUENCES = ([2, 17, 40, 41, 42, 3], [2, 99, 3], [2, *range(30, 50), 3])
BUDGET = FinetuneConfig(learning_rate=1e-3, epochs=2, batch_size=8, max_seq_length=32, dropout=0.0)


@dataclass
class Trained:
    directory: Path
    hidden: Tensor
    """Last hidden states of `SEQUENCES`, (tokens, hidden), from the trainer's own model after its last step.
    """
    words: Tensor
    """The head's scores of the vocabulary there."""
    relation: Tensor
    """NSP scores, (sequences, 2)."""

    @property
    def run(self) -> Path:
        return self.directory / "run"

    @property
    def tokens(self) -> Path:
        return self.directory / "tokens"


def tiny_config() -> Any:
    config = load_config("demo")
    training = replace(
        config.training,
        global_batch_size=8,
        micro_batch_size=8,
        trackers=(),
        engine=replace(config.training.engine, name="ddp"),
        precision=replace(config.training.precision, dtype="fp32"),
        schedule=replace(config.training.schedule, warmup_steps=2, total_steps=6),
        validation=replace(config.training.validation, every_steps=3, sequences=8),
        checkpoint=replace(config.training.checkpoint, every_steps=3, background=False),
    )
    return replace(
        config,
        model=replace(config.model, hidden_size=32, num_attention_heads=2, intermediate_size=64),
        training=training,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    directory = tmp_path_factory.mktemp("pretraining")
    config, tokens = tiny_config(), write_tokens(directory, documents=80)
    with rank_environment() as ranks:
        accelerator = runtime.start(ranks, config)
    (directory / "run").mkdir()
    build_samples(tokens, directory / "run" / "samples", config.data, seed=config.seed)
    trainer = Trainer(
        accelerator,
        config,
        tokens,
        directory / "run",
        directory / "run" / "samples",
    )
    assert trainer.run_to_end()
    model: Any = trainer.engine.module.eval()
    packed = pack(SEQUENCES, torch.device("cpu"))
    with torch.no_grad():
        hidden = model.bert(packed)
        head = model.cls.predictions
        words = head.transform(hidden) @ model.bert.embeddings.word_embeddings.weight.T + head.bias
        relation = model.cls.seq_relationship(model.bert.pooler(hidden[packed.cu_seqlens[:-1].long()]))
    trainer.close()
    runtime.stop(accelerator)
    return Trained(directory, hidden, words, relation)


@pytest.fixture(scope="module")
def exported(trained: Trained) -> Path:
    export_model(
        trained.run,
        trained.tokens,
        trained.directory / "export",
        dtype="both",
        corpus=trained.directory / "corpus",
    )
    return trained.directory / "export"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("benchmarks"))


@pytest.fixture(scope="module")
def finetuned(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that kept their models: `entities`, `documents` (whole) and `sentences` (HoC by sentences)."""
    directory = tmp_path_factory.mktemp("finetuned")
    model = write_model(directory / "start")
    budget = replace(BUDGET, max_seq_length=48)
    finetune(prepared, "NCBI-disease", model, directory / "entities", replace(budget, epochs=12), seed=1)
    finetune(prepared, "HoC", model, directory / "documents", budget, seed=1)
    return directory


def padded() -> dict[str, Tensor]:
    longest = max(map(len, SEQUENCES))
    ids = torch.tensor([[*sequence, *[0] * (longest - len(sequence))] for sequence in SEQUENCES])
    mask = torch.tensor([[1] * len(sequence) + [0] * (longest - len(sequence)) for sequence in SEQUENCES])
    return {"input_ids": ids, "attention_mask": mask}


@torch.no_grad()
def test_the_exported_model_is_the_trainer_s(trained: Trained, exported: Path) -> None:
    inputs = padded()
    here = inputs["attention_mask"].bool()
    hidden = AutoModel.from_pretrained(exported)(**inputs).last_hidden_state[here]
    torch.testing.assert_close(hidden, trained.hidden, atol=2e-6, rtol=1e-5)
    both = AutoModelForPreTraining.from_pretrained(exported)(**inputs)
    torch.testing.assert_close(both.prediction_logits[here], trained.words, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both.seq_relationship_logits, trained.relation, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        AutoModelForMaskedLM.from_pretrained(exported)(**inputs).logits[here],
        trained.words,
        atol=1e-5,
        rtol=1e-5,
    )


def test_no_class_misses_a_weight(exported: Path) -> None:
    for kind in (AutoModel, AutoModelForMaskedLM, AutoModelForPreTraining):
        _, report = kind.from_pretrained(exported, output_loading_info=True)
        assert not report["missing_keys"] and not report["mismatched_keys"], kind


def test_fill_mask_and_the_tokenizer_work_as_trained(trained: Trained, exported: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported)
    assert (
        tokenizer.model_max_length == 32
        and tokenizer.tokenize("Word1 word1")[0] != tokenizer.tokenize("word1 word1")[0]
    ), "a cased model"
    answers = pipeline("fill-mask", model=str(exported))(f"word1 {tokenizer.mask_token} word2.", top_k=300)
    assert len(answers) == len(tokenizer) and sum(answer["score"] for answer in answers) == pytest.approx(
        1.0, abs=1e-4
    )


def test_fp16_is_the_rounded_fp32_and_tied_weights_are_stored_once(
    trained: Trained, exported: Path, tmp_path: Path
) -> None:
    full, half = load_file(exported / "model.safetensors"), load_file(exported / "model.fp16.safetensors")
    assert full.keys() == half.keys() and "cls.predictions.decoder.weight" not in full
    assert all(torch.equal(full[name].half(), half[name]) for name in full)
    assert AutoModel.from_pretrained(exported).dtype == torch.float32, "the plain way to open it gives fp32"
    assert AutoModel.from_pretrained(exported, variant="fp16", dtype=torch.float16).dtype == torch.float16
    export_model(trained.run, trained.tokens, tmp_path / "half", dtype="fp16")
    alone = load_file(tmp_path / "half" / "model.safetensors")
    assert (
        all(torch.equal(alone[name], half[name]) for name in half)
        and AutoModel.from_pretrained(tmp_path / "half").dtype == torch.float16
    )
    assert "rounded to fp16" in (tmp_path / "half" / "README.md").read_text()


def test_weights_beyond_fp16_are_refused(tmp_path: Path) -> None:
    model = BertModel(
        BertConfig(
            vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
        )
    )
    model.embeddings.word_embeddings.weight.data[3, 3] = 70_000.0
    with pytest.raises(UserError, match=r"word_embeddings\.weight has weights beyond fp16"):
        save_weights(model, tmp_path / "out", "fp16")
    save_weights(model, tmp_path / "out", "fp32")


def test_sha256sum_accepts_the_checksums_and_sees_a_changed_file(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "copy")
    check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=tmp_path / "copy", capture_output=True).returncode == 0
    assert verify_checksums(tmp_path / "copy").keys() == {path.name for path in exported.iterdir()} - {
        "SHA256SUMS"
    }
    (tmp_path / "copy" / "README.md").write_text("another\n")
    assert b"README.md: FAILED" in subprocess.run(check, cwd=tmp_path / "copy", capture_output=True).stdout
    modes = {path.stat().st_mode & 0o777 for path in exported.glob("model*.safetensors")}
    assert modes == {(exported / "config.json").stat().st_mode & 0o777}, (
        "weights that only their writer may read"
    )


def test_the_card_tells_the_run_as_its_manifests_do(trained: Trained, exported: Path) -> None:
    card = ModelCard.load(exported / "README.md", ignore_metadata_errors=False)
    assert (
        card.data.library_name == "transformers"
        and card.data.pipeline_tag == "fill-mask"
        and card.data.license is None
        and card.data.language == "en"
    )
    counts = read_json(trained.tokens / "manifest.json")["counts"]
    documents = counts["train"]["documents"] + counts["validation"]["documents"]
    for said in (
        "optimizer steps | 6 of 6",
        "sequences seen | 48, 8 a step, 32 tokens at most",
        f"{counts['train']['tokens']:,} tokens",
        "peak learning rate 0.004",
        f"| abstracts (MEDLINE records) | {documents} | NLM's terms",
        "1 rank(s), each on",
        "held out, step 6",
        "Not fine-tuned on any benchmark yet",
        "random weights, seed 1",
    ):
        assert said in card.text, said
    validation = [
        record
        for record in map(eval_line, (trained.run / "metrics.jsonl").read_text().splitlines())
        if "validation/mlm_loss" in record
    ][-1]
    assert f"MLM loss {validation['validation/mlm_loss']:.3f}" in card.text


def test_a_held_out_loss_that_is_no_number_is_said_so(trained: Trained, tmp_path: Path) -> None:
    run = shutil.copytree(trained.run, tmp_path / "run")
    lines = [eval_line(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line |= dict.fromkeys(name for name in line if name == "validation/mlm_loss")
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    export_model(run, trained.tokens, tmp_path / "export")
    assert "MLM loss not a number, MLM accuracy" in (tmp_path / "export" / "README.md").read_text()


def eval_line(line: str) -> dict[str, Any]:
    return dict(json.loads(line))


def test_an_early_checkpoint_and_foreign_starts_are_told_and_no_path_leaks(
    trained: Trained, tmp_path: Path
) -> None:
    early = tmp_path / "run" / "checkpoints" / "step-00000003"
    shutil.copytree(trained.run / "checkpoints" / "step-00000003", early)
    settings = read_json(early / "config.json")
    settings["training"]["initial_weights"] = "/home/somebody/models/older-bert"
    write_json(early / "config.json", settings)
    manifest = read_record(early)
    manifest["files"]["config.json"] = {
        "bytes": (early / "config.json").stat().st_size,
        "sha256": sha256_file(early / "config.json"),
    }
    write_json(early / "manifest.json", sealed(manifest))
    export_model(early, trained.tokens, tmp_path / "out", license="cc-by-4.0")
    card = (tmp_path / "out" / "README.md").read_text()
    assert (
        "stopped at step 3 of 6" in card
        and "`older-bert`: its licence holds" in card
        and "parts and their licences are not listed" in card
    )
    assert "license: cc-by-4.0" in card and not any(
        "somebody" in path.read_text()
        for path in (tmp_path / "out").iterdir()
        if path.suffix in (".md", ".json")
    )


def test_token_shards_of_another_run_are_refused(trained: Trained, tmp_path: Path) -> None:
    """Their tokenizer has as many entries, and another order."""
    other = write_tokens(tmp_path, documents=81)
    assert (
        read_json(other / "manifest.json")["counts"]["vocabulary"]
        == read_json(trained.tokens / "manifest.json")["counts"]["vocabulary"]
    )
    with pytest.raises(UserError, match="not those that the checkpoint was trained on"):
        export_model(trained.run, other, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_corpus_is_refused(trained: Trained, tmp_path: Path) -> None:
    other = tmp_path / "corpus"
    shutil.copytree(trained.directory / "corpus", other)
    write_json(other / "manifest.json", read_json(other / "manifest.json") | {"key": "another"})
    with pytest.raises(UserError, match="not the corpus that the token shards were made from"):
        export_model(trained.run, trained.tokens, tmp_path / "out", corpus=other)
    assert not (tmp_path / "out").exists()


def test_scores_come_onto_the_card_and_the_model_stays_the_same(
    trained: Trained,
    exported: Path,
    prepared: Path,
    finetuned: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    directory = tmp_path / "export"
    shutil.copytree(exported, directory)
    runs = tmp_path / "runs"
    for seed in (1, 2):
        finetune(prepared, "NCBI-disease", directory, runs / f"seed-{seed}", BUDGET, seed=seed)
    finetune(prepared, "NCBI-disease", directory, runs / "random", BUDGET, seed=1, random_weights=True)
    shutil.copytree(finetuned / "entities", runs / "of-another-model")
    with pytest.raises(UserError, match="no finished fine-tuning run of this model"):
        read_scores(finetuned, directory)
    before = (directory / "manifest.json").read_bytes(), (directory / "README.md").read_bytes()
    export_model(trained.run, trained.tokens, directory, dtype="both")
    assert (directory / "README.md").read_bytes() == before[1], (
        "finished work without new facts is left alone"
    )
    export_model(
        trained.run,
        trained.tokens,
        directory,
        dtype="both",
        corpus=trained.directory / "corpus",
        evaluation=runs,
    )
    assert "1 run(s)" in caplog.text, "a run that started from another model"
    assert (directory / "manifest.json").read_bytes() == before[0]
    verify_checksums(directory)
    values = [read_json(runs / f"seed-{seed}" / "metrics.json")["score"] for seed in (1, 2)]
    mean, sd = sum(values) / 2, abs(values[0] - values[1]) / math.sqrt(2)
    card = ModelCard.load(directory / "README.md", ignore_metadata_errors=False)
    assert (
        f"| NCBI-disease (not the published set) | blurb | entity F1 | pre-trained | {mean:.2f} ± {sd:.2f} |"
        " 2 | learning rate 0.001, 2 epochs" in card.text
    )
    assert "| random weights |" in card.text and card.data.eval_results is None, (
        "made-up data is no benchmark's result"
    )
    for seed in (1, 2):  # as if the data were the published one
        path = runs / f"seed-{seed}" / "metrics.json"
        write_json(path, read_json(path) | {"published_data": True})
    export_model(trained.run, trained.tokens, directory, dtype="both", evaluation=runs)
    (result,) = ModelCard.load(directory / "README.md", ignore_metadata_errors=False).data.eval_results
    assert (
        result.metric_value == pytest.approx(mean, abs=0.005)
        and "mean of 2 seeds" in result.metric_name
        and "blurb" in result.metric_name
    )


def test_the_ner_pipeline_gives_the_run_s_own_predictions(finetuned: Path, tmp_path: Path) -> None:
    export_finetuned(finetuned / "entities", tmp_path / "out", dtype="both")
    assert read_json(tmp_path / "out" / "config.json")["id2label"] == {
        "0": "O",
        "1": "B-Disease",
        "2": "I-Disease",
    }
    tagger: Any = pipeline("ner", model=str(tmp_path / "out"), aggregation_strategy="first")  # type: ignore[call-overload]
    rows = (finetuned / "entities" / "predictions.tsv").read_text().strip().split("\n\n")
    found = 0
    for sentence in rows:
        words, _, tags = zip(*(line.split(" ") for line in sentence.splitlines()), strict=True)
        expected: list[str] = []
        for number, (word, tag) in enumerate(zip(words, tags, strict=True)):
            if tag == "B" or (tag == "I" and (number == 0 or tags[number - 1] == "O")):
                expected.append(word)
            elif tag == "I":
                expected[-1] += f" {word}"
        text = " ".join(words)
        given = tagger(text)
        assert [text[entity["start"] : entity["end"]] for entity in given] == expected
        assert all(entity["entity_group"] == "Disease" for entity in given)
        found += len(expected)
    assert found >= 32, "the model finds nothing: the test shows nothing"


def test_the_text_classification_pipeline_gives_the_run_s_own_probabilities(
    finetuned: Path, prepared: Path, tmp_path: Path
) -> None:
    export_finetuned(finetuned / "documents", tmp_path / "out")
    classifier: Any = pipeline("text-classification", model=str(tmp_path / "out"), top_k=None)
    assert read_json(tmp_path / "out" / "config.json")["problem_type"] == "multi_label_classification"
    rows = [
        line.split("\t")
        for line in (finetuned / "documents" / "predictions.tsv").read_text().splitlines()[1:]
    ]
    documents = {
        row["pmid"]: " ".join(row["sentences"])
        for row in map(eval_line, (prepared / "HoC" / "test.jsonl").read_text().splitlines())
    }
    labels = list(read_json(tmp_path / "out" / "config.json")["id2label"].values())
    assert labels[0] == "activating invasion and metastasis" and len(labels) == 10
    for pmid, _, _, probabilities in rows:
        scores = {answer["label"]: answer["score"] for answer in classifier([documents[pmid]])[0]}
        assert [scores[label] for label in labels] == pytest.approx(
            [float(value) for value in probabilities.split(",")], abs=1e-4
        )


@torch.no_grad()
def test_the_pooler_in_between_changes_nothing(tmp_path: Path) -> None:
    """Also for hidden states of a size that LayerNorm's weights seldom reach."""
    source = write_model(tmp_path / "start")
    encoder: Any = load_encoder(source).eval()
    encoder.encoder.layer[-1].output.LayerNorm.weight.mul_(6.0)
    head = SequenceClassifier(encoder, 0.0, 10).eval()
    head.classifier.weight.mul_(10.0)
    save_head(
        tmp_path / "out",
        encoder,
        head.classifier,
        labels=[f"label {n}" for n in range(10)],
        problem="multi_label_classification",
        source=source,
        details={},
    )
    expected = head(pack(SEQUENCES, torch.device("cpu")))
    given = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")(**padded()).logits
    assert encoder.embeddings.word_embeddings.weight.dtype == torch.float32 and expected.abs().max() > 10
    torch.testing.assert_close(given, expected, atol=2e-4, rtol=2e-5)


def test_the_card_of_a_finetuned_model_tells_one_seed_and_its_protocol(
    finetuned: Path, tmp_path: Path
) -> None:
    export_finetuned(finetuned / "entities", tmp_path / "out", license="apache-2.0")
    metrics = read_json(finetuned / "entities" / "metrics.json")
    card = ModelCard.load(tmp_path / "out" / "README.md", ignore_metadata_errors=False)
    assert (
        card.data.pipeline_tag == "token-classification"
        and card.data.license == "apache-2.0"
        and card.data.eval_results is None
    )
    assert (
        f"**{metrics['score']:.2f}** on the test split of NCBI-disease (not the published set)" in card.text
    )
    assert (
        "`blurb`" in card.text
        and "one run, seed 1" in card.text
        and metrics["data"]["test.jsonl"] in card.text
    )
    verify_checksums(tmp_path / "out")
    config = read_json(finetuned / "entities" / "model" / "config.json")
    retrained = finetuned_card(
        metrics
        | {
            "protocol": "biobert",
            "selection": {"rule": next(each.selection for each in PROTOCOLS if each.retrain)},
        },
        config,
        dtype="fp32",
        license="",
    )
    assert "trained anew on train and dev" in retrained and "epoch with the best dev score" not in retrained


def test_a_run_without_its_model_or_with_a_damaged_one_is_refused(
    finetuned: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finetune(
        prepared,
        "NCBI-disease",
        finetuned / "start",
        tmp_path / "plain",
        dataclasses.replace(BUDGET, epochs=1, keep_weights=False),
        seed=1,
    )
    assert main(["export", str(tmp_path / "plain"), "--output", str(tmp_path / "out")]) == 2
    assert "fine-tune with --keep-weights" in capsys.readouterr().err
    shutil.copytree(finetuned / "entities", tmp_path / "damaged")
    with open(tmp_path / "damaged" / "model" / "model.safetensors", "r+b") as stream:
        stream.seek(-4, 2)
        stream.write(b"\x00\x00\x00\x01")
    with pytest.raises(UserError, match="missing or damaged"):
        export_finetuned(tmp_path / "damaged", tmp_path / "out")


def test_the_command_line_exports_both_kinds_and_tells_what_is_missing(
    trained: Trained, finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(finetuned / "documents"), "--output", str(tmp_path / "documents")]) == 0
    assert (
        main(
            [
                "export",
                str(trained.run),
                "--tokens",
                str(trained.tokens),
                "--output",
                str(tmp_path / "export"),
            ]
        )
        == 0
    )
    assert (tmp_path / "documents" / "SHA256SUMS").is_file() and (
        tmp_path / "export" / "SHA256SUMS"
    ).is_file()
    capsys.readouterr()
    for arguments, says in (
        ([str(trained.run)], "add --tokens"),
        ([str(trained.run), "--tokens", str(trained.tokens), "--private"], "without --push"),
        ([str(finetuned / "documents"), "--tokens", str(trained.tokens)], "go with a pre-training run"),
        ([str(finetuned / "documents"), "--all-milestones"], "go with a pre-training run"),
        ([str(trained.run), "--revision", "first"], "without --push"),
        ([str(trained.run), "--all-milestones", "--evaluation", "scores"], "are of one milestone"),
    ):
        assert main(["export", *arguments, "--output", str(tmp_path / "other")]) == 2
        told = capsys.readouterr().err.strip().splitlines()
        assert len(told) == 1 and says in told[0]


def test_all_milestones_are_revisions_and_an_interrupted_push_goes_on(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    name, output = "lab/milestones", tmp_path / "milestones"
    command = (
        f"export {trained.run} --tokens {trained.tokens} --output {output} --all-milestones --push {name}"
    )
    with serving() as server:
        command += f" --endpoint {server.url}"
        server.faults["/commit/step-6"] = deque([403])
        assert main(command.split()) == 2 and "refuses the token (403)" in capsys.readouterr().err
        repository = server.repositories[name]
        assert len(repository.branches["step-3"]) == 2 and len(repository.commits) == 1
        written = (output / "step-3" / "model.safetensors").stat().st_mtime_ns
        assert main(command.split()) == 0
        first, last = (released_files(output / f"step-{step}") for step in (3, 6))
        for files, commits in (
            (first, repository.branches["step-3"]),
            (last, repository.branches["step-6"]),
            (last, repository.commits),
        ):
            assert {path.name: path.read_bytes() for path in files}.items() <= commits[-1].items()
            assert len(commits) == 2
        assert "at step 3 of 6" in repository.branches["step-3"][-1]["README.md"].decode()
        assert (output / "step-3" / "model.safetensors").stat().st_mtime_ns == written
        single = command.replace("--all-milestones", "--revision first").replace(
            str(output), f"{output}/step-6"
        )
        assert main(single.split()) == 0 and repository.branches["first"][-1] == repository.commits[-1]


def test_milestones_are_what_the_run_keeps_for_good(trained: Trained, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    saved = run / "checkpoints" / "step-00000006" / CONFIG
    config = read_json(saved)
    config["training"]["checkpoint"]["keep_every_steps"] = 4
    write_json(saved, config)
    (run / FINISHED).write_text("{}")
    assert list(find_milestones(run)) == ["step-6"], "the last one of a finished run"
    (run / FINISHED).unlink()
    with pytest.raises(UserError, match=r"no milestone yet \(training.checkpoint.keep_every_steps = 4\)"):
        find_milestones(run)
    with pytest.raises(UserError, match="no checkpoint of a run"):
        find_milestones(tmp_path)
