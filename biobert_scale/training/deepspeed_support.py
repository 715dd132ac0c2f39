"""Which DeepSpeed settings and optimizer classes checkpoints are complete under, and where each class keeps
the fp32 weights and AdamW's moments.

DeepSpeed chooses the class by its settings, and each class has attributes of its own. Nothing is guessed: a
setting that is not in `ACCEPTED` and a class that is not in `LAYOUTS` are refused before training begins.
`tests/distributed/test_round_trip.py` compares what is read here with the engine's own for each of them.
Source: deepspeed 0.19, `runtime/engine.py` (`_configure_optimizer`), `runtime/config.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from biobert_scale.errors import UserError

FROM_RUN = object()
"""A setting that the run configuration fills in."""

_WHOLE, _POSITIVE, _SWITCH = "a whole number from 0 on", "a whole number from 1 on", "true or false"
_OFFLOAD = {"device": ("none", "cpu"), "pin_memory": _SWITCH}

ACCEPTED: dict[str, Any] = {
    "train_batch_size": FROM_RUN,
    "train_micro_batch_size_per_gpu": FROM_RUN,
    "gradient_accumulation_steps": FROM_RUN,
    "gradient_clipping": FROM_RUN,
    "bf16": {"enabled": FROM_RUN},
    "fp16": {
        "enabled": FROM_RUN,
        "loss_scale": FROM_RUN,
        "initial_scale_power": FROM_RUN,
        "loss_scale_window": FROM_RUN,
        "hysteresis": FROM_RUN,
        "min_loss_scale": FROM_RUN,
    },
    "zero_optimization": {
        "stage": (0, 1, 2, 3),
        "overlap_comm": _SWITCH,
        "contiguous_gradients": _SWITCH,
        "reduce_scatter": _SWITCH,
        "allgather_partitions": _SWITCH,
        "reduce_bucket_size": _POSITIVE,
        "allgather_bucket_size": _POSITIVE,
        "sub_group_size": _POSITIVE,
        "stage3_prefetch_bucket_size": _WHOLE,
        "stage3_param_persistence_threshold": _WHOLE,
        "stage3_max_live_parameters": _WHOLE,
        "stage3_max_reuse_distance": _WHOLE,
        "stage3_gather_16bit_weights_on_model_save": _SWITCH,
        "offload_optimizer": _OFFLOAD,
        "offload_param": _OFFLOAD,
    },
    "zero_force_ds_cpu_optimizer": (False,),
    "communication_data_type": ("fp16", "bf16", "fp32"),
    "steps_per_print": _WHOLE,
    "wall_clock_breakdown": _SWITCH,
}
"""DeepSpeed's settings that a file may hold: the values allowed, their kind, or `FROM_RUN`."""


def check_settings(settings: Any, *, where: Path) -> None:
    """Refuse what `ACCEPTED` does not hold; whole numbers written as 5e8 become integers.

    Raises:
        UserError: naming the first such setting.
    """
    _check("", settings, ACCEPTED, where)
    if "zero_optimization" not in settings:
        raise UserError(
            "no section 'zero_optimization'",
            where=where,
            remedy='write it, if only {"stage": 0}; see ds_configs/zero0.json',
        )
    zero = settings["zero_optimization"]
    stage = zero.get("stage", 0)
    offloaded = [
        name
        for name in ("optimizer", "param")
        if zero.get(f"offload_{name}", {}).get("device", "none") != "none"
    ]
    if ("param" in offloaded and stage != 3) or ("optimizer" in offloaded and not stage):
        raise UserError(
            f"stage {stage} does not offload what 'zero_optimization' says ({', '.join(offloaded)})",
            where=where,
            remedy="remove it, or raise the stage: parameters need stage 3, optimizer states 1 to 3",
        )
    if "optimizer" in offloaded and "zero_force_ds_cpu_optimizer" not in settings:
        raise UserError(
            "DeepSpeed would replace the run's AdamW by one of its own, and lose its betas",
            where=where,
            remedy='add "zero_force_ds_cpu_optimizer": false, which belongs to offloaded optimizer states',
        )


