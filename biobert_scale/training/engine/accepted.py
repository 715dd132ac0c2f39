"""Which DeepSpeed settings checkpoints are complete under.

DeepSpeed chooses its optimizer class by its settings, and each class has attributes of its own. Nothing is
guessed: a setting that is not in `ACCEPTED` is refused before training begins, and so is a class that is not
in `deepspeed.LAYOUTS`. `tests/distributed/test_round_trip.py` compares what is written under each of them
with the engine's own values. Source: deepspeed 0.19, `runtime/engine.py` (`_configure_optimizer`),
`runtime/config.py`.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

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
        remedy = 'write it, if only {"stage": 0}; see ds_configs/zero0.json'
        raise UserError("no section 'zero_optimization'", where=where, remedy=remedy)
    zero = settings["zero_optimization"]
    stage = zero.get("stage", 0)
    devices = {name: zero.get(f"offload_{name}", {}).get("device", "none") for name in ("optimizer", "param")}
    offloaded = [name for name, device in devices.items() if device != "none"]
    if ("param" in offloaded and stage != 3) or ("optimizer" in offloaded and not stage):
        what = f"stage {stage} does not offload what 'zero_optimization' says ({', '.join(offloaded)})"
        remedy = "remove it, or raise the stage: parameters need stage 3, optimizer states 1 to 3"
        raise UserError(what, where=where, remedy=remedy)
    if "optimizer" in offloaded and "zero_force_ds_cpu_optimizer" not in settings:
        what = "DeepSpeed would replace the run's AdamW by one of its own, and lose its betas"
        remedy = 'add "zero_force_ds_cpu_optimizer": false, which belongs to offloaded optimizer states'
        raise UserError(what, where=where, remedy=remedy)


def _check(key: str, value: Any, accepted: dict[str, Any], where: Path) -> None:
    if not isinstance(value, dict):
        what = f"'{key}' is {value!r}, not an object" if key else "the file holds no JSON object"
        raise UserError(what, where=where, remedy="see ds_configs/zero1.json for the form")
    for name, inner in value.items():
        full = f"{key}.{name}" if key else name
        if name not in accepted:
            what = (
                f"the DeepSpeed setting '{full}' is not one that checkpoints are known to be complete under"
            )
            close = [f"did you mean '{one}'?" for one in get_close_matches(name, accepted, n=1)]
            remedy = close[0] if close else "remove it; ds_configs/README.md lists those"
            raise UserError(what, where=where, remedy=remedy)
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
