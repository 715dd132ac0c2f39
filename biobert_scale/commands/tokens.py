"""The options of `tokens ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from biobert_scale.commands.common import cluster, report_stage
from biobert_scale.config import DataConfig, SlurmConfig, TokensConfig, VocabularyConfig
from biobert_scale.display import show
from biobert_scale.ranges import within


def tokens_vocabulary(
    *,
    corpus: Path,
    output: Path,
    settings: Annotated[VocabularyConfig, tyro.conf.arg(name="")] = VocabularyConfig(),
    vocabulary: Path | None = None,
    compare: tyro.conf.UseAppendAction[tuple[Path, ...]] = (),
    overwrite: bool = False,
) -> None:
    """Train a WordPiece vocabulary on a corpus, or take an existing one.

    Writes a tokenizer directory that `AutoTokenizer.from_pretrained` opens, and reports what it makes of the
    corpus.

    Args:
        corpus: a finished corpus.
        output: directory to write. Where it is finished already, nothing is written, and the table is printed
            again.
        settings: size, case, and the text to train on.
        vocabulary: take this vocab.txt, or the one in this model directory, instead of training one.
        compare: print a column for this vocab.txt or tokenizer directory beside it; may be repeated. Changes
            nothing in the output.
        overwrite: replace what other inputs or settings wrote there.
    """
    from biobert_scale.files import read_json
    from biobert_scale.tokens.vocabulary import REPORT, build_vocabulary, compare_vocabularies
    from biobert_scale.tokens.vocabulary_file import read_entries
    from biobert_scale.tokens.vocabulary_report import render

    for path in compare:
        read_entries(path)  # a mistake here is reported before the work, not after it
    manifest = build_vocabulary(corpus, output, settings, vocabulary=vocabulary, overwrite=overwrite)
    report_stage(manifest, output)
    show("", render(compare_vocabularies(corpus, output, compare) if compare else read_json(output / REPORT)))


@within(workers="[1, 10000]")
def tokens_build(
    *,
    corpus: Path,
    vocabulary: Path,
    output: Path,
    settings: Annotated[TokensConfig, tyro.conf.arg(name="")] = TokensConfig(),
    executor: Literal["local", "slurm"] = "local",
    workers: int = 1,
    slurm: Annotated[SlurmConfig, tyro.conf.arg(name="")] = SlurmConfig(),
    overwrite: bool = False,
) -> None:
    """Make token shards of documents.

    Splits documents into sentences and word pieces, and writes Arrow shards that `datasets.load_from_disk`
    opens.

    Args:
        corpus: a finished corpus.
        vocabulary: a finished vocabulary.
        output: directory to write.
        settings: held-out share.
        executor: this machine's processes, or array jobs of a SLURM cluster; the output does not depend on
            it.
        workers: local: processes at once, each on one core.
        slurm: the array jobs.
        overwrite: replace what other inputs or settings wrote there.
    """
    from biobert_scale.tokens.build import build_tokens

    slurm_settings = cluster(executor, slurm)
    manifest = build_tokens(
        corpus, vocabulary, output, settings, workers=workers, slurm=slurm_settings, overwrite=overwrite
    )
    report_stage(manifest, output)


@within(samples="[0, 1e6]", seed="[0, 9e18]", pretraining_samples="[0, 1e6]")
def tokens_inspect(
    tokens: Positional[Path],
    /,
    *,
    output: Path | None = None,
    samples: int = 3,
    seed: int = 1,
    verify: bool = False,
    pretraining_samples: int = 0,
    show_private: bool = False,
    settings: Annotated[DataConfig, tyro.conf.arg(name="")] = DataConfig(),
) -> None:
    """Show token shards: counts, lengths, the most frequent pieces, a few documents by sentences.

    Args:
        tokens: finished token shards.
        output: directory to write pictures of it to: lengths.png and pieces.png.
        samples: documents to show.
        seed: which ones.
        verify: first compare every file with its checksum in the manifest.
        pretraining_samples: also show this many of the held-out pairs as training gets them, masks included,
            and their statistics.
        show_private: also show text of private sources.
        settings: how these pairs are packed and masked; with --sources what an epoch has of each source.
    """
    from biobert_scale.tokens.build import verify_tokens
    from biobert_scale.tokens.sources import render_sources
    from biobert_scale.tokens.token_statistics import draw, private_sources, render, summarise

    by_source = render_sources(tokens, settings.sources)
    if verify:
        verify_tokens(tokens)
        show("every file is as it was written")
    summary = summarise(tokens, samples=samples, seed=seed, show_private=show_private)
    show(render(summary))
    if by_source:
        show("", by_source)
    if pretraining_samples:
        from biobert_scale.data.inspect import render_samples

        # A pair may hold text of any source.
        shown = pretraining_samples if show_private or not private_sources(summary.manifest) else 0
        show("", render_samples(tokens, settings, seed=seed, samples=shown))
    if output is not None:
        show(*map(str, draw(summary, output)))
