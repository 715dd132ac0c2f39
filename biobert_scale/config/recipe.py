"""A whole recipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from biobert_scale.config.compute import ComputeConfig
from biobert_scale.config.corpus import CorpusConfig, SyntheticConfig, TokensConfig, VocabularyConfig
from biobert_scale.config.data import DataConfig, LoaderConfig
from biobert_scale.config.evaluation import EvaluationConfig
from biobert_scale.config.history import as_first_saved
from biobert_scale.config.model import ModelConfig
from biobert_scale.config.section import Section
from biobert_scale.config.training import TrainingConfig
from biobert_scale.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Config(Section, path=""):
    """A whole recipe."""

    name: str
    """What the run is called in its directory, its card and the reports."""
    description: str = ""
    """One line for people."""
    seed: Annotated[int, "[0, 9e18]"] = 1
    """Keys every random choice: samples, masks, order, dropout, initial weights."""
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    tokens: TokensConfig = field(default_factory=TokensConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        length, positions = self.data.max_seq_length, self.model.max_position_embeddings
        if length > positions:
            what = f"max_seq_length {length} exceeds model.max_position_embeddings {positions}"
            remedy = "shorten the samples or enlarge the model's positions"
            raise UserError(what, where="data.max_seq_length", remedy=remedy)
        longest = max((phase.max_seq_length for phase in self.training.phases), default=0)
        if longest > length:
            what = f"a phase's max_seq_length {longest} exceeds data.max_seq_length {length}"
            remedy = "data.max_seq_length is the longest of all phases: enlarge it"
            raise UserError(what, where="training.phases", remedy=remedy)

    def fingerprinted(self) -> dict[str, Any]:
        """What its fingerprint is made of."""
        return as_first_saved(asdict(self))
