"""The micro sign and the Greek letter are one letter, in the corpus and in what is compared with it."""

from __future__ import annotations

import pytest

from biobert_scale.corpus.cleaning.clean import clean_text
from biobert_scale.corpus.selection.decontaminate import BenchmarkDocument, Decontaminator

MICRO, MU = "\u00b5", "\u03bc"


@pytest.mark.parametrize("letter", [MICRO, MU])
def test_both_are_written_alike(letter: str) -> None:
    assert clean_text(f"5 {letter}g of {letter}-opioid") == f"5 {MU}g of {MU}-opioid"


def test_a_benchmark_document_is_recognised_in_either_spelling() -> None:
    words = [f"{number} {MICRO}g" for number in range(20)]
    document = BenchmarkDocument(benchmark="B", split="test", pmid="", text=" ".join(words))
    found = Decontaminator([document], minimum_share=1.0).match(pmid="", text=clean_text(document.text))
    assert found is not None and found.share == 1.0
