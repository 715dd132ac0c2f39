"""The large build: a sample in other words, and what the page says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.corpus.large_build import large_build
from benchmarks.corpus.other_words import original
from biobert_scale.files import read_json
from tests.factories import abstract, article, prose, write_medline, write_package

XML = (
    b"<article><article-id pub-id-type='pmcid'>PMC12</article-id><article-id>34</article-id>"
    b"<p class='italic'>Growth of the yeast &amp; its <bold>enzymes</bold> &lt; 12 days.</p></article>"
)


def test_a_copy_has_other_long_words_and_ids_and_nothing_else_changes() -> None:
    document = original(XML)
    assert document.copy(0) == XML.replace(b"'", b'"')
    copy = document.copy(7)
    assert b">PMC70012<" in copy and b">70034<" in copy and len(copy) == document.size + 6
    assert b'class="italic"' in copy and b"&amp; its <bold>" in copy and b"&lt; 12 " in copy
    assert b" of the " in copy and b"yeast" not in copy and b"enzymes" not in copy
    assert len({document.copy(number) for number in range(20)}) == 20


@pytest.mark.slow
def test_a_build_that_was_killed_again_and_again_has_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "sample"
    raw.mkdir()
    write_medline(raw / "pubmed25n0001.xml.gz", *(abstract(n, prose(n)) for n in range(1, 60)))
    articles = {f"PMC/PMC{n}.xml": article(n, prose(n)) for n in range(100, 160)}
    write_package(raw / "oa_comm_xml.x.tar.gz", articles)
    large_build(
        raw=raw, output=tmp_path / "results", scratch=tmp_path, gigabytes=0.006, largest_gigabytes=0.001
    )
    (path,) = (tmp_path / "results").glob("*.json")
    result = read_json(path)
    # So small a build may end before it is killed, which then finds nothing to do.
    assert result["killed"][0]["killed"] in ("reading", "") and result["killed"][-1]["killed"] == ""
    assert result["xml_bytes"] > 5e6 and result["largest_xml_bytes"] >= 1e6
    assert result["documents"] > 1000 and "| undisturbed |" in capsys.readouterr().out
