"""The options of `demo`, `report` and `status`."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

from biobert_scale.display import is_styled, show
from biobert_scale.errors import UserError
from biobert_scale.ranges import within
from biobert_scale.recipes import load_config


@within(processes="[1, 1024]")
def demo(
    *,
    output: Path = Path("runs/demo"),
    raw: Path | None = None,
    benchmarks: Path | None = None,
    recipe: str = "",
    processes: int = 2,
) -> None:
    """Go the whole way once: raw XML to scored model and report, on made-up or on real files.

    Documents, tokens, pre-training (stopped and resumed on purpose), export, scores, report.html.

    Args:
        output: where everything goes; a second call goes on from what is finished.
        raw: directory of real MEDLINE and PMC files; without it a made-up literature is written.
        benchmarks: directory of real benchmark files (BC5CDR, NCBI-disease, HoC).
        recipe: configuration, by name or path (default: demo, or demo-real with --raw).
        processes: ranks that `accelerate launch` starts.
    """
    from biobert_scale.demo import run_demo

    if (raw is None) != (benchmarks is None):
        raise UserError(
            "--raw and --benchmarks go together",
            where="demo",
            remedy="give both, or none for the made-up literature",
        )
    config = load_config(recipe or ("demo-real" if raw else "demo"))
    show(f"written: {run_demo(output, raw=raw, benchmarks=benchmarks, config=config, processes=processes)}")


def report(run: Positional[Path], /, *, output: Path | None = None) -> None:
    """Write one self-contained HTML page about a finished demo or run.

    Args:
        run: directory with the stages' outputs, as `biobert-scale demo` arranges them.
        output: the page (default: report.html in that directory).
    """
    from biobert_scale.report import write_report

    show(f"written: {write_report(run, output or run / 'report.html')}")


def status(run: Positional[Path], /, *, json: bool = False) -> None:
    """Show how far a run is: step, loss, rate, speed, time to go, last checkpoint and events.

    On a terminal the table is renewed every ten seconds until the run is at work no more, or until Ctrl-C;
    elsewhere it is printed once. Only the run directory is read, and SLURM asked about its job.

    Args:
        run: the --output of `biobert-scale train`.
        json: print one JSON object instead.
    """
    from dataclasses import asdict
    from json import dumps

    from rich.console import Console

    from biobert_scale.report.status import describe, read_status, watch

    if json:
        print(dumps(asdict(read_status(run)), indent=2))
    elif is_styled():
        watch(lambda: read_status(run), console=Console())
    else:
        show(describe(read_status(run)))
