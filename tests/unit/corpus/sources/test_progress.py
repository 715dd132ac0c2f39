"""A long download says how far it is."""

from __future__ import annotations

import logging

import pytest

from biobert_scale.corpus.sources import progress
from biobert_scale.corpus.sources.progress import Progress


def lines(caplog: pytest.LogCaptureFixture, total: int | None, articles: int) -> list[str]:
    with caplog.at_level(logging.INFO), Progress(total) as shown:
        for _ in range(articles):
            shown.add(1_500_000, waits=3)
    return [record.getMessage() for record in caplog.records]


def test_a_line_has_articles_bytes_and_the_time_to_go(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS", -1.0)
    found = lines(caplog, 8, 2)
    assert (
        found[1].startswith("2 of 8 articles, 3.00MB, ")
        and " to go; waited for the server 3 times" in found[1]
    )


def test_without_a_total_there_is_no_time_to_go(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS", -1.0)
    found = lines(caplog, None, 1)
    assert found[0].startswith("1 articles, 1.50MB, ") and "to go" not in found[0]


def test_a_line_is_not_written_for_each_article(caplog: pytest.LogCaptureFixture) -> None:
    assert lines(caplog, 8, 8) == []
