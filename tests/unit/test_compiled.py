"""Where compiled code is kept."""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numba
import pytest

from biobert_scale import compiled
from biobert_scale.compiled import njit


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """numba finds no place; returns the directory for temporary files."""
    from numba.core import caching

    make = caching._CacheLocator.ensure_cache_path

    def refuse(self: caching._CacheLocator) -> None:
        if not self.get_cache_path().startswith(str(tmp_path)):
            raise PermissionError(errno.EROFS, "Read-only file system")
        make(self)

    monkeypatch.setattr(caching._SourceFileBackedLocatorMixin, "ensure_cache_path", refuse, raising=False)
    monkeypatch.setattr(compiled.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def twice(number: int) -> int:
    return 2 * number


@pytest.mark.fault("numba finds no place for its cache", "a directory of its own")
def test_without_a_place_of_numbas_the_cache_is_a_directory_of_its_own(nowhere: Path) -> None:
    with pytest.raises(RuntimeError, match="no locator"):
        numba.njit(cache=True)(twice)
    function = njit()(twice)
    assert function(21) == 42
    own = nowhere / f"biobert-scale-numba-{os.getuid()}"
    assert list(own.rglob("*.nbc")) and own.stat().st_mode & 0o777 == 0o700
    assert njit(nogil=True)(twice)(4) == 8


@pytest.mark.parametrize("way", ["a file", "open to all", "a link"])
@pytest.mark.fault("that directory is {way}", "not trusted; works without a cache")
def test_a_directory_that_others_can_write_to_is_not_trusted(nowhere: Path, way: str) -> None:
    own = nowhere / f"biobert-scale-numba-{os.getuid()}"
    if way == "a file":
        own.write_text("")
    elif way == "a link":
        (nowhere / "elsewhere").mkdir()
        own.symlink_to(nowhere / "elsewhere")
    else:
        own.mkdir()
        own.chmod(0o777)
    assert njit()(twice)(21) == 42
    assert not list(nowhere.rglob("*.nbc"))


@pytest.mark.fault("the disk of the cache is full", "works without a cache")
def test_a_full_disk_costs_the_cache_only(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from numba.core import caching

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    function = njit()(twice)
    assert (function(21), function(1.5)) == (42, 3.0)  # type: ignore[arg-type]


def load(path: Path) -> ModuleType:
    """A module by its file, as a new process would import it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A kernel in one file that takes what another file defines; returns their directory."""
    (tmp_path / "kernel_tables.py").write_text(
        "from typing import NamedTuple\n"
        "from biobert_scale.compiled import njit\n"
        "class Tables(NamedTuple):\n    low: int\n    high: int\n"
        "@njit()\ndef scaled(number):\n    return 10 * number\n"
    )
    (tmp_path / "kernel_user.py").write_text(
        "from biobert_scale.compiled import njit\n"
        "from kernel_tables import scaled\n"
        "@njit()\ndef difference(tables):\n    return scaled(tables.high - tables.low)\n"
    )
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in ("kernel_tables", "kernel_user"):
        sys.modules.pop(name, None)


def difference(directory: Path, *, name: str = "Tables") -> int:
    """10 * (7 - 2), where the sources are as they were written."""
    compiled._source_digest.cache_clear()
    tables, user = load(directory / "kernel_tables.py"), load(directory / "kernel_user.py")
    return user.difference(getattr(tables, name)(low=2, high=7))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("10 * number", "20 * number", 100),
        ("low: int\n    high: int", "high: int\n    low: int", 50),
    ],
    ids=["a function that is called", "the order of a tuple's fields"],
)
def test_a_change_in_another_file_is_compiled(
    two_files: Path, before: str, after: str, expected: int
) -> None:
    assert difference(two_files) == 50
    tables = two_files / "kernel_tables.py"
    tables.write_text(tables.read_text().replace(before, after))
    assert difference(two_files) == expected


def test_unchanged_sources_are_compiled_once(two_files: Path) -> None:
    difference(two_files)
    written = {path: path.stat().st_mtime_ns for path in two_files.rglob("*.nb?")}
    assert len(written) == 4
    difference(two_files)
    assert {path: path.stat().st_mtime_ns for path in two_files.rglob("*.nb?")} == written


def test_a_cache_that_names_a_tuple_of_another_version_is_replaced(two_files: Path) -> None:
    difference(two_files)
    tables = two_files / "kernel_tables.py"
    tables.write_text(tables.read_text().replace("Tables", "Bounds"))
    assert difference(two_files, name="Bounds") == 50


@pytest.mark.parametrize("kind", ["*.nbi", "*.nbc"])
@pytest.mark.parametrize("rest", [0, 20])
@pytest.mark.fault("files of numba's cache are cut off", "compiled again")
def test_a_cut_off_cache_is_replaced(two_files: Path, kind: str, rest: int) -> None:
    difference(two_files)
    paths = list(two_files.rglob(kind))
    assert len(paths) == 2
    for path in paths:
        path.write_bytes(path.read_bytes()[:rest])
    assert difference(two_files) == 50
    assert all(path.stat().st_size > rest for path in paths)
