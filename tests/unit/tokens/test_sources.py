from __future__ import annotations

from pathlib import Path

import pytest

from biobert_scale.cli import main
from biobert_scale.errors import UserError
from biobert_scale.tokens.sources import SOURCES, SourceRun, read_runs, source_weights, totals, write_runs
from tests.factories import write_tokens

RUNS = [
    SourceRun("medline", 3, 10, 200),
    SourceRun("medline", 1, 2, 30),
    SourceRun("pmc", 2, 60, 1500),
    SourceRun("medline", 5, 9, 100),
]


def test_neighbours_of_one_source_are_one_run(tmp_path: Path) -> None:
    write_runs(tmp_path, RUNS)
    found = read_runs(tmp_path)
    assert found == (SourceRun("medline", 4, 12, 230), RUNS[2], RUNS[3])
    assert totals(found) == {"medline": SourceRun("medline", 9, 21, 330), "pmc": RUNS[2]}


def test_shards_of_an_older_version_have_no_runs(tmp_path: Path) -> None:
    assert read_runs(tmp_path) == () and source_weights(tmp_path, {}) == {}
    with pytest.raises(UserError, match="build the tokens again"):
        source_weights(tmp_path, {"pmc": 1.0})


@pytest.mark.parametrize("content", ["{", '{"a": 1}', '[{"source": "pmc"}]', "[3]", "7"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / SOURCES).write_text(content)
    with pytest.raises(UserError) as refused:
        read_runs(tmp_path)
    assert str(tmp_path / SOURCES) in str(refused.value)


@pytest.mark.parametrize(
    ("wanted", "weights"),
    [
        ({}, {}),
        ({"pmc": 1.0}, {}),
        ({"pmc": 2.0}, {"medline": 1.0, "pmc": 2.0}),
        ({"pmc": 2, "medline": 0.5}, {"medline": 0.5, "pmc": 2.0}),
        # As people call it.
        ({"pubmed": 0.5}, {"medline": 0.5, "pmc": 1.0}),
    ],
)
def test_a_source_that_is_not_named_is_seen_once(
    tmp_path: Path, wanted: dict[str, float], weights: dict[str, float]
) -> None:
    write_runs(tmp_path, RUNS)
    assert source_weights(tmp_path, wanted) == weights


@pytest.mark.parametrize(
    ("wanted", "name"), [({"pcm": 1.0}, "pcm"), ({"pubmed": 1.0, "medline": 2.0}, "pubmed"), ({"": 1.0}, "")]
)
def test_a_name_that_no_document_has_is_refused_with_those_there_are(
    tmp_path: Path, wanted: dict[str, float], name: str
) -> None:
    write_runs(tmp_path, RUNS)
    with pytest.raises(UserError, match=rf"source '{name}'.*medline, pmc") as refused:
        source_weights(tmp_path, wanted)
    assert "\n" not in str(refused.value)


def test_inspect_shows_each_source_and_its_weight(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = write_tokens(tmp_path, documents=90, sources=("medline", "own notes", "own notes"))
    shown = ["tokens", "inspect", str(tokens), "--samples", "0"]
    assert main(shown) == 0
    text = capsys.readouterr().out
    for split in ("train", "validation"):
        for source, run in totals(read_runs(tokens / split)).items():
            (line,) = (line for line in text.splitlines() if line.startswith(f"{split:<12}{source}"))
            assert f"{run.documents:,}" in line and f"{run.tokens:,}" in line and line.endswith("%")
    assert "weight" not in text
    assert main([*shown, "--sources", "own notes", "2.5", "--pretraining-samples", "1"]) == 0
    text = capsys.readouterr().out
    held = totals(read_runs(tokens / "train"))
    share = 2.5 * held["own notes"].tokens / (held["medline"].tokens + 2.5 * held["own notes"].tokens)
    (line,) = (line for line in text.splitlines() if line.startswith("train       own notes"))
    assert line.split()[-2:] == ["2.5", f"{share:.1%}"] and "  from own notes" in text
    assert main([*shown, "--sources", "letters", "2"]) == 2
    assert "hold: medline, own notes" in capsys.readouterr().err
