"""The model card of pre-trained weights: `README.md` with the metadata block that model hubs read.

Format: https://huggingface.co/docs/hub/model-cards. Every figure comes from a manifest or from a run's own
files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from biobert_scale.config import Config
from biobert_scale.files import Manifest
from biobert_scale.release.finetuning_results import Score
from biobert_scale.release.history import CorpusHistory, RunHistory
from biobert_scale.release.weights import Dtype

SETTINGS = "pretraining.json"
"""The whole resolved configuration of the run, beside the weights."""
NO_WARRANTY = (
    "The weights come with no warranty. They are not a medical device and not meant for decisions about"
    " patients."
)

_SOURCES = {"medline": "abstracts (MEDLINE records)", "pmc": "full texts (PMC articles in JATS)"}
_LICENSES = {
    "comm": "free to use commercially (CC0, CC BY, CC BY-SA, CC BY-ND), article by article",
    "noncomm": "not for commercial use (CC BY-NC and the like), article by article",
    "other": "no Creative Commons licence that a machine can read, or the publisher's own terms",
}
_MEDLINE_TERMS = "NLM's terms and conditions; abstracts may be under their publishers' copyright"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a card is written from."""

    config: Config
    checkpoint: dict[str, Any]
    """A checkpoint's manifest."""
    tokens: Manifest
    run: RunHistory
    parameters: int
    """Weights in the model, tied ones counted once."""
    dtype: Dtype
    corpus: CorpusHistory | None = None
    scores: tuple[Score, ...] = ()
    license: str = ""
    """Of the weights, as the hub spells it (apache-2.0, cc-by-4.0); empty where their publisher has not said.
    """


def model_card(facts: Facts) -> str:
    """The card as Markdown."""
    config, model = facts.config, facts.config.model
    case = "uncased" if config.vocabulary.lowercase else "cased"
    return f"""---
{_metadata(facts)}
---

# {config.name}

{config.description}

A BERT encoder ({model.num_hidden_layers} layers, hidden {model.hidden_size}, {model.num_attention_heads} heads, {facts.parameters:,} parameters,
{facts.tokens.counts["vocabulary"]:,} {case} word pieces) pre-trained with masked language modelling and next sentence prediction
by biobert_scale {facts.checkpoint["versions"]["biobert_scale"]}.

## Use

```python
from transformers import AutoModel, AutoTokenizer, pipeline

fill = pipeline("fill-mask", model="PATH_OR_REPOSITORY")  # ask for [MASK]
tokenizer = AutoTokenizer.from_pretrained("PATH_OR_REPOSITORY")
encoder = AutoModel.from_pretrained("PATH_OR_REPOSITORY")  # AutoModelForPreTraining loads both heads as well
```

{weights_note(facts.dtype)} `SHA256SUMS` lists every file: `sha256sum --check SHA256SUMS`.
{data_section(facts)}
{training_section(facts)}
{scores_section(facts.scores)}
{limits_section(facts)}
"""  # noqa: E501


def weights_note(dtype: Dtype) -> str:
    """Which files hold the weights, in a sentence or two."""
    if dtype == "both":
        return (
            "`model.safetensors` holds fp32; `model.fp16.safetensors` the same rounded to fp16"
            ' (`from_pretrained(..., variant="fp16", dtype="float16")`).'
        )
    return f"`model.safetensors` holds {'fp32' if dtype == 'fp32' else 'the fp32 weights rounded to fp16'}."


def _metadata(facts: Facts) -> str:
    results = [
        _result(score) for score in facts.scores if score.published_data and score.kind == "pre-trained"
    ]
    data = ModelCardData(
        language="en" if facts.config.corpus.languages == ("eng",) else None,
        license=facts.license or None,
        library_name="transformers",
        pipeline_tag="fill-mask",
        tags=["bert", "biomedical", "masked-lm", "next-sentence-prediction"],
        model_name=facts.config.name if results else None,
        eval_results=results or None,
    )
    return data.to_yaml(line_break="\n").strip()


