"""Predictions of a fine-tuned model on a split, and scores of anybody's predictions from their files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from biobert_scale.errors import UserError
from biobert_scale.evaluation.cross_corpus import Transfer, plan_transfer
from biobert_scale.evaluation.entity_scores import (
    break_down,
    break_down_tags,
    names_of,
    score_entities,
    score_spans,
)
from biobert_scale.evaluation.finetune import (
    DOCUMENTS,
    LIBRARIES,
    METRICS,
    STAGE,
    Result,
    describe_run,
    open_benchmark,
    read_metrics,
    versions,
    write_documents,
    write_result,
)
from biobert_scale.evaluation.finetuned_weights import load_head
from biobert_scale.evaluation.ner import PUBTATOR as PUBTATOR_PREDICTIONS
from biobert_scale.evaluation.ner import write_entity_predictions
from biobert_scale.evaluation.packed_sequences import load_tokenizer
from biobert_scale.evaluation.prediction_files import read_answers, read_spans, read_tags
from biobert_scale.evaluation.prepared import (
    data_checksums,
    gold_spans,
    is_typed,
    read_annotated,
    read_rows,
    read_sentences,
    task_of,
    type_names,
)
from biobert_scale.evaluation.protocols import NOT_TOLD, protocol_of
from biobert_scale.evaluation.pubtator import read_lines, write_pubtator
from biobert_scale.evaluation.pubtator_blocks import is_document_start
from biobert_scale.evaluation.records import FileMetrics, FinetunedMetrics, PredictedMetrics, RunMetrics
from biobert_scale.evaluation.sequence_scores import break_down as break_down_rows
from biobert_scale.evaluation.sequence_scores import score_rows
from biobert_scale.evaluation.sequences import PREDICTIONS, write_answers
from biobert_scale.evaluation.tasks.spec import Task
from biobert_scale.files import MANIFEST, describe_inputs, read_manifest, write_json
from biobert_scale.recipes import structure_saved_budget
from biobert_scale.release.heads import MODEL
from biobert_scale.stage import Stage
from biobert_scale.training.ranks import rank_environment
from biobert_scale.training.runtime import start_plain


def predict(
    run: Path,
    prepared: Path,
    output: Path,
    *,
    split: str = "test",
    task: str = "",
    types: Sequence[str] = (),
    overwrite: bool = False,
) -> RunMetrics:
    """Predict a split with the weights that `finetune` kept, and score it.

    Args:
        run: a directory that `finetune` wrote.
        output: for the predictions, `documents.jsonl` and `metrics.json`.
        task: another prepared task of entities to predict (default: the one that the run was trained on).
        types: see `plan_transfer`.

    Raises:
        UserError: no finished run, no weights in it, a split that does not exist, types that do not fit, or
            for another task, no training data of the run beside it.
    """
    _check_split(split)
    config = structure_saved_budget(read_manifest(run, STAGE).config["finetune"], where=str(run / MANIFEST))
    recorded = read_metrics(run)
    transfer = _transfer(recorded, prepared, task, types)
    task = task or recorded["task"]
    rule = transfer.protocol if transfer else protocol_of(task_of(prepared, task), recorded["protocol"])
    if rule.retrain and split != "test":
        means = f"their score on {split} means nothing"
        what = f"under the protocol {rule.name} the weights were trained on train and dev: {means}"
        raise UserError(what, where=run, remedy="predict the test split")
    if not (run / MODEL).is_dir():
        remedy = "fine-tune with --keep-weights (and --overwrite, or into another --output)"
        raise UserError("the run kept no model", where=run, remedy=remedy)
    inputs, settings = describe_inputs([prepared, run]), {"task": task, "split": split}
    if transfer:
        settings["transfer"] = rule.name
    with (
        rank_environment() as ranks,
        Stage(
            output, "predictions", inputs=inputs, config=settings, overwrite=overwrite, reads=[prepared, run]
        ) as stage,
    ):
        if stage.finished is not None:
            return read_metrics(output)
        started = time.monotonic()
        accelerator = start_plain(ranks, config.precision)
        benchmark = open_benchmark(prepared, task, load_tokenizer(run / MODEL), config, (split,), transfer)
        model = load_head(run / MODEL, benchmark, config).to(accelerator.device)
        with accelerator.autocast():
            result = write_result(
                output, benchmark, split, benchmark.evaluate(model, split, accelerator.device)
            )
        name, kind, seed = recorded["model"], recorded["kind"], recorded["seed"]
        metrics: PredictedMetrics = {
            **describe_run(
                prepared,
                task,
                rule,
                model=name,
                kind=kind,
                seed=seed,
                split=split,
                trained_on=recorded["task"],
            ),
            "model_fingerprint": recorded.get("model_fingerprint"),
            "pretraining_step": recorded.get("pretraining_step"),
            "pretraining_run": recorded.get("pretraining_run"),
            "config": recorded["config"],
            "selection": recorded["selection"],
            **result.scores,
            **result.breakdown,
            "trained_on": recorded["data"],
            "versions": versions(),
            "seconds": round(time.monotonic() - started, 2),
        }
        write_json(output / METRICS, metrics)
        counts, files = {"score": metrics["score"]}, [*result.files, output / METRICS]
        stage.finish(counts=counts, outputs=files, libraries=LIBRARIES)
        return read_metrics(output)


def _transfer(recorded: FinetunedMetrics, prepared: Path, task: str, types: Sequence[str]) -> Transfer | None:
    """How a run's predictions are read on another task; None on its own."""
    source = recorded["task"]
    if task in ("", source):
        if types:
            raise UserError(
                "the types are the run's own", where="--types", remedy="add --task of another task"
            )
        return None
    transfer = plan_transfer(task_of(prepared, source), task_of(prepared, task), types)
    if data_checksums(prepared, source) != recorded["data"]:
        remedy = "prepare both tasks in one directory: names and texts that train has are counted"
        raise UserError(f"{source} is not what the run was trained on", where=prepared, remedy=remedy)
    return transfer


