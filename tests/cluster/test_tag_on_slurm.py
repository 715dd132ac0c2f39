"""`tag` as array jobs of a real cluster: the bytes of one process, also when the command is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from biobert_scale.tag.sharded import tag_files
from tests.factories import FRAMES, NAMES, write_tagger
from tests.slurm_cluster import Cluster, only_child

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]
SLURM = {"partition": "main", "tasks": "2", "memory-gib": "2", "poll-seconds": "0.5", "time": "00:10:00"}


def tag(cluster: Cluster, model: Path, work: Path) -> subprocess.Popen[str]:
    """Start the command on the head; its tasks run on the nodes."""
    options = [word for name, value in SLURM.items() for word in (f"--{name}", value)]
    return cluster.start(
        *(sys.executable, "-m", "biobert_scale.cli", "tag", str(model), "--executor", "slurm", *options),
        *("--input", str(work / "raw"), "--output", str(work / "out")),
    )


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


@pytest.mark.fault(
    "SIGKILL of `tag --executor slurm`", "the same command waits for the same array and gives the same bytes"
)
def test_an_array_that_outlives_its_command_gives_the_bytes_of_one_process(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The large file is several tasks' work, the small one a task's."""
    model = write_tagger(tmp_path)
    lines = [frame.format(name) for name in NAMES for frame in FRAMES]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "large.txt").write_text("\n".join(lines * (1_200_000 // len("\n".join(lines)))))
    (tmp_path / "raw" / "small.txt").write_text("\n".join(lines))
    before = len(cluster.elements())
    process = tag(cluster, model, tmp_path)
    while not list((tmp_path / "out").glob(".work/parts/*/*.documents.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.kill(only_child(process), signal.SIGKILL)
    process.communicate()
    _, said = (process := tag(cluster, model, tmp_path)).communicate(timeout=400)
    assert process.returncode == 0, said
    read, tagged = cluster.elements()[before:]
    assert read == 2 and tagged >= 3
    files = sorted((tmp_path / "raw").iterdir())
    tag_files([model], files, tmp_path / "one", "jsonl", given=[tmp_path / "raw"])
    assert contents(tmp_path / "out") == contents(tmp_path / "one")
