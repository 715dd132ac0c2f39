from __future__ import annotations

import json

import pytest

from biobert_scale.errors import UserError
from biobert_scale.evaluation.prepare import prepare
from biobert_scale.evaluation.prepared import (
    read_annotated,
    read_gold,
    read_rows,
    read_sentences,
)
from biobert_scale.evaluation.pubtator import AnnotatedDocument, Mention, read_pubtator
from biobert_scale.evaluation.readers import HALLMARK_HEADER, read_hallmarks
from biobert_scale.evaluation.tagging import document_spans, tag_document
from biobert_scale.evaluation.tasks.spec import known_tasks

KINDS = frozenset({"Chemical", "Disease"})
ENTITY_TASKS = ("BC5CDR-chem", "BC5CDR-disease", "NCBI-disease")
NCBI = ("NCBItrainset_corpus.txt", "NCBIdevelopset_corpus.txt", "NCBItestset_corpus.txt")


def pubtator(pmid, title, abstract, *names, kind="Chemical"):
    text = f"{title} {abstract}"
    rows = [
        f"{pmid}\t{text.index(name)}\t{text.index(name) + len(name)}\t{name}\t{kind}\tD1\n" for name in names
    ]
    return f"{pmid}|t|{title}\n{pmid}|a|{abstract}\n{''.join(rows)}\n"


def document(title, abstract, *names):
    text = f"{title} {abstract}"
    mentions = [
        Mention(start=text.index(name), end=text.index(name) + len(name), kind="Disease", composite=False)
        for name in names
    ]
    return AnnotatedDocument(pmid="1", title=title, abstract=abstract, mentions=tuple(mentions)), mentions


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def hallmarks(*labels):
    return ",".join(f"{number}_{int(number in labels)}" for number in range(10))


def test_offsets_that_do_not_meet_their_text_are_refused_with_the_line(tmp_path):
    text = pubtator(7, "Fictitol calms.", "Mice slept after fictitol.", "Fictitol")
    path = write(tmp_path / "a.txt", text.replace("\t0\t8\t", "\t1\t9\t"))
    with pytest.raises(UserError, match=r"a\.txt:3"):
        read_pubtator(path, KINDS)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("7|t|One.\n8|a|Two.\n", 1),
        ("7|t|One.\n", 1),
        ("7|t|One.\n7|a|Two.\n7\t0\t3\tOne\tPlanet\tD1\n", 3),
        ("7|t|One.\n7|a|Two.\n7\t0\t3\tOne\n", 3),
        ("7|t|One.\n7|a|Two.\n7\tx\t3\tOne\tDisease\tD1\n", 3),
        ("7|t|One.\n7|a|Two.\n\n7|t|One.\n7|a|Other.\n", 4),
        ("7|t|One.\n7|a|Two.\n\n7|t|One.\n7|a|Two.\n7\t0\t3\tOne\tDisease\tD1\n", 4),
    ],
)
def test_malformed_pubtator_is_refused_with_the_line(tmp_path, text, line):
    with pytest.raises(UserError, match=rf"b\.txt:{line}"):
        read_pubtator(write(tmp_path / "b.txt", text), KINDS)


def test_a_document_that_stands_twice_is_taken_once_and_counted(tmp_path):
    text = pubtator(7, "Fictitol calms.", "Mice slept.", "Fictitol")
    documents, counts = read_pubtator(write(tmp_path / "c.txt", text + text), KINDS)
    assert len(documents) == 1 and counts["duplicate_documents"] == 1 == counts["duplicate_mentions"]
    documents, _ = read_pubtator(write(tmp_path / "bom.txt", "\ufeff" + text), KINDS)
    assert documents[0].title == "Fictitol calms."


def test_windows_line_ends_and_odd_separators_do_not_move_offsets(tmp_path):
    text = pubtator(7, "A\u2028B fictitol.", "Caf\u00e9 noxal \r came.", "fictitol", "noxal").replace(
        "\n", "\r\n"
    )
    documents, _ = read_pubtator(write(tmp_path / "d.txt", text), KINDS)
    assert [documents[0].text[m.start : m.end] for m in documents[0].mentions] == ["fictitol", "noxal"]


