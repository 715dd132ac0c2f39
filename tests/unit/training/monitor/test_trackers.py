"""Trackers: one run there for all starts of one run here, and no failure of theirs is the run's."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import trackio.utils
from accelerate import Accelerator
from accelerate.state import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from biobert_scale.recipes import load_config
from biobert_scale.training.checkpoint.state import TrainerState
from biobert_scale.training.monitor.guards import record_event
from biobert_scale.training.monitor.metrics import RunMetrics
from biobert_scale.training.monitor.telemetry import Telemetry
from biobert_scale.training.monitor.trackers import Trackers


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's, with its tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path) -> Iterator[None]:
    """Every tracker's store is in the test's directory."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    PartialState(cpu=True)
    monkeypatch.chdir(tmp_path)
    where = tmp_path / "trackio"
    for module in (trackio.utils, trackio.sqlite_storage):
        monkeypatch.setattr(module, "TRACKIO_DIR", where)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    yield
    mlflow.set_tracking_uri("")


def record(step: int, loss: float = 0.5) -> RunMetrics:
    return {"global_step": step, "consumed_samples": 16 * step, "train/loss": loss + step}


def run_of_two_starts(tracker: str, run: Path, *, sent_of_first: int = 5) -> None:
    """Killed after step 5, its checkpoint of step 3; the second start ends with step 7."""
    run.mkdir(exist_ok=True)
    first = Trackers((tracker,), run, global_step=0, records=())
    first.log(0, {"consumed_samples": 0, "validation/mlm_loss": 9.0})
    for step in range(1, sent_of_first + 1):
        first.log(step, record(step))
        first.log(step, {"consumed_samples": 16 * step, "perf/checkpoint_stall_seconds": 0.1})
    first.close(patience=30.0)
    kept = [record(step) for step in range(1, 4)]
    second = Trackers((tracker,), run, global_step=3, records=kept)
    for step in range(4, 8):
        second.log(step, record(step))
    second.annotate("loss spike", 6, "the loss is 9.000")
    second.close(patience=30.0)


