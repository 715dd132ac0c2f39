"""DeepSpeed: nothing else knows its attributes, its scaler, its norm and where its optimizers keep what.

Source: deepspeed 0.19, `runtime/engine.py`, `runtime/zero/stage_1_and_2.py`, `runtime/zero/stage3.py`,
`runtime/fp16/unfused_optimizer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from biobert_scale.errors import UserError
from biobert_scale.modeling.batch import PackedBatch
from biobert_scale.training.engine.base import EngineRecord, Update
from biobert_scale.training.engine.fragments import (
    Fragment,
    Place,
    fragments_of,
    set_steps_taken,
    to_cpu,
    values_of,
)
from biobert_scale.training.engine.optimizer import set_rates

_SCALE_AT_FLOOR = "loss scale already at minimum"
"""What its scaler raises, as a bare Exception."""
_SCALER_COUNTS = ("cur_iter", "last_overflow_iter", "cur_hysteresis")
"""What its scaler counts between two changes of the scale."""


class DeepSpeedEngine:
    """See `Engine`.

    Args:
        accelerator: joined with a `DeepSpeedPlugin`.
        fp16: whether the loss is scaled.

    Raises:
        UserError: DeepSpeed chose an optimizer class whose state is not known to be held completely.
    """

    def __init__(
        self, accelerator: Accelerator, module: nn.Module, optimizer: torch.optim.AdamW, *, fp16: bool
    ) -> None:
        self.engine, wrapped = accelerator.prepare(module, optimizer)
        self.outer = wrapped.optimizer  # below Accelerate's wrapper
        self.layout, self.fp16 = _layout_of(self.outer), fp16
        self.inner: torch.optim.AdamW = getattr(self.outer, "optimizer", self.outer)
        self.module, self.device = self.engine.module, accelerator.device
        self.rank, self.world_size = accelerator.process_index, accelerator.num_processes
        self.micro_steps: int = self.engine.gradient_accumulation_steps()
        self.replicated = self.layout.replicated
        self.stage = self.engine.zero_optimization_stage()
        self.description: EngineRecord = {"engine": "deepspeed", "zero_stage": self.stage}
        self.layout.restart(self.outer)
        _keep_grad_norm(self.engine)

    def micro_step(self, *, last: bool) -> AbstractContextManager[Any]:
        self.engine.set_gradient_accumulation_boundary(is_boundary=last)
        return nullcontext()

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        sums: dict[str, Tensor] = self.engine(batch)
        return sums

    def backward(self, loss: Tensor) -> None:
        self.engine.backward(loss)

    def step(self, learning_rate: float, *, frozen_encoder: bool = False) -> Update:
        set_rates(self.outer.param_groups, learning_rate, frozen_encoder=frozen_encoder)
        scale, skipped_before = self._scale(), self.engine.skipped_steps
        try:
            self.engine.step()
        except Exception as error:
            if _SCALE_AT_FLOOR not in str(error):
                raise
            skipped = True
        else:
            skipped = self.engine.skipped_steps > skipped_before
        norm = self.engine.get_global_grad_norm()
        norm = float("nan") if norm is None else float(norm)
        following = self._scale()
        if self.fp16 and self.stage == 3:
            norm = norm * following / scale  # stage 3 divides by the next step's scale
        return Update(
            grad_norm=torch.tensor(norm, dtype=torch.float64),
            loss_scale=torch.tensor(following),
            skipped=torch.tensor(skipped),
        )

    def _scale(self) -> float:
        # `engine.loss_scale()` is the configured value, not this one.
        return float(self.engine.optimizer.cur_scale) if self.fp16 else 1.0

    def local_fragments(self, *, steps_taken: int = 0) -> list[Fragment]:
        names = {parameter: name for name, parameter in self.module.named_parameters()}
        places = self.layout.places(self.outer, names)
        return fragments_of(places, self.inner, steps_taken=steps_taken)

    def refresh_after_load(self, *, steps_taken: int) -> None:
        set_steps_taken(self.inner, steps_taken)
        self.layout.refresh(self.outer)

    def full_values(self, name: str) -> dict[str, Tensor]:
        parameter = self.module.get_parameter(name)
        if self.replicated:
            plain = [group["params"] for group in self.inner.param_groups]
            groups = getattr(self.outer, "fp16_groups", plain)
            return values_of(self.inner, parameter, [one for group in groups for one in group])
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if hasattr(self.outer, "_lazy_init_hp_params_optimizer_state"):
            # Linked once, after the first step of the first group: the others have no state then.
            self.outer._hp_optimizer_states_linked = False
            self.outer._lazy_init_hp_params_optimizer_state()
        moments = ("exp_avg", "exp_avg_sq")
        found = {kind: safe_get_full_optimizer_state(parameter, kind) for kind in moments}
        return to_cpu({"weight": safe_get_full_fp32_param(parameter)} | found)

    def loss_scale_state(self) -> dict[str, float]:
        if not self.fp16:
            return {}
        scaler = self.engine.optimizer.loss_scaler
        return {"scale": float(scaler.cur_scale), **{name: getattr(scaler, name) for name in _SCALER_COUNTS}}

    def restore_loss_scale(self, state: dict[str, float]) -> None:
        if not self.fp16 or not state:
            return
        scaler = self.engine.optimizer.loss_scaler
        scaler.cur_scale = state["scale"]
        for name in _SCALER_COUNTS:
            setattr(scaler, name, state.get(name, getattr(scaler, name)))


def _keep_grad_norm(engine: Any) -> None:
    """Make the engine keep the norm that it clips by: at stage 0 in fp32 it forgets it."""
    if engine.zero_optimization_stage() == 0 and not engine.fp16_enabled() and not engine.bfloat16_enabled():

        def clip() -> None:
            parameters, most = engine.module.parameters(), engine.gradient_clipping()
            engine._global_grad_norm = nn.utils.clip_grad_norm_(parameters, most)

        engine.clip_fp32_gradients = clip


Names = dict[Any, str]
"""A module's parameters -> their names."""


