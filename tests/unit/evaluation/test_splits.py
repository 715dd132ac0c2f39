"""Splits of anybody's tasks: types, counts, divisions, and what splits share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biobert_scale.cli import main
from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepare import prepare
from biobert_scale.evaluation.prepared import read_annotated, read_gold, read_sentences
from biobert_scale.evaluation.tasks.spec import read_task

TYPED = """name = "herbs"
kind = "entities"
metric = "entity_f1"
other_types = ["Fish"]
[types]
Gene = ["GeneOrProduct"]
Plant = []
[[sources]]
"""
ROWS = """name = "notes"
kind = "classification"
metric = "accuracy"
labels = ["up", "down"]
[[sources]]
format = "tsv"
"""
THREE = 'train = "train.x"\ndev = "dev.x"\ntest = "test.x"\n'


def made(directory: Path, task: str, **files: str) -> dict[str, Any]:
    """The task's counts."""
    directory.mkdir(exist_ok=True)
    (directory / "own.toml").write_text(task)
    for name, content in files.items():
        (directory / f"{name}.x").write_text(content, encoding="utf-8")
    manifest = prepare(None, directory / "out", overwrite=True, tasks=[str(directory / "own.toml")])
    (counts,) = manifest.counts.values()
    return dict(counts)


def rows_of(directory: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "out" / name).read_text().splitlines()]


def pubtator(pmid: int) -> str:
    """Two types, one place with two, and one that crosses another."""
    mentions = (
        "0\t4\tNoxa\tgene,8\t17\told ferns\tPlant,8\t17\told ferns\tGeneOrProduct,12\t20\tferns of\tGene,"
    )
    mentions += "27\t30\teel\tFish"
    rows = "".join(f"{pmid}\t{row}\t-\n" for row in mentions.split(","))
    return f"{pmid}|t|Noxa in old ferns of x.\n{pmid}|a|An eel.\n{rows}\n"


def test_several_types_are_in_tags_and_gold_and_losses_are_counted(tmp_path: Path) -> None:
    source = TYPED + 'format = "pubtator"\n' + THREE
    counts = made(tmp_path, source, train=pubtator(1), dev=pubtator(2), test=pubtator(3))["test"]
    title, abstract = read_sentences(tmp_path / "out", "herbs", "test")
    assert title.tags == ["B-Gene", "O", "B-Gene", "I-Gene", "O", "O", "O"] and set(abstract.tags) == {"O"}
    (document,) = read_annotated(tmp_path / "out", "herbs", "test")
    assert [(m.start, m.end, m.kind) for m in document.mentions] == [
        (0, 4, "Gene"),
        (8, 17, "Gene"),
        (8, 17, "Plant"),
        (12, 20, "Gene"),
    ]
    assert counts["mentions of Gene"] == 3 and counts["mentions of Plant"] == 1
    assert counts["overlapping_mentions"] == 2 == counts["mentions_lost_by_tagging"]
    assert read_task(tmp_path / "out" / "herbs" / "task.toml").types["Gene"] == ("GeneOrProduct",)


def test_typed_tags_of_conll_files_become_the_tasks_types(tmp_path: Path) -> None:
    source = TYPED + 'format = "conll"\n' + THREE
    content = "noxa\tB-geneorproduct\nferns\tB-Plant\neel\tS-Fish\n"
    with pytest.raises(
        UserError, match=r"has no last tag in IOBES.*\.x:2;|cannot follow in IOBES.*train\.x:2;"
    ):
        made(tmp_path, source, train=content, dev=content, test=content)
    content = content.replace("B-", "S-")
    counts = made(tmp_path, source, train=content, dev=content, test=content)
    assert read_sentences(tmp_path / "out", "herbs", "dev")[0].tags == ["B-Gene", "B-Plant", "O"]
    assert read_gold(tmp_path / "out", "herbs", "dev") == {"s0": {(0, 4), (5, 10)}}
    assert counts["dev"]["mentions of Gene"] == 1 and counts["published"] is False
    with pytest.raises(UserError, match=r"the tag B has no type, where the task has several: .*train\.x:1;"):
        made(tmp_path, source, train="noxa\tB\n", dev=content, test=content)


