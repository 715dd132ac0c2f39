"""The options of `plan` and `tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from biobert_scale.display import show
from biobert_scale.ranges import within


@within(
    devices="[1, 1e6]",
    devices_per_node="[1, 1e4]",
    device_memory_gib="[0, 1e6]",
    host_memory_gib="[0, 1e6]",
    reserve="[0, 1)",
    device_tflops="[0, 1e6]",
    bandwidth_gbs="[0, 1e6]",
    network_gbs="[0, 1e6]",
    memory_gbs="[0, 1e6]",
    host_gbs="[0, 1e6]",
    transfer_gbs="[0, 1e6]",
    latency_us="[0, 1e6]",
    spread="[0, 1]",
    node_mtbf_days="[0, 1e6]",
    restart_minutes="[0, 1e6]",
    save_seconds="[0, 1e6]",
    write_seconds="[0, 1e6]",
    global_batch_size="[0, 1e9]",
)
def plan(
    *,
    config: str = "biobert-large",
    devices: int = 16,
    devices_per_node: int = 8,
    device_memory_gib: float = 80.0,
    host_memory_gib: float = 0.0,
    reserve: float = 0.1,
    device_tflops: float = 0.0,
    bandwidth_gbs: float = 0.0,
    network_gbs: float = 0.0,
    memory_gbs: float = 0.0,
    host_gbs: float = 0.0,
    transfer_gbs: float = 0.0,
    latency_us: float = 0.0,
    spread: float = 0.0,
    global_batch_size: int = 0,
    tokens: Path | None = None,
    run: tuple[Path, ...] = (),
    simulate: bool = False,
    node_mtbf_days: float = 0.0,
    restart_minutes: float = 10.0,
    save_seconds: float = 0.0,
    write_seconds: float = 0.0,
    json: Path | None = None,
) -> None:
    """Work out memory, communication and time of a recipe on a machine, and which engine to take.

    Under every ZeRO stage, offloading and micro-batch. Starts nothing. A rate that is 0 is unknown, and what
    would take time at it is left out of the seconds (see docs/how-to/planning.md).

    Args:
        config: recipe: a name, the path of a TOML file, or of a run's config.json.
        devices: devices in all.
        devices_per_node: devices of a node.
        device_memory_gib: memory of one device, GiB; 0 for no limit.
        host_memory_gib: memory of one node's host, GiB; 0 for no limit.
        reserve: share of the memory that is left to the libraries and the allocator.
        device_tflops: 10^12 operations that a device really does in a second of forward and backward passes.
        bandwidth_gbs: 10^9 bytes a second between devices of a node (`biobert-scale doctor` measures them:
            "bus bandwidth").
        network_gbs: 10^9 bytes a second that a node sends to another, all its devices together; 0: as between
            devices.
        memory_gbs: 10^9 bytes a second of a device's own memory, for the optimizer's step.
        host_gbs: 10^9 bytes a second of the host's memory, for each device, for an offloaded optimizer's
            step.
        transfer_gbs: 10^9 bytes a second between a device and its host, for offloading.
        latency_us: microseconds of a message between two devices, besides its bytes.
        spread: standard deviation of a rank's seconds of computing in a step, over their mean (0.02 is 2%): a
            step waits for the slowest rank.
        global_batch_size: sequences of a step; 0: the recipe's.
        tokens: finished token shards, for the vocabulary's size; without them the recipe's counts.
        run: run directories that were measured: the first half of the first one gives the rates that are not
            given here, and all are compared with their predictions.
        simulate: the recommended configuration also on twice the devices, four times, up to 1,024, whose
            nodes fail: days, lost work, restarts, and the best interval between saves.
        node_mtbf_days: mean days between two failures of a node; 0: none fails.
        restart_minutes: minutes from a failure to the first step after it.
        save_seconds: seconds that a save keeps the loop waiting for; 0: the first run's.
        write_seconds: seconds after which a save is complete, behind the steps that follow; 0: the first
            run's.
        json: a file to write the plan to.
    """
    import math
    from dataclasses import replace

    from biobert_scale.errors import UserError
    from biobert_scale.files import read_manifest, write_json
    from biobert_scale.plan.failures import Failures
    from biobert_scale.plan.plan import make_plan
    from biobert_scale.plan.predict import ADAMW_BYTES, Machine, Rates
    from biobert_scale.plan.table import as_json, render
    from biobert_scale.recipes import load_config
    from biobert_scale.tokens.build import STAGE

    if not simulate and (node_mtbf_days or save_seconds or write_seconds):
        what = "failures and saves count in a simulation only"
        raise UserError(what, where="command line", remedy="add --simulate")
    settings = load_config(config)
    if global_batch_size:
        training = replace(settings.training, global_batch_size=global_batch_size, micro_batch_size=1)
        settings = replace(settings, training=training)
    machine = Machine(
        devices=devices,
        devices_per_node=devices_per_node,
        device_memory=int(device_memory_gib * 2**30),
        host_memory=int(host_memory_gib * 2**30),
        reserve=reserve,
    )
    rates = Rates(
        flops=device_tflops * 1e12,
        bandwidth=bandwidth_gbs * 1e9,
        network=network_gbs * 1e9,
        transfer=transfer_gbs * 1e9,
        latency=latency_us / 1e6,
        spread=spread,
        device_step=ADAMW_BYTES / memory_gbs / 1e9 if memory_gbs else 0.0,
        host_step=ADAMW_BYTES / host_gbs / 1e9 if host_gbs else 0.0,
    )
    vocabulary_size = (
        settings.vocabulary.size if tokens is None else read_manifest(tokens, STAGE).counts["vocabulary"]
    )
    node = Failures(
        mtbf=node_mtbf_days * 86400 or math.inf,
        restart=restart_minutes * 60,
        save=save_seconds,
        write=write_seconds,
    )
    made = make_plan(
        settings,
        machine,
        rates,
        vocabulary_size=vocabulary_size,
        runs=run,
        node=node if simulate else None,
    )
    show(render(made))
    if json is not None:
        write_json(json, as_json(made))


@within(processes="[0, 1024]", seconds="(0, 1e8]")
def tune(
    *,
    config: str = "biobert-large",
    processes: int = 0,
    lengths: Literal["full", "abstracts"] = "full",
    seconds: float = 120,
) -> None:
    """Find the micro-batch, engine and settings of [compute] that are fastest on these devices.

    Prints them as lines of a recipe.

    Args:
        config: recipe: a name or the path of a TOML file.
        processes: ranks on this machine, one device each (default: as many as it has GPUs, or one).
        lengths: of the made-up samples: full, or abstracts (a mean of about 290 tokens of 512).
        seconds: after which no more candidate is begun.
    """
    import torch

    from biobert_scale.recipes import load_config
    from biobert_scale.tune.search import tune

    devices = processes or max(torch.cuda.device_count(), 1)
    show(tune(load_config(config), processes=devices, seconds=seconds, lengths=lengths))
