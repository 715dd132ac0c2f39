"""One tagger of several types: trained, predicted, scored by type, and used by `tag`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from biobert_scale.cli import main
from biobert_scale.config import FinetuneConfig
from biobert_scale.errors import UserError
from biobert_scale.evaluation.baselines import run_baselines
from biobert_scale.evaluation.entity_scores import break_down_tags, score_entities
from biobert_scale.evaluation.finetune import finetune
from biobert_scale.evaluation.ner import tags_of
from biobert_scale.evaluation.predict import predict, score
from biobert_scale.evaluation.prepared import read_annotated, read_sentences, task_of
from biobert_scale.evaluation.pubtator import read_pubtator
from biobert_scale.evaluation.tagging import words_by_sentence
from biobert_scale.report.errors import write_errors
from biobert_scale.tag.documents import TextDocument
from biobert_scale.tag.tagger import EntityTagger
from tests.factories import FRAMES, NAMES, write_model, write_own_task

KEYS = """
kind = "entities"
metric = "{metric}"
[types]
Sign = ["S", "Symptom"]
Plant = []
"""
FIRST = {"train": 100, "dev": 200, "test": 300}


def rows_of(split: str) -> dict[str, list[dict[str, Any]]]:
    """32 documents of one name each: the even ones are signs, the odd ones plants."""
    sentences, gold = [], []
    for number in range(32):
        name, kind = NAMES[number % 8], ("Sign", "Plant")[number % 2]
        title, pmid = FRAMES[number // 8].format(name), str(FIRST[split] + number)
        start = title.index(name)
        (words,) = words_by_sentence(title)
        inside = [start <= first < start + len(name) for first, _ in words]
        sentences.append(
            {
                "pmid": pmid,
                "sentence": 0,
                "tokens": [title[first:last] for first, last in words],
                "starts": [first for first, _ in words],
                "ends": [last for _, last in words],
                "tags": [
                    f"{'I' if before else 'B'}-{kind}" if here else "O"
                    for before, here in zip([False, *inside], inside, strict=False)
                ],
            }
        )
        mention = [start, start + len(name), name, kind, False]
        gold.append({"pmid": pmid, "title": title, "abstract": "", "mentions": [mention]})
    return {".jsonl": sentences, ".gold.jsonl": gold}


def write(directory: Path, metric: str = "entity_f1") -> Path:
    return write_own_task(
        directory, "signs", KEYS.format(metric=metric), {split: rows_of(split) for split in FIRST}
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared task, and a tagger that has learned it by heart."""
    directory = tmp_path_factory.mktemp("types")
    budget = FinetuneConfig(learning_rate=2e-3, epochs=10, batch_size=8, max_seq_length=64, dropout=0.0)
    model = write_model(directory / "model")
    finetune(write(directory / "prepared"), "signs", model, directory / "run", budget, seed=1)
    return directory


def test_a_tagger_learns_two_types_and_is_scored_by_type(home: Path) -> None:
    metrics = json.loads((home / "run" / "metrics.json").read_text())
    assert metrics["score"] == 100.0
    assert {kind: found["tp"] for kind, found in metrics["by_type"].items()} == {"Plant": 16, "Sign": 16}
    lines = (home / "run" / "predictions.tsv").read_text().splitlines()
    assert "leaf B-Sign B-Sign" in lines and "rot I-Plant I-Plant" in lines
    assert "\tleaf palsy\tSign\t-" in (home / "run" / "predictions.pubtator").read_text()


def test_its_weights_predict_the_same_and_its_files_score_the_same(home: Path, tmp_path: Path) -> None:
    assert predict(home / "run", home / "prepared", tmp_path / "again")["score"] == 100.0
    for name in ("predictions.tsv", "predictions.pubtator"):
        found = score(home / "prepared", "signs", home / "run" / name, tmp_path / name)
        assert found["score"] == 100.0 and found["by_type"]["Sign"]["tp"] == 16
    page = write_errors(home / "run", home / "prepared", tmp_path / "errors.html").read_text()
    assert "another type" in page


def test_tag_gives_each_entity_its_type_and_characters(home: Path) -> None:
    tagger = EntityTagger(home / "run", torch.device("cpu"))
    assert tagger.types == ["Plant", "Sign"]
    document = TextDocument(id="1", title="We saw leaf palsy and ran home. No Noxal rot was seen in cats.")
    (entities,) = tagger.tag([document])
    assert [(each.type, document.text[each.start : each.end]) for each in entities] == [
        ("Sign", "leaf palsy"),
        ("Plant", "Noxal rot"),
    ]


