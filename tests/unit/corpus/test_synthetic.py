from __future__ import annotations

import csv
import gzip
import random
import re
import tarfile
from pathlib import Path

import pytest
from lxml import etree

from biobert_scale.corpus.synthetic import FIRST_PMID, write_synthetic
from biobert_scale.corpus.synthetic.benchmarks import CDR_FILES, NCBI_FILES
from biobert_scale.corpus.synthetic.benchmarks import FIRST_PMID as FIRST_BENCHMARK_PMID
from biobert_scale.corpus.synthetic.documents import STYLES, Writer
from biobert_scale.corpus.synthetic.grammar import Grammar, mark_mention, plain_text, xml_text
from biobert_scale.corpus.synthetic.lexicon import build_lexicon
from biobert_scale.corpus.synthetic.tables import frames, table
from biobert_scale.errors import UserError
from biobert_scale.files import Manifest, read_manifest, sha256_file

SEED, ABSTRACTS, FULL_TEXTS = 3, 300, 4
JATS_PARTS = (
    "front//abstract//p",
    "front//license",
    "body/sec/sec/title",
    "body//fig/caption",
    "body//table-wrap/table/tbody/tr",
    "body//disp-formula",
    "body//p/xref",
    "back/ack/p",
    "back/ref-list/ref",
)
SETS = [("bc5cdr_pubtator", CDR_FILES, "bc5cdr"), ("ncbi_disease_pubtator", NCBI_FILES, "ncbi_disease")]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    output = tmp_path_factory.mktemp("synthetic") / "raw"
    return output, write_synthetic(output, seed=SEED, abstracts=ABSTRACTS, full_texts=FULL_TEXTS)


def _citations(output: Path, name: str) -> etree._Element:
    (path,) = output.glob(f"pubmed/*/{name}")
    return etree.fromstring(gzip.decompress(path.read_bytes()))


def _texts(root: etree._Element) -> dict[int, str]:
    return {
        int(article.findtext("MedlineCitation/PMID")): (
            "".join(article.find(".//ArticleTitle").itertext())
            + "\n"
            + " ".join("".join(part.itertext()) for part in article.iterfind(".//Abstract/AbstractText"))
        )
        for article in root.iterfind("PubmedArticle")
    }


def _pubtator(path: Path) -> list[tuple[int, str, list[list[str]]]]:
    documents = []
    for block in path.read_text().strip("\n").split("\n\n"):
        title, abstract, *rows = block.split("\n")
        pmid, kind, title_text = title.split("|", 2)
        assert kind == "t" and abstract.startswith(f"{pmid}|a|")
        documents.append(
            (int(pmid), title_text + " " + abstract.split("|", 2)[2], [row.split("\t") for row in rows])
        )
    return documents


def _surfaces(*, seen_only: bool = False) -> set[str]:
    """Everything that the library's diseases and chemicals are called, in lower case."""
    fields = build_lexicon(SEED).fields
    names = [
        name
        for field in fields
        for kind in ("disease", "chemical")
        for name in field.names[kind]
        if name.seen or not seen_only
    ]
    fixed = [f"{field.adjective} {noun}" for field in fields for noun in ("disease", "diseases", "disorders")]
    fixed += [field.composite.words for field in fields]
    return {
        words.lower()
        for words in (*(name.text for name in names), *(name.abbreviation for name in names), *fixed)
    } - {""}


def test_equal_seeds_give_equal_bytes_and_another_seed_does_not(
    library: tuple[Path, Manifest], tmp_path: Path
) -> None:
    _, manifest = library
    again = write_synthetic(tmp_path / "again", seed=SEED, abstracts=ABSTRACTS, full_texts=FULL_TEXTS)
    other = write_synthetic(tmp_path / "other", seed=4, abstracts=ABSTRACTS, full_texts=FULL_TEXTS)
    assert again.outputs == manifest.outputs
    same = {name for name, digest in manifest.outputs.items() if other.outputs[name] == digest}
    assert all(name.endswith(("_pmid.tsv", "filelist.csv")) for name in same)


def test_a_finished_library_is_left_alone_and_its_files_are_all_declared(
    library: tuple[Path, Manifest],
) -> None:
    output, manifest = library
    assert (
        write_synthetic(output, seed=SEED, abstracts=ABSTRACTS, full_texts=FULL_TEXTS)
        == manifest
        == read_manifest(output, "synthetic")
    )
    found = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()} - {
        "manifest.json"
    }
    assert found == set(manifest.outputs)
    assert all(sha256_file(output / name) == digest for name, digest in manifest.outputs.items())


@pytest.mark.parametrize(("abstracts", "full_texts"), [(19, 0), (100, 51), (100, -1)])
def test_sizes_that_cannot_be_made_are_refused(tmp_path: Path, abstracts: int, full_texts: int) -> None:
    with pytest.raises(UserError):
        write_synthetic(tmp_path / "raw", abstracts=abstracts, full_texts=full_texts)
    assert not (tmp_path / "raw").exists()