def _check(key: str, value: Any, accepted: dict[str, Any], where: Path) -> None:
    if not isinstance(value, dict):
        raise UserError(
            f"'{key}' is {value!r}, not an object" if key else "the file holds no JSON object",
            where=where,
            remedy="see ds_configs/zero1.json for the form",
        )
    for name, inner in value.items():
        full = f"{key}.{name}" if key else name
        if name not in accepted:
            close = get_close_matches(name, accepted, n=1)
            raise UserError(
                f"the DeepSpeed setting '{full}' is not one that checkpoints are known to be complete under",
                where=where,
                remedy=f"did you mean '{close[0]}'?"
                if close
                else "remove it; ds_configs/README.md lists those",
            )
        kind = accepted[name]
        if isinstance(kind, dict):
            _check(full, inner, kind, where)
        elif isinstance(kind, tuple):
            if not any(inner == one and type(inner) is type(one) for one in kind):
                choices = " or ".join(repr(one) for one in kind)
                raise UserError(f"'{full}' is {inner!r}", where=where, remedy=f"write {choices}")
        elif kind is not FROM_RUN:
            if isinstance(inner, float) and inner.is_integer():
                value[name] = inner = int(inner)
            least = 1 if kind is _POSITIVE else 0
            fits = isinstance(inner, bool) if kind is _SWITCH else type(inner) is int and inner >= least
            if not fits:
                raise UserError(f"'{full}' is {inner!r}", where=where, remedy=f"write {kind}")


class Place(NamedTuple):
    """Where some of a parameter's elements are updated."""

    name: str
    start: int
    """The first of them, in the flattened parameter."""
    master: Tensor
    """What the inner optimizer updates, and keeps its moments for."""
    offset: int
    """Of the first of them, in the flattened `master`."""
    numel: int


Names = dict[Any, str]
"""A module's parameters -> their names."""


@dataclass(frozen=True)
class Layout:
    """How one optimizer class keeps its state."""

    places: Callable[[Any, Names], Iterator[Place]]
    refresh: Callable[[Any], None]
    """After the places have been written to: bring the weights that are computed with in line, on all ranks
    together."""
    restart: Callable[[Any], None] = lambda outer: None
    """Undo what the class has done to weights and moments before the first step."""
    replicated: bool = False
    """Every rank holds everything."""


def optimizer_class(optimizer: Any) -> tuple[Any, str]:
    """The optimizer below Accelerate's wrapper, and its class by module and name."""
    wrapped = type(optimizer).__module__.startswith("accelerate")
    outer = optimizer.optimizer if wrapped else optimizer
    return outer, f"{type(outer).__module__}.{type(outer).__name__}"


def layout_of(optimizer: Any) -> Layout:
    """How a prepared optimizer keeps its state.

    Raises:
        UserError: its class is not known, or what it wraps is not torch's AdamW.
    """
    outer, name = optimizer_class(optimizer)
    inner = type(getattr(outer, "optimizer", outer))
    if name not in LAYOUTS or inner is not torch.optim.AdamW:
        unknown = name if name not in LAYOUTS else f"{inner.__module__}.{inner.__name__}"
        raise UserError(
            f"the engine chose the optimizer class {unknown}, whose state no checkpoint is known to hold",
            where="training.engine",
            remedy="use one of the files in ds_configs, and the version of deepspeed in constraints.txt",
        )
    return LAYOUTS[name]


