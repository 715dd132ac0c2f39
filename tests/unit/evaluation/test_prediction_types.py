"""Predictions are scored on the task's own types of entity; others are passed over with their number, or
refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from biobert_scale.cli import main
from biobert_scale.errors import UserError
from biobert_scale.evaluation.predict import score
from biobert_scale.evaluation.prepare import prepare
from biobert_scale.evaluation.prepared import read_sentences
from biobert_scale.report.errors import write_errors

FILES = (
    ("CDR_TrainingSet", "NCBItrainset_corpus"),
    ("CDR_DevelopmentSet", "NCBIdevelopset_corpus"),
    ("CDR_TestSet", "NCBItestset_corpus"),
)
HEAD = "{0}|t|Noxal and rot of goats.\n{0}|a|Rot again.\n"
ROWS = (
    "{0}\t0\t5\tNoxal\tChemical\tD1\n",
    "{0}\t10\t13\trot\tDisease\tD2\n",
    "{0}\t24\t27\tRot\tDisease\tD2\n",
)


def write_sets(directory: Path) -> None:
    """BC5CDR and NCBI-disease of one document a split, the same text in all."""
    directory.mkdir()
    for number, (cdr, ncbi) in enumerate(FILES, start=1):
        relation = f"{number}\tCID\tD1\tD2\n"
        text = (HEAD + "".join(ROWS)).format(number) + relation
        (directory / f"{cdr}.PubTator.txt").write_text(text)
        rows = "".join(ROWS[1:]).replace("Disease", "Modifier", 1).replace("Disease", "SpecificDisease", 1)
        (directory / f"{ncbi}.txt").write_text((HEAD + rows).format(number))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sets")
    write_sets(directory / "in")
    prepare(directory / "in", directory / "out")
    return directory / "out"


def scored(prepared: Path, task: str, content: str, tmp_path: Path, name: str = "theirs.txt") -> Any:
    (tmp_path / name).write_bytes(content.encode())
    return score(prepared, task, tmp_path / name, tmp_path / f"{name}-out")


def mention(kind: str, start: int, end: int, text: str, *more: str) -> str:
    return "\t".join(["3", str(start), str(end), text, kind, *more]) + "\n"


BOTH = mention("{}", 10, 13, "rot", "D1") + mention("{}", 24, 27, "Rot", "D1")
GENE = mention("Gene", 17, 22, "goats", "9", "0.5")


@pytest.mark.parametrize("kind", ["Disease", "disease", "DISEASE", "SpecificDisease", "compositemention"])
def test_the_task_s_own_types_count_in_any_case(kind: str, prepared: Path, tmp_path: Path) -> None:
    found = scored(prepared, "NCBI-disease", HEAD.format(3) + BOTH.format(kind, kind), tmp_path)
    assert found["score"] == 100.0 and found["passed_over"] == {}


def test_other_types_and_relations_are_passed_over_and_counted(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (
        HEAD.format(3)
        + mention("Chemical", 0, 5, "Noxal")
        + BOTH.format("disease", "Disease")
        + GENE * 2
        + "3\tAssociation\tD1\t6528\tNovel\n3\tpositive_correlate\tChemical|D1\tDisease|D2\n"
    )
    (tmp_path / "theirs").write_text(content)
    arguments = ["--prepared", prepared, "--task", "NCBI-disease", "--output", tmp_path / "out"]
    assert main(["evaluate", "score", *map(str, [tmp_path / "theirs", *arguments])]) == 0
    assert "Chemical 1, Gene 2, relation Association 1" in capsys.readouterr().out
    found = score(prepared, "NCBI-disease", tmp_path / "theirs", tmp_path / "out")
    assert found["score"] == 100.0
    assert found["passed_over"] == {
        "Chemical": 1,
        "Gene": 2,
        "relation Association": 1,
        "relation positive_correlate": 1,
    }
    write_errors(tmp_path / "out", prepared, tmp_path / "page.html")


def test_nothing_of_the_task_s_types_is_refused_with_what_was_found(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\(Chemical\), but Disease 2, Gene 1:"):
        scored(prepared, "BC5CDR-chem", HEAD.format(3) + BOTH.format("Disease", "Disease") + GENE, tmp_path)
    assert scored(prepared, "BC5CDR-chem", HEAD.format(3), tmp_path, "none")["score"] == 0.0


@pytest.mark.parametrize(
    "content",
    [
        HEAD + "{0}\t10\t13\trot\tDisease\n{0}\t24\t27\tRot\tDisease\tD1|D2\trot|goats\tx\ty\t\n",
        HEAD.replace("Rot again", "Rot\nagain") + "".join(ROWS[1:]).replace("D2", "D1,D2"),
        "\ufeff" + (HEAD + "".join(ROWS)).replace("\n", "\r\n"),
        HEAD.replace("of goats", "of\u2028goats") + "".join(ROWS[1:]),
    ],
)
def test_layouts_of_rows_and_lines_score_the_same(content: str, prepared: Path, tmp_path: Path) -> None:
    assert scored(prepared, "NCBI-disease", content.format(3), tmp_path)["score"] == 100.0


@pytest.mark.parametrize(
    "row",
    [
        "3\t10\t13\trot\n",
        "3\t10\t13\trot\t\tD1\n",
        "3\tx\t13\trot\tDisease\tD1\n",
        "3\t-1\t13\trot\tDisease\tD1\n",
        "3\tCID\tD1\n",
        "3\t10\n",
        "9\t10\t13\trot\tDisease\tD1\n",
        "3\t10\t13\tRot\tDisease\tD1\n",
        "3\t13\t13\t\tDisease\tD1\n",
    ],
)
def test_a_row_that_is_not_understood_is_refused_with_its_line(
    row: str, prepared: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"theirs\.txt:3;"):
        scored(prepared, "NCBI-disease", HEAD.format(3) + row, tmp_path)


def column(prepared: Path, gold: str, predicted: str) -> str:
    """The test split's gold as its own predictions, with these types behind the tags."""
    lines = ["-DOCSTART- -X- O O\n\n"]
    for sentence in read_sentences(prepared, "NCBI-disease", "test"):
        for token, tag in zip(sentence.tokens, sentence.tags, strict=True):
            lines.append(" ".join([token, tag + gold * (tag != "O"), tag + predicted * (tag != "O")]) + "\n")
        lines.append("\n")
    return "".join(lines)


