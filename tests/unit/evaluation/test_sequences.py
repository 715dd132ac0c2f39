"""Every kind of task but entities: trained, predicted, scored, exported."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from biobert_scale.config import FinetuneConfig
from biobert_scale.errors import UserError
from biobert_scale.evaluation.baselines import run_baselines
from biobert_scale.evaluation.finetune import finetune
from biobert_scale.evaluation.packed_sequences import load_tokenizer, pack
from biobert_scale.evaluation.predict import predict, score
from biobert_scale.evaluation.prepared import read_rows, task_of
from biobert_scale.evaluation.score_display import score_parts
from biobert_scale.evaluation.sequences import SequenceTask
from biobert_scale.evaluation.sweep import sweep
from biobert_scale.evaluation.table import render_table, score_table
from biobert_scale.modeling.weights import load_encoder
from biobert_scale.release.finetuned import export_finetuned
from biobert_scale.report.errors import write_errors
from biobert_scale.report.score_charts import score_bars
from tests.factories import OWN_TASKS, own_rows, write_model, write_own_task

BUDGET = FinetuneConfig(learning_rate=3e-3, epochs=20, batch_size=6, dropout=0.0, weight_decay=0.0)
PROBLEMS = {"several": "multi_label_classification", "similarity": "regression"}
NAMES = {
    "single": "accuracy",
    "several": "micro-F1",
    "relations": "micro-F1",
    "similarity": "Pearson correlation",
    "questions": "accuracy",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


def write(directory, task):
    splits = {split: {".jsonl": own_rows(task, split)} for split in ("train", "dev", "test")}
    return write_own_task(directory, task, OWN_TASKS[task], splits)


@pytest.fixture(scope="module", params=OWN_TASKS)
def run(request, model, tmp_path_factory):
    home = tmp_path_factory.mktemp(request.param)
    prepared = write(home / "prepared", request.param)
    finetune(prepared, request.param, model, home / "run", BUDGET, seed=1)
    return request.param, prepared, home / "run"


def test_every_kind_is_learned_by_heart_and_scored_by_its_own_metric(run):
    task, _, directory = run
    metrics = json.loads((directory / "metrics.json").read_text())
    assert metrics["score_name"] == NAMES[task] and metrics["score"] > 95.0
    assert metrics["score"] == pytest.approx(
        next(value for values in metrics["scores"].values() for value in values.values())
        if task == "similarity"
        else metrics["scores"][metrics["measure"]][{"micro": "f1"}.get(metrics["measure"], "accuracy")]
    )
    assert metrics["chosen_epoch"] == 1 + metrics["dev_scores"].index(max(metrics["dev_scores"]))
    assert len((directory / "documents.jsonl").read_text().splitlines()) == 12, "two rows a document"
    assert ("calibration" in metrics) == (task != "similarity")


def test_predicting_again_and_scoring_the_file_give_the_same_score(run, tmp_path):
    task, prepared, directory = run
    metrics = json.loads((directory / "metrics.json").read_text())
    again = predict(directory, prepared, tmp_path / "again")
    assert (tmp_path / "again" / "predictions.tsv").read_bytes() == (
        directory / "predictions.tsv"
    ).read_bytes()
    found = score(prepared, task, directory / "predictions.tsv", tmp_path / "scored")
    assert found["score"] == pytest.approx(metrics["score"], abs=1e-6) and again["score"] == metrics["score"]
    assert found["interval_95"] == pytest.approx(metrics["interval_95"], abs=1e-6)
    assert found["score_name"] in str(score_parts(found)[0])
    assert "Documents with errors" in write_errors(directory, prepared, tmp_path / "e.html").read_text()


def test_transformers_opens_the_model_and_says_the_same(run):
    task, prepared, directory = run
    exported = AutoModelForSequenceClassification.from_pretrained(directory / "model")
    tokenizer, spec = AutoTokenizer.from_pretrained(directory / "model"), task_of(prepared, task)
    assert exported.config.problem_type == PROBLEMS.get(task, "single_label_classification")
    assert list(exported.config.id2label.values()) == list(spec.labels or ["similarity"])
    rows = read_rows(prepared, spec, "test")
    lines = (directory / "predictions.tsv").read_text().splitlines()[1:]
    for row, line in zip(rows, lines, strict=True):
        with torch.no_grad():
            logits = exported(**tokenizer(*row.texts, return_tensors="pt")).logits[0]
        given = [float(value) for value in line.split("\t")[-1].split(",")]
        if task != "similarity":
            logits = logits.sigmoid() if task == "several" else logits.softmax(-1)
        assert logits.tolist() == pytest.approx(given, abs=2e-4)


def test_the_card_says_what_the_model_answers(run, tmp_path):
    task, _, directory = run
    export_finetuned(directory, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert {
        "several": "Gives a text its labels, each on its own: a, b, c.",
        "similarity": "Gives two texts a number: similarity.",
    }.get(task, "Gives a text one label: ") in card
    assert ("text_pair" in card) == (task in ("similarity", "questions"))
    assert f"{NAMES[task]} **" in card


def test_a_sweep_and_the_table_take_every_kind(model, tmp_path):
    budget = dataclasses.replace(BUDGET, epochs=2, keep_weights=False)
    prepared = write(tmp_path / "prepared", "relations")
    sweep(prepared, ["relations"], model, tmp_path / "runs", budget, seeds=(1, 2))
    baselines = run_baselines(prepared, tmp_path / "baselines").counts["relations"]
    assert baselines["majority"] == pytest.approx(55.0, abs=10) and baselines["TF-IDF"] > 95.0
    (row,) = score_table(tmp_path / "runs")["rows"]
    assert row["task"] == "relations" and row["seeds"] == [1, 2] and row["interval_95"]
    assert "micro-F1" in render_table(score_table(tmp_path))


def test_similarity_has_baselines_of_numbers(tmp_path):
    found = run_baselines(write(tmp_path / "prepared", "similarity"), tmp_path / "runs")
    assert found.counts["similarity"]["mean"] == 0.0 and "common words" in found.counts["similarity"]
    table = score_table(tmp_path / "runs")
    assert {row["precision"] for row in table["rows"]} == {None}
    assert [found["task"] for found in table["comparisons"]] == ["similarity"]
    assert "Pearson correlation" in render_table(table) and b"<svg" in score_bars(table["rows"]).svg


def test_the_second_text_has_token_type_1_and_the_longer_text_is_cut(model, tmp_path):
    texts = [
        ["Mice slept.", "We saw grey fever and ran home."],
        ["Old goats often had it here. No.", "Mice."],
    ]
    rows = [{"id": str(n), "document": str(n), "texts": t, "label": "up"} for n, t in enumerate(texts)]
    keys = OWN_TASKS["relations"]
    prepared = write_own_task(tmp_path, "pairs", keys, {"test": {".jsonl": rows}})
    tokenizer = load_tokenizer(model)
    task = SequenceTask(prepared, "pairs", tokenizer, 10, splits=("test",))
    seen = []

    def network(inputs):
        seen.append(inputs)
        return torch.zeros(len(inputs.sequence_lengths), 3)

    cut = task.evaluate(network, "test", torch.device("cpu"))["n_truncated_tokens"]  # type: ignore[arg-type]
    (packed,) = seen
    whole = [tokenizer(*pair)["input_ids"] for pair in texts]
    assert packed.sequence_lengths == (10, 10) and cut == sum(len(ids) - 10 for ids in whole)
    assert tokenizer.decode(packed.input_ids[:10]) == "[CLS] Mice slept. [SEP] We saw grey fever [SEP]"
    assert packed.token_type_ids.tolist() == [0] * 5 + [1] * 5 + [0] * 7 + [1] * 3


def test_dev_can_be_trained_on_after_it_has_chosen(model, tmp_path):
    task = SequenceTask(write(tmp_path, "similarity"), "similarity", load_tokenizer(model), 64)
    assert task.training_size() == 24
    task.train_on("train", "dev")
    assert task.training_size() == 48
    network = task.model(load_encoder(model), 0.0)
    assert task.terms([0, 47]) == 2 and task.loss(network, [0, 47], torch.device("cpu")) > 0


def test_one_text_has_token_type_0_everywhere():
    packed = pack([[1, 2, 3], [4, 5]], torch.device("cpu"))
    assert packed.token_type_ids.tolist() == [0] * 5
    both = pack([[1, 2, 3], [4, 5]], torch.device("cpu"), [2, 2])
    assert both.token_type_ids.tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("task", "line", "says"),
    [
        ("single", "test-0.0\tplant\tcloud", "'cloud' is no answer"),
        ("single", "test-0.0\tstone\tplant", "another gold answer"),
        ("single", "train-0.0\tplant\tplant", "a row of this split, once"),
        ("single", "test-0.0\tplant\tplant\n{0}", "a row of this split, once"),
        ("single", "test-0.0\tplant\tplant", "23 rows are missing"),
        ("several", "test-0.0\t\t0,3", "numbers of labels from 0 to 2"),
        ("similarity", "test-0.0\t4.0\tnan", "'nan' is no answer"),
        ("similarity", "test-0.0\t4.0\thigh", "give a number"),
    ],
)
def test_answers_that_do_not_fit_the_split_are_refused(tmp_path, task, line, says):
    prepared = write(tmp_path / "prepared", task)
    (tmp_path / "answers.tsv").write_text("id\tgold\tpredicted\n" + line.format(line) + "\n")
    with pytest.raises(UserError, match=says):
        score(prepared, task, tmp_path / "answers.tsv", tmp_path / "out")


def test_calibration_is_of_the_likeliest_label(model, tmp_path):
    prepared = write(tmp_path / "prepared", "single")
    task = SequenceTask(prepared, "single", load_tokenizer(model), 64, splits=("test",))
    scores = torch.tensor([[0.0, 0.0, np.log(8.0)]]).expand(24, 3)
    found = task.evaluate(
        lambda inputs: scores[: len(inputs.sequence_lengths)],  # type: ignore[arg-type,return-value]
        "test",
        torch.device("cpu"),
    )
    assert found["calibration"]["confidence"] == pytest.approx(80.0)
    assert found["calibration"]["accuracy"] == pytest.approx(found["score"])
