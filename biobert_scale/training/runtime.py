"""Rank, world size, launcher and device: known here and nowhere else.

`accelerate launch`, torchrun, srun and other launchers describe the ranks through the environment; a plain
process is a world of one. Everything above this module sees an `Accelerator`.
"""

from __future__ import annotations

import atexit
import datetime
import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from typing import Any, Literal, TypeVar

import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.tracking import get_available_trackers
from accelerate.utils import (
    DataLoaderConfiguration,
    InitProcessGroupKwargs,
    broadcast_object_list,
    gather_object,
)
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from biobert_scale.config import Config, gradient_accumulation_steps
from biobert_scale.errors import RunFailed, UserError, from_os_error
from biobert_scale.training.engine import group as engine_group
from biobert_scale.training.engine.group import leave as leave

logger = logging.getLogger(__name__)
T = TypeVar("T")

_LAUNCHERS = (
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
)
"""How srun and Open MPI name the number of processes, a process' rank, and its rank on its node."""

_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


def start(config: Config, *, run: str) -> Accelerator:
    """Join the other ranks and set the engine up.

    Args:
        run: the run directory, where the trackers write.

    Raises:
        UserError: the precision is not to be had on this device, or the batch does not divide over the ranks.
        RunFailed: the ranks do not meet.
    """
    on_gpu = torch.cuda.is_available()
    engine_group.forget_launcher_settings(os.environ, on_gpu=on_gpu)
    world_size = describe_ranks()
    precision = config.training.precision.dtype
    check_precision(precision, on_gpu=on_gpu)
    # Without an explicit back end, every rank on a CPU would believe that it is alone.
    group = InitProcessGroupKwargs(
        backend="nccl" if on_gpu else "gloo",
        timeout=datetime.timedelta(seconds=config.training.engine.communication_timeout_seconds),
    )
    accelerator = _join(
        gradient_accumulation_steps=gradient_accumulation_steps(config.training, world_size),
        mixed_precision={"fp32": "no"}.get(precision, precision),
        log_with=_trackers(config.training.trackers),
        project_dir=run,
        dataloader_config=DataLoaderConfiguration(),
        kwargs_handlers=[group],
        **engine_group.options(config, world_size=world_size, on_gpu=on_gpu),
    )
    engine_group.prepare_group(config, world_size=world_size, timeout=group.timeout)
    # transformers would build the model under zero.Init at stage 3, with other random numbers than at every
    # other stage.
    unset_hf_deepspeed_config()
    assert accelerator.num_processes == world_size, (
        f"{accelerator.num_processes} processes joined, the launcher started {world_size}"
    )
    return accelerator


def start_plain(precision: Literal["auto", "fp32", "bf16", "fp16"]) -> Accelerator:
    """Join the other ranks for torch's own engine, and without what an earlier run left in this process: what
    fine-tuning needs.

    Args:
        precision: "auto" is bf16 on a GPU that computes in it, else fp32: a CPU without bf16 arithmetic of
            its own is several times slower in bf16, and one rule for every CPU keeps their scores comparable.

    Raises:
        UserError: the precision is not to be had on this device.
        RunFailed: the ranks do not meet.
    """
    on_gpu = torch.cuda.is_available()
    engine_group.forget_launcher_settings(os.environ, on_gpu=on_gpu)
    if precision == "auto":
        precision = "bf16" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    check_precision(precision, on_gpu=on_gpu)
    AcceleratorState._reset_state(True)
    world_size = describe_ranks()
    group = InitProcessGroupKwargs(
        backend="nccl" if on_gpu else "gloo", timeout=datetime.timedelta(minutes=30)
    )
    # It would give each process on a CPU all cores, whatever the caller chose who runs several.
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="OMP_NUM_THREADS")
        accelerator = _join(
            mixed_precision={"fp32": "no"}.get(precision, precision), cpu=not on_gpu, kwargs_handlers=[group]
        )
    torch.set_num_threads(threads)
    atexit.unregister(leave)
    atexit.register(leave)  # the group serves every run of this process
    assert accelerator.num_processes == world_size, (
        f"{accelerator.num_processes} processes joined, the launcher started {world_size}"
    )
    return accelerator


def _join(**options: Any) -> Accelerator:
    """The Accelerator, which makes the ranks' group.

    Raises:
        RunFailed: their port is taken, their address unknown, or one of them does not come in time.
    """
    try:
        return Accelerator(**options)
    except torch.distributed.DistError as error:
        raise RunFailed(
            f"the ranks do not meet: {str(error).splitlines()[0]}",
            where=f"MASTER_ADDR and MASTER_PORT, {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}",
            remedy="choose a free port with the launcher's option, and an address that every node reaches",
        ) from error


def my_part(items: Sequence[T]) -> list[T]:
    """This rank's share of items that all ranks hold."""
    state = PartialState()
    return list(items[state.process_index :: state.num_processes])


def gather_parts(part: list[T]) -> list[T]:
    """Every rank's share, in the order of ranks, on all of them."""
    return list(gather_object(part))


