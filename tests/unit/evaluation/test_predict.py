from __future__ import annotations

import dataclasses
import json
import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification, AutoTokenizer

from biobert_scale.config import FinetuneConfig
from biobert_scale.errors import UserError
from biobert_scale.evaluation.entity_scores import break_down, names_of, score_tags, spans_of
from biobert_scale.evaluation.finetune import finetune
from biobert_scale.evaluation.ner import write_entity_predictions
from biobert_scale.evaluation.predict import predict, score
from biobert_scale.evaluation.prepare import prepare
from biobert_scale.evaluation.prepared import read_annotated, read_gold, read_sentences, task_of
from biobert_scale.evaluation.pubtator import AnnotatedDocument, Mention, read_pubtator
from biobert_scale.evaluation.table import render_table, score_table
from biobert_scale.release.finetuned import export_finetuned
from biobert_scale.report.errors import write_errors
from tests.factories import write_model, write_prepared

BUDGET = FinetuneConfig(learning_rate=1e-3, epochs=2, batch_size=8, max_seq_length=64)
KINDS = frozenset({"Disease"})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("benchmarks"))


@pytest.fixture(scope="module")
def runs(prepared, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs")
    model = write_model(directory / "model")
    for task in ("NCBI-disease", "HoC"):
        finetune(prepared, task, model, directory / task, BUDGET, seed=1)
    return directory


def metrics_of(directory):
    return json.loads((directory / "metrics.json").read_text())


@pytest.mark.parametrize("task", ["NCBI-disease", "HoC"])
def test_kept_weights_predict_what_the_run_predicted(runs, prepared, tmp_path, task):
    told = metrics_of(runs / task)
    again = predict(runs / task, prepared, tmp_path / "out")
    assert again["scores"] == told["scores"] and again["trained_on"] == told["data"]
    for name in ("model_fingerprint", "pretraining_step", "pretraining_run", "config", "selection"):
        assert again[name] == told[name]
    files = {path.name for path in (tmp_path / "out").iterdir()} - {"metrics.json", "manifest.json"}
    for name in files:
        assert (tmp_path / "out" / name).read_bytes() == (runs / task / name).read_bytes()
    assert files == {"predictions.tsv", "documents.jsonl"} | (
        {"predictions.pubtator"} if task != "HoC" else set()
    )
    dev = predict(runs / task, prepared, tmp_path / "dev", split="dev")
    assert dev["score"] == pytest.approx(max(told["dev_scores"])) and dev["split"] == "dev"


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("NCBI-disease", "predictions.tsv"),
        ("NCBI-disease", "predictions.pubtator"),
        ("HoC", "predictions.tsv"),
    ],
)
def test_every_file_of_predictions_scores_what_the_run_scored(runs, prepared, tmp_path, task, name):
    told = metrics_of(runs / task)
    found = score(prepared, task, runs / task / name, tmp_path / "out")
    assert (
        found["score"] == told["score"]
        and found["by_type"] == told["by_type"]
        and found["by_length"] == told["by_length"]
    )
    assert (tmp_path / "out" / "documents.jsonl").read_bytes() == (
        runs / task / "documents.jsonl"
    ).read_bytes()


def test_metrics_hold_what_a_reader_of_scores_asks(runs):
    told = metrics_of(runs / "NCBI-disease")
    wanted = (
        "protocol seed selection data versions scores orphan_inside_tags n_truncated_tokens by_type by_length"
        " by_familiarity interval_95 config"
    )
    assert set(wanted.split()) <= told.keys()
    assert told["scores"].keys() == {"conlleval", "discard"} and all(
        len(digest) == 64 for digest in told["data"].values()
    )
    support = sum(told["scores"]["conlleval"][name] for name in ("tp", "fn"))
    for part in ("by_length", "by_familiarity"):
        assert sum(values["tp"] + values["fn"] for values in told[part].values()) == support
        assert sum(values["fp"] for values in told[part].values()) == told["scores"]["conlleval"]["fp"]
    assert told["by_type"]["SpecificDisease"]["tp"] == told["scores"]["conlleval"]["tp"]
    assert told["by_familiarity"].keys() <= {"seen", "unseen"}


