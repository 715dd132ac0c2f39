from __future__ import annotations

import errno
import pickle
from pathlib import Path

import pytest

from biobert_scale.errors import RunFailed, from_os_error
from biobert_scale.files import files_below, write_atomically


@pytest.mark.fault("the write of a file fails", "its old content stays")
def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(TypeError):
        write_atomically(path, 3)  # type: ignore[arg-type]
    assert path.read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.fault("the disk of an output is full", "one line with the remedy, exit code 1")
def test_a_full_disk_is_told_in_one_line_and_is_no_mistake_of_the_user() -> None:
    error = from_os_error(OSError(errno.ENOSPC, "No space left on device", "out/part-00000.parquet"))
    assert isinstance(error, RunFailed) and error.exit_code == 1
    assert "part-00000.parquet" in str(error) and "free some space" in str(error)


def test_errors_survive_the_way_back_from_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(RunFailed("what", where="where", remedy="remedy")))
    assert isinstance(error, RunFailed) and str(error) == "what: where; remedy"


def test_files_behind_links_are_found_once(tmp_path: Path) -> None:
    for name in ("top/a.txt", "elsewhere/b.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("")
    (tmp_path / "top" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "top" / "linked again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "top")
    found = files_below(tmp_path / "top")
    assert sorted(path.name for path in found) == ["a.txt", "b.txt"]
