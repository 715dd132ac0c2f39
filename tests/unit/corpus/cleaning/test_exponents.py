"""One rule for superscripts in both readers: an exponent keeps its number what it is."""

from __future__ import annotations

import io

import pytest

from biobert_scale.corpus.readers.jats import read_jats
from biobert_scale.corpus.readers.medline import read_medline

CASES = [
    ("7 × 10<sup>5</sup> cells", "7 × 10^5 cells"),
    ("7x10<sup>5</sup> cells", "7x10^5 cells"),
    ("from 10<sup>3</sup> to 10<sup>8</sup>", "from 10^3 to 10^8"),
    ("10<sup>3</sup>–10<sup>8</sup> CFU", "10^3–10^8 CFU"),
    ("10<sup>−4</sup> and 10<sup>-4</sup> and 10<sup>– 4</sup> M", "10^-4 and 10^-4 and 10^-4 M"),
    ("10 <sup>6</sup> cells", "10^6 cells"),
    ("10<sup>5.5</sup> doses", "10^5.5 doses"),
    ("4.10<sup>6</sup> CFU", "4.10^6 CFU"),
    ("a 2<sup>3</sup> design, 2<sup>10</sup> genomes", "a 2^3 design, 2^10 genomes"),
    ("10<sup>6</sup>/mL (10<sup>7</sup>)", "10^6/mL (10^7)"),
    ("Mg<sup>2+</sup>, m<sup>2</sup>, kg<sup>−1</sup>", "Mg2+, m2, kg−1"),
    ("<sup>14</sup>C and the 2<sup>nd</sup> and 30<sup>th</sup>", "14C and the 2nd and 30th"),
    ("Nrf2<sup>−/−</sup> mice, 5<sup>a</sup>", "Nrf2−/− mice, 5a"),
    ("CD8<sup>+</sup> and IL-10<sup>5</sup>", "CD8+ and IL-105"),
    ("in 2009<sup>7</sup> it was", "in 2009 it was"),
    ("of 35<sup>7,8</sup> rats", "of 35 rats"),
    ("35<sup>0</sup> C", "35° C"),
]


@pytest.mark.parametrize(("markup", "text"), CASES)
def test_full_texts(markup: str, text: str) -> None:
    content = f"<article><body><p>So {markup} it is.</p></body></article>".encode()
    assert read_jats(content).body == (f"So {text} it is.",)


@pytest.mark.parametrize(("markup", "text"), CASES)
def test_citations_in_medline(markup: str, text: str) -> None:
    content = (
        "<PubmedArticleSet><MedlineCitation><PMID>1</PMID><Article><Abstract>"
        f"<AbstractText>So {markup} it is.</AbstractText>"
        "</Abstract></Article></MedlineCitation></PubmedArticleSet>"
    )
    (record,) = read_medline(io.BytesIO(content.encode()))
    assert record.abstract == (f"So {text} it is.",)
