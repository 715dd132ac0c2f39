"""What of a split the training set has, by every unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from biobert_scale.evaluation.overlap import overlap_with_train
from tests.factories import OWN_TASKS, own_rows, write_own_task, write_prepared


def row(text: str, document: str, second: str = "") -> dict[str, Any]:
    texts = [text, second] if second else [text]
    return {"id": f"{document}-{text}", "document": document, "texts": texts, "label": "plant"}


def write(directory: Path, task: str = "single", **rows: list[dict[str, Any]]) -> Path:
    splits = {split: {".jsonl": rows.get(split, own_rows(task, split))} for split in ("train", "dev", "test")}
    return write_own_task(directory, task, OWN_TASKS[task], splits)


def test_rows_and_documents_that_train_has(tmp_path: Path) -> None:
    prepared = write(
        tmp_path,
        train=[row("Old leaf.", "1"), row("Old  rot.", "1"), row("Mice ran.", "2"), row("Cats.", "3")],
        test=[row("old leaf .", "7"), row("Old rot.", "7"), row("Mice ran.", "8"), row("Goats.", "8")],
    )
    assert overlap_with_train(prepared, "single", "test") == {
        "rows": {"in_train": 3, "total": 4},
        "documents": {"in_train": 1, "total": 2},
    }
    assert overlap_with_train(prepared, "single", "train") == {}


def test_a_pair_is_in_train_where_both_texts_are(tmp_path: Path) -> None:
    pairs = [row("Old leaf.", "1", "Rot."), row("Mice.", "2", "Cats.")]
    swapped = [row("Old leaf.", "3", "Rot."), row("Mice.", "4", "Rot."), row("Cats.", "5", "Mice.")]
    prepared = write(tmp_path, "questions", train=pairs, test=swapped)
    assert overlap_with_train(prepared, "questions", "test") == {"rows": {"in_train": 1, "total": 3}}


@pytest.fixture(scope="module")
def entities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("entities"))


def test_splits_that_differ_in_their_names_share_every_text(entities: Path) -> None:
    found = overlap_with_train(entities, "NCBI-disease", "test")
    assert found == {
        "documents": {"in_train": 32, "total": 32},
        "sentences": {"in_train": 64, "total": 64},
        "mentions": {"in_train": 32, "total": 32},
        "names": {"in_train": 8, "total": 8},
    }


def test_one_other_word_makes_a_document_and_its_sentence_new(entities: Path) -> None:
    for name in ("test.jsonl", "test.gold.jsonl"):
        path = entities / "NCBI-disease" / name
        lines = path.read_text().split("\n")
        lines[0] = lines[0].replace("leaf palsy", "lead palsy").replace('"leaf"', '"lead"')
        path.write_text("\n".join(lines))
    found = overlap_with_train(entities, "NCBI-disease", "test")
    missing = {unit: counts["total"] - counts["in_train"] for unit, counts in found.items()}
    assert missing == {"documents": 1, "sentences": 1, "mentions": 1, "names": 1}
