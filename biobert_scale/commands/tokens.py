"""The options of `tokens ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from biobert_scale.commands.common import cluster, print_counts
from biobert_scale.config import (
    SlurmConfig,
    TokensConfig,
    VocabularyConfig,
)


def tokens_vocabulary(
    *,
    corpus: Path,
    output: Path,
    settings: Annotated[VocabularyConfig, tyro.conf.arg(name="")] = VocabularyConfig(),
    vocabulary: Path | None = None,
    compare: tyro.conf.UseAppendAction[tuple[Path, ...]] = (),
    overwrite: bool = False,
) -> None:
    """Make a tokenizer directory that `AutoTokenizer.from_pretrained` opens, and tell what it makes of the corpus.

    Args:
        corpus: a finished corpus.
        output: directory to write. Where it is finished already, nothing is written, and the table is printed again.
        settings: size, case, and the text to train on.
        vocabulary: take this vocab.txt, or the one in this model directory, instead of training one.
        compare: print a column for this vocab.txt or tokenizer directory beside it; may be repeated. Changes nothing in the output.
        overwrite: replace what other inputs or settings wrote there.
    """
    from biobert_scale.files import read_json
    from biobert_scale.tokens.vocabulary import REPORT, build_vocabulary, compare_vocabularies
    from biobert_scale.tokens.vocabulary_file import read_entries
    from biobert_scale.tokens.vocabulary_report import render

    for path in compare:
        read_entries(path)  # a mistake here is told before the work, not after it
    print_counts(build_vocabulary(corpus, output, settings, vocabulary=vocabulary, overwrite=overwrite))
    print()
    print(render(compare_vocabularies(corpus, output, compare) if compare else read_json(output / REPORT)))


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
        settings: held-out share and shard size.
        executor: this machine's processes, or array jobs of a SLURM cluster; the output does not depend on it.
        workers: local: processes at once.
        slurm: the array jobs.
        overwrite: replace what other inputs or settings wrote there.
    """
    from biobert_scale.tokens.build import build_tokens

    print_counts(build_tokens(corpus, vocabulary, output, settings, workers=workers, slurm=cluster(executor, slurm), overwrite=overwrite))
