"""Fine-tune an encoder on one task and score it: dev chooses, test is predicted once."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import logging
import math
import shutil
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase

from biobert_scale import __version__
from biobert_scale.config import FinetuneConfig, GridConfig
from biobert_scale.errors import UserError
from biobert_scale.evaluation.cross_corpus import Transfer
from biobert_scale.evaluation.finetuned_weights import Head, read_weights, save_finetuned, write_weights
from biobert_scale.evaluation.fit import Benchmark, Fitted, fit
from biobert_scale.evaluation.ner import EntityTask
from biobert_scale.evaluation.overlap import overlap_with_train
from biobert_scale.evaluation.packed_sequences import load_tokenizer
from biobert_scale.evaluation.prepared import data_checksums, is_published, task_of
from biobert_scale.evaluation.protocols import SCORES, Protocol, protocol_of
from biobert_scale.evaluation.records import (
    Breakdown,
    FinetunedMetrics,
    Origin,
    Point,
    RunDescription,
    Scored,
    Selection,
    Trial,
)
from biobert_scale.evaluation.scores import Statistics
from biobert_scale.evaluation.sequences import SequenceTask
from biobert_scale.evaluation.tasks.spec import Kind, Task
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
_SENTENCE_PIECES = 256
_PIECES: dict[Kind, int] = {"classification": 512, "question_answering": 512}
"""Word pieces in one input where a task says nothing of it; elsewhere as many as for a sentence."""
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
) -> FinetunedMetrics:
    """Fine-tune a model on a task; finished work is read back instead of done again, and an interrupted grid
    resumes.

    Each seed repeats the whole procedure, the grid's search included. Under a launcher every rank calls this.

    Args:
        prepared: a directory that `prepare` wrote.
        task: one of its tasks.
        model: a Hugging Face BERT directory with its tokenizer.
        output: for `metrics.json`, the test split's predictions, `documents.jsonl` (counts of each test
            document), and `model`.
        seed: keys the new layer's weights, the order and dropout; and the encoder's weights, or those of its
            last layers, where they are random.
        protocol: one of the task's, see `protocols.PROTOCOLS`; its first one by default.
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
    spec = task_of(prepared, task)
    rule = protocol_of(spec, protocol)
    check_number(seed, SEEDS, "--seed")
    config = _sized(config, spec, model)
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
            return read_metrics(output)
        started = time.monotonic()
        run = _Run(prepared, task, model, config, accelerator, seed=seed, random_weights=random_weights)
        chosen = run.choose(_points(config, grid), output / _TRIALS, rule)
        with accelerator.autocast():
            scored = run.benchmark.evaluate(chosen.model, "test", accelerator.device)
        if accelerator.is_main_process:
            result = write_result(output, run.benchmark, "test", scored)
            files = result.files
            if config.keep_weights:
                files += save_finetuned(output / MODEL, chosen.model, task=spec, source=model, config=config)
            kind = "random weights" if random_weights else "pre-trained"
            metrics: FinetunedMetrics = {
                **describe_run(prepared, task, rule, model=name_of_model(model), kind=kind, seed=seed),
                **_origin(model, inputs[1:], random_weights=random_weights),
                "random_weights": random_weights,
                **result.scores,
                **result.breakdown,
                "selection": chosen.selection,
                # After training on dev its score means nothing.
                "dev_scores": [] if rule.retrain else chosen.fitted.dev_scores,
                "chosen_epoch": chosen.fitted.chosen_epoch,
                "max_seq_length": config.max_seq_length,
                "config": _budget(config, grid),
                "device": accelerator.device.type,
                "ranks": accelerator.num_processes,
                "precision": accelerator.mixed_precision,
                "versions": versions(),
                "train_losses": chosen.train_losses,
                "seconds": round(time.monotonic() - started, 2),
            }
            write_json(output / METRICS, metrics)
            counts, files = {"score": metrics["score"]}, [*files, output / METRICS]
            stage.finish(counts=counts, outputs=files, libraries=LIBRARIES)
            shutil.rmtree(output / _TRIALS, ignore_errors=True)
            logger.info("%s, %s, seed %d: %s %.2f", task, kind, seed, metrics["score_name"], metrics["score"])
        accelerator.wait_for_everyone()
        return read_metrics(output)