def test_a_tagger_opens_with_transformers_and_says_the_same(runs, prepared):
    directory = runs / "NCBI-disease" / "model"
    model, tokenizer = (
        AutoModelForTokenClassification.from_pretrained(directory).eval(),
        AutoTokenizer.from_pretrained(directory),
    )
    assert model.config.id2label == {0: "O", 1: "B-Disease", 2: "I-Disease"}
    assert load_file(directory / "model.safetensors").keys() == model.state_dict().keys()
    written = [
        line.split(" ")
        for line in (runs / "NCBI-disease" / "predictions.tsv").read_text().split("\n\n")[0].splitlines()
    ]
    encoded = tokenizer([row[0] for row in written], is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        best = model(**encoded).logits[0].argmax(-1).tolist()
    firsts = [encoded.word_ids().index(word) for word in range(len(written))]
    assert [model.config.id2label[best[place]][0] for place in firsts] == [row[2] for row in written]


def tampered(path, tmp_path, old, new):
    changed = tmp_path / path.name
    text = path.read_text()
    assert old in text
    changed.write_text(text.replace(old, new, 1))
    return changed


@pytest.mark.parametrize(
    ("task", "name", "old", "new", "says"),
    [
        ("NCBI-disease", "predictions.tsv", "Mice O", "Rats O", "tsv:1"),
        ("NCBI-disease", "predictions.tsv", "leaf B", "leaf O", "gold tag O where the split has B"),
        ("NCBI-disease", "predictions.tsv", "\n\n", "\n", "tsv:"),
        ("NCBI-disease", "predictions.tsv", "Mice O O", "Mice O X", "'X' is no tag"),
        ("NCBI-disease", "predictions.pubtator", "3000|t|", "9999|t|", "must begin with"),
        (
            "NCBI-disease",
            "predictions.pubtator",
            "3000|t|",
            "9999|t|None.\n9999|a|None.\n3000|t|",
            "document 9999 is not in this split",
        ),
        (
            "NCBI-disease",
            "predictions.pubtator",
            "\n\n3001|t|",
            "\n3000\t0\t4\tRats\tDisease\t-\n\n3001|t|",
            "the text at 0-4 is 'Mice'",
        ),
        ("HoC", "predictions.tsv", "\n3001\t", "\n3000\t", "tsv:3"),
        ("HoC", "predictions.tsv", "\n3001\t1\t", "\n3001\t2\t", "another gold answer"),
    ],
)
def test_predictions_that_do_not_fit_the_gold_are_refused(
    runs, prepared, tmp_path, task, name, old, new, says
):
    with pytest.raises(UserError, match=says):
        score(prepared, task, tampered(runs / task / name, tmp_path, old, new), tmp_path / "out")


@pytest.mark.fault("a file of predictions that leaves documents out", "they count as missed")
def test_what_a_file_leaves_out_counts_as_missed_and_never_shrinks_the_gold(runs, prepared, tmp_path):
    told = metrics_of(runs / "NCBI-disease")["scores"]["conlleval"]
    lines = (runs / "NCBI-disease" / "predictions.tsv").read_text().split("\n\n")
    cut = tmp_path / "cut.tsv"
    cut.write_text(
        "\n\n".join(
            "\n".join(sentence.splitlines()[:-1]) if number == 0 else sentence
            for number, sentence in enumerate(lines)
        )
    )
    found = score(prepared, "NCBI-disease", cut, tmp_path / "cut")
    assert found["n_truncated_tokens"] == 1
    documents = (runs / "NCBI-disease" / "predictions.pubtator").read_text().split("\n\n")
    half = tmp_path / "half.pubtator"
    half.write_text("\n\n".join(documents[:16]) + "\n")
    shorter = score(prepared, "NCBI-disease", half, tmp_path / "half")
    for counts in (found["scores"]["conlleval"], shorter["scores"]["conlleval"]):
        assert counts["tp"] + counts["fn"] == told["tp"] + told["fn"] == 32
    assert shorter["scores"]["conlleval"]["tp"] <= told["tp"]


def test_runs_without_weights_are_told_so(runs, prepared, tmp_path):
    finetune(
        prepared,
        "NCBI-disease",
        runs / "model",
        tmp_path / "run",
        dataclasses.replace(BUDGET, keep_weights=False, epochs=1),
        seed=1,
    )
    with pytest.raises(UserError, match="the run kept no model"):
        predict(tmp_path / "run", prepared, tmp_path / "out")


@pytest.mark.fault("`--output` is the run that is read", "refused; the run stays")
def test_no_command_deletes_the_run_that_it_reads(runs, prepared, tmp_path):
    import shutil

    run = shutil.copytree(runs / "NCBI-disease", tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for work in (
        lambda: predict(run, prepared, run, overwrite=True),
        lambda: score(prepared, "NCBI-disease", run / "predictions.tsv", run, overwrite=True),
        lambda: finetune(prepared, "NCBI-disease", run / "model", run, BUDGET, seed=2, overwrite=True),
        lambda: export_finetuned(run, run, overwrite=True),
    ):
        with pytest.raises(UserError, match="would delete what is read"):
            work()
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_weights_that_have_seen_dev_are_not_scored_on_it(runs, prepared, tmp_path):
    finetune(
        prepared,
        "NCBI-disease",
        runs / "model",
        tmp_path / "run",
        dataclasses.replace(BUDGET, epochs=1),
        seed=1,
        protocol="biobert",
    )
    for split in ("train", "dev"):
        with pytest.raises(UserError, match=f"their score on {split} means nothing"):
            predict(tmp_path / "run", prepared, tmp_path / "out", split=split)
    assert predict(tmp_path / "run", prepared, tmp_path / "out")["protocol"] == "biobert"


def test_another_task_s_entities_in_a_pubtator_file_are_no_errors(prepared, tmp_path):
    """BC5CDR's own files and `tag` with two models hold chemicals and diseases side by side."""
    for split, file in (("train", "CDR_TrainingSet"), ("dev", "CDR_DevelopmentSet"), ("test", "CDR_TestSet")):
        text = f"{ {'train': 1, 'dev': 2, 'test': 3}[split] }"
        rows = [
            f"{text}|t|Noxal and rot.",
            f"{text}|a|Nothing.",
            f"{text}\t0\t5\tNoxal\tChemical\tD1",
            f"{text}\t10\t13\trot\tDisease\tD2",
            "",
        ]
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{file}.PubTator.txt").write_text("\n".join(rows) + "\n")
    prepare(tmp_path / "in", tmp_path / "out")
    for task in ("BC5CDR-chem", "BC5CDR-disease"):
        found = score(tmp_path / "out", task, tmp_path / "in" / "CDR_TestSet.PubTator.txt", tmp_path / task)
        assert found["scores"]["conlleval"]["tp"] == 1 and found["score"] == 100.0


def test_two_types_in_a_column_of_tags_are_refused(runs, prepared, tmp_path):
    lines = (runs / "NCBI-disease" / "predictions.tsv").read_text().split("\n")
    places = [number for number, line in enumerate(lines) if line]
    for place, kind in ((places[0], "Disease"), (places[1], "Chemical")):
        lines[place] = lines[place][:-1] + f"B-{kind}"
    (tmp_path / "typed.tsv").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"other types than the task's \(Chemical 1;"):
        score(prepared, "NCBI-disease", tmp_path / "typed.tsv", tmp_path / "out")


def test_a_file_that_begins_oddly_is_read_or_told_with_its_line(runs, prepared, tmp_path):
    text = (runs / "NCBI-disease" / "predictions.pubtator").read_text()
    (tmp_path / "odd.pubtator").write_text("\ufeff\n\n" + text, encoding="utf-8")
    assert (
        score(prepared, "NCBI-disease", tmp_path / "odd.pubtator", tmp_path / "odd")["score"]
        == metrics_of(runs / "NCBI-disease")["score"]
    )
    (tmp_path / "latin.tsv").write_bytes("Mice O O\nm\u00e9lange O O\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"not UTF-8 text: .*latin\.tsv:2"):
        score(prepared, "NCBI-disease", tmp_path / "latin.tsv", tmp_path / "out")
    score(
        prepared, "NCBI-disease", runs / "NCBI-disease" / "predictions.tsv", tmp_path / "out"
    )  # what failed bars nobody


def test_files_of_one_name_are_two_systems_and_stand_beside_no_published_score(runs, prepared, tmp_path):
    mine = runs / "NCBI-disease" / "predictions.tsv"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "predictions.tsv").write_text(
        re.sub(r" ([BIO]) [BIO]$", r" \1 \1", mine.read_text(), flags=re.MULTILINE)
    )
    score(prepared, "NCBI-disease", mine, tmp_path / "scores" / "a")
    score(prepared, "NCBI-disease", tmp_path / "b" / "predictions.tsv", tmp_path / "scores" / "b")
    table = score_table(tmp_path / "scores")
    assert len(table["rows"]) == 2 and {row["protocol"] for row in table["rows"]} == {"not told"}
    assert "89.13" not in render_table(
        table | {"rows": [row | {"published_data": True} for row in table["rows"]]}
    )
    told = score(prepared, "NCBI-disease", mine, tmp_path / "told", protocol="biobert")
    assert told["protocol"] == "biobert"
    with pytest.raises(UserError, match="no protocol 'x'"):
        score(prepared, "NCBI-disease", mine, tmp_path / "wrong", protocol="x")


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("NCBI-disease", "predictions.pubtator"),
        ("NCBI-disease", "predictions.tsv"),
        ("HoC", "predictions.tsv"),
    ],
)
def test_errors_of_anybody_s_predictions_can_be_read(runs, prepared, tmp_path, task, name):
    score(prepared, task, runs / task / name, tmp_path / "out")
    theirs = write_errors(tmp_path / "out", prepared, tmp_path / "theirs.html").read_text()
    ours = write_errors(runs / task, prepared, tmp_path / "ours.html").read_text()
    assert theirs.count("<article") == ours.count("<article") > 0


