from __future__ import annotations

import gzip
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from biobert_scale.errors import UserError
from biobert_scale.evaluation.relations.ddi import ddi_rows, read_ddi
from biobert_scale.evaluation.relations.masking import RelationRow, write_lines

SENTENCE = """<document id="D1"><sentence id="D1.s0" text="Loop or bexin salts raise fentol.&#13;&#10;">
<entity id="e0" charOffset="0-3;14-18" type="group" text="Loop salts"/>
<entity id="e1" charOffset="8-18" type="group" text="bexin salts"/>
<entity id="e2" charOffset="26-31" type="drug" text="fentol"/>
{}
</sentence></document>"""


def read(directory: Path, pairs: str, sentence: str = SENTENCE):
    (directory / "one.xml").write_text(sentence.format(pairs), encoding="utf-8")
    (directory / "list.tsv").write_text("one.xml\n\n", encoding="utf-8")
    return read_ddi(directory, directory / "list.tsv")


def test_drugs_are_masked_from_their_first_character_to_their_last(tmp_path: Path) -> None:
    found = ddi_rows(
        read(
            tmp_path,
            '<pair id="p0" e1="e2" e2="e1" ddi="true" type="int"/>'
            '<pair id="p1" e1="e0" e2="e1" ddi="false"/>',
        )
    )
    assert found.rows == [
        RelationRow("p0", "D1", "Loop or @DRUG$ raise @DRUG$.  ", "DDI-int"),
        RelationRow("p1", "D1", "@DRUG-DRUG$ raise fentol.  ", "DDI-false"),
    ]
    assert found.counts == Counter(overlapping_pairs=1, discontinuous_names=1)


@pytest.mark.parametrize(
    ("pairs", "sentence", "what"),
    [
        ('<pair id="p0" e1="e0" e2="e9" ddi="false"/>', SENTENCE, "does not have: .*one.xml:5;"),
        ('<pair id="p0" e1="e0" e2="e1" ddi="true"/>', SENTENCE, "no known type .*one.xml:5;"),
        ("", SENTENCE.replace("26-31", "26-99"), "no characters 26-99 .*one.xml:4;"),
        ("", SENTENCE.replace("26-31", "26"), "no offsets: .*one.xml:4;"),
        ("", "<document id='1'>", "not XML .*one.xml;"),
        ("", "<corpus/>", "expected a <document> .*one.xml;"),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(
    tmp_path: Path, pairs: str, sentence: str, what: str
) -> None:
    with pytest.raises(UserError, match=what):
        read(tmp_path, pairs, sentence)


def test_a_listed_file_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.tsv").write_text("a.xml\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.xml is not there: .*list\.tsv:1;"):
        read_ddi(tmp_path, tmp_path / "list.tsv")


@pytest.fixture(scope="module")
def corpus(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ddi")
    with tarfile.open(real_data / "blurb_sets" / "DDI" / "DDIextraction_2013_xml.tar.xz") as archive:
        archive.extractall(directory, filter="data")
    return directory / "DDIextraction_2013"


@pytest.mark.parametrize(
    ("split", "rows", "positives"), [("train", 25_296, 3_551), ("dev", 2_496, 469), ("test", 5_716, 979)]
)
def test_the_official_files_give_the_published_sentences(
    real_data: Path, corpus: Path, split: str, rows: int, positives: int
) -> None:
    home = real_data / "blurb_sets" / "DDI"
    found = ddi_rows(read_ddi(corpus, home / "split" / f"{split}_files.tsv"))
    assert len(found.rows) == rows and sum(row.label != "DDI-false" for row in found.rows) == positives
    with gzip.open(home / f"{split}.tsv.gz", "rt", encoding="utf-8", newline="") as stream:
        assert write_lines(found.rows) == stream.read()