def test_tags_lead_back_to_the_same_characters():
    abstract = "Severe palsy (GLP-2) came first. No ataxia was seen."
    annotated, mentions = document("Grey-leaf palsy in mice.", abstract, "Grey-leaf palsy", "GLP-2", "ataxia")
    sentences, counts = tag_document(annotated, mentions)
    found = set().union(*(document_spans(sentence, sentence.tags) for sentence in sentences))
    assert {annotated.text[start:end] for start, end in found} == {"Grey-leaf palsy", "GLP-2", "ataxia"}
    assert counts["sentences"] == 3 and counts["mentions_lost_by_tagging"] == 0
    for sentence in sentences:
        assert [
            annotated.text[a:b] for a, b in zip(sentence.starts, sentence.ends, strict=True)
        ] == sentence.tokens


def test_what_tags_cannot_express_is_counted_and_not_lost():
    abstract = "Left and right arm tremor. Ca2 rose with foot ache. And knee pain."
    annotated, mentions = document(
        "Palsy.", abstract, "Left and right arm tremor", "arm tremor", "Ca", "ache. And knee"
    )
    sentences, counts = tag_document(annotated, mentions)
    assert counts["mentions"] == 4 and counts["overlapping_mentions"] == 1
    assert counts["mentions_inside_words"] == 1 and counts["mentions_across_sentences"] == 1
    assert counts["mentions_lost_by_tagging"] == 3
    for sentence in sentences:
        assert all(
            tag != "I" or before != "O"
            for before, tag in zip(["O", *sentence.tags], sentence.tags, strict=False)
        )


def test_adjacent_mentions_stay_two():
    annotated, mentions = document("None.", "Noxal fictitol mixture.", "Noxal", "fictitol")
    assert tag_document(annotated, mentions)[0][1].tags == ["B", "B", "O", "O"]


def test_hallmark_rows_become_documents_and_quotes_are_text(tmp_path):
    rows = [
        f'{hallmarks()}\tA "quoted start.\t5_s0',
        f"{hallmarks(2, 7)}\tCells died.\t5_s1",
        f"{hallmarks(2)}\tOther.\t6_s0",
    ]
    path = write(tmp_path / "train.tsv", "\n".join([HALLMARK_HEADER, *rows]) + "\n")
    first, second = read_hallmarks(path)
    assert (
        first.sentences == ['A "quoted start.', "Cells died."]
        and first.labels == [2, 7]
        and first.sentence_labels == [[], [2, 7]]
    )
    assert second.labels == [2]
    write(tmp_path / "train_pmid.tsv", "5.txt,9.txt")
    with pytest.raises(UserError, match="1 listed documents are missing and 1 are not listed"):
        read_hallmarks(path)


@pytest.mark.parametrize(
    ("labels", "rest"),
    [
        ("0_0,1_0", "\tText.\t5_s0"),
        (hallmarks(1), "\tText."),
        (hallmarks(1), "\tText.\t5_s1"),
        (hallmarks(1), "\t\t5_s0"),
        (hallmarks(1).replace("3_0", "3_2"), "\tText.\t5_s0"),
    ],
)
def test_malformed_hallmark_rows_are_refused_with_the_line(tmp_path, labels, rest):
    with pytest.raises(UserError, match=r"h\.tsv:2"):
        read_hallmarks(write(tmp_path / "h.tsv", f"{HALLMARK_HEADER}\n{labels}{rest}\n"))


def made_up_set(directory):
    for number, name in enumerate(NCBI):
        first = pubtator(
            10 + number,
            "Leaf palsy.",
            "Mice with leaf rot recovered.",
            "Leaf palsy",
            "leaf rot",
            kind="SpecificDisease",
        )
        write(directory / "ncbi" / name, first + pubtator(20 + number, "Nothing.", "No disorder here."))
    return directory


