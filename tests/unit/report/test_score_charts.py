from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lxml.etree
import lxml.html
import numpy as np
import pytest

from biobert_scale.errors import UserError
from biobert_scale.evaluation.baselines import run_baselines
from biobert_scale.evaluation.metrics.bootstrap import bootstrap_interval, paired_bootstrap, score_of
from biobert_scale.evaluation.prepare import prepare
from biobert_scale.evaluation.scores import Counts
from biobert_scale.evaluation.table import render_table, score_table, steps_curve, write_table
from biobert_scale.files import finish_stage, write_json
from biobert_scale.report.errors import write_errors
from biobert_scale.report.score_charts import score_bars, score_steps
from tests.factories import CHROMIUM, screenshot, write_entities, write_hallmarks


def write_run(directory: Path, counts: list[Counts], **changes: Any) -> None:
    """A finished run of NCBI-disease with these documents."""
    directory.mkdir(parents=True)
    rows = [
        json.dumps({"pmid": str(number), "tp": c.tp, "fp": c.fp, "fn": c.fn}) + "\n"
        for number, c in enumerate(counts)
    ]
    (directory / "documents.jsonl").write_text("".join(rows))
    whole = {"precision": 50.0, "recall": 50.0, "f1": score_of(counts)}
    values = {
        "task": "NCBI-disease",
        "protocol": "blurb",
        "score_name": "entity F1",
        "measure": "micro",
        "kind": "pre-trained",
        "model": "export",
        "model_fingerprint": "a",
        "seed": 1,
        "score": score_of(counts),
        "scores": {"conlleval": whole},
        "interval_95": [0.0, 1.0],
        "published_data": False,
        "config": {},
        "data": {"test.jsonl": "x"},
        "seconds": 1.0,
        "pretraining_step": 100,
    }
    write_json(directory / "metrics.json", values | changes)
    finish_stage(
        directory,
        stage="finetune",
        key="k",
        inputs=[],
        config={},
        counts={},
        outputs=[directory / "metrics.json"],
    )


def counts_of(generator: np.random.Generator, better: int = 0, documents: int = 40) -> list[Counts]:
    return [
        Counts(int(tp) + better, int(fp), max(int(fn) - better, 0))
        for tp, fp, fn in generator.integers(0, 6, (documents, 3))
    ]


def test_rows_have_the_interval_of_their_mean_and_the_best_is_compared_with_all(tmp_path):
    good = [counts_of(np.random.default_rng(seed), better=3) for seed in (1, 2, 3)]
    weak = [counts_of(np.random.default_rng(seed)) for seed in (1, 2, 3)]
    for seed in range(3):
        write_run(tmp_path / f"good-{seed}", good[seed], seed=seed)
        write_run(tmp_path / f"weak-{seed}", weak[seed], seed=seed, kind="random weights", pretraining_step=0)
    table = score_table(tmp_path)
    first, second = table["rows"]
    assert first["mean"] == pytest.approx(np.mean([score_of(run) for run in good])) and first[
        "sd"
    ] == pytest.approx(np.std([score_of(run) for run in good], ddof=1))
    assert first["interval_95"] == list(bootstrap_interval(*good)) and second["kind"] == "random weights"
    (comparison,) = table["comparisons"]
    assert comparison["first"] == "export at step 100, pre-trained" and comparison["low"] > 0
    assert (
        comparison["difference"]
        == paired_bootstrap(good, weak)["difference"]
        == pytest.approx(first["mean"] - second["mean"])
    )
    assert "a tie" not in render_table(table)
    text = write_table(table, tmp_path / "out")
    assert (tmp_path / "out" / "table.txt").read_text() == text and json.loads(
        (tmp_path / "out" / "table.json").read_text()
    )["rows"]


def test_the_same_seed_twice_is_no_further_evidence_and_dev_scores_are_no_test_scores(tmp_path):
    run = counts_of(np.random.default_rng(1))
    for name, changes in (("a", {}), ("copy", {}), ("dev", {"split": "dev", "seed": 2})):
        write_run(tmp_path / name, run, **changes)
    (row,) = score_table(tmp_path)["rows"]
    assert row["seeds"] == [1] and row["sd"] is None


def test_systems_of_two_protocols_or_data_sets_are_not_compared(tmp_path):
    run = counts_of(np.random.default_rng(1))
    write_run(tmp_path / "a", run)
    write_run(tmp_path / "b", run, protocol="biobert")
    write_run(tmp_path / "c", run, data={"test.jsonl": "y"})
    table = score_table(tmp_path)
    assert len(table["rows"]) == 3 and table["comparisons"] == []


def test_seeds_that_were_trained_on_other_documents_share_no_row_but_are_compared(tmp_path):
    run = counts_of(np.random.default_rng(1))
    write_run(
        tmp_path / "a", run, data={"test.jsonl": "x", "test.gold.jsonl": "g", "train.jsonl": "32 documents"}
    )
    write_run(
        tmp_path / "b",
        run,
        data={"test.jsonl": "x", "test.gold.jsonl": "g", "train.jsonl": "8 documents"},
        seed=2,
    )
    write_run(
        tmp_path / "c",
        run,
        data={"test.jsonl": "x", "test.gold.jsonl": "other gold", "train.jsonl": "8 documents"},
        seed=2,
    )
    table = score_table(tmp_path)
    assert len(table["rows"]) == 3 and len(table["comparisons"]) == 1


def test_made_up_sets_are_marked(tmp_path):
    write_run(tmp_path / "a", counts_of(np.random.default_rng(1)))
    text = render_table(score_table(tmp_path))
    assert "NCBI-disease *" in text and "* not the published set" in text


