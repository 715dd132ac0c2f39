from __future__ import annotations

import functools
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from biobert_scale.config import FinetuneConfig, GridConfig, SlurmConfig
from biobert_scale.corpus.completion import incomplete, run_task
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.evaluation import sweep as module
from biobert_scale.evaluation.finetune import finetune
from biobert_scale.evaluation.prepared import task_of
from biobert_scale.evaluation.protocols import protocol_of
from biobert_scale.evaluation.sweep import run_name, seconds_to_go, sweep
from biobert_scale.evaluation.table import score_table
from biobert_scale.files import write_json
from tests.factories import write_model, write_prepared
from tests.launching import environment, fork, wait_until

BUDGET = FinetuneConfig(learning_rate=1e-3, epochs=2, batch_size=8, max_seq_length=64, keep_weights=False)
OPTIONS = [
    "--learning-rate",
    "1e-3",
    "--epochs",
    "2",
    "--batch-size",
    "8",
    "--max-seq-length",
    "64",
    "--no-keep-weights",
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("benchmarks"), blue=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"))


def command(prepared: Path, model: Path, output: Path, *options: str) -> list[str]:
    return [
        "-m",
        "biobert_scale",
        "evaluate",
        "finetune",
        "--prepared",
        str(prepared),
        "--model",
        str(model),
        "--output",
        str(output),
        *OPTIONS,
        *options,
    ]


def table_of(runs: Path) -> str:
    rows = score_table(runs)["rows"]
    return json.dumps(
        [{name: value for name, value in row.items() if name != "seconds"} for row in rows], sort_keys=True
    )


@pytest.mark.slow
@pytest.mark.fault(
    "SIGKILL of a sweep of fine-tuning, twice",
    "finished runs are kept; the table of an undisturbed sweep",
    lost="the run at hand",
)
def test_a_sweep_killed_twice_gives_the_table_of_one_that_was_not(prepared, model, tmp_path):
    sweep(prepared, ["NCBI-disease"], model, tmp_path / "whole", BUDGET, seeds=(1, 2, 3, 4, 5))
    for finished in ("seed 1:", "seed 3:"):
        arguments = command(
            prepared, model, tmp_path / "killed", "--task", "NCBI-disease", "--seed", "1", "2", "3", "4", "5"
        )
        process = subprocess.Popen(
            [sys.executable, *arguments], stderr=subprocess.PIPE, text=True, env=environment()
        )
        assert process.stderr is not None
        told = []
        for line in process.stderr:
            if finished in line:
                break
            told += [line] if "epoch" in line else []
        process.kill()
        process.wait()
        assert [line.split(": loss")[0].split(", ", 1)[1] for line in told[-2:]] == [
            "epoch 1 of 2",
            "epoch 2 of 2",
        ], "a log without a bar tells of each epoch"
        assert len(list((tmp_path / "killed").rglob("metrics.json"))) < 5
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").rglob("manifest.json")}
    sweep(prepared, ["NCBI-disease"], model, tmp_path / "killed", BUDGET, seeds=(1, 2, 3, 4, 5))
    assert len(stamps) >= 3 and all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items()), (
        "finished runs were done again"
    )
    assert table_of(tmp_path / "killed") == table_of(tmp_path / "whole")


@pytest.mark.fault(
    "SIGKILL of a search over hyperparameters",
    "finished trials are kept; the same choice and scores",
    lost="the trial at hand",
)
def test_dev_alone_chooses_among_the_grid_and_a_begun_grid_goes_on(prepared, model, tmp_path):
    grid = GridConfig(learning_rate=(0.0, 1e-3), batch_size=(4,), epochs=(1, 3))
    whole = finetune(prepared, "NCBI-disease", model, tmp_path / "whole", BUDGET, seed=1, grid=grid)
    trials = whole["selection"]["trials"]
    assert len(trials) == 4 and not (tmp_path / "whole" / "trials").exists()
    best = max(trials, key=lambda trial: max(trial["dev_scores"]))
    assert whole["selection"]["chosen"] == {
        name: best[name] for name in ("learning_rate", "batch_size", "epochs")
    }
    assert whole["selection"]["chosen"]["learning_rate"] == 1e-3 and whole["score"] > 0
    arguments = command(
        prepared,
        model,
        tmp_path / "cli",
        "--task",
        "NCBI-disease",
        "--grid.learning-rate",
        "0",
        "1e-3",
        "--grid.batch-size",
        "4",
        "--grid.epochs",
        "1",
        "3",
    )
    job = fork(arguments[arguments.index("evaluate") :])
    home = tmp_path / "cli" / "NCBI-disease" / "pretrained-seed1"
    wait_until(lambda: len(list(home.glob("trials/*/dev.json"))) >= 2, job)
    job.kill()
    assert not (home / "metrics.json").exists()
    again = finetune(prepared, "NCBI-disease", model, home, BUDGET, seed=1, grid=grid)
    assert {name: again[name] for name in ("score", "scores", "selection")} == {
        name: whole[name] for name in ("score", "scores", "selection")
    }


def test_biobert_retrains_on_train_and_dev_and_prints_no_dev_score(prepared, model, tmp_path):
    blurb = finetune(prepared, "NCBI-disease", model, tmp_path / "blurb", BUDGET, seed=1)
    biobert = finetune(
        prepared, "NCBI-disease", model, tmp_path / "biobert", BUDGET, seed=1, protocol="biobert"
    )
    assert blurb["protocol"] == "blurb" and biobert["protocol"] == "biobert"
    assert biobert["selection"]["trials"] == blurb["selection"]["trials"] and biobert["dev_scores"] == []
    assert (
        len(biobert["train_losses"]) == biobert["chosen_epoch"]
        and biobert["train_losses"] != blurb["train_losses"]
    )
    assert len(score_table(tmp_path)["rows"]) == 2, "two protocols in one row"


