"""DeepSpeed's configuration file, filled from the run configuration; contradictions are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from biobert_scale.config import Config, gradient_accumulation_steps
from biobert_scale.errors import UserError
from biobert_scale.training.engine.accepted import check_settings

_PACKAGED = [Path(__file__).resolve().parents[up] / "ds_configs" for up in (2, 3)]
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
        what = f"not valid JSON (line {error.lineno}: {error.msg})"
        raise UserError(what, where=path, remedy="correct that line") from None
    except UnicodeDecodeError as error:
        what = f"byte {error.start} is not UTF-8"
        raise UserError(what, where=path, remedy="save the file as UTF-8") from None
    for section in ("optimizer", "scheduler"):
        if isinstance(settings, dict) and section in settings:
            ours = f"training.{'schedule' if section == 'scheduler' else section}"
            what = f"the section '{section}' contradicts {ours} of the run configuration"
            raise UserError(what, where=path, remedy="remove it: the run configuration decides")
    check_settings(settings, where=path)
    dtype = config.training.precision.dtype
    if dtype != "fp16":  # the other fields would be read, "auto" included
        settings["fp16"] = {key: value for key, value in settings.get("fp16", {}).items() if key == "enabled"}
    for dotted, given in _run_values(config, world_size).items():
        _fill(settings, dotted.split("."), given, path)
    stage = settings["zero_optimization"].get("stage", 0)
    if dtype == "fp16" and not stage:
        # Its backward pass leaves the loss unscaled there, and its step divides the gradients by the scale
        # all the same (0.19).
        remedy = 'use "zero1" (training.engine.deepspeed_config), training.engine.name = "ddp", or bf16'
        raise UserError("DeepSpeed's stage 0 does not scale the loss in fp16", where=path, remedy=remedy)
    if config.training.guards.non_finite_loss == "skip" and dtype == "fp32" and not stage:
        raise UserError(
            "DeepSpeed's stage 0 does not look at fp32 gradients, so that training.guards.non_finite_loss ="
            " skip has no effect",
            where=path,
            remedy='use "stop" or "roll_back" (training.guards.non_finite_loss), or "zero1"'
            " (training.engine.deepspeed_config)",
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
    what = "no such DeepSpeed configuration"
    remedy = "name one of: " + ", ".join(known) + ", or the path of a .json file"
    raise UserError(what, where=f"training.engine.deepspeed_config = {name}", remedy=remedy)


class _Given(NamedTuple):
    """A setting that the run configuration decides."""

    value: Any
    source: str
    """The run configuration's key."""


def _run_values(config: Config, world_size: int) -> dict[str, _Given]:
    """DeepSpeed's key -> what the run configuration gives it."""
    training, precision = config.training, config.training.precision
    steps = gradient_accumulation_steps(training, world_size)
    training = max(training.each_phase(), key=lambda phase: phase.global_batch_size // phase.micro_batch_size)
    values = {
        "train_batch_size": _Given(training.global_batch_size, "training.global_batch_size"),
        "train_micro_batch_size_per_gpu": _Given(training.micro_batch_size, "training.micro_batch_size"),
        "gradient_accumulation_steps": _Given(steps, "training.global_batch_size / micro_batch_size / ranks"),
        "gradient_clipping": _Given(training.optimizer.max_grad_norm, "training.optimizer.max_grad_norm"),
        "bf16.enabled": _Given(precision.dtype == "bf16", "training.precision.dtype"),
        "fp16.enabled": _Given(precision.dtype == "fp16", "training.precision.dtype"),
    }
    if precision.dtype == "fp16":
        values["fp16.loss_scale"] = _Given(0, "training.precision (the scale is dynamic)")
        for name in ("initial_scale_power", "loss_scale_window", "hysteresis", "min_loss_scale"):
            values[f"fp16.{name}"] = _Given(getattr(precision, name), f"training.precision.{name}")
    return values


def _fill(settings: dict[str, Any], keys: list[str], given: _Given, path: Path) -> None:
    inner = settings
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    found = inner.get(keys[-1], "auto")
    if found not in ("auto", given.value):
        by = f"{given.value!r} by {given.source} of the run configuration"
        remedy = 'write "auto" in the file, or change the run configuration'
        raise UserError(f"'{'.'.join(keys)}' is {found!r} here but {by}", where=path, remedy=remedy)
    inner[keys[-1]] = given.value
