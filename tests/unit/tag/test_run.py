"""`biobert-scale tag`: every offset meets its text, in every format, from files and streams, however long the
sentences are."""

from __future__ import annotations

import dataclasses
import gzip
import io
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import pipeline

from biobert_scale.cli import main
from biobert_scale.config import FinetuneConfig
from biobert_scale.errors import UserError
from biobert_scale.evaluation.finetune import finetune
from biobert_scale.evaluation.prepare import prepare
from biobert_scale.evaluation.pubtator import read_pubtator
from biobert_scale.files import read_json, write_json
from biobert_scale.release.finetuned import export_finetuned
from biobert_scale.tag.document import TextDocument
from biobert_scale.tag.documents import read_documents
from biobert_scale.tag.outputs import pubtator_block
from biobert_scale.tag.run import tag_stream
from biobert_scale.tag.tagger import EntityTagger, choose_device, split_words
from tests.factories import FRAMES, NAMES, write_entities, write_hallmarks, write_model

BUDGET = FinetuneConfig(
    learning_rate=1e-3, epochs=12, batch_size=8, max_seq_length=64, dropout=0.0, weight_decay=0.0
)
CPU = torch.device("cpu")
Tag = Callable[..., list[dict[str, Any]]]
XML = """<?xml version="1.0" encoding="UTF-8"?>
<PubmedArticleSet>
<PubmedArticle><MedlineCitation><PMID Version="1">11</PMID><Article><ArticleTitle>Mice with leaf palsy slept.</ArticleTitle>
<Abstract><AbstractText Label="METHODS">We saw Noxal rot and ran home.</AbstractText><AbstractText>No <i>grey</i> fever was seen in cats.</AbstractText></Abstract>
</Article></MedlineCitation></PubmedArticle>
<PubmedArticle><MedlineCitation><PMID Version="1">12</PMID><Article><ArticleTitle>Old goats often had bark ache here.</ArticleTitle></Article></MedlineCitation></PubmedArticle>
<DeleteCitation><PMID Version="1">10</PMID></DeleteCitation>
</PubmedArticleSet>
"""  # noqa: E501


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("benchmarks")
    write_entities(directory / "in" / "entities")
    write_hallmarks(directory / "in" / "hallmarks")
    prepare(directory / "in", directory / "out")
    return directory


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("finetuned")
    model = write_model(directory / "start")
    metrics = finetune(corpus / "out", "NCBI-disease", model, directory / "run", BUDGET, seed=1)
    assert metrics["score"] == 100.0, "the tests below count on a model that knows its names"
    return directory / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> Path:
    export_finetuned(run, run.parent / "export")
    return run.parent / "export"


@pytest.fixture(scope="module")
def tagger(model: Path) -> EntityTagger:
    return EntityTagger(model, CPU)


@pytest.fixture
def tag(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tag:
    """The command in this process, its standard input given, its standard output read as JSON lines."""

    def run(*arguments: str | Path, stdin: str = "") -> list[dict[str, Any]]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin.encode()))))  # type: ignore[arg-type]
        capsys.readouterr()
        assert main(["tag", *map(str, arguments)]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def shell(line: str, *, stdin: str = "") -> subprocess.CompletedProcess[bytes]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "OMP_NUM_THREADS": "1",
        "LC_ALL": "C",
    }
    return subprocess.run(
        ["bash", "-c", f"{sys.executable} -m biobert_scale.cli tag {line}"],
        input=stdin.encode(),
        capture_output=True,
        timeout=300,
        env=environment,
    )


def names(document: dict[str, Any]) -> list[str]:
    for entity in document["entities"]:
        assert (
            document["text"][entity["start"] : entity["end"]] == entity["text"] and 0 < entity["score"] <= 1
        )
    return [entity["text"] for entity in document["entities"]]