def score(
    prepared: Path,
    task: str,
    predictions: Path,
    output: Path,
    *,
    name: str = "",
    protocol: str = "",
    split: str = "test",
    overwrite: bool = False,
) -> RunMetrics:
    """Score a file of predictions against the prepared gold, which the file's own gold column never replaces.

    Args:
        predictions: `token gold predicted` lines (CoNLL), PubTator (scored in document characters), or
            tab-separated rows as `evaluate finetune` writes them for the other kinds.
        output: for `metrics.json`, `documents.jsonl` and `predictions.tsv`; `evaluate table` shows it.
        name: what to call the system (default: the file's name).
        protocol: under which the predictions were made; where it is not given, no published score is put
            beside theirs.

    Raises:
        UserError: an unknown task, or a file that does not fit the split, with its line.
    """
    _check_split(split)
    spec = task_of(prepared, task)
    rule = protocol_of(spec, protocol)
    inputs = describe_inputs([prepared, predictions])
    settings = {"task": task, "split": split, "name": name, "protocol": protocol}
    with Stage(
        output, "scores", inputs=inputs, config=settings, overwrite=overwrite, reads=[prepared, predictions]
    ) as stage:
        if stage.finished is not None:
            return read_metrics(output)
        try:
            of_words = spec.kind == "entities"
            result = (_score_entities if of_words else _score_answers)(
                prepared, spec, predictions, split, output
            )
        except UserError:
            stage.discard()  # the corrected file is another input
            raise
        write_documents(output / DOCUMENTS, result.scores.pop("documents"))
        model = name or predictions.stem
        metrics: FileMetrics = {
            **describe_run(prepared, task, rule, model=model, kind="predictions", seed=None, split=split),
            "protocol": protocol or NOT_TOLD,
            **result.scores,
            **result.breakdown,
            "selection": {"rule": "not known: predictions from a file"},
            "config": {},
            "predictions_sha256": inputs[1]["sha256"],
            "versions": versions(),
            "seconds": 0.0,
        }
        write_json(output / METRICS, metrics)
        files = [*result.files, output / METRICS, output / DOCUMENTS]
        stage.finish(counts={"score": metrics["score"]}, outputs=files)
        return read_metrics(output)


def _score_entities(prepared: Path, spec: Task, predictions: Path, split: str, output: Path) -> Result:
    documents = read_annotated(prepared, spec.name, split)
    sentences = read_sentences(prepared, spec.name, split)
    known, kinds, types = (
        names_of(read_annotated(prepared, spec.name, "train")),
        spec.known_types,
        type_names(spec),
    )
    first = next((line for _, line in read_lines(predictions) if line.strip()), "")
    if not is_document_start(first):
        tags, missing = read_tags(predictions, sentences, kinds, types)
        scores = score_entities(spec, sentences, documents, tags)
        scores["n_truncated_tokens"] = missing
        files = write_entity_predictions(output, spec, sentences, documents, tags)
        return Result(scores, break_down_tags(spec, sentences, documents, tags, known), files)
    if spec.metric == "word_macro_f1":
        remedy = "give `token gold predicted` lines"
        raise UserError(
            "words are scored by their tags, which PubTator has not", where=predictions, remedy=remedy
        )
    spans, passed_over = read_spans(predictions, documents, kinds, types)
    scores = score_spans(gold_spans(documents, typed=is_typed(spec)), {"conlleval": spans, "discard": spans})
    scores["passed_over"] = dict(sorted(passed_over.items()))
    write_pubtator(output / PUBTATOR_PREDICTIONS, documents, spans, next(iter(spec.types)))
    breakdown = break_down(documents, spans, known, typed=is_typed(spec))
    return Result(scores, breakdown, [output / PUBTATOR_PREDICTIONS])


def _score_answers(prepared: Path, spec: Task, predictions: Path, split: str, output: Path) -> Result:
    rows = read_rows(prepared, spec, split)
    predicted = read_answers(predictions, spec, rows)
    write_answers(output / PREDICTIONS, spec, rows, predicted.reshape(len(rows), -1).astype(float))
    scores, breakdown = score_rows(spec, rows, predicted), break_down_rows(spec, rows, predicted)
    return Result(scores, breakdown, [output / PREDICTIONS])


def _check_split(split: str) -> None:
    if split not in ("train", "dev", "test"):
        raise UserError(f"no split '{split}'", where="--split", remedy="choose train, dev or test")