def read_metrics(run: Path) -> FinetunedMetrics:
    """What a finished run wrote."""
    metrics: FinetunedMetrics = read_json(run / METRICS)
    return metrics


def _budget(config: FinetuneConfig, grid: GridConfig) -> dict[str, Any]:
    """The settings, and the grid's values in the place of those that it tried."""
    budget = asdict(config) | {name: values for name, values in asdict(grid).items() if values}
    del budget["keep_weights"]
    return budget


def _points(config: FinetuneConfig, grid: GridConfig) -> list[FinetuneConfig]:
    """Every combination of the grid."""
    rates, sizes = grid.learning_rate or (config.learning_rate,), grid.batch_size or (config.batch_size,)
    return [
        replace(config, learning_rate=rate, batch_size=size, epochs=epochs)
        for rate, size, epochs in itertools.product(rates, sizes, grid.epochs or (config.epochs,))
    ]


def _long_enough(config: FinetuneConfig, size: int) -> FinetuneConfig:
    """With the epochs that `minimum_steps` takes on a training set of this size."""
    steps = math.ceil(size / config.batch_size)
    return replace(config, epochs=max(config.epochs, math.ceil(config.minimum_steps / steps)))


def _sized(config: FinetuneConfig, task: Task, model: Path) -> FinetuneConfig:
    """With the length of inputs that the task has where none is asked for."""
    if config.max_seq_length:
        return config
    of_sentences = task.multi_label and config.hallmark_unit == "sentence-union"
    usual = task.max_length or _PIECES.get(task.kind, _SENTENCE_PIECES)
    length = _SENTENCE_PIECES if of_sentences else usual
    return replace(config, max_seq_length=min(length, read_model_config(model).max_position_embeddings))


def name_of_model(model: Path) -> str:
    """What a model is called in tables: its directory's name."""
    return model.resolve().name


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """What dev prefers."""

    model: Head
    """It predicts the test split."""
    selection: Selection
    fitted: Fitted
    """The training that dev chose."""
    train_losses: list[float]
    """Of the training that made `model`: on train and dev, where the protocol has a second one."""


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
        fresh, seed = self._random, self._seed
        layers = config.reinitialized_layers
        encoder = load_encoder(
            self._model, dropout=config.dropout, random_weights=fresh, fresh_layers=layers, seed=seed
        )
        if layers > (number := encoder.config.num_hidden_layers):
            what = f"reinitialized_layers {layers} is more than the model's {number} layers"
            raise UserError(what, where=self._model, remedy="draw fewer layers anew")
        positions = encoder.config.max_position_embeddings
        if not 8 <= config.max_seq_length <= positions:
            length = f"max_seq_length {config.max_seq_length}"
            what = f"{length} is not between 8 and the model's {positions} positions"
            raise UserError(what, where=self._model, remedy="correct evaluation's max_seq_length")
        return encoder

    def _fresh(self, config: FinetuneConfig) -> Head:
        """The encoder with the benchmark's new layer, as before any training."""
        encoder, self._spare = self._spare or self._build(config), None
        torch.manual_seed(self._seed)
        return self.benchmark.model(encoder, config.dropout)

    def choose(self, points: list[FinetuneConfig], trials: Path, rule: Protocol) -> _Chosen:
        """Train every point that an earlier start has not finished, and take the one that dev prefers."""
        fits: list[Fitted] = []
        tagger: Head | None = None
        points = list(dict.fromkeys(_long_enough(point, self.benchmark.training_size()) for point in points))
        for point in points:
            name = f"learning-rate-{point.learning_rate:g}-batch-{point.batch_size}-epochs-{point.epochs}"
            best = max((max(earlier.dev_scores) for earlier in fits), default=-math.inf)
            trained, fitted = self._try(point, trials / name, best=best)
            if max(fitted.dev_scores) > best:
                tagger, chosen, home = trained, point, trials / name
            fits.append(fitted)
        final = fitted = fits[points.index(chosen)]
        if rule.retrain:
            tagger = self._fresh(chosen)
            self.benchmark.train_on("train", "dev")
            final = fit(
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
        tried: list[Trial] = [
            {**_point(point), "dev_scores": found.dev_scores, "chosen_epoch": found.chosen_epoch}
            for point, found in zip(points, fits, strict=True)
        ]
        selection: Selection = {"rule": rule.selection, "chosen": _point(chosen), "trials": tried}
        return _Chosen(model=tagger, selection=selection, fitted=fitted, train_losses=final.train_losses)

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
            # Only now: a redone trial might score otherwise.
            for other in trial.parent.glob("*/weights.safetensors") if better else ():
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
    transfer: Transfer | None = None,
) -> Benchmark:
    """A task in a model's word pieces."""
    if task_of(prepared, task).kind == "entities":
        return EntityTask(prepared, task, tokenizer, config.max_seq_length, splits, transfer)
    return SequenceTask(prepared, task, tokenizer, config.max_seq_length, config.hallmark_unit, splits)


