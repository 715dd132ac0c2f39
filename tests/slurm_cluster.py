"""A real SLURM cluster on this machine, for the tests that need one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = (
    "slurmctld",
    "slurmd",
    "sbatch",
    "squeue",
    "scancel",
    "munged",
    "ip",
    "unshare",
    "nsenter",
    "pgrep",
)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A running cluster of a head and two nodes; `head` is the head's first process."""

    directory: Path
    head: int

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command on the head."""
        return self.inside(ROOT)(
            list(command), {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        )

    def inside(self, directory: Path) -> Callable[[list[str], dict[str, str]], subprocess.Popen[str]]:
        """What starts a command on the head, in a directory and with an environment."""

        def start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
            entered = [
                "nsenter",
                f"--target={self.head}",
                "--mount",
                "--net",
                "--uts",
                "--pid",
                f"--wd={directory}",
                *command,
            ]
            environment = {**environment, "SLURM_CONF": str(self.directory / "slurm.conf")}
            return subprocess.Popen(
                entered, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )

        return start

    def run(self, *command: str) -> str:
        """Run a command on the head, to its good end, and return what it printed."""
        process = self.start(*command)
        printed, complaints = process.communicate(timeout=300)
        assert process.returncode == 0, complaints
        return printed

    def first_process(self, node: str) -> str:
        """The number of a node's first process, as the head counts: killing it is pulling the plug."""
        return (self.directory / f"{node}.pid").read_text().strip()

    def on_node(self, node: str, *command: str) -> None:
        """Run a command, which may leave a daemon behind, on a node."""
        enter = (
            f"exec nsenter --target={self.first_process(node)} --mount --net --uts --pid"
            ' "$@" > /dev/null 2>&1 < /dev/null'
        )
        self.run("sh", "-c", enter, "sh", *command)

    def build(self, raw: Path, output: Path, *options: str) -> subprocess.Popen[str]:
        """Start `corpus build` on the head, its tasks on the nodes."""
        return self.stage("corpus", "--raw", str(raw), "--output", str(output), *options)

    def stage(self, name: str, *options: str) -> subprocess.Popen[str]:
        slurm = [
            "--executor",
            "slurm",
            "--partition",
            "main",
            "--tasks",
            "4",
            "--memory-gib",
            "1",
            "--poll-seconds",
            "0.5",
        ]
        return self.start(sys.executable, "-m", "biobert_scale.cli", name, "build", *slurm, *options)

    def elements(self) -> list[int]:
        """The number of elements of every array job so far, in order of submission."""
        jobs = [
            int(line)
            for line in self.run("squeue", "--noheader", "--array", "--states=all", "--format=%F").split()
        ]
        return [jobs.count(job) for job in sorted(set(jobs))]


def only_child(process: subprocess.Popen[str]) -> int:
    """What `unshare` or `nsenter` has started."""
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(
            f"no {', '.join(missing)}: install Debian's slurmctld, slurmd, slurm-client, munge, iproute2 and"
            " procps"
        )
    if (
        os.geteuid()
        or subprocess.run(
            ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "true"], capture_output=True
        ).returncode
    ):
        pytest.skip("a cluster needs root, and the right to make namespaces")
    directory = tmp_path_factory.mktemp("cluster")
    script = ROOT / "tests" / "cluster" / "cluster.sh"
    with open(directory / "start.log", "w") as log:
        # The cluster lives as long as its standard input is open: it ends with this process, however that
        # ends.
        process = subprocess.Popen(
            [script, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdin and process.stdout
    try:
        assert process.stdout.readline() == "ready\n", (directory / "start.log").read_text()
        yield Cluster(directory=directory, head=only_child(process))
    finally:
        process.stdin.close()
        process.wait(timeout=30)
