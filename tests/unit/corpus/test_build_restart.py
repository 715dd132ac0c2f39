from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.build import build_corpus
from biobert_scale.files import MANIFEST, read_manifest
from tests.factories import abstract, article, prose, write_medline, write_package


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("raw")
    for file in range(16):
        numbers = range(file * 500 + 1, file * 500 + 501)
        write_medline(
            raw / f"pubmed25n{file:04d}.xml.gz", *(abstract(n, f"{prose(n)} {prose(n * 7)}") for n in numbers)
        )
    write_package(
        raw / "oa_comm_xml.x.tar.gz", {f"PMC{n}.xml": article(n, prose(n) * 40) for n in range(1, 40)}
    )
    return raw


CONFIG = CorpusConfig(minimum_words=5, characters_per_shard=100_000)


@pytest.mark.slow
def test_bytes_are_the_same_with_one_and_with_eight_workers(raw: Path, tmp_path: Path) -> None:
    one = build_corpus(raw, tmp_path / "one", CONFIG, workers=1)
    eight = build_corpus(raw, tmp_path / "eight", CONFIG, workers=8)
    assert one == eight and len(one.outputs) > 5
    texts = [pq.read_table(tmp_path / "one" / name)["text"].to_pylist() for name in one.outputs]
    sizes = [sum(map(len, shard)) for shard in texts]
    assert max(sizes) < 1.2 * min(sizes), "shards are not of even size"


def test_workers_import_nothing_from_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "biobert_scale").mkdir()
    (tmp_path / "biobert_scale" / "__init__.py").write_text("raise SystemExit('another version')")
    for number in (1, 2):
        write_medline(tmp_path / "raw" / f"pubmed25n{number:04d}.xml.gz", abstract(number, prose(number)))
    command = Path(sys.executable).with_name("biobert-scale")
    arguments = "corpus build --raw raw --output out --workers 2 --minimum-words 5".split()
    subprocess.run([command, *arguments], cwd=tmp_path, check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["extracted/*.json", "shards-*/completions/*"])
@pytest.mark.fault(
    "SIGKILL of a corpus build with its workers, once `{moment}` is there",
    "the same command finishes it, same bytes",
    lost="the tasks at hand",
)
def test_bytes_are_the_same_after_a_kill_and_a_restart(raw: Path, tmp_path: Path, moment: str) -> None:
    expected = build_corpus(raw, tmp_path / "whole", CONFIG, workers=1)
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "biobert_scale.cli",
        "corpus",
        "build",
        "--raw",
        str(raw),
        "--output",
        str(out),
        "--workers",
        "2",
    ]
    command += ["--minimum-words", "5", "--characters-per-shard", "100000"]
    process = subprocess.Popen(
        command, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and not list((out / ".work").glob(moment)) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / MANIFEST).exists(), "it was killed too late to show anything"
    assert list((out / ".work").glob(moment))
    (out / ".part-00001.parquet.4242.part").write_bytes(b"what a killed writer leaves")
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert read_manifest(out) == expected
    assert sorted(path.name for path in out.iterdir()) == sorted([MANIFEST, *expected.outputs])
