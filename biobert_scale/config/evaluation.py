"""Fine-tuning and its benchmarks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from biobert_scale.config.section import Section
from biobert_scale.errors import UserError


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(Section, path=""):
    """One fine-tuning run's budget, the same for every model that is compared."""

    learning_rate: Annotated[float, "[0, 100]"] = 5e-5
    """The peak, reached at the end of the warm-up; then linear to zero."""
    epochs: Annotated[int, "[1, 1e5]"] = 10
    """Passes over the training set."""
    batch_size: Annotated[int, "[1, 1e6]"] = 16
    """Sentences (entities) or texts (other kinds) in one step."""
    max_seq_length: Annotated[int, "0 or [8, 32768]"] = 0
    """Word pieces in one input, [CLS] and [SEP] included: a longer sentence of an entity task is covered by
    overlapping windows, a longer input of another kind is cut. 0: what the task says, or else 512 for
    documents and questions and 256 for sentences; no more than the model has positions."""
    warmup_fraction: Annotated[float, "[0, 1)"] = 0.1
    """Share of the steps in which the learning rate grows."""
    weight_decay: Annotated[float, "[0, 100]"] = 0.01
    """AdamW's; none on biases and LayerNorm."""
    dropout: Annotated[float, "[0, 1)"] = 0.1
    """Probability, in the encoder and before the new layer."""
    layer_decay: Annotated[float, "(0, 1]"] = 1.0
    """What each layer's learning rate is multiplied with, counted from the new layer down to the embeddings
    (Clark et al. 2020, ELECTRA). 1: all have the same."""
    reinitialized_layers: Annotated[int, "[0, 1000]"] = 0
    """The encoder's last layers that start from fresh weights, drawn from the seed (Zhang et al. 2021)."""
    minimum_steps: Annotated[int, "[0, 1e7]"] = 0
    """Optimizer steps at least: on a small training set the epochs become as many as that takes (Mosbach et
    al. 2021)."""
    label_smoothing: Annotated[float, "[0, 1)"] = 0.0
    """The share of every gold label that is spread over all labels (Szegedy et al. 2016); numbers have
    none."""
    hallmark_unit: Literal["document", "sentence-union"] = "document"
    """Of documents that are prepared as sentences (HoC): classify whole documents, or sentences whose labels
    are then united. Scores are of documents either way."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 on a GPU that computes in it, fp32 elsewhere."""
    keep_weights: bool = True
    """Keep the fine-tuned weights beside the scores, for `evaluate predict`."""


@dataclass(frozen=True, kw_only=True)
class GridConfig(Section, path="grid"):
    """Settings that a fine-tuning run tries, every combination, before dev chooses; an empty list tries the
    budget's own value."""

    learning_rate: Annotated[tuple[float, ...], "[0, 100]"] = ()
    """Peaks to try."""
    batch_size: Annotated[tuple[int, ...], "[1, 1e6]"] = ()
    """Sentences or texts in one step, to try."""
    epochs: Annotated[tuple[int, ...], "[1, 1e5]"] = ()
    """Passes over the training set, to try."""


BLURB_GRID = GridConfig(learning_rate=(1e-5, 3e-5, 5e-5), batch_size=(16, 32))
"""What Gu et al. 2021 ("Domain-Specific Language Model Pretraining for Biomedical NLP") let dev choose among;
and 2 to 60 epochs."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Section, path="evaluation"):
    """Which benchmarks are run, with which seeds and budget."""

    tasks: tuple[str, ...] = ("BC5CDR-chem", "BC5CDR-disease", "NCBI-disease", "HoC")
    """Benchmarks that models are fine-tuned on; baselines run on all that are there."""
    seeds: Annotated[tuple[int, ...], "[0, 2147483647]"] = (1, 2, 3, 4, 5)
    """One fine-tuning run of each task for each."""
    entities: FinetuneConfig = field(default_factory=FinetuneConfig)
    documents: FinetuneConfig = field(default_factory=FinetuneConfig)
    protocol: Literal["", "blurb", "biobert"] = ""
    """Of the entity tasks; empty for their first one. The other kinds have one each."""
    grid: GridConfig = field(default_factory=GridConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, values in (("tasks", self.tasks), ("seeds", self.seeds)):
            if not values or len(set(values)) < len(values):
                what = f"{name} cannot be {', '.join(map(str, values)) or 'none'}"
                raise UserError(what, where=f"evaluation.{name}", remedy="name at least one, each once")
