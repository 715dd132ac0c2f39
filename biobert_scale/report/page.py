"""Puts the page together and writes it."""

from __future__ import annotations

import datetime
import importlib.resources
import string
from pathlib import Path

from biobert_scale import __version__
from biobert_scale.files import write_atomically
from biobert_scale.report import sections
from biobert_scale.report.markup import element, join, markup
from biobert_scale.report.score_section import scores
from biobert_scale.report.sources import Sources, read_sources

_PARTS = (
    ("corpus", "Corpus", sections.corpus),
    ("tokens", "Tokens", sections.tokens),
    ("pretraining", "Pre-training", sections.pretraining),
    ("interruptions", "Stopped and resumed", sections.interruptions),
    ("scores", "Scores", scores),
    ("configuration", "Configuration", sections.configuration),
    ("environment", "Environment", sections.environment),
)


def write_report(run: Path, output: Path) -> Path:
    """Write one self-contained HTML page about a demonstration's directory, or about a pre-training run's.

    The page needs no network and no script. What has not been done yet is said so.

    Args:
        run: the directory: any of raw, corpus, vocabulary, tokens, pretraining, export, evaluation and
            environment.json in it.
        output: the page's path.

    Returns:
        `output`.

    Raises:
        UserError: `run` is missing or holds none of these, or one of their files is damaged.
    """
    write_atomically(output, render(read_sources(run), datetime.date.today()))
    return output


def render(sources: Sources, date: datetime.date) -> str:
    """The page as HTML text."""
    template = (importlib.resources.files("biobert_scale.report") / "page.html").read_text(encoding="utf-8")
    name = sources.setting("name") or sources.name
    links = join(element("a", title, href=f"#{identifier}-section") for identifier, title, _ in _PARTS)
    body = join(
        [sections.banner(sources), sections.summary(sources), *(part(sources) for _, _, part in _PARTS)]
    )
    return string.Template(template).substitute(
        title=markup(f"{name}: biobert_scale report"),
        name=markup(name),
        description=markup(sources.setting("description") or ""),
        date=f"{date.day} {date:%B %Y}",
        version=markup(__version__),
        links=links,
        body=body,
    )
