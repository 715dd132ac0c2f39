"""Fine-tuning and its benchmarks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from biobert_scale.errors import UserError
from biobert_scale.ranges import check_section


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """One fine-tuning run's budget, the same for every model that is compared."""

    learning_rate: float = 5e-5
    epochs: int = 10
    batch_size: int = 16
    """Sentences (entities) or documents (hallmarks) in one step."""
    max_seq_length: int = 0
    """Word pieces in one input, [CLS] and [SEP] included: a longer sentence of an entity task is covered by
    overlapping windows, a longer input of HoC is cut. 0: 512 for documents and 256 for sentences, or as many
    as the model has positions."""
    warmup_fraction: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.1
    hallmark_unit: Literal["document", "sentence-union"] = "document"
    """HoC only: classify whole documents, or sentences whose labels are then united. Scores are of documents
    either way."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 on a GPU that computes in it, fp32 elsewhere."""
    keep_weights: bool = True
    """Keep the fine-tuned weights beside the scores, for `evaluate predict`."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "", learning_rate="[0, 100]", epochs="[1, 1e5]", batch_size="[1, 1e6]",
            max_seq_length="0 or [8, 32768]", warmup_fraction="[0, 1)", weight_decay="[0, 100]",
            dropout="[0, 1)"
        )
        # fmt: on


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """Settings that a fine-tuning run tries, every combination, before dev chooses; an empty list tries the
    budget's own value."""

    learning_rate: tuple[float, ...] = ()
    batch_size: tuple[int, ...] = ()
    epochs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_section(self, "grid", learning_rate="[0, 100]", batch_size="[1, 1e6]", epochs="[1, 1e5]")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Which benchmarks are run, with which seeds and budget."""

    tasks: tuple[str, ...] = ("BC5CDR-chem", "BC5CDR-disease", "NCBI-disease", "HoC")
    """Benchmarks that models are fine-tuned on; baselines run on all that are there."""
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    entities: FinetuneConfig = field(default_factory=FinetuneConfig)
    documents: FinetuneConfig = field(default_factory=FinetuneConfig)
    protocol: Literal["", "blurb", "biobert"] = ""
    """Of the entity benchmarks; empty for `blurb`. The documents' follows from their benchmark."""
    grid: GridConfig = field(default_factory=GridConfig)

    def __post_init__(self) -> None:
        check_section(self, "evaluation", seeds="[0, 2147483647]")
        for name, values in (("tasks", self.tasks), ("seeds", self.seeds)):
            if not values or len(set(values)) < len(values):
                what = f"{name} cannot be {', '.join(map(str, values)) or 'none'}"
                raise UserError(what, where=f"evaluation.{name}", remedy="name at least one, each once")
