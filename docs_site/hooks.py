"""Hooks of mkdocs (https://www.mkdocs.org/user-guide/configuration/#hooks)."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parents[1]))  # a hook is loaded as a file of its own

from docs_site.pages import ELSEWHERE, GENERATED, ROOT, navigation

HERE = {page: source for source, page in ELSEWHERE.items()}


def on_config(config: Any) -> Any:
    config.nav = navigation()
    return config


def on_files(files: Any, config: Any) -> Any:
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for page, make in GENERATED.items():
        files.append(File.generated(config, page, content=make()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links lead to pages of the site where it has them, and into the repository where it has not."""
    source = HERE.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def leads_to(match: re.Match[str]) -> str:
        target, sign, heading = match[1].partition("#")
        if not target or re.match("[a-z]+:", target):
            return match[0]
        path = os.path.normpath(os.path.join(os.path.dirname(source), target))
        inside = ELSEWHERE.get(path, path.removeprefix("docs/"))
        if path in ELSEWHERE or inside in GENERATED or (path != inside and (ROOT / path).is_file()):
            where = os.path.relpath(inside, os.path.dirname(page.file.src_uri) or ".")
        elif f"{inside}/index.md" in GENERATED:
            where = os.path.relpath(f"{inside}/index.md", os.path.dirname(page.file.src_uri) or ".")
        else:
            kind = "tree" if (ROOT / path).is_dir() else "blob"
            where = f"{config.extra['repository']}/{kind}/main/{path}"
        return f"]({where}{sign}{heading})"

    return re.sub(r"\]\(([^)\s]+)\)", leads_to, markdown)
