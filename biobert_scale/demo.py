"""The whole way once, through the same interfaces that a real build uses: raw files in, scores and a report
out.

Pre-training runs under `accelerate launch`; half-way it is sent a SIGTERM on purpose, and started again.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import logging
import multiprocessing
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

from tqdm import tqdm

from biobert_scale import __version__, notices
from biobert_scale.config import Config
from biobert_scale.environment import launcher_environment, processor_name
from biobert_scale.errors import RunFailed
from biobert_scale.files import read_json, write_json
from biobert_scale.launch.ports import free_port
from biobert_scale.termination import orderly_termination
from biobert_scale.training.checkpoint.retention import is_finished

logger = logging.getLogger(__name__)

_PACKAGES = ("accelerate", "datasets", "deepspeed", "numpy", "tokenizers", "torch", "transformers")
_TERM_GRACE_SECONDS = 120
_TAIL_BYTES = 4096


@orderly_termination()
def run_demo(
    output: Path, *, raw: Path | None, benchmarks: Path | None, config: Config, processes: int
) -> Path:
    """Run every stage that is not finished yet.

    Args:
        output: one directory for all stages' outputs.
        raw, benchmarks: real files; None for the made-up literature.
        processes: ranks of the pre-training run.

    Returns:
        The report's path.
    """
    from biobert_scale.corpus.build import build_corpus
    from biobert_scale.corpus.synthetic import write_synthetic
    from biobert_scale.evaluation.baselines import run_baselines
    from biobert_scale.evaluation.prepare import prepare
    from biobert_scale.release.export import export_model
    from biobert_scale.tokens.build import build_tokens
    from biobert_scale.tokens.vocabulary import build_vocabulary

    watch = StageWatch(output / "environment.json")
    workers = min(2, os.cpu_count() or 1)
    if raw is None or benchmarks is None:
        with watch.stage("raw"):
            write_synthetic(
                output / "raw",
                seed=config.seed,
                abstracts=config.synthetic.abstracts,
                full_texts=config.synthetic.full_texts,
            )
        raw = benchmarks = output / "raw"
    with watch.stage("benchmarks"):
        prepare(benchmarks, output / "benchmarks")
    with watch.stage("corpus"):
        build_corpus(raw, output / "corpus", config.corpus, benchmarks=output / "benchmarks", workers=workers)
    with watch.stage("vocabulary"):
        build_vocabulary(output / "corpus", output / "vocabulary", config.vocabulary)
    with watch.stage("tokens"):
        build_tokens(
            output / "corpus", output / "vocabulary", output / "tokens", config.tokens, workers=workers
        )
    with watch.stage("pre-training"):
        pretrain(config, output, processes=processes, watch=watch)
    with watch.stage("export"):
        export_model(output / "pretraining", output / "tokens", output / "export")
    with watch.stage("baselines"):
        run_baselines(output / "benchmarks", output / "evaluation" / "baselines")
    with watch.stage("fine-tuning"):
        finetune_all(config, output, workers=workers)
    watch.write()
    from biobert_scale.report import write_report

    return write_report(output, output / "report.html")


class StageWatch:
    """Times stages and keeps what was run, across calls; written into `environment.json` for the report."""

    def __init__(self, path: Path) -> None:
        self.path = path
        earlier = read_json(path) if path.exists() else {}
        self.seconds: dict[str, float] = earlier.get("seconds", {})
        self.commands: list[str] = earlier.get("commands", [])

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        seconds = time.monotonic() - started
        # A call that finds the stage finished returns at once: what it took to do it is what counts.
        self.seconds[name] = max(seconds, self.seconds.get(name, 0.0))
        logger.info("%s: %.1f s", name, seconds)

    def note(self, command: list[str]) -> None:
        line = shlex.join(command).replace(sys.executable, "python")
        if line not in self.commands:
            self.commands.append(line)

    def write(self) -> None:
        versions = {
            "biobert_scale": __version__,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        }
        write_json(
            self.path,
            {
                "python": platform.python_version(),
                "platform": platform.platform(),
                "processor": processor_name(),
                "cores": len(os.sched_getaffinity(0)),
                "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
                "gpu": _gpu(),
                "packages": versions,
                "commands": self.commands,
                "seconds": self.seconds,
            },
        )


def pretrain(config: Config, output: Path, *, processes: int, watch: StageWatch) -> None:
    """Pre-train under the launcher, interrupted once half-way, until the schedule's end."""
    run = output / "pretraining"
    recipe, notes, log = output / "pretraining.json", run / "interruptions.json", run / "train.log"
    write_json(recipe, config)
    interruptions: list[Interruption] = read_json(notes) if notes.exists() else []
    while not is_finished(run):
        half = config.training.schedule.total_steps // 2
        launch = _launch(
            config,
            recipe,
            output,
            processes=processes,
            interrupt_at=None if interruptions else half,
            watch=watch,
        )
        if launch.interrupted:
            interruptions.append(
                {"global_step": launch.last_step, "signal": "SIGTERM", "exit_code": launch.exit_code}
            )
            write_json(notes, interruptions)
            logger.info("stopped on purpose after step %d; starting again", launch.last_step)
        elif not (run / "finished.json").exists():
            raise RunFailed(
                f"pre-training ended with code {launch.exit_code} at step {launch.last_step}",
                where=log,
                remedy=_last_line(log.read_text()),
            )
    steps = _training_steps(run)
    for interruption in interruptions:
        interruption["resumed_step"] = min(
            (step for step in steps if step > interruption["global_step"]), default=None
        )
    write_json(notes, interruptions)


