"""Latency of `biobert-scale serve` with many clients at once, and its memory.

The weights are random, in BERT-Mini's shape: speed does not depend on what a model has learned. The server is
a process of its own on the same machine. Each client sends a request, waits for the answer, and sends the
next; one request in ten is a whole file. Meanwhile rude clients send what is malformed, too large, or slow.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import numpy as np
import psutil

from benchmarks.result import conditions, heading, write_result
from benchmarks.tag import make_model
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.ranges import within
from biobert_scale.tag.documents import read_documents

LAYERS, HIDDEN = 4, 256
MALFORMED = {
    "malformed XML": b"<PubmedArticleSet><PubmedArticle>",
    "not UTF-8": b"\xff\xfe\xfd text",
    "PDF": b"%PDF-1.4",
}
SLOW_SECONDS = 5


@contextmanager
def serving(model: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A server, and its process."""
    command = [sys.executable, "-m", "biobert_scale", "serve", str(model), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RunFailed("the server did not start", where=" ".join(command[2:]), remedy="run it by hand")
        try:
            yield line.split()[0].rstrip("/"), psutil.Process(process.pid)
        finally:
            process.terminate()


class Load:
    """What clients saw.

    Args:
        end: on the clock of `time.monotonic`.
    """

    def __init__(self, address: str, end: float) -> None:
        self.address, self.end = address, end
        self.latencies: dict[str, list[float]] = {}
        self.statuses: dict[str, Counter[str]] = {}

    async def client(self, number: int, texts: list[str], file: bytes) -> None:
        """A person or a program: one request after another, one in ten a file."""
        async with httpx2.AsyncClient(timeout=180) as client:
            for turn in itertools.count(number):
                if time.monotonic() >= self.end:
                    return
                kind = "abstract" if turn % 10 else "file of PubMed XML"
                body = json.dumps({"texts": [texts[turn * 31 % len(texts)]]}).encode()
                path, content = ("texts", body) if turn % 10 else ("file?format=bioc", file)
                headers = {"Content-Type": "application/json" if turn % 10 else "application/octet-stream"}
                started = time.monotonic()
                answer = await client.post(f"{self.address}/api/{path}", content=content, headers=headers)
                self.latencies.setdefault(kind, []).append(time.monotonic() - started)
                self._count(kind, str(answer.status_code))

    async def rude_client(self) -> None:
        """Everything that is to be refused, in turns."""
        async with httpx2.AsyncClient(timeout=180) as client:
            while time.monotonic() < self.end:
                for kind, content in {**MALFORMED, "20 MB": bytes(20_000_000)}.items():
                    answer = await client.post(f"{self.address}/api/file", content=content)
                    self._count(kind, str(answer.status_code))

    async def slow_client(self) -> None:
        """Sends a byte in a while, and never ends."""
        parts = urlsplit(self.address)
        head = b"POST /api/file HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
        while time.monotonic() < self.end:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(head)
            answer = asyncio.ensure_future(reader.read(12))
            while not answer.done() and time.monotonic() < self.end + 90:
                with suppress(ConnectionError):
                    writer.write(b"x")
                    await writer.drain()
                await asyncio.wait({answer}, timeout=SLOW_SECONDS)
            self._count("a byte in 5 s", answer.result().decode().partition(" ")[2] or "closed")
            writer.close()

    def _count(self, kind: str, status: str) -> None:
        self.statuses.setdefault(kind, Counter())[status] += 1


async def _measure(
    load: Load, clients: int, texts: list[str], file: bytes, memory: Callable[[], int]
) -> list[tuple[float, int]]:
    """Run all clients to the end; the server's memory every second: (seconds, bytes)."""
    started = time.monotonic()
    sizes: list[tuple[float, int]] = []

    async def watch() -> None:
        while time.monotonic() < load.end:
            sizes.append((time.monotonic() - started, memory()))
            await asyncio.sleep(1)

    people = [load.client(number, texts, file) for number in range(clients)]
    await asyncio.gather(*people, load.rude_client(), load.slow_client(), watch())
    return sizes


@within(clients="[1, 1000]", seconds="[1, 1e6]")
def serve(
    *,
    vocabulary: Path,
    input: Path,
    output: Path,
    clients: int = 50,
    seconds: int = 120,
    warmup_seconds: int = 20,
) -> None:
    """Measure latency and memory of `biobert-scale serve` with many clients at once.

    Args:
        vocabulary: vocab.txt, or a directory that holds it.
        input: PubMed XML, whose abstracts are sent.
        output: directory of the results.
        clients: at once.
        seconds: how long.
        warmup_seconds: of the same before, which do not count.
    """
    texts = [document.text for document in itertools.islice(read_documents(input), 500)]
    if not texts:
        raise UserError("no abstract", where=input, remedy="name a file of PubMed XML")
    records = "".join(
        f"<PubmedArticle><MedlineCitation><PMID>{number}</PMID><Article><ArticleTitle>{_escaped(text)}"
        "</ArticleTitle></Article></MedlineCitation></PubmedArticle>"
        for number, text in enumerate(texts[:5], start=1)
    )
    file = f"<PubmedArticleSet>{records}</PubmedArticleSet>".encode()
    others = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as directory:
        model = make_model(Path(directory), vocabulary, LAYERS, HIDDEN)
        with serving(model) as (address, process):
            memory = lambda: int(process.memory_info().rss)  # noqa: E731
            asyncio.run(
                _measure(Load(address, time.monotonic() + warmup_seconds), clients, texts, file, memory)
            )
            load = Load(address, time.monotonic() + seconds)
            before = process.cpu_times()
            sizes = asyncio.run(_measure(load, clients, texts, file, memory))
            after = process.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    options = f"serve --vocabulary DIR --input FILE --clients {clients} --seconds {seconds}"
    result = conditions(options, ["torch", "starlette", "uvicorn"])
    rows = [
        (kind, len(found), *(float(np.percentile(found, share)) for share in (50, 90, 99, 100)))
        for kind, found in sorted(load.latencies.items())
    ]
    number = sum(len(found) for found in load.latencies.values())
    lengths = sum(map(len, texts)) / len(texts)
    places = ("start", sizes[0]), ("middle", sizes[len(sizes) // 2]), ("end", sizes[-1])
    lines = [
        *heading(
            "Serving",
            result,
            f"BERT-Mini's shape ({LAYERS} layers, hidden {HIDDEN}); clients on the same cores",
        ),
        f"- {clients} clients for {seconds} s after {warmup_seconds} s; abstracts of {lengths:,.0f}"
        f" characters, files of {len(texts[:5])} abstracts; beside them a client of malformed and large"
        " requests, and a slow one",
        "",
        f"{number / seconds:,.1f} requests a second; the server used {cpu / seconds:.2f} cores. The load"
        f" of the machine (processes that run or wait to) was {others:.1f} before.",
        "",
        "| request | number | median, s | 90 % | 99 % | longest |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {kind} | {count:,} | {' | '.join(f'{value:.2f}' for value in values)} |"
            for kind, count, *values in rows
        ),
        "",
        "| request | answers by status |",
        "|---|---|",
        *(
            f"| {kind} | {', '.join(f'{status}: {count:,}' for status, count in sorted(counts.items()))} |"
            for kind, counts in load.statuses.items()
        ),
        "",
        "Resident memory: "
        + ", ".join(f"{size / 1e6:,.0f} MB at the {place} ({at:.0f} s)" for place, (at, size) in places)
        + f"; most {max(size for _, size in sizes) / 1e6:,.0f} MB.",
    ]
    kept = {
        **result,
        "rows": rows,
        "statuses": load.statuses,
        "memory": sizes,
        "cpu_seconds": cpu,
        "load": others,
    }
    write_result(output, f"serve-{result['date']}", kept, "\n".join(lines) + "\n")
    print("\n".join(lines))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
