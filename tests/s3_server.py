"""PMC's bucket on this machine: moto's S3 server with made-up articles and inventories, and a proxy in front
of it that counts requests and fails as servers and networks do. What is uploaded passes through it too."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import FakeKey, S3Backend, get_canned_acl, s3_backends
from moto.server import ThreadedMotoServer

from tests.http_server import Handler, running

BUCKET = "pmc-oa-opendata"
INVENTORIES = f"inventory-reports/{BUCKET}/metadata"
FIRST_DAY = datetime(2026, 6, 1, 1, 0, tzinfo=UTC)


def article_xml(pmcid: int, words: str) -> bytes:
    """A small article in JATS."""
    identifiers = (
        f'<article-id pub-id-type="pmcid">PMC{pmcid}</article-id>'
        f'<article-id pub-id-type="pmid">{90_000_000 + pmcid}</article-id>'
    )
    front = (
        f"<front><article-meta>{identifiers}<title-group><article-title>Hens of yard {pmcid}"
        f"</article-title></title-group></article-meta></front>"
    )
    text = f"The hens of yard {pmcid} were fed with grain, and their eggs were weighed: {words}."
    body = f"<body><sec><title>Results</title><p>{text}</p></sec></body>"
    return f'<article xml:lang="en">{front}{body}</article>'.encode()


class PmcBucket:
    """The bucket's content, put into moto's memory directly."""

    def __init__(self) -> None:
        self.backend: S3Backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        self.backend.create_bucket(BUCKET, "us-east-1")
        self.day = 0

    def put(self, key: str, content: bytes) -> FakeKey:
        found = self.backend.put_object(BUCKET, key, content)
        found.set_acl(get_canned_acl("public-read"))
        found.last_modified = (FIRST_DAY + timedelta(days=self.day, hours=-1)).replace(tzinfo=None)
        return found

    def add(
        self,
        pmcid: int,
        version: int = 1,
        *,
        words: str = "sixty",
        license_code: str = "CC BY",
        **fields: Any,
    ) -> bytes:
        """Put one version of an article; `fields` go into its metadata. Returns its XML."""
        return self.add_xml(
            article_xml(pmcid, f"{words} of version {version}"), pmcid, version, license_code, **fields
        )

    def add_xml(self, xml: bytes, pmcid: int, version: int, license_code: str, **fields: Any) -> bytes:
        """The same with an XML of one's own."""
        name = f"PMC{pmcid}.{version}"
        self.put(f"{name}/{name}.xml", xml)
        digest = hashlib.md5(xml).hexdigest()
        metadata = {
            "pmcid": f"PMC{pmcid}",
            "version": version,
            "pmid": 90_000_000 + pmcid,
            "doi": None,
            "title": f"Hens of yard {pmcid}",
            "is_pmc_openaccess": True,
            "is_manuscript": False,
            "is_historical_ocr": False,
            "is_retracted": False,
            "license_code": license_code,
            "xml_url": f"s3://{BUCKET}/{name}/{name}.xml?md5={digest}",
            **fields,
        }
        self.put(f"metadata/{name}.json", json.dumps(metadata).encode())
        return xml

    def remove(self, pmcid: int, version: int = 1, *, metadata_too: bool = True) -> None:
        name = f"PMC{pmcid}.{version}"
        for key in (f"{name}/{name}.xml", *([f"metadata/{name}.json"] if metadata_too else [])):
            self.remove_key(key)

    def clear(self) -> None:
        for key in list(self.backend.buckets[BUCKET].keys):
            self.remove_key(key)

    def remove_key(self, key: str) -> None:
        self.backend.delete_object(BUCKET, key)

    def read(self, key: str) -> bytes:
        found = self.backend.get_object(BUCKET, key)
        assert found is not None
        return bytes(found.value)

    def next_day(self) -> None:
        """What is put from now on was written a day later."""
        self.day += 1

    @property
    def inventory(self) -> str:
        """The prefix of the day's inventory."""
        return f"{INVENTORIES}/{FIRST_DAY + timedelta(days=self.day):%Y-%m-%dT%H-%MZ}"

    def write_inventory(self, *, files: int = 2, quoted_keys: bool = False) -> None:
        """Describe the metadata that there are, in S3's own format."""
        keys = [key for key in self.backend.buckets[BUCKET].keys if key.startswith("metadata/")]
        lines = []
        for key in sorted(keys):
            found = self.backend.get_object(BUCKET, key)
            assert found is not None
            written = f"{found.last_modified:%Y-%m-%dT%H:%M:%S}.000Z"
            shown = key.replace("/", "%2F") if quoted_keys else key
            etag = found.etag.strip('"')
            lines.append(f'"{BUCKET}","{shown}","{written}","{etag}"\n')
        described = []
        for number in range(files):
            part = gzip.compress("".join(lines[number::files]).encode(), mtime=0)
            key = f"{INVENTORIES}/data/{self.day:04d}-{number}.csv.gz"
            self.put(key, part)
            described.append({"key": key, "size": len(part), "MD5checksum": hashlib.md5(part).hexdigest()})
        manifest = {
            "sourceBucket": BUCKET,
            "destinationBucket": f"arn:aws:s3:::{BUCKET}",
            "version": "2016-11-30",
            "fileFormat": "CSV",
            "fileSchema": "Bucket, Key, LastModifiedDate, ETag",
            "files": described,
        }
        content = json.dumps(manifest).encode()
        self.put(f"{self.inventory}/manifest.json", content)
        self.put(f"{self.inventory}/manifest.checksum", hashlib.md5(content).hexdigest().encode())
        self.put(f"{INVENTORIES}/hive/dt={self.day}/symlink.txt", b"")


