"""Own text: what is found, how it is divided, and what becomes of it in a corpus."""

from __future__ import annotations

import gzip
import itertools
import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from biobert_scale import cli
from biobert_scale.config import CorpusConfig, OwnTextConfig
from biobert_scale.corpus import own_text
from biobert_scale.corpus.build import build_corpus, documents
from biobert_scale.errors import UserError
from tests.factories import abstract, prose, write_medline

COLUMNS = OwnTextConfig(text_column="note", id_column="number")
ROWS = [{"note": f"{prose(number)} Zebrafish {number}.", "number": f"n{number}"} for number in range(12)]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows in the form that the path's suffix, or its lack, names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    match path.suffixes:
        case [".jsonl"]:
            path.write_bytes(lines)
        case [".jsonl", ".gz"]:
            path.write_bytes(gzip.compress(lines))
        case [".jsonl", ".zst"]:
            path.write_bytes(pa.compress(lines, codec="zstd", asbytes=True))
        case [".parquet"]:
            pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=5)
        case _:
            from datasets import Dataset, DatasetDict

            parts = {"train": Dataset.from_list(rows[:7]), "test": Dataset.from_list(rows[7:])}
            DatasetDict(parts).save_to_disk(str(path))
    return path


def build(tmp_path: Path, path: Path, config: OwnTextConfig = COLUMNS, **settings: Any) -> list[Any]:
    corpus = CorpusConfig(near_duplicate_similarity=2, own={"notes": config}, **settings)
    build_corpus(None, tmp_path / "corpus", corpus, own=[("notes", path)])
    return list(documents(tmp_path / "corpus"))


def counts_of(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "corpus" / "manifest.json").read_text())
    return found


@pytest.mark.parametrize("name", ["a.jsonl", "a.JSONL", "a.jsonl.gz", "a.jsonl.zst", "a.parquet", "saved"])
@pytest.mark.parametrize("piece_bytes", [100, 1_000, 64_000_000])
def test_every_form_gives_the_same_documents_however_it_is_divided(
    tmp_path: Path, name: str, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_text, "_PIECE_BYTES", piece_bytes)
    path = write_rows(tmp_path / name.lower(), ROWS).rename(tmp_path / name)
    found = build(tmp_path, path)
    assert {row["id"]: row["text"] for row in found} == {f"notes:n{n}": ROWS[n]["note"] for n in range(12)}
    assert {row["source"] for row in found} == {"notes"}


def test_small_pieces_are_tasks_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_text, "_PIECE_BYTES", 300)
    for name in ("a.jsonl", "b.parquet"):
        path = write_rows(tmp_path / name, ROWS)
        pieces = own_text.find_own_texts([("notes", path)], {"notes": COLUMNS}).pieces
        assert len(pieces) > 2 and pieces[0].start == 0
        assert all(before.stop == after.start for before, after in itertools.pairwise(pieces))


@pytest.mark.parametrize(("rule", "expected"), [("blank_lines", 3), ("files", 2)])
@pytest.mark.parametrize("piece_bytes", [50, 64_000_000])
def test_documents_of_plain_text(
    tmp_path: Path, rule: Any, expected: int, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_text, "_PIECE_BYTES", piece_bytes)
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text(f"\ufeff{prose(1)}\nOf one.\r\n \n\n{prose(2)}\n")
    (folder / "b.txt").write_text(prose(3))
    found = build(tmp_path, folder, OwnTextConfig(txt_documents=rule, skip=("too_short",)))
    assert len(found) == expected
    assert found[0]["text"].startswith(f"{prose(1)}\nOf one.") and found[-1]["text"] == prose(3)


def test_without_a_column_the_id_follows_from_the_text_alone(tmp_path: Path) -> None:
    first, second = (
        write_rows(tmp_path / name, rows) for name, rows in (("a.jsonl", ROWS), ("b.jsonl", ROWS[::-1]))
    )
    ids = []
    for number, path in enumerate((first, second)):
        rows = build(tmp_path / str(number), path, OwnTextConfig(text_column="note"))
        ids.append({row["id"]: row["text"] for row in rows})
    assert ids[0] == ids[1] and len(ids[0]) == 12


