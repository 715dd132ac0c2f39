"""What connects the ranks: an all-reduce that is right and how fast, and clocks that agree."""

from __future__ import annotations

import statistics
import time
from functools import partial

import torch
import torch.distributed as dist

from biobert_scale.doctor.findings import Finding
from biobert_scale.doctor.ranks import Ranks

_BYTES = {"cpu": 1 << 24, "cuda": 1 << 28}
_SECONDS = 1.0
_ROUNDS = 9
_SKEW_WARN_SECONDS, _SKEW_FAIL_SECONDS = 1.0, 30.0


def check_all_reduce(ranks: Ranks, *, minimum_gbs: float, step_bytes: int) -> list[Finding]:
    """Bandwidth and latency of an all-reduce over all ranks' devices.

    The bus bandwidth is 2 (ranks - 1) / ranks times the buffer's bytes over the seconds, as nccl-tests
    defines it (its PERFORMANCE.md): what every rank passes on in a ring.

    Args:
        minimum_gbs: 10^9 bytes a second below which it fails; 0 reports only.
        step_bytes: what a step of the recipe sends from each device, to say how long that would take.
    """
    finding = partial(Finding, "all-reduce")
    if ranks.world_size == 1:
        text = "one process alone: nothing to measure; start the doctor under the run's launcher"
        return [finding("OK", text)]
    size = _BYTES[ranks.device.type]
    large = torch.empty(size // 4, device=ranks.device)
    expected = ranks.world_size * (ranks.world_size + 1) / 2
    try:
        first, right = _timed(large, ranks.rank + 1), bool((large == expected).all())
        repeats = max(1, min(20, int(_SECONDS / max(ranks.gather(first)))))
        seconds = statistics.median(_timed(large, 0) for _ in range(repeats))
        small = torch.zeros(1, device=ranks.device)
        latency = statistics.median(_timed(small, 0) for _ in range(20))
    except RuntimeError as error:
        remedy = (
            "set NCCL_DEBUG=INFO and look at the first rank that complains; check the network interface"
            " (NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME)"
        )
        return [finding("FAIL", f"it failed: {str(error).splitlines()[0]}", remedy)]
    if not all(ranks.gather(right)):
        remedy = "do not train here: look at the interconnect and the driver"
        return [finding("FAIL", "its sum is wrong", remedy)]
    bandwidth = 2 * (ranks.world_size - 1) / ranks.world_size * size / seconds
    text = (
        f"bus bandwidth {bandwidth / 1e9:.3g} GB/s ({size >> 20} MiB, {ranks.world_size} ranks), latency"
        f" {latency * 1e6:.0f} microseconds"
    )
    if step_bytes:
        text += f"; a step of the recipe sends {step_bytes / 1e9:.3g} GB, {step_bytes / bandwidth:.2g} s"
    figures = {
        "bus_bandwidth": bandwidth,
        "latency_seconds": latency,
        "step_bytes": step_bytes,
        "bytes": size,
    }
    if bandwidth >= minimum_gbs * 1e9:
        return [finding("OK", text, figures=figures)]
    remedy = "check that the fast network is used (NCCL_DEBUG=INFO names it) and that no other job shares it"
    return [finding("FAIL", f"{text}; {minimum_gbs:g} GB/s are asked for", remedy, figures=figures)]


def _timed(buffer: torch.Tensor, value: float) -> float:
    """Seconds of one all-reduce of a buffer filled with a value."""
    buffer.fill_(value)
    if buffer.is_cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    dist.all_reduce(buffer)
    if buffer.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def check_clocks(ranks: Ranks) -> list[Finding]:
    """How far the ranks' clocks are apart: read right after they met, several times, and the median taken."""
    if ranks.world_size == 1:
        return [Finding("clocks", "OK", "one process alone: one clock")]
    read = []
    for _ in range(_ROUNDS):
        ranks.meet()
        read.append(ranks.gather(time.time()))
    offsets = [
        statistics.median(times[rank] - times[0] for times in read) for rank in range(ranks.world_size)
    ]
    return [judge_clocks(offsets)]


def judge_clocks(offsets: list[float]) -> Finding:
    """Seconds by which each rank's clock is ahead of the first one's."""
    skew = max(offsets) - min(offsets)
    text, figures = f"{skew * 1e3:.1f} ms apart", {"offsets_seconds": offsets}
    if skew <= _SKEW_WARN_SECONDS:
        return Finding("clocks", "OK", text, figures=figures)
    furthest = max(range(len(offsets)), key=lambda rank: abs(offsets[rank]))
    text += f"; rank {furthest} is {offsets[furthest]:+.1f} s from rank 0"
    remedy = "let the nodes keep their time (chrony, ntpd): the time limit, restarts and logs go by it"
    return Finding("clocks", "FAIL" if skew > _SKEW_FAIL_SECONDS else "WARN", text, remedy, figures=figures)
