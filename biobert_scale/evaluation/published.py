"""Published test scores, as a reference beside one's own: each with the protocol it was obtained under, and
its source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PublishedScores:
    """Test F1 in percent by task: entity F1, and for HoC the measure that `protocol` names."""

    model: str
    scores: dict[str, float]
    protocol: str
    source: str


_BLURB_PROTOCOL = "BLURB: trained on train, chosen on dev, mean of five seeds; HoC micro-F1"
_BLURB_SOURCE = (
    'Gu et al. 2021, "Domain-Specific Language Model Pretraining for Biomedical NLP", Tables 6 and 10'
)
_TASKS = ("BC5CDR-chem", "BC5CDR-disease", "NCBI-disease", "HoC")


def _blurb(model: str, *scores: float, source: str = _BLURB_SOURCE) -> PublishedScores:
    return PublishedScores(
        model=model, scores=dict(zip(_TASKS, scores, strict=True)), protocol=_BLURB_PROTOCOL, source=source
    )


REFERENCES = (
    _blurb("BERT-base uncased", 89.25, 81.44, 85.67, 80.20),
    _blurb("BioBERT-base v1.1", 92.85, 84.70, 89.13, 81.54),
    _blurb("SciBERT uncased", 92.49, 84.54, 88.10, 80.66),
    _blurb("ClinicalBERT", 90.80, 83.04, 86.32, 80.74),
    _blurb("BlueBERT", 91.19, 83.69, 88.04, 80.48),
    _blurb("PubMedBERT (abstracts)", 93.33, 85.62, 87.82, 82.32),
    _blurb(
        "BioLinkBERT-base",
        93.75,
        86.10,
        88.18,
        84.35,
        source="as listed by the authors of SciFive and BioT5x",
    ),
)
REFERENCE_PROTOCOLS = ("blurb", "hoc-blurb")
"""What they are comparable with."""

OTHER_PROTOCOLS = (
    PublishedScores(
        model="BioBERT-base v1.1",
        scores={"BC5CDR-chem": 93.47, "BC5CDR-disease": 87.15, "NCBI-disease": 89.71},
        protocol="trained on train and dev, best runs",
        source=(
            'Lee et al. 2020, "BioBERT: a pre-trained biomedical language representation model for biomedical'
            ' text mining"'
        ),
    ),
    PublishedScores(
        model="BlueBERT-large",
        scores={"BC5CDR-chem": 91.7, "BC5CDR-disease": 82.9, "HoC-BLUE": 87.3},
        protocol="BLUE; HoC by example-based F1",
        source='Peng et al. 2019, "Transfer Learning in Biomedical Natural Language Processing"',
    ),
)
"""Not comparable with the protocols here: never to be put in one column with them."""