def test_standard_input_to_json_lines_with_offsets_that_meet_the_text(model: Path) -> None:
    """In a process of its own, whose locale knows ASCII only."""
    stdin = (
        "Mice with leaf palsy slept.\n\n  Nothing else is told 😀. We saw Moss-eye and ran home. No root gout"
        " was seen in cats.\r\nNothing else is told.\n"
    )
    done = shell(str(model), stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert [document["id"] for document in (first, second, third)] == [
        "1",
        "3",
        "4",
    ], "the numbers of their lines"
    assert second["text"] == stdin.split("\n")[2].rstrip("\r")
    assert (
        names(first) == ["leaf palsy"]
        and {"Moss-eye", "root gout"} <= set(names(second))
        and names(third) == []
    )
    assert first["entities"][0]["type"] == "Disease"


def test_tagging_gives_what_evaluation_predicted_and_pubtator_reads_back(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    original = corpus / "in" / "entities" / "NCBItestset_corpus.txt"
    assert (
        main(
            [
                "tag",
                str(model),
                "--input",
                str(original),
                "--output",
                str(tmp_path / "out.txt"),
                "--format",
                "pubtator",
            ]
        )
        == 0
    )
    gold, _ = read_pubtator(original, frozenset({"SpecificDisease"}))
    given, counts = read_pubtator(tmp_path / "out.txt", frozenset({"Disease"}))
    assert not counts and [document.text for document in given] == [document.text for document in gold]
    spans = [[(mention.start, mention.end) for mention in document.mentions] for document in given]
    assert (
        spans == [[(mention.start, mention.end) for mention in document.mentions] for document in gold]
        and len(spans) == 32
    )


def test_pubmed_xml_gives_title_and_abstract_and_deletions_are_passed_over(
    tag: Tag, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.xml.gz").write_bytes(gzip.compress(XML.encode()))
    first, second = tag(model, "--input", tmp_path / "a.xml.gz")
    assert (
        first["id"] == "11"
        and first["text"]
        == "Mice with leaf palsy slept. METHODS: We saw Noxal rot and ran home. No grey fever was seen in"
        " cats."
    )
    assert names(first) == ["leaf palsy", "Noxal rot", "grey fever"] and names(second) == ["bark ache"]
    assert [names(document) for document in tag(model, stdin=XML)] == [
        names(first),
        names(second),
    ], "standard input is recognised, too"


def test_pubtator_output_of_xml_reads_back(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(XML)
    assert (
        main(
            [
                "tag",
                str(model),
                "--input",
                str(tmp_path / "a.xml"),
                "--output",
                str(tmp_path / "out"),
                "--format",
                "pubtator",
            ]
        )
        == 0
    )
    documents, _ = read_pubtator(tmp_path / "out", frozenset({"Disease"}))
    assert [document.pmid for document in documents] == ["11", "12"] and documents[1].abstract == ""
    assert [[document.text[m.start : m.end] for m in document.mentions] for document in documents] == [
        ["leaf palsy", "Noxal rot", "grey fever"],
        ["bark ache"],
    ]


def test_a_whole_file_is_one_document_whose_offsets_count_in_the_file(
    tag: Tag, model: Path, tmp_path: Path
) -> None:
    text = (
        "Mice with leaf\npalsy slept. We saw grey fever and ran home.\n\nOld goats often had bark\tache here."
    )
    (tmp_path / "a.txt").write_text(text + "\n")
    (document,) = tag(model, "--input", tmp_path / "a.txt", "--input-format", "text")
    assert document["text"].rstrip("\n") == text and names(document) == [
        "leaf\npalsy",
        "grey fever",
        "bark\tache",
    ]
    block = pubtator_block(
        TextDocument(id="1", title=text), EntityTagger(model, CPU).tag([TextDocument(id="1", title=text)])[0]
    )
    (tmp_path / "b").write_text(block)
    (read,), _ = read_pubtator(tmp_path / "b", frozenset({"Disease"}))
    assert [read.text[m.start : m.end] for m in read.mentions] == ["leaf palsy", "grey fever", "bark ache"]


def long_document(sentences: int, *, stop: str) -> TextDocument:
    generator = random.Random(1)
    parts = [
        generator.choice(FRAMES).format(generator.choice(NAMES)).removesuffix(".") for _ in range(sentences)
    ]
    return TextDocument(id="1", title=(stop + " ").join(parts) + ".")


@pytest.mark.parametrize("max_seq_length", [16, 33, 64])
def test_a_sentence_longer_than_the_window_is_tagged_to_its_end(model: Path, max_seq_length: int) -> None:
    document = long_document(60, stop=",")
    assert len(split_words(document)) == 1
    tagger = EntityTagger(model, CPU, max_seq_length=max_seq_length)
    assert len(tagger.prepare([document]).windows) > 3
    (entities,) = tagger.tag([document])
    assert entities == sorted(entities) and all(
        document.text[entity.start : entity.end] == entity.text for entity in entities
    )
    found = {entity.text for entity in entities if entity.start > len(document.text) * 3 // 4}
    assert len(found & set(NAMES)) >= 3, "nothing is found where the windows are the last ones"
    assert all(first.end <= second.start for first, second in itertools.pairwise(entities))


def test_windows_and_batches_of_any_size_give_the_same_entities(model: Path) -> None:
    documents = [
        long_document(3, stop="."),
        TextDocument(id="2", title=""),
        TextDocument(id="3", title="leaf palsy", abstract="Noxal rot."),
        long_document(9, stop="."),
    ]
    given = [EntityTagger(model, CPU, batch_tokens=size).tag(documents) for size in (1, 64, 8192)]
    plain = [
        [[dataclasses.replace(entity, score=0.0) for entity in entities] for entities in documents]
        for documents in given
    ]
    assert plain[0] == plain[1] == plain[2] and sum(map(len, plain[0])) > 5
    assert [bool(entities) for entities in plain[0]] == [True, False, True, True]
    assert all(
        document.text[entity.start : entity.end] == entity.text
        for document, entities in zip(documents, plain[0], strict=True)
        for entity in entities
    )
    scores = [[entity.score for entities in documents for entity in entities] for documents in given]
    assert scores[0] == pytest.approx(scores[2], abs=1e-5)


def test_tag_and_the_ner_pipeline_find_the_same(model: Path, tagger: EntityTagger) -> None:
    sentences = [
        frame.format(name) for frame in FRAMES for name in (*NAMES, "red palsy", "Noxal-eye fever", "rot")
    ]
    ner: Any = pipeline("ner", model=str(model), aggregation_strategy="first")  # type: ignore[call-overload]
    for sentence, expected, entities in zip(
        sentences, ner(sentences), tagger.tag([TextDocument(id="1", title=s) for s in sentences]), strict=True
    ):
        assert [(e.start, e.end, e.type) for e in entities] == [
            (e["start"], e["end"], e["entity_group"]) for e in expected
        ], sentence
        assert [e.score for e in entities] == pytest.approx([e["score"] for e in expected], abs=1e-4)


def test_several_models_mark_their_own_types_in_one_order(tag: Tag, model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "other")
    config = read_json(model / "config.json")
    write_json(
        tmp_path / "other" / "config.json",
        config | {"id2label": {"0": "O", "1": "B-Chemical", "2": "I-Chemical"}},
    )
    (document,) = tag(
        model, tmp_path / "other", stdin="Mice with leaf palsy slept. We saw Noxal rot and ran home.\n"
    )
    assert [(entity["type"], entity["text"]) for entity in document["entities"]] == [
        ("Chemical", "leaf palsy"),
        ("Disease", "leaf palsy"),
        ("Chemical", "Noxal rot"),
        ("Disease", "Noxal rot"),
    ]


def test_documents_come_out_in_order_before_all_have_come_in(
    tagger: EntityTagger, capsys: pytest.CaptureFixture[str]
) -> None:
    out: list[int] = []

    def documents() -> Any:
        for number in range(150):
            out.append(len(capsys.readouterr().out.splitlines()) if number == 149 else 0)
            yield TextDocument(id=str(number), title="Mice with leaf palsy slept. " * 40)

    counts = tag_stream(documents(), [tagger], Path("-"), "jsonl")
    assert counts.documents == 150 and counts.entities == {"Disease": 150 * 40} and out[-1] > 0, (
        "memory would hold the whole input"
    )


def test_a_run_s_own_directory_serves_as_well(run: Path) -> None:
    (entities,) = EntityTagger(run, CPU).tag([TextDocument(id="1", title="Mice with leaf palsy slept.")])
    assert [entity.text for entity in entities] == ["leaf palsy"]


@pytest.mark.slow
@pytest.mark.fault("the reader of `tag`'s output goes away", "ends quietly")
def test_a_reader_that_stops_ends_the_command_quietly(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("Mice with leaf palsy slept.\n" * 5_000)
    done = shell(f"{model} --input {tmp_path / 'in.txt'} | head -1")
    told = done.stderr.decode()
    assert json.loads(done.stdout)["id"] == "1" and "Traceback" not in told and "BrokenPipe" not in told


class Pipe(io.RawIOBase):
    """Gives one piece a read, as a pipe does whose writer takes its time."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = [piece.encode() for piece in pieces]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self.pieces.pop(0) if self.pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


def test_a_pipe_that_gives_its_first_line_first_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    declaration, newline, rest = XML.partition("\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Pipe(declaration + newline, rest))))
    assert [document.id for document in read_documents(Path("-"))] == ["11", "12"]


@pytest.mark.parametrize(
    ("content", "form", "says"),
    [
        (b"caf\xe9\n", "auto", "not UTF-8"),
        (b"1|t|A title\n2|a|another\n", "auto", ":1; correct the file"),
        (b"a\n", "pubtator", "must begin with"),
        (XML[: len(XML) // 2].encode(), "auto", "breaks off"),
        (gzip.compress(XML.encode(), mtime=0)[:200], "auto", "breaks off"),
        (b'<?xml version="1.0"?>\n<tei/>', "auto", "its root is <tei>"),
        (b"<!doctype html><html><p>Leaf palsy</p></html>", "auto", "its root is <html>"),
    ],
)
@pytest.mark.fault("the input of `tag` is damaged", "one line with its place")
def test_input_that_is_damaged_is_told_with_its_place(
    content: bytes, form: Any, says: str, tmp_path: Path
) -> None:
    (tmp_path / "in").write_bytes(content)
    with pytest.raises(UserError, match=says) as told:
        list(read_documents(tmp_path / "in", form))
    assert "in" in told.value.where


def test_formats_are_told_by_their_first_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(content: str | bytes) -> list[TextDocument]:
        (tmp_path / "in").write_bytes(content.encode() if isinstance(content, str) else content)
        return list(read_documents(tmp_path / "in"))

    assert read("\n\nPMC1|t|A | b\nPMC1|a|c\td\nPMC1\t0\t1\tA\tDisease\tD1\n\n2|t|e\n2|a|") == [
        TextDocument(id="PMC1", title="A | b", abstract="c\td"), TextDocument(id="2", title="e"),
    ]  # fmt: skip
    assert [document.id for document in read("\ufeff" + XML)] == ["11", "12"]
    assert [document.id for document in read(re.sub(r"<PMID[^>]*>11</PMID>", "", XML))] == ["record-1", "12"]
    assert read("\ufefffirst\n\nthird") == [
        TextDocument(id="1", title="first"),
        TextDocument(id="3", title="third"),
    ]
    assert (
        read("") == []
        and read("\n \n") == []
        and read(gzip.compress(b"a line\n")) == [TextDocument(id="1", title="a line")]
    )
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(gzip.compress(XML.encode()))))
    )  # type: ignore[arg-type]
    assert [document.id for document in read_documents(Path("-"))] == ["11", "12"]


def test_words_stand_where_they_say_in_text_of_any_alphabet() -> None:
    generator = random.Random(3)
    alphabet = "aB é\u0301ß-,. \n\t😀中文α1\u00a0\u2009\u200b()"
    for _ in range(300):
        title, abstract = ("".join(generator.choices(alphabet, k=generator.randrange(60))) for _ in range(2))
        document = TextDocument(id="1", title=title, abstract=abstract)
        covered = set()
        for sentence in split_words(document):
            for token, start, end in zip(sentence.tokens, sentence.starts, sentence.ends, strict=True):
                assert document.text[start:end] == token
                covered |= set(range(start, end))
        assert {
            number
            for number, character in enumerate(document.text)
            if not character.isspace() and character != "\u200b"  # the tokenizer does not see it
        } <= covered


def test_real_records_keep_their_words_where_they_are_and_survive_pubtator(
    real_data: Path, tmp_path: Path
) -> None:
    documents = list(read_documents(real_data / "pubmed" / "pubmed_sample_2031_records.xml.gz"))
    assert len(documents) > 2000
    for document in documents:
        for sentence in split_words(document):
            assert all(
                document.text[start:end] == token
                for token, start, end in zip(sentence.tokens, sentence.starts, sentence.ends, strict=True)
            )
    (tmp_path / "out").write_text(
        "".join(pubtator_block(document, []) for document in documents), encoding="utf-8"
    )
    again = list(read_documents(tmp_path / "out"))
    assert [(document.id, document.title, document.text) for document in again] == [
        (document.id, document.title, document.text) for document in documents
    ]


def refusals(model: Path, tmp_path: Path) -> Sequence[tuple[list[str], str]]:
    write_json(
        tmp_path / "labels" / "config.json",
        read_json(model / "config.json") | {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}},
    )
    write_json(
        tmp_path / "encoder" / "config.json",
        read_json(model / "config.json") | {"architectures": ["BertForPreTraining"]},
    )
    write_json(
        tmp_path / "documents" / "config.json",
        read_json(model / "config.json") | {"architectures": ["BertForSequenceClassification"]},
    )
    return [
        (["no/such/model"], "hf download"),
        ([str(tmp_path / "labels")], "labels other than"),
        ([str(tmp_path / "encoder")], "evaluate finetune"),
        ([str(tmp_path / "documents")], "text-classification"),
        ([], "no model"),
        ([str(model), "--input", "missing"], "no such file"),
        ([str(model), "--max-seq-length", "65"], "64 positions"),
        ([str(model), "--batch-tokens", "-1"], "batch-tokens"),
        ([str(model), "--device", "gpu"], "no device 'gpu'"),
        ([str(model), f"{model}/."], "given twice"),
    ]


def test_users_mistakes_are_one_line(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, says in refusals(model, tmp_path):
        capsys.readouterr()
        assert main(["tag", *arguments]) == 2
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("biobert-scale:")]
        assert len(told) == 1 and says in told[0], (arguments, told)
    assert choose_device("cpu") == CPU


@pytest.mark.fault("`tag` fails in the middle", "leaves no output that looks whole")
def test_a_failed_command_leaves_no_output(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"Mice with leaf palsy slept.\n\xff\n")
    (tmp_path / "out").write_text("an earlier result\n")
    assert main(["tag", str(model), "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]) == 2
    assert (tmp_path / "out").read_text() == "an earlier result\n" and len(list(tmp_path.iterdir())) == 2
