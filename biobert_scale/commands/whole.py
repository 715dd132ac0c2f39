"""The options of `demo`, `report` and `bench ...`."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional

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
    report_path = run_demo(
        output,
        raw=raw,
        benchmarks=benchmarks,
        config=load_config(recipe or ("demo-real" if raw else "demo")),
        processes=processes,
    )
    print(report_path)


def report(run: Positional[Path], /, *, output: Path | None = None) -> None:
    """Write one self-contained HTML page about a finished demo or run.

    Args:
        run: directory with the stages' outputs, as `biobert-scale demo` arranges them.
        output: the page (default: report.html in that directory).
    """
    from biobert_scale.report import write_report

    print(write_report(run, output or run / "report.html"))


@within(repeats="[1, 1000]", jats_megabytes="(0, 1e6]", memory_gigabytes="[0, 1e6]", copies="[1, 1e6]")
def bench_corpus(
    *,
    raw: Path,
    output: Path,
    repeats: int = 5,
    jats_megabytes: float = 30,
    memory_gigabytes: float = 1,
    copies: int = 1,
) -> None:
    """Measure how fast raw XML is read, and in what memory, beside lxml and pubmed-parser.

    Writes dated JSON and Markdown.

    Args:
        raw: directory with MEDLINE `*.xml.gz` files and PMC `*.tar.gz` packages, at any depth.
        output: directory of the results.
        repeats: turns of each contestant.
        jats_megabytes: size of the sample of articles that the JATS readers take turns on, in MB.
        memory_gigabytes: expanded size of the MEDLINE file whose reading's memory is measured, in GB; 0
            leaves that out.
        copies: times that the whole stage meets all the material, each time with other words and ids.
    """
    from biobert_scale.bench.corpus import bench_corpus

    print(
        bench_corpus(
            raw,
            output,
            repeats=repeats,
            jats_megabytes=jats_megabytes,
            memory_gigabytes=memory_gigabytes,
            copies=copies,
        )
    )


@within(
    repeats="[1, 1000]",
    max_seq_length="[64, 4095]",
    turn_seconds="(0, 1e6]",
    index_million_tokens="(0, 1e6]",
    scale_million_samples="(0, 1e6]",
)
def bench_data(
    *,
    corpus: Path,
    vocabulary: Path,
    output: Path,
    repeats: int = 5,
    max_seq_length: int = 512,
    turn_seconds: float = 1,
    index_million_tokens: float = 150,
    scale_million_samples: float = 150,
) -> None:
    """Measure the way from documents to batches, beside transformers, datasets and plain Python.

    Writes dated JSON and Markdown.

    Args:
        corpus: a finished corpus; tens of MB of text are enough.
        vocabulary: a finished vocabulary.
        output: directory of the results.
        repeats: turns of each contestant.
        max_seq_length: samples of this many tokens are measured, and of a quarter of it.
        turn_seconds: CPU time of one turn in making samples, in seconds.
        index_million_tokens: size of the repeated corpus whose index is built, in millions.
        scale_million_samples: samples of the large index that a fresh process opens, in millions (16 MB of
            temporary files each).
    """
    from biobert_scale.bench.data import bench_data

    print(
        bench_data(
            corpus, vocabulary, output,
            repeats=repeats, max_seq_length=max_seq_length, turn_seconds=turn_seconds,
            index_million_tokens=index_million_tokens, scale_million_samples=scale_million_samples,
        )
    )  # fmt: skip


@within(steps="[0, 1e9]")
def bench_learning(
    *, tokens: Path, output: Path, config: str = "demo-real", steps: int = 0, equal_rates: bool = False
) -> None:
    """Compare a small model's held-out loss and time with those under transformers' Trainer.

    From equal weights on equal samples; writes dated JSON, Markdown and a picture.

    Args:
        tokens: finished token shards.
        output: directory of the results.
        config: recipe: a name or the path of a TOML file. One batch of it must fit the device, padded.
        steps: optimizer steps of each run, the warm-up shortened in proportion; 0 for the recipe's.
        equal_rates: give the Trainer this package's learning rate at each step; its own schedule is one step
            behind in the warm-up.
    """
    from biobert_scale.bench.learning import bench_learning

    print(bench_learning(tokens, output, config=config, steps=steps, equal_rates=equal_rates))


@within(steps="[1, 1e6]", seeds="[1, 1000]")
def bench_curves(
    *,
    tokens: Path,
    output: Path,
    config: str = "demo-real",
    steps: int = 200,
    seeds: int = 4,
    compiled: bool = False,
) -> int:
    """Compare the loss curves of a small model with every switch of [compute] on and off.

    Writes dated JSON, Markdown and a picture. Exit code 1: one is out of tolerance.

    Args:
        tokens: finished token shards.
        output: directory of the results.
        config: recipe: a name or the path of a TOML file; trained in fp32, without dropout but where dropout
            is compared.
        steps: optimizer steps of each run, the warm-up shortened in proportion.
        seeds: runs of either way to draw dropout.
        compiled: also with torch.compile, which needs a compiler.
    """
    from biobert_scale.bench.curves import bench_curves

    page, within = bench_curves(
        load_config(config), tokens, output, steps=steps, seeds=seeds, compiled=compiled, name=config
    )
    print(page)
    return 0 if within else 1


@within(loss="[0, 1000]", steps="[0, 1e9]", repeats="[1, 1000]")
def bench_end_to_end(
    *, raw: Path, output: Path, config: str = "demo-real", loss: float = 0.0, steps: int = 0, repeats: int = 1
) -> None:
    """Go from raw XML to a validation loss, beside pubmed-parser, datasets.map and the Trainer.

    Writes dated JSON, Markdown and a picture.

    Args:
        raw: directory of MEDLINE `*.xml.gz` files.
        output: directory of the results.
        config: recipe: a name or the path of a TOML file. One batch of it must fit the device, padded.
        loss: held-out MLM loss in nats whose time is reported; 0 for the worse of the two final losses.
        steps: optimizer steps of each side, the warm-up shortened in proportion; 0 for the recipe's.
        repeats: times that both sides run.
    """
    from biobert_scale.bench.end_to_end import bench_end_to_end

    print(bench_end_to_end(raw, output, config=config, loss=loss, steps=steps, repeats=repeats))


@within(repeats="[1, 1000]")
def bench_checkpoint(
    *, output: Path, config: str = "biobert-large", directory: Path | None = None, repeats: int = 5
) -> None:
    """Measure how long training waits for a checkpoint, beside accelerate's and torch's own.

    Written at once, and behind its back. Writes dated JSON and Markdown.

    Args:
        output: directory of the results.
        config: recipe: a name or the path of a TOML file.
        directory: a directory on the disk to measure (default: the temporary one); two checkpoints must fit.
        repeats: turns of each contestant.
    """
    from biobert_scale.bench.checkpoint import bench_checkpoint

    print(bench_checkpoint(load_config(config), output, directory=directory, repeats=repeats))


@within(ranks="[1, 1024]", steps="[1, 1e6]")
def bench_scaling(
    *, output: Path, config: str = "demo", ranks: tuple[int, ...] = (1, 2, 4), steps: int = 3
) -> None:
    """Measure the same step on more and more ranks under every engine: time, and bytes sent.

    On this machine; writes dated JSON and Markdown.

    Args:
        output: directory of the results.
        config: recipe: a name or the path of a TOML file.
        ranks: numbers of ranks; the recipe's global batch must divide over each, in micro-batches.
        steps: optimizer steps that are counted, of each engine.
    """
    from biobert_scale.bench.scaling import bench_scaling

    print(bench_scaling(load_config(config), output, ranks=ranks, steps=steps))


@within(processes="[0, 1024]", seconds="(0, 1e8]")
def bench_train(
    *, config: str = "biobert-large", processes: int = 0, lengths: str = "full", seconds: float = 120
) -> None:
    """Find the micro-batch, engine and switches that are fastest on these devices.

    Prints them as lines of a recipe.

    Args:
        config: recipe: a name or the path of a TOML file.
        processes: ranks on this machine, one device each (default: as many as it has GPUs, or one).
        lengths: of the made-up samples: full, or abstracts (a mean of about 290 tokens of 512).
        seconds: after which no more candidate is begun.
    """
    import torch

    from biobert_scale.bench.tune import bench_train

    if lengths not in ("full", "abstracts"):
        raise UserError(f"no lengths '{lengths}'", where="--lengths", remedy="choose full or abstracts")
    print(
        bench_train(
            load_config(config),
            processes=processes or max(torch.cuda.device_count(), 1),
            seconds=seconds,
            lengths=lengths,
        )
    )


@within(sequences="[1, 1e9]", micro_batch_size="[1, 1e6]", steps="[1, 1e6]", repeats="[1, 1000]")
def bench_train_step(
    *,
    output: Path,
    tokens: Path | None = None,
    lengths: str = "full",
    config: str = "biobert-large",
    dtype: str = "",
    sequences: int = 32,
    micro_batch_size: int = 8,
    steps: int = 2,
    repeats: int = 5,
    contestants: str = "oab",
    name: str = "steps",
    profile: bool = False,
) -> None:
    """Measure optimizer steps a second, beside transformers' own ways to take them.

    On the same samples in turns; writes dated JSON and Markdown.

    Args:
        tokens: finished token shards; their documents' lengths decide the samples'. Without them samples are
            made up.
        lengths: of made-up samples: full, or abstracts (a mean of about 290 tokens of 512).
        output: directory of the results.
        config: recipe: a name or the path of a TOML file.
        dtype: fp32, bf16 or fp16 (default: the recipe's).
        sequences: sequences of a step.
        micro_batch_size: sequences of a forward pass.
        steps: steps of a turn.
        repeats: turns of each contestant.
        contestants: o: this project; p: compiled; a: BertForPreTraining in an Accelerate loop; b: the
            Trainer; c: as a, with torch.compile; t: this project as `train` runs it (with --tokens, beside o
            and p alone). Or `ablation`.
        name: part of the result's file name.
        profile: also print which operations this project's step spends its time in.
    """
    from dataclasses import replace

    from biobert_scale.bench.train_step import bench_train_step

    recipe = load_config(config)
    precision = replace(recipe.training.precision, dtype=dtype or recipe.training.precision.dtype)  # type: ignore[arg-type]
    recipe = replace(
        recipe,
        training=replace(
            recipe.training,
            precision=precision,
            global_batch_size=sequences,
            micro_batch_size=micro_batch_size,
        ),
    )
    print(
        bench_train_step(
            recipe,
            tokens,
            output,
            steps=steps,
            repeats=repeats,
            contestants=contestants,
            name=name,
            lengths=lengths,
            profile=profile,
        )
    )