@pytest.mark.parametrize("kinds", [("", ""), ("-Disease", "-disease"), ("", "-SpecificDisease")])
def test_tags_of_the_task_s_type_are_scored(kinds: tuple[str, str], prepared: Path, tmp_path: Path) -> None:
    assert scored(prepared, "NCBI-disease", column(prepared, *kinds), tmp_path)["score"] == 100.0


@pytest.mark.parametrize("kinds", [("", "-GENE"), ("-GENE", "-GENE"), ("-GENE", ""), ("-Disease", "-GENE")])
def test_tags_of_another_type_are_refused_with_what_was_found(
    kinds: tuple[str, str], prepared: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"\(GENE 2; the task has .*Disease.*\): .*theirs\.txt:5;"):
        scored(prepared, "NCBI-disease", column(prepared, *kinds), tmp_path)


def test_an_i_of_another_own_type_begins_an_entity(prepared: Path, tmp_path: Path) -> None:
    content = column(prepared, "", "-Disease").replace("of O O", "of O I-Modifier")
    found = scored(prepared, "NCBI-disease", content, tmp_path)
    assert found["scores"]["conlleval"]["fp"] == 1 and found["orphan_inside_tags"] == 1
    assert found["scores"]["conlleval"]["tp"] == 2 and found["scores"]["discard"]["fp"] == 0


def test_the_corpus_s_files_are_read_in_any_case_and_counted_for_each_task(tmp_path: Path) -> None:
    write_sets(tmp_path / "in")
    for path in (tmp_path / "in").iterdir():
        content = (
            path.read_text().replace("\tDisease\t", "\tdisease\t").replace("\tChemical\t", "\tCHEMICAL\t")
        )
        path.write_text(content.replace("\trot\tdisease\tD2", "\trot\tdisease\tD2|D3\trot|rot of pigs"))
    counts = prepare(tmp_path / "in", tmp_path / "out").counts
    for task, mentions, discontinuous in (("BC5CDR-chem", 1, 0), ("BC5CDR-disease", 2, 1)):
        found = counts[task]["test"]
        assert (found["mentions"], found.get("discontinuous_mentions", 0)) == (mentions, discontinuous)
        assert found["composite_mentions"] == discontinuous and found["relations"] == 1


def test_a_gold_file_of_another_type_is_refused(tmp_path: Path) -> None:
    write_sets(tmp_path / "in")
    path = tmp_path / "in" / "NCBItestset_corpus.txt"
    path.write_text(path.read_text() + mention("Gene", 17, 22, "goats"))
    with pytest.raises(UserError, match=r"unknown kind of mention 'Gene'.*:5;"):
        prepare(tmp_path / "in", tmp_path / "out")


def iob2(directory: Path, content: str) -> Path:
    for split in ("train", "dev", "test"):
        path = directory / "in" / "NCBI-disease" / f"{split}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return directory


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("leaf\tB-GENE\npalsy\tI-GENE\n", r"\(GENE 1; the task has .*train\.tsv:1;"),
        ("rot\tB-Disease\n\nleaf\tB-Gene\nnoxal\tB-Chemical\n", r"\(Chemical 1, Gene 1; .*train\.tsv:3;"),
        ("leaf\tB-Modifier\npalsy\tI-SpecificDisease\n", r"continues no entity: .*train\.tsv:2;"),
    ],
)
def test_iob2_of_another_type_trains_no_tagger(content: str, says: str, tmp_path: Path) -> None:
    directory = iob2(tmp_path, content)
    with pytest.raises(UserError, match=says):
        prepare(directory / "in", directory / "out")


@pytest.mark.parametrize(
    "content",
    [
        "-DOCSTART- -X- O O\n\nleaf NN B-NP B-disease\npalsy NN I-NP I-disease\n\nmice NN O O\n",
        "-DOCSTART-\nleaf\tB\npalsy\tI\n-DOCSTART- (11)\nmice\tO\n",
        "-DOCSTART-\tO\n\nleaf\tB-Disease\npalsy\tI-Disease\n\n-DOCSTART- <11>\tO\n\nmice\tO\n",
    ],
)
def test_the_mark_of_a_document_is_no_sentence(content: str, tmp_path: Path) -> None:
    directory = iob2(tmp_path, content)
    found = prepare(directory / "in", directory / "out").counts["NCBI-disease"]["test"]
    assert (found["sentences"], found["words"], found["mentions"]) == (2, 3, 1)
    sentences = read_sentences(directory / "out", "NCBI-disease", "test")
    assert [sentence.tokens for sentence in sentences] == [["leaf", "palsy"], ["mice"]]
