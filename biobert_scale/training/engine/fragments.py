"""What a rank holds of the fp32 weights and AdamW's moments, under every engine: runs of flattened
parameters, as views to read and write.

A parameter's elements have one numbering, whatever the number of ranks and whatever shards them: that of the
flattened tensor. So what one engine has written, every other one can read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from biobert_scale.errors import RunFailed

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


class Place(NamedTuple):
    """Where some of a parameter's elements are updated."""

    name: str
    start: int
    """The first of them, in the flattened parameter."""
    master: Tensor
    """What the optimizer updates, and keeps its moments for."""
    offset: int
    """Of the first of them, in the flattened `master`."""
    numel: int


def fragments_of(
    places: Iterable[Place], optimizer: torch.optim.Optimizer, *, steps_taken: int
) -> list[Fragment]:
    """See `Engine.local_fragments`.

    Args:
        optimizer: torch's AdamW.
    """
    return [_fragment(place, optimizer, steps_taken) for place in places]


def _fragment(place: Place, optimizer: torch.optim.Optimizer, steps_taken: int) -> Fragment:
    state = _state(optimizer, place.master, create=not steps_taken)
    tensors = {}
    for kind in KINDS:
        whole = place.master.detach() if kind == "weight" else state.get(kind)
        if whole is None or whole.dtype != torch.float32:
            has = "has no" if whole is None else f"keeps its {str(whole.dtype).removeprefix('torch.')}"
            what = f"the optimizer {has} {kind} of {place.name}, where a checkpoint holds fp32"
            remedy = "use one of the files in ds_configs; the last checkpoint is kept"
            raise RunFailed(what, where="training.engine", remedy=remedy)
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


def set_steps_taken(optimizer: torch.optim.Optimizer, steps: int) -> None:
    """What AdamW's bias correction counts."""
    for state in optimizer.state.values():
        state["step"] = state["step"].fill_(steps) if torch.is_tensor(state.get("step")) else steps


def values_of(
    optimizer: torch.optim.Optimizer, parameter: Tensor, ordered: list[Tensor]
) -> dict[str, Tensor]:
    """See `Engine.full_values`: of the optimizer's `state_dict`, which numbers its parameters.

    Args:
        ordered: the parameters in its order.
    """
    (place,) = [number for number, one in enumerate(ordered) if one is parameter]
    saved = optimizer.state_dict()
    number = [number for group in saved["param_groups"] for number in group["params"]][place]
    return to_cpu({"weight": parameter} | {kind: saved["state"][number][kind] for kind in KINDS[1:]})


def to_cpu(values: dict[str, Any]) -> dict[str, Tensor]:
    """Flat copies, also of what is on the host already: they are compared while training continues."""
    return {kind: tensor.detach().flatten().to("cpu", copy=True) for kind, tensor in values.items()}


def partition(fragments: list[Fragment], *, rank: int, world_size: int) -> list[Fragment]:
    """One rank's part of the writing where every rank holds everything; all parts are nearly equal."""
    total = sum(fragment.numel for fragment in fragments)
    first, last = total * rank // world_size, total * (rank + 1) // world_size
    mine, before = [], 0
    for fragment in fragments:
        low, high = max(first, before), min(last, before + fragment.numel)
        if low < high:
            mine.append(fragment.part(fragment.start + low - before, fragment.start + high - before))
        before += fragment.numel
    return mine