def test_the_exported_tagger_writes_json_lines_and_pubtator(home: Path, tmp_path: Path) -> None:
    text = "We saw leaf palsy, caf\u00e9 \U0001f642, and ran home. No Noxal rot was seen in cats.\n"
    (tmp_path / "article.txt").write_text(text)
    assert main(["export", str(home / "run"), "--output", str(tmp_path / "tagger")]) == 0
    for form in ("jsonl", "pubtator"):
        files = ["--input", tmp_path / "article.txt", "--output", tmp_path / form, "--format", form]
        assert main(["tag", str(tmp_path / "tagger"), *map(str, files)]) == 0
    (document,) = map(json.loads, (tmp_path / "jsonl").read_text().splitlines())
    found = [(each["type"], each["text"], each["start"], each["end"]) for each in document["entities"]]
    assert [each[:2] for each in found] == [("Sign", "leaf palsy"), ("Plant", "Noxal rot")]
    assert all(document["text"][start:end] == name for _, name, start, end in found)
    (read,), _ = read_pubtator(tmp_path / "pubtator", frozenset({"Sign", "Plant"}))
    assert [(m.kind, read.text[m.start : m.end]) for m in read.mentions] == [each[:2] for each in found]


def test_a_right_span_of_a_wrong_type_is_wrong(home: Path, tmp_path: Path) -> None:
    text = (home / "run" / "predictions.pubtator").read_text()
    (tmp_path / "swapped.txt").write_text(text.replace("\tleaf palsy\tSign", "\tleaf palsy\tPlant"))
    found = score(home / "prepared", "signs", tmp_path / "swapped.txt", tmp_path / "out")
    assert {name: found["scores"]["conlleval"][name] for name in ("tp", "fp", "fn")} == {
        "tp": 28,
        "fp": 4,
        "fn": 4,
    }
    assert found["by_type"]["Plant"]["fp"] == 4 == found["by_type"]["Sign"]["fn"]


def test_other_names_of_a_type_in_a_file_mean_the_type(home: Path, tmp_path: Path) -> None:
    for name in ("predictions.tsv", "predictions.pubtator"):
        text = (home / "run" / name).read_text().replace("-Sign\n", "-symptom\n").replace("\tSign\t", "\tS\t")
        (tmp_path / name).write_text(text)
        assert score(home / "prepared", "signs", tmp_path / name, tmp_path / f"{name}-out")["score"] == 100.0


@pytest.mark.parametrize("tag", ["B", "O-Sign", "B-Rock"])
def test_tags_without_a_type_or_with_a_strange_one_are_refused(home: Path, tmp_path: Path, tag: str) -> None:
    text = (home / "run" / "predictions.tsv").read_text()
    (tmp_path / "p.tsv").write_text(text.replace("leaf B-Sign B-Sign", f"leaf B-Sign {tag}", 1))
    with pytest.raises(UserError, match=r"p\.tsv:"):
        score(home / "prepared", "signs", tmp_path / "p.tsv", tmp_path / "out")


def test_the_baselines_name_types(home: Path, tmp_path: Path) -> None:
    counts = run_baselines(home / "prepared", tmp_path / "out").counts["signs"]
    assert counts["no entity"] == 0.0 and counts["dictionary"] == 100.0 and counts["CRF"] > 95.0


def test_words_are_scored_without_ends_where_the_metric_says_so(tmp_path: Path) -> None:
    prepared = write(tmp_path / "prepared", "word_macro_f1")
    task = task_of(prepared, "signs")
    sentences, documents = (
        read_sentences(prepared, "signs", "test"),
        read_annotated(prepared, "signs", "test"),
    )
    gold = [sentence.tags for sentence in sentences]
    joined = [[tag.replace("I-", "B-") for tag in tags] for tags in gold]
    assert score_entities(task, sentences, documents, joined)["score"] == 100.0
    nothing = [["O"] * len(tags) for tags in gold]
    assert score_entities(task, sentences, documents, nothing)["score"] == 0.0
    signs = [[tag if "Sign" in tag else "O" for tag in tags] for tags in gold]
    found = score_entities(task, sentences, documents, signs)
    assert found["score"] == 50.0 and found["scores"]["conlleval"]["recall"] == 50.0
    by_type = break_down_tags(task, sentences, documents, signs, set())["by_type"]
    assert by_type["Sign"]["f1"] == 100.0 and by_type["Plant"]["fn"] == 36
    (tmp_path / "p.txt").write_text("300|t|Mice.\n300|a|\n")
    with pytest.raises(UserError, match="scored by their tags"):
        score(prepared, "signs", tmp_path / "p.txt", tmp_path / "out")


def test_one_type_keeps_plain_tags(home: Path) -> None:
    task = task_of(home / "prepared", "signs")
    assert tags_of(task) == ("O", "B-Sign", "I-Sign", "B-Plant", "I-Plant")
