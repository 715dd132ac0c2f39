"""A fine-tuning run's model in; a release out, with a card that gives its scores and how to use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import EvalResult, ModelCardData
from transformers import BertForSequenceClassification, BertForTokenClassification

from biobert_scale.errors import UserError
from biobert_scale.files import (
    Manifest,
    describe_inputs,
    finish_stage,
    read_json,
    read_manifest,
    sha256_file,
)
from biobert_scale.release.card import NO_WARRANTY, weights_note
from biobert_scale.release.checksums import CHECKSUMS
from biobert_scale.release.export import STAGE, model_files, publish_card, whole_release
from biobert_scale.release.finetuning_results import FINETUNED_STAGE, METRICS, FinetunedRun, Measures
from biobert_scale.release.heads import DETAILS, MODEL, Details
from biobert_scale.release.quiet import quietly
from biobert_scale.release.tokenizers import copy_tokenizer, limit_tokenizer
from biobert_scale.release.weights import Dtype, save_weights
from biobert_scale.stage import Stage

_CLASSES = {
    "BertForTokenClassification": BertForTokenClassification,
    "BertForSequenceClassification": BertForSequenceClassification,
}


def export_finetuned(
    source: Path, output: Path, *, dtype: Dtype = "fp32", license: str = "", overwrite: bool = False
) -> Manifest:
    """Write a model that `pipeline("ner")`, or `pipeline("text-classification")` for HoC, opens.

    Args:
        source: a run of `biobert-scale evaluate finetune` that kept its weights (the default).
        dtype: see `save_weights`.
        license: of the weights, as the hub spells it; a later call with another writes the card anew.

    Raises:
        UserError: the run is unfinished, kept no model, or its model is damaged; or a weight that fp16 does
            not hold.
    """
    run = read_manifest(source, FINETUNED_STAGE)
    _check_model(source, run)
    inputs = describe_inputs([source])
    settings = {"dtype": dtype}
    metrics: FinetunedRun = read_json(source / METRICS)
    config = read_json(source / MODEL / "config.json")
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
        copy_tokenizer(source / MODEL, staging)
        limit_tokenizer(staging, config["max_position_embeddings"])
        manifest = finish_stage(
            staging,
            stage=STAGE,
            key=stage.key,
            inputs=inputs,
            config=settings,
            libraries=["torch", "transformers", "safetensors"],
            counts={"parameters": model.num_parameters(), "score": metrics["score"]},
            outputs=model_files(staging),
        )
        publish_card(staging, card)
    return manifest


def _check_model(source: Path, run: Manifest) -> None:
    files = {name: digest for name, digest in run.outputs.items() if Path(name).parts[0] == MODEL}
    if not files:
        raise UserError(
            "the run kept no model",
            where=source,
            remedy="fine-tune with --keep-weights (and --overwrite, or into another --output)",
        )
    for name, digest in files.items():
        if not (source / name).is_file() or sha256_file(source / name) != digest:
            raise UserError(
                "a file of the model is missing or damaged",
                where=source / name,
                remedy="fine-tune again with --overwrite",
            )


def finetuned_card(metrics: FinetunedRun, config: dict[str, Any], *, dtype: Dtype, license: str) -> str:
    """The card as Markdown, from a run's `metrics.json` and its model's `config.json`."""
    of_words = config["architectures"][0] == "BertForTokenClassification"
    labels = list(config["id2label"].values())
    task = f"{metrics['task']}{'' if metrics['published_data'] else ' (not the published set)'}"
    interval = "95% interval over documents: {:.2f} to {:.2f}".format(*metrics["interval_95"])
    budget = metrics["config"]
    data = "\n".join(f"- `{name}`: SHA-256 `{digest}`" for name, digest in metrics["data"].items())
    return f"""---
{_metadata(metrics, of_words=of_words, license=license)}
---

# {metrics["task"]}, fine-tuned from {metrics["model"]}

