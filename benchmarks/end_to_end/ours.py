"""This package's stages before training, each run in a process of its own for the end-to-end benchmark."""

from __future__ import annotations

from pathlib import Path

from benchmarks.child import answer
from biobert_scale.recipes import load_config


def run_stage(*, stage: str, config: str, raw: str, place: str) -> None:
    """Run one stage with a recipe's settings and one worker.

    Args:
        stage: `corpus`, `vocabulary` or `tokens`; also where below `place` its output goes.
        config: the recipe's file.
    """
    recipe, directory = load_config(config), Path(place)
    output = directory / stage
    # Imported here: a stage's memory is its own.
    if stage == "corpus":
        from biobert_scale.corpus.build import build_corpus

        build_corpus(Path(raw), output, recipe.corpus, workers=1)
    elif stage == "vocabulary":
        from biobert_scale.tokens.vocabulary import build_vocabulary

        build_vocabulary(directory / "corpus", output, recipe.vocabulary)
    else:
        from biobert_scale.tokens.build import build_tokens

        build_tokens(directory / "corpus", directory / "vocabulary", output, recipe.tokens, workers=1)


if __name__ == "__main__":
    answer(run_stage)
