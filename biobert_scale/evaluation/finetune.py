"""Fine-tune an encoder on one benchmark and score it: dev chooses, test is predicted once."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import logging
import shutil
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase

from biobert_scale import __version__
from biobert_scale.config import FinetuneConfig, GridConfig
from biobert_scale.errors import UserError
from biobert_scale.evaluation.finetuned_weights import Head, read_weights, save_finetuned, write_weights
from biobert_scale.evaluation.fit import Benchmark, Fitted, fit
from biobert_scale.evaluation.hoc import HallmarkTask
from biobert_scale.evaluation.ner import EntityTask
from biobert_scale.evaluation.packed_sequences import load_tokenizer
from biobert_scale.evaluation.prepared import HALLMARK_TASKS, data_checksums, is_published, task_directory
from biobert_scale.evaluation.protocols import Protocol, protocol_of
from biobert_scale.evaluation.scores import Counts
from biobert_scale.files import (
    MANIFEST,
    describe_inputs,
    fingerprint,
    read_json,
    write_atomically,
    write_json,
)
from biobert_scale.modeling.model import Encoder
from biobert_scale.modeling.weights import load_encoder, read_model_config
from biobert_scale.ranges import SEEDS, check_number
from biobert_scale.release.heads import MODEL
from biobert_scale.stage import Stage
from biobert_scale.training.ranks import rank_environment
from biobert_scale.training.runtime import on_first_rank, start_plain

logger = logging.getLogger(__name__)

STAGE = "finetune"
METRICS, DOCUMENTS = "metrics.json", "documents.jsonl"
_TRIALS = "trials"
_DOCUMENT_PIECES, _SENTENCE_PIECES = 512, 256
LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "numpy")


def finetune(
    prepared: Path,
    task: str,
    model: Path,
    output: Path,
    config: FinetuneConfig,
    *,
    seed: int,
    protocol: str = "",
    grid: GridConfig = GridConfig(),
    random_weights: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Fine-tune a model on a task; finished work is read back instead of done again, and an interrupted grid
    goes on.

    Each seed repeats the whole procedure, the grid's search included. Under a launcher every rank calls this.

    Args:
        prepared: a directory that `prepare` wrote.
        task: one of its tasks.
        model: a Hugging Face BERT directory with its tokenizer.
        output: for `metrics.json`, the test split's predictions, `documents.jsonl` (counts of each test
            document), and `model`.
        seed: keys the new layer's weights, the order and dropout; and the encoder's weights where those are
            random.
        protocol: see `protocols.PROTOCOLS`; the task's first one by default.
        grid: settings to try instead of the budget's.
        random_weights: start from fresh weights in the model's shape: what pre-training adds is the
            difference.

    Returns:
        What `metrics.json` holds; scores are in percent.

    Raises:
        UserError: an unknown task or protocol, a model or tokenizer that does not serve, a precision that the
            device has not, or a window longer than the model's positions.
        RunFailed: the loss is not finite.
    """
    task_directory(prepared, task)
    rule = protocol_of(task, protocol)
    check_number(seed, SEEDS, "--seed")
    config = _sized(config, task, model)
    inputs = describe_inputs([prepared, *model_files(model)])
    settings = {
        "task": task,
        "model": name_of_model(model),
        "protocol": rule.name,
        "seed": seed,
        "random_weights": random_weights,
    } | {"finetune": asdict(config), "grid": asdict(grid)}
    stage = Stage(output, STAGE, inputs=inputs, config=settings, overwrite=overwrite, reads=[prepared, model])
    with rank_environment() as ranks, ExitStack() as held:
        accelerator = start_plain(ranks, config.precision)

        def begin() -> bool:
            return held.enter_context(stage).finished is not None

        if on_first_rank(accelerator, begin):
            return dict(read_json(output / METRICS))
        started = time.monotonic()
        run = _Run(prepared, task, model, config, accelerator, seed=seed, random_weights=random_weights)
        tagger, selection, fitted = run.choose(_points(config, grid), output / _TRIALS, rule)
        with accelerator.autocast():
            result = run.benchmark.evaluate(tagger, "test", accelerator.device)
        if accelerator.is_main_process:
            files = write_result(output, run.benchmark, "test", result)
            if config.keep_weights:
                files += save_finetuned(output / MODEL, tagger, task=task, source=model, config=config)
            metrics = {
                **describe_run(
                    prepared,
                    task,
                    rule,
                    model=name_of_model(model),
                    kind="random weights" if random_weights else "pre-trained",
                    seed=seed,
                ),
                "model_fingerprint": fingerprint(inputs[1:]),
                **pretraining_of(model, random_weights=random_weights),
                "random_weights": random_weights,
                **result,
                **selection,
                **_conditions(config, grid, accelerator),
                "train_losses": fitted.train_losses,
                "seconds": round(time.monotonic() - started, 2),
            }
            write_json(output / METRICS, metrics)
            counts, files = {"score": metrics["score"]}, [*files, output / METRICS]
            stage.finish(
                counts=counts,
                outputs=files,
                libraries=LIBRARIES,
            )
            shutil.rmtree(output / _TRIALS, ignore_errors=True)
            logger.info(
                "%s, %s, seed %d: %s %.2f", task, metrics["kind"], seed, rule.score_name, metrics["score"]
            )
        accelerator.wait_for_everyone()
        return dict(read_json(output / METRICS))


