"""torch's own: DistributedDataParallel, AdamW, autocast and, in fp16, torch's loss scaler."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from biobert_scale.modeling.batch import PackedBatch
from biobert_scale.training.engine.base import EngineRecord, Update
from biobert_scale.training.engine.fragments import Fragment, Place, fragments_of, set_steps_taken, values_of
from biobert_scale.training.engine.optimizer import set_rates


class DdpEngine:
    """See `Engine`. Every rank holds everything.

    Args:
        module: on any device; moved to `device`.
        optimizer: of the module's parameters.
        device: `meta` for a step without values.
        autocast: the type that the forward pass computes in; None for the weights' own.
        scaler: for fp16.
        micro_steps: micro-batches of a rank in a step with the whole global batch.
    """

    replicated = True

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.AdamW,
        *,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
        micro_steps: int,
        max_grad_norm: float,
        autocast: torch.dtype | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.module, self.optimizer, self.device = module.to(device).train(), optimizer, device
        self.rank, self.world_size, self.micro_steps = rank, world_size, micro_steps
        self.max_grad_norm, self.autocast, self.scaler = max_grad_norm, autocast, scaler
        self.model: nn.Module = module
        if world_size > 1:
            ids = [device] if device.type == "cuda" else None
            self.model = DistributedDataParallel(module, device_ids=ids)
        self.description: EngineRecord = {"engine": "ddp", "zero_stage": None}

    def micro_step(self, *, last: bool) -> AbstractContextManager[Any]:
        if last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()

    def forward(self, batch: PackedBatch) -> dict[str, Tensor]:
        with torch.autocast(self.device.type, self.autocast) if self.autocast else nullcontext():
            sums: dict[str, Tensor] = self.model(batch)
        return sums

    def backward(self, loss: Tensor) -> None:
        loss = loss / self.micro_steps
        torch.autograd.backward(loss if self.scaler is None else self.scaler.scale(loss))

    def step(self, learning_rate: float, *, frozen_encoder: bool = False) -> Update:
        set_rates(self.optimizer.param_groups, learning_rate, frozen_encoder=frozen_encoder)
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        update = self._update(norm) if self.scaler is None else self._scaled_update(norm, self.scaler)
        self.optimizer.zero_grad()
        return update

    def _update(self, norm: Tensor) -> Update:
        """Nothing is learned from gradients that are no numbers."""
        skipped = ~torch.isfinite(norm)
        if self.optimizer.defaults["fused"]:
            # The kernel looks at it on the device.
            self.optimizer.found_inf = skipped.float()  # type: ignore[attr-defined]
            self.optimizer.step()
        elif skipped.is_meta or not bool(skipped):  # without values there is none to look at
            self.optimizer.step()
        return Update(grad_norm=norm, loss_scale=torch.ones_like(norm), skipped=skipped)

    def _scaled_update(self, norm: Tensor, scaler: torch.amp.GradScaler) -> Update:
        scale = scaler.get_scale()
        scaler.step(self.optimizer)
        scaler.update()
        following = scaler.get_scale()
        skipped = torch.tensor(following < scale)  # it halves its scale where it has skipped
        return Update(grad_norm=norm, loss_scale=torch.tensor(following), skipped=skipped)

    def local_fragments(self, *, steps_taken: int = 0) -> list[Fragment]:
        named = self.module.named_parameters()
        places = (Place(name, 0, parameter, 0, parameter.numel()) for name, parameter in named)
        return fragments_of(places, self.optimizer, steps_taken=steps_taken)

    def refresh_after_load(self, *, steps_taken: int) -> None:
        set_steps_taken(self.optimizer, steps_taken)

    def full_values(self, name: str) -> dict[str, Tensor]:
        ordered = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        return values_of(self.optimizer, self.module.get_parameter(name), ordered)

    def loss_scale_state(self) -> dict[str, float]:
        if self.scaler is None:
            return {}
        state = self.scaler.state_dict()
        return {"scale": float(state["scale"]), "growth_tracker": state["_growth_tracker"]}

    def restore_loss_scale(self, state: dict[str, float]) -> None:
        if self.scaler is None or not state:
            return
        tracker = int(state.get("growth_tracker", 0))
        changed = {"scale": state["scale"], "_growth_tracker": tracker}
        self.scaler.load_state_dict({**self.scaler.state_dict(), **changed})
