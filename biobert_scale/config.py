"""Every setting of the system as frozen dataclasses. A recipe is one TOML file with these sections (see
`recipes`)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from biobert_scale.errors import UserError
from biobert_scale.ranges import check_section


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """How raw XML becomes documents."""

    languages: tuple[str, ...] = ("eng",)
    """Languages kept, as MEDLINE's three-letter codes."""
    minimum_words: int = 20
    """Documents with fewer white-space-separated words are rejected as too short."""
    captions: bool = True
    """Keep the captions of figures and tables in full texts."""
    characters_per_shard: int = 200_000_000
    """Text in one Parquet file of the output, about; all files of a corpus hold nearly the same amount."""
    near_duplicate_similarity: float = 0.8
    """Jaccard similarity of two documents' runs of five words from which the later one is left out; above 1
    keeps all."""
    benchmark_splits: tuple[str, ...] = ("test",)
    """Splits of the benchmarks whose documents are left out, where benchmarks are given."""
    benchmark_overlap: float = 0.1
    """Share of a benchmark document's runs of 13 words from which a document that holds them is left out."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "corpus", minimum_words="[1, 1e9]", characters_per_shard="[1, 1e12]",
            near_duplicate_similarity="(0, 1000]", benchmark_overlap="(0, 1]"
        )
        # fmt: on
        if not self.languages:
            raise UserError("no language", where="corpus.languages", remedy="name at least one")


@dataclass(frozen=True, kw_only=True)
class SlurmConfig:
    """How a stage's tasks run on a SLURM cluster. Where work is done never changes what comes out: no part of
    a stage's key."""

    partition: str = ""
    """SLURM: the partition (the cluster's default one where it is empty)."""
    tasks: int = 64
    """SLURM: tasks that run at once, at most."""
    time: str = "02:00:00"
    """SLURM: time limit of an array element, hours:minutes:seconds."""
    cpus_per_task: int = 1
    """SLURM: processors of a task; more than one buys memory only."""
    memory_gib: int = 4
    """SLURM: memory of a task, GiB."""
    max_array: int = 1000
    """SLURM: elements of an array job at most; where there are more tasks, an element runs several, one after
    another."""
    setup: str = ""
    """SLURM: shell command that a node needs first, as "module load python"."""
    sbatch: tuple[str, ...] = ()
    """SLURM: more options for sbatch, each as name=value (account=lab qos=low)."""
    retries: int = 1
    """SLURM: how often tasks that were killed are submitted again."""
    poll_seconds: float = 10.0
    """SLURM: the longest time between two looks at the queue."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "--", tasks="[1, 1e6]", cpus_per_task="[1, 1e4]", memory_gib="[1, 1e6]",
            max_array="[1, 1e7]", retries="[0, 1000]", poll_seconds="(0, 3600]"
        )
        # fmt: on
        if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", self.time):
            what = f"'{self.time}' is no time limit"
            raise UserError(what, where="--time", remedy="write hours:minutes:seconds, or days-hours")


@dataclass(frozen=True, kw_only=True)
class SyntheticConfig:
    """The made-up literature that stands in where no real files are given."""

    abstracts: int = 3000
    full_texts: int = 150

    def __post_init__(self) -> None:
        check_section(self, "synthetic", abstracts="[1, 1e8]", full_texts="[0, 1e8]")


@dataclass(frozen=True, kw_only=True)
class VocabularyConfig:
    """The WordPiece vocabulary."""

    size: int = 28_996
    """Entries, special tokens included (28,996 is BERT's cased vocabulary)."""
    lowercase: bool = False
    """Lower-case and strip accents before splitting (an uncased model)."""
    minimum_frequency: int = 2
    """Pairs seen fewer times are not merged."""
    training_characters: int = 1_000_000_000
    """Text to train on at most, in characters, kept in memory; of a larger corpus the documents whose ids
    have the smallest hashes."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "vocabulary", size="[1, 1e7]", minimum_frequency="[1, 1e9]",
            training_characters="[1, 1e15]"
        )
        # fmt: on


@dataclass(frozen=True, kw_only=True)
class TokensConfig:
    """How documents become token shards."""

    validation_fraction: float = 0.005
    """Share of documents held out, chosen by a hash of the document's id: above 0, below 1."""

    def __post_init__(self) -> None:
        check_section(self, "tokens", validation_fraction="(0, 1)")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The encoder's shape, in BERT's terms. The defaults are BERT-Large's (Devlin et al. 2019)."""

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    max_position_embeddings: int = 512
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "model", hidden_size="[1, 65536]", num_hidden_layers="[1, 1000]",
            num_attention_heads="[1, 4096]", intermediate_size="[1, 1048576]",
            max_position_embeddings="[8, 32768]", hidden_dropout_prob="[0, 1)",
            attention_probs_dropout_prob="[0, 1)", initializer_range="(0, 10]"
        )
        # fmt: on


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How token shards become samples (Devlin et al. 2019, section 3.1 and appendix A.1)."""

    max_seq_length: int = 512
    """Tokens in a sample at most, [CLS] and both [SEP] included."""
    mlm_probability: float = 0.15
    """Share of a sample's tokens that are predicted; the count is fixed by the sample's length."""
    whole_word_masking: bool = False
    """Predict whole words: all word pieces of a word, or none."""
    short_sequence_probability: float = 0.1
    """Share of samples packed to a shorter length, drawn uniformly."""
    random_next_probability: float = 0.5
    """Share of samples whose second segment comes from another document."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "data", max_seq_length="[16, 4095]", mlm_probability="[0, 1]",
            short_sequence_probability="[0, 1]", random_next_probability="[0, 1]"
        )
        # fmt: on


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """How a rank's batches are made ahead of time. Nothing here changes what is trained on."""

    workers: int = 1
    """Threads of a rank that make batches."""
    prefetch_steps: int = 2
    """Steps that each thread makes ahead."""
    token_bucket: int = 0
    """Lengthen micro-batches to a multiple of this many tokens, so that a compiled model meets few shapes; 0
    leaves them as they are."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "loader", workers="[1, 1024]", prefetch_steps="[1, 10000]", token_bucket="[0, 1e7]"
        )
        # fmt: on


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How the same mathematics is computed: nothing here changes it but the rounding, and it may differ from
    start to start of a run.

    Every switch has a plain way beside it (the value in brackets), to compare with and to fall back on.
    """

    unpadded: bool = True
    """Lay sequences end to end, without padding (false: padded rows and a mask)."""
    attention: Literal["auto", "flash-attn", "sdpa"] = "auto"
    """Of unpadded sequences. `auto`: PyTorch's FlashAttention on GPUs that have it, in 16 bits, and on a CPU
    this package's own where there is dropout; `flash-attn`: that package (sdpa: PyTorch's, sequence by
    sequence)."""
    sparse_head: bool = True
    """The MLM head on predicted positions alone (false: on all, and then choose)."""
    sparse_last_layer: bool = True
    """The last layer, behind its attention, on predicted positions and [CLS] alone, which are all that the
    heads read (false: on all positions). With `unpadded` and `sparse_head` only."""
    quick_dropout: bool = True
    """On a CPU, masks of 16 random bits an element, from a fast generator (false: PyTorch's). Without effect
    on a GPU."""
    head_rows: int = 1024
    """Predictions whose logits are in fp32 at a time; between passes they are kept in the precision of
    training (0: all at once, by autograd)."""
    fused_qkv: bool = True
    """Queries, keys and values by one matrix product (false: three). Without effect at ZeRO stage 3, which
    gathers weights module by module."""
    fused_optimizer: bool = True
    """AdamW in one pass over all weights (false: one operation after another). Without effect in fp16 without
    DeepSpeed."""
    compile: bool = False
    """Fuse each layer's element-wise operations with torch.compile (false: one by one); the first step takes
    half a minute more. Needs Triton on a GPU, a C++ compiler on a CPU. Without effect at ZeRO stage 3."""

    def __post_init__(self) -> None:
        check_section(self, "compute", head_rows="[0, 1e9]")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW (Loshchilov and Hutter 2019) with BERT's settings."""

    learning_rate: float = 5e-5
    """The peak, reached at the end of the warm-up."""
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    """Applied to weight matrices and embeddings; never to biases and LayerNorm."""
    max_grad_norm: float = 1.0
    """The gradient of the global loss is clipped to this norm."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "training.optimizer", learning_rate="[0, 100]", betas="[0, 1)", epsilon="(0, 1]",
            weight_decay="[0, 100]", max_grad_norm="(0, 1e30]"
        )
        # fmt: on


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Linear warm-up, then linear decay to zero, counted in optimizer steps taken."""

    warmup_steps: int = 10_000
    total_steps: int = 150_000

    def __post_init__(self) -> None:
        check_section(self, "training.schedule", warmup_steps="[0, 1e12]", total_steps="[1, 1e12]")


