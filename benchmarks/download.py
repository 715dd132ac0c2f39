"""Objects a second, and CPU seconds of the client, when the articles of a bucket are fetched, by connections.

The server is nginx on this machine, with a latency that it adds to every answer; the articles are made up. A
contestant fetches an article's metadata and its XML. `corpus download` also checks the XML's MD5, compresses
it and packs it; s5cmd writes files. Both run as processes of their own, one after the other.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.result import Conditions, conditions, heading, write_result
from biobert_scale.corpus.sources.facts import BUCKET
from biobert_scale.corpus.sources.inventory import PREFIX

DAY = "2026-06-01T01-00Z"
ARTICLES_IN_ALL = 8_000_000
_TEXTS = 64
_MEAN_BYTES = 117_000
"""Of an article's XML: the mean of 4,888 real ones."""
_OURS = """
import sys, time
from pathlib import Path
from biobert_scale.corpus.sources.pmc_cloud import CloudConfig, download
settings = CloudConfig(base_url=sys.argv[1], connections=int(sys.argv[3]), limit=int(sys.argv[4]))
wall, cpu = time.perf_counter(), time.process_time()
download(Path(sys.argv[2]), settings)
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


@dataclass(frozen=True)
class Run:
    """One contestant at one number of connections."""

    contestant: str
    connections: int
    objects: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.objects / self.seconds

    def row(self) -> str:
        cpu = 1000 * self.cpu_seconds / self.objects
        hours = 2 * ARTICLES_IN_ALL / self.rate / 3600
        return (
            f"| {self.contestant} | {self.connections} | {self.objects:,} | {self.rate:,.0f} | {cpu:.2f} |"
            f" {hours:,.1f} |"
        )


def write_bucket(root: Path, articles: int) -> None:
    """Make up a bucket of articles of realistic sizes, with its inventory and the answer to its listing."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghilmnoprstu", k=draw.randint(2, 11))) for _ in range(4000)]
    texts = []
    for _ in range(_TEXTS):
        size = int(_MEAN_BYTES * draw.lognormvariate(-0.18, 0.6))
        texts.append(f"<p>{' '.join(draw.choices(words, k=size // 7))}</p>".encode())
    lines = []
    for pmcid in range(1, articles + 1):
        name = f"PMC{pmcid}.1"
        xml = b"<article><body><p>%d</p>%s</body></article>" % (pmcid, texts[pmcid % _TEXTS])
        url = f"s3://{BUCKET}/{name}/{name}.xml?md5={hashlib.md5(xml).hexdigest()}"
        metadata = {"pmcid": f"PMC{pmcid}", "license_code": "CC BY", "title": "x" * 100, "xml_url": url}
        write(root / name / f"{name}.xml", xml)
        write(root / "metadata" / f"{name}.json", json.dumps(metadata).encode())
        lines.append(f'"{BUCKET}","metadata/{name}.json","2026-05-01T00:00:00.000Z","{pmcid:032x}"\n')
    part = gzip.compress("".join(lines).encode())
    write(root / f"{PREFIX}data/part.csv.gz", part)
    file = {"key": f"{PREFIX}data/part.csv.gz", "MD5checksum": hashlib.md5(part).hexdigest()}
    schema = "Bucket, Key, LastModifiedDate, ETag"
    manifest = {"fileFormat": "CSV", "fileSchema": schema, "files": [file]}
    write(root / f"{PREFIX}{DAY}/manifest.json", json.dumps(manifest).encode())
    listing = f"<CommonPrefixes><Prefix>{PREFIX}{DAY}/</Prefix></CommonPrefixes>"
    head = f"<Name>{BUCKET}</Name><Prefix>{PREFIX}</Prefix><IsTruncated>false</IsTruncated>"
    write(
        root / "listing.xml",
        f"<ListBucketResult><KeyCount>1</KeyCount>{head}{listing}</ListBucketResult>".encode(),
    )


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@contextmanager
def serving(root: Path, work: Path, port: int, latency_seconds: float) -> Iterator[str]:
    """nginx with the bucket; every answer waits for the latency. Yields the server's address."""
    modules = "/usr/lib/nginx/modules"
    (work / "nginx.conf").write_text(
        f"""
daemon off; worker_processes 1; pid {work}/pid; error_log {work}/error.log; user root;
load_module {modules}/ngx_http_echo_module.so;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000; sendfile on; types {{ application/xml xml; }}
  client_body_temp_path {work}; proxy_temp_path {work}; fastcgi_temp_path {work}; uwsgi_temp_path {work};
  scgi_temp_path {work};
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ echo_sleep {latency_seconds}; echo_exec @files; }}
    location @files {{
      root {work}/root;
      if ($arg_prefix) {{ rewrite ^ /{BUCKET}/listing.xml break; }}
    }}
  }}
}}
"""
    )
    (work / "root").mkdir()
    (work / "root" / BUCKET).symlink_to(root)
    server = subprocess.Popen(["nginx", "-c", str(work / "nginx.conf"), "-p", str(work)])
    try:
        while not (work / "pid").exists() and server.poll() is None:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def run_ours(address: str, work: Path, connections: int, articles: int) -> Run:
    output = work / "ours"
    arguments = [f"{address}/{BUCKET}", str(output), str(connections), str(articles)]
    done = subprocess.run(
        [sys.executable, "-c", _OURS, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    shutil.rmtree(output)
    seconds, cpu_seconds = map(float, done.stdout.split())
    return Run("`corpus download`", connections, 2 * articles, seconds, cpu_seconds)


def run_s5cmd(program: str, address: str, work: Path, connections: int, articles: int) -> Run:
    output = work / "s5cmd"
    names = (f"PMC{pmcid}.1" for pmcid in range(1, articles + 1))
    keys = [key for name in names for key in (f"metadata/{name}.json", f"{name}/{name}.xml")]
    (work / "commands").write_text("".join(f"cp s3://{BUCKET}/{key} {output}/{key}\n" for key in keys))
    options = [
        "--no-sign-request",
        "--endpoint-url",
        address,
        "--numworkers",
        str(connections),
        "--log",
        "error",
    ]
    environment = os.environ | {"AWS_REGION": "us-east-1"}
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([program, *options, "run", str(work / "commands")], check=True, env=environment)
    seconds, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert len(list(output.rglob("*.xml"))) == articles
    shutil.rmtree(output)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run("s5cmd", connections, len(keys), seconds, cpu_seconds)


class DownloadResult(Conditions):
    """The table as JSON."""

    latency_seconds: float
    runs: list[dict[str, Any]]


def download(
    *,
    output: Path,
    connections: tuple[int, ...] = (1, 16, 64, 256),
    articles: int = 8000,
    latency_seconds: float = 0.05,
    s5cmd: str = "s5cmd",
    port: int = 8765,
) -> None:
    """Measure how fast articles come from a bucket, beside s5cmd.

    Args:
        output: directory of the results.
        connections: requests at once, a row each.
        articles: at most; 100 a connection where that is less.
        latency_seconds: what the server adds to every answer.
        s5cmd: the peer's program.
        port: of the server, nginx with its echo module (Debian: nginx-light, libnginx-mod-http-echo).
    """
    runs = []
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        write_bucket(work / "bucket", articles)
        with serving(work / "bucket", work, port, latency_seconds) as address:
            for number in connections:
                fetched = min(articles, 100 * number)
                runs.append(run_ours(address, work, number, fetched))
                runs.append(run_s5cmd(s5cmd, address, work, number, fetched))
    command = f"download --articles {articles} --connections {' '.join(map(str, connections))}"
    result: DownloadResult = {
        **conditions(command, ("obstore",)),
        "latency_seconds": latency_seconds,
        "runs": [asdict(run) for run in runs],
    }
    lines = [
        *heading("Fetching articles", result, "the server runs on the same cores"),
        f"- Server: nginx, {1000 * latency_seconds:.0f} ms added to every answer; articles of"
        f" {_MEAN_BYTES / 1000:.0f} kB on average, each with its metadata: two objects",
        "- `corpus download` checks MD5s, compresses and packs; s5cmd asks twice for each object (HEAD, GET)"
        " and writes a file",
        "",
        "| | connections | objects | objects/s | CPU s per 1,000 | hours for 8 million articles |",
        "|---|---|---|---|---|---|",
        *(run.row() for run in runs),
    ]
    write_result(output, f"download-{result['date']}", result, "\n".join(lines) + "\n")
