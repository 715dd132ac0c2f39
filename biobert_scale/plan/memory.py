"""What one rank of a run holds in memory, what it sends in a step, and what a checkpoint takes, from the
shapes alone.

The states follow what DeepSpeed 0.19 and torch's DDP allocate, part by part;
`tests/distributed/test_offload.py` compares them with real engines. Activations are an estimate, and say so.
All sizes are in bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from biobert_scale.config import Config, ModelConfig
from biobert_scale.training.engine.settings import engine_config

_FP32 = 4
_STAGE_0_BUCKET = 500_000_000
"""Elements that DeepSpeed reduces at once at stage 0; the configuration's bucket size does not reach that
code."""
_DDP_BUCKET = 25 * 2**20
"""Bytes that torch's DistributedDataParallel reduces at once, by default."""


@dataclass(frozen=True, kw_only=True)
class Sharding:
    """How an engine shares a model's states out over the ranks: what of its configuration memory depends
    on."""

    stage: int | None
    """ZeRO stage; None for torch's DistributedDataParallel."""
    offload_optimizer: bool = False
    """fp32 weights and moments are in the host's memory, and the host takes the optimizer's steps."""
    offload_weights: bool = False
    """Stage 3: each rank's share of the weights is in the host's memory."""
    bucket: int = 500_000_000
    """Gradient elements that are reduced at once."""
    gather_bucket: int = 500_000_000
    """Stages 1 and 2: weights that are gathered at once."""
    overlap: bool = False
    """Two buckets: one is filled while the other is reduced."""
    reuse_distance: int = 1_000_000_000
    """Stage 3: gathered weights stay where they are used again before this many more elements are."""
    prefetch: int = 50_000_000
    """Stage 3: elements gathered ahead of their use."""
    persistence_threshold: int = 100_000
    """Stage 3: smaller tensors stay whole on every rank."""

    @classmethod
    def of(cls, config: Config, *, world_size: int) -> Sharding:
        """What a run's engine does, read from its DeepSpeed file as the engine will read it."""
        if config.training.engine.name == "ddp":
            return cls(stage=None)
        zero: dict[str, Any] = engine_config(config, world_size=world_size).get("zero_optimization", {})
        stage = int(zero.get("stage", 0))
        known = {
            "bucket": "reduce_bucket_size",
            "gather_bucket": "allgather_bucket_size",
            "reuse_distance": "stage3_max_reuse_distance",
            "prefetch": "stage3_prefetch_bucket_size",
            "persistence_threshold": "stage3_param_persistence_threshold",
        }
        return cls(
            stage=stage,
            offload_optimizer=zero.get("offload_optimizer", {}).get("device", "none") != "none",
            offload_weights=zero.get("offload_param", {}).get("device", "none") != "none",
            overlap=bool(zero.get("overlap_comm", stage == 3)),
            **{field: int(zero[key]) for field, key in known.items() if key in zero},
        )


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Bytes in one memory, by what they hold."""

    weights: int = 0
    """The model's parameters, in the precision that is computed with."""
    fp32_weights: int = 0
    """The optimizer's own copy of them."""
    moments: int = 0
    """AdamW's two, in fp32."""
    gradients: int = 0
    """As they are kept from one micro-batch to the next, and reduced."""
    copies: int = 0
    """Weights gathered (stage 3) or cast (DDP in 16 bits) for the pass."""
    communication: int = 0
    """Buckets."""
    activations: int = 0
    """Estimate: what one micro-batch keeps for its backward pass (see `activation_bytes`)."""
    optimizer_step: int = 0
    """fp32 gradients and temporaries of the optimizer, while it steps."""

    @property
    def states(self) -> int:
        """Held all the time."""
        return self.weights + self.fp32_weights + self.moments + self.gradients

    @property
    def peak(self) -> int:
        """The states, and the larger of what a pass needs and what the optimizer's step needs: never both at
        once."""
        return self.states + max(self.copies + self.communication + self.activations, self.optimizer_step)


@dataclass(frozen=True, kw_only=True)
class RankMemory:
    """One rank's memory."""

    device: Parts
    host: Parts
    """What is offloaded; a run without offloading has nothing here."""


