"""`tag --workers`: a directory of outputs, whose bytes no interruption changes."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from biobert_scale.cli import main
from biobert_scale.errors import UserError
from biobert_scale.files import read_manifest
from biobert_scale.tag import parts
from biobert_scale.tag.sharded import STAGE, SUFFIXES, tag_files
from biobert_scale.tag.tagger import EntityTagger
from tests.factories import FRAMES, NAMES, write_tagger


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tagger(tmp_path_factory.mktemp("tagger"))


def write_raw(directory: Path, *, lines: int = 40) -> list[Path]:
    """Two files of plain text, one of them compressed and in a directory of its own."""
    sentences = itertools.islice(
        (frame.format(name) for name, frame in itertools.cycle(itertools.product(NAMES, FRAMES))), lines
    )
    text = "\n".join(sentences).encode()
    (directory / "deep").mkdir(parents=True)
    (directory / "a.txt").write_bytes(text)
    (directory / "deep" / "b.txt.gz").write_bytes(gzip.compress(text[: len(text) // 2], mtime=0))
    return [directory / "a.txt", directory / "deep" / "b.txt.gz"]


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("form", SUFFIXES)
def test_each_file_has_the_output_that_it_has_alone(
    model: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_raw(tmp_path / "raw")
    arguments = [str(model), "--format", form, "--input"]
    output = tmp_path / "tagged"
    assert main(["tag", *arguments, str(tmp_path / "raw"), "--output", str(output), "--workers", "1"]) == 0
    assert "entities" in capsys.readouterr().out
    for file, name in zip(files, ("a.txt", "deep/b.txt.gz"), strict=True):
        assert main(["tag", *arguments, str(file), "--output", str(tmp_path / "alone")]) == 0
        assert (output / f"{name}.{SUFFIXES[form]}").read_bytes() == (tmp_path / "alone").read_bytes()
    assert len(contents(output)) == 3 and not (output / ".work").exists()
    assert read_manifest(output, STAGE).counts["documents"] == 60


def test_an_interrupted_file_continues_from_its_parts(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that is tagged is tagged again, and the bytes are those of one go."""
    files = write_raw(tmp_path / "raw")
    monkeypatch.setattr("biobert_scale.tag.run._CHARACTERS_AT_ONCE", 100)
    monkeypatch.setattr(parts, "_GROUPS_PER_PART", 2)
    seen: list[str] = []
    compute = EntityTagger.compute
    limit = 5

    def counted(self: EntityTagger, prepared: object) -> object:
        if len(seen) == limit:
            raise OSError(28, "No space left on device")
        seen.extend(document.id for document in prepared.documents[:1])  # type: ignore[attr-defined]
        return compute(self, prepared)  # type: ignore[arg-type]

    monkeypatch.setattr(EntityTagger, "compute", counted)
    with pytest.raises(OSError, match="No space left"):
        tag_files([model], files, tmp_path / "out", "bioc")
    assert not (tmp_path / "out" / "a.txt.bioc.json").exists()
    limit = 10**6
    manifest = tag_files([model], files, tmp_path / "out", "bioc")
    assert len(seen) - len({*seen[:5]} | {*seen[5:]}) <= 2 + len(seen) // 2, "half of b's ids are a's"
    assert seen[5] == seen[4], "the fifth group alone was done twice"
    seen.clear()
    assert tag_files([model], files, tmp_path / "out", "bioc") == manifest and not seen
    tag_files([model], files, tmp_path / "whole", "bioc")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_damaged_file_is_named_and_only_the_mended_one_is_tagged_again(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    sound, packed = write_raw(raw)
    packed.write_bytes(packed.read_bytes()[:-20])
    arguments = ["tag", str(model), "--input", str(raw), "--output", str(tmp_path / "out"), "--workers", "1"]
    for _ in range(2):
        capsys.readouterr()
        assert main(arguments) == 2
        said = capsys.readouterr().err.splitlines()
        assert sum("breaks off" in line for line in said) == 1
        assert not (tmp_path / "out" / "manifest.json").exists()
        before = (tmp_path / "out" / "a.txt.jsonl").stat()
        assert before.st_size
    packed.write_bytes(gzip.compress(b"Mice slept.\n", mtime=0))
    assert main(arguments) == 0
    after = (tmp_path / "out" / "a.txt.jsonl").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    (line,) = (tmp_path / "out" / "deep" / "b.txt.gz.jsonl").read_text().splitlines()
    assert json.loads(line)["text"] == "Mice slept."
    sound.write_text("Other text.\n")
    assert main(arguments) == 2, "another input than the finished output's"
    assert main([*arguments, "--overwrite"]) == 0
    assert len((tmp_path / "out" / "a.txt.jsonl").read_text().splitlines()) == 1


def test_what_cannot_go_into_a_directory_is_refused(model: Path, tmp_path: Path) -> None:
    files = write_raw(tmp_path / "raw")
    (tmp_path / "a.txt").write_text("x")
    for paths, output, says in (
        ([Path("-")], tmp_path / "out", "standard input"),
        (files, Path("-"), "standard input"),
        ([*files, tmp_path / "a.txt"], tmp_path / "out", "one output"),
        (files, tmp_path / "raw" / "out", "inside the input"),
    ):
        with pytest.raises(UserError, match=says):
            tag_files([model], paths, output, "jsonl", given=[tmp_path / "raw"])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.fault(
    "SIGKILL of `tag --workers`, twice", "the same command gives the same bytes", lost="a part"
)
def test_a_run_that_is_killed_twice_gives_the_same_bytes(model: Path, tmp_path: Path) -> None:
    write_raw(tmp_path / "raw", lines=60_000)
    output = tmp_path / "out"
    command = [sys.executable, "-m", "biobert_scale.cli", "tag", str(model), "--workers", "2"]
    command += ["--input", str(tmp_path / "raw"), "--output"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for number in (1, 3):
        process = subprocess.Popen([*command, str(output)], env=environment, start_new_session=True)
        while len(list(output.glob(".work/parts/*/*.tagged.json"))) < number:
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (output / "manifest.json").exists()
    subprocess.run([*command, str(output)], check=True, env=environment)
    tag_files(
        [model], sorted((tmp_path / "raw").rglob("*.*")), tmp_path / "one", "jsonl", given=[tmp_path / "raw"]
    )
    assert contents(output) == contents(tmp_path / "one")
