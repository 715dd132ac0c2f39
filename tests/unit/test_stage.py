from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from biobert_scale.errors import UserError
from biobert_scale.files import describe_inputs, read_manifest, write_atomically
from biobert_scale.lock import LOCK
from biobert_scale.stage import Stage


def open_stage(output: Path, config: str = "k", *, name: str = "copy", **options: object) -> Stage:
    return Stage(output, name, inputs=[], config=config, **options)  # type: ignore[arg-type]


def finish(output: Path, source: Path, config: dict[str, int]) -> bool:
    """Run a stage that copies its input; returns whether it had to."""
    with Stage(output, "copy", inputs=describe_inputs([source]), config=config) as stage:
        if stage.finished is not None:
            return False
        write_atomically(output / "copy.txt", source.read_bytes())
        stage.finish(counts={"bytes": source.stat().st_size}, outputs=[output / "copy.txt"])
    return True


def leave_half(output: Path, config: str = "k") -> None:
    """A stage that was interrupted after a part of its work."""
    with pytest.raises(KeyboardInterrupt), open_stage(output, config):
        (output / "half").write_text("half")
        raise KeyboardInterrupt


def test_a_finished_stage_is_not_done_again(tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("one")
    assert finish(tmp_path / "out", source, {"a": 1})
    assert not finish(tmp_path / "out", source, {"a": 1})
    assert read_manifest(tmp_path / "out", "copy").counts == {"bytes": 3}
    assert sorted(os.listdir(tmp_path / "out")) == ["copy.txt", "manifest.json"]


@pytest.mark.fault("a finished stage on a read-only file system", "used without a lock")
def test_finished_work_is_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    """Another user's finished samples: no lock is needed to use them."""
    source = tmp_path / "source.txt"
    source.write_text("one")
    finish(tmp_path / "out", source, {"a": 1})
    mounted = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"mount --bind {tmp_path}/out {tmp_path}/out"],
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("no right to mount")
    code = (
        "import sys; from pathlib import Path; from biobert_scale.stage import Stage;"
        " from biobert_scale.files import describe_inputs;\n"
        "with Stage(Path(sys.argv[2]), 'copy', inputs=describe_inputs([Path(sys.argv[1])]), config={'a': 1})"
        " as stage: print(stage.finished.counts)"
    )
    read_only = f'mount --bind -o ro {tmp_path}/out {tmp_path}/out && exec "$@"'
    found = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            read_only,
            "sh",
            sys.executable,
            "-c",
            code,
            source,
            tmp_path / "out",
        ],
        capture_output=True,
        text=True,
    )
    assert found.stdout == "{'bytes': 3}\n", found.stderr