def rank_memory(
    groups: Sequence[Sequence[int]],
    sharding: Sharding,
    *,
    world_size: int,
    bytes_a_weight: int,
    accumulates: bool = True,
    activations: int = 0,
) -> RankMemory:
    """One rank's memory, by part; the rank that holds the most, where they differ.

    Args:
        groups: elements of each parameter tensor, tied ones once, in the groups and order of
            `build_optimizer`.
        bytes_a_weight: of the precision that is computed with: 2 or 4.
        accumulates: whether a step has several micro-batches.
        activations: bytes, from `activation_bytes`.
    """
    count, p = sum(map(sum, groups)), bytes_a_weight
    if sharding.stage is None:
        device = Parts(
            weights=_FP32 * count,
            moments=2 * _FP32 * count,
            gradients=_FP32 * count,
            copies=2 * count if p == 2 else 0,
            communication=_FP32 * count if world_size > 1 else 0,
            activations=activations,
            optimizer_step=_FP32 * count,
        )
        return RankMemory(device=device, host=Parts())
    if sharding.stage == 0:
        device = Parts(
            weights=p * count,
            fp32_weights=_FP32 * count if p == 2 else 0,
            moments=2 * _FP32 * count,
            gradients=p * count,
            communication=p * min(count, _STAGE_0_BUCKET),
            activations=activations,
            optimizer_step=(2 if p == 2 else 1) * _FP32 * count,
        )
        return RankMemory(device=device, host=Parts())
    if sharding.stage < 3:
        return _stage_1_or_2(groups, sharding, world_size, p, accumulates, activations)
    return _stage_3([size for group in groups for size in group], sharding, world_size, p, activations)