def mlflow_steps(run: Path) -> list[int]:
    (found,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    history = mlflow.MlflowClient().get_metric_history(found.info.run_id, "train/loss")
    assert [point.value for point in history] == [0.5 + point.step for point in history]
    assert found.data.tags["loss spike"] == "step 6: the loss is 9.000"
    return [point.step for point in history]


def trackio_steps(run: Path) -> list[int]:
    (store,) = (Path.cwd() / "trackio").glob("*.db")
    with sqlite3.connect(store) as connection:
        assert len(connection.execute("SELECT DISTINCT run_name FROM metrics").fetchall()) == 1
        assert ("loss spike", 6) in connection.execute("SELECT title, step FROM alerts").fetchall()
        rows = connection.execute("SELECT step FROM metrics ORDER BY id").fetchall()
    assert rows[0] == (0,)
    return [step for (step,) in rows[1:]]


def tensorboard_steps(run: Path) -> list[int]:
    accumulator = EventAccumulator(str(run / run.name))
    accumulator.Reload()
    assert "events/loss spike/text_summary" in accumulator.Tags()["tensors"]
    return [event.step for event in accumulator.Scalars("train/loss")]


@pytest.mark.parametrize("read", [mlflow_steps, trackio_steps, tensorboard_steps])
@pytest.mark.fault(
    "a run that was requeued, in the stores of MLflow, trackio and TensorBoard",
    "one run there, every step once and in order",
)
def test_a_requeued_run_is_one_run_with_every_step_once(
    read: Callable[[Path], list[int]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_of_two_starts(read.__name__.removesuffix("_steps"), run)
    assert read(run) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("read", [mlflow_steps, trackio_steps, tensorboard_steps])
def test_what_the_first_start_did_not_send_the_second_sends(
    read: Callable[[Path], list[int]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run_of_two_starts(read.__name__.removesuffix("_steps"), run, sent_of_first=1)
    assert read(run) == [1, 2, 3, 4, 5, 6, 7]


def roll_back_of(tracker: str, run: Path) -> None:
    """Rolled back to step 2 at step 7, as the trainer, its guards and its telemetry do it."""
    run.mkdir()
    opened = Trackers((tracker,), run, global_step=0, records=())
    opened.log(0, {"consumed_samples": 0, "validation/mlm_loss": 9.0})
    for step in range(1, 7):
        opened.log(step, record(step))
    opened.rewind(2)
    for step in range(3, 10):
        opened.log(step, record(step))
        if step == 3:
            opened.annotate("loss spike", 7, "the loss is 9.000")
    opened.annotate("loss spike", 6, "the loss is 9.000")
    opened.close(patience=30.0)


@pytest.mark.parametrize("read", [mlflow_steps, trackio_steps, tensorboard_steps])
def test_a_run_that_was_rolled_back_is_one_run_with_every_step_once(
    read: Callable[[Path], list[int]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    roll_back_of(read.__name__.removesuffix("_steps"), run)
    assert read(run) == list(range(1, 10))


def test_tensorboard_has_the_steps_that_were_computed_again(tmp_path: Path) -> None:
    opened = Trackers(("tensorboard",), tmp_path, global_step=0, records=())
    for step in range(1, 5):
        opened.log(step, record(step))
    opened.rewind(2)
    for step in range(3, 6):
        opened.log(step, record(step, loss=100.0))
    opened.close(patience=30.0)
    accumulator = EventAccumulator(str(tmp_path / tmp_path.name))
    accumulator.Reload()
    found = [(event.step, event.value) for event in accumulator.Scalars("train/loss")]
    assert found == [(1, 1.5), (2, 2.5), (3, 103.0), (4, 104.0), (5, 105.0)]


class Faulty(GeneralTracker):
    name = "faulty"
    requires_logging_directory = False
    where = ""

    def __init__(self, project: str) -> None:
        super().__init__()
        self.rows: list[int] = []

    @property
    def tracker(self) -> None:
        return None

    def fail(self, where: str) -> None:
        if where == self.where:
            raise OSError(28, "No space left on device\nand more")

    def start(self) -> None:
        self.fail("start")

    def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
        if step == 2:
            self.fail("middle")

    def finish(self) -> None:
        self.fail("end")


@pytest.mark.parametrize("where", ["start", "middle", "end"])
@pytest.mark.fault(
    "a tracker that fails as it starts, in the middle of the run, or at its end",
    "one line; the run and the other trackers continue",
)
def test_a_tracker_that_fails_says_one_line_and_no_more(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "faulty", Faulty)
    monkeypatch.setattr(Faulty, "where", where)
    with caplog.at_level(logging.WARNING, logger="biobert_scale"):
        opened = Trackers(("faulty", "tensorboard"), tmp_path, global_step=0, records=())
        for step in range(1, 4):
            opened.log(step, record(step))
        opened.close(patience=30.0)
    (line,) = (entry.getMessage() for entry in caplog.records)
    assert line.startswith("tracker faulty is off") and "No space left" in line and "\n" not in line
    accumulator = EventAccumulator(str(tmp_path / tmp_path.name))
    accumulator.Reload()
    assert [event.step for event in accumulator.Scalars("train/loss")] == [1, 2, 3]


@pytest.mark.fault("a tracker's server that does not answer", "one line; the end waits half a minute")
def test_a_tracker_that_hangs_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked, answer, calls = threading.Event(), threading.Event(), list[int]()
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "faulty", Faulty)

    def log(_: Faulty, values: dict[str, Any], step: int) -> None:
        calls.append(step)
        asked.set()
        answer.wait()

    monkeypatch.setattr(Faulty, "log", log)
    hanging = Trackers(("faulty",), tmp_path, global_step=0, records=())
    for step in (1, 2, 3):
        hanging.log(step, record(step))
    assert asked.wait(60)
    hanging.close(patience=0.01)
    assert [entry.getMessage()[:21] for entry in caplog.records] == ["tracker faulty is off"]
    answer.set()
    (sender,) = hanging.senders
    sender.join()
    assert calls == [1], "nothing is sent after the end"


def test_values_of_a_step_are_one_row_without_what_is_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[tuple[int, dict[str, Any]]] = []
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "faulty", Faulty)
    monkeypatch.setattr(Faulty, "log", lambda _, values, step: rows.append((step, values)))
    opened = Trackers(("faulty",), tmp_path, global_step=0, records=())
    opened.log(1, {"train/loss": 3.0, "optim/grad_norm": float("inf")})
    opened.log(1, {"validation/mlm_loss": 2.0})
    opened.log(2, {"train/loss": 1.0})
    opened.close(patience=30.0)
    assert rows == [
        (1, {"global_step": 1, "train/loss": 3.0, "validation/mlm_loss": 2.0}),
        (2, {"global_step": 2, "train/loss": 1.0}),
    ]


def test_wandb_gets_the_same_identity_at_every_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[dict[str, Any]] = []

    def made(project: str, **options: Any) -> Faulty:
        noted.append(options)
        return Faulty(project)

    made.requires_logging_directory = False  # type: ignore[attr-defined]
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", made)
    for _ in range(2):
        Trackers(("wandb",), tmp_path, global_step=0, records=()).close(patience=30.0)
    assert noted[0] == noted[1] and noted[0]["resume"] == "allow" and noted[0]["dir"] == str(tmp_path)


def test_guards_and_checkpoints_are_annotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks: list[tuple[str, int, str]] = []
    monkeypatch.setattr(Trackers, "annotate", lambda _, *mark: marks.append(mark))
    record_event(tmp_path, "stalled", 0, 1, "of an earlier start")
    telemetry = Telemetry(Accelerator(cpu=True), tmp_path, TrainerState(), config=load_config("demo"))
    record_event(tmp_path, "loss spike", 4, 1, "the loss is 9.000")
    telemetry.log(5, {"perf/checkpoint_stall_seconds": 0.1})
    telemetry.log(6, {"validation/mlm_loss": 2.0})
    telemetry.close(patience=30.0)
    assert marks == [
        ("loss spike", 4, "the loss is 9.000"),
        ("checkpoint", 5, "step-00000005"),
        ("validation", 6, "MLM loss 2.0000"),
    ]
