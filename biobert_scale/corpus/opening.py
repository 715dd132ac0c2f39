"""Opens raw files: decompression by content, bounds on what is read, and the one line for a damaged file."""

from __future__ import annotations

import bz2
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
from isal import igzip, isal_zlib
from lxml import etree

from biobert_scale.corpus.cleaning.markup import PARSER_OPTIONS, local_name
from biobert_scale.errors import UserError

REMEDY = "download it again and compare its checksum with the source's, or move it out of the directory"

MAXIMUM_MEMBER_BYTES = 128_000_000
"""Of one article or book, expanded; larger is a mistake or an attack (a long article has some MB)."""

MAXIMUM_RECORD_BYTES = 32_000_000
"""The same for one record of a MEDLINE file. A file of many members or records may have any size."""

_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<")
HEAD_BYTES = 512
"""Enough to see what a file is."""
_READ_BYTES = 1 << 20
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_COMPRESSIONS: dict[bytes, Callable[[BinaryIO], BinaryIO]] = {
    b"\x1f\x8b": cast("Callable[[BinaryIO], BinaryIO]", igzip.open),
    b"BZh": cast("Callable[[BinaryIO], BinaryIO]", bz2.open),
    b"\xfd7zXZ\0": cast("Callable[[BinaryIO], BinaryIO]", lzma.open),
    _ZSTANDARD: lambda stream: BufferedReader(pa.CompressedInputStream(stream, "zstd"), 1 << 20),
}


def is_html(head: bytes) -> bool:
    """Whether a file that begins so is a web page (a server's error, mostly), which is seldom sound XML."""
    return _HTML.match(head) is not None


@contextmanager
def open_decompressed(path: Path) -> Iterator[BinaryIO]:
    """Open a file as bytes, decompressed if it is compressed; see `decompressed`.

    Raises:
        UserError: it is empty.
    """
    with open(path, "rb") as stream:
        if not stream.peek(1):
            raise UserError("the file is empty", where=path, remedy=REMEDY)
        with decompressed(stream, path.name) as content:
            yield content


def decompressed(stream: BufferedReader, name: str) -> BinaryIO:
    """A stream's content: gzip, bzip2, xz and Zstandard are known by their first bytes.

    What is named `.gz` is gzip, and what is named `.zst` is Zstandard, unless it is plain XML or tar, as some
    browsers save it; an error page in HTML is no sound file.
    """
    head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
    for beginning, opened in _COMPRESSIONS.items():
        if head.startswith(beginning):
            return opened(stream)
    plain = (_XML.match(head) and not is_html(head)) or head[257:262] == b"ustar"
    if name.lower().endswith((".gz", ".tgz")) and not plain:
        return cast(BinaryIO, igzip.open(stream))  # type: ignore[no-untyped-call]
    if name.lower().endswith(".zst") and not plain:
        return _COMPRESSIONS[_ZSTANDARD](stream)
    return stream


class BoundedReader:
    """Passes a stream's bytes, but no more at a stretch than one item may have: a gzip bomb ends here.

    Args:
        limit: bytes of one item.
        where: the file that the error names.
        what: the item that the error names.
        head: what was read of the stream before.
    """

    def __init__(
        self, stream: BinaryIO | BoundedReader, limit: int, *, where: str | Path, what: str, head: bytes = b""
    ) -> None:
        self.stream, self.limit, self.where, self.what = stream, limit, where, what
        self.head, self.left = head, limit

    def allow_more(self, skipped_bytes: int = 0) -> None:
        """The item is done: the next may be as large, and so may `skipped_bytes` that nobody keeps."""
        self.left = self.limit + skipped_bytes

    def read(self, size: int = -1) -> bytes:
        data = self.head or self.stream.read(size)
        self.head = b""
        self.left -= len(data)
        if self.left < 0:
            raise too_large(self.what, self.limit, self.where)
        return data

    def read_all(self) -> bytes:
        return b"".join(iter(lambda: self.read(_READ_BYTES), b""))


def too_large(what: str, limit: int, where: str | Path) -> UserError:
    return UserError(f"{what} is larger than {limit:,} bytes", where=where, remedy=REMEDY)


def root_of(stream: BinaryIO, where: str | Path) -> tuple[str, bytes]:
    """The name of an XML document's root element without its prefix, and what was read of the document.

    Raises:
        XMLSyntaxError: there is none.
        UserError: more comes before it than a document may have.
    """
    bounded = BoundedReader(stream, MAXIMUM_RECORD_BYTES, where=where, what="what is before the root")
    parser = etree.XMLPullParser(events=("start",), **PARSER_OPTIONS)
    pieces: list[bytes] = []
    damage: etree.XMLSyntaxError | None = None
    while piece := bounded.read(HEAD_BYTES if not pieces else _READ_BYTES):
        pieces.append(piece)
        if len(pieces) == 1 and is_html(piece):
            return "html", piece
        try:
            parser.feed(piece)
        except etree.XMLSyntaxError as error:  # which may be behind the root
            damage = error
        for _, element in parser.read_events():
            return local_name(element), b"".join(pieces)
        if damage is not None:
            raise damage
    return local_name(parser.close()), b"".join(pieces)


@contextmanager
def reading(where: str | Path, *, within: str = "") -> Iterator[None]:
    """Turn what the decompressor, package and XML readers raise on damaged input into one line that names the
    file.

    Args:
        where: the file.
        within: the member of the package that is being read.
    """
    try:
        yield
    except etree.XMLSyntaxError as error:
        message = " ".join((error.msg or "empty document").split())
        what = f"the XML is damaged or breaks off at line {error.lineno} ({message})"
    except EOFError:
        what = "the compressed file breaks off"
    except (igzip.BadGzipFile, isal_zlib.error) as error:  # type: ignore[misc]
        what = f"the gzip file is damaged ({error})"
    except lzma.LZMAError as error:
        what = f"the xz file is damaged ({error})"
    except tarfile.TarError as error:
        what = f"the tar package is damaged or breaks off ({error})"
    except (zipfile.BadZipFile, NotImplementedError, zlib.error) as error:
        what = f"the zip package is damaged or of an unknown kind ({error})"
    except RecursionError:
        what = "the XML's elements are nested too deeply"
    except OSError as error:
        if error.errno is not None:
            raise
        what = f"the bzip2 or Zstandard file is damaged or breaks off ({error})"
    else:
        return
    raise UserError(f"{what}, in {within}" if within else what, where=where, remedy=REMEDY)