class Interruption(TypedDict):
    """A stop on purpose, as `interruptions.json` has it."""

    global_step: int
    signal: str
    exit_code: int
    resumed_step: NotRequired[int | None]


class Launch(NamedTuple):
    """How one start of the launcher ended."""

    last_step: int
    exit_code: int
    interrupted: bool
    """Stopped from here, before the end of the schedule."""


def _launch(
    config: Config, recipe: Path, output: Path, *, processes: int, interrupt_at: int | None, watch: StageWatch
) -> Launch:
    import torch

    run = output / "pretraining"
    run.mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // processes)
    launcher = (
        f"--use_deepspeed --num_processes {processes} --num_machines 1 --mixed_precision no --dynamo_backend"
        f" no --num_cpu_threads_per_process {threads} --main_process_port {free_port()}"
    )
    command = [sys.executable, "-m", "accelerate.commands.launch", *launcher.split()]
    command += ["-m", "biobert_scale.train", "--config", str(recipe)]
    command += ["--tokens", str(output / "tokens"), "--output", str(run)]
    watch.note(command)
    finished, interrupted = run / "finished.json", False
    total = config.training.schedule.total_steps
    with (
        open(run / "train.log", "a") as log,
        tqdm(total=total, unit="step", desc="pre-training", disable=None) as bar,
    ):
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=launcher_environment(threads=threads, on_gpu=torch.cuda.is_available()),
        )
        try:
            while process.poll() is None:
                time.sleep(0.5)
                step = _last_step(run)
                bar.update(step - bar.n)
                due = interrupt_at is not None and step >= interrupt_at
                if due and not interrupted and not finished.exists():
                    process.send_signal(signal.SIGTERM)
                    interrupted = True
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(_TERM_GRACE_SECONDS)
    return Launch(_last_step(run), process.returncode, interrupted and not finished.exists())


def finetune_all(config: Config, output: Path, *, workers: int) -> None:
    """Fine-tune the exported model and the same shape from random weights on every benchmark, with one
    budget."""
    from biobert_scale.evaluation.prepared import prepared_tasks, task_of
    from biobert_scale.evaluation.sweep import run_name

    evaluation, prepared = config.evaluation, output / "benchmarks"
    jobs = [
        functools.partial(
            _finetune,
            prepared,
            task,
            output / "export",
            output / "evaluation" / task / run_name(spec, "", seed=seed, random_weights=random_weights),
            evaluation.entities if spec.kind == "entities" else evaluation.documents,
            seed=seed,
            random_weights=random_weights,
        )
        for task in prepared_tasks(prepared)
        if task in evaluation.tasks
        for spec in [task_of(prepared, task)]
        for seed in evaluation.seeds
        for random_weights in (False, True)
    ]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin_finetuning) as pool:
        done = as_completed([pool.submit(job) for job in jobs])
        for future in tqdm(done, total=len(jobs), desc="fine-tuning", disable=None):
            logger.info("%s", future.result())


def _begin_finetuning() -> None:
    """A worker has one thread, and of its own nothing to say but warnings."""
    import torch

    torch.set_num_threads(1)
    logging.basicConfig(level=logging.WARNING)
    notices.switch_off()


def _finetune(*arguments: Any, **options: Any) -> str:
    from biobert_scale.evaluation.finetune import finetune

    metrics = finetune(*arguments, **options)
    return f"{metrics['task']}, {metrics['kind']}: {metrics['score']:.1f}"


def _training_steps(run: Path) -> list[int]:
    from biobert_scale.training.monitor.telemetry import read_metrics  # brings in torch

    return [record["global_step"] for record in read_metrics(run) if "train/loss" in record]


def _last_step(run: Path) -> int:
    """The newest step in the metrics; reads the end of the file only, since it is asked twice a second."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return 0
    with open(path, "rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = stream.read().decode().splitlines(keepends=True)
    for line in reversed(lines):
        if line.startswith("{") and line.endswith("}\n"):
            return int(json.loads(line)["global_step"])
    return 0


def _last_line(text: str) -> str:
    lines = [
        line.strip() for line in text.splitlines() if line.startswith("biobert-scale:") or "Error" in line
    ]
    return f"it said: {lines[0] if lines else 'nothing'}"


def _gpu() -> str | None:
    try:
        found = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True
        )
    except (FileNotFoundError, PermissionError):  # a directory of the PATH may be closed to us
        return None
    return found.stdout.strip() or None
