"""What each rank holds of the fp32 weights and AdamW's moments, under every engine: runs of flattened
parameters, as views to read and write.

A parameter's elements have one numbering, whatever the number of ranks and the ZeRO stage: that of the
flattened tensor. So what one engine has written, every other one can read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from biobert_scale.errors import RunFailed
from biobert_scale.training.deepspeed_support import Place, layout_of, optimizer_class

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


def held_fragments(model: nn.Module, optimizer: Any, *, steps_taken: int = 0) -> list[Fragment]:
    """What this rank's optimizer updates.

    Args:
        model: the prepared model: DeepSpeed's engine, DDP's wrapper, or the module itself.
        optimizer: the prepared optimizer.
        steps_taken: before the first step moments that are not there yet are made; after it they are missed.

    Raises:
        UserError: the optimizer's class is not known.
        RunFailed: something that a checkpoint holds is not there, or not in fp32.
    """
    outer, _ = optimizer_class(optimizer)
    module = getattr(model, "module", model)
    names: dict[Any, str] = {parameter: name for name, parameter in module.named_parameters()}
    inner = getattr(outer, "optimizer", outer)
    return [_fragment(place, inner, steps_taken) for place in layout_of(optimizer).places(outer, names)]


def _fragment(place: Place, inner: torch.optim.Optimizer, steps_taken: int) -> Fragment:
    state = _state(inner, place.master, create=not steps_taken)
    tensors = {}
    for kind, whole in {
        "weight": place.master.detach(),
        **{kind: state.get(kind) for kind in KINDS[1:]},
    }.items():
        if whole is None or whole.dtype != torch.float32:
            what = "has no" if whole is None else f"keeps its {str(whole.dtype).removeprefix('torch.')}"
            raise RunFailed(
                f"the optimizer {what} {kind} of {place.name}, where a checkpoint holds fp32",
                where="training.engine",
                remedy="use one of the files in ds_configs; the last checkpoint is kept",
            )
        tensors[kind] = whole.view(-1)[place.offset : place.offset + place.numel]
    return Fragment(place.name, place.start, tensors)


def _state(optimizer: torch.optim.Optimizer, parameter: Tensor, *, create: bool) -> dict[str, Any]:
    """AdamW's state of a parameter, made as AdamW makes it where no step has been taken yet."""
    state = optimizer.state[parameter]
    if not state and create:
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
    outer, _ = optimizer_class(optimizer)
    for state in getattr(outer, "optimizer", outer).state.values():
        state["step"] = (
            state["step"].fill_(steps_taken) if torch.is_tensor(state.get("step")) else steps_taken
        )
    layout_of(optimizer).refresh(outer)


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