def _result(score: Score) -> EvalResult:
    of_documents = score.task.startswith("HoC")
    return EvalResult(
        task_type="text-classification" if of_documents else "token-classification",
        dataset_type=score.task.lower(),
        dataset_name=score.task,
        dataset_split="test",
        metric_type="f1",
        metric_name=f"{score.score_name}, protocol {score.protocol}, {_seeds(score)}",
        metric_value=round(score.mean, 2),
    )


def _seeds(score: Score) -> str:
    return f"mean of {len(score.values)} seeds" if len(score.values) > 1 else "one seed"


def data_section(facts: Facts) -> str:
    """What was read, and under which licences it stands."""
    counts, config = facts.tokens.counts, facts.config
    lines = [
        "\n## Data\n",
        (
            f"{counts['train']['documents']:,} documents to train on ({counts['train']['tokens']:,} tokens),"
            f" {counts['validation']['documents']:,} held out."
        ),
        (
            f"Documents with fewer than {config.corpus.minimum_words} words and languages other than"
            f" {', '.join(config.corpus.languages)} were left out."
        ),
    ]
    if facts.corpus is None:
        return "\n".join(
            [
                *lines,
                (
                    "The card was written without the corpus at hand, so its parts and their licences are not"
                    " listed here."
                ),
            ]
        )
    corpus = facts.corpus.manifest
    lines += ["", "| documents of the corpus | number | licence |", "|---|---:|---|"]
    lines += [
        f"| {_SOURCES[part.source]} | {part.documents:,} | {_terms(part.source, part.license)} |"
        for part in facts.corpus.parts
    ]
    names = sorted({record["name"] for record in corpus.inputs if record["name"].endswith((".xml", ".gz"))})
    lines += (
        [
            "",
            (
                f"Made from {len(names):,} raw files, `{names[0]}` to `{names[-1]}`; their SHA-256 stand in"
                " the corpus' manifest."
            ),
        ]
        if names
        else []
    )
    if corpus.rejects:
        lines.append(
            f"Left out: {', '.join(f'{reason} {number:,}' for reason, number in corpus.rejects.items())}."
        )
    if corpus.rejects.get("benchmark"):
        lines.append(
            f"`benchmark` are documents of the benchmarks' {', '.join(config.corpus.benchmark_splits)} split,"
            " or such as hold their text."
        )
    return "\n".join(lines)


def _terms(source: str, group: str) -> str:
    if group in _LICENSES:
        return _LICENSES[group]
    return _MEDLINE_TERMS if source == "medline" else "not known"


def training_section(facts: Facts) -> str:
    """The recipe, how far it went, and on what."""
    training, data, checkpoint = facts.config.training, facts.config.data, facts.checkpoint
    stage = f", ZeRO stage {checkpoint['zero_stage']}" if checkpoint["zero_stage"] is not None else ""
    start = Path(training.initial_weights).name if training.initial_weights else ""
    run = facts.run
    rows = [
        (
            "started from",
            (
                f"`{start}`: its licence holds for these weights, too"
                if start
                else f"random weights, seed {facts.config.seed}"
            ),
        ),
        ("optimizer steps", f"{checkpoint['global_step']:,} of {training.schedule.total_steps:,}"),
        (
            "sequences seen",
            (
                f"{checkpoint['consumed_samples']:,}, {training.global_batch_size} a step,"
                f" {data.max_seq_length} tokens at most"
            ),
        ),
        ("tokens seen", f"{checkpoint['consumed_tokens']:,}"),
        (
            "objective",
            (
                f"{data.mlm_probability:.0%} of the tokens"
                f" predicted{', whole words' if data.whole_word_masking else ''}; next sentence,"
                f" {data.random_next_probability:.0%} random"
            ),
        ),
        (
            "optimizer",
            (
                f"AdamW, peak learning rate {training.optimizer.learning_rate},"
                f" {training.schedule.warmup_steps:,} steps of warm-up, linear decay, weight decay"
                f" {training.optimizer.weight_decay}"
            ),
        ),
        ("precision", training.precision.dtype),
        *(
            (f"source {name}", f"seen {weight:g} times in an epoch; sources without a weight once")
            for name, weight in data.sources.items()
        ),
        (
            "hardware",
            (
                f"{checkpoint['world_size']} rank(s), each on"
                f" {run.device or 'a device that was not recorded'}; {checkpoint['engine']}{stage}"
            ),
        ),
    ]
    if run.tokens_per_second_per_device is not None:
        share = f", {run.mfu:.1%} of the device's peak" if run.mfu else ""
        rows.append(("speed", f"{run.tokens_per_second_per_device:,.0f} tokens a second and device{share}"))
    if found := run.validation:
        measured = (
            f"MLM loss {found['validation/mlm_loss']:.3f} nats, MLM accuracy"
            f" {found['validation/mlm_accuracy']:.1%}, NSP accuracy {found['validation/nsp_accuracy']:.1%}"
        )
        rows.append((f"held out, step {found['global_step']:,}", measured))
    rows.append(
        ("versions", ", ".join(f"{name} {version}" for name, version in checkpoint["versions"].items()))
    )
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"\n## Training\n\n| | |\n|---|---|\n{table}\n\nEvery other setting stands in `{SETTINGS}`."


