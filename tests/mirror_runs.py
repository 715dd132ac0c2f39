"""Downloads of articles in processes of their own, which a test may kill, and what they leave."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tests.s3_server import Proxy

RUN = """
import sys
from pathlib import Path
from biobert_scale.corpus.sources import package
from biobert_scale.corpus.sources.pmc_cloud import CloudConfig, download
url, output, package_bytes, package._COMMIT_ROWS = *sys.argv[1:4], int(sys.argv[4])
settings = CloudConfig(base_url=url, connections=4, backoff_seconds=0, package_bytes=int(package_bytes))
download(Path(output), settings)
"""


def run_killed_at(
    proxy: Proxy,
    output: Path,
    request: int,
    package_bytes: int = 4_000,
    *,
    commit_rows: int = 5,
    by: signal.Signals = signal.SIGKILL,
) -> int:
    """Run a download in a process of its own that a request's number ends; 0: none. Returns its exit code."""
    arguments = [sys.executable, "-c", RUN, proxy.url, str(output), str(package_bytes), str(commit_rows)]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE)
    begun = proxy.requests.total()

    def kill(number: int) -> None:
        if request and number - begun == request:
            os.kill(process.pid, by)

    proxy.before = kill
    _, complaint = process.communicate(timeout=900)
    proxy.before = lambda number: None
    assert request or process.returncode == 0, complaint.decode()
    return process.returncode


def expanded(paths: Iterable[Path]) -> list[str]:
    """SHA-256 of what each package holds. Its compressed bytes may differ: ISA-L's depend on the memory that
    it is given."""
    return [hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() for path in paths]


def packages(output: Path) -> list[Path]:
    return sorted(output.glob("pmc-cloud/*.tar.gz"))


def members(output: Path) -> dict[str, list[bytes]]:
    """The contents that the packages have under each name, in their order."""
    found: dict[str, list[bytes]] = {}
    for path in packages(output):
        with tarfile.open(path) as package:
            for member in package:
                content = package.extractfile(member)
                assert content is not None
                found.setdefault(member.name, []).append(content.read())
    return found


def listed(output: Path) -> list[dict[str, str]]:
    """The rows of the packages' lists."""
    return [
        row
        for path in sorted(output.glob("pmc-cloud/*.filelist.csv"))
        for row in csv.DictReader(path.read_text().splitlines())
    ]


def withdrawn(output: Path) -> dict[str, str]:
    """The articles that are listed as withdrawn, and why."""
    path = output / "pmc-cloud" / "pmc-cloud.withdrawn.csv"
    rows = csv.DictReader(path.read_text().splitlines()) if path.exists() else []
    return {row["AccessionID"]: row["Reason"] for row in rows}


def asked(proxy: Proxy) -> set[str]:
    """The articles' objects that were asked for since the last call, the inventory aside."""
    keys = {key for key in proxy.requests if key.startswith(("PMC", "metadata/"))}
    proxy.requests.clear()
    return keys
