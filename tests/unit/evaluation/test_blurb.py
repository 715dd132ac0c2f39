"""`evaluate blurb` on made-up sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from biobert_scale.config import BLURB_GRID, FinetuneConfig, GridConfig
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.evaluation import blurb as module
from biobert_scale.evaluation import sweep
from biobert_scale.evaluation.blurb import blurb
from biobert_scale.evaluation.sweep import Run, Swept
from tests.factories import write_model, write_prepared

BUDGET = FinetuneConfig(max_seq_length=32, keep_weights=False)
ONE = GridConfig(learning_rate=(1e-3,), batch_size=(8,), epochs=(1,))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("benchmarks"), blue=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def test_what_is_there_is_scored_and_what_is_missing_is_named(
    prepared: Path, model: Path, tmp_path: Path
) -> None:
    table = blurb(prepared, model, tmp_path, BUDGET, tasks=["HoC"], seeds=(1,), grid=ONE)
    found = {row["task"]: row for row in table["tasks"]}
    assert len(found) == 13 and found["HoC"]["seeds"] == [1]
    assert {name: found[name]["problem"] for name in ("HoC", "NCBI-disease", "GAD")} == {
        "HoC": "not the published set",
        "NCBI-disease": "not among --tasks",
        "GAD": "its files were not prepared",
    }
    assert "HoC-BLUE" not in found and table["systems"][0]["total"] is None
    assert json.loads((tmp_path / "blurb.json").read_text()) == table
    assert "| HoC | micro-F1 |" in (tmp_path / "blurb.md").read_text(encoding="utf-8")
    stamp = (tmp_path / "HoC" / "pretrained-seed1" / "metrics.json").stat().st_mtime_ns
    assert any(option.startswith("--grid.") for option in table["changed"])
    assert blurb(prepared, model, tmp_path, BUDGET, tasks=["HoC"], seeds=(1,), grid=ONE) == table
    assert (tmp_path / "HoC" / "pretrained-seed1" / "metrics.json").stat().st_mtime_ns == stamp


def test_each_task_has_its_published_number_of_runs_and_the_published_search(
    prepared: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Run] = []

    def note(runs: list[Run], *_: object, **__: object) -> Swept:
        asked.extend(runs)
        return Swept(finished=[])

    monkeypatch.setattr(module, "run_all", note)
    names = ("BIOSSES", "BC2GM")
    monkeypatch.setattr(module, "prepared_tasks", lambda _: list(names))
    monkeypatch.setattr(module, "task_directory", lambda prepared, name: prepared / name)
    monkeypatch.setattr(module, "why_not_comparable", lambda *_: "")
    blurb(prepared, model, tmp_path, BUDGET)
    order = [(run.task, run.seed) for run in asked]
    assert order[:3] == [("BC2GM", 1), ("BIOSSES", 1), ("BC2GM", 2)] and len(order) == 15
    assert {run.seed for run in asked if run.task == "BC2GM"} == {1, 2, 3, 4, 5}
    assert all(run.grid == BLURB_GRID for run in asked)
    assert {run.task: run.config.epochs for run in asked} == {"BIOSSES": 60, "BC2GM": 10}


@pytest.mark.parametrize(
    ("tasks", "seeds", "budget", "says"),
    [
        (["HoC-BLUE"], (), BUDGET, "HoC-BLUE is no task of BLURB"),
        (["GAD"], (), BUDGET, "no task 'GAD'"),
        ([], (2, 2), BUDGET, "seed 2 is given twice"),
        ([], (), FinetuneConfig(epochs=3), "--epochs where dev chooses .*give --grid.epochs"),
    ],
)
def test_mistakes_are_refused_before_the_first_run(
    prepared: Path,
    model: Path,
    tmp_path: Path,
    tasks: list[str],
    seeds: tuple[int, ...],
    budget: FinetuneConfig,
    says: str,
) -> None:
    with pytest.raises(UserError, match=says):
        blurb(prepared, model, tmp_path, budget, tasks=tasks, seeds=seeds)
    assert not list(tmp_path.iterdir())


def test_a_failed_run_is_named_and_the_others_are_kept(
    prepared: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sweep.finetune

    def failing(prepared: Path, task: str, *arguments: object, **options: object) -> object:
        if options["seed"] == 1:
            raise RunFailed("the loss is nan", where=task, remedy="lower the learning rate")
        return whole(prepared, task, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(sweep, "finetune", failing)
    options = {"tasks": ["HoC"], "seeds": (1, 2), "grid": ONE}
    table = blurb(prepared, model, tmp_path, BUDGET, **options)  # type: ignore[arg-type]
    (row,) = (row for row in table["tasks"] if row["task"] == "HoC")
    assert row["failed"] == ["seed 1: the loss is nan"] and row["seeds"] == [2]
    assert row["problem"] == "1 of 2 runs failed (seed 1: the loss is nan), not the published set"
    monkeypatch.undo()
    table = blurb(prepared, model, tmp_path, BUDGET, **options)  # type: ignore[arg-type]
    (row,) = (row for row in table["tasks"] if row["task"] == "HoC")
    assert row["failed"] == [] and row["seeds"] == [1, 2]