def _conditions(config: FinetuneConfig, grid: GridConfig, accelerator: Accelerator) -> dict[str, Any]:
    """Under which settings, on what, with which libraries."""
    return {
        "max_seq_length": config.max_seq_length,
        "config": (
            {name: value for name, value in asdict(config).items() if name != "keep_weights"}
            | {name: values for name, values in asdict(grid).items() if values}
        ),
        "device": accelerator.device.type,
        "ranks": accelerator.num_processes,
        "precision": accelerator.mixed_precision,
        "versions": versions(),
    }


def _points(config: FinetuneConfig, grid: GridConfig) -> list[FinetuneConfig]:
    """Every combination of the grid."""
    axes = (
        grid.learning_rate or (config.learning_rate,),
        grid.batch_size or (config.batch_size,),
        grid.epochs or (config.epochs,),
    )
    return [
        replace(config, learning_rate=rate, batch_size=size, epochs=epochs)
        for rate, size, epochs in itertools.product(*axes)
    ]


def _sized(config: FinetuneConfig, task: str, model: Path) -> FinetuneConfig:
    """With the length of inputs that the task has where none is asked for."""
    if config.max_seq_length:
        return config
    length = (
        _DOCUMENT_PIECES
        if task in HALLMARK_TASKS and config.hallmark_unit == "document"
        else _SENTENCE_PIECES
    )
    return replace(config, max_seq_length=min(length, read_model_config(model).max_position_embeddings))


def name_of_model(model: Path) -> str:
    """What a model is called in tables: its directory's name."""
    return model.resolve().name


class _Run:
    """One benchmark in one model's word pieces, and trainings of that model on it."""

    def __init__(
        self,
        prepared: Path,
        task: str,
        model: Path,
        config: FinetuneConfig,
        accelerator: Accelerator,
        *,
        seed: int,
        random_weights: bool,
    ) -> None:
        self._model, self._seed, self._random, self._accelerator = model, seed, random_weights, accelerator
        self._name = f"{task} seed {seed}"
        # What is wrong with the model or the settings is reported before any text is read.
        self._spare: Encoder | None = self._build(config)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(model)
        self.benchmark = open_benchmark(prepared, task, self.tokenizer, config)

    def _build(self, config: FinetuneConfig) -> Encoder:
        encoder = load_encoder(
            self._model, dropout=config.dropout, random_weights=self._random, seed=self._seed
        )
        _check_settings(config, encoder, self._model)
        return encoder

    def _fresh(self, config: FinetuneConfig) -> Head:
        """The encoder with the benchmark's new layer, as before any training."""
        encoder, self._spare = self._spare or self._build(config), None
        torch.manual_seed(self._seed)
        return self.benchmark.model(encoder, config.dropout)

    def choose(
        self, points: list[FinetuneConfig], trials: Path, rule: Protocol
    ) -> tuple[Head, dict[str, Any], Fitted]:
        """Train every point that an earlier start has not finished, and take the one that dev prefers.

        Returns:
            The model that predicts the test split, what `metrics.json` says of the choice, and the training
            that made it.
        """
        fits: list[Fitted] = []
        tagger: Head | None = None
        for point in points:
            name = f"learning-rate-{point.learning_rate:g}-batch-{point.batch_size}-epochs-{point.epochs}"
            trained, fitted = self._try(
                point, trials / name, best=max((max(f.dev_scores) for f in fits), default=-1.0)
            )
            if not fits or max(fitted.dev_scores) > max(max(f.dev_scores) for f in fits):
                tagger, chosen, home = trained, point, trials / name
            fits.append(fitted)
        fitted = fits[points.index(chosen)]
        if rule.retrain:
            tagger = self._fresh(chosen)
            self.benchmark.train_on("train", "dev")
            again = fit(
                tagger,
                self.benchmark,
                chosen,
                self._accelerator,
                seed=self._seed,
                description=f"{self._name}, train and dev",
                stop_after=fitted.chosen_epoch,
            )
        elif tagger is None:
            tagger = self._fresh(chosen)
            read_weights(home / "weights.safetensors", tagger)
            tagger.to(self._accelerator.device).eval()
        tried = [
            {name: getattr(point, name) for name in ("learning_rate", "batch_size", "epochs")}
            for point in points
        ]
        selection = {
            "selection": {
                "rule": rule.selection,
                "chosen": tried[points.index(chosen)],
                "trials": [
                    point | {"dev_scores": fit.dev_scores, "chosen_epoch": fit.chosen_epoch}
                    for point, fit in zip(tried, fits, strict=True)
                ],
            },
            "dev_scores": (
                [] if rule.retrain else fitted.dev_scores
            ),  # after training on dev its score means nothing
            "chosen_epoch": fitted.chosen_epoch,
        }
        return tagger, selection, again if rule.retrain else fitted

    def _try(self, point: FinetuneConfig, trial: Path, *, best: float) -> tuple[Head | None, Fitted]:
        """Train one point, or read what an earlier start left of it; only a new best keeps its weights."""
        record = trial / "dev.json"
        if record.is_file():
            return None, Fitted(**read_json(record))
        tagger = self._fresh(point)
        fitted = fit(
            tagger, self.benchmark, point, self._accelerator, seed=self._seed, description=self._name
        )
        if self._accelerator.is_main_process:
            better = max(fitted.dev_scores) > best
            if better:
                write_weights(trial / "weights.safetensors", tagger)
            write_json(record, fitted)
            for other in (
                trial.parent.glob("*/weights.safetensors") if better else ()
            ):  # only now: a redone trial might score otherwise
                if other.parent != trial:
                    other.unlink()
        self._accelerator.wait_for_everyone()
        return tagger, fitted


