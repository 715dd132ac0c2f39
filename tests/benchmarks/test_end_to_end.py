from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.end_to_end.page import clock, end_to_end_figure, end_to_end_page, first_reached
from biobert_scale.corpus.synthetic import write_synthetic
from biobert_scale.files import write_json
from biobert_scale.recipes import load_config
from tests.factories import ONE_MICRO_BATCH

STAGE = {"cpu_seconds": 1.0, "peak_memory_bytes": 5e8}
STEPS = 6


def side(name: str, *losses: float, seconds: float) -> Any:
    """A side whose stages take 2, 3 and 5 seconds, whose training starts in 10, and whose validations are
    `seconds` of training apart."""
    stages: dict[str, Any] = {
        stage: {**STAGE, "seconds": taken}
        for stage, taken in (("corpus", 2.0), ("vocabulary", 3.0), ("tokens", 5.0))
    }
    stages["training"] = {**STAGE, "seconds": 99.0, "start_seconds": 10.0}
    curve = [
        {"global_step": 4 * number, "training_seconds": seconds * number, "validation/mlm_loss": loss}
        for number, loss in enumerate(losses)
    ]
    return {
        "name": name,
        "stages": stages,
        "documents": 70,
        "curve": curve,
        "training_seconds": seconds * (len(losses) - 1),
        "real_tokens": 9000,
        "blocks_loss": 3.5,
    }


def test_a_loss_is_reached_at_the_first_validation_that_shows_it() -> None:
    found = side("ours", 8.0, 6.0, 4.0, 5.0, 3.0, seconds=7.0)
    assert clock(found, found["curve"][0]) == 20.0, (
        "the validations, the saving or the whole process were counted"
    )
    assert first_reached(found, 4.5) == (34.0, 8), "a later rise takes nothing back"
    assert first_reached(found, 4.0) == (34.0, 8) and first_reached(found, 3.9) == (48.0, 16)
    assert first_reached(found, 8.0) == (20.0, 0) and first_reached(found, 2.9) is None


@pytest.mark.parametrize("repeats", [1, 2])
def test_the_page_has_both_sides_and_when_each_reached_the_loss(repeats: int) -> None:
    rounds = [
        [side("ours", 8.0, 6.0, 4.0, seconds=10.0 + number), side("theirs", 8.0, 7.0, 5.0, seconds=30.0)]
        for number in range(repeats)
    ]
    result: Any = {
        "date": "2026-01-02",
        "machine": {"cpu": "a CPU", "cores": 2, "system": "Linux"},
        "device": "CPU",
        "load_before": 0.5,
        "versions": {"torch": "1"},
        "command": "a command",
        "recipe_dtype": "bf16",
        "files": {"files": 3, "records": 100, "left_out": 4},
        "loss": 5.0,
        "loss_given": False,
        "rounds": rounds,
    }
    text = end_to_end_page(result, load_config("demo-real"), figure="a.png")
    assert "- theirs: after 80.0 s, at step 8" in text and "not reached" not in text
    assert f"- ours: after {40.0 if repeats == 1 else 41.0} s" in text and (
        "| 40.0 | 80.0 |" in text if repeats == 1 else "| 41.0 (40.0 to 42.0) | 80.0 (80.0 to 80.0) |" in text
    )
    assert end_to_end_figure(result).startswith(b"\x89PNG")
    assert f"- theirs: not reached in {repeats} of {repeats} runs" in end_to_end_page(
        result | {"loss": 4.5}, load_config("demo-real"), figure="a.png"
    )


