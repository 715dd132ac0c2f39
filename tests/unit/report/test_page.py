from __future__ import annotations

import base64
import datetime
import itertools
import json
import math
import random
import re
import shutil
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lxml.etree
import lxml.html
import numpy as np
import pytest

from biobert_scale.config import BatchSizes
from biobert_scale.errors import UserError
from biobert_scale.files import finish_stage, write_json
from biobert_scale.recipes import load_config
from biobert_scale.report import write_report
from biobert_scale.report.continuity import check_continuity
from biobert_scale.report.figures import thin
from biobert_scale.report.page import render
from biobert_scale.report.sources import Interruption, read_sources, toml_text
from tests.factories import CHROMIUM, screenshot

STEPS, STOPPED, BATCH = 120, 60, load_config("demo").training.global_batch_size
SIZES = BatchSizes.of(load_config("demo"))


def training_record(step: int, loss: float, *, skipped: int = 0) -> dict[str, Any]:
    """A record as the training loop writes it."""
    return {
        "global_step": step,
        "consumed_samples": BATCH * (step + skipped),
        "consumed_tokens": 6000 * (step + skipped),
        "train/loss": loss + 0.69,
        "train/mlm_loss": loss,
        "train/nsp_loss": 0.69,
        "train/nsp_accuracy": 0.5 + step / 1000,
        "optim/learning_rate": 2e-3 * step / STEPS,
        "optim/grad_norm": 1.0 + 0.1 * math.sin(step),
        "optim/skipped_steps": skipped,
        "optim/loss_scale": 1.0,
        "perf/tokens_per_second_per_device": 3000.0 + step,
        "perf/step_seconds": 1.5,
    }


def noisy_curve(steps: int = STEPS) -> list[dict[str, Any]]:
    """A falling curve with noise of standard deviation 0.05."""
    rng = random.Random(5)
    return [training_record(step, 7 - 0.02 * step + rng.gauss(0, 0.05)) for step in range(1, steps + 1)]


def validation_record(step: int, loss: float) -> dict[str, Any]:
    return {
        "global_step": step,
        "validation/mlm_loss": loss,
        "validation/perplexity": math.exp(loss),
        "validation/nsp_loss": 0.6,
        "validation/mlm_accuracy": 0.25,
        "validation/nsp_accuracy": 0.625,
        "validation/sequences": 240,
    }


