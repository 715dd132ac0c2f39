"""An installation holds what a checkout holds."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from biobert_scale import __version__

ROOT = Path(__file__).parents[2]
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
MOVED = set(SETUP["package-dir"])


def test_every_package_is_installed() -> None:
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "biobert_scale").rglob("*.py")}
    assert set(SETUP["packages"]) - MOVED == there


def test_every_other_file_is_installed() -> None:
    files = [
        path
        for path in (ROOT / "biobert_scale").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".nbi", ".nbc")
    ]
    assert files
    for path in files:
        package = next(parent for parent in path.parents if (parent / "__init__.py").is_file())
        patterns = SETUP["package-data"].get(".".join(package.relative_to(ROOT).parts), [])
        name = str(path.relative_to(package))
        assert any(fnmatch(name, pattern) for pattern in patterns), f"{path} is in no installation"


def test_citation_and_changelog_name_the_newest_release() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    cited = [re.search(rf"^{key}: (\S+)$", citation, re.M) for key in ("version", "date-released")]
    version, date = (found.group(1) for found in cited if found)
    releases = re.findall(r"^## \[(.+)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert version == __version__ and releases[0] == (version, date)
