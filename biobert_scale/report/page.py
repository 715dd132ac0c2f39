"""Writes the page about a run."""

from __future__ import annotations

import datetime
from pathlib import Path

from biobert_scale.files import write_atomically
from biobert_scale.report import by_source, figures, score_section, sections
from biobert_scale.report.sources import Sources, read_sources, toml_text
from biobert_scale.report.templates import render_page


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
    name = sources.setting("name") or sources.name
    return render_page(
        "report.html",
        date=date,
        title=f"{name}: biobert_scale report",
        name=name,
        description=sources.setting("description") or "",
        run=sources,
        parts=sections,
        score_parts=score_section,
        figures=figures,
        by_source=by_source,
        toml=toml_text(sources.config),
    )
