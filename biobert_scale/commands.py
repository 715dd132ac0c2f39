"""The commands' options, as signatures: tyro makes the parsing and the help of each from its function.

The work's own modules are imported inside the functions, so that `--help` does not wait for torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from biobert_scale.config import Config, CorpusConfig, FinetuneConfig, TokensConfig, VocabularyConfig, check_config, load_config
from biobert_scale.errors import UserError


def run(name: str, arguments: list[str]) -> int:
    """Parse a command's arguments and run it; returns the exit code."""
    if name == "train":
        return train(arguments)
    function: Callable[..., int | None] = globals()[name.replace(" ", "_")]
    return tyro.cli(function, prog=f"biobert-scale {name}", args=arguments) or 0


def demo(*, output: Path = Path("runs/demo"), raw: Path | None = None, benchmarks: Path | None = None, recipe: str = "", processes: int = 2) -> None:
    """The whole way once: documents, tokens, pre-training (stopped and resumed on purpose), export, scores, report.html.

    Args:
        output: where everything goes; a second call goes on from what is finished.
        raw: directory of real MEDLINE and PMC files; without it a made-up literature is written.
        benchmarks: directory of real benchmark files (BC5CDR, NCBI-disease, HoC).
        recipe: configuration, by name or path (default: demo, or demo-real with --raw).
        processes: ranks that `accelerate launch` starts.
    """
    from biobert_scale.demo import run_demo

    if (raw is None) != (benchmarks is None):
        raise UserError("--raw and --benchmarks go together", where="demo", remedy="give both, or none for the made-up literature")
    report_path = run_demo(output, raw=raw, benchmarks=benchmarks, config=load_config(recipe or ("demo-real" if raw else "demo")), processes=processes)
    print(report_path)


def corpus_synthesize(*, output: Path, seed: int = 1, abstracts: int = 3000, full_texts: int = 150, overwrite: bool = False) -> None:
    """Write a made-up literature and benchmark sets in the publishers' real formats.

    Args:
        output: directory to write.
        seed: same seed, same bytes.
        abstracts: MEDLINE records.
        full_texts: PMC articles.
        overwrite: replace what another configuration wrote there.
    """
    from biobert_scale.corpus.synthetic import write_synthetic

    write_synthetic(output, seed=seed, abstracts=abstracts, full_texts=full_texts, overwrite=overwrite)


def corpus_build(
    *, raw: Path, output: Path, corpus: Annotated[CorpusConfig, tyro.conf.arg(name="")] = CorpusConfig(), workers: int = 1, overwrite: bool = False
) -> None:
    """Read MEDLINE and JATS files, clean, select the last state of each citation, and write Parquet shards.

    Args:
        raw: directory with MEDLINE `*.xml.gz` files and PMC `*.tar.gz` packages, at any depth.
        output: directory to write.
        corpus: how documents are made.
        workers: processes at once; the output does not depend on it.
        overwrite: replace what other inputs or settings wrote there.
    """
    from biobert_scale.corpus.build import build_corpus

    _print_counts(build_corpus(raw, output, corpus, workers=workers, overwrite=overwrite))


def tokens_vocabulary(
    *, corpus: Path, output: Path, settings: Annotated[VocabularyConfig, tyro.conf.arg(name="")] = VocabularyConfig(), vocabulary: Path | None = None, overwrite: bool = False
) -> None:
    """Make a tokenizer directory that `AutoTokenizer.from_pretrained` opens.

    Args:
        corpus: a finished corpus.
        output: directory to write.
        settings: size and case.
        vocabulary: take this vocab.txt instead of training one.
        overwrite: replace what other inputs or settings wrote there.
    """
    from biobert_scale.tokens.vocabulary import build_vocabulary

    _print_counts(build_vocabulary(corpus, output, settings, vocabulary=vocabulary, overwrite=overwrite))


def tokens_build(
    *, corpus: Path, vocabulary: Path, output: Path, settings: Annotated[TokensConfig, tyro.conf.arg(name="")] = TokensConfig(), workers: int = 1, overwrite: bool = False
) -> None:
    """Split documents into sentences and word pieces, and write Arrow shards that `datasets.load_from_disk` opens.

    Args:
        corpus: a finished corpus.
        vocabulary: a finished vocabulary.
        output: directory to write.
        settings: held-out share and shard size.
        workers: processes at once; the output does not depend on it.
        overwrite: replace what other inputs or settings wrote there.
    """
    from biobert_scale.tokens.build import build_tokens

    _print_counts(build_tokens(corpus, vocabulary, output, settings, workers=workers, overwrite=overwrite))


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Pre-train from token shards. Any setting of the recipe can be changed by its dotted name."""

    tokens: Path
    """Finished token shards."""
    output: Path
    """Run directory; a run that is already there goes on from its newest intact checkpoint."""
    config: str = "biobert-large"
    """Recipe: a name or the path of a TOML file."""
    settings: Annotated[Config, tyro.conf.arg(name="")]
    """The recipe's settings."""


def train(arguments: list[str]) -> int:
    """Parse `train`'s options over the chosen recipe, and run it; returns the exit code."""
    # The deepspeed launcher appends its rank to everybody's arguments; the environment tells it as well.
    arguments = [argument for argument in arguments if not argument.startswith("--local_rank=")]
    recipe = "biobert-large"
    for position, argument in enumerate(arguments):
        if argument == "--config" and position + 1 < len(arguments):
            recipe = arguments[position + 1]
        elif argument.startswith("--config="):
            recipe = argument.removeprefix("--config=")
    settings = load_config(recipe)
    options = tyro.cli(_options_over(settings), prog="biobert-scale train", args=arguments)
    check_config(options.settings, where="command line")
    from biobert_scale.training.loop import train as run_training
    from biobert_scale.training.preemption import EXIT_CODE

    return 0 if run_training(options.settings, options.tokens, options.output) else EXIT_CODE


