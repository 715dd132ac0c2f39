"""Where the time of a step goes: operations, or on a GPU kernels, by their own time."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.train_step.records import Operation


def operations(work: Callable[[], object], device: torch.device, *, most: int = 25) -> list[Operation]:
    """Profile some work that has been done before; returns the operations that took longest."""
    activity, on_gpu = torch.profiler.ProfilerActivity, device.type == "cuda"
    with torch.profiler.profile(activities=[activity.CPU, *([activity.CUDA] if on_gpu else [])]) as profile:
        work()
        if on_gpu:
            torch.cuda.synchronize()
    # On a GPU an operation also carries its kernels' time, and ranges that someone named span others: kernels
    # alone are counted there.
    events = [
        event
        for event in profile.key_averages()
        if not on_gpu or (event.device_type.name == "CUDA" and not event.is_user_annotation)
    ]
    taken = [
        (
            event.key,
            (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6,
            event.count,
        )
        for event in events
    ]
    whole = sum(seconds for _, seconds, _ in taken)
    ordered = sorted((one for one in taken if one[1] > 0), key=lambda one: -one[1])[:most]
    return [
        {"name": name[:90], "seconds": seconds, "share": seconds / whole, "count": count}
        for name, seconds, count in ordered
    ]
