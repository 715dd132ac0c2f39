from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import lxml.html
import pytest

from biobert_scale.data.mixture import count_seen
from biobert_scale.errors import UserError
from biobert_scale.files import write_json
from biobert_scale.recipes import load_config
from biobert_scale.report.page import write_report
from biobert_scale.report.sources import read_sources
from biobert_scale.tokens.sources import SOURCES, SourceRun, write_runs

EPOCH = [("medline", 100), ("own <notes>", 75)]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Trained on 437 samples: two epochs of 175, and half of one."""
    (tmp_path / "tokens" / "train").mkdir(parents=True)
    runs = [SourceRun("medline", 40, 300, 6000), SourceRun("own <notes>", 10, 100, 2000)]
    write_runs(tmp_path / "tokens" / "train", runs)
    pretraining = tmp_path / "pretraining"
    pretraining.mkdir()
    write_json(pretraining / SOURCES, {"samples": {"medline": 100, "own <notes>": 30}, "epoch": EPOCH})
    config = load_config("demo")
    write_json(
        pretraining / "config.json",
        replace(config, data=replace(config.data, sources={"own <notes>": 2.5})),
    )
    record = {
        "global_step": 1,
        "consumed_samples": 437,
        "consumed_tokens": 9000,
        "train/loss": 8.0,
        "train/mlm_loss": 7.0,
        "train/nsp_loss": 0.7,
        "optim/learning_rate": 1e-4,
        "perf/step_seconds": 0.1,
        "perf/tokens_per_second_per_device": 3000.0,
    }
    (pretraining / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    return tmp_path


def table(run: Path, identifier: str) -> dict[str, list[str]]:
    page = lxml.html.parse(str(write_report(run, run / "page.html"))).getroot()
    (found,) = page.xpath(f"//table[@id='{identifier}']")
    return {
        row.xpath("string(th)"): [cell.text_content() for cell in row.xpath("td")]
        for row in found.xpath("tbody/tr")
    }


def test_the_page_shows_what_was_seen_of_each_source(run: Path) -> None:
    seen = count_seen(EPOCH, 437, seed=1)
    assert sum(seen.values()) == 437 and 250 <= seen["medline"] <= 300
    assert table(run, "seen-sources") == {
        name: [
            str(samples),
            weight,
            str(seen[name]),
            f"{seen[name] / 4.37:.1f}%",
            f"{seen[name] / samples:.3f}",
        ]
        for name, samples, weight in (("medline", 100, "1"), ("own <notes>", 30, "2.5"))
    }


def test_names_of_sources_are_quoted_where_toml_needs_it(run: Path) -> None:
    assert (
        '[data.sources]\n"own <notes>" = 2.5'
        in lxml.html.parse(str(write_report(run, run / "page.html"))).getroot().text_content()
    )


def test_a_damaged_record_of_sources_is_named(run: Path) -> None:
    (run / "pretraining" / SOURCES).write_text("[]")
    with pytest.raises(UserError, match=r"pretraining/sources\.json"):
        read_sources(run)
