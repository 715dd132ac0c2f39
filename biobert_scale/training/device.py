"""What the device can do: its peak rate of matrix products, where that figure comes from, and memory used."""

from __future__ import annotations

import functools
import re
import time
from dataclasses import dataclass

import torch

from biobert_scale.modeling.linear import multiplies_natively
from biobert_scale.resident import peak_resident_bytes

# Dense tensor-core rates in FLOP/s, 16-bit inputs with 32-bit accumulation, from the makers' data sheets;
# without sparsity.
_DATA_SHEETS = {
    "H200": 989.4e12,
    "H100 PCIe": 756e12,
    "H100": 989.4e12,
    "A100": 312e12,
    "A10G": 70e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L4": 121e12,
    "V100": 125e12,
    "T4": 65e12,
}
_SIZE, _SECONDS = 1024, 0.3


@dataclass(frozen=True, kw_only=True)
class DevicePeak:
    """The rate that model FLOPs are compared with."""

    device: str
    flops_per_second: float
    source: str
    """`data sheet`, or `measured` with a matrix product of this process."""


def device_peak(device: torch.device, dtype: torch.dtype) -> DevicePeak:
    """One rank's peak: of a known GPU in 16 bits by its data sheet, else measured in a third of a second."""
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} CPU thread(s)"
    if on_gpu and dtype in (torch.float16, torch.bfloat16):
        for known, rate in _DATA_SHEETS.items():
            if re.search(rf"\b{known}\b", name):
                return DevicePeak(device=name, flops_per_second=rate, source="data sheet, dense 16-bit")
    if not multiplies_natively(torch.empty(0, dtype=dtype, device=device)):
        dtype = torch.float32  # which the model multiplies in, too
    source = f"measured, {_SIZE} x {_SIZE} matrices in {str(dtype).removeprefix('torch.')}"
    return DevicePeak(
        device=name, flops_per_second=_measure(device, dtype, torch.get_num_threads()), source=source
    )


@functools.cache
def _measure(device: torch.device, dtype: torch.dtype, threads: int) -> float:
    """Once in a process, which may train several times."""
    left, right = (torch.randn(_SIZE, _SIZE, device=device, dtype=torch.float32).to(dtype) for _ in range(2))
    best, begun = float("inf"), time.perf_counter()
    while time.perf_counter() < begun + _SECONDS:
        started = time.perf_counter()
        torch.mm(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * _SIZE**3 / best


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory used so far: of the GPU by tensors, of a CPU by the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_resident_bytes()
