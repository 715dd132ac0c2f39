"""DeepSpeed's configuration file, filled from the one run configuration; a contradiction is refused, naming
both places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from biobert_scale.config import Config, gradient_accumulation_steps
from biobert_scale.errors import UserError
from biobert_scale.training.engine.accepted import check_settings

_PACKAGED = (
    Path(__file__).resolve().parents[2] / "ds_configs",
    Path(__file__).resolve().parents[3] / "ds_configs",
)
"""Where the files lie in an installed package, and in a checkout."""


def engine_config(config: Config, *, world_size: int) -> dict[str, Any]:
    """DeepSpeed's settings for a run, with no `"auto"` left in what the run decides.

    Raises:
        UserError: no such file, not JSON, a setting that is not supported, or a value that contradicts the
            run configuration.
    """
    path = find_file(config.training.engine.deepspeed_config)
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(
            f"not valid JSON (line {error.lineno}: {error.msg})", where=path, remedy="correct that line"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"byte {error.start} is not UTF-8", where=path, remedy="save the file as UTF-8"
        ) from None
    for section in ("optimizer", "scheduler"):
        if isinstance(settings, dict) and section in settings:
            raise UserError(
                f"the section '{section}' contradicts"
                f" training.{'schedule' if section == 'scheduler' else section} of the run configuration",
                where=path,
                remedy="remove it: the run configuration decides",
            )
    check_settings(settings, where=path)
    if config.training.precision.dtype != "fp16":  # the other fields would be read, "auto" included
        settings["fp16"] = {key: value for key, value in settings.get("fp16", {}).items() if key == "enabled"}
    for dotted, (value, source) in _run_values(config, world_size).items():
        _fill(settings, dotted.split("."), value, source, path)
    stage = settings["zero_optimization"].get("stage", 0)
    if config.training.precision.dtype == "fp16" and not stage:
        # Its backward pass leaves the loss unscaled there, and its step divides the gradients by the scale
        # all the same (0.19).
        raise UserError(
            "DeepSpeed's stage 0 does not scale the loss in fp16",
            where=path,
            remedy='use "zero1" (training.engine.deepspeed_config), training.engine.name = "ddp", or bf16',
        )
    if (
        config.training.guards.non_finite_loss == "skip"
        and config.training.precision.dtype == "fp32"
        and not stage
    ):
        remedy = (
            'use "stop" or "roll_back" (training.guards.non_finite_loss), or "zero1"'
            " (training.engine.deepspeed_config)"
        )
        raise UserError(
            "DeepSpeed's stage 0 does not look at fp32 gradients, so that training.guards.non_finite_loss ="
            " skip has no effect",
            where=path,
            remedy=remedy,
        )
    return settings


def find_file(name: str) -> Path:
    """A file by the name it has in `ds_configs/`, or by its path."""
    if Path(name).suffix != ".json":
        for directory in _PACKAGED:
            if (path := directory / f"{name}.json").is_file():
                return path
    elif Path(name).is_file():
        return Path(name)
    known = sorted(path.stem for directory in _PACKAGED for path in directory.glob("*.json"))
    raise UserError(
        "no such DeepSpeed configuration",
        where=f"training.engine.deepspeed_config = {name}",
        remedy="name one of: " + ", ".join(known) + ", or the path of a .json file",
    )


def _run_values(config: Config, world_size: int) -> dict[str, tuple[Any, str]]:
    """DeepSpeed's key -> (the run's value, the run configuration's key)."""
    training, precision = config.training, config.training.precision
    values: dict[str, tuple[Any, str]] = {
        "train_batch_size": (training.global_batch_size, "training.global_batch_size"),
        "train_micro_batch_size_per_gpu": (training.micro_batch_size, "training.micro_batch_size"),
        "gradient_accumulation_steps": (
            gradient_accumulation_steps(training, world_size),
            "training.global_batch_size / micro_batch_size / ranks",
        ),
        "gradient_clipping": (training.optimizer.max_grad_norm, "training.optimizer.max_grad_norm"),
        "bf16.enabled": (precision.dtype == "bf16", "training.precision.dtype"),
        "fp16.enabled": (precision.dtype == "fp16", "training.precision.dtype"),
    }
    if precision.dtype == "fp16":
        values |= {
            "fp16.loss_scale": (0, "training.precision (the scale is dynamic)"),
            "fp16.initial_scale_power": (
                precision.initial_scale_power,
                "training.precision.initial_scale_power",
            ),
            "fp16.loss_scale_window": (precision.loss_scale_window, "training.precision.loss_scale_window"),
            "fp16.hysteresis": (precision.hysteresis, "training.precision.hysteresis"),
            "fp16.min_loss_scale": (precision.min_loss_scale, "training.precision.min_loss_scale"),
        }
    return values


def _fill(settings: dict[str, Any], keys: list[str], value: Any, source: str, path: Path) -> None:
    inner = settings
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    found = inner.get(keys[-1], "auto")
    if found not in ("auto", value):
        raise UserError(
            f"'{'.'.join(keys)}' is {found!r} here but {value!r} by {source} of the run configuration",
            where=path,
            remedy='write "auto" in the file, or change the run configuration',
        )
    inner[keys[-1]] = value
