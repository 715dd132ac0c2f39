"""Published test scores, as a reference beside one's own: each with the protocol it was obtained under, and
its source. They are in `published.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, kw_only=True)
class PublishedScores:
    """Test F1 in percent by task: entity F1, and for HoC the measure that `protocol` names."""

    model: str
    scores: dict[str, float]
    protocol: str
    source: str


_FOUND = tomllib.loads((resources.files("biobert_scale.evaluation") / "published.toml").read_text("utf-8"))
REFERENCES = tuple(PublishedScores(**row) for row in _FOUND["references"])
REFERENCE_PROTOCOLS = ("blurb", "hoc-blurb")
"""What they are comparable with."""
OTHER_PROTOCOLS = tuple(PublishedScores(**row) for row in _FOUND["other_protocols"])
"""Not comparable with the protocols here: never to be put in one column with them."""