def _options_over(settings: Config) -> type[TrainOptions]:
    """`TrainOptions` whose settings default to a recipe's."""
    from dataclasses import field, make_dataclass

    made = make_dataclass(
        "TrainOptions",
        [("settings", Annotated[Config, tyro.conf.arg(name="")], field(default=settings, kw_only=True))],
        bases=(TrainOptions,),
        frozen=True,
        kw_only=True,
    )
    made.__doc__ = TrainOptions.__doc__
    return made


def checkpoint_list(run: Positional[Path], /) -> int:
    """List a run's checkpoints with their sizes, and verify every file's checksum; exit code 1 if one is broken.

    Args:
        run: the run directory.
    """
    from biobert_scale.training.checkpoint import complete, problem

    found = complete(run)
    if not found:
        raise UserError("no complete checkpoint", where=run, remedy="check the path: it is the --output of `biobert-scale train`")
    broken = 0
    for checkpoint in found:
        size = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
        trouble = problem(checkpoint)
        broken += trouble is not None
        print(f"{checkpoint.name}  {size / 1e6:10.1f} MB  {trouble or 'intact'}")
    return int(broken > 0)


def export(source: Positional[Path], /, *, tokens: Path, output: Path, overwrite: bool = False) -> None:
    """Write a checkpoint's fp32 weights and the tokenizer as a Hugging Face model directory.

    Args:
        source: a run directory (its newest intact checkpoint is taken) or a checkpoint directory.
        tokens: the token shards the run was trained on, for the tokenizer.
        output: directory to write.
        overwrite: replace an earlier export of another checkpoint.
    """
    from biobert_scale.release.export import export_model

    export_model(source, tokens, output, overwrite=overwrite)


def evaluate_prepare(*, benchmarks: Path, output: Path, overwrite: bool = False) -> None:
    """Read the benchmarks' original files (BC5CDR, NCBI-disease, HoC), validate them, and write tokenised splits.

    Args:
        benchmarks: directory that holds them, at any depth.
        output: directory to write.
        overwrite: replace what other files left there.
    """
    from biobert_scale.evaluation.tasks import prepare

    _print_counts(prepare(benchmarks, output, overwrite=overwrite))


def evaluate_baselines(*, prepared: Path, output: Path, overwrite: bool = False) -> None:
    """Train and score the simple baselines of every prepared benchmark.

    Args:
        prepared: a directory that `evaluate prepare` wrote.
        output: directory to write.
        overwrite: replace what other data left there.
    """
    from biobert_scale.evaluation.baselines import run_baselines

    _print_counts(run_baselines(prepared, output, overwrite=overwrite))


def evaluate_finetune(
    *,
    prepared: Path,
    task: str,
    model: Path,
    output: Path,
    settings: Annotated[FinetuneConfig, tyro.conf.arg(name="")] = FinetuneConfig(),
    seed: int = 1,
    random_weights: bool = False,
    overwrite: bool = False,
) -> None:
    """Fine-tune a model on one benchmark, choose the epoch on dev, and score it once on test.

    Args:
        prepared: a directory that `evaluate prepare` wrote.
        task: BC5CDR-chem, BC5CDR-disease, NCBI-disease or HoC.
        model: a Hugging Face BERT directory.
        output: directory to write: metrics.json and predictions.tsv.
        settings: the budget.
        seed: keys the order, dropout and fresh weights.
        random_weights: start from random weights of the model's shape.
        overwrite: replace what other data or settings left there.
    """
    from biobert_scale.evaluation.finetune import finetune

    metrics = finetune(prepared, task, model, output, settings, seed=seed, random_weights=random_weights, overwrite=overwrite)
    print(f"{task}, {metrics['kind']}, seed {seed}: {metrics['score_name']} {metrics['score']:.2f}")


def evaluate_table(runs: Positional[Path], /) -> None:
    """Print the means over seeds of every finished run below a directory, and published scores for reference.

    Args:
        runs: directory that holds them, at any depth.
    """
    from biobert_scale.evaluation.table import render_table, score_table

    print(render_table(score_table(runs)))


def bench_corpus(*, raw: Path, output: Path, repeats: int = 5, jats_megabytes: float = 30, memory_gigabytes: float = 1) -> None:
    """Measure how fast raw XML is read, beside bare lxml and pubmed-parser, and write dated JSON and Markdown.

    Args:
        raw: directory with MEDLINE `*.xml.gz` files and PMC `*.tar.gz` packages, at any depth.
        output: directory of the results.
        repeats: turns of each contestant.
        jats_megabytes: size of the sample of articles that the JATS readers take turns on, in MB.
        memory_gigabytes: expanded size of the MEDLINE file whose reading's memory is measured, in GB; 0 leaves that out.
    """
    from biobert_scale.bench.corpus import bench_corpus

    print(bench_corpus(raw, output, repeats=repeats, jats_megabytes=jats_megabytes, memory_gigabytes=memory_gigabytes))


def report(run: Positional[Path], /, *, output: Path | None = None) -> None:
    """Write one self-contained HTML page about a finished demo or run.

    Args:
        run: directory with the stages' outputs, as `biobert-scale demo` arranges them.
        output: the page (default: report.html in that directory).
    """
    from biobert_scale.report import write_report

    print(write_report(run, output or run / "report.html"))


def _print_counts(manifest: object) -> None:
    from biobert_scale.files import Manifest

    assert isinstance(manifest, Manifest)
    for name, value in manifest.counts.items():
        print(f"{name}: {value}", file=sys.stdout)
    for reason, count in manifest.rejects.items():
        print(f"rejected, {reason}: {count}")
