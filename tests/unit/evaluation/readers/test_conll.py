"""CoNLL files: columns, schemes, documents, and what is refused with its line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from biobert_scale.errors import UserError
from biobert_scale.evaluation.readers.conll import Conll, read_conll

KINDS = frozenset({"Gene", "Plant"})
WORDS = "noxa 1 of Leafy fern fern noxa".split()
SCHEMES = {
    "IOB2": "B-Gene I-Gene O B-Plant I-Plant B-Plant B-Gene",
    "IOB1": "I-Gene I-Gene O I-Plant I-Plant B-Plant I-Gene",
    "IOBES": "B-Gene E-Gene O B-Plant E-Plant S-Plant S-Gene",
    "BILOU": "B-Gene L-Gene O B-Plant L-Plant U-Plant U-Gene",
}


def read(directory: Path, text: str, **options: object) -> Conll:
    (directory / "x.tsv").write_text(text, encoding="utf-8")
    return read_conll([directory / "x.tsv"], **{"kinds": KINDS, **options})  # type: ignore[arg-type]


def lines(tags: str, words: list[str] = WORDS) -> str:
    return "".join(f"{word}\t{tag}\n" for word, tag in zip(words, tags.split(), strict=True))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_is_recognised_and_becomes_iob2(scheme: str, tmp_path: Path) -> None:
    found = read(tmp_path, lines(SCHEMES[scheme]))
    assert found.scheme == scheme
    assert found.sentences[0].tags == SCHEMES["IOB2"].split()


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ("B-Gene I-Gene O I-Plant O O O", r"continues no entity, .*x\.tsv:1\): .*x\.tsv:4;"),
        ("B-Gene L-Gene O S-Plant O O O", r"the tag L beside .*x\.tsv:2;"),
        ("B-Gene E-Gene O E-Plant O O O", r"the tag E cannot follow in IOBES.*x\.tsv:4;"),
        ("B-Gene E-Plant O O O O O", r"the tag E cannot follow in IOBES.*x\.tsv:2;"),
        ("B-Gene B-Gene E-Gene O O O O", r"the tag B cannot follow in IOBES.*x\.tsv:2;"),
        ("B-Gene O U-Gene O O O O", r"the tag O cannot follow in BILOU.*x\.tsv:2;"),
        ("O O S-Gene O O O B-Gene", r"has no last tag in IOBES.*x\.tsv:7;"),
        ("O O B-Gene O O Q-Gene O", r"not 'fern' and 'Q-Gene'.*x\.tsv:6;"),
        ("O O O-Gene O O O O", r"not 'of' and 'O-Gene'.*x\.tsv:3;"),
        ("O B-Virus O B-Virus O B-Fish O", r"\(Fish 1, Virus 2; the task has Gene, Plant\).*x\.tsv:2;"),
    ],
)
def test_tags_that_no_scheme_or_task_has_are_refused_with_the_line(
    tags: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=says):
        read(tmp_path, lines(tags))


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("noxa\tB-Gene\nran\tO\n", {}),
        ("noxa B-gene\nran O\n", {}),
        ("noxa NN B-NP B-Gene\nran  VB  O  O\n", {}),
        ("1\tnoxa\tB-Gene\tx\n2\tran\tO\tx\n", {"token": 1, "tag": 2}),
        (
            "# of 2 words\nn\tword\tner\tpos\n1\tnoxa\tB-Gene\tNN\n2\tran\tO\tVB\n",
            {"token": "word", "tag": "ner"},
        ),
        ("# a comment\nnoxa\tB-Gene\nran\tO\n", {}),
    ],
)
def test_columns_are_found(text: str, columns: dict[str, int | str], tmp_path: Path) -> None:
    (sentence,) = read(tmp_path, text, columns=columns).sentences
    assert sentence.tokens == ["noxa", "ran"] and sentence.tags == ["B-Gene", "O"]


@pytest.mark.parametrize(
    ("text", "columns", "says"),
    [
        ("noxa\tB-Gene\nran\n", {}, r"a token and its tag in 2 columns.*x\.tsv:2;"),
        ("noxa\tO\n", {"tag": 2}, r"in 2 columns.*x\.tsv:1;"),
        ("a\tb\nnoxa\tO\n", {"tag": "ner"}, r"no column 'ner' \(there are a, b\).*x\.tsv:1;"),
        (" \n", {}, "no sentence in the file"),
    ],
)
def test_missing_columns_are_refused_with_the_line(
    text: str, columns: dict[str, int | str], says: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=says):
        read(tmp_path, text, columns=columns)


def test_sentences_of_a_document_share_its_offsets_and_repeated_names_are_kept_apart(tmp_path: Path) -> None:
    text = "-DOCSTART- (9)\n\nnoxa\tB-Gene\n\nran\tO\noff\tO\n-DOCSTART- 9\n\nfern\tO\n\n"
    text += "-DOCSTART-\tO\n\nend\tO\n"
    found = read(tmp_path, text)
    assert [(s.pmid, s.sentence, s.starts, s.ends) for s in found.sentences] == [
        ("9", 0, [0], [4]),
        ("9", 1, [5, 9], [8, 12]),
        ("9#2", 0, [0], [4]),
        ("d0", 0, [0], [3]),
    ]
    assert found.names == {"9": 2}


def test_without_documents_each_sentence_is_one(tmp_path: Path) -> None:
    found = read(tmp_path, "noxa\tO\n\nran\tO\n")
    assert [s.pmid for s in found.sentences] == ["s0", "s1"] and not found.names


def in_scheme(tags: list[str], scheme: str) -> list[str]:
    """IOB2 tags in another scheme."""
    last, single = ("E", "S") if scheme == "IOBES" else ("L", "U")
    made = []
    for before, tag, after in zip(["O", *tags], tags, [*tags[1:], "O"], strict=False):
        letter, _, kind = tag.partition("-")
        goes_on = after == f"I-{kind}"
        if scheme in ("IOBES", "BILOU") and not goes_on:
            letter = {"B": single, "I": last}.get(letter, letter)
        elif scheme == "IOB1" and letter == "B" and before[2:] != kind:
            letter = "I"
        made.append(f"{letter}-{kind}" if kind else letter)
    return made


@pytest.mark.parametrize("scheme", SCHEMES)
def test_any_entities_are_the_same_in_every_scheme(scheme: str, tmp_path: Path) -> None:
    draw = random.Random(0)
    sentences = []
    for _ in range(300):
        tags = ["O"]
        for _ in range(draw.randrange(1, 9)):
            inside = [f"I{tags[-1][1:]}"] if tags[-1] != "O" else []
            tags.append(draw.choice(["O", "B-Gene", "B-Plant", *inside]))
        sentences.append(tags[1:])
    text = "".join(lines(" ".join(in_scheme(tags, scheme)), ["x"] * len(tags)) + "\n" for tags in sentences)
    found = read(tmp_path, text)
    assert found.scheme == scheme and [sentence.tags for sentence in found.sentences] == sentences


def test_other_types_are_left_out_after_the_scheme_is_known(tmp_path: Path) -> None:
    found = read(tmp_path, lines(SCHEMES["IOBES"]), kinds=frozenset({"Plant"}), others=frozenset({"Gene"}))
    assert found.sentences[0].tags == "O O O B-Plant I-Plant B-Plant O".split()
