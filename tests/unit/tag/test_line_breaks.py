"""Whatever readers of lines split at leaves a document in one piece, with its offsets."""

from __future__ import annotations

import json

import pytest

from biobert_scale.evaluation.pubtator import AnnotatedDocument, write_pubtator
from biobert_scale.tag.documents import TextDocument
from biobert_scale.tag.outputs import json_line, pubtator_block
from biobert_scale.tag.tagger import Entity

BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


@pytest.mark.parametrize("character", [*BREAKS, "\t"], ids=ascii)
def test_a_line_break_in_the_text_becomes_one_blank(character: str) -> None:
    title = f"A{character}leaf{character}palsy."
    entity = Entity(start=2, end=12, type="Disease", text=title[2:12], score=0.5)
    document = TextDocument(id="1", title=title, abstract=f"B{character}c.")
    rows = pubtator_block(document, [entity]).splitlines()
    assert rows == ["1|t|A leaf palsy.", "1|a|B c.", "1\t2\t12\tleaf palsy\tDisease\t-", ""]
    line = json_line(document, [entity])
    assert len(line.splitlines()) == 1 and json.loads(line)["text"] == document.text


@pytest.mark.parametrize("character", BREAKS, ids=ascii)
def test_predictions_of_a_benchmark_keep_their_lines_too(character: str, tmp_path) -> None:
    title = f"A{character}palsy."
    document = AnnotatedDocument(pmid="1", title=title, abstract="B.", mentions=())
    write_pubtator(tmp_path / "out", [document], {"1": {(0, 7)}}, "Disease")
    content = (tmp_path / "out").read_bytes().decode()
    assert content.splitlines() == ["1|t|A palsy.", "1|a|B.", "1\t0\t7\tA palsy\tDisease\t-", ""]
