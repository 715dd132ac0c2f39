"""Where compiled code is kept."""

from __future__ import annotations

import errno
import os
from pathlib import Path

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
    assert (function(21), function(1.5)) == (42, 3.0)
