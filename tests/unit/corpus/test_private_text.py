"""Private text enters no output that people see or publish, unless they ask for it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from biobert_scale import cli
from biobert_scale.corpus.build import documents
from biobert_scale.files import Manifest, describe_inputs
from biobert_scale.release.history import read_corpus
from tests.factories import abstract, prose, write_medline

SECRETS = ("Privatissima", "MRN77", "privatissima")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of public and private documents, its vocabulary and its tokens."""
    run = tmp_path_factory.mktemp("private")
    write_medline(
        run / "raw" / "a.xml.gz", *(abstract(n, prose(n) + " It was well. " * 3) for n in range(1, 40))
    )
    rows = [{"text": f"Privatissima {n} {prose(n)} It ended.", "id": f"MRN77-{n}"} for n in range(40)]
    rows.append({"text": f"Privatissima sat down. {prose(1)} {TEST_DOCUMENT}", "id": "MRN77-40"})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (run / "notes.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (run / "prepared").mkdir()
    (run / "prepared" / "manifest.json").write_text("{}")
    known = {"benchmark": "B", "split": "test", "pmid": "", "text": TEST_DOCUMENT}
    (run / "prepared" / "documents.jsonl").write_text(json.dumps(known) + "\n")
    call("corpus build --raw {0}/raw --own notes={0}/notes.jsonl.gz --own.notes.id-column id", run, "corpus")
    return run


TEST_DOCUMENT = (
    "the seventh test document says that zinc and iron in the blood of mice rise together at night"
)
COMMON = "--near-duplicate-similarity 2 --decontaminate {0}/prepared"


def call(line: str, run: Path, output: str = "") -> None:
    words = f"{line} {COMMON} --output {run}/{output}" if output else line
    assert cli.main(words.format(run).split()) == 0


def test_corpus_inspect_shows_private_documents_only_when_asked(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("corpus inspect {0}/corpus --samples 100", whole)
    shown = capsys.readouterr().out
    assert not any(secret in shown for secret in SECRETS) and "private, shown with --show-private" in shown
    call("corpus inspect {0}/corpus --samples 100 --show-private", whole)
    assert "Privatissima" in capsys.readouterr().out


def test_the_list_of_benchmark_documents_names_the_source_alone(whole: Path) -> None:
    listed = (whole / "corpus" / "benchmark-documents.jsonl").read_text()
    assert json.loads(listed)["id"] == "notes" and not any(secret in listed for secret in SECRETS)


def test_vocabulary_and_tokens_show_no_private_text(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = "--corpus {0}/corpus --output {0}/"
    call(f"tokens vocabulary {at}vocabulary --size 300", whole)
    call(f"tokens build {at}tokens --vocabulary {{0}}/vocabulary --validation-fraction 0.3", whole)
    inspect = "tokens inspect {0}/tokens --samples 1000 --pretraining-samples 50"
    call(inspect, whole)
    printed = "".join(capsys.readouterr())
    files = "".join(path.read_text() for path in (whole / "vocabulary").iterdir() if path.is_file())
    assert not any(secret in printed + files for secret in SECRETS)
    assert "notes:" not in printed and "sample " not in printed.rpartition("private, shown")[2]
    call(f"{inspect} --show-private", whole)
    assert "notes:MRN77" in capsys.readouterr().out


def test_a_wholly_private_vocabulary_has_a_report_without_words(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("corpus build --own notes={0}/notes.jsonl.gz", whole, "alone")
    call("tokens vocabulary --corpus {0}/alone --output {0}/alone-vocabulary --size 300", whole)
    report = (whole / "alone-vocabulary" / "report.json").read_text()
    printed = "".join(capsys.readouterr())
    assert not any(secret in report + printed for secret in SECRETS) and "from private text alone" in printed


def test_a_card_counts_by_source_and_licence_and_names_no_file_of_own_text(whole: Path) -> None:
    inputs = describe_inputs([whole / "corpus"])
    tokens = Manifest(stage="tokens", key="", inputs=inputs, config=None, counts={})
    found = read_corpus(whole / "corpus", tokens)
    assert {(part.source, part.license) for part in found.parts} == {("medline", ""), ("notes", "")}
    assert found.raw_files == ["a.xml.gz"] and len(found.manifest.inputs) == 3
    assert any(row["id"].startswith("notes:MRN77") for row in documents(whole / "corpus"))
