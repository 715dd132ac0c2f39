"""brat's files: offsets, mentions in several parts, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from biobert_scale.errors import UserError
from biobert_scale.evaluation.readers.brat import read_brat

TEXT = "Ferns.\nLeft and right fronds\nof noxa.\n"
KINDS, OTHERS = frozenset({"Part"}), frozenset({"Plant"})


def write(directory: Path, annotations: str) -> Path:
    (directory / "a.txt").write_text(TEXT)
    (directory / "a.ann").write_text(annotations)
    return directory / "a.ann"


def test_mentions_relations_and_parts_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "T1\tpart 7 11;22 28\tLeft fronds\nT2\tPart 16 28\tright fronds\nT3\tPlant 32 36\tnoxa\n"
        "R1\tOf Arg1:T1 Arg2:T3\nA1\tOld T1\n#1\tNote T1\tx\n",
    )
    (document,), counts = read_brat([path], KINDS, OTHERS)
    assert (document.pmid, document.title) == ("a", "Ferns.")
    assert [document.text[m.start : m.end] for m in document.mentions] == [
        "Left and right fronds",
        "right fronds",
    ]
    assert {m.kind for m in document.mentions} == {"Part"}
    assert counts["discontinuous_mentions"] == 1 and counts["other_annotations"] == 3


@pytest.mark.parametrize(
    ("annotations", "says"),
    [
        (
            "T1\tPart 7 11\tLeft\nT2\tPart 7 12\tright\n",
            r"the text at 7-12 is 'Left ', not 'right'.*a\.ann:2;",
        ),
        ("T1\tPart 7 99\tLeft\n", r"the text at 7-99 .*a\.ann:1;"),
        ("T1\tFish 7 11\tLeft\n", r"unknown type 'Fish' \(known: Part, Plant\).*a\.ann:1;"),
        ("T1 Part 7 11 Left\n", r"separated by tabs.*a\.ann:1;"),
        ("T1\tPart 7 x\tLeft\n", r"separated by tabs.*a\.ann:1;"),
    ],
)
def test_wrong_annotations_are_refused_with_the_line(annotations: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        read_brat([write(tmp_path, annotations)], KINDS, OTHERS)


def test_annotations_without_a_text_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.with_suffix(".txt").unlink()
    with pytest.raises(UserError, match=r"no text beside the annotations: .*a\.txt"):
        read_brat([path], KINDS)
