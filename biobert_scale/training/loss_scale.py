"""FP16's dynamic loss scale: read from whichever engine keeps it, and stopped where it can help no more.

Micikevicius et al. 2018, "Mixed precision training". An overflow skips the step; it moves neither the weights
nor the schedule, and `consumed_samples` alone tells that the samples were seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from biobert_scale.config import PrecisionConfig
from biobert_scale.errors import RunFailed

_FLOOR_MESSAGE = "loss scale already at minimum"
"""What DeepSpeed's scaler raises, as a bare Exception."""

_SCALER_COUNTS = ("cur_iter", "last_overflow_iter", "cur_hysteresis")
"""What DeepSpeed's scaler counts between two changes of the scale."""


class LossScale:
    """The live scale and the count of skipped steps."""

    def __init__(self, accelerator: Accelerator, model: Any, config: PrecisionConfig, run: Path) -> None:
        """Watch an engine.

        Args:
            model: the prepared model (DeepSpeed's engine, or the module).
        """
        self.accelerator, self.model, self.config, self.run = accelerator, model, config, run
        self.skipped_steps, self.in_a_row = 0, 0
        self.value = self._read()
        """The scale of the next step; 1 where nothing is scaled."""

    def _read(self) -> float:
        if self.config.dtype != "fp16":
            return 1.0
        if self.accelerator.deepspeed_plugin:
            return float(
                self.model.optimizer.cur_scale
            )  # engine.loss_scale() tells the configured value, not this one
        return float(self.accelerator.scaler.get_scale())

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps: the scale, and where it stands between two changes. Empty where nothing is
        scaled."""
        if self.config.dtype != "fp16":
            return {}
        if self.accelerator.deepspeed_plugin:
            scaler = self.model.optimizer.loss_scaler
            return {
                "scale": float(scaler.cur_scale),
                **{name: getattr(scaler, name) for name in _SCALER_COUNTS},
            }
        kept = self.accelerator.scaler.state_dict()
        return {"scale": float(kept["scale"]), "growth_tracker": kept["_growth_tracker"]}

    def restore(self, state: dict[str, float], *, skipped_steps: int) -> None:
        """Go on from a checkpoint's `state`, also from another engine's, whose counts between two changes
        then begin anew."""
        if self.accelerator.deepspeed_plugin:
            self.model.skipped_steps = skipped_steps
        if self.config.dtype == "fp16" and state:
            if self.accelerator.deepspeed_plugin:
                scaler = self.model.optimizer.loss_scaler
                scaler.cur_scale = state["scale"]
                for name in _SCALER_COUNTS:
                    setattr(scaler, name, state.get(name, getattr(scaler, name)))
            else:
                scaler = self.accelerator.scaler
                scaler.load_state_dict(
                    {
                        **scaler.state_dict(),
                        "scale": state["scale"],
                        "_growth_tracker": int(state.get("growth_tracker", 0)),
                    }
                )
        self.skipped_steps, self.in_a_row, self.value = skipped_steps, 0, self._read()

    def true_norm(self, norm: float) -> float:
        """The gradient norm of the step just taken, called before `after_step`: DeepSpeed's stage 3 divides
        it by the next step's scale."""
        if (
            self.config.dtype == "fp16"
            and self.accelerator.deepspeed_plugin
            and self.model.zero_optimization_stage() == 3
        ):
            return norm * self._read() / self.value
        return norm

    def after_step(self, *, left_out: bool = False) -> bool:
        """Whether the step just computed was skipped.

        Args:
            left_out: the loop itself has not stepped.

        Raises:
            RunFailed: too many were skipped in a row, or the scale has reached its floor.
        """
        before = self.skipped_steps
        if self.accelerator.deepspeed_plugin:
            self.skipped_steps = int(self.model.skipped_steps)
        else:
            self.skipped_steps += int(left_out or self.accelerator.optimizer_step_was_skipped)
        skipped, scale, self.value = self.skipped_steps > before, self.value, self._read()
        self.in_a_row = self.in_a_row + 1 if skipped else 0
        if self.in_a_row >= self.config.max_skipped_in_a_row:
            self._stop(f"{self.in_a_row} steps in a row overflowed")
        if skipped and self.config.dtype == "fp16" and scale <= self.config.min_loss_scale:
            self._stop_at_floor()  # not every engine does so by itself
        return skipped

    @contextmanager
    def floor(self) -> Iterator[None]:
        """Turn the engine's exception at the scale's floor into one line."""
        try:
            yield
        except Exception as error:
            if _FLOOR_MESSAGE not in str(error):
                raise
            self._stop_at_floor()

    def _stop_at_floor(self) -> None:
        self._stop(f"a step overflowed at the loss scale's floor of {self.config.min_loss_scale:g}")

    def _stop(self, what: str) -> None:
        raise RunFailed(
            what,
            where=self.run,
            remedy="the last checkpoint is kept; lower the learning rate, or train in bf16",
        ) from None