def _trackers(names: tuple[str, ...]) -> list[str]:
    """Accelerate leaves out in silence what is not installed.

    Raises:
        UserError: a tracker that is not there.
    """
    available = [tracker.value for tracker in get_available_trackers()]
    for name in names:
        if name not in available:
            raise UserError(
                f"no tracker '{name}' is installed",
                where="training.trackers",
                remedy=f"install its package, or use some of: {', '.join(sorted(available))}",
            )
    return list(names)


def on_first_rank(accelerator: Accelerator, function: Callable[[], T]) -> T:
    """Call a function on rank 0 while the others wait; every rank gets what it returned, or its error.

    Args:
        function: its result can be pickled.
    """
    outcome: list[Any] = [None, None]
    failure: Exception | None = None
    if accelerator.is_main_process:
        try:
            outcome[0] = function()
        except Exception as error:
            known = from_os_error(error) if isinstance(error, OSError) else error
            failure = known or error
            outcome[1] = (
                known
                if isinstance(known, UserError)
                else RunFailed(f"{type(error).__name__}: {error}", where="rank 0", remedy="see its log")
            )
    outcome = broadcast_object_list(outcome)
    if failure is not None or outcome[1] is not None:
        raise failure or outcome[1]
    return outcome[0]


def check_precision(precision: str, *, on_gpu: bool) -> None:
    """Refuse a precision that the device or the libraries cannot do, before anything is begun.

    Raises:
        UserError: with one that they can.
    """
    if precision == "fp16" and not on_gpu:
        # One engine refuses it, and with the other it would silently be fp32.
        raise UserError(
            "fp16 needs a GPU, and none is found",
            where="training.precision.dtype",
            remedy='use "bf16" or "fp32" on a CPU',
        )
    if precision == "bf16" and on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(
            "this GPU does not compute in bf16", where="training.precision.dtype", remedy='use "fp16"'
        )


def describe_ranks() -> int:
    """Complete the environment that the launcher left, and return the world size.

    Raises:
        UserError: a launcher started several processes and did not say where they meet, or its variables do
            not fit together.
    """
    environment = os.environ
    for tasks, rank, local_rank in _LAUNCHERS:
        if "RANK" not in environment and int(environment.get(tasks, "1")) > 1:
            if "MASTER_ADDR" not in environment:
                what, remedy = (
                    f"{tasks} is {environment[tasks]}, but MASTER_ADDR is not set",
                    "export MASTER_ADDR (the first node's name) and MASTER_PORT before starting the ranks",
                )
                raise UserError(what, where="the environment", remedy=remedy)
            environment.setdefault("MASTER_PORT", "29500")
            environment.update(
                RANK=environment[rank], LOCAL_RANK=environment[local_rank], WORLD_SIZE=environment[tasks]
            )
    given = [name for name in _RANKS if environment.get(name)]
    if not given or (given == ["WORLD_SIZE"] and environment["WORLD_SIZE"] == "1"):
        # Port 0: the one process takes a free one as it listens. A number found free before may be another's
        # by then.
        environment.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    _check_ranks()
    return int(environment["WORLD_SIZE"])


def _check_ranks() -> None:
    """Refuse variables of which one is missing, no number, or out of range."""
    remedy = f"use a launcher, which sets {', '.join(_RANKS)}, MASTER_ADDR and MASTER_PORT, or unset them all"
    missing = [name for name in (*_RANKS, "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        given = ", ".join(f"{name} is {os.environ[name]}" for name in _RANKS if os.environ.get(name))
        raise UserError(
            f"{given}, but {', '.join(missing)} is not set", where="the environment", remedy=remedy
        )
    values = {name: os.environ[name] for name in _RANKS}
    numbers = [int(value) for value in values.values() if value.isdecimal()]
    if len(numbers) < len(_RANKS) or not max(numbers[:2]) < numbers[2]:
        given = ", ".join(f"{name} is {value}" for name, value in values.items())
        raise UserError(f"{given}, which do not fit together", where="the environment", remedy=remedy)


def join(*, timeout_seconds: float) -> tuple[int, int, int]:
    """Meet the other ranks without an engine, to examine what connects them: gloo, and on GPUs NCCL besides.

    Returns:
        Rank, world size, and rank on the node.

    Raises:
        UserError: see `describe_ranks`.
        torch.distributed.DistError: the others do not come.
    """
    # Its log, which goes to whatever is the standard output as it is imported, is no part of the caller's
    # result.
    with suppress(ImportError), redirect_stdout(sys.stderr):
        engine_group.import_before_meeting()

    world_size = describe_ranks()
    if world_size > 1:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend, timeout=datetime.timedelta(seconds=timeout_seconds))
    return int(os.environ["RANK"]), world_size, int(os.environ.get("LOCAL_RANK", "0"))


def stop(accelerator: Accelerator) -> None:
    """Leave the group, and forget the run, so that another can start in this process. The caller drops its
    engine first: a live one keeps a communication thread that aborts at exit."""
    accelerator.free_memory()
    gc.collect()
    leave()
    GradientState._reset_state()
    AcceleratorState._reset_state(reset_partial_state=True)
    # Set by the plugin: the next `Accelerator` of this process, another library's, would take it for a wish.
    os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)