def test_documents_with_one_id_are_all_kept(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [row | {"number": 7} for row in ROWS])
    assert [row["id"] for row in build(tmp_path, path)] == ["notes:7"] * 12


BAD = {
    "encoding": (b'{"note": "Privatissima caf\xe9"}', "line 3 is not UTF-8 .byte 27 of it."),
    "broken": (b'{"note": "Privatissima', "line 3 is no JSON .character"),
    "list": (b'["Privatissima"]', "line 3 is no JSON object"),
    "number": (b'{"note": 5}', "line 3 has a text that is no string"),
    "other columns": (b'{"Privatissima": "x"}', "line 3 has no column 'note'"),
    "id": (b'{"note": "x", "number": ["Privatissima"]}', "line 3 has an id that is neither"),
    "deep": (b'{"note": ' + b"[" * 100_000, "line 3 is no JSON"),
    "empty": (b"", "line 3 is empty"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("piece_bytes", [100, 64_000_000])
def test_a_bad_line_is_named_and_not_quoted(
    tmp_path: Path,
    name: str,
    piece_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(own_text, "_PIECE_BYTES", piece_bytes)
    line, expected = BAD[name]
    path = write_rows(tmp_path / "a.jsonl", ROWS)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], line, *lines[2:]]))
    caplog.set_level(logging.INFO)
    with pytest.raises(UserError, match=expected) as caught:
        build(tmp_path, path)
    assert "Privatissima" not in str(caught.value) + caplog.text
    config = OwnTextConfig(text_column="note", id_column="number", skip=("bad_lines",))
    found = build(tmp_path / "tolerant", path, config)
    assert len(found) == 12 and counts_of(tmp_path / "tolerant")["rejects"] == {"malformed": 1}


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "saved"])
def test_an_unknown_column_is_refused_with_those_that_there_are(tmp_path: Path, name: str) -> None:
    path = write_rows(tmp_path / name, ROWS)
    with pytest.raises(UserError, match=r"no column 'text'; there are note, number.*--own.notes.text-column"):
        build(tmp_path, path, OwnTextConfig())
    assert not (tmp_path / "corpus").exists()


