"""The options of `tokens ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from biobert_scale.commands.common import cluster, print_counts
from biobert_scale.config import (
    SlurmConfig,
    TokensConfig,
    VocabularyConfig,
)


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

    print_counts(build_vocabulary(corpus, output, settings, vocabulary=vocabulary, overwrite=overwrite))


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
    """Split documents into sentences and word pieces, and write Arrow shards that `datasets.load_from_disk` opens.

    Args:
        corpus: a finished corpus.
        vocabulary: a finished vocabulary.
        output: directory to write.
        settings: held-out share.
        executor: this machine's processes, or array jobs of a SLURM cluster; the output does not depend on it.
        workers: local: processes at once, each on one core.
        slurm: the array jobs.
        overwrite: replace what other inputs or settings wrote there.
    """
    from biobert_scale.tokens.build import build_tokens

    print_counts(build_tokens(corpus, vocabulary, output, settings, workers=workers, slurm=cluster(executor, slurm), overwrite=overwrite))


def tokens_inspect(
    tokens: Positional[Path], /, *, output: Path | None = None, samples: int = 3, seed: int = 1, verify: bool = False
) -> None:
    """Tell what token shards hold: counts, lengths, the most frequent pieces, and a few documents sentence by sentence.

    Args:
        tokens: finished token shards.
        output: directory to write pictures of it to: lengths.png and pieces.png.
        samples: documents to show.
        seed: which ones.
        verify: first compare every file with its checksum in the manifest.
    """
    from biobert_scale.tokens.build import verify_tokens
    from biobert_scale.tokens.inspect import draw, render, summarise

    if verify:
        verify_tokens(tokens)
        print("every file is as it was written")
    summary = summarise(tokens, samples=samples, seed=seed)
    print(render(summary))
    if output is not None:
        for path in draw(summary, output):
            print(path)