class Proxy(ThreadingHTTPServer):
    """Hands requests on to moto, unless `fault` says otherwise."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = port
        self.fault: Callable[[str, int], str] = lambda key, number: ""
        """Of a key's request of that number: `slow` (503 SlowDown), `cut` (in the middle of the body), `flip`
        (a bit of the body), `full` (507, no space is left), `down` (the connection ends, without a reply), or
        nothing. Of a request that writes, the key has the method before it: `PUT run/step`."""
        self.before: Callable[[int], None] = lambda number: None
        """Called with the number of requests so far."""
        self.lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        """By key."""

    @property
    def account(self) -> dict[str, str]:
        """The environment of a client that reads and writes the bucket."""
        address = f"http://127.0.0.1:{self.server_address[1]}"
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}
        return {**keys, "AWS_ENDPOINT_URL": address, "NO_PROXY": "127.0.0.1"}

    @property
    def direct_url(self) -> str:
        """The bucket without the proxy."""
        return f"http://127.0.0.1:{self.port}/{BUCKET}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{BUCKET}"


class _Handler(Handler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        key = self.path.removeprefix(f"/{BUCKET}/")
        if self.command not in ("GET", "HEAD"):
            key = f"{self.command} {key}"
        with self.server.lock:
            self.server.requests[key] += 1
            number, total = self.server.requests[key], self.server.requests.total()
        self.server.before(total)
        fault = self.server.fault(key, number)
        if fault == "down":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault in ("slow", "full"):
            body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            if fault == "full":
                body = b"<Error><Code>InsufficientStorage</Code><Message>No space is left.</Message></Error>"
            status = (503, "Slow Down") if fault == "slow" else (507, "Insufficient Storage")
            self.send_response(*status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        handed = ("authorization", "content-type", "range")
        headers = {
            n: v for n, v in self.headers.items() if n.lower() in handed or n.lower().startswith("x-amz")
        }
        upstream.request(self.command, self.path, sent or None, headers)
        answer = upstream.getresponse()
        body = answer.read()
        upstream.close()
        self.send_response(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "date", "server", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(body)))
        self.end_headers()
        if fault == "flip":
            body = bytes([body[0] ^ 1]) + body[1:]
        self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
        if fault == "cut":
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving() -> Iterator[tuple[PmcBucket, Proxy]]:
    """An empty bucket, and the proxy through which it is read."""
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    _, port = moto.get_host_and_port()
    with running(Proxy(port)) as proxy:
        try:
            yield PmcBucket(), proxy
        finally:
            moto.stop()
            s3_backends[DEFAULT_ACCOUNT_ID]["aws"].reset()
