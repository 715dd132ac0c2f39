"""Objects of an S3-compatible store: written with their checksum, read, listed and deleted.

Account, region and endpoint come from the environment as every S3 client reads them (`AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`), or from the machine's role.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from biobert_scale import __version__
from biobert_scale.errors import RunFailed
from biobert_scale.object_address import parse_address

T = TypeVar("T")

_PART_BYTES = 8 << 20
_MAX_PARTS = 10_000  # S3's limit
_CONNECT_SECONDS, _SILENCE_SECONDS, _REPLY_SECONDS = 10, 60, 3600


class StoreFailed(RunFailed):
    """A request failed, also when it was tried again."""


class NoObject(StoreFailed):
    """The store has no such object."""


class ObjectStore:
    """The objects below one prefix; keys do not have it. Any number of threads may use one."""

    def __init__(self, address: str) -> None:
        """`address`: see `parse_address`."""
        self.address = address.rstrip("/")
        bucket, prefix = parse_address(address, where="object storage")
        self._store = S3Store(
            bucket,
            prefix=prefix,
            checksum_algorithm="SHA256",  # the server refuses bytes that are not those that were sent
            client_options={
                "allow_http": True,
                "user_agent": f"biobert_scale/{__version__}",
                "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
                "read_timeout": timedelta(seconds=_SILENCE_SECONDS),
                "timeout": timedelta(seconds=_REPLY_SECONDS),
            },
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=_SILENCE_SECONDS)},
        )

    def put(self, key: str, content: bytes | Path) -> None:
        """Write an object of some bytes, or of a file's; a large one in parts. It is there when this
        returns."""
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        part = max(_PART_BYTES, -(-size // _MAX_PARTS))
        self._ask(key, lambda: obstore.put(self._store, key, content, chunk_size=part))

    def read(self, key: str) -> bytes:
        """A small object's bytes.

        Raises:
            NoObject: there is none.
        """
        return self._ask(key, lambda: bytes(obstore.get(self._store, key).bytes()))

    def fetch(self, key: str, target: Path) -> str:
        """Write an object's bytes into a file, synced; returns their SHA-256.

        Raises:
            NoObject: there is none.
        """

        def receive() -> str:
            digest = hashlib.sha256()
            with open(target, "wb") as stream:
                for piece in obstore.get(self._store, key).stream(min_chunk_size=_PART_BYTES):
                    digest.update(piece)
                    stream.write(piece)
                stream.flush()
                os.fsync(stream.fileno())
            return digest.hexdigest()

        return self._ask(key, receive)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Bytes of every object whose key begins with a directory's path, by their keys."""
        batches = self._ask(prefix, lambda: list(obstore.list(self._store, prefix or None)))
        return {item["path"]: item["size"] for batch in batches for item in batch}

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are no error."""
        if chosen := list(keys):
            self._ask(chosen[0], lambda: obstore.delete(self._store, chosen))

    def _ask(self, key: str, request: Callable[[], T]) -> T:
        """A request's result, its failure as one line.

        Raises:
            StoreFailed: with what the server or the network said.
        """
        where = f"{self.address}/{key}".rstrip("/")
        try:
            return request()
        except FileNotFoundError:
            raise NoObject("no such object", where=where, remedy="check the address") from None
        except (PermissionDeniedError, UnauthenticatedError):
            remedy = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy"
            raise StoreFailed("the server refuses it to this account", where=where, remedy=remedy) from None
        except BaseError as error:
            remedy = "check the network, AWS_ENDPOINT_URL and AWS_REGION, and run it again"
            raise StoreFailed(in_one_line(error)[0], where=where, remedy=remedy) from None


def in_one_line(error: BaseError) -> tuple[str, bool]:
    """What the library's error says, and whether waiting will not change it."""
    brief, _, details = str(error).partition("\n\nDebug source")
    causes = re.findall(r'(?:message|error): "([^"]+)"', details)
    plain = re.sub(r"^.*? in [0-9.]+\w?s\S* (?:after \d+ retries\S* .*? )?- ", "", " ".join(brief.split()))
    what = f"{plain} ({causes[-1]})" if causes else plain
    return what[:300], any(sign in details for sign in ("Name or service not known", "InvalidCertificate"))