def engine_values(model: nn.Module, optimizer: Any, name: str) -> dict[str, Tensor]:
    """What the engine itself says of a parameter: (numel,) on the host, of weight, exp_avg, exp_avg_sq.

    Asked through DeepSpeed's public functions; where every rank holds everything, through the optimizer's
    `state_dict`, and the weight is then the one that is computed with, in its own type. Called by all ranks
    together, after the first step.
    """
    module = getattr(model, "module", model)
    parameter = dict(module.named_parameters())[name]
    outer, _ = optimizer_class(optimizer)
    moments = ("exp_avg", "exp_avg_sq")
    if not layout_of(optimizer).replicated:
        # Here alone: a run without DeepSpeed that imports it keeps its process group's threads to the end.
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if hasattr(outer, "_lazy_init_hp_params_optimizer_state"):
            # Linked once, after the first step of the first group: the others have no state then (0.19).
            outer._hp_optimizer_states_linked = False
            outer._lazy_init_hp_params_optimizer_state()
        found = {"weight": safe_get_full_fp32_param(parameter)}
        found |= {kind: safe_get_full_optimizer_state(parameter, kind) for kind in moments}
    else:
        inner = getattr(outer, "optimizer", outer)
        low = getattr(outer, "fp16_groups", None) or [group["params"] for group in inner.param_groups]
        saved = inner.state_dict()
        numbers = [number for group in saved["param_groups"] for number in group["params"]]
        ordered = [one for group in low for one in group]
        (number,) = [n for n, one in zip(numbers, ordered, strict=True) if one is parameter]
        found = {"weight": parameter.detach(), **{kind: saved["state"][number][kind] for kind in moments}}
    # Copies, also of what is on the host already: they are compared while training continues.
    return {kind: tensor.detach().flatten().to("cpu", copy=True) for kind, tensor in found.items()}


def _whole(names: Names) -> Iterator[Place]:
    return (Place(name, 0, parameter, 0, parameter.numel()) for parameter, name in names.items())


def _unfused(outer: Any, names: Names) -> Iterator[Place]:
    """Stage 0 in 16 bits: an fp32 copy of each parameter."""
    for low, high in zip(outer.fp16_groups, outer.fp32_groups, strict=True):
        for parameter, master in zip(low, high, strict=True):
            yield Place(names[parameter], 0, master, 0, master.numel())


def _refresh_unfused(outer: Any) -> None:
    for low, high in zip(outer.fp16_groups, outer.fp32_groups, strict=True):
        for parameter, master in zip(low, high, strict=True):
            parameter.data.copy_(master.data)


def _restart_unfused(outer: Any) -> None:
    """It has made its moments by a step with gradients of zero: counted by AdamW, and weights decayed."""
    outer.refresh_fp32_params()
    outer.optimizer.state.clear()


def _stages_1_and_2(outer: Any, names: Names) -> Iterator[Place]:
    for flat, group in zip(outer.single_partition_of_fp32_groups, outer.bit16_groups, strict=True):
        for parameter in group:
            if (mapping := parameter._hp_mapping) is not None:  # some of it is in this rank's partition
                address = mapping.hp_fragment_address
                start = mapping.lp_fragment_address.start
                yield Place(names[parameter], start, flat, address.start, address.numel)


def _stage_3(outer: Any, names: Names) -> Iterator[Place]:
    for parameter, name in names.items():
        group, offset, padded = outer.grad_position[outer.get_param_id(parameter)]
        start = outer._get_param_partition_rank(parameter) * padded
        numel = max(min(padded, parameter.ds_numel - start), 0)  # the last ranks' partitions end with padding
        if numel:
            yield Place(name, start, outer.fp32_partitioned_groups_flat[group], offset, numel)


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


LAYOUTS: dict[str, Layout] = {
    # Without DeepSpeed, and stage 0 in fp32.
    "torch.optim.adamw.AdamW": Layout(
        lambda outer, names: _whole(names), refresh=lambda outer: None, replicated=True
    ),
    "deepspeed.runtime.fp16.unfused_optimizer.FP16_UnfusedOptimizer": Layout(
        _unfused, _refresh_unfused, restart=_restart_unfused, replicated=True
    ),
    "deepspeed.runtime.zero.stage_1_and_2.DeepSpeedZeroOptimizer": Layout(
        _stages_1_and_2, lambda outer: outer.update_lp_params()
    ),
    "deepspeed.runtime.zero.stage3.DeepSpeedZeroOptimizer_Stage3": Layout(_stage_3, _refresh_stage_3),
}