def test_a_file_with_a_bad_line_is_left_out_whole_and_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_text, "_PIECE_BYTES", 100)
    folder = tmp_path / "notes"
    folder.mkdir()
    write_rows(folder / "good.jsonl", ROWS)
    bad = "".join(json.dumps({"note": prose(50 + n)}) + "\n" for n in range(4)) + "no JSON\n" * 2
    (folder / "bad.jsonl").write_text(bad)
    config = CorpusConfig(near_duplicate_similarity=2, own={"notes": COLUMNS})
    build_own = partial(build_corpus, None, tmp_path / "corpus", config, own=[("notes", folder)])
    with pytest.raises(UserError, match="line 5 is no JSON"):
        build_own()
    counts = build_own(max_bad_files=1).counts
    assert (counts["documents"], counts["bad_files"]) == (12, 1)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 999, mtime=0)[:-9], "compressed file breaks off"),
        ("a.jsonl.zst", b"none", "damaged or breaks off"),
        ("a.parquet", b"PAR1none", "damaged or breaks off"),
        ("a.txt", "text".encode("utf-16"), "UTF-16"),
        ("a.csv", b"a,b", "no own text"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_line(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=expected):
        build(tmp_path, tmp_path / name, OwnTextConfig())


def test_source_licence_and_date_columns_reach_the_corpus_and_its_counts(tmp_path: Path) -> None:
    rows = [
        row | {"kind": ["icu", "ward"][n % 2], "terms": ["CC BY", ""][n % 2], "when": f"20{10 + n}-05-01"}
        for n, row in enumerate(ROWS)
    ]
    config = OwnTextConfig(
        text_column="note",
        source_column="kind",
        license_column="terms",
        date_column="when",
        license="in-house",
    )
    found = build(tmp_path, write_rows(tmp_path / "a.jsonl", rows), config, first_year=2012, last_year=2019)
    manifest = counts_of(tmp_path)
    assert [row["source"] for row in found] == ["notes/icu", "notes/ward"] * 4
    assert manifest["counts"]["licenses_by_source"] == {
        "notes/icu": {"CC BY": 4},
        "notes/ward": {"in-house": 4},
    }
    assert manifest["counts"]["rejects_by_source"] == {"notes/icu": {"year": 2}, "notes/ward": {"year": 2}}


def test_a_column_of_texts_is_no_column_of_licences(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", ROWS)
    config = OwnTextConfig(text_column="note", license_column="note")
    with pytest.raises(
        UserError, match=r"line 1 has a licence that is no name .*, and 11 lines after it cannot be read"
    ):
        build(tmp_path, path, config)


@pytest.mark.parametrize(
    ("step", "text", "kept"),
    [
        ("too_short", "A short note on the patient.", "A short note on the patient."),
        ("language", "Der Patient klagt seit gestern " * 6, None),
        ("symbol_heavy", "12 of 34 % the 56 with 78 ; " * 6, None),
        ("invisible", f"{prose(1)} soft\u00adly", f"{prose(1)} soft\u00adly"),
        ("normalize", f"{prose(1)} 5 \u00b5g", f"{prose(1)} 5 \u00b5g"),
    ],
)
def test_each_step_of_cleaning_can_be_left_out(
    tmp_path: Path, step: Any, text: str, kept: str | None
) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"text": text}, {"text": prose(2)}])
    without = build(tmp_path / "without", path, OwnTextConfig(skip=(step,)))
    assert without[0]["text"] == (kept or text.strip())
    usual = build(tmp_path / "usual", path, OwnTextConfig())
    assert usual[0]["text"] != without[0]["text"]


def test_a_text_that_medline_has_is_a_duplicate(tmp_path: Path) -> None:
    write_medline(tmp_path / "raw" / "a.xml.gz", abstract(1, f"{prose(99)} The animals were well."))
    build_corpus(tmp_path / "raw", tmp_path / "only", CorpusConfig())
    (known,) = documents(tmp_path / "only")
    path = write_rows(
        tmp_path / "a.jsonl", [{"text": known["text"]}, *({"text": row["note"]} for row in ROWS)]
    )
    config = CorpusConfig(near_duplicate_similarity=2, own={"notes": OwnTextConfig()})
    manifest = build_corpus(tmp_path / "raw", tmp_path / "both", config, own=[("notes", path)])
    assert manifest.rejects == {"duplicate_text": 1}
    assert manifest.counts["documents_medline"] == 1 and manifest.counts["documents_notes"] == 12


def test_a_recipe_and_the_command_line_set_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = write_rows(tmp_path / "a.jsonl", ROWS[:6]), write_rows(tmp_path / "b.parquet", ROWS[6:])
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'base = "demo"\nname = "own"\n[corpus.own.notes]\ntext_column = "note"\n[corpus.own.more]\n'
    )
    line = ["corpus", "build", "--config", str(recipe), "--own", f"notes={first}", f"--own=more={second}"]
    line += ["--own.more.text-column", "note", "--own.more.no-private", "--output", str(tmp_path / "corpus")]
    assert cli.main(line) == 0
    config = counts_of(tmp_path)["config"]["own"]
    assert {name: (own["text_column"], own["private"]) for name, own in config.items()} == {
        "notes": ("note", True),
        "more": ("note", False),
    }
    assert (
        cli.main(["corpus", "build", "--config", str(recipe), "--own", f"notes={first}", "--output", "x"])
        == 2
    )
    assert "add --own more=PATH" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["pmc", "PubMed", "a b", "a/b", "1"])
def test_a_source_has_a_name_of_its_own(name: str) -> None:
    with pytest.raises(UserError, match="no source can be named"):
        CorpusConfig(own={name: OwnTextConfig()})