def test_the_blue_documents_have_their_own_measure(prepared, model, tmp_path):
    metrics = finetune(prepared, "HoC-BLUE", model, tmp_path / "run", BUDGET, seed=1)
    assert metrics["protocol"] == "hoc-blue" and metrics["score"] == pytest.approx(
        metrics["scores"]["example"]["f1"]
    )
    with pytest.raises(UserError, match="choose among: hoc-blurb"):
        protocol_of(task_of(prepared, "HoC"), "hoc-blue")


def test_mistakes_are_told_before_the_first_run(prepared, model, tmp_path):
    for tasks, seeds, protocol, says in (
        (["NCBI-disease", "NCBI"], (1,), "", "no task 'NCBI'"),
        (["NCBI-disease", "HoC"], (1,), "biobert", "no protocol 'biobert' for HoC"),
        (["NCBI-disease"], (1, 1), "", "seed 1 is given twice"),
        ([], (1,), "", "no task"),
    ):
        with pytest.raises(UserError, match=says):
            sweep(prepared, tasks, model, tmp_path, BUDGET, seeds=seeds, protocol=protocol)
    assert not list(tmp_path.iterdir())


def test_runs_of_two_kinds_or_protocols_never_share_a_directory(prepared):
    names = [
        run_name(task_of(prepared, "NCBI-disease"), p, seed=1, random_weights=r)
        for p in ("", "blurb", "biobert")
        for r in (False, True)
    ]
    assert names == ["pretrained-seed1", "random-seed1"] * 2 + [
        "pretrained-biobert-seed1",
        "random-biobert-seed1",
    ]


@pytest.mark.parametrize("task", [pytest.param("NCBI-disease", marks=pytest.mark.slow), "HoC"])
def test_two_ranks_train_what_one_trains(prepared, model, tmp_path, task):
    options = (
        "--task",
        task,
        "--seed",
        "3",
        "--dropout",
        "0",
        "--batch-size",
        "7",
    )  # 7: the ranks' shares differ, and the last step's is one
    for name, processes in (("one", 1), ("two", 2)):
        arguments = command(prepared, model, tmp_path / name, *options)
        job = fork(arguments[arguments.index("evaluate") :], processes=processes)
        assert job.wait() == 0, job.stderr[-3000:]
    one, two = (
        json.loads((tmp_path / name / task / "pretrained-seed3" / "metrics.json").read_text())
        for name in ("one", "two")
    )
    assert (one["ranks"], two["ranks"]) == (1, 2)
    assert two["train_losses"] == pytest.approx(one["train_losses"], rel=1e-4)
    assert (
        two["dev_scores"] == pytest.approx(one["dev_scores"], abs=3.0)
        and two["scores"].keys() == one["scores"].keys()
    )
    support = [
        sum(run["scores"]["conlleval" if task != "HoC" else "micro"][name] for name in ("tp", "fn"))
        for run in (one, two)
    ]
    assert support[0] == support[1] > 0


def test_time_to_go_follows_what_is_done_of_the_work():
    assert seconds_to_go(10.0, done=4.0, rest=6.0) == 15.0
    assert seconds_to_go(10.0, done=0.0, rest=6.0) is None


@pytest.fixture
def array(monkeypatch):
    """In the place of SLURM and of fine-tuning: every missing element, and a run whose mark says how it
    ends."""
    elements, ends = [], {}

    def run_on_slurm(function, *, tasks, work, config, show):
        missing = incomplete(work, tasks)
        elements.append(len(missing))
        for rank in missing:
            run_task(pickle.loads(pickle.dumps(function)), rank, work)
            show(tasks - len(incomplete(work, tasks)), "1 RUNNING")

    def finetune(prepared, task, model, output, config, *, seed, **_):
        if error := ends.get(seed):
            raise error
        write_json(output / "metrics.json", {"task": task, "seed": seed})
        write_json(output / "manifest.json", {})

    monkeypatch.setattr(module, "run_on_slurm", run_on_slurm)
    monkeypatch.setattr(module, "finetune", finetune)
    return elements, ends


def test_an_array_does_what_is_missing_names_what_failed_and_tries_that_again(
    prepared, model, tmp_path, array
):
    elements, ends = array
    ends[2] = RuntimeError("out of\nmemory")
    ask = functools.partial(
        sweep, prepared, ["HoC"], model, tmp_path, BUDGET, seeds=(1, 2, 3), slurm=SlurmConfig()
    )
    with pytest.raises(
        RunFailed, match=r"1 of 3 runs failed \(HoC pretrained-seed2: RuntimeError: out of memory\)"
    ):
        ask()
    assert (tmp_path / "HoC" / "pretrained-seed3" / "manifest.json").exists(), "a failure stopped the others"
    ends.clear()
    assert [run["seed"] for run in ask()] == [1, 2, 3] and elements == [3, 1]
    (tmp_path / "HoC" / "pretrained-seed1" / "manifest.json").unlink()
    ask()
    ask()
    assert elements == [3, 1, 1, 0], "a deleted run is done again, a finished one is not"


def test_an_array_ends_at_a_mistake_and_is_another_one_for_other_settings(prepared, model, tmp_path, array):
    elements, ends = array
    ask = functools.partial(sweep, prepared, ["HoC"], model, tmp_path, seeds=(1, 2), slurm=SlurmConfig())
    ends[1] = UserError("no such precision", where="x", remedy="y")
    with pytest.raises(UserError, match="no such precision"):
        ask(BUDGET)
    ends.clear()
    ask(BUDGET)
    ask(replace(BUDGET, epochs=3))
    assert elements == [2, 2, 2]
