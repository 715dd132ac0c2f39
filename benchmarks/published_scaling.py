"""The plan's model of a step beside published runs of BERT-Large on 8 to 1,024 GPUs, and beside ranks of this
project.

The first row of a series gives its rate of computing. Links and memory are as fast as their data sheets say,
a message takes ten microseconds, and nothing is hidden. How far the ranks are apart is fitted to the other
series, so that no row but the first says anything about its own prediction.
"""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict

import numpy as np

from benchmarks.result import Conditions, conditions, heading, write_result
from benchmarks.scaling import ScalingResult
from biobert_scale.config import Config
from biobert_scale.modeling.model import bert_config
from biobert_scale.plan.dry_run import Parameters, count_parameters
from biobert_scale.plan.predict import ADAMW_BYTES, Machine, Rates, predict, slowest_rank
from biobert_scale.recipes import load_config

_VOCABULARY = 30_522
_LATENCY = 10e-6
_SPREADS = np.linspace(0, 0.1, 201)
_RANKS_ENGINES = ("ddp", "zero0", "zero1")
_PREDICTIONS: tuple[Literal["predicted_seconds", "without_waiting_seconds"], ...] = (
    "predicted_seconds",
    "without_waiting_seconds",
)
_NVIDIA = "https://github.com/NVIDIA/DeepLearningExamples/tree/729963dd"
_PYTORCH = f"{_NVIDIA}/PyTorch/LanguageModeling/BERT"
_TENSORFLOW = f"{_NVIDIA}/TensorFlow/LanguageModeling/BERT"


class Node(NamedTuple):
    """A machine by its data sheet, rates in bytes a second: `bandwidth` from GPU to GPU and `network` to
    another node, each way, and a GPU's own `memory`."""

    name: str
    gpus: int
    bandwidth: float
    network: float
    memory: float


DGX_A100_80 = Node("DGX A100 80 GB", 8, 300e9, 200e9, 2.0e12)
DGX_A100_40 = Node("DGX A100 40 GB", 8, 300e9, 200e9, 1.6e12)
DGX_2 = Node("DGX-2, V100", 16, 150e9, 100e9, 0.9e12)
DGX_2H = DGX_2._replace(name="DGX-2H, V100")


class Phase(NamedTuple):
    """So many steps of a batch of sequences of a length."""

    steps: float
    batch: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Series:
    """One job on more and more GPUs."""

    name: str
    source: str
    node: Node
    rows: tuple[tuple[int, float, tuple[Phase, ...]], ...]
    """GPUs, seconds, and the steps that took them."""
    whole_job: bool = False
    """The seconds are not only those of steps, so nothing is fitted to them."""


def throughput(name: str, source: str, node: Node, length: int, *rows: tuple[int, float, int]) -> Series:
    """A series of (GPUs, sequences a second, global batch), a row's seconds being those of one step."""
    made = tuple((gpus, batch / rate, (Phase(1, batch, length),)) for gpus, rate, batch in rows)
    return Series(name=name, source=source, node=node, rows=made)


def _rows(batch: int, *rows: tuple[int, float]) -> list[tuple[int, float, int]]:
    return [(gpus, rate, batch) for gpus, rate in rows]


# 403 million samples of 128 tokens in batches of 64 Ki, 18 to 22 million of 512 in batches of 32 Ki.
_BING_BERT = (Phase(403e6 / 65_536, 65_536, 128), Phase(20e6 / 32_768, 32_768, 512))
SERIES = (
    throughput(
        "PyTorch, length 512",
        _PYTORCH,
        DGX_A100_80,
        512,
        *_rows(32_768, (8, 1648), (16, 3291), (32, 6464), (64, 13_005), (128, 25_570), (256, 49_663)),
    ),
    throughput(
        "PyTorch, length 128",
        _PYTORCH,
        DGX_A100_80,
        128,
        *_rows(65_536, (8, 4553), (16, 9191), (32, 18_119), (64, 35_774), (128, 70_555), (256, 138_294)),
    ),
    throughput(
        "TensorFlow, length 512",
        _TENSORFLOW,
        DGX_A100_40,
        512,
        (8, 572.112, 32_768),
        *_rows(65_536, (32, 2197.44), (128, 8723.1), (256, 16_705)),
    ),
    throughput(
        "TensorFlow, length 128",
        _TENSORFLOW,
        DGX_A100_40,
        128,
        *_rows(65_536, (8, 2871.89), (32, 11_159), (128, 41_144), (256, 77_479.87)),
    ),
    throughput(
        "TensorFlow, length 512",
        _TENSORFLOW,
        DGX_2H,
        512,
        *_rows(32_768, (16, 577.79), (64, 2284.23), (256, 8853), (512, 17_059)),
    ),
    Series(
        name="DeepSpeed bing_bert, the whole job",
        source="https://www.deepspeed.ai/tutorials/bert-pretraining/",
        node=DGX_2,
        whole_job=True,
        rows=tuple(
            (gpus, 60.0 * minutes, _BING_BERT)
            for gpus, minutes in ((16, 1993), (64, 521), (256, 144), (1024, 44))
        ),
    ),
)


