"""How each engine wants the ranks' group: joined, and left again."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from datetime import timedelta
from typing import Any

import torch.distributed
from accelerate.utils import DeepSpeedPlugin
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from biobert_scale.config import Config
from biobert_scale.errors import UserError
from biobert_scale.training.engine.settings import engine_config

logger = logging.getLogger(__name__)

_OBSERVERS = {
    *("ACCELERATE_LOG_LEVEL", "ACCELERATE_ENABLE_RICH", "ACCELERATE_DEBUG_MODE", "ACCELERATE_DEBUG_RDV_FILE"),
    *("ACCELERATE_CPU_AFFINITY", "ACCELERATE_BYPASS_DEVICE_MAP", "ACCELERATE_INIT_INCLUDE_BUFFERS"),
}
"""Accelerate's variables that change nothing of what is computed; the last two are of models in parts."""
_UNASKED = ("", "0", "no", "none", "false", "default")
"""What its launcher writes where nothing was asked for."""
_EXPECTED = ("ACCELERATE_USE_CPU", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_CONFIG_DS_FIELDS")
"""What its launcher has to be asked for to start several ranks; the recipe asks for it itself."""


def forget_launcher_settings(environment: MutableMapping[str, str], *, on_gpu: bool) -> None:
    """Remove every `ACCELERATE_...` variable that would override the recipe. `accelerate launch` sets them
    from its options and from a configuration file that an earlier `accelerate config` left.

    Raises:
        UserError: one that chooses a device other than the launcher's.
    """
    asked = {name: value for name, value in environment.items() if name.startswith("ACCELERATE_")}
    for name in ("ACCELERATE_TORCH_DEVICE", "ACCELERATE_USE_CPU"):
        chosen = asked.get(name, "").lower()
        if chosen not in _UNASKED and (on_gpu or name == "ACCELERATE_TORCH_DEVICE"):
            what = f"{name} is {asked[name]}, and the launcher gives every rank its device"
            remedy = 'unset it; CUDA_VISIBLE_DEVICES chooses GPUs ("" for none)'
            raise UserError(what, where="the environment, or accelerate's configuration file", remedy=remedy)
    ignored = []
    for name, value in sorted(asked.items()):
        if name in _OBSERVERS:
            continue
        del environment[name]
        no_accumulation = name == "ACCELERATE_GRADIENT_ACCUMULATION_STEPS" and value == "1"
        if value.lower() not in _UNASKED and name not in _EXPECTED and not no_accumulation:
            ignored.append(f"{name}={value}")
    if ignored:
        logger.warning("the recipe decides; ignored: %s", ", ".join(ignored))


def options(config: Config, *, world_size: int, on_gpu: bool) -> dict[str, Any]:
    """Options of `Accelerator` that the engine needs.

    Raises:
        UserError: see `engine_config`.
    """
    if config.training.engine.name != "deepspeed":
        return {"cpu": not on_gpu}
    if not on_gpu:
        # DeepSpeed would compile a shared-memory kernel on first use (half a minute, and a compiler needed);
        # gloo serves.
        import deepspeed.ops

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    settings = engine_config(config, world_size=world_size)
    return {"deepspeed_plugin": DeepSpeedPlugin(hf_ds_config=settings, zero3_init_flag=False)}


def prepare_group(config: Config, *, world_size: int, timeout: timedelta) -> None:
    """After the ranks have met."""
    # transformers would build the model under zero.Init at stage 3, with other random numbers than at every
    # other stage.
    unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]
    if config.training.engine.name == "deepspeed" and world_size > 1:
        # It communicates in a copy of the group, which it would make with torch's own timeout.
        from deepspeed.utils import groups

        groups._WORLD_GROUP = torch.distributed.new_group(timeout=timeout)


def leave() -> None:
    """Give the process group up, if there is one. Whatever still refers to it keeps its threads, and one at
    work as the interpreter ends aborts the process."""
    if not torch.distributed.is_initialized():
        return
    engine = sys.modules.get("deepspeed.comm")
    if engine is not None and engine.is_initialized():
        engine.destroy_process_group()  # with the groups that DeepSpeed made
    else:
        torch.distributed.destroy_process_group()


def import_before_meeting() -> None:
    """DeepSpeed binds the group as default arguments if imported later; gloo's threads would outlive it."""
    import deepspeed  # noqa: F401
