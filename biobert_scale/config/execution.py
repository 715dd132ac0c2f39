"""What a run does beside its steps: engine, checkpoints, validation, guards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from biobert_scale.ranges import check_section


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