def test_smallest_sizes_work(tmp_path: Path) -> None:
    counts = write_synthetic(tmp_path / "raw", abstracts=20, full_texts=10).counts
    assert counts["baseline"] + counts["new"] == 20 and counts["full_texts"] == 10


def test_pubmed_baseline_holds_the_declared_records(library: tuple[Path, Manifest]) -> None:
    output, manifest = library
    root = _citations(output, "pubmed26n0001.xml.gz")
    records = root.findall("PubmedArticle")
    assert root.tag == "PubmedArticleSet" and len(records) == manifest.counts["baseline"]
    assert [int(record.findtext("MedlineCitation/PMID")) for record in records] == list(
        range(FIRST_PMID, FIRST_PMID + len(records))
    )
    update = _citations(output, "pubmed26n0002.xml.gz").findall("PubmedArticle")
    everything = [
        *records,
        *(r for r in update if int(r.findtext("MedlineCitation/PMID")) >= FIRST_PMID + len(records)),
    ]
    assert (
        sum(record.find(".//Abstract") is None for record in everything)
        == manifest.counts["without_abstract"]
        > 0
    )
    foreign = [record for record in everything if record.findtext(".//Language") != "eng"]
    assert len(foreign) == manifest.counts["not_english"] > 0
    for record in foreign:
        title = "".join(record.find(".//ArticleTitle").itertext())
        assert title.startswith("[") and title.endswith("].") and record.findtext(".//VernacularTitle")
    assert any(
        part.get("NlmCategory") == "RESULTS" and part.get("Label") for part in root.iter("AbstractText")
    )
    assert root.find(".//AbstractText/i") is not None and root.find(".//AbstractText/sup") is not None
    assert all(record.find(".//MeshHeading/DescriptorName") is not None for record in records)


def test_update_file_revises_adds_and_deletes(library: tuple[Path, Manifest]) -> None:
    output, manifest = library
    baseline, root = (
        _texts(_citations(output, "pubmed26n0001.xml.gz")),
        _citations(output, "pubmed26n0002.xml.gz"),
    )
    update = _texts(root)
    revised = [pmid for pmid in update if pmid in baseline]
    deleted = [int(pmid.text or "") for pmid in root.iterfind("DeleteCitation/PMID")]
    assert len(revised) == manifest.counts["revised"] > 0 and all(
        update[pmid] != baseline[pmid] for pmid in revised
    )
    assert len(update) - len(revised) == manifest.counts["new"] > 0
    assert (
        len(deleted) == manifest.counts["deleted"] > 0
        and set(deleted) <= baseline.keys()
        and not set(deleted) & update.keys()
    )


def test_exact_duplicates_are_planted_as_declared_and_no_others(library: tuple[Path, Manifest]) -> None:
    output, manifest = library
    texts = list(_texts(_citations(output, "pubmed26n0001.xml.gz")).values())
    assert len(texts) - len(set(texts)) == manifest.counts["duplicates"] > 0


def test_full_texts_carry_every_part_and_belong_to_their_records(library: tuple[Path, Manifest]) -> None:
    output, _ = library
    (package,) = output.glob("pmc/*.tar.gz")
    table = package.with_name(package.name.replace(".tar.gz", ".filelist.csv"))
    listed = list(csv.DictReader(table.read_text().splitlines()))
    pubmed = _citations(output, "pubmed26n0001.xml.gz")
    linked = {
        i.text: i.getparent().findtext("ArticleId[@IdType='pubmed']")
        for i in pubmed.iterfind(".//ArticleId[@IdType='pmc']")
    }
    with tarfile.open(package) as archive:
        members = archive.getmembers()
        assert [row["Article File"] for row in listed] == [member.name for member in members] and len(
            members
        ) == FULL_TEXTS
        assert {row["AccessionID"]: row["PMID"] for row in listed} == linked
        for member in members:
            article = etree.fromstring(archive.extractfile(member).read())  # type: ignore[union-attr]
            assert [path for path in JATS_PARTS if article.find(path) is None] == []
            targets = {element.get("id") for element in article.iter() if element.get("id")}
            assert {xref.get("rid") for xref in article.iter("xref")} <= targets
            body = " ".join("".join(p.itertext()) for p in article.iterfind("body//sec/p"))
            assert 600 <= len(body.split()) <= 1400


def test_readers_are_told_that_everything_is_invented(library: tuple[Path, Manifest]) -> None:
    output, _ = library
    assert "is invented" in (output / "README.txt").read_text()
    for name in ("pubmed26n0001.xml.gz", "pubmed26n0002.xml.gz"):
        assert all(
            "(synthetic)" in (title.text or "")
            for title in _citations(output, name).iterfind(".//Journal/Title")
        )
    with tarfile.open(next(output.glob("pmc/*.tar.gz"))) as archive:
        for member in archive:
            article = etree.fromstring(archive.extractfile(member).read())  # type: ignore[union-attr]
            assert "(synthetic)" in article.findtext(".//journal-title") and "invented" in article.findtext(
                ".//license-p"
            )