{"Marks entities in text" if of_words else "Gives an abstract its labels, each on its own"}: {", ".join(label for label in labels if label != "O")}.
Fine-tuned by biobert_scale {metrics["versions"]["biobert_scale"]} from {f"the model `{metrics['model']}`" if metrics["kind"] == "pre-trained" else f"random weights in the shape of `{metrics['model']}`"}.

## Use

```python
{_usage(of_words, stride=config["max_position_embeddings"] // 4)}
```

{_advice(of_words, config[DETAILS])} {weights_note(dtype)}

## Score

{metrics["score_name"]} **{metrics["score"]:.2f}** on the test split of {task} ({interval}). Protocol `{metrics["protocol"]}`: {metrics["selection"]["rule"]}
(it chose epoch {metrics["chosen_epoch"]}). This is one run, seed {metrics["seed"]}, and not a mean over seeds.

| measure | precision | recall | F1 |
|---|---:|---:|---:|
{_measures(metrics["scores"])}

Budget: {", ".join(f"{name.replace('_', ' ')} {value}" for name, value in budget.items())}. The benchmark's files, as prepared:

{data}

## Limits

- Windows of {config[DETAILS]["max_seq_length"]} word pieces, as in training. {"It marks names and links them to no dictionary; nested and discontinuous ones come out flat." if of_words else "A probability is a score; it has not been calibrated."}
- Where texts differ from the benchmark's (PubMed abstracts), scores do, too. The benchmark's own terms of use hold beside the weights' licence.
- {NO_WARRANTY}
"""  # noqa: E501


def _metadata(metrics: FinetunedRun, *, of_words: bool, license: str) -> str:
    kind = "token-classification" if of_words else "text-classification"
    result = EvalResult(
        task_type=kind,
        dataset_type=metrics["task"].lower(),
        dataset_name=metrics["task"],
        dataset_split="test",
        metric_type="f1",
        metric_name=f"{metrics['score_name']}, protocol {metrics['protocol']}, one seed",
        metric_value=round(metrics["score"], 2),
    )
    data = ModelCardData(
        language="en",
        license=license or None,
        library_name="transformers",
        pipeline_tag=kind,
        tags=["bert", "biomedical", metrics["task"].lower()],
        model_name=f"{metrics['model']}-{metrics['task']}" if metrics["published_data"] else None,
        eval_results=[result] if metrics["published_data"] else None,
    )
    return data.to_yaml(line_break="\n").strip()


def _usage(of_words: bool, *, stride: int) -> str:
    if of_words:
        return f"""from transformers import pipeline

# stride: a text that is longer than the model's positions goes through windows that overlap by so many pieces
tagger = pipeline("ner", model="PATH_OR_REPOSITORY", aggregation_strategy="first", stride={stride})
tagger("Two patients developed hepatitis after a month of isoniazid.")"""
    return """from transformers import pipeline

classifier = pipeline("text-classification", model="PATH_OR_REPOSITORY", top_k=None, truncation=True)
classifier("Knock-down of the receptor kept the tumour cells from dying.")  # a label holds where its score is above 0.5"""  # noqa: E501


def _advice(of_words: bool, details: Details) -> str:
    if of_words:
        return (
            'Use `aggregation_strategy="first"`: the head has learned from every word\'s first piece, and its'
            " answers for later pieces mean nothing. Without `stride` the pipeline drops what is beyond the"
            " last position, without a message.\n`biobert-scale tag PATH --input FILE` reads whole files"
            " (text, PubMed XML, PubTator), splits sentences as in training and gives offsets."
        )
    if details["unit"] == "sentence-union":
        return (
            "It was trained on single sentences: classify a document's sentences one by one, and take for"
            " each label the highest score."
        )
    return "It was trained on whole abstracts."


def _measures(scores: dict[str, Measures]) -> str:
    return "\n".join(
        f"| {name} | {values['precision']:.2f} | {values['recall']:.2f} | {values['f1']:.2f} |"
        for name, values in scores.items()
    )