@pytest.mark.fault("other inputs or settings into a finished output", "refused; the old output stays")
def test_other_inputs_or_settings_are_refused_instead_of_mixed(tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_text("one")
    finish(tmp_path / "out", source, {"a": 1})
    with pytest.raises(UserError, match=r"finished output of 'copy'.*--overwrite"):
        finish(tmp_path / "out", source, {"a": 2})
    source.write_text("two")
    with pytest.raises(UserError, match="--overwrite"):
        finish(tmp_path / "out", source, {"a": 1})
    assert (tmp_path / "out" / "copy.txt").read_text() == "one"


@pytest.mark.fault("a stage was interrupted half-way", "not taken for finished; other work is refused")
def test_an_unfinished_directory_is_not_taken_for_finished(tmp_path: Path) -> None:
    leave_half(tmp_path / "out")
    with pytest.raises(UserError, match="unfinished"):
        read_manifest(tmp_path / "out")
    with pytest.raises(UserError, match="unfinished"):
        describe_inputs([tmp_path / "out"])
    with pytest.raises(UserError, match="begun output of 'copy'"), open_stage(tmp_path / "out", "another"):
        pass
    assert (tmp_path / "out" / "half").exists()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.fault("a stage was interrupted half-way, the same work again", "continues with what is there")
def test_the_same_work_continues_after_an_interruption(tmp_path: Path, overwrite: bool) -> None:
    leave_half(tmp_path / "out")
    with open_stage(tmp_path / "out", overwrite=overwrite) as stage:
        assert stage.finished is None and (tmp_path / "out" / "half").read_text() == "half"


def test_other_work_replaces_what_was_there_where_asked_to(tmp_path: Path) -> None:
    leave_half(tmp_path / "out")
    with open_stage(tmp_path / "out", "another", overwrite=True):
        assert not (tmp_path / "out" / "half").exists()


@pytest.mark.fault("`--overwrite` of a directory that holds the input", "refused; nothing is deleted")
def test_an_output_that_holds_what_is_read_is_not_overwritten(tmp_path: Path) -> None:
    run = tmp_path / "run"
    leave_half(run)
    (run / "model").mkdir()
    (run / "model" / "weights").write_text("months of work")
    (tmp_path / "link").symlink_to(run / "model")
    for source in (run, run / "model", tmp_path / "link"):
        with (
            pytest.raises(UserError, match="would delete what is read"),
            open_stage(run, name="other", overwrite=True, reads=[tmp_path / "elsewhere", source]),
        ):
            pass
    assert (run / "model" / "weights").read_text() == "months of work"
    with open_stage(run, name="other", overwrite=True, reads=[tmp_path / "elsewhere"]):
        assert not (run / "model").exists()


def test_a_run_that_failed_before_it_wrote_anything_bars_nobody(tmp_path: Path) -> None:
    for config in ("mistaken", "corrected"):
        with open_stage(tmp_path / "out", config):
            pass
    leave_half(tmp_path / "out", "corrected")
    with pytest.raises(UserError, match="begun output of 'copy'"), open_stage(tmp_path / "out", "mistaken"):
        pass


def test_discarded_work_leaves_no_directory(tmp_path: Path) -> None:
    with open_stage(tmp_path / "out") as stage:
        (tmp_path / "out" / "deep").mkdir()
        (tmp_path / "out" / "deep" / "half").write_text("half")
        stage.discard()
    assert not (tmp_path / "out").exists()


@pytest.mark.fault("an output that holds somebody's files", "refused, also with `--overwrite`")
def test_a_strangers_directory_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.png").write_bytes(b"x")
    before = os.stat(tmp_path / "photos").st_mtime_ns
    for overwrite in (False, True):
        with (
            pytest.raises(UserError, match="not empty"),
            open_stage(tmp_path / "photos", overwrite=overwrite),
        ):
            pass
    assert os.listdir(tmp_path / "photos") == ["holiday.png"]
    assert os.stat(tmp_path / "photos").st_mtime_ns == before


HOLDER = """
import sys
from pathlib import Path
from biobert_scale.stage import Stage
with Stage(Path(sys.argv[1]), "copy", inputs=[], config="k", overwrite=True, wait=True) as stage:
    if stage.finished is None:
        print("begun", flush=True)
        sys.stdin.readline()
        (stage.output / "made-by").write_text(sys.argv[2])
        stage.finish(counts={}, outputs=[stage.output / "made-by"])
    else:
        print("found", flush=True)
"""


def start_holder(output: Path, name: str = "first") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(output), name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize(("config", "overwrite"), [("k", False), ("k", True), ("another", True)])
@pytest.mark.fault(
    "a second process with the same or other work in one output",
    "refused with the holder; the first one finishes",
)
def test_an_output_in_which_another_process_works_is_refused(
    tmp_path: Path, config: str, overwrite: bool
) -> None:
    """The same work, and work that would delete what the other one is writing."""
    with start_holder(tmp_path / "out") as other:
        assert first_line(other) == "begun\n"
        with (
            pytest.raises(UserError, match=f"'copy' is at work here: process {other.pid} on ") as refused,
            open_stage(tmp_path / "out", config, overwrite=overwrite),
        ):
            pass
        assert refused.value.where == str(tmp_path / "out") and "\n" not in str(refused.value)
        other.communicate("\n")
    assert read_manifest(tmp_path / "out").key and (tmp_path / "out" / "made-by").read_text() == "first"
    assert sorted(os.listdir(tmp_path / "out")) == ["made-by", "manifest.json"]


@pytest.mark.fault("SIGKILL of a stage, which leaves its lock", "the next start takes over")
def test_a_killed_process_bars_nobody(tmp_path: Path) -> None:
    with start_holder(tmp_path / "out") as other:
        assert first_line(other) == "begun\n"
        assert json.loads((tmp_path / "out" / LOCK).read_text())["pid"] == other.pid
        other.kill()
    with open_stage(tmp_path / "out") as stage:
        stage.finish(counts={})
    assert os.listdir(tmp_path / "out") == ["manifest.json"]


@pytest.mark.fault("four starts of one stage at once", "one makes it, the others find it finished")
def test_of_several_that_wait_one_makes_it_and_the_others_find_it(tmp_path: Path) -> None:
    processes = [start_holder(tmp_path / "out", str(number)) for number in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert sorted(out for out, _ in said) == ["begun\n", "found\n", "found\n", "found\n"]
    assert sorted(os.listdir(tmp_path / "out")) == ["made-by", "manifest.json"]