@dataclass(frozen=True, kw_only=True)
class PrecisionConfig:
    """Arithmetic of the forward and backward pass; weights and moments are kept in fp32 by the optimizer."""

    dtype: Literal["fp32", "bf16", "fp16"] = "fp16"
    initial_scale_power: int = 16
    """fp16 only: the loss scale starts at 2 to this power."""
    loss_scale_window: int = 1000
    """fp16 only: steps without overflow after which the scale doubles."""
    hysteresis: int = 2
    """fp16 only: the scale halves at this many overflows, counted since it last grew (1: at every one).
    DeepSpeed's; without it always 1."""
    min_loss_scale: float = 1.0
    """fp16 only: the scale's floor; an overflow there stops the run."""
    max_skipped_in_a_row: int = 50
    """Steps skipped one after another, for overflowing gradients, after which the run stops."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "training.precision", initial_scale_power="[0, 100]", loss_scale_window="[1, 1e9]",
            hysteresis="[1, 1e6]", min_loss_scale="(0, 1e30]", max_skipped_in_a_row="[1, 1e9]"
        )
        # fmt: on


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """What drives the ranks."""

    name: Literal["deepspeed", "ddp"] = "deepspeed"
    deepspeed_config: str = "zero1"
    """A file of `ds_configs/` by its name, or a path to a DeepSpeed JSON file. Unused by `ddp`."""
    communication_timeout_seconds: int = 1800

    def __post_init__(self) -> None:
        check_section(self, "training.engine", communication_timeout_seconds="[1, 1e8]")


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    every_steps: int = 1000
    keep_last: int = 3
    """Complete checkpoints kept; older ones are deleted only after a newer one is in place."""
    keep_every_steps: int = 0
    """Checkpoints of multiples of this step are kept for good; 0 for none."""
    keep_best: int = 1
    """So many checkpoints are kept for their validation loss, however old; 0 for none."""
    background: bool = True
    """Copy the state to the host's memory and go on training while it is written; needs that memory twice on
    a CPU."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "training.checkpoint", every_steps="[1, 1e12]", keep_last="[1, 1e9]",
            keep_every_steps="[0, 1e12]", keep_best="[0, 1e9]"
        )
        # fmt: on


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    every_steps: int = 1000
    """Also evaluated before the first step and after the last."""
    sequences: int = 2048
    """Held-out samples at most; fewer where the validation split is smaller."""

    def __post_init__(self) -> None:
        check_section(self, "training.validation", every_steps="[1, 1e12]", sequences="[1, 1e9]")