def write_metrics(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def stage(
    directory: Path,
    name: str,
    counts: dict[str, Any],
    *,
    config: Any = None,
    rejects: dict[str, int] | None = None,
) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    finish_stage(
        directory, stage=name, key="k", inputs=[], config=config or {}, counts=counts, rejects=rejects
    )


def write_score(directory: Path, task: str, kind: str, model: str, score: float, **changes: Any) -> None:
    """What a finished evaluation leaves: `metrics.json`, and the manifest that vouches for it."""
    documents = task == "HoC"
    values = {
        "task": task,
        "protocol": "hoc-blurb" if documents else "blurb",
        "score_name": "micro-F1" if documents else "entity F1",
        "kind": kind,
        "model": model,
        "seed": None,
        "score": score,
        "scores": {"micro": {"precision": score, "recall": score, "f1": score}},
        "interval_95": [score - 2, score + 2],
        "published_data": False,
        "config": {},
        "data": {"test.jsonl": "abc"},
        "seconds": 2.0,
        **changes,
    }
    write_json(directory / "metrics.json", values)
    finish_stage(
        directory,
        stage="finetune",
        key="k",
        inputs=[],
        config={},
        counts={},
        outputs=[directory / "metrics.json"],
    )


def write_scores(evaluation: Path) -> None:
    for task, base in (("NCBI-disease", 80.0), ("HoC", 60.0)):
        for seed, offset in enumerate((-1.0, 0.0, 1.0)):
            write_score(
                evaluation / f"{task}-pre-{seed}", task, "pre-trained", "export", base + offset, seed=seed
            )
            write_score(
                evaluation / f"{task}-random-{seed}",
                task,
                "random weights",
                "export",
                base - 10 + 2 * offset,
                seed=seed,
            )
    write_score(evaluation / "crf", "NCBI-disease", "baseline", "CRF", 85.0)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small made-up demonstration with every part."""
    run = tmp_path_factory.mktemp("demo")
    stage(run / "raw", "synthetic", {}, config={"seed": 1, "abstracts": 3000, "full_texts": 150})
    counts = {
        "files": 3,
        "files_medline": 2,
        "records_medline": 3010,
        "documents_medline": 2700,
        "files_pmc": 1,
        "records_pmc": 150,
    }
    counts |= {
        "documents_pmc": 148,
        "records": 3160,
        "documents": 2848,
        "characters": 5_000_000,
        "words": 800_000,
    }
    stage(run / "corpus", "corpus", counts, rejects={"no_abstract": 300, "superseded": 12})
    stage(
        run / "vocabulary", "vocabulary", {"entries": 2500, "continuations": 700}, config={"lowercase": False}
    )
    train = {"documents": 2700, "sentences": 21000, "tokens": 1_200_000}
    held_out = {"documents": 148, "sentences": 900, "tokens": 51_000}
    stage(run / "tokens", "tokens", {"vocabulary": 2500, "shards": 1, "train": train, "validation": held_out})
    pretraining = run / "pretraining"
    samples = {
        "train": {"samples": 9000, "random_next": 4500},
        "validation": {"samples": 400, "random_next": 220},
    }
    stage(pretraining / "samples", "samples", samples)
    write_json(pretraining / "config.json", load_config("demo"))
    records = [validation_record(0, 8.0), *noisy_curve(), validation_record(STEPS, 5.0)]
    write_metrics(pretraining / "metrics.jsonl", records)
    write_json(pretraining / "finished.json", {"global_step": STEPS})
    stop = {"global_step": STOPPED, "signal": "SIGTERM", "exit_code": 75, "resumed_step": STOPPED + 1}
    write_json(pretraining / "interruptions.json", [stop])
    stage(run / "export", "export", {"parameters": 741_000, "global_step": STEPS})
    write_scores(run / "evaluation")
    machine = {"python": "3.11.2", "cores": 2, "memory_gib": 7.8, "gpu": None}
    done = {
        "packages": {"numpy": "2.3.1"},
        "commands": ["biobert-scale demo"],
        "seconds": {"corpus": 30.0, "pre-training": 90.0},
    }
    write_json(run / "environment.json", machine | done)
    return run


@pytest.fixture(scope="module")
def page(demo: Path) -> lxml.html.HtmlElement:
    return lxml.html.parse(str(write_report(demo, demo / "report.html"))).getroot()


def rows(page: lxml.html.HtmlElement, identifier: str) -> dict[str, list[str]]:
    """A table's rows by their headings."""
    (found,) = page.xpath(f"//table[@id='{identifier}']")
    return {
        row.xpath("string(th)").split("\n")[0]: [cell.text_content() for cell in row.xpath("td")]
        for row in found.xpath("tbody/tr")
    }


def test_corpus_tables_tell_the_counts_of_the_manifest(page: lxml.html.HtmlElement) -> None:
    assert rows(page, "corpus") == {
        "MEDLINE abstracts": ["2", "3,010", "2,700", "89.7%"],
        "PMC full texts": ["1", "150", "148", "98.7%"],
        "Total": ["3", "3,160", "2,848", "90.1%"],
    }
    assert [row[0] for row in rows(page, "rejects").values()] == ["300", "12", "312", "2,848", "3,160"]
    assert "add up to the records read" in page.get_element_by_id("corpus-section").text_content()


def test_counts_that_do_not_add_up_are_noticed(tmp_path: Path) -> None:
    counts = {
        "files": 1,
        "files_medline": 1,
        "records_medline": 10,
        "documents_medline": 7,
        "files_pmc": 0,
        "records_pmc": 0,
    }
    counts |= {"documents_pmc": 0, "records": 10, "documents": 7, "characters": 70, "words": 10}
    stage(tmp_path / "corpus", "corpus", counts, rejects={"too_short": 2})
    assert "do NOT add up" in render(read_sources(tmp_path), datetime.date(2020, 1, 1))


def test_token_and_time_tables_tell_the_recorded_numbers(page: lxml.html.HtmlElement) -> None:
    assert rows(page, "tokens")["train"] == ["2,700", "21,000", "1,200,000", "9,000", "50.0%"]
    assert rows(page, "timings") == {
        "corpus": ["30.0 s", "25.0%"],
        "pre-training": ["1 min 30 s", "75.0%"],
        "total": ["2 min 00 s", ""],
    }


def test_summary_numbers_come_from_the_right_records(page: lxml.html.HtmlElement) -> None:
    tiles = {
        tile.findtext("dt"): [value.text for value in tile.findall("dd")]
        for tile in page.get_element_by_id("summary")
    }
    assert tiles["Documents"][0] == "2,848"
    assert tiles["Tokens"][0] == "1.25 million"
    assert tiles["Parameters"][0] == "741,000"
    assert tiles["Validation MLM loss"] == ["8.000 → 5.000", "-37.5%, nats per prediction"]
    assert tiles["NSP accuracy"] == ["62.5%", "on validation; one constant answer: 55.0%"]
    assert tiles["Time in steps"][0] == "3 min 00 s"


def test_scores_stand_in_their_cells_with_the_best_bold(page: lxml.html.HtmlElement) -> None:
    table = rows(page, "scores")
    assert table["pre-trained"] == ["80.00 ± 1.00\nn = 3", "60.00 ± 1.00\nn = 3"]
    assert table["random weights"] == ["70.00 ± 2.00\nn = 3", "50.00 ± 2.00\nn = 3"]
    assert table["CRF"] == ["85.00\nn = 1, 83.0–87.0", "–"]
    assert table["difference"] == ["+10.00 ± 1.29"] * 2
    bold = page.xpath("//table[@id='scores']//strong")
    assert [cell.text for cell in bold] == ["60.00 ± 1.00", "85.00"]
    assert "blurb" in page.xpath("string(//table[@id='scores']/thead)")


def test_two_protocols_or_two_models_never_share_a_cell(tmp_path: Path) -> None:
    write_score(
        tmp_path / "evaluation/a", "NCBI-disease", "pre-trained", "export", 80.0, model_fingerprint="one"
    )
    write_score(
        tmp_path / "evaluation/b", "NCBI-disease", "pre-trained", "export", 81.0, model_fingerprint="two"
    )
    write_score(
        tmp_path / "evaluation/c",
        "NCBI-disease",
        "pre-trained",
        "export",
        82.0,
        model_fingerprint="two",
        protocol="biobert",
    )
    page = lxml.html.fromstring(render(read_sources(tmp_path), datetime.date(2020, 1, 1)))
    head = [cell.text_content() for cell in page.xpath("//table[@id='scores']/thead/tr/th")]
    assert len(head) == 3 and "biobert" in head[1] + head[2]
    found = rows(page, "scores")
    assert list(found) == ["pre-trained, model two", "pre-trained, model one"]
    assert sorted(cell[:2] for cell in found["pre-trained, model two"]) == ["81", "82"]
    assert sorted(cell[:2] for cell in found["pre-trained, model one"]) == ["80", "–"]


def test_published_scores_are_called_comparable_on_the_published_files_only(
    page: lxml.html.HtmlElement, tmp_path: Path
) -> None:
    assert "not comparable" in page.get_element_by_id("scores-section").text_content()
    assert rows(page, "published")["BioBERT-base v1.1"][:2] == ["89.13", "81.54"]
    write_score(tmp_path / "evaluation/a", "NCBI-disease", "baseline", "CRF", 80.0, published_data=True)
    published = render(read_sources(tmp_path), datetime.date(2020, 1, 1))
    assert "The files here are the published ones" in published and "Not comparable" not in published
    write_score(tmp_path / "evaluation/b", "HoC", "baseline", "majority", 20.0)
    assert "Not comparable with those above for HoC:" in render(
        read_sources(tmp_path), datetime.date(2020, 1, 1)
    )


def test_a_difference_is_taken_between_runs_of_one_budget(tmp_path: Path) -> None:
    """The better of two budgets for one side is no match for the worse of the other."""
    for budget, trained, fresh in (("long", 80.0, 50.0), ("short", 70.0, 60.0)):
        write_score(
            tmp_path / "evaluation" / f"{budget}-a",
            "NCBI-disease",
            "pre-trained",
            "export",
            trained,
            config={"budget": budget},
        )
        write_score(
            tmp_path / "evaluation" / f"{budget}-b",
            "NCBI-disease",
            "random weights",
            "export",
            fresh,
            config={"budget": budget},
        )
    page = lxml.html.fromstring(render(read_sources(tmp_path), datetime.date(2020, 1, 1)))
    cells = [
        row.xpath("string(td[1])")
        for row in page.xpath("//table[@id='scores']//tr")
        if "difference" in row.text_content()
    ]
    assert cells == ["+30.00", "+10.00"]


def test_scores_of_another_protocol_stand_beside_no_published_score(tmp_path: Path) -> None:
    write_score(
        tmp_path / "evaluation/a",
        "NCBI-disease",
        "pre-trained",
        "export",
        80.0,
        protocol="biobert",
        published_data=True,
    )
    page = render(read_sources(tmp_path), datetime.date(2020, 1, 1))
    assert "Published with the same protocol" not in page and "Published with other protocols" in page


def test_made_up_literature_is_announced(page: lxml.html.HtmlElement, demo: Path, tmp_path: Path) -> None:
    assert page.get_element_by_id("synthetic").text_content().startswith("Synthetic data:")
    assert all(caption.text.startswith("Synthetic data.") for caption in page.iter("figcaption"))
    shutil.copytree(demo / "pretraining", tmp_path / "pretraining")
    assert "Synthetic data" not in render(read_sources(tmp_path), datetime.date(2020, 1, 1))


def test_images_open_and_are_described(page: lxml.html.HtmlElement) -> None:
    images = page.xpath("//figure/img")
    assert len(images) == 9
    for image in images:
        kind, data = image.get("src").split(",")
        drawing = lxml.etree.fromstring(base64.b64decode(data, validate=True))
        assert kind == "data:image/svg+xml;base64" and drawing.tag.endswith("svg")
        assert len(drawing.findall(".//{*}path")) > 10
        assert len(image.get("alt")) > 40
    assert "after step 60" in images[0].get("alt")
    losses = lxml.etree.fromstring(base64.b64decode(images[0].get("src").split(",")[1]))
    orange = [mark for mark in losses.findall(".//{*}use") if "#c8501e" in mark.get("style", "")]
    assert len(orange) == 3, "two validation points and one mark in the legend"


def test_page_needs_no_network_and_no_script(page: lxml.html.HtmlElement) -> None:
    assert not page.xpath("//script | //link | //iframe")
    for name, value in itertools.chain.from_iterable(
        node.attrib.items() for node in page.iter() if isinstance(node.tag, str)
    ):
        assert name not in ("src", "srcset", "href", "data", "action") or value.startswith(("#", "data:")), (
            value
        )
        assert not name.startswith("on")
    assert not re.search(r"@import|url\(", page.xpath("string(//style)"))


def test_identifiers_are_unique_and_links_lead_somewhere(page: lxml.html.HtmlElement) -> None:
    identifiers = page.xpath("//@id")
    assert len(identifiers) == len(set(identifiers))
    assert {link[1:] for link in page.xpath("//nav/a/@href")} <= set(identifiers)


def test_a_clean_resumption_is_continuous(page: lxml.html.HtmlElement) -> None:
    assert rows(page, "interruptions") == {
        "stopped by": ["SIGTERM"],
        "exit code": ["75"],
        "last step before": ["60"],
        "first step after": ["61"],
        "steps missing": ["0"],
        "steps computed twice": ["0"],
        "count of samples": ["continuous"],
    }
    (verdict,) = page.find_class("verdict")
    assert verdict.text.startswith("Continuous: step 61 follows step 60")


def test_missing_and_repeated_steps_are_faults() -> None:
    records, stop = (
        noisy_curve(),
        Interruption(global_step=STOPPED, resumed_step=STOPPED + 1, signal="SIGTERM"),
    )
    gap = check_continuity([*records[:60], *records[63:]], stop, batch_sizes=SIZES)
    assert gap.missing == 3 and gap.verdict.startswith("Not continuous: 3 steps are missing")
    twice = check_continuity([*records[:60], records[59], *records[60:]], stop, batch_sizes=SIZES)
    assert twice.repeated == 1 and "1 step is computed twice" in twice.verdict
    again = check_continuity(
        records, Interruption(global_step=STOPPED, resumed_step=56, signal="SIGKILL"), batch_sizes=SIZES
    )
    assert (again.last_step, again.first_step, again.repeated) == (55, 56, 5)
    shifted = [
        record | {"consumed_samples": record["consumed_samples"] + BATCH * (record["global_step"] > 60)}
        for record in records
    ]
    assert check_continuity(shifted, stop, batch_sizes=SIZES).samples_consistent is False


def test_skipped_steps_and_sparse_records_are_no_faults() -> None:
    curve = noisy_curve()
    losses = enumerate((record["train/mlm_loss"] for record in curve), 1)
    skipping = [training_record(step - (step > 58), loss, skipped=int(step > 58)) for step, loss in losses]
    stop = Interruption(global_step=59, resumed_step=60, signal="SIGTERM")
    assert not check_continuity(skipping, stop, batch_sizes=SIZES).faults
    sparse = [record for record in curve if record["global_step"] % 5 == 0 or record["global_step"] == 63]
    stop = Interruption(global_step=63, resumed_step=65, signal="SIGTERM")
    found = check_continuity(sparse, stop, log_every_steps=5, batch_sizes=SIZES)
    assert not found.faults and (found.last_step, found.first_step) == (63, 65)


def test_a_run_that_has_not_resumed_is_not_judged() -> None:
    stop = Interruption(global_step=60, signal="SIGTERM")
    assert check_continuity(noisy_curve(60), stop).verdict.startswith("Not judged: no step")


def test_missing_parts_are_said(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.jsonl", noisy_curve(3))
    text = (
        lxml.html.parse(str(write_report(tmp_path, tmp_path / "out" / "report.html")))
        .getroot()
        .text_content()
    )
    sentences = (
        "Not built yet.",
        "Token shards: not built yet.",
        "Not validated yet.",
        "No interruption is recorded.",
    )
    for sentence in (*sentences, "Not evaluated yet."):
        assert sentence in text
    assert "not finished" in text


def test_unfinished_scores_are_said(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    assert "No scores: no finished evaluation" in render(read_sources(tmp_path), datetime.date(2020, 1, 1))


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_wrong_directory_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError):
        write_report(tmp_path / name, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_text_from_files_is_escaped(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.jsonl", noisy_curve(5))
    write_json(tmp_path / "config.json", {"name": "<script>alert(1)</script>", "description": "a & $b <i>"})
    write_json(tmp_path / "environment.json", {"gpu": "<b>"})
    text = render(read_sources(tmp_path), datetime.date(2020, 1, 1))
    assert "<script" not in text and "<i>" not in text and "<b>" not in text
    assert lxml.html.fromstring(text).xpath("string(//h1)") == "<script>alert(1)</script>"


def test_configuration_shown_is_the_one_resolved() -> None:
    config = json.loads(json.dumps(asdict(load_config("demo"))))
    assert tomllib.loads(toml_text(config)) == config


def test_long_run_makes_a_small_page(tmp_path: Path) -> None:
    wanted = (
        "global_step",
        "consumed_samples",
        "consumed_tokens",
        "train/loss",
        "train/mlm_loss",
        "perf/step_seconds",
    )
    line = {name: training_record(1, 2.0)[name] for name in wanted}
    head, tail = json.dumps(line).split('"global_step": 1,')
    (tmp_path / "metrics.jsonl").write_text(
        "".join(f'{head}"global_step": {step},{tail}\n' for step in range(1, 150_001))
    )
    page = write_report(tmp_path, tmp_path / "report.html")
    assert page.stat().st_size < 3_000_000
    assert "150,000" in page.read_text()


@pytest.mark.parametrize("place", [0, 1], ids=["first", "last"])
def test_a_validation_loss_that_is_no_number_is_a_dash(place: int, tmp_path: Path) -> None:
    held_out = [validation_record(step, 5.0) for step in (1, 3)]
    held_out[place] |= dict.fromkeys(("validation/mlm_loss", "validation/perplexity", "validation/nsp_loss"))
    records = [*noisy_curve(3), *held_out]
    records[1] |= {"train/loss": None, "train/mlm_loss": None, "optim/grad_norm": None}
    write_metrics(tmp_path / "metrics.jsonl", records)
    page = lxml.html.parse(str(write_report(tmp_path, tmp_path / "report.html"))).getroot()
    rows = [[cell.text_content() for cell in row] for row in page.xpath("//table[@id='validation']/tbody/tr")]
    assert [row[1] for row in rows] == (["–", "5.0000"] if place == 0 else ["5.0000", "–"])
    assert ("– → 5.000" if place == 0 else "5.000 → –") in page.xpath("string(//*[@id='summary'])")


def test_thinning_keeps_a_spike() -> None:
    steps = np.arange(1.0, 10_004.0)
    values = np.ones(10_003)
    values[7777] = 50.0
    middle, mean, low, high, size = thin(steps, values, 500)
    assert len(middle) <= 500 and size == 21
    assert high.max() == 50.0 and low.min() == 1.0
    assert middle[0] == steps[:21].mean() and middle[-1] == steps[-(10_003 % 21) :].mean()
    assert mean.max() == pytest.approx((20 + 50) / 21)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH to render the page")
@pytest.mark.parametrize("width", [1200, 420])
def test_browser_renders_the_whole_page(
    demo: Path, page: lxml.html.HtmlElement, tmp_path: Path, width: int
) -> None:
    pixels = screenshot(demo / "report.html", tmp_path, width=width, height=3000)
    assert pixels.shape[:2] == (3000, width)
    bands = pixels.reshape(10, 300, width, 3)
    assert all(band.std() > 0.02 for band in bands), "a band of the page is blank"
    orange = (np.abs(pixels - np.array([200, 80, 30]) / 255) < 0.02).all(-1)
    assert orange.any(), "no validation point: the plots are not drawn"
