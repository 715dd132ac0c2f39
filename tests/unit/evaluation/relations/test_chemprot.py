from __future__ import annotations

import gzip
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from biobert_scale.errors import UserError
from biobert_scale.evaluation.relations.chemprot import chemprot_rows, punkt, read_chemprot
from biobert_scale.evaluation.relations.masking import RelationRow, write_lines

TITLE, ABSTRACT = "Fentol lowers kinase A.", "Kinase A needs fentol phosphatase. Bexin does not (see Fig. 2)."
ENTITIES = [
    ("T1", "CHEMICAL", "Fentol"),
    ("T2", "GENE-Y", "kinase A"),
    ("T3", "GENE-N", "Kinase A"),
    ("T4", "CHEMICAL", "fentol"),
    ("T5", "GENE-Y", "fentol phosphatase"),
    ("T6", "CHEMICAL", "Bexin"),
]


def write(directory: Path, *relations: str, entities: list[str] | None = None) -> list[Path]:
    text = f"{TITLE}\t{ABSTRACT}"
    rows = [
        f"77\t{name}\t{kind}\t{text.index(word)}\t{text.index(word) + len(word)}\t{word}"
        for name, kind, word in ENTITIES
    ]
    paths = [directory / f"{name}.tsv" for name in ("abstracts", "entities", "relations")]
    for path, lines in zip(paths, ([f"77\t{text}"], entities or rows, relations), strict=True):
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return paths


def relation(group: str, chemical: str, gene: str) -> str:
    return f"77\t{group}\tY \tNAME\tArg1:{chemical}\tArg2:{gene}"


def test_every_pair_within_a_sentence_is_masked_in_the_order_of_the_text(tmp_path: Path) -> None:
    found = chemprot_rows(read_chemprot(*write(tmp_path, relation("CPR:4", "T1", "T2"))))
    assert found.rows == [
        RelationRow("77.T1.T2", "77", "@CHEMICAL$ lowers @GENE$.", "CPR:4"),
        RelationRow("77.T3.T4", "77", "@GENE$ needs @CHEMICAL$ phosphatase.", "false"),
        # Both start together: the gene is named first, and one placeholder covers the longer of the two.
        RelationRow("77.T5.T4", "77", "Kinase A needs @CHEM-GENE$.", "false"),
    ]
    assert +found.counts == Counter(overlapping_pairs=1)
    assert write_lines(found.rows[:1]) == "77.T1.T2\t@CHEMICAL$ lowers @GENE$.\tCPR:4\n"


@pytest.mark.parametrize(
    ("relations", "label", "counts"),
    [
        (
            [("CPR:3", "T1", "T2"), ("CPR:9", "T1", "T2")],
            "CPR:9",
            {"several_labels": 1, "overwritten_relations": 1},
        ),
        (
            [("CPR:3", "T1", "T2"), ("CPR:2", "T1", "T2")],
            "false",
            {"several_labels": 1, "overwritten_relations": 1},
        ),
        ([("CPR:2", "T1", "T2"), ("CPR:6", "T1", "T2")], "CPR:6", {"several_labels": 1}),
        ([("CPR:3", "T1", "T2"), ("CPR:3", "T1", "T2")], "CPR:3", {}),
        ([("CPR:3", "T6", "T3")], "false", {"relations_across_sentences": 1}),
        ([("CPR:10", "T6", "T3")], "false", {}),
    ],
)
def test_the_last_group_of_a_pair_counts_and_lost_relations_are_counted(
    tmp_path: Path, relations: list[tuple[str, str, str]], label: str, counts: dict[str, int]
) -> None:
    found = chemprot_rows(read_chemprot(*write(tmp_path, *(relation(*each) for each in relations))))
    assert found.rows[0].label == label
    assert dict(+found.counts) == {"overlapping_pairs": 1} | counts


def test_a_name_across_a_sentence_s_end_is_in_no_row(tmp_path: Path) -> None:
    documents = read_chemprot(*write(tmp_path, relation("CPR:3", "T1", "T2")))
    found = chemprot_rows(documents, lambda text: [(0, 3), (3, len(text))])
    assert [row.id for row in found.rows] == ["77.T5.T4", "77.T5.T6"]
    assert found.counts["cut_entities"] == 2 and found.counts["relations_across_sentences"] == 1


@pytest.mark.parametrize(
    ("entities", "relations", "what"),
    [
        (["77\tT1\tCHEMICAL\t0\t6\tBexin"], [], "'Fentol', not 'Bexin'.*entities.tsv:1;"),
        (["78\tT1\tCHEMICAL\t0\t6\tFentol"], [], "document 78.*entities.tsv:1;"),
        (["77\tT1\tVIRUS\t0\t6\tFentol"], [], "type.*entities.tsv:1;"),
        (["77\tT1\tCHEMICAL\t0\tFentol"], [], "5 fields where 6.*entities.tsv:1;"),
        (["77\tT1\tCHEMICAL\t0\t6\tFentol"] * 2, [], "once.*entities.tsv:2;"),
        (None, [relation("CPR:3", "T2", "T1")], "of a chemical.*relations.tsv:1;"),
        (None, [relation("CPR:3", "T1", "T2"), relation("CPR:3", "T1", "T9")], "of a gene.*relations.tsv:2;"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(
    tmp_path: Path, entities: list[str] | None, relations: list[str], what: str
) -> None:
    with pytest.raises(UserError, match=what.replace(".tsv:", r"\.tsv:")) as caught:
        read_chemprot(*write(tmp_path, *relations, entities=entities))
    assert "restore the original file" in str(caught.value)


def test_abbreviations_end_no_sentence() -> None:
    text = "Dr. Lee gave it. It was 5 mg vs. saline."
    assert [text[start:end] for start, end in punkt()(text)] == [
        "Dr. Lee gave it.",
        "It was 5 mg vs. saline.",
    ]


SETS = {
    "train": ("chemprot_training/chemprot_training_{}.tsv", 18_035, 4_112, 4_157),
    "dev": ("chemprot_development/chemprot_development_{}.tsv", 11_268, 2_408, 2_416),
    "test": ("chemprot_test_gs/chemprot_test_{}_gs.tsv", 15_745, 3_430, 3_458),
}


@pytest.mark.parametrize("split", SETS)
def test_the_official_files_give_the_published_sentences(real_data: Path, tmp_path: Path, split: str) -> None:
    home = real_data / "blurb_sets" / "ChemProt"
    pattern, rows, positives, relations = SETS[split]
    with tarfile.open(home / "official_tsv.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    paths = [tmp_path / pattern.format(name) for name in ("abstracts", "entities", "relations")]
    found = chemprot_rows(read_chemprot(*paths))
    assert len(found.rows) == rows and sum(row.label != "false" for row in found.rows) == positives
    lost = found.counts["relations_across_sentences"] + found.counts["overwritten_relations"]
    assert positives + lost == relations
    with gzip.open(home / f"{split}.tsv.gz", "rt", encoding="utf-8", newline="") as stream:
        assert write_lines(found.rows) == stream.read()
