from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.account import ROOT

PAGES = sorted((ROOT / "docs" / "explanation" / "decisions").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_decision_has_the_same_headings(page: Path) -> None:
    title, *headings = re.findall(r"^#+ .+$", page.read_text(), re.M)
    forms = ("## Context", "## Decision", "## Measured", "## Rejected")
    assert title.startswith(f"# {page.stem[:3]}: ") and headings[:2] == ["## Context", "## Decision"]
    assert headings == [form for form in forms if form in headings]