def scores_section(scores: tuple[Score, ...]) -> str:
    """Every score there is: no seed is chosen, and runs of different budgets stay apart."""
    if not scores:
        return "\n## Scores\n\nNot fine-tuned on any benchmark yet."
    lines = [
        "\n## Scores\n",
        (
            "Test scores after fine-tuning, in percent: mean and standard deviation over all seeds that were"
            " run.\n"
        ),
        "| benchmark | protocol | measure | start | score | seeds | budget |",
        "|---|---|---|---|---:|---:|---|",
    ]
    for score in scores:
        task = score.task if score.published_data else f"{score.task} (not the published set)"
        spread = f" ± {score.sd:.2f}" if score.sd is not None else ""
        budget = (
            f"learning rate {score.budget['learning_rate']}, {score.budget['epochs']} epochs, batch"
            f" {score.budget['batch_size']}, {score.budget['max_seq_length']} pieces"
        )
        lines.append(
            f"| {task} | {score.protocol} | {score.score_name} | {score.kind} | {score.mean:.2f}{spread} |"
            f" {len(score.values)} | {budget} |"
        )
    notes = [
        (
            "`blurb`, `hoc-blurb` and `hoc-blue`: trained on train, settings and epoch chosen on dev, test"
            " predicted once (Gu et al. 2021; Peng et al. 2019)."
        ),
        (
            "`biobert`: the number of epochs chosen on dev, then trained anew on train and dev (Lee et al."
            " 2020). Scores under different protocols"
        ),
        "do not compare, nor do two HoC measures. `random weights` is the same network without pre-training.",
    ]
    return "\n".join([*lines, "", *notes])


def limits_section(facts: Facts) -> str:
    """What the figures themselves say about the model's limits."""
    config, checkpoint = facts.config, facts.checkpoint
    lines = ["\n## Limits\n"]
    if checkpoint["global_step"] < config.training.schedule.total_steps:
        lines.append(
            f"- Training stopped at step {checkpoint['global_step']:,} of"
            f" {config.training.schedule.total_steps:,}: the learning rate had not reached zero."
        )
    if config.data.max_seq_length < config.model.max_position_embeddings:
        lines.append(
            f"- Positions from {config.data.max_seq_length} on were never trained, though the model has"
            f" {config.model.max_position_embeddings}."
        )
    else:
        lines.append(
            f"- Inputs have at most {config.model.max_position_embeddings} word pieces; longer ones need"
            " overlapping windows."
        )
    lines += [
        (
            f"- It has read biomedical literature in {', '.join(config.corpus.languages)} and nothing else;"
            " clinical notes and everyday language differ from that."
        ),
        (
            "- What the literature gets wrong, or says of some groups of people more than of others, the"
            " model has read, too. It states no facts: what it fills in is likely text."
        ),
        f"- {NO_WARRANTY}",
    ]
    return "\n".join(lines)