def _stage_1_or_2(
    groups: Sequence[Sequence[int]],
    sharding: Sharding,
    world_size: int,
    p: int,
    accumulates: bool,
    activations: int,
) -> RankMemory:
    """Each group is laid end to end, padded to an even number of elements a rank, and cut into equal
    shares."""
    shares = [-(-sum(group) // (2 * world_size)) * 2 for group in groups]
    share, count, largest = sum(shares), sum(map(sum, groups)), max(map(max, groups))
    # Gradients are kept as whole tensors wherever a rank's share begins or ends within one.
    reduced = p * max(
        sum(
            _touched(group, rank * size, (rank + 1) * size)
            for group, size in zip(groups, shares, strict=True)
        )
        for rank in range(world_size)
    )
    # The bucket is there in full whatever the model's size; what it holds is copied once more to be sent.
    buckets = p * sharding.bucket * (2 if sharding.overlap else 1) + p * min(count, sharding.bucket)
    weights, optimizer = p * share * world_size, {"fp32_weights": _FP32 * share, "moments": 2 * _FP32 * share}
    # Stage 1 keeps all gradients on the device until the last micro-batch of a step, stage 2 never has them
    # all.
    whole = p * count if sharding.stage == 1 else 0
    if sharding.offload_optimizer:
        device = Parts(
            weights=weights, gradients=whole, communication=buckets + p * largest, activations=activations
        )
        host = Parts(
            **optimizer,
            gradients=_FP32 * share + (reduced if accumulates else 0),
            copies=p * share,
            communication=p * largest,
            optimizer_step=_FP32 * share,
        )
        return RankMemory(device=device, host=host)
    kept = whole or (reduced if accumulates else 0)
    device = Parts(
        weights=weights,
        **optimizer,
        gradients=kept,
        communication=buckets + reduced,
        activations=activations,
        optimizer_step=2 * _FP32 * share,
    )
    return RankMemory(device=device, host=Parts())


def _touched(sizes: Sequence[int], begin: int, end: int) -> int:
    """Elements of the tensors, laid end to end, that have any element in [begin, end)."""
    total, at = 0, 0
    for size in sizes:
        total += size if at < end and at + size > begin else 0
        at += size
    return total


def _stage_3(
    sizes: Sequence[int], sharding: Sharding, world_size: int, p: int, activations: int
) -> RankMemory:
    """Every tensor is cut by itself."""
    share = sum(-(-size // world_size) for size in sizes)
    whole = sum(size for size in sizes if size <= sharding.persistence_threshold)
    gathered = min(sum(sizes) - whole, sharding.reuse_distance + sharding.prefetch)
    passing = {"copies": p * gathered, "communication": 2 * p * sharding.bucket, "activations": activations}
    weights = p * whole + (0 if sharding.offload_weights else p * share)
    in_host = p * share if sharding.offload_weights else 0
    moments = 2 * _FP32 * share
    if sharding.offload_optimizer:
        optimizer = {"fp32_weights": _FP32 * share, "moments": moments, "optimizer_step": _FP32 * share}
        host = Parts(weights=in_host, gradients=(p + _FP32) * share, **optimizer)
        return RankMemory(device=Parts(weights=weights, **passing), host=host)
    # In fp32 the optimizer works on the weights' own memory, unless that is on the other side.
    own = _FP32 * share if p == 2 or sharding.offload_weights else 0
    device = Parts(
        weights=weights,
        fp32_weights=own,
        moments=moments,
        gradients=p * share,
        **passing,
        optimizer_step=2 * _FP32 * share,
    )
    return RankMemory(device=device, host=Parts(weights=in_host))


def activation_bytes(
    model: ModelConfig,
    *,
    sequences: int,
    length: int,
    predictions: int,
    vocabulary_size: int,
    bytes_a_weight: int,
    head_rows: int = 0,
    checkpointing: bool = False,
) -> int:
    """Estimate of what the forward pass of one micro-batch keeps for the backward pass, at its largest.

    A token keeps in each layer 8 hidden + 2 intermediate numbers (Korthikanti et al. 2022, section 4.1,
    without the attention matrices, which a fused kernel computes again), a byte of dropout mask for each of 2
    hidden ones, four bytes a head for the softmax and 16 for the two LayerNorms. A predicted token keeps four
    hidden numbers and, when the loss's backward pass begins, three rows of fp32 scores over the vocabulary;
    or one in the precision of the layers, and for `head_rows` at a time two of fp32.

    Args:
        sequences, length: the micro-batch, every sequence of full length.
        predictions: masked positions in it.
        bytes_a_weight: 2 where the layers compute in 16 bits.
        head_rows: predictions dealt with at a time; 0 for all (see `ComputeConfig`).
        checkpointing: a layer keeps its input alone, but for the one whose backward pass is under way.
    """
    hidden, inner, p = model.hidden_size, model.intermediate_size, bytes_a_weight
    dropped = model.hidden_dropout_prob > 0
    a_layer = p * (8 * hidden + 2 * inner) + 2 * hidden * dropped + 4 * model.num_attention_heads + 16
    layers = model.num_hidden_layers * a_layer
    if checkpointing:
        layers = model.num_hidden_layers * p * hidden + a_layer
    a_token = layers + 2 * p * hidden + hidden * dropped
    scores = 3 * _FP32 * predictions
    if head_rows:
        scores = 2 * _FP32 * min(predictions, head_rows) + p * predictions
    return sequences * length * a_token + predictions * 4 * p * hidden + scores * vocabulary_size


class Sent(NamedTuple):
    """What one rank sends in one optimizer step: bytes by ring algorithms, or numbers of collectives."""

    reduced: int
    """To reduce gradients."""
    gathered: int
    """To gather weights."""


def communication(
    count: int, sharding: Sharding, *, world_size: int, bytes_a_weight: int, micro_steps: int
) -> Sent:
    """What one rank sends in one optimizer step.

    With c = count x bytes and f = (ranks - 1) / ranks, an all-reduce sends 2cf, a gather or a reduce-scatter
    cf. DDP and stage 0 reduce once a step; stage 1 gathers the new weights besides; stage 2 reduces in every
    micro-step, by all-reduce; stage 3 scatters gradients and gathers weights in every micro-step, for the
    forward pass and again for the backward pass unless the weights stay (`reuse_distance`).
    """
    c = count * (_FP32 if sharding.stage is None else bytes_a_weight)
    match sharding.stage:
        case None | 0:
            reduced, gathered = 2 * c, 0
        case 1:
            reduced, gathered = 2 * c, c
        case 2:
            reduced, gathered = micro_steps * 2 * c, c
        case _:
            passes = 1 if sharding.reuse_distance >= 2 * count else 2
            reduced, gathered = micro_steps * c, micro_steps * passes * c
    in_all = (reduced + gathered) * (world_size - 1) // world_size
    in_gathers = gathered * (world_size - 1) // world_size
    return Sent(in_all - in_gathers, in_gathers)


def collective_calls(count: int, sharding: Sharding, *, micro_steps: int) -> Sent:
    """Into how many collectives what `communication` counts is divided: as many as buckets. At stage 3, where
    tensors are fetched by their use, it is the least that they can be."""

    def buckets(size: int) -> int:
        return -(-count // size)

    match sharding.stage:
        case None:
            return Sent(buckets(_DDP_BUCKET // _FP32), 0)
        case 0:
            return Sent(buckets(_STAGE_0_BUCKET), 0)
        case 1:
            return Sent(buckets(sharding.bucket), buckets(sharding.gather_bucket))
        case 2:
            return Sent(micro_steps * buckets(sharding.bucket), buckets(sharding.gather_bucket))
        case _:
            passes = 1 if sharding.reuse_distance >= 2 * count else 2
            gathers = micro_steps * passes * buckets(max(sharding.prefetch, 1))
            return Sent(micro_steps * buckets(sharding.bucket), gathers)


def checkpoint_bytes(count: int) -> int:
    """All ranks' files of one checkpoint: fp32 weights and two moments, whatever the engine."""
    return 3 * _FP32 * count