@dataclass(frozen=True, kw_only=True)
class GuardsConfig:
    """What a run does about trouble that it notices itself. Rolling back takes the last checkpoint and goes
    on behind the samples seen since."""

    non_finite_loss: Literal["stop", "skip", "roll_back"] = "stop"
    """A loss that is no number. `skip` goes on without that step's gradients; it needs an engine that looks
    at them (not stage 0 in fp32)."""
    loss_spike: Literal["warn", "stop", "roll_back"] = "warn"
    """A loss above `spike_factor` times the running median."""
    spike_factor: float = 1.5
    spike_window: int = 200
    """Steps of the running median."""
    roll_backs: int = 3
    """Times that a run rolls back before it stops."""
    starvation_fraction: float = 0.2
    """Share of the time spent waiting for data above which a line says so."""
    stall_seconds: float = 900.0
    """A step that lasts longer is reported, with the rank that the others wait for."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "training.guards", spike_factor="(1, 1e9]", spike_window="[1, 1e7]", roll_backs="[0, 1e6]",
            starvation_fraction="[0, 1]", stall_seconds="(0, 1e8]"
        )
        # fmt: on


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The optimisation. `gradient_accumulation_steps` is derived from these and the world size, never set."""

    global_batch_size: int = 256
    """Sequences in one optimizer step, over all ranks."""
    micro_batch_size: int = 2
    """Sequences in one forward pass of one rank."""
    initial_weights: str = ""
    """Where the run starts: a Hugging Face model directory, or a TensorFlow checkpoint's path or directory;
    empty for random weights."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    guards: GuardsConfig = field(default_factory=GuardsConfig)
    log_every_steps: int = 10
    trackers: tuple[str, ...] = ("tensorboard",)
    """Accelerate's trackers that metrics go to, besides `metrics.jsonl` (tensorboard, wandb, mlflow, ...);
    each needs its package."""

    def __post_init__(self) -> None:
        # fmt: off
        check_section(
            self, "training", global_batch_size="[1, 1e9]", micro_batch_size="[1, 1e6]",
            log_every_steps="[1, 1e12]"
        )
        # fmt: on


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


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole recipe."""

    name: str
    description: str = ""
    seed: int = 1
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
        check_section(self, "", seed="[0, 9e18]")


def gradient_accumulation_steps(training: TrainingConfig, world_size: int) -> int:
    """Micro-batches that each rank runs in one optimizer step.

    Raises:
        UserError: the global batch does not divide over the ranks; the nearest sizes that do are named.
    """
    unit = training.micro_batch_size * world_size
    if training.global_batch_size % unit:
        raise UserError(
            f"global_batch_size {training.global_batch_size} does not divide into {world_size} ranks x"
            f" micro_batch_size {training.micro_batch_size}",
            where="training.global_batch_size",
            remedy=f"use {nearest_multiples(training.global_batch_size, unit)}, or another micro_batch_size",
        )
    return training.global_batch_size // unit


def nearest_multiples(value: int, unit: int) -> str:
    """The multiples of `unit` next to `value`, as a remedy names them."""
    below, above = value // unit * unit, (value // unit + 1) * unit
    return f"{below} or {above}" if below else str(above)
