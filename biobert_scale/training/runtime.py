"""The ranks' group: joined, used and left. Everything above this module sees an `Accelerator`."""

from __future__ import annotations

import atexit
import datetime
import gc
import logging
import pickle
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from typing import Any, Literal, TypeVar, cast

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

from biobert_scale.config import Config, gradient_accumulation_steps
from biobert_scale.environment import keep_few_kernels
from biobert_scale.errors import RunFailed, UserError, from_os_error
from biobert_scale.training.engine import group as engine_group
from biobert_scale.training.engine.group import leave as leave
from biobert_scale.training.ranks import RankInfo

logger = logging.getLogger(__name__)
T = TypeVar("T")


def start(ranks: RankInfo, config: Config) -> Accelerator:
    """Join the other ranks as the run's engine wants it.

    Args:
        ranks: of `rank_environment`, as long as that lasts.

    Raises:
        UserError: a tracker is not installed, the precision is not to be had on this device, or the batch
            does not divide over the ranks.
        RunFailed: the ranks do not meet.
    """
    _require_trackers(config.training.trackers)
    precision = config.training.precision.dtype
    check_precision(precision)
    timeout = datetime.timedelta(seconds=config.training.engine.communication_timeout_seconds)
    accelerator = _join(
        ranks,
        precision,
        timeout=timeout,
        gradient_accumulation_steps=gradient_accumulation_steps(config.training, ranks.world_size),
        dataloader_config=DataLoaderConfiguration(),
        **engine_group.options(config, world_size=ranks.world_size, on_gpu=torch.cuda.is_available()),
    )
    engine_group.prepare_group(config, world_size=ranks.world_size, timeout=timeout)
    return accelerator


def start_plain(ranks: RankInfo, precision: Literal["auto", "fp32", "bf16", "fp16"]) -> Accelerator:
    """Join the other ranks for torch's own engine, and without what an earlier run left in this process: what
    fine-tuning needs.

    Args:
        ranks: of `rank_environment`, as long as that lasts.
        precision: "auto" is bf16 on a GPU that computes in it, else fp32: a CPU without bf16 arithmetic of
            its own is several times slower in bf16, and one rule for every CPU keeps their scores comparable.

    Raises:
        UserError: the precision is not to be had on this device.
        RunFailed: the ranks do not meet.
    """
    on_gpu = torch.cuda.is_available()
    if precision == "auto":
        precision = "bf16" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    check_precision(precision)
    AcceleratorState._reset_state(True)
    # It would give each process on a CPU all cores, whatever the caller chose who runs several.
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="OMP_NUM_THREADS")
        accelerator = _join(ranks, precision, timeout=datetime.timedelta(minutes=30), cpu=not on_gpu)
    torch.set_num_threads(threads)
    atexit.unregister(leave)
    atexit.register(leave)  # the group serves every run of this process
    return accelerator


def _join(ranks: RankInfo, precision: str, *, timeout: datetime.timedelta, **options: Any) -> Accelerator:
    """The Accelerator, which makes the ranks' group.

    Args:
        timeout: of the group's collectives.

    Raises:
        RunFailed: their port is taken, their address unknown, or one of them does not come in time.
    """
    keep_few_kernels()
    # Without an explicit back end, every rank on a CPU would believe that it is alone.
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    try:
        accelerator = Accelerator(
            mixed_precision={"fp32": "no"}.get(precision, precision),
            kwargs_handlers=[InitProcessGroupKwargs(backend=backend, timeout=timeout)],
            **options,
        )
    except torch.distributed.DistError as error:
        raise RunFailed(
            f"the ranks do not meet: {str(error).splitlines()[0]}",
            where=f"MASTER_ADDR and MASTER_PORT, {ranks.address}:{ranks.port}",
            remedy="choose a free port with the launcher's option, and an address that every node reaches",
        ) from error
    joined = accelerator.num_processes
    assert joined == ranks.world_size, f"{joined} processes joined, the launcher started {ranks.world_size}"
    return accelerator


def my_part(items: Sequence[T]) -> list[T]:
    """This rank's share of items that all ranks hold."""
    state = PartialState()
    return list(items[state.process_index :: state.num_processes])


def gather_parts(part: list[T]) -> list[T]:
    """Every rank's share, in the order of ranks, on all of them."""
    return list(gather_object(part))


def _require_trackers(names: tuple[str, ...]) -> None:
    """Refuse a tracker whose package is missing.

    Raises:
        UserError: with those that are there.
    """
    available = [tracker.value for tracker in get_available_trackers()]
    for name in names:
        if name not in available:
            what = f"no tracker '{name}' is installed"
            remedy = f"install its package, or use some of: {', '.join(sorted(available))}"
            raise UserError(what, where="training.trackers", remedy=remedy)


def on_first_rank(accelerator: Accelerator, function: Callable[[], T]) -> T:
    """Call a function on rank 0 while the others wait; every rank gets what it returned, or its error.

    Args:
        function: what it returns can be pickled.
    """
    outcome: tuple[bool, Any] = (True, None)
    failure: BaseException | None = None
    if accelerator.is_main_process:
        try:
            outcome = (True, pickle.dumps(function()))
        except BaseException as error:  # whatever it is, the others wait for a word
            failure = (from_os_error(error) if isinstance(error, OSError) else None) or error
            what = f"{type(failure).__name__}: {failure}"
            seen = RunFailed(what, where="rank 0", remedy="see its log")
            outcome = (False, failure if isinstance(failure, UserError) else seen)
    well, value = broadcast_object_list([outcome])[0]
    if failure is not None:
        raise failure
    if not well:
        raise value
    return cast(T, pickle.loads(value))


def check_precision(precision: str) -> None:
    """Refuse a precision that the device or the libraries cannot do, before anything is begun.

    Raises:
        UserError: with one that they can.
    """
    on_gpu = torch.cuda.is_available()
    if precision == "fp16" and not on_gpu:
        # One engine refuses it, and with the other it would silently be fp32.
        what, remedy = "fp16 needs a GPU, and none is found", 'use "bf16" or "fp32" on a CPU'
    elif precision == "bf16" and on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        what, remedy = "this GPU does not compute in bf16", 'use "fp16"'
    else:
        return
    raise UserError(what, where="training.precision.dtype", remedy=remedy)


def meet(ranks: RankInfo, *, timeout_seconds: float) -> None:
    """Join the other ranks without an engine, to examine what connects them: gloo, and on GPUs NCCL besides.

    Raises:
        torch.distributed.DistError: the others do not come.
    """
    # Its log goes to the standard output as it is imported, and is no part of the caller's result.
    with suppress(ImportError), redirect_stdout(sys.stderr):
        engine_group.import_before_meeting()
    if ranks.world_size > 1:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend, timeout=datetime.timedelta(seconds=timeout_seconds))


def stop(accelerator: Accelerator) -> None:
    """Leave the group, and forget the run, so that another can start in this process. The caller drops its
    engine first: a live one keeps a communication thread that aborts at exit."""
    accelerator.free_memory()
    gc.collect()
    leave()
    GradientState._reset_state()
    AcceleratorState._reset_state(reset_partial_state=True)
