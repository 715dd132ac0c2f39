"""The model card of pre-trained weights: `README.md` with the metadata block that model hubs read.

Format: https://huggingface.co/docs/hub/model-cards. Every figure comes from a manifest or from a run's own
files. The text is in `templates/`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from biobert_scale.config import Config, phases_of
from biobert_scale.files import Manifest
from biobert_scale.release.finetuning_results import Score
from biobert_scale.release.history import CorpusHistory, CorpusPart, RunHistory
from biobert_scale.release.weights import Dtype
from biobert_scale.training.checkpoint.continuation import described
from biobert_scale.training.checkpoint.manifest import Link

SETTINGS = "pretraining.json"
"""The whole resolved configuration of the run, beside the weights."""

_SOURCES = {"medline": "abstracts (MEDLINE records)", "pmc": "full texts (PMC articles in JATS)"}
_LICENSES = {
    "comm": "free to use commercially (CC0, CC BY, CC BY-SA, CC BY-ND), article by article",
    "noncomm": "not for commercial use (CC BY-NC and the like), article by article",
    "other": "no Creative Commons licence that a machine can read, or the publisher's own terms",
}
_STATED = "not stated by its owner"
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

    @property
    def lineage(self) -> list[Link]:
        """The runs that this one continues, oldest first."""
        found: list[Link] = self.checkpoint.get("lineage", [])
        return found

    @property
    def start(self) -> str:
        """The name of the weights that training started from; empty for random ones."""
        first = self.lineage[0]["initial_weights"] if self.lineage else self.config.training.initial_weights
        return Path(first).name

    @property
    def sequences(self) -> int:
        """Seen in all, also by earlier runs whose samples were others."""
        others = (link["consumed_samples"] for link in self.lineage if not link["samples_continue"])
        own: int = self.checkpoint["consumed_samples"]
        return own + sum(others)


def model_card(facts: Facts) -> str:
    """The card as Markdown."""
    found = [
        hub_result(score.task, score.score_name, score.protocol, score.values)
        for score in facts.scores
        if score.published_data and score.kind == "pre-trained"
    ]
    metadata = ModelCardData(
        language="en" if facts.config.corpus.languages == ("eng",) else None,
        license=facts.license or None,
        library_name="transformers",
        pipeline_tag="fill-mask",
        tags=["bert", "biomedical", "masked-lm", "next-sentence-prediction"],
        model_name=facts.config.name if found else None,
        eval_results=found or None,
    )
    return render_card(
        "pretrained.md",
        metadata,
        dtype=facts.dtype,
        facts=facts,
        sources=_SOURCES,
        terms=_terms,
        phases=phases_of(facts.config) if facts.config.training.phases else [],
        continued=[described(link) for link in facts.lineage],
        settings=SETTINGS,
    )


def render_card(template: str, metadata: ModelCardData, **values: object) -> str:
    """A card's template filled with values, below its metadata."""
    environment = Environment(
        loader=PackageLoader("biobert_scale.release"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = "{:,}".format
    block = metadata.to_yaml(line_break="\n").strip()
    return environment.get_template(template).render(metadata=block, **values).rstrip() + "\n"


_HUB_METRICS = {"accuracy": "accuracy", "Pearson correlation": "pearsonr"}
"""Hubs' names of measures that are no F1."""


def hub_result(task: str, score_name: str, protocol: str, values: Sequence[float]) -> EvalResult:
    """A benchmark's test score, one value for each seed, as hubs list it."""
    of_words = score_name in ("entity F1", "word macro-F1")
    seeds = f"mean of {len(values)} seeds" if len(values) > 1 else "one seed"
    return EvalResult(
        task_type="token-classification" if of_words else "text-classification",
        dataset_type=task.lower(),
        dataset_name=task,
        dataset_split="test",
        metric_type=_HUB_METRICS.get(score_name, "f1"),
        metric_name=f"{score_name}, protocol {protocol}, {seeds}",
        metric_value=round(statistics.fmean(values), 2),
    )


def _terms(part: CorpusPart) -> str:
    if part.source not in _SOURCES:
        return part.license or _STATED
    if part.license in _LICENSES:
        return _LICENSES[part.license]
    return _MEDLINE_TERMS if part.source == "medline" else "not known"
