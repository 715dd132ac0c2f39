from __future__ import annotations

import errno
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from biobert_scale.errors import RunFailed, UserError, from_os_error
from biobert_scale.files import (
    begin_stage,
    describe_inputs,
    finish_stage,
    read_manifest,
    stage_key,
    write_atomically,
)


def finish(output: Path, source: Path, config: dict[str, int]) -> bool:
    """Run a stage that copies its input; returns whether it had to."""
    inputs = describe_inputs([source])
    key = stage_key("copy", inputs, config)
    if begin_stage(output, stage="copy", key=key):
        return False
    write_atomically(output / "copy.txt", source.read_bytes())
    finish_stage(
        output,
        stage="copy",
        key=key,
        inputs=inputs,
        config=config,
        counts={"bytes": source.stat().st_size},
        outputs=[output / "copy.txt"],
    )
    return True


def test_a_finished_stage_is_not_done_again(tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("one")
    assert finish(tmp_path / "out", source, {"a": 1})
    assert not finish(tmp_path / "out", source, {"a": 1})
    assert read_manifest(tmp_path / "out", "copy").counts == {"bytes": 3}


def test_other_inputs_or_settings_are_refused_instead_of_mixed(tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("one")
    finish(tmp_path / "out", source, {"a": 1})
    with pytest.raises(UserError, match="--overwrite"):
        finish(tmp_path / "out", source, {"a": 2})
    source.write_text("two")
    with pytest.raises(UserError, match="--overwrite"):
        finish(tmp_path / "out", source, {"a": 1})
    assert (tmp_path / "out" / "copy.txt").read_text() == "one"


def test_an_unfinished_directory_is_not_taken_for_finished(tmp_path: Path) -> None:
    begin_stage(tmp_path / "out", stage="copy", key="k")
    (tmp_path / "out" / "half").write_text("half")
    with pytest.raises(UserError, match="unfinished"):
        read_manifest(tmp_path / "out")
    with pytest.raises(UserError, match="unfinished"):
        describe_inputs([tmp_path / "out"])
    with pytest.raises(UserError, match="begun output of 'copy'"):
        begin_stage(tmp_path / "out", stage="copy", key="another")


def test_an_output_that_holds_what_is_read_is_not_overwritten(tmp_path: Path) -> None:
    run = tmp_path / "run"
    begin_stage(run, stage="copy", key="k")
    (run / "model").mkdir()
    (run / "model" / "weights").write_text("months of work")
    (tmp_path / "link").symlink_to(run / "model")
    for source in (run, run / "model", tmp_path / "link"):
        with pytest.raises(UserError, match="would delete what is read"):
            begin_stage(run, stage="other", key="l", overwrite=True, reads=[tmp_path / "elsewhere", source])
    assert (run / "model" / "weights").read_text() == "months of work"
    begin_stage(run, stage="other", key="l", overwrite=True, reads=[tmp_path / "elsewhere"])
    assert not (run / "model").exists()


def test_a_run_that_failed_before_it_wrote_anything_bars_nobody(tmp_path: Path) -> None:
    begin_stage(tmp_path / "out", stage="copy", key="mistaken")
    begin_stage(tmp_path / "out", stage="copy", key="corrected")
    (tmp_path / "out" / "half").write_text("half")
    with pytest.raises(UserError, match="begun output of 'copy'"):
        begin_stage(tmp_path / "out", stage="copy", key="mistaken")


def test_an_output_in_which_another_process_works_is_not_taken_over(tmp_path: Path) -> None:
    work = (
        "import sys, time; from pathlib import Path; from biobert_scale.files import begin_stage;"
        " begin_stage(Path(sys.argv[1]), stage='copy', key='k'); print('begun', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", work, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout is not None and other.stdout.readline() == "begun\n"
            with pytest.raises(UserError, match="begun output of 'copy'"):
                begin_stage(tmp_path / "out", stage="copy", key="another")
        finally:
            other.kill()
    begin_stage(tmp_path / "out", stage="copy", key="another")


def test_a_strangers_directory_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.png").write_bytes(b"x")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="not empty"):
            begin_stage(tmp_path / "photos", stage="copy", key="k", overwrite=overwrite)
    assert (tmp_path / "photos" / "holiday.png").exists()


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(TypeError):
        write_atomically(path, 3)  # type: ignore[arg-type]
    assert path.read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_told_in_one_line_and_is_no_mistake_of_the_user() -> None:
    error = from_os_error(OSError(errno.ENOSPC, "No space left on device", "out/part-00000.parquet"))
    assert isinstance(error, RunFailed) and error.exit_code == 1
    assert "part-00000.parquet" in str(error) and "free some space" in str(error)


def test_errors_survive_the_way_back_from_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(RunFailed("what", where="where", remedy="remedy")))
    assert isinstance(error, RunFailed) and str(error) == "what: where; remedy"