class Row(TypedDict):
    """A published or measured figure beside the model's; all seconds are of the job."""

    series: str
    source: str
    machine: str
    devices: int
    fits: bool
    """It gives the series' rates, so its error is 0."""
    measured_seconds: float
    predicted_seconds: float
    without_waiting_seconds: float
    """Predicted for ranks that are all alike."""


class PublishedScalingResult(Conditions):
    """All of it."""

    spreads: list[float]
    """Of each series' ranks, fitted to the others."""
    rows: list[Row]
    ranks: list[Row]
    ranks_source: str


class _Parts(NamedTuple):
    """Seconds of a job by the model: its arithmetic at 1 operation a second on ranks that are all alike, and
    the rest."""

    work: float
    rest: float


def published_scaling(
    *, output: Path, ranks: Path = Path("benchmarks/results/scaling-2026-11-27.json")
) -> None:
    """Compare the plan's model of a step with published scaling of BERT-Large and with this project's ranks.

    Runs nothing; writes dated JSON and Markdown.

    Args:
        output: directory of the results.
        ranks: what `scaling` measured, with the recipe `scaling.toml`.
    """
    parts = [[_parts(series.node, gpus, phases) for gpus, _, phases in series.rows] for series in SERIES]
    spreads = [_spread_of_others(parts, number) for number in range(len(SERIES))]
    result: PublishedScalingResult = {
        **conditions("published-scaling", ("numpy",)),
        "spreads": spreads,
        "rows": [
            Row(
                series=series.name,
                source=series.source,
                machine=series.node.name,
                devices=gpus,
                fits=number == 0,
                measured_seconds=seconds,
                predicted_seconds=_predicted(series, own, spread)[number],
                without_waiting_seconds=_predicted(series, own, 0.0)[number],
            )
            for series, own, spread in zip(SERIES, parts, spreads, strict=True)
            for number, (gpus, seconds, _) in enumerate(series.rows)
        ],
        "ranks": _ranks(json.loads(ranks.read_text())),
        "ranks_source": ranks.name,
    }
    page = published_scaling_page(result)
    write_result(output, f"published-scaling-{result['date']}", result, page)
    print(page)


def _parts(node: Node, gpus: int, phases: tuple[Phase, ...]) -> _Parts:
    """By `plan/predict.py`. Gradients are reduced once a step in 16 bits, as all of the published runs do."""
    machine = Machine(devices=gpus, devices_per_node=node.gpus, device_memory=0)
    rates = Rates(
        flops=1.0,
        bandwidth=node.bandwidth,
        network=node.network,
        latency=_LATENCY,
        device_step=ADAMW_BYTES / node.memory,
    )
    work = rest = 0.0
    for phase in phases:
        config, counted = _config(phase)
        one = predict(config, machine, rates, vocabulary_size=_VOCABULARY, counted=counted)
        work += phase.steps * _known(one.compute_seconds)
        rest += phase.steps * (_known(one.communication_seconds) + _known(one.optimizer_seconds))
    return _Parts(work, rest)


def _known(seconds: float | None) -> float:
    assert seconds is not None
    return seconds


def _config(phase: Phase) -> tuple[Config, Parameters]:
    recipe = load_config("biobert-large")
    training = replace(
        recipe.training,
        global_batch_size=phase.batch,
        micro_batch_size=1,
        engine=replace(recipe.training.engine, deepspeed_config="zero0"),
        precision=replace(recipe.training.precision, dtype="bf16"),  # stage 0 refuses fp16
    )
    config = replace(recipe, data=replace(recipe.data, max_seq_length=phase.length), training=training)
    return config, count_parameters(
        config, bert_config(config.model, vocabulary_size=_VOCABULARY, pad_token_id=0)
    )


