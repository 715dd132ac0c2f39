"""Runs for the tests: forked from a process that has imported the libraries already, which costs a second a
rank, or started by the real launcher, which costs ten."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from biobert_scale.files import write_json
from biobert_scale.launch.ports import free_port
from biobert_scale.training.checkpoint.manifest import read_record
from biobert_scale.training.checkpoint.retention import complete
from biobert_scale.training.checkpoint.tensor_files import Shards
from biobert_scale.training.monitor.metrics import RunMetrics
from biobert_scale.training.monitor.telemetry import read_metrics
from tests.factories import TINY

ROOT = Path(__file__).parents[1]
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_FORKS = multiprocessing.get_context("forkserver")


def options(tokens: Path, run: Path, *overrides: str, dtype: str = "fp32", steps: int = 8) -> list[str]:
    """The arguments of `train` for a run of the tiny recipe, which is written beside it."""
    recipe = run.with_suffix(".json")
    write_json(recipe, TINY)
    chosen = ["--config", str(recipe), "--tokens", str(tokens), "--output", str(run)]
    chosen += ["--training.precision.dtype", dtype, "--training.schedule.total-steps", str(steps)]
    return [*chosen, *overrides]


def command(
    tokens: Path, run: Path, *overrides: str, processes: int, worker: str = "", **chosen: Any
) -> list[str]:
    """The command line of a run under accelerate's launcher, or of one process without a launcher.

    Args:
        worker: a Python file that every rank runs in place of the package's own module.
    """
    launcher = ["-m", "accelerate.commands.launch", "--use_deepspeed", "--num_processes", str(processes)]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launcher += ["--num_cpu_threads_per_process", "1", "--main_process_port", str(free_port())]
    module = [worker] if worker else ["-m", "biobert_scale.train"]
    return [
        sys.executable,
        *(launcher if processes > 1 else []),
        *module,
        *options(tokens, run, *overrides, **chosen),
    ]


def environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if name not in RANK_VARIABLES}
    return {**clean, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def _rank(arguments: list[str], worker: str, variables: dict[str, str], output: Path, cwd: Path) -> None:
    """One forked process: the worker, or the command line, with its output in files."""
    os.environ.update(variables)
    os.chdir(cwd)
    for number, name in ((1, "stdout"), (2, "stderr")):
        with open(output / f"{name}-{variables.get('RANK', '0')}", "wb") as stream:
            os.dup2(stream.fileno(), number)
    torch.set_num_threads(1)
    if worker:
        sys.argv = [worker, *arguments]
        sys.path.insert(0, str(Path(worker).parent))
        runpy.run_path(worker, run_name="__main__")
    else:
        from biobert_scale.cli import main

        sys.exit(main(arguments))


@dataclass(kw_only=True)
class Job:
    """The processes of one command, as a launcher would have started them on this machine."""

    ranks: list[BaseProcess]
    output: Path

    @property
    def stderr(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self.output.glob("stderr-*")))

    @property
    def stdout(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self.output.glob("stdout-*")))

    @property
    def returncode(self) -> int | None:
        """None while a rank runs; the first code that is not 0."""
        codes = [rank.exitcode for rank in self.ranks]
        return None if None in codes else next((code for code in codes if code), 0)

    def pid(self, rank: int) -> int:
        found = self.ranks[rank].pid
        assert found is not None
        return found

    def send_signal(self, number: int) -> None:
        for rank in self.ranks:
            if rank.exitcode is None and rank.pid is not None:
                with suppress(ProcessLookupError):  # it has ended this moment
                    os.kill(rank.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
        for rank in self.ranks:
            rank.join()

    def wait(self, timeout: float = 300) -> int:
        """Wait for all ranks. Where one fails, the others get as long as a launcher gives them; then they are
        killed."""
        deadline = time.monotonic() + timeout
        while (code := self.returncode) is None:
            if any(rank.exitcode for rank in self.ranks):
                deadline = min(deadline, time.monotonic() + 30)
            running = [rank.sentinel for rank in self.ranks if rank.exitcode is None]
            multiprocessing.connection.wait(running, timeout=1)
            if time.monotonic() > deadline:
                self.kill()
        return code


def fork(
    arguments: list[str], *, processes: int = 1, worker: str = "", cwd: Path | None = None, **variables: str
) -> Job:
    """Start a command of this package (or a worker's file) in forked processes, the ranks of one group.

    Args:
        arguments: as `biobert-scale` gets them, or a worker.
        variables: added to the environment.
    """
    output = Path(tempfile.mkdtemp(prefix="job-"))
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(processes)}
    ranks: list[BaseProcess] = []
    for number in range(processes):
        where = {**group, "RANK": str(number), "LOCAL_RANK": str(number)} if processes > 1 else {}
        variables = {**variables, "OMP_NUM_THREADS": "1"}
        rank = _FORKS.Process(
            target=_rank, args=(arguments, worker, {**variables, **where}, output, cwd or Path.cwd())
        )
        rank.start()
        ranks.append(rank)
    return Job(ranks=ranks, output=output)


def start(
    tokens: Path,
    run: Path,
    *overrides: str,
    processes: int,
    worker: str = "",
    variables: Any = (),
    **chosen: Any,
) -> Job:
    """Start a run of the tiny recipe on forked ranks."""
    arguments = [*([] if worker else ["train"]), *options(tokens, run, *overrides, **chosen)]
    return fork(arguments, processes=processes, worker=worker, cwd=run.parent, **dict(variables))


def train(tokens: Path, run: Path, *overrides: str, processes: int, **chosen: Any) -> list[RunMetrics]:
    """A run of the tiny recipe on forked ranks, to its good end; returns its metrics."""
    job = start(tokens, run, *overrides, processes=processes, **chosen)
    assert job.wait() == 0, job.stderr[-3000:]
    return read_metrics(run)


def attempt(tokens: Path, run: Path, *overrides: str, processes: int, **chosen: Any) -> Job:
    """A run of the tiny recipe on forked ranks, to whatever end."""
    job = start(tokens, run, *overrides, processes=processes, **chosen)
    job.wait()
    return job


def wait_until(condition: Callable[[], object], job: Job) -> None:
    """Poll a running job; it must not end before."""
    deadline = time.monotonic() + 240
    while not condition():
        assert job.returncode is None and time.monotonic() < deadline, job.stderr[-3000:]
        time.sleep(0.05)


def wait_for_step(job: Job, run: Path, step: int) -> None:
    wait_until(lambda: any(record["global_step"] >= step for record in read_metrics(run)), job)


def launch(
    line: list[str], *, cwd: Path, timeout: float = 300, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command line in a fresh process, to its end."""
    where = {**environment(), **variables}
    return subprocess.run(line, env=where, capture_output=True, text=True, timeout=timeout, cwd=cwd)


def column(metrics: Iterable[Mapping[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    """(step, values) of the records that have the first name."""
    return [
        tuple(record[name] for name in ("global_step", *names)) for record in metrics if names[0] in record
    ]


def last_state(run: Path) -> dict[str, Tensor]:
    """Weights and moments of a run's last checkpoint, whoever wrote which part of them."""
    return state_of(complete(run)[-1])


def state_of(checkpoint: Path) -> dict[str, Tensor]:
    found = {}
    with Shards(checkpoint, read_record(checkpoint)["shards"]) as shards:
        for name in shards.names():
            for kind in ("weight", "exp_avg", "exp_avg_sq"):
                found[f"{kind} {name}"] = torch.empty(shards.numel(name))
                shards.read(kind, name, 0, found[f"{kind} {name}"])
    return found
