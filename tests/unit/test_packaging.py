"""An installation holds what a checkout holds, needs what it says, and knows its version."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from biobert_scale import __version__
from biobert_scale.files import write_json
from tests.docs.account import RECIPE, Account, clone

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUP = PROJECT["tool"]["setuptools"]
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
    assert PROJECT["tool"]["setuptools_scm"]["fallback_version"] == version


def test_the_newest_tag_and_the_installed_version_are_the_release() -> None:
    command = ["git", "describe", "--tags", "--abbrev=0", "--match=v*"]
    tag = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    assert tag in ("", f"v{__version__}"), "tag, `__version__`, CHANGELOG.md and CITATION.cff belong together"
    assert Version(importlib.metadata.version("biobert_scale")).base_version == __version__


def test_every_import_is_declared() -> None:
    """Also what another dependency happens to bring; a tracker is installed by who chooses it."""
    extras = PROJECT["project"]["optional-dependencies"]
    lines = [*PROJECT["project"]["dependencies"], *extras["serve"]]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    installed = importlib.metadata.packages_distributions()
    imported: dict[str, str] = {}
    for path in (ROOT / "biobert_scale").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.partition(".")[0]: path.name for name in names}
    others = {name: path for name, path in imported.items() if name not in sys.stdlib_module_names}
    undeclared = {
        name: path
        for name, path in others.items()
        if name not in ("biobert_scale", "mlflow", "trackio")
        and not declared & {canonicalize_name(found) for found in installed.get(name, [name])}
    }
    assert not undeclared


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_tagged_repository_becomes_a_package_that_makes_the_demo_anywhere(tmp_path: Path) -> None:
    """The wheel is built of the sdist, without the repository's history, and installed where no checkout is.
    What it needs is taken from here; `tests/containers` installs that too."""
    source = clone(tmp_path / "source").directory
    commit = "-c user.name=x -c user.email=x@example.org commit --quiet --message x --allow-empty".split()
    for words in (["init", "--quiet"], ["add", "--all"], commit, ["tag", f"v{__version__}"]):
        subprocess.run(["git", *words], cwd=source, check=True)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    names = sorted(path.name for path in (tmp_path / "dist").iterdir())
    assert names == [f"biobert_scale-{__version__}-py3-none-any.whl", f"biobert_scale-{__version__}.tar.gz"]
    subprocess.run(["git", *commit], cwd=source, check=True)
    scm = [sys.executable, "-m", "setuptools_scm"]
    later = subprocess.run(scm, cwd=source, check=True, capture_output=True, text=True).stdout.strip()
    assert re.fullmatch(re.escape(__version__) + r"\.post1\.dev1\+g[0-9a-f]+", later)

    elsewhere = Account(directory=tmp_path / "elsewhere")
    elsewhere.directory.mkdir()
    write_json(elsewhere.file("recipe.json"), RECIPE)
    values = elsewhere.values()
    printed = elsewhere.run(
        f"{values['python']} -m venv env\n"
        f"env/bin/pip install --quiet --no-index --no-deps {tmp_path / 'dist' / names[0]}\n"
        f"echo {values['packages']} > env/lib/python{values['version']}/site-packages/here.pth\n"
        "biobert-scale --version\nbiobert-scale demo --recipe recipe.json --output demo"
    )
    assert (
        printed.startswith(f"biobert-scale {__version__}\n") and elsewhere.file("demo/report.html").exists()
    )
