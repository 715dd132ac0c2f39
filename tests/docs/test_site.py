"""The documentation site: it builds without a warning, fetches nothing from the network, and its reference
has everything that the code has."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

import biobert_scale
from biobert_scale.commands import COMMANDS
from biobert_scale.config import Config
from biobert_scale.evaluation.tasks.spec import known_tasks
from docs_site import settings, tasks
from docs_site.pages import DOCS, ELSEWHERE, GENERATED, navigation
from docs_site.text import field_texts
from tests.docs.account import ROOT
from tests.factories import CHROMIUM


def sections(section: type[Any]) -> Iterator[type[Any]]:
    yield section
    for hint in get_type_hints(section).values():
        for one in (hint, *get_args(hint)):
            if is_dataclass(one):
                yield from sections(one)  # type: ignore[arg-type]


def test_every_setting_is_described() -> None:
    page = settings.page()
    for section in sections(Config):
        assert section.__doc__ and not section.__doc__.startswith(f"{section.__name__}("), section
        texts = field_texts(section)
        for field in fields(section):
            if not is_dataclass(get_type_hints(section)[field.name]):
                assert texts.get(field.name), f"{section.__name__}.{field.name} has no docstring"
                assert f"| `{field.name}` |" in page and texts[field.name].replace("|", "\\|") in page


def test_a_setting_is_described_as_a_recipe_writes_it() -> None:
    lines = settings.page().splitlines()
    assert "## training.optimizer" in lines
    assert (
        "| `betas` | 2 x number, [0, 1) | `[0.9, 0.999]` | Decay of the two moments at each step. |" in lines
    )
    (decay,) = (line for line in lines if line.startswith("| `decay` |"))
    assert '`"linear"` or `"cosine"` or' in decay and '| `"linear"` |' in decay


def test_every_task_is_described() -> None:
    page = tasks.page()
    for task in known_tasks().values():
        assert f"\n## {task.name}\n" in page
        assert all(score.source in page for score in task.scores)


def test_every_page_is_in_the_navigation() -> None:
    def pages(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for one in entry.values() if isinstance(entry, dict) else entry:
                yield from pages(one)

    found = sorted(pages(navigation()))
    written = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")]
    assert found == sorted([*written, *GENERATED, *ELSEWHERE.values()])


class Fetched(HTMLParser):
    """What a page makes a browser fetch: of links only those that are no place to go to."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = {"src", "srcset", "data", "poster"} | ({"href"} if tag in ("link", "use", "image") else set())
        self.addresses += [value for name, value in attributes if name in names and value]


def fetched(page: Path) -> list[str]:
    parser = Fetched()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser.addresses


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir"]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # the theme's notice of its successor
    built = subprocess.run([*command, str(directory)], cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return directory


@pytest.mark.slow
def test_the_site_is_whole_and_fetches_nothing(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        for address in fetched(page):
            assert not re.match(r"[a-z]+:|//", address) or address.startswith("data:"), f"{page}: {address}"
            local = (page.parent / address.partition("#")[0].partition("?")[0]).resolve()
            assert page.name == "404.html" or local.exists(), f"{page}: {address}"
        assert (
            'class="mermaid"' not in page.read_text() and 'data-md-component="source"' not in page.read_text()
        )
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\(\s*[\"']?(https?:)?//", sheet.read_text()), sheet
    commands = (site / "reference" / "commands.html").read_text()
    assert all(f"usage: biobert-scale {name} " in commands for name in COMMANDS)
    api = (site / "reference" / "api.html").read_text()
    assert all(f'id="{name.lower()}"' in api for name in biobert_scale.__all__ if not name.startswith("_"))


def opened(address: str, directory: Path) -> tuple[str, set[str]]:
    """A page as a browser has made it, and what it asked the network for; not what the browser asks for
    itself."""
    log = directory / "net.json"
    options = "headless no-sandbox disable-gpu no-first-run disable-background-networking disable-sync"
    command = [str(CHROMIUM), *(f"--{option}" for option in options.split())]
    command += [f"--user-data-dir={directory / 'profile'}", f"--log-net-log={log}"]
    command += ["--virtual-time-budget=20000", "--dump-dom", address]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=500).stdout
    asked = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    own = "not an origin"
    return shown, {one["url"] for one in asked if "url" in one and one.get("initiator", own) != own}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH to open the pages")
def test_a_browser_asks_the_network_for_nothing_and_the_search_works_on_files(
    site: Path, tmp_path: Path
) -> None:
    outside = "http://127.0.0.1:9/picture.png"
    (tmp_path / "page.html").write_text(f'<img src="{outside}">')
    assert opened((tmp_path / "page.html").as_uri(), tmp_path)[1] == {outside}
    shown, asked = opened((site / "index.html").as_uri() + "?q=near+duplicates", tmp_path)
    assert "md-search-result__item" in shown
    assert not {address for address in asked if not address.startswith(("file:", "data:", "blob:"))}
