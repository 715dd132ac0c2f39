"""The search for the fastest candidate: what it tries next, and a real one on tiny ranks."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from biobert_scale.cli import main
from biobert_scale.display import text
from biobert_scale.recipes import load_config
from biobert_scale.tune.candidates import Candidate, Trial, next_candidate, tune_page
from tests.factories import TINY_TOML


def search(rates: dict[Candidate, float], *, world_size: int, first: str = "zero1") -> list[Candidate]:
    config = load_config("biobert-large")
    trials: list[Trial] = []
    candidate: Candidate | None = Candidate(micro_batch_size=1, engine=first)
    while candidate is not None:
        assert candidate not in [trial.candidate for trial in trials], "tried twice"
        trials.append(
            Trial(candidate=candidate, sequences_per_second=rates.get(candidate, 1.0), peak_memory_bytes=0)
        )
        candidate = next_candidate(config, trials, world_size=world_size)
    return [trial.candidate for trial in trials]


def test_the_micro_batch_is_doubled_while_it_pays_then_the_rest_is_tried_at_the_best() -> None:
    rates = {
        Candidate(micro_batch_size=size, engine="zero1"): rate
        for size, rate in ((1, 10), (2, 18), (4, 25), (8, 25.1), (16, 99))
    }
    tried = search(rates, world_size=4)
    assert [candidate.micro_batch_size for candidate in tried[:4]] == [1, 2, 4, 8], (
        "16 is not worth trying after 8"
    )
    at = Candidate(micro_batch_size=8, engine="zero1")
    switched = [
        replace(at, changes=(change,))
        for change in (("compile", True), ("fused_qkv", False), ("head_rows", 0))
    ]
    assert tried[4:] == [
        switched[0],
        *(replace(at, engine=engine) for engine in ("ddp", "zero2", "zero3")),
        *switched[1:],
    ]


def test_a_switch_that_pays_stays_put_while_others_are_tried() -> None:
    at = Candidate(micro_batch_size=1, engine="zero1")
    compiled = replace(at, changes=(("compile", True),))
    tried = search(
        {at: 10, replace(at, micro_batch_size=2): 9, compiled: 20, replace(compiled, engine="ddp"): 30},
        world_size=1,
    )
    last = replace(compiled, engine="ddp")
    assert last in tried and {
        replace(last, changes=(*last.changes, change)) for change in (("fused_qkv", False), ("head_rows", 0))
    } <= set(tried)


def test_memory_and_the_global_batch_end_the_doubling() -> None:
    rates = {
        Candidate(micro_batch_size=size, engine="zero1"): rate
        for size, rate in ((1, 10.0), (2, 18.0), (4, 0.0))
    }
    assert max(candidate.micro_batch_size for candidate in search(rates, world_size=4)) == 4
    growing = {Candidate(micro_batch_size=size, engine="zero1"): float(size) for size in (1, 2, 4, 8, 16, 32)}
    assert max(candidate.micro_batch_size for candidate in search(growing, world_size=16)) == 16, (
        "256 sequences are 16 ranks x 16"
    )


def test_one_process_tries_no_partitions_it_has_nobody_to_share_with() -> None:
    assert {candidate.engine for candidate in search({}, world_size=1, first="ddp")} == {"ddp", "zero1"}


def test_the_page_names_the_best_as_a_recipe_reads_it(tmp_path: Path) -> None:
    best = Candidate(micro_batch_size=4, engine="zero1", changes=(("compile", True), ("head_rows", 0)))
    trials = [
        Trial(candidate=replace(best, changes=()), sequences_per_second=1.5, peak_memory_bytes=0),
        Trial(candidate=best, sequences_per_second=3.0, peak_memory_bytes=10**9),
    ]
    trials.append(
        Trial(
            candidate=replace(best, micro_batch_size=8),
            sequences_per_second=0.0,
            peak_memory_bytes=0,
            failed="out of memory",
        )
    )
    trials.append(
        Trial(
            candidate=replace(best, engine="ddp"),
            sequences_per_second=0.0,
            peak_memory_bytes=0,
            failed="InductorError: no compiler",
        )
    )
    page = text(tune_page(load_config("biobert-large"), trials, processes=2))
    rows = [re.split("  +", line.strip()) for line in page.splitlines()]
    assert (
        "out of memory" in page
        and "InductorError: no compiler" in page
        and ["4", "zero1", "compile = true, head_rows = 0", "3.00", "100%", "1.0"] in rows
        and ["4", "zero1", "as it is", "1.50"] in [row[:4] for row in rows]
    )
    (tmp_path / "found.toml").write_text('name = "found"\n' + page[page.index("[training]") :])
    found = load_config(tmp_path / "found.toml")
    assert (
        found.training.micro_batch_size,
        found.training.engine.deepspeed_config,
        found.compute.compile,
        found.compute.head_rows,
    ) == (4, "zero1", True, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "engine"),
    [(1, 'name = "ddp"'), (2, 'name = "ddp"'), (1, 'name = "deepspeed"\ndeepspeed_config = "zero1"')],
)
def test_real_ranks_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], processes: int, engine: str
) -> None:
    recipe = TINY_TOML.replace(
        "[training.engine]", "[training]\nglobal_batch_size = 4\nmicro_batch_size = 2\n[training.engine]"
    ).replace('name = "ddp"', engine)
    (tmp_path / "tiny.toml").write_text(recipe)
    assert (
        main(
            [
                "tune",
                "--config",
                str(tmp_path / "tiny.toml"),
                "--processes",
                str(processes),
                "--seconds",
                "240",
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    rows = [re.split("  +", line) for line in map(str.strip, printed.splitlines()) if line[:1].isdigit()]
    assert len(rows) >= 2 and all(float(row[3]) > 0 for row in rows) and "[training.engine]" in printed
    assert {row[1] for row in rows} >= {"ddp", "zero1"}, "one engine after another in the same ranks"
    assert "head_rows" in printed and "fused_qkv" in printed and "ended early" not in printed, (
        "after another engine the rest is tried as well"
    )
