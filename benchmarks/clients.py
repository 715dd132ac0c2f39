"""Objects a second, and CPU seconds, of Python clients that fetch the same objects of a bucket into memory.

    python benchmarks/clients.py --connections 64

The server is that of `download.py`. Each client is a process of its own; its imports do not count. boto3,
s3fs and aiohttp are no requirements of the project: what is not installed is left out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from download import BUCKET, serving, write_bucket

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--articles", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--port", type=int, default=8766)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        write_bucket(work / "bucket", options.articles)
        keys = work / "keys"
        keys.write_text("\n".join(f"PMC{n}.1/PMC{n}.1.xml" for n in range(1, options.articles + 1)))
        print("| | objects/s | CPU s per 1,000 |", "|---|---|---|", sep="\n")
        with serving(work / "bucket", work, options.port, 0.05) as address:
            arguments = [address, BUCKET, str(options.connections), str(keys)]
            for name, (prepare, run) in CLIENTS.items():
                code = FRAME.format(prepare=prepare, run=run)
                turns = []
                for _ in range(options.repeats):
                    done = subprocess.run(
                        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True
                    )
                    if done.returncode:
                        break
                    _, wall, cpu = map(float, done.stdout.split())
                    turns.append((options.articles / wall, 1000 * cpu / options.articles))
                turns.sort()
                if turns:
                    rate, cpu = turns[len(turns) // 2]
                    print(f"| {name} | {rate:,.0f} | {cpu:.2f} |", flush=True)


if __name__ == "__main__":
    main()
