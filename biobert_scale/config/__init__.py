"""Every setting of the system as frozen dataclasses by section; each checks its numbers when it is made. A
recipe is one TOML file with these sections (see `recipes`)."""

from __future__ import annotations

from biobert_scale.config.batch_sizes import BatchSizes as BatchSizes
from biobert_scale.config.batch_sizes import Phase as Phase
from biobert_scale.config.batch_sizes import phases_of as phases_of
from biobert_scale.config.compute import ComputeConfig as ComputeConfig
from biobert_scale.config.corpus import CorpusConfig as CorpusConfig
from biobert_scale.config.corpus import OwnTextConfig as OwnTextConfig
from biobert_scale.config.corpus import SyntheticConfig as SyntheticConfig
from biobert_scale.config.corpus import TokensConfig as TokensConfig
from biobert_scale.config.corpus import VocabularyConfig as VocabularyConfig
from biobert_scale.config.data import DataConfig as DataConfig
from biobert_scale.config.data import LoaderConfig as LoaderConfig
from biobert_scale.config.evaluation import BLURB_GRID as BLURB_GRID
from biobert_scale.config.evaluation import FinetuneConfig as FinetuneConfig
from biobert_scale.config.evaluation import GridConfig as GridConfig
from biobert_scale.config.model import ModelConfig as ModelConfig
from biobert_scale.config.optimization import OptimizerConfig as OptimizerConfig
from biobert_scale.config.optimization import PrecisionConfig as PrecisionConfig
from biobert_scale.config.optimization import ScheduleConfig as ScheduleConfig
from biobert_scale.config.recipe import Config as Config
from biobert_scale.config.slurm import SlurmConfig as SlurmConfig
from biobert_scale.config.training import CheckpointConfig as CheckpointConfig
from biobert_scale.config.training import EngineConfig as EngineConfig
from biobert_scale.config.training import GuardsConfig as GuardsConfig
from biobert_scale.config.training import PhaseConfig as PhaseConfig
from biobert_scale.config.training import TrainingConfig as TrainingConfig
from biobert_scale.config.training import gradient_accumulation_steps as gradient_accumulation_steps
from biobert_scale.config.training import nearest_multiples as nearest_multiples
