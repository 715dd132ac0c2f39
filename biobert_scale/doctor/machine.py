"""The rank's device and node: accelerator, driver, compiler, shared memory, open files."""

from __future__ import annotations

import logging
import re
import resource
import shutil
from functools import partial
from pathlib import Path

import torch
from torch.utils import cpp_extension

from biobert_scale.doctor.findings import Finding, Status
from biobert_scale.doctor.ranks import Ranks
from biobert_scale.training.engine import TORCH_TYPES
from biobert_scale.training.runtime import check_precision

_DRIVER = Path("/proc/driver/nvidia/version")
_SHARED_MEMORY = 1 << 30
"""NCCL's own advice for containers, whose default is 64 MiB (its documentation, "Troubleshooting: Shared
memory")."""


def check_accelerator(ranks: Ranks, precision: str, driver: Path = _DRIVER) -> list[Finding]:
    """The rank's device computes in the recipe's precision.

    Raises:
        UserError: it cannot.
    """
    on_gpu = ranks.device.type == "cuda"
    finding = partial(Finding, "accelerator")
    if not on_gpu and driver.exists():
        text = f"an NVIDIA driver is loaded, but torch {torch.__version__} sees no GPU"
        remedy = "install torch's CUDA build, or ask the scheduler for a GPU (check CUDA_VISIBLE_DEVICES)"
        return [finding("FAIL", text, remedy)]
    check_precision(precision)
    ones = torch.ones(64, 64, device=ranks.device, dtype=TORCH_TYPES[precision])
    if not bool((ones @ ones == 64).all()):
        return [finding("FAIL", f"a product of ones in {precision} is wrong", "take the node out of service")]
    if not on_gpu:
        text = f"none: {torch.get_num_threads()} CPU thread(s) a rank, {precision}"
        return [finding("OK", text, figures={"gpus": 0})]
    count = torch.cuda.device_count()
    if ranks.local_rank >= count:
        text = f"rank {ranks.local_rank} of a node with {count} GPU(s) has none of its own"
        return [finding("FAIL", text, "start as many ranks on a node as it has GPUs")]
    properties = torch.cuda.get_device_properties(ranks.device)
    flash = (properties.major, properties.minor) >= (8, 0) and precision != "fp32"
    text = (
        f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, compute capability"
        f" {properties.major}.{properties.minor}, {precision}"
    )
    figures = {
        "gpus": count,
        "name": properties.name,
        "memory": properties.total_memory,
        "capability": [properties.major, properties.minor],
        "flash_attention": flash,
    }
    if flash:
        return [finding("OK", f"{text}, flash attention", figures=figures)]
    reason, remedy = (
        ("fp32", 'use "bf16" or "fp16" (training.precision.dtype)')
        if precision == "fp32"
        else ("GPUs before Ampere", "expect a slower run, or take newer GPUs")
    )
    return [finding("WARN", f"{text}; no flash attention for {reason}", remedy, figures=figures)]


def check_driver(ranks: Ranks, driver: Path = _DRIVER) -> list[Finding]:
    """The versions that ranks of a job must share."""
    if ranks.device.type != "cuda":
        return [Finding("driver and NCCL", "OK", "not needed: the ranks speak gloo")]
    found = re.search(r"\b\d{3,}\.[\d.]+", driver.read_text()) if driver.exists() else None
    nccl = ".".join(map(str, torch.cuda.nccl.version()))  # type: ignore[no-untyped-call]
    text = f"driver {found[0] if found else 'of unknown version'}, CUDA {torch.version.cuda}, NCCL {nccl}"
    return [
        Finding("driver and NCCL", "OK", text, figures={"cuda": torch.version.cuda, "nccl": nccl}, same=text)
    ]


def check_compiler(ranks: Ranks) -> list[Finding]:
    """What DeepSpeed could compile. The runs here need none of it; its fused optimizers would."""
    finding = partial(Finding, "DeepSpeed operations")
    logging.disable(logging.WARNING)  # of libraries that single operations would need
    try:
        from deepspeed.git_version_info import installed_ops
    except ImportError as error:
        text = f"it cannot be imported: {str(error).splitlines()[0]}"
        return [finding("FAIL", text, "install it again in this environment"), _extensions()]
    finally:
        logging.disable(logging.NOTSET)
    prebuilt = sorted(name for name, built in installed_ops.items() if built)
    needed = ("g++", "ninja", *(("nvcc",) if ranks.device.type == "cuda" else ()))
    missing = [name for name in needed if shutil.which(name) is None]
    text, figures = f"prebuilt: {', '.join(prebuilt) or 'none'}", {"prebuilt": prebuilt, "missing": missing}
    if not missing:
        return [finding("OK", f"{text}; {', '.join(needed)} are there", figures=figures), _extensions()]
    remedy = (
        f"install {', '.join(missing)}, or build the operations beforehand (DS_BUILD_...=1 pip install"
        " deepspeed); AdamW as the recipes have it needs none"
    )
    return [finding("WARN", f"{text}; no {', '.join(missing)}", remedy, figures=figures), _extensions()]


def _extensions() -> Finding:
    """Where compiled operations are kept: TORCH_EXTENSIONS_DIR, or torch's own place."""
    check = "extensions directory"
    try:
        place = Path(cpp_extension._get_build_directory("biobert_scale_doctor", False))
        (place / "probe").write_bytes(b"")
        shutil.rmtree(place)
    except OSError as error:
        remedy = "set TORCH_EXTENSIONS_DIR to a directory of your own; needed only where DeepSpeed compiles"
        return Finding(check, "WARN", f"cannot be written: {error.filename} ({error.strerror})", remedy)
    return Finding(check, "OK", f"{place.parent} can be written")


def check_shared_memory(directory: Path = Path("/dev/shm")) -> list[Finding]:
    """NCCL's and gloo's buffers between ranks of a node."""
    finding = partial(Finding, "shared memory")
    if not directory.is_dir():
        return [finding("FAIL", f"no {directory}", "mount a tmpfs there")]
    free = shutil.disk_usage(directory).free
    text, figures = f"{free / 2**30:.2f} GiB free in {directory}", {"free": free}
    if free >= _SHARED_MEMORY:
        return [finding("OK", text, figures=figures)]
    remedy = (
        f"mount {directory} larger (docker: --shm-size=1g or more; apptainer: bind the host's), or clear what"
        " old jobs left there"
    )
    return [finding("WARN", text, remedy, figures=figures)]


def check_open_files(world_size: int) -> list[Finding]:
    """A rank holds a few hundred files and libraries, and several connections to every other rank."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = 256 + 8 * world_size
    status: Status = "FAIL" if soft < need else "WARN" if soft < 4 * need else "OK"
    too_low = f" (the hard limit, {hard}, is lower: ask the administrator)" if hard < 4 * need else ""
    remedy = "" if status == "OK" else f"ulimit -n {4 * need} before the launch{too_low}"
    text, figures = f"{soft:,} at most, {need:,} may be needed", {"soft": soft, "hard": hard, "needed": need}
    return [Finding("open files", status, text, remedy, figures=figures)]