@dataclass(frozen=True)
class Layout:
    """How one optimizer class keeps its state."""

    places: Callable[[Any, Names], Iterator[Place]]
    refresh: Callable[[Any], None]
    """After the places were written to: update the weights that are computed with, on all ranks."""
    restart: Callable[[Any], None] = lambda outer: None
    """Undo what the class has done to weights and moments before the first step."""
    replicated: bool = False
    """Every rank holds everything."""


def _layout_of(outer: Any) -> Layout:
    name, inner = f"{type(outer).__module__}.{type(outer).__name__}", type(getattr(outer, "optimizer", outer))
    if name not in LAYOUTS or inner is not torch.optim.AdamW:
        unknown = name if name not in LAYOUTS else f"{inner.__module__}.{inner.__name__}"
        what = f"the engine chose the optimizer class {unknown}, whose state no checkpoint is known to hold"
        remedy = "use one of the files in ds_configs, and the version of deepspeed in constraints.txt"
        raise UserError(what, where="training.engine", remedy=remedy)
    return LAYOUTS[name]


def _whole(outer: Any, names: Names) -> Iterator[Place]:
    return (Place(name, 0, parameter, 0, parameter.numel()) for parameter, name in names.items())


def _unfused(outer: Any, names: Names) -> Iterator[Place]:
    """Stage 0 in 16 bits: an fp32 copy of each parameter."""
    for parameter, master in _unfused_pairs(outer):
        yield Place(names[parameter], 0, master, 0, master.numel())


def _unfused_pairs(outer: Any) -> Iterator[tuple[Tensor, Tensor]]:
    for low, high in zip(outer.fp16_groups, outer.fp32_groups, strict=True):
        yield from zip(low, high, strict=True)


def _refresh_unfused(outer: Any) -> None:
    for parameter, master in _unfused_pairs(outer):
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
    # Stage 0 in fp32.
    "torch.optim.adamw.AdamW": Layout(_whole, refresh=lambda outer: None, replicated=True),
    "deepspeed.runtime.fp16.unfused_optimizer.FP16_UnfusedOptimizer": Layout(
        _unfused, _refresh_unfused, restart=_restart_unfused, replicated=True
    ),
    "deepspeed.runtime.zero.stage_1_and_2.DeepSpeedZeroOptimizer": Layout(
        _stages_1_and_2, lambda outer: outer.update_lp_params()
    ),
    "deepspeed.runtime.zero.stage3.DeepSpeedZeroOptimizer_Stage3": Layout(_stage_3, _refresh_stage_3),
}
