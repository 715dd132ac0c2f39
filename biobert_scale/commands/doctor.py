"""The options of `doctor`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from biobert_scale.display import show
from biobert_scale.ranges import within


@within(minimum_bandwidth_gbs="[0, 1e6]", timeout_seconds="(0, 1e6]")
def doctor(
    *,
    config: str = "biobert-large",
    tokens: Path | None = None,
    output: Path | None = None,
    minimum_bandwidth_gbs: float = 0.0,
    timeout_seconds: float = 60.0,
    json: Path | None = None,
) -> int:
    """Check the machine, the ranks, the disk and the tokens before a run; also under every launcher.

    Libraries, device, node, network, disk and tokens; exit code 1 where something fails. Started by itself it
    looks at one process; under the run's launcher (`-m biobert_scale.doctor`) at all ranks and what connects
    them.

    Args:
        config: recipe: a name, the path of a TOML file, or of a run's config.json.
        tokens: token shards, to be verified.
        output: the run directory: how fast it is written, its room, and whether all ranks see it.
        minimum_bandwidth_gbs: fail where the all-reduce's bus bandwidth is lower, 10^9 bytes a second; 0 only
            reports it.
        timeout_seconds: how long the ranks wait for each other.
        json: a file to write the findings to.
    """
    from biobert_scale.recipes import load_config

    settings = load_config(config)
    from biobert_scale.doctor.examine import examine
    from biobert_scale.doctor.findings import Finding, Started, render
    from biobert_scale.files import write_json

    def report(findings: list[Finding], who: Started) -> None:
        ranks, nodes = f"{who['world_size']} rank(s)", f"{who['nodes']} node(s)"
        show(render(findings, f"{settings.name} on {ranks}, {nodes}, {who['device']}"))
        if json is not None:
            failed = any(finding.status == "FAIL" for finding in findings)
            listed = [asdict(finding) for finding in findings]
            write_json(json, {"recipe": settings.name, **who, "failed": failed, "findings": listed})

    return int(
        examine(
            settings,
            tokens=tokens,
            output=output,
            report=report,
            minimum_gbs=minimum_bandwidth_gbs,
            timeout_seconds=timeout_seconds,
        )
    )