def test_checkpoints_of_two_runs_are_two_curves(tmp_path):
    for number, (run, step) in enumerate((run, step) for run in ("r", "s") for step in (100, 200)):
        write_run(
            tmp_path / f"{number}",
            counts_of(np.random.default_rng(number)),
            pretraining_step=step,
            pretraining_run=run,
            model=f"{run}{step}",
            model_fingerprint=str(number),
        )
    curves = steps_curve(score_table(tmp_path)["rows"])
    assert sorted([row["model"] for row in found] for found in curves.values()) == [
        ["r100", "r200"],
        ["s100", "s200"],
    ]
    figure = score_steps(score_table(tmp_path)["rows"])
    assert figure is not None and b"r200" in figure.svg and b"s200" in figure.svg


def test_equal_systems_are_a_tie(tmp_path):
    run = counts_of(np.random.default_rng(1))
    write_run(tmp_path / "a", run)
    write_run(tmp_path / "b", run, model="other")
    table = score_table(tmp_path)
    assert table["comparisons"][0]["difference"] == 0.0 and "a tie" in render_table(table)


def test_the_interval_of_a_mean_covers_what_it_promises():
    """Of 200 samples drawn from one population of documents, about 95% of the intervals hold the population's
    F1."""
    population = [counts_of(np.random.default_rng(7), documents=4000)]
    truth = score_of(population[0])
    generator = np.random.default_rng(8)
    held = 0
    for _ in range(200):
        low, high = bootstrap_interval(
            [population[0][index] for index in generator.integers(0, 4000, 80)], samples=400
        )
        held += low <= truth <= high
    assert 180 <= held <= 198


def test_the_bars_and_the_curve_show_the_rows(tmp_path):
    for step in (0, 100, 200):
        kind = "pre-trained" if step else "random weights"
        write_run(
            tmp_path / f"{step}",
            counts_of(np.random.default_rng(2), better=step // 100),
            pretraining_step=step,
            model_fingerprint=str(step),
            kind=kind,
        )
    rows = score_table(tmp_path)["rows"]
    bars, curve = score_bars(rows), score_steps(rows)
    assert curve is not None and score_steps(rows[:1]) is None
    for figure in (bars, curve):
        assert lxml.etree.fromstring(figure.svg).tag.endswith("svg") and all(
            f"{row['mean']:.1f}" in figure.alt for row in rows
        )
    assert curve.alt.index("at step 0") < curve.alt.index("at step 100") < curve.alt.index("at step 200")


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    directory = tmp_path_factory.mktemp("scored")
    write_entities(directory / "in" / "entities")
    write_hallmarks(directory / "in" / "hallmarks")
    prepare(directory / "in", directory / "prepared")
    run_baselines(directory / "prepared", directory / "runs")
    wrong = directory / "runs" / "NCBI-disease" / "CRF"
    lines = (wrong / "predictions.tsv").read_text().split("\n")
    place = next(number for number, line in enumerate(lines) if line.startswith("palsy I I"))
    lines[place], lines[0] = "palsy I O", "Mice O B"  # a wrong boundary and an invention
    (wrong / "predictions.tsv").write_text("\n".join(lines))
    return directory


def test_errors_are_shown_by_kind_where_they_stand(scored, tmp_path):
    path = write_errors(
        scored / "runs" / "NCBI-disease" / "CRF", scored / "prepared", tmp_path / "errors.html"
    )
    page = lxml.html.parse(str(path)).getroot()
    counts = {
        row.xpath("string(th)"): row.xpath("string(td[1])")
        for row in page.xpath("//table[@id='kinds']/tbody/tr")
    }
    assert counts["wrong boundary"] == "2" and counts["invented"] == "1", (
        "the mention and the prediction are one each"
    )
    (article,) = page.xpath("//article")
    assert article.xpath(
        "string(h3)"
    ) == "3000 (3)" and "Mice with leaf palsy† slept. Nothing else is told." in " ".join(
        article.xpath("string(p)").split()
    )
    titles = [mark.get("title") for mark in article.xpath(".//span")]
    assert "predicted: Mice (invented)" in titles and any(
        "gold: leaf palsy (wrong boundary); predicted: leaf (wrong boundary)" in t or "predicted: leaf" in t
        for t in titles
    )
    assert not page.xpath("//script | //link")


def test_missed_hallmarks_are_shown_with_their_sentence(scored, tmp_path):
    path = write_errors(scored / "runs" / "HoC" / "majority", scored / "prepared", tmp_path / "errors.html")
    page = lxml.html.parse(str(path)).getroot()
    assert page.xpath("//article//span[contains(@class, 'missed')]") and page.xpath(
        "//article//span[contains(@class, 'gold')]"
    )


def test_errors_against_other_data_are_refused(scored, tmp_path):
    prepare(_other(tmp_path / "in"), tmp_path / "prepared")
    with pytest.raises(UserError, match="other data"):
        write_errors(
            scored / "runs" / "NCBI-disease" / "CRF", tmp_path / "prepared", tmp_path / "errors.html"
        )


def _other(directory: Path) -> Path:
    write_entities(directory)
    for path in directory.iterdir():
        path.write_text(path.read_text().replace("Nothing else is told.", "Nothing more is told."))
    return directory


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH to render the page")
def test_a_browser_paints_the_marks(scored, tmp_path):
    path = write_errors(
        scored / "runs" / "NCBI-disease" / "no-entity", scored / "prepared", tmp_path / "errors.html"
    )
    pixels = screenshot(path, tmp_path, width=1000, height=2000)
    missed = (np.abs(pixels - np.array([0xC8, 0x50, 0x1E]) / 255) < 0.02).all(-1)
    assert missed.sum() > 500, "no missed mention is underlined"
