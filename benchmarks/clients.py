"""Objects a second, and CPU seconds, of Python clients that fetch the same objects of a bucket into memory.

The server is that of `download.py`. Each client is a process of its own; its imports do not count. boto3,
s3fs and aiohttp are no requirements of the project: what is not installed is left out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.download import serving, write_bucket
from benchmarks.result import conditions, heading, write_result
from biobert_scale.corpus.sources.facts import BUCKET

FRAME = """
import asyncio, sys, time
from concurrent.futures import ThreadPoolExecutor
address, bucket, connections = sys.argv[1], sys.argv[2], int(sys.argv[3])
keys = open(sys.argv[4]).read().split()
{prepare}
def threads(get):
    with ThreadPoolExecutor(connections) as pool:
        return sum(pool.map(get, keys))
async def tasks(get):
    gate, sizes = asyncio.Semaphore(connections), []
    async def one(key):
        async with gate:
            sizes.append(await get(key))
    await asyncio.gather(*map(one, keys))
    return sum(sizes)
wall, cpu = time.perf_counter(), time.process_time()
size = {run}
print(size, time.perf_counter() - wall, time.process_time() - cpu)
"""
OBSTORE = """
from obstore.store import S3Store
store = S3Store(bucket, endpoint=f"{address}/{bucket}", virtual_hosted_style_request=True,
                skip_signature=True, client_options={"allow_http": True})
async def get(key):
    return len(await (await store.get_async(key)).bytes_async())
"""
HTTPX = """
import httpx2
limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
"""
AIOHTTP = """
import aiohttp
async def main():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:
        async def get(key):
            async with session.get(f"{address}/{bucket}/{key}") as response:
                return len(await response.read())
        return await tasks(get)
"""
BOTO3 = """
import boto3, botocore
unsigned = botocore.config.Config(signature_version=botocore.UNSIGNED, max_pool_connections=connections)
client = boto3.client("s3", endpoint_url=address, region_name="us-east-1", config=unsigned)
def get(key):
    return len(client.get_object(Bucket=bucket, Key=key)["Body"].read())
"""
S3FS = """
import s3fs
async def main():
    files = s3fs.S3FileSystem(anon=True, endpoint_url=address, asynchronous=True,
                              config_kwargs={"max_pool_connections": connections})
    session = await files.set_session()
    async def get(key):
        answer = await files._call_s3("get_object", Bucket=bucket, Key=key)
        return len(await answer["Body"].read())
    return await tasks(get)
"""
CLIENTS = {
    "obstore, threads": (OBSTORE, "threads(lambda key: len(store.get(key).bytes()))"),
    "obstore, asyncio": (OBSTORE, "asyncio.run(tasks(get))"),
    "aiohttp": (AIOHTTP, "asyncio.run(main())"),
    "httpx2, threads": (
        HTTPX + "client = httpx2.Client(limits=limits)",
        'threads(lambda key: len(client.get(f"{address}/{bucket}/{key}").content))',
    ),
    "boto3, threads": (BOTO3, "threads(get)"),
    "s3fs (aiobotocore)": (S3FS, "asyncio.run(main())"),
}
"""Name -> what is prepared, and the expression that is timed."""


def clients(
    *, output: Path, connections: int = 64, articles: int = 2000, repeats: int = 3, port: int = 8766
) -> None:
    """Measure clients of object storage that fetch the same objects into memory.

    Args:
        output: directory of the results.
        connections: requests at once.
        articles: objects of a turn.
        repeats: turns of each client.
        port: of the server; see `download`.
    """
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        write_bucket(work / "bucket", articles)
        keys = work / "keys"
        keys.write_text("\n".join(f"PMC{n}.1/PMC{n}.1.xml" for n in range(1, articles + 1)))
        with serving(work / "bucket", work, port, 0.05) as address:
            arguments = [address, BUCKET, str(connections), str(keys)]
            for name, (prepare, run) in CLIENTS.items():
                code = FRAME.format(prepare=prepare, run=run)
                turns = []
                for _ in range(repeats):
                    client = [sys.executable, "-c", code, *arguments]
                    done = subprocess.run(client, stdout=subprocess.PIPE, text=True)
                    if done.returncode:
                        break
                    _, wall, cpu = map(float, done.stdout.split())
                    turns.append((articles / wall, 1000 * cpu / articles))
                if turns:
                    rows.append((name, *sorted(turns)[len(turns) // 2]))
    command = f"clients --connections {connections} --articles {articles} --repeats {repeats}"
    result = conditions(command, ("obstore", "aiohttp", "httpx2", "boto3", "s3fs"))
    lines = [
        *heading("Clients of object storage", result, "the server runs on the same cores"),
        "",
        "| | objects/s | CPU s per 1,000 |",
        "|---|---|---|",
        *(f"| {name} | {rate:,.0f} | {cpu:.2f} |" for name, rate, cpu in rows),
    ]
    whole = {**result, "rows": rows}
    write_result(output, f"clients-{result['date']}", whole, "\n".join(lines) + "\n")
