"""Rows of every table format, their labels and documents, and what is refused with its line."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepared import Row
from biobert_scale.evaluation.readers.rows import Rows, read_pubmedqa, read_rows
from biobert_scale.evaluation.tasks.spec import Kind, Metric, Source, Task

FILES = {"train": ("a",), "dev": ("b",), "test": ("c",)}
METRICS: dict[Kind, Metric] = {"classification": "accuracy", "relations": "micro_f1", "similarity": "pearson"}


def task(kind: Kind = "classification", source: dict[str, Any] | None = None, **options: Any) -> Task:
    options.setdefault("labels", () if kind == "similarity" else ("up", "down"))
    made = Source(**{"format": "tsv", **FILES, **(source or {})})
    return Task(name="x", kind=kind, sources=(made,), metric=METRICS[kind], **options)


def read(path: Path, content: str | bytes, of: Task) -> Rows:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_rows(of, of.sources[0], [path])


EXPECTED = [
    Row(id="7", document="7", texts=['Fern "noxa", up.'], label="up"),
    Row(id="8", document="8", texts=["Noxa\nagain."], label="down"),
]
PLAIN = [EXPECTED[0], replace(EXPECTED[1], texts=["Noxa again."])]


@pytest.mark.parametrize(
    ("name", "content", "source"),
    [
        (
            "a.csv",
            'id,label,text\r\n7,up,"Fern ""noxa"", up."\r\n8,down,"Noxa\nagain."\r\n',
            {"format": "csv"},
        ),
        (
            "a.jsonl",
            "\n".join(
                json.dumps({"n": int(row.id), "text": row.texts[0], "gold": row.label}) for row in EXPECTED
            ),
            {"format": "jsonl", "columns": {"id": "n", "label": "gold"}},
        ),
    ],
)
def test_quotes_and_line_ends_are_kept(name: str, content: str, source: Any, tmp_path: Path) -> None:
    found = read(tmp_path / name, content, task(source=source))
    assert found.rows == EXPECTED and not found.named


@pytest.mark.parametrize(
    ("content", "source"),
    [
        ('id\tlabel\ttext\n7\tup\tFern "noxa", up.\n8\tdown\tNoxa again.\n', {}),
        (
            '7\tFern "noxa", up.\tup\r\n8\tNoxa again.\tdown\r\n',
            {"columns": {"id": 0, "text": 1, "label": 2}},
        ),
        (
            gzip.compress(b'id\tlabel\ttext\n7\tup\tFern "noxa", up.\n8\tdown\tNoxa again.\n', mtime=0),
            {},
        ),
    ],
)
def test_in_tsv_quotes_are_text(content: str | bytes, source: Any, tmp_path: Path) -> None:
    name = "a.tsv.gz" if isinstance(content, bytes) else "a.tsv"
    assert read(tmp_path / name, content, task(source=source)).rows == PLAIN


@pytest.mark.parametrize("parquet", [False, True])
def test_datasets_give_the_names_of_classes(parquet: bool, tmp_path: Path) -> None:
    features = Features(
        {"id": Value("int64"), "text": Value("string"), "label": ClassLabel(names=["down", "up"])}
    )
    rows = [{"id": int(row.id), "text": row.texts[0], "label": row.label} for row in PLAIN]
    made = Dataset.from_list(rows, features=features)
    path = tmp_path / ("a.parquet" if parquet else "train")
    made.to_parquet(str(path)) if parquet else made.save_to_disk(str(path))
    of = task(source={"format": "datasets"})
    assert read_rows(of, of.sources[0], [path]).rows == PLAIN


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "text\tlabel\nNoxa.\tup\nFern.\tsideways\n",
            r"unknown label 'sideways' \(known: up, down\).*a\.tsv:3;",
        ),
        ("text\tlabel\n \tup\n", r"a row without its text.*a\.tsv:2;"),
        ("text\tlabel\nNoxa.\tup\tmore\n", r"3 columns where the first row has 2.*a\.tsv:2;"),
        ("text\tgold\nNoxa.\tup\n", r"a row without its label.*a\.tsv:2;"),
        ("id\ttext\tlabel\n1\tA\tup\n1\tB\tup\n", r"the ID 1 is there twice.*a\.tsv:3;"),
        ("text\ttext\nA\tB\n", r"two columns have one name.*a\.tsv:1;"),
        ("text\tlabel\n", "no row in the file"),
    ],
)
def test_wrong_rows_are_refused_with_the_line(content: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        read(tmp_path / "a.tsv", content, task())


@pytest.mark.parametrize(
    ("name", "content", "columns", "says"),
    [
        ("a.jsonl", '{"text": "A", "label": "up"}\n{"text"\n', {}, r"not JSON.*a\.jsonl:2;"),
        ("a.jsonl", '["A", "up"]\n', {}, r"expected an object.*a\.jsonl:1;"),
        ("a.jsonl", '{"text": "A"}\n', {"label": "gold"}, r"no column 'gold' \(there are text\).*:1;"),
        ("a.csv", 'text,label\n"A\nB",up\n"C,up\n', {}, r"not CSV.*a\.csv:4;"),
    ],
)
def test_wrong_files_are_refused_with_the_line(
    name: str, content: str, columns: dict[str, str], says: str, tmp_path: Path
) -> None:
    of = task(source={"format": name.partition(".")[2], "columns": columns})
    with pytest.raises(UserError, match=says):
        read(tmp_path / name, content, of)


@pytest.mark.parametrize(
    "content",
    [
        "text\tlabel\nA\tdown;up\nB\t\nC\tup\n",
        "text\tlabel\nA\tup | down\nB\t\nC\tup|up\n",
        "text\tup\tdown\nA\t1\t1\nB\t0\t0\nC\t1\t0\n",
    ],
)
def test_several_labels_are_a_field_or_a_column_each(content: str, tmp_path: Path) -> None:
    found = read(tmp_path / "a.tsv", content, task(multi_label=True)).rows
    assert [row.label for row in found] == [["down", "up"], [], ["up"]]


def test_numbers_of_pairs_are_read_and_others_refused(tmp_path: Path) -> None:
    of = task("similarity", {"columns": {"text": "a", "text2": "b", "label": "score"}})
    (row,) = read(tmp_path / "a.tsv", "a\tb\tscore\nNoxa.\tFern.\t2.5\n", of).rows
    assert (row.texts, row.label) == (["Noxa.", "Fern."], 2.5)
    with pytest.raises(UserError, match=r"the label 'nan' is no number.*a\.tsv:2;"):
        read(tmp_path / "a.tsv", "a\tb\tscore\nNoxa.\tFern.\tnan\n", of)


def test_documents_are_a_column_or_a_part_of_the_id(tmp_path: Path) -> None:
    content = "id\ttext\tlabel\n9.T1\tA\tup\n9.T2\tB\tdown\n"
    found = read(tmp_path / "a.tsv", content, task("relations", {"document": r"^[^.]+"}))
    assert [row.document for row in found.rows] == ["9", "9"] and found.named
    with pytest.raises(UserError, match=r"the ID 9\.T1 has no part as `document` expects.*a\.tsv:2;"):
        read(tmp_path / "a.tsv", content, task("relations", {"document": "^D"}))
    found = read(
        tmp_path / "a.tsv", "pmid\ttext\tlabel\n9\tA\tup\n", task(source={"columns": {"document": "pmid"}})
    )
    assert found.rows == [Row(id="0", document="9", texts=["A"], label="up")] and found.named


def test_pubmedqa_is_read_whole_or_by_lists(tmp_path: Path) -> None:
    questions = {
        str(n): {"QUESTION": f"Is {n}?", "CONTEXTS": ["A.", "B."], "final_decision": "up"} for n in range(4)
    }
    parts = {"train": ["1", "0"], "dev": ["2"], "test": ["3"]}
    listed = {
        "train": questions,
        "dev": {"fold0": {"train": parts["train"], "dev": parts["dev"]}},
        "test": {"3": "up"},
    }
    whole = {split: {pmid: questions[pmid] for pmid in pmids} for split, pmids in parts.items()}
    found = []
    for form in (listed, whole):
        for split, content in form.items():
            (tmp_path / f"{split}.json").write_text(json.dumps(content))
        files = {split: [tmp_path / f"{split}.json"] for split in parts}
        found.append(read_pubmedqa(task(), files))  # type: ignore[arg-type]
    assert found[0] == found[1]
    assert found[0]["train"][0] == Row(id="1", document="1", texts=["Is 1?", "A. B."], label="up")
    (tmp_path / "test.json").write_text('{"9": "up"}')
    with pytest.raises(UserError, match=r"no question of PMID 9: .*test\.json"):
        read_pubmedqa(task(), files)  # type: ignore[arg-type]