@pytest.mark.parametrize(("directory", "files", "name"), SETS)
def test_pubtator_offsets_point_at_their_words(
    library: tuple[Path, Manifest], directory: str, files: dict[str, str], name: str
) -> None:
    output, manifest = library
    pmids: list[int] = []
    kinds, relations, surfaces = set(), 0, _surfaces()
    for split, file_name in files.items():
        documents = _pubtator(output / "ner" / directory / file_name)
        assert len(documents) == manifest.counts[f"{name}_{split}"]
        for pmid, text, rows in documents:
            pmids.append(pmid)
            end = 0
            for row in rows:
                assert int(row[0]) == pmid
                if row[1] == "CID":
                    relations += 1
                    assert {row[2], row[3]} <= {other[5] for other in rows if other[1] != "CID"}
                    continue
                assert text[int(row[1]) : int(row[2])] == row[3] and int(row[1]) >= end
                assert row[3].lower() in surfaces
                end = int(row[2])
                kinds.add(row[4])
    assert len(set(pmids)) == len(pmids) and min(pmids) >= FIRST_BENCHMARK_PMID > FIRST_PMID + ABSTRACTS
    if name == "bc5cdr":
        assert kinds == {"Chemical", "Disease"} and relations > 20
    else:
        assert kinds == {"SpecificDisease", "Modifier", "DiseaseClass", "CompositeMention"} and relations == 0


def test_most_test_names_are_new_to_the_training_set(library: tuple[Path, Manifest]) -> None:
    output, _ = library
    directory = output / "ner" / "bc5cdr_pubtator"
    train, test = (
        [
            row[3].lower()
            for _, _, rows in _pubtator(directory / CDR_FILES[split])
            for row in rows
            if row[1] != "CID"
        ]
        for split in ("train", "test")
    )
    assert set(train) <= _surfaces(seen_only=True)
    unseen = sum(name not in set(train) for name in test) / len(test)
    assert 0.4 < unseen < 0.8


def test_hallmark_rows_follow_blurb(library: tuple[Path, Manifest]) -> None:
    output, manifest = library
    seen: set[str] = set()
    for split in ("train", "dev", "test"):
        header, *rows = (output / "hoc" / "blurb" / f"{split}.tsv").read_text().splitlines()
        assert header == "labels\tsentence\tindex"
        documents: dict[str, list[tuple[str, str]]] = {}
        for row in rows:
            labels, sentence, index = row.split("\t")
            assert [cell.split("_")[0] for cell in labels.split(",")] == [str(i) for i in range(10)]
            pmid, place = index.split("_s")
            assert int(place) == len(documents.setdefault(pmid, []))
            documents[pmid].append((labels, sentence))
        listed = (output / "hoc" / "blurb" / f"{split}_pmid.tsv").read_text().split(",")
        assert (
            listed == [f"{pmid}.txt" for pmid in documents] and len(listed) == manifest.counts[f"hoc_{split}"]
        )
        assert all(4 <= len(sentences) <= 8 for sentences in documents.values())
        labelled = [any("_1" in labels for labels, _ in sentences) for sentences in documents.values()]
        assert any(labelled) and not all(labelled)
        assert not seen & documents.keys()
        seen |= documents.keys()


def test_every_frame_can_be_written() -> None:
    writer = Writer(build_lexicon(5))
    for style in STYLES:
        for section in table("frames"):
            for frame in frames(section, style):
                topic = writer.topic(random.Random(frame), style=style)
                for _ in range(20):
                    text, mentions = plain_text(writer.sentence(topic, frame))
                    assert text[0].isupper() or text[0].isdigit()
                    assert not re.search(r"[{}>|~\x0e-\x14]| [ .,]|[.]{2}", text), text
                    assert all(text[m.start : m.end].strip() == text[m.start : m.end] != "" for m in mentions)


def test_abstracts_are_as_long_as_real_ones() -> None:
    writer = Writer(build_lexicon(1))
    lengths = [
        len(plain_text(" ".join(writer.paper(writer.topic(random.Random(i))).sentences))[0].split())
        for i in range(300)
    ]
    assert min(lengths) >= 80 and max(lengths) <= 220 and 120 < sum(lengths) / len(lengths) < 170


def test_articles_and_markup_and_offsets_survive_rendering() -> None:
    grammar = Grammar({"thing": "[item]"}, {"n": lambda rng: "18"})
    fill = {"D": mark_mention("ulmitis", "disease", "D1", "Modifier")}.__getitem__
    marked = grammar.sentence("a~ <D> & a~ {thing} beside a~ {n}-year-old, a~ box", fill, random.Random(0))
    text, (mention,) = plain_text(marked)
    assert text == "An ulmitis & an item beside an 18-year-old, a box"
    assert text[mention.start : mention.end] == "ulmitis" and (mention.identifier, mention.role) == (
        "D1",
        "Modifier",
    )
    assert xml_text(marked, italic="i") == text.replace("&", "&amp;")
