"""A measurement on disk: what was found, the page that tells it, and the picture the page shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from biobert_scale.config import Config
from biobert_scale.files import write_atomically, write_json
from biobert_scale.recipes import recipe_names


def write_result(
    output: Path, stem: str, result: dict[str, Any], page: str, figure: bytes | None = None
) -> None:
    """Write `STEM.json`, `STEM.md` and, where there is a figure (PNG), `STEM.png`; the page last."""
    write_json(output / f"{stem}.json", result)
    if figure is not None:
        write_atomically(output / f"{stem}.png", figure)
    write_atomically(output / f"{stem}.md", page)


def recipe_argument(config: Config) -> str:
    """How a result's command names a recipe: a shipped one by its name, another by its file's, which is
    expected to be the same."""
    return config.name if config.name in recipe_names() else f"{config.name}.toml"
