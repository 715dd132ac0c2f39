"""A fine-tuning run's model in; a release out, with a card that gives its scores and how to use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCardData
from transformers import BertForSequenceClassification, BertForTokenClassification

from biobert_scale.errors import UserError
from biobert_scale.files import (
    Manifest,
    describe_inputs,
    read_json,
    read_manifest,
    sha256_file,
)
from biobert_scale.release.card import hub_result, render_card
from biobert_scale.release.checksums import CHECKSUMS
from biobert_scale.release.export import STAGE, finish_release, publish_card, whole_release
from biobert_scale.release.finetuning_results import FINETUNED_STAGE, METRICS, FinetunedRun
from biobert_scale.release.heads import DETAILS, MODEL
from biobert_scale.release.onnx import write_onnx
from biobert_scale.release.quiet import quietly
from biobert_scale.release.tokenizers import copy_tokenizer, limit_tokenizer
from biobert_scale.release.weights import Dtype, save_weights
from biobert_scale.stage import Stage

_PURPOSES = {
    "token_classification": "Marks entities in text",
    "multi_label_classification": "Gives a text its labels, each on its own",
    "single_label_classification": "Gives a text one label",
    "regression": "Gives two texts a number",
}
_CLASSES = {cls.__name__: cls for cls in (BertForTokenClassification, BertForSequenceClassification)}


def export_finetuned(
    source: Path,
    output: Path,
    *,
    dtype: Dtype = "fp32",
    onnx: bool = False,
    license: str = "",
    overwrite: bool = False,
) -> Manifest:
    """Write a model that `pipeline("ner")`, or `pipeline("text-classification")` for whole texts, opens.

    Args:
        source: a run of `biobert-scale evaluate finetune` that kept its weights (the default).
        dtype: see `save_weights`.
        onnx: of a tagger of entities, also what `write_onnx` writes.
        license: of the weights, as the hub spells it; a later call with another writes the card anew.

    Raises:
        UserError: the run is unfinished, kept no model, or its model is damaged; or a weight that fp16 does
            not hold; or `onnx` of another kind of model.
    """
    run = read_manifest(source, FINETUNED_STAGE)
    _check_model(source, run)
    inputs = describe_inputs([source])
    settings = {"dtype": dtype, **({"onnx": True} if onnx else {})}
    metrics: FinetunedRun = read_json(source / METRICS)
    config = read_json(source / MODEL / "config.json")
    if onnx and config["architectures"] != [BertForTokenClassification.__name__]:
        raise UserError("--onnx goes with a tagger of entities", where=source, remedy="leave it out")
    stage = Stage(output, STAGE, inputs=inputs, config=settings, overwrite=overwrite, reads=[source])
    card = finetuned_card(metrics, config, dtype=dtype, license=license)
    if manifest := stage.check():
        if license or not (output / CHECKSUMS).is_file():
            publish_card(output, card)
        return manifest
    with quietly():
        model = _CLASSES[config["architectures"][0]].from_pretrained(source / MODEL, dtype=torch.float32)
    with whole_release(stage) as staging:
        save_weights(model, staging, dtype)
        if onnx:
            assert isinstance(model, BertForTokenClassification)
            write_onnx(model, staging)
        copy_tokenizer(source / MODEL, staging)
        limit_tokenizer(staging, config["max_position_embeddings"])
        counts = {"parameters": model.num_parameters(), "score": metrics["score"]}
        manifest = finish_release(stage, staging, counts)
        publish_card(staging, card)
    return manifest


def _check_model(source: Path, run: Manifest) -> None:
    files = {name: digest for name, digest in run.outputs.items() if Path(name).parts[0] == MODEL}
    if not files:
        remedy = "fine-tune with --keep-weights (and --overwrite, or into another --output)"
        raise UserError("the run kept no model", where=source, remedy=remedy)
    for path, digest in ((source / name, digest) for name, digest in files.items()):
        if not path.is_file() or sha256_file(path) != digest:
            remedy = "fine-tune again with --overwrite"
            raise UserError("a file of the model is missing or damaged", where=path, remedy=remedy)


def finetuned_card(metrics: FinetunedRun, config: dict[str, Any], *, dtype: Dtype, license: str) -> str:
    """The card as Markdown, from a run's `metrics.json` and its model's `config.json`."""
    problem = config.get("problem_type") or "token_classification"
    of_words = problem == "token_classification"
    kind = "token-classification" if of_words else "text-classification"
    task, is_published = metrics["task"], metrics["published_data"]
    result = hub_result(task, metrics["score_name"], metrics["protocol"], [metrics["score"]])
    metadata = ModelCardData(
        language="en",
        license=license or None,
        library_name="transformers",
        pipeline_tag=kind,
        tags=["bert", "biomedical", task.lower()],
        model_name=f"{metrics['model']}-{task}" if is_published else None,
        eval_results=[result] if is_published else None,
    )
    return render_card(
        "finetuned.md",
        metadata,
        dtype=dtype,
        run=metrics,
        of_words=of_words,
        problem=problem,
        purpose=_PURPOSES[problem],
        labels=[label for label in config["id2label"].values() if label != "O"],
        stride=config["max_position_embeddings"] // 4,
        details=config[DETAILS],
    )
