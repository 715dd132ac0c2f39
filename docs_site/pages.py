"""Which pages the site has, and where each comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from docs_site import api, commands, settings, tasks

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

ELSEWHERE = {
    "README.md": "index.md",
    "launch/README.md": "how-to/launch.md",
    "ds_configs/README.md": "how-to/deepspeed.md",
    "benchmarks/README.md": "explanation/benchmarks.md",
    "CONTRIBUTING.md": "explanation/contributing.md",
    "tests/README.md": "explanation/tests.md",
    "CHANGELOG.md": "explanation/changelog.md",
}
"""Pages that are not in `docs/`, and where the site has them."""


def decisions() -> str:
    """The list of decisions."""
    titles = {
        path.name: path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        for path in sorted((DOCS / "explanation" / "decisions").glob("*.md"))
    }
    rows = [f"- [{title}]({name})" for name, title in titles.items()]
    return "\n".join(
        ["# Decisions", "", "What was decided, why, and what was measured and rejected.", "", *rows, ""]
    )


GENERATED: dict[str, Callable[[], str]] = {
    "reference/settings.md": settings.page,
    "reference/commands.md": commands.page,
    "reference/api.md": api.page,
    "reference/tasks.md": tasks.page,
    "explanation/decisions/index.md": decisions,
}
"""Pages that are made from the code, and no file of the repository."""

SECTIONS = {
    "Tutorials": ("tutorials", ("tag-text.md", "fine-tune.md", "pre-train.md")),
    "How-to": (
        "how-to",
        ("index.md", "install.md", "pretrain.md", "corpus.md", "full-texts.md", "tokens.md"),
    ),
    "Reference": ("reference", ("settings.md", "commands.md", "python.md", "api.md", "tasks.md")),
    "Explanation": ("explanation", ("index.md", "architecture.md", "performance.md", "scale.md")),
    "Decisions": ("explanation/decisions", ("index.md",)),
}
"""The sections of the site: a directory, and its first pages in their order; the others follow by name."""


def navigation() -> list[dict[str, Any]]:
    """Every page, in the form of mkdocs' `nav`."""
    pages = [*GENERATED, *ELSEWHERE.values(), *(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))]
    found: dict[str, Any] = {}
    for title, (directory, first) in SECTIONS.items():
        own = {page for page in pages if page.rpartition("/")[0] == directory}
        ordered = [f"{directory}/{name}" for name in first]
        assert own >= set(ordered), f"no page {set(ordered) - own}"
        found[title] = [*ordered, *sorted(own - set(ordered))]
    found["Explanation"].append({"Decisions": found.pop("Decisions")})
    return [{"Home": "index.md"}, *({title: inside} for title, inside in found.items())]
