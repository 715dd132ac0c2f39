"""Every setting of the system as frozen dataclasses, one section a file; each checks its numbers when it is
made. A recipe is one TOML file with these sections (see `recipes`)."""

from __future__ import annotations

from biobert_scale.config.compute import ComputeConfig
from biobert_scale.config.corpus import CorpusConfig
from biobert_scale.config.data import DataConfig
from biobert_scale.config.evaluation import EvaluationConfig, FinetuneConfig, GridConfig
from biobert_scale.config.execution import CheckpointConfig, EngineConfig, GuardsConfig, ValidationConfig
from biobert_scale.config.loader import LoaderConfig
from biobert_scale.config.model import ModelConfig
from biobert_scale.config.optimization import OptimizerConfig, PrecisionConfig, ScheduleConfig
from biobert_scale.config.recipe import Config
from biobert_scale.config.slurm import SlurmConfig
from biobert_scale.config.synthetic import SyntheticConfig
from biobert_scale.config.tokens import TokensConfig, VocabularyConfig
from biobert_scale.config.training import TrainingConfig, gradient_accumulation_steps, nearest_multiples

__all__ = [
    "CheckpointConfig",
    "ComputeConfig",
    "Config",
    "CorpusConfig",
    "DataConfig",
    "EngineConfig",
    "EvaluationConfig",
    "FinetuneConfig",
    "GridConfig",
    "GuardsConfig",
    "LoaderConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PrecisionConfig",
    "ScheduleConfig",
    "SlurmConfig",
    "SyntheticConfig",
    "TokensConfig",
    "TrainingConfig",
    "ValidationConfig",
    "VocabularyConfig",
    "gradient_accumulation_steps",
    "nearest_multiples",
]
