"""What each rank holds of the fp32 weights and AdamW's moments, under every engine: runs of flattened
parameters, as views to read and write.

A parameter's elements have one numbering, whatever the number of ranks and the ZeRO stage: that of the
flattened tensor. So what one engine has written, every other one can read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

KINDS = ("weight", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Fragment:
    """Elements `start` to `start + numel` of a parameter."""

    name: str
    start: int
    tensors: dict[str, Tensor]
    """For each of `KINDS` (numel,) fp32: what the optimizer updates, not a copy."""

    @property
    def numel(self) -> int:
        return self.tensors["weight"].numel()

    def part(self, first: int, last: int) -> Fragment:
        """Elements `first` to `last` of the parameter, both inside this fragment."""
        inside = slice(first - self.start, last - self.start)
        return Fragment(self.name, first, {kind: tensor[inside] for kind, tensor in self.tensors.items()})


def held_fragments(model: nn.Module, optimizer: Any) -> list[Fragment]:
    """What this rank's optimizer updates.

    Args:
        model: the prepared model: DeepSpeed's engine, DDP's wrapper, or the module itself.
        optimizer: the prepared optimizer.
    """
    module = getattr(model, "module", model)
    outer = _below_accelerate(optimizer)
    names: dict[Any, str] = {parameter: name for name, parameter in module.named_parameters()}
    if hasattr(outer, "fp32_partitioned_groups_flat"):
        return list(_of_stage_3(outer, names))
    if hasattr(outer, "single_partition_of_fp32_groups"):
        return list(_of_stages_1_and_2(outer, names))
    if hasattr(outer, "fp32_groups"):  # stage 0 in bf16: fp32 copies, parameter by parameter
        pairs = [
            pair
            for low, high in zip(outer.fp16_groups, outer.fp32_groups, strict=True)
            for pair in zip(low, high, strict=True)
        ]
        return [_fragment(names[low], 0, high, outer.optimizer, high) for low, high in pairs]
    return [_fragment(name, 0, parameter, outer, parameter) for parameter, name in names.items()]


def _below_accelerate(optimizer: Any) -> Any:
    """Accelerate's wrapper holds DeepSpeed's, or AdamW."""
    return optimizer.optimizer if type(optimizer).__module__.startswith("accelerate") else optimizer


def _of_stages_1_and_2(outer: Any, names: dict[Any, str]) -> Iterator[Fragment]:
    for flat, group in zip(outer.single_partition_of_fp32_groups, outer.bit16_groups, strict=True):
        for parameter in group:
            if (mapping := parameter._hp_mapping) is not None:  # some of it lies in this rank's partition
                address = mapping.hp_fragment_address
                yield _fragment(
                    names[parameter],
                    mapping.lp_fragment_address.start,
                    flat,
                    outer.optimizer,
                    flat,
                    address.start,
                    address.numel,
                )


def _of_stage_3(outer: Any, names: dict[Any, str]) -> Iterator[Fragment]:
    for parameter, name in names.items():
        group, offset, padded = outer.grad_position[outer.get_param_id(parameter)]
        start = outer._get_param_partition_rank(parameter) * padded
        numel = max(min(padded, parameter.ds_numel - start), 0)  # the last ranks' partitions end with padding
        if numel:
            flat = outer.fp32_partitioned_groups_flat[group]
            yield _fragment(name, start, flat, outer.optimizer, flat, offset, numel)


def _fragment(
    name: str,
    start: int,
    master: Tensor,
    inner: torch.optim.Optimizer,
    key: Tensor,
    offset: int = 0,
    numel: int | None = None,
) -> Fragment:
    state = _state(inner, key)
    whole = {"weight": master.detach(), **{kind: state[kind] for kind in KINDS[1:]}}
    flat = {kind: tensor.view(-1) for kind, tensor in whole.items()}
    return Fragment(
        name,
        start,
        {
            kind: tensor[offset : offset + (tensor.numel() if numel is None else numel)]
            for kind, tensor in flat.items()
        },
    )


def _state(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Any]:
    """AdamW's state of a parameter, made as AdamW makes it where no step has been taken yet."""
    state = optimizer.state[parameter]
    if not state:
        group = optimizer.param_groups[0]
        on_device = bool(group.get("fused") or group.get("capturable"))
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device if on_device else "cpu")
        for kind in KINDS[1:]:
            state[kind] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
    return dict(state)


def take_up(model: nn.Module, optimizer: Any, *, steps_taken: int) -> None:
    """After the fragments have been written to: bring everything else in line with them, on all ranks
    together.

    Args:
        steps_taken: what AdamW's bias correction counts.
    """
    outer = _below_accelerate(optimizer)
    for state in getattr(outer, "optimizer", outer).state.values():
        state["step"] = (
            state["step"].fill_(steps_taken) if torch.is_tensor(state.get("step")) else steps_taken
        )
    if hasattr(outer, "fp32_partitioned_groups_flat"):
        _refresh_stage_3(outer)
    elif hasattr(outer, "single_partition_of_fp32_groups"):
        outer.update_lp_params()
    elif hasattr(outer, "fp32_groups"):
        for low, high in zip(outer.fp16_groups, outer.fp32_groups, strict=True):
            for parameter, master in zip(low, high, strict=True):
                parameter.data.copy_(master.data)


def _refresh_stage_3(outer: Any) -> None:
    outer.checkpoint_event_prologue()  # parameters that are kept whole become partitions, too
    for low, high, group in zip(
        outer.fp16_partitioned_groups_flat,
        outer.fp32_partitioned_groups_flat,
        outer.fp16_partitioned_groups,
        strict=True,
    ):
        low.data.copy_(high.data)
        for partition, updated in zip(group, outer.unflatten(low, group), strict=True):
            partition.data = updated.data
    outer.checkpoint_event_epilogue()


def shared_out(fragments: list[Fragment], *, rank: int, world_size: int) -> list[Fragment]:
    """Where every rank holds everything: one rank's part of the writing, of nearly the same size on every
    rank."""
    total = sum(fragment.numel for fragment in fragments)
    first, last = total * rank // world_size, total * (rank + 1) // world_size
    mine, before = [], 0
    for fragment in fragments:
        low, high = max(first, before), min(last, before + fragment.numel)
        if low < high:
            mine.append(fragment.part(fragment.start + low - before, fragment.start + high - before))
        before += fragment.numel
    return mine