def open_benchmark(
    prepared: Path,
    task: str,
    tokenizer: PreTrainedTokenizerBase,
    config: FinetuneConfig,
    splits: tuple[str, ...] = ("train", "dev", "test"),
) -> Benchmark:
    """A task in a model's word pieces."""
    if task in HALLMARK_TASKS:
        return HallmarkTask(prepared, task, tokenizer, config.max_seq_length, config.hallmark_unit, splits)
    return EntityTask(prepared, task, tokenizer, config.max_seq_length, splits)


def write_result(output: Path, benchmark: Benchmark, split: str, result: dict[str, Any]) -> list[Path]:
    """Write a split's predictions and its documents' counts, and put the breakdown in their place in
    `result`."""
    predictions = result.pop("predictions")
    result.update(benchmark.break_down(split, predictions))
    files = benchmark.write_predictions(output, split, predictions)
    write_documents(output / DOCUMENTS, result.pop("documents"))
    return [*files, output / DOCUMENTS]


def describe_run(
    prepared: Path, task: str, rule: Protocol, *, model: str, kind: str, seed: int | None, split: str = "test"
) -> dict[str, Any]:
    """What every `metrics.json` begins with."""
    return {
        "task": task,
        "protocol": rule.name,
        "score_name": rule.score_name,
        "measure": rule.measure,
        "kind": kind,
        "model": model,
        "seed": seed,
        "split": split,
        "data": data_checksums(prepared, task),
        "published_data": is_published(prepared, task),
    }


def versions() -> dict[str, str]:
    """This package's version and its libraries'."""
    return {"biobert_scale": __version__} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def _check_settings(config: FinetuneConfig, encoder: Encoder, model: Path) -> None:
    positions = encoder.config.max_position_embeddings
    if not 8 <= config.max_seq_length <= positions:
        what = (
            f"max_seq_length {config.max_seq_length} is not between 8 and the model's {positions} positions"
        )
        raise UserError(what, where=model, remedy="correct evaluation's max_seq_length")


def model_files(model: Path) -> list[Path]:
    """What a model directory stands for: its manifest where it has one, else its own files."""
    if (model / MANIFEST).exists() or not model.is_dir():
        return [model]
    return sorted(
        path for path in model.iterdir() if path.suffix in (".json", ".txt", ".safetensors", ".bin")
    )


def pretraining_of(model: Path, *, random_weights: bool) -> dict[str, Any]:
    """`pretraining_step`, the optimizer step of pre-training that a model was exported at (0 for random
    weights), and `pretraining_run`, what keeps its run apart from others; None where the model's directory
    says nothing."""
    manifest = read_json(model / MANIFEST) if (model / MANIFEST).exists() else {}
    step = manifest.get("counts", {}).get("global_step")
    return {
        "pretraining_step": 0 if random_weights else step,
        "pretraining_run": (manifest.get("config") or {}).get("pretraining"),
    }


def write_documents(path: Path, documents: dict[str, Counts]) -> None:
    """Write every test document's counts: what paired comparisons of two systems need."""
    rows = [json.dumps({"pmid": pmid, **asdict(counts)}) + "\n" for pmid, counts in documents.items()]
    write_atomically(path, "".join(rows))