def document(text, *spans):
    title, _, abstract = text.partition(" ")
    mentions = tuple(Mention(start=start, end=end, kind="Disease", composite=False) for start, end in spans)
    return AnnotatedDocument(pmid="7", title=title, abstract=abstract, mentions=mentions)


def test_errors_are_counted_where_they_belong():
    known = names_of([document("Leaf palsy", (0, 10))])
    gold = document("Mice LEAF PALSY and rot of stems here", (5, 15), (20, 32))
    found = break_down([gold], {"7": {(5, 15), (20, 23)}}, known)
    assert (
        found["by_familiarity"]["seen"]["tp"] == 1
        and found["by_familiarity"]["unseen"]["fn"] == 1 == found["by_familiarity"]["unseen"]["fp"]
    )
    assert (
        found["by_length"]["2"]["tp"] == 1
        and found["by_length"]["3"]["fn"] == 1
        and found["by_length"]["1"]["fp"] == 1
    )
    assert found["by_type"] == {"Disease": {"recall": 50.0, "tp": 1, "fn": 1}}


@given(st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_predictions_survive_both_formats(prepared, tmp_path_factory, data):
    sentences, documents = (
        read_sentences(prepared, "NCBI-disease", "test"),
        read_annotated(prepared, "NCBI-disease", "test"),
    )
    tags = [
        data.draw(st.lists(st.sampled_from("BIO"), min_size=len(s.tokens), max_size=len(s.tokens)))
        for s in sentences[:6]
    ]
    tags += [["O"] * len(sentence.tokens) for sentence in sentences[6:]]
    directory = tmp_path_factory.mktemp("files")
    write_entity_predictions(directory, task_of(prepared, "NCBI-disease"), sentences, documents, tags)
    gold = read_gold(prepared, "NCBI-disease", "test")
    expected = score_tags(sentences, gold, tags)
    for name in ("predictions.tsv", "predictions.pubtator"):
        assert (
            score(prepared, "NCBI-disease", directory / name, directory / f"{name}-out")["scores"][
                "conlleval"
            ]
            == expected["scores"]["conlleval"]
        )
    written, _ = read_pubtator(directory / "predictions.pubtator", KINDS)
    assert {d.pmid: {(m.start, m.end) for m in d.mentions} for d in written} == spans_of(
        sentences, tags, gold
    )