def test_prepare_writes_gold_of_every_document_and_runs_once(tmp_path):
    source = made_up_set(tmp_path / "in")
    manifest = prepare(source, tmp_path / "out")
    assert (
        manifest.counts["NCBI-disease"]["test"]["mentions"] == 2
        and manifest.counts["NCBI-disease"]["published"] is False
    )
    assert read_gold(tmp_path / "out", "NCBI-disease", "test") == {"12": {(0, 10), (22, 30)}, "22": set()}
    assert [s.pmid for s in read_sentences(tmp_path / "out", "NCBI-disease", "dev")] == [
        "11",
        "11",
        "21",
        "21",
    ]
    before = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    assert (
        prepare(source, tmp_path / "out").key == manifest.key
        and (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == before
    )
    with pytest.raises(UserError, match="no task 'BC5CDR-chem'"):
        read_sentences(tmp_path / "out", "BC5CDR-chem", "test")


def test_a_document_in_two_splits_is_refused(tmp_path):
    source = made_up_set(tmp_path / "in")
    with open(source / "ncbi" / NCBI[2], "a") as stream:
        stream.write(pubtator(10, "Leaf palsy.", "Again."))
    with pytest.raises(UserError, match="both train and test, the first being 10"):
        prepare(source, tmp_path / "out")


@pytest.mark.fault("the preparation of a benchmark fails", "the next one starts clean")
def test_a_failed_preparation_bars_nobody(tmp_path):
    source = made_up_set(tmp_path / "in")
    right = (source / "ncbi" / NCBI[2]).read_text()
    (source / "ncbi" / NCBI[2]).write_text(
        right.replace("Leaf palsy\tSpecificDisease", "Root palsy\tSpecificDisease")
    )
    with pytest.raises(UserError, match="Root palsy"):
        prepare(source, tmp_path / "out")
    (source / "ncbi" / NCBI[2]).write_text(right)
    prepare(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("task", "path", "kept"),
    [
        ("NCBI-disease", "ner/ncbi_disease_pubtator/NCBItestset_corpus.txt", "\n\n"),
        ("BC5CDR-disease", "ner/iob/BC5CDR-disease/devel.tsv", "\n\n"),
        ("HoC", "hoc/blurb/train.tsv", "\n"),
    ],
)
@pytest.mark.parametrize("end", ["first", "last"])
def test_a_published_set_that_is_not_all_there_is_refused(real_data, tmp_path, task, path, kept, end):
    """Scores on 99 of 100 test documents are nobody's benchmark."""
    (tmp_path / "in" / "a").mkdir(parents=True)
    home = tmp_path / "in" / "a" / (real_data / path).parent.name
    home.mkdir()
    for file in (real_data / path).parent.iterdir():
        if "_pmid" not in file.name:
            (home / file.name).write_bytes(file.read_bytes())
    blocks = (home / path.rpartition("/")[2]).read_text().strip("\n").split(kept)
    if task == "HoC":
        pmid = blocks[-1 if end == "last" else 1].split("\t")[2].partition("_")[0]
        blocks = [block for block in blocks if f"\t{pmid}_s" not in block]
    else:
        blocks = blocks[:-1] if end == "last" else blocks[1:]
    (home / path.rpartition("/")[2]).write_text(kept.join(blocks) + kept)
    with pytest.raises(UserError, match=rf"where the published set has.*: {task}"):
        prepare(tmp_path / "in", tmp_path / "out")


def test_missing_splits_and_empty_directories_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no benchmark"):
        prepare(tmp_path / "empty", tmp_path / "out")
    source = made_up_set(tmp_path / "in")
    (source / "ncbi" / NCBI[1]).unlink()
    with pytest.raises(UserError, match="a split is missing"):
        prepare(source, tmp_path / "out")


def test_iob2_serves_where_the_original_is_absent(tmp_path):
    for name in ("train", "devel", "test"):
        write(tmp_path / "in" / "BC5CDR-chem" / f"{name}.tsv", "Noxal\tB-Chemical\nhelped\tO\n\n")
    prepare(tmp_path / "in", tmp_path / "out")
    assert read_gold(tmp_path / "out", "BC5CDR-chem", "dev") == {"s0": {(0, 5)}}


def test_the_published_sets_have_their_published_counts(real_data, tmp_path):
    manifest = prepare(real_data, tmp_path, tasks=(*ENTITY_TASKS, "HoC"))
    counts = manifest.counts
    assert all(counts[task]["published"] for task in (*ENTITY_TASKS, "HoC"))
    columns = {
        task: [counts[task][split]["mentions"] for split in ("train", "dev", "test")] for task in ENTITY_TASKS
    }
    assert columns == {
        "BC5CDR-chem": [5203, 5347, 5385],
        "BC5CDR-disease": [4182, 4244, 4424],
        "NCBI-disease": [5134, 787, 960],
    }
    assert sum(columns["BC5CDR-chem"]) == 15935 and sum(columns["BC5CDR-disease"]) == 12850
    ncbi = counts["NCBI-disease"]
    assert ncbi["train"]["documents"] == 592 and manifest.rejects == {"duplicate_documents": 1}
    raw = [
        ncbi[split]["mentions"] + ncbi[split].get("duplicate_mentions", 0)
        for split in ("train", "dev", "test")
    ]
    assert raw == [5145, 787, 960] and sum(raw) == 6892, (
        "as the files have them, the document that stands twice counted twice"
    )
    discontinuous = [
        [counts[task][split]["discontinuous_mentions"] for split in ("train", "dev", "test")]
        for task in ("BC5CDR-chem", "BC5CDR-disease")
    ]
    assert discontinuous == [[2, 2, 4], [59, 36, 28]]
    assert [len(read_rows(tmp_path, known_tasks()["HoC"], split)) for split in ("train", "dev", "test")] == [
        1295,
        186,
        371,
    ]
    assert sum(counts["HoC"][split]["unlabelled_documents"] for split in ("train", "dev", "test")) == 272
    for task in ENTITY_TASKS:
        lost = sum(counts[task][split]["mentions_lost_by_tagging"] for split in ("train", "dev", "test"))
        assert lost <= 0.001 * sum(columns[task])
    assert json.loads((tmp_path / "manifest.json").read_text())["stage"] == "benchmarks"


@pytest.mark.parametrize("header", ["index\tsentence\tlabels", "index\tsentence1\tsentence2\tlabel"])
def test_the_blue_layout_with_names_is_read_as_the_blurb_layout_with_flags(tmp_path, header):
    rows = [
        "5_s0\tCells died.\tresisting cell death,inducing angiogenesis",
        "5_s1\tOther.\t",
        f"6_s0\tMore.\t{hallmarks(2)}",
    ]
    first, second = read_hallmarks(write(tmp_path / "train.tsv", "\n".join([header, *rows]) + "\n"))
    assert (
        first.sentences == ["Cells died.", "Other."]
        and first.sentence_labels == [[6, 7], []]
        and second.labels == [2]
    )
    with pytest.raises(UserError, match=r"u\.tsv:2"):
        read_hallmarks(write(tmp_path / "u.tsv", f"{header}\n5_s0\tCells died.\tno such hallmark\n"))


def test_the_two_hoc_sets_are_two_tasks(tmp_path):
    for split in ("train", "dev", "test"):
        number = {"train": 1, "dev": 2, "test": 3}[split]
        write(
            tmp_path / "in" / "hoc" / f"{split}.tsv",
            f"{HALLMARK_HEADER}\n{hallmarks()}\tNothing.\t{number}_s0\n",
        )
        write(
            tmp_path / "in" / "other" / f"{split}.tsv",
            f"index\tsentence\tlabels\n{number}_s0\tCells died.\tresisting cell death\n",
        )
    counts = prepare(tmp_path / "in", tmp_path / "out").counts
    assert (
        list(counts) == ["HoC", "HoC-BLUE"]
        and counts["HoC-BLUE"]["test"]["labels"] == 1
        and counts["HoC"]["test"]["labels"] == 0
    )
    assert read_rows(tmp_path / "out", known_tasks()["HoC-BLUE"], "test")[0].label == ["resisting cell death"]


def test_a_set_with_the_published_number_of_documents_and_other_counts_is_refused(tmp_path):
    first = 0
    published = known_tasks()["HoC"].sources[0].counts
    assert published is not None
    for split, documents in zip(("train", "dev", "test"), published.documents, strict=True):
        rows = [f"{hallmarks(1)}\tText.\t{first + number}_s0" for number in range(documents)]
        write(tmp_path / "in" / f"{split}.tsv", "\n".join([HALLMARK_HEADER, *rows]) + "\n")
        first += documents
    with pytest.raises(
        UserError, match=r"1,295 documents \(or sentences\) with 0 unlabelled documents in train"
    ):
        prepare(tmp_path / "in", tmp_path / "out")


def test_gold_keeps_kinds_composites_and_the_whole_text(tmp_path):
    prepare(made_up_set(tmp_path / "in"), tmp_path / "out")
    document = next(d for d in read_annotated(tmp_path / "out", "NCBI-disease", "test") if d.mentions)
    assert document.text == "Leaf palsy. Mice with leaf rot recovered." and {
        m.kind for m in document.mentions
    } == {"SpecificDisease"}
