"""The whole examination: what each rank finds by itself, then what they find together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch.distributed as dist

from biobert_scale.config import Config
from biobert_scale.doctor.findings import Finding, Started, guarded, merge
from biobert_scale.doctor.machine import (
    check_accelerator,
    check_compiler,
    check_driver,
    check_open_files,
    check_shared_memory,
)
from biobert_scale.doctor.network import check_all_reduce, check_clocks
from biobert_scale.doctor.ranks import Ranks, alone, device_of
from biobert_scale.doctor.storage import check_storage
from biobert_scale.doctor.tokens import check_tokens
from biobert_scale.doctor.versions import check_versions
from biobert_scale.environment import is_first_rank
from biobert_scale.errors import UserError
from biobert_scale.files import read_manifest
from biobert_scale.plan.dry_run import DryRun, plan_run
from biobert_scale.tokens.build import STAGE
from biobert_scale.training import runtime
from biobert_scale.training.ranks import rank_environment, this_process


@rank_environment()
def examine(
    config: Config,
    *,
    tokens: Path | None,
    output: Path | None,
    report: Callable[[list[Finding], Started], None],
    minimum_gbs: float = 0.0,
    timeout_seconds: float = 60.0,
) -> bool:
    """Every check, under whatever started this process.

    Args:
        tokens: finished token shards; their checks are left out without.
        output: the run directory; likewise.
        report: what one rank does with the findings and with what the ranks are, before any rank leaves:
            launchers kill the others of one that fails.
        minimum_gbs: see `check_all_reduce`.
        timeout_seconds: how long the ranks wait for each other.

    Returns:
        Whether something failed, the same on all ranks.
    """
    ranks, met = _join(timeout_seconds)
    try:
        hosts = ranks.hosts()
        found = [*met, *_by_itself(ranks, config, tokens)]
        findings = merge(ranks.gather(found), hosts)
        findings += _together(ranks, config, tokens, output, minimum_gbs)
        if ranks.rank == 0:
            nodes, device = len(set(hosts)), ranks.device.type
            report(
                findings, {"world_size": ranks.world_size, "nodes": nodes, "hosts": hosts, "device": device}
            )
        with suppress(RuntimeError):  # a network that is ill has been reported
            ranks.meet()
        return any(finding.status == "FAIL" for finding in findings)
    finally:
        runtime.leave()


def _join(timeout_seconds: float) -> tuple[Ranks, list[Finding]]:
    """The ranks, or where they do not find each other this one alone, and that as a finding."""
    try:
        info = this_process()
        runtime.meet(info, timeout_seconds=timeout_seconds)
    except dist.DistError as error:
        remedy = (
            "check that MASTER_ADDR resolves and MASTER_PORT is open on every node, and that as many ranks"
            " were started as were announced"
        )
        text = f"the ranks do not find each other within {timeout_seconds:g} s: {str(error).splitlines()[0]}"
        return alone(0 if is_first_rank() else 1), [Finding("ranks", "FAIL", text, remedy)]
    device = device_of(info.local_rank)
    if device.type == "cuda":
        import torch

        torch.cuda.set_device(device)
    words = "one process alone" if info.world_size == 1 else f"{info.world_size} met"
    return Ranks(rank=info.rank, world_size=info.world_size, local_rank=info.local_rank, device=device), [
        Finding("ranks", "OK", words)
    ]


def _by_itself(ranks: Ranks, config: Config, tokens: Path | None) -> list[Finding]:
    """The checks that a rank does without the others."""
    precision = config.training.precision.dtype
    found = [
        *check_versions(),
        *guarded("accelerator", lambda: check_accelerator(ranks, precision)),
        *check_driver(ranks),
        *check_compiler(ranks),
        *check_shared_memory(),
        *check_open_files(ranks.world_size),
        *guarded("batch", lambda: _batch(config, ranks.world_size)),
    ]
    if tokens is not None:
        found += guarded("tokens", lambda: check_tokens(ranks, tokens))
    return found


def _together(
    ranks: Ranks, config: Config, tokens: Path | None, output: Path | None, minimum_gbs: float
) -> list[Finding]:
    """The checks that all ranks do at once; each returns the same findings on all of them."""
    run = ranks.gather(_numbers(config, ranks.world_size, tokens))[0]
    found = check_all_reduce(
        ranks, minimum_gbs=minimum_gbs, step_bytes=sum(run.sent) if run is not None else 0
    ) + check_clocks(ranks)
    if output is not None:
        size = run.checkpoint if run is not None else 0
        found += check_storage(ranks, output, config, checkpoint_bytes=size)
    return found


def _batch(config: Config, world_size: int) -> list[Finding]:
    """Does the batch divide over as many ranks as were started?"""
    run = plan_run(config, world_size=world_size, vocabulary_size=config.vocabulary.size)
    products = []
    for phase in run.phases or (run,):
        training = phase.config.training
        parts = f"{world_size} x {training.micro_batch_size} x {phase.micro_steps}"
        products.append(f"{parts} = {training.global_batch_size}")
    text = f"{', then '.join(products)} (ranks x micro-batch x accumulation steps)"
    return [Finding("batch", "OK", text)]


def _numbers(config: Config, world_size: int, tokens: Path | None) -> DryRun | None:
    """The run in numbers, where it can be worked out; why it cannot is another check's finding."""
    try:
        size = config.vocabulary.size if tokens is None else read_manifest(tokens, STAGE).counts["vocabulary"]
        return plan_run(config, world_size=world_size, vocabulary_size=size)
    except UserError:
        return None