def test_records_that_stop_the_peer_are_left_out_for_both(tmp_path: Path) -> None:
    pytest.importorskip("pubmed_parser")
    from benchmarks.corpus.stage import serialised_records
    from benchmarks.end_to_end.table import read_by_both

    record = (
        "<PubmedArticle><MedlineCitation><PMID"
        " Version='1'>{}</PMID><Article><Journal><JournalIssue><PubDate><Year>2001</Year></PubDate>"
        "</JournalIssue></Journal><ArticleTitle>A"
        " title</ArticleTitle></Article></MedlineCitation></PubmedArticle>"
    )
    (tmp_path / "raw").mkdir()
    # A record without a citation stops it.
    records = [
        record.format(number) if number != 5 else "<PubmedArticle><PubmedData/></PubmedArticle>"
        for number in range(8)
    ]
    with gzip.open(tmp_path / "raw" / "pubmed26n0001.xml.gz", "wt") as stream:
        stream.write("<PubmedArticleSet>" + "".join(records) + "</PubmedArticleSet>")
    assert read_by_both(tmp_path / "raw", tmp_path / "both") == {"files": 1, "records": 7, "left_out": 1}
    (written,) = (tmp_path / "both").iterdir()
    assert [
        f">{number}<".encode() in found
        for number, found in zip((0, 1, 2, 3, 4, 6, 7), serialised_records(written), strict=True)
    ] == [True] * 7


@pytest.mark.slow
def test_both_go_the_whole_way_on_the_made_up_literature(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pubmed_parser")
    write_synthetic(tmp_path / "raw", abstracts=150, full_texts=5)
    training = {
        **ONE_MICRO_BATCH["training"],
        "schedule": {"warmup_steps": 2, "total_steps": STEPS},
        "engine": {"name": "ddp"},
    }
    write_json(
        tmp_path / "tiny.json",
        {
            **ONE_MICRO_BATCH,
            "training": training,
            "vocabulary": {"size": 600},
            "tokens": {"validation_fraction": 0.1},
        },
    )
    assert (
        main(
            [
                "end-to-end",
                "--raw",
                str(tmp_path / "raw" / "pubmed"),
                "--output",
                str(tmp_path / "out"),
                "--config",
                str(tmp_path / "tiny.json"),
            ]
        )
        == 0
    )
    (page,), (picture,) = (
        (tmp_path / "out").glob("end-to-end-*.md"),
        (tmp_path / "out").glob("end-to-end-*.png"),
    )
    result = json.loads(page.with_suffix(".json").read_text())
    ((ours, peers),) = result["rounds"]
    assert (
        f"({picture.name})" in page.read_text()
        and page.read_text().strip() in capsys.readouterr().out
        and str(tmp_path) not in page.read_text()
    )
    for each in (ours, peers):
        assert [point["global_step"] for point in each["curve"]] == list(range(STEPS + 1))
        assert (
            0
            < each["stages"]["training"]["start_seconds"]
            < each["stages"]["training"]["seconds"] - each["training_seconds"]
        )
        assert all(stage["peak_memory_bytes"] > 5e7 for stage in each["stages"].values())
        assert each["blocks_loss"] == pytest.approx(each["curve"][-1]["validation/mlm_loss"], rel=0.1)
        assert first_reached(each, result["loss"]) is not None
    assert ours["curve"][0]["validation/mlm_loss"] == pytest.approx(
        peers["curve"][0]["validation/mlm_loss"], abs=0.02
    ), "other weights or other samples"
    assert (
        ours["curve"][-1]["validation/mlm_loss"] < ours["curve"][0]["validation/mlm_loss"] - 0.1
        and peers["curve"][-1]["validation/mlm_loss"] < peers["curve"][0]["validation/mlm_loss"] - 0.1
    )
    assert (
        peers["real_tokens"] == STEPS * 16 * 64 > ours["real_tokens"]
        and ours["documents"] > 100 < peers["documents"]
    )


def test_a_mistake_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pubmed_parser")
    assert main(["end-to-end", "--raw", str(tmp_path / "missing"), "--output", str(tmp_path / "out")]) == 2
    assert "no such directory" in capsys.readouterr().err
    assert (
        main(
            [
                "end-to-end",
                "--raw",
                str(tmp_path),
                "--output",
                str(tmp_path / "out"),
                "--steps",
                "-1",
            ]
        )
        == 2
    )
    assert not (tmp_path / "out").exists()