def _point(config: FinetuneConfig) -> Point:
    return Point(learning_rate=config.learning_rate, batch_size=config.batch_size, epochs=config.epochs)


class Result(NamedTuple):
    """What `metrics.json` says of a split's predictions, and the files that hold the rest."""

    scores: Scored
    breakdown: Breakdown
    files: list[Path]


def write_result(output: Path, benchmark: Benchmark, split: str, scored: Scored) -> Result:
    """Write a split's predictions and its documents' counts."""
    predictions = scored.pop("predictions")
    files = benchmark.write_predictions(output, split, predictions)
    write_documents(output / DOCUMENTS, scored.pop("documents"))
    return Result(scored, benchmark.break_down(split, predictions), [*files, output / DOCUMENTS])


def describe_run(
    prepared: Path,
    task: str,
    rule: Protocol,
    *,
    model: str,
    kind: str,
    seed: int | None,
    split: str = "test",
    trained_on: str = "",
) -> RunDescription:
    """What every `metrics.json` begins with; `trained_on` is the task whose training set the model has seen,
    where it is another one."""
    spec = task_of(prepared, task)
    return {
        "task": task,
        "task_kind": spec.kind,
        "protocol": rule.name,
        "score_name": SCORES[spec.metric].name,
        "measure": SCORES[spec.metric].measure,
        "kind": kind,
        "model": model,
        "seed": seed,
        "split": split,
        "data": data_checksums(prepared, task),
        "published_data": is_published(prepared, task),
        "overlap": overlap_with_train(prepared, task, split, trained_on=trained_on),
    }


def versions(libraries: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """This package's version and its libraries'."""
    return {"biobert_scale": __version__} | {name: importlib.metadata.version(name) for name in libraries}


def model_files(model: Path) -> list[Path]:
    """What a model directory stands for: its manifest where it has one, else its own files."""
    if (model / MANIFEST).exists() or not model.is_dir():
        return [model]
    return sorted(
        path for path in model.iterdir() if path.suffix in (".json", ".txt", ".safetensors", ".bin")
    )


def _origin(model: Path, inputs: list[dict[str, Any]], *, random_weights: bool) -> Origin:
    manifest = read_json(model / MANIFEST) if (model / MANIFEST).exists() else {}
    step = manifest.get("counts", {}).get("global_step")
    return {
        "model_fingerprint": fingerprint(inputs),
        "pretraining_step": 0 if random_weights else step,
        "pretraining_run": (manifest.get("config") or {}).get("pretraining"),
    }


def write_documents(path: Path, documents: Mapping[str, Statistics]) -> None:
    """Write what was counted of every test document: what paired comparisons of two systems need."""
    rows = [json.dumps({"pmid": pmid, **asdict(found)}) + "\n" for pmid, found in documents.items()]
    write_atomically(path, "".join(rows))