def _predicted(series: Series, parts: list[_Parts], spread: float) -> list[float]:
    """Seconds of every row, with the rate of computing that makes the first row what was published."""
    devices = [gpus for gpus, _, _ in series.rows]
    slow = [part.work * slowest_rank(spread, gpus) for part, gpus in zip(parts, devices, strict=True)]
    rate = slow[0] / (series.rows[0][1] - parts[0].rest)
    return [work / rate + part.rest for work, part in zip(slow, parts, strict=True)]


def _spread_of_others(parts: list[list[_Parts]], left_out: int) -> float:
    """The spread with the least squares of the relative errors of all series but one and the whole jobs."""
    others = [
        (series, own)
        for number, (series, own) in enumerate(zip(SERIES, parts, strict=True))
        if number != left_out and not series.whole_job
    ]

    def squares(spread: float) -> float:
        return sum(
            math.log(predicted / seconds) ** 2
            for series, own in others
            for predicted, (_, seconds, _) in zip(_predicted(series, own, spread), series.rows, strict=True)
        )

    return float(min(_SPREADS, key=squares))


def _ranks(measured: ScalingResult) -> list[Row]:
    """Ranks that share one machine: they divide its cores, and what all of them send goes through one memory.

    One rank gives the seconds of the arithmetic, the most ranks the rate of sending; others are predicted.
    """
    cores, rows = measured["machine"]["cores"] or 1, []
    for engine in _RANKS_ENGINES:
        seconds, sent = {}, {}
        for number, engines in measured["ranks"].items():
            seconds[int(number)] = statistics.median(engines[engine]["seconds"])
            sent[int(number)] = int(number) * engines[engine]["ring_bytes"]
        most = max(seconds)
        rate = sent[most] / (seconds[most] - seconds[1] / min(most, cores))
        for count, found in seconds.items():
            predicted = seconds[1] / min(count, cores) + sent[count] / rate
            rows.append(
                Row(
                    series=engine,
                    source="",
                    machine=f"{cores} cores",
                    devices=count,
                    fits=count in (1, most),
                    measured_seconds=found,
                    predicted_seconds=predicted,
                    without_waiting_seconds=predicted,
                )
            )
    return rows


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def published_scaling_page(result: PublishedScalingResult) -> str:
    """Render what `published_scaling` compared."""
    lines = [
        *heading("The model of a step beside published runs", result, "nothing is run on it"),
        "",
        "BERT-Large in 16 bits. The first row of a series gives its rate of computing; how far ranks are"
        " apart is fitted to the other series.",
        "",
        "| series | machine | GPUs | published, s | model, s | error | ranks all alike |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        published = row["measured_seconds"]
        errors = ["fitted" if row["fits"] else f"{row[name] / published - 1:+.1%}" for name in _PREDICTIONS]
        lines.append(
            f"| [{row['series']}]({row['source']}) | {row['machine']} | {row['devices']:,} |"
            f" {_seconds(published)} | {_seconds(row['predicted_seconds'])} | {' | '.join(errors)} |"
        )
    fitted = ", ".join(
        f"{spread:.2%} ({series.name}, {series.node.name})"
        for series, spread in zip(SERIES, result["spreads"], strict=True)
    )
    lines += ["", f"Spread of a rank's seconds of computing, by the series it is used for: {fitted}."]
    lines += [
        "",
        f"This project's ranks, all on one machine ({result['ranks_source']}): one rank gives the seconds of"
        ""
        " the arithmetic, the most ranks the rate at which all send.",
        "",
        "| engine | machine | ranks | measured, s | predicted, s | error |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["ranks"]:
        error = row["predicted_seconds"] / row["measured_seconds"] - 1
        lines.append(
            f"| {row['series']} | {row['machine']} | {row['devices']} | {row['measured_seconds']:.2f} |"
            f" {row['predicted_seconds']:.2f} | {'fitted' if row['fits'] else f'{error:+.1%}'} |"
        )
    return "\n".join(lines) + "\n"