def test_a_single_type_stays_without_types_in_its_tags(tmp_path: Path) -> None:
    source = (
        TYPED.replace("Plant = []\n", "").replace('"Fish"', '"Fish", "Plant"') + 'format = "conll"\n' + THREE
    )
    content = "noxa\tB-GeneOrProduct\nferns\tB-Plant\n"
    made(tmp_path, source, train=content, dev=content, test=content)
    assert read_sentences(tmp_path / "out", "herbs", "dev")[0].tags == ["B", "O"]


def test_rows_are_counted_by_label_length_and_what_splits_share(tmp_path: Path) -> None:
    text = {
        "train": "text\tlabel\nNoxa rose again.\tup\nIt\u00adfell.\tdown\nNoxa rose again.\tup\n",
        "dev": "text\tlabel\nIt stood.\tup\n",
        "test": "text\tlabel\nNoxa rose again.\tdown\nIt stood.\tup\n",
    }
    counts = made(tmp_path, ROWS + THREE, **text)
    assert counts["train"] == {
        "rows": 3,
        "rows of up": 2,
        "rows of down": 1,
        "median_words": 4,
        "most_words": 4,
        "repeated_texts": 1,
        "dropped_characters": 1,
    }
    assert counts["test"]["texts_in_train"] == 1 and counts["dev"]["texts_in_train"] == 0
    assert rows_of(tmp_path, "notes/test.jsonl")[1] == {
        "id": "1",
        "document": "1",
        "texts": ["It stood."],
        "label": "up",
    }
    assert rows_of(tmp_path, "documents.jsonl")[0] == {
        "benchmark": "notes",
        "split": "train",
        "pmid": "",
        "text": "Noxa rose again.",
    }


def numbered(count: int) -> str:
    return "pmid\ttext\tlabel\n" + "".join(f"{n // 2}\tNoxa {n}.\tup\n" for n in range(count))


DIVIDED = (
    ROWS
    + 'columns = { document = "pmid" }\ntrain = "all.x"\ndivide = { train = 0.6, dev = 0.2, test = 0.2 }\n'
)


def test_a_division_keeps_documents_whole_and_follows_from_the_seed(tmp_path: Path) -> None:
    counts = made(tmp_path, DIVIDED, all=numbered(40))
    assert [counts[split]["documents"] for split in ("train", "dev", "test")] == [12, 4, 4]
    first = [rows_of(tmp_path, f"notes/{split}.jsonl") for split in ("train", "dev", "test")]
    assert sum(map(len, first)) == 40
    lines = numbered(40).splitlines(keepends=True)
    made(tmp_path, DIVIDED, all="".join([lines[0], *reversed(lines[1:])]))
    assert {row["document"] for row in rows_of(tmp_path, "notes/test.jsonl")} == {
        row["document"] for row in first[2]
    }
    made(tmp_path, DIVIDED + "seed = 1\n", all=numbered(40))
    assert rows_of(tmp_path, "notes/test.jsonl") != first[2]


def test_a_division_keeps_equal_texts_together_where_nothing_names_documents(tmp_path: Path) -> None:
    rows = "".join(f"{n % 9} ran.\tup\n" for n in range(90))
    counts = made(
        tmp_path, DIVIDED.replace('columns = { document = "pmid" }\n', ""), all="text\tlabel\n" + rows
    )
    assert counts["test"]["texts_in_train"] == 0 == counts["dev"]["texts_in_train"]


@pytest.mark.parametrize(
    ("task", "files", "says"),
    [
        (DIVIDED, {"all": numbered(4)}, "2 documents are too few for a share of 0.2"),
        (
            ROWS + 'columns = { document = "pmid" }\n' + THREE,
            {"train": numbered(4), "dev": numbered(2).replace("0", "7"), "test": numbered(2)},
            "1 documents are in both train and test, the first being 0: notes",
        ),
    ],
)
def test_impossible_splits_are_refused(task: str, files: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        made(tmp_path, task, **files)


def test_the_command_prints_the_counts_and_does_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.toml").write_text(DIVIDED)
    (tmp_path / "all.x").write_text(numbered(40))
    command = ["evaluate", "prepare", "--task", str(tmp_path / "own.toml"), "--output", str(tmp_path / "out")]
    assert main(command) == 0 == main(command)
    printed = capsys.readouterr().out
    assert "notes" in printed and "texts in train" in printed and "rows of up" in printed
    (tmp_path / "own.toml").write_text(DIVIDED + "seed = 5\n")
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
