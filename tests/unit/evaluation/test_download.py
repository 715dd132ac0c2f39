from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from biobert_scale.cli import main
from biobert_scale.errors import RunFailed, UserError
from biobert_scale.evaluation.download import Source, download, read_sources
from tests.factories import FILES, write_entities
from tests.http_server import Handler, running


class Publisher(ThreadingHTTPServer):
    """A web server with some files; it counts requests, and answers the first `failures` of them with 503."""

    def __init__(self, files: dict[str, bytes], failures: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), PublisherHandler)
        self.files, self.failures, self.requests = files, failures, 0
        self.cut: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class PublisherHandler(Handler):
    server: Publisher

    def do_GET(self) -> None:
        self.server.requests += 1
        content = self.server.files.get(self.path)
        if self.server.requests <= self.server.failures or content is None:
            self.send_error(404 if content is None else 503)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if self.server.requests != self.server.cut else content[: len(content) // 2])


@contextmanager
def publishing(files: dict[str, bytes], failures: int = 0) -> Iterator[Publisher]:
    with running(Publisher(files, failures)) as server:
        yield server


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def source(server: Publisher, path: str, address: str, content: bytes) -> Source:
    return Source(path=path, url=server.url + address, sha256=hashlib.sha256(content).hexdigest())


def test_files_come_out_of_archives_once_and_are_not_fetched_again(tmp_path):
    one, two, three = b"first", b"second", b"third"
    archive = zipped({"Data/deep/one.txt": one, "Data/two.txt": two, "__MACOSX/two.txt": b"junk"})
    with publishing({"/all.zip": archive, "/three.txt": three}) as server:
        sources = [
            source(server, "a/one.txt", "/all.zip", one),
            source(server, "a/two.txt", "/all.zip", two),
            source(server, "b/three.txt", "/three.txt", three),
        ]
        assert download(tmp_path, sources) == [
            tmp_path / "a/one.txt",
            tmp_path / "a/two.txt",
            tmp_path / "b/three.txt",
        ]
        assert [(tmp_path / s.path).read_bytes() for s in sources] == [
            one,
            two,
            three,
        ] and server.requests == 2
        assert download(tmp_path, sources) == [] and server.requests == 2


@pytest.mark.fault("the benchmarks' server is busy or breaks off", "asked again")
def test_passing_trouble_is_waited_out(tmp_path):
    waits: list[float] = []
    with publishing({"/x.txt": b"x" * 5000}, failures=2) as server:
        server.cut = 3  # the connection ends half-way
        download(tmp_path, [source(server, "x.txt", "/x.txt", b"x" * 5000)], wait=waits.append)
        assert server.requests == 4 and len(waits) == 3 and (tmp_path / "x.txt").stat().st_size == 5000


@pytest.mark.parametrize(
    ("files", "path", "says"),
    [
        ({"/x.zip": zipped({"x.txt": b"other"})}, "x.txt", "SHA-256 differs"),
        ({"/x.zip": b"an error page"}, "x.txt", "SHA-256 differs"),
        ({"/x.zip": zipped({"y.txt": b"right"})}, "x.txt", "holds x.txt 0 times"),
        ({"/x.zip": zipped({"a/x.txt": b"right", "b/x.txt": b"right"})}, "x.txt", "holds x.txt 2 times"),
        ({}, "x.txt", "404"),
    ],
)
@pytest.mark.fault("another file than the published one", "refused by its checksum, not kept")
def test_anything_but_the_published_file_is_refused_and_not_kept(tmp_path, files, path, says):
    with publishing(files) as server, pytest.raises(RunFailed, match=says):
        download(tmp_path, [source(server, path, "/x.zip", b"right")])
    assert not list(tmp_path.rglob("*.txt"))


@pytest.mark.fault("a benchmark's file was changed on the disk", "refused, not overwritten")
def test_a_changed_file_on_the_disk_is_not_overwritten(tmp_path):
    (tmp_path / "x.txt").write_text("mine")
    with pytest.raises(UserError, match="not the published file"):
        download(tmp_path, [Source(path="x.txt", url="http://127.0.0.1:9/x.txt", sha256="0" * 64)])
    assert (tmp_path / "x.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[file]]\npath = "../x"\nurl = "http://h/x"\nsha256 = "%s"' % ("0" * 64), "leaves the directory"),
        ('[[file]]\npath = "x"\nurl = "http://h/x"\nsha256 = "12"', "no SHA-256"),
        ('[[file]]\npath = "x"\nurl = "http://h/x"', "not a file of addresses"),
        ("file = ", "not a file of addresses"),
        ('[[file]]\npath = "x"\nurl = 3\nsha256 = "%s"' % ("0" * 64), "'3' is no address"),
    ],
)
def test_wrong_addresses_are_told(tmp_path, text, says):
    (tmp_path / "sources.toml").write_text(text)
    with pytest.raises(UserError, match=says):
        read_sources(tmp_path / "sources.toml")


def test_the_packages_own_addresses_are_of_files_that_prepare_knows():
    from biobert_scale.evaluation.tasks.spec import known_tasks

    assert {Path(entry.path).name for entry in read_sources(None)} == {
        name
        for task in known_tasks().values()
        for source in task.sources
        if source.format == "pubtator"
        for name in (*source.train, *source.dev, *source.test)
    }


def test_the_published_files_have_the_checksums_that_are_asked(real_data):
    for entry in read_sources(None):
        (path,) = real_data.rglob(Path(entry.path).name)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256


def test_prepare_fetches_and_prepares_in_one_command(tmp_path, capsys):
    written = write_entities(tmp_path / "made-up")
    contents = {name: (written / name).read_bytes() for name in FILES.values()}
    with publishing({"/all.zip": zipped(contents)}) as server:
        entries = [source(server, f"ncbi/{name}", "/all.zip", content) for name, content in contents.items()]
        lines = [f'[[file]]\npath = "{e.path}"\nurl = "{e.url}"\nsha256 = "{e.sha256}"\n' for e in entries]
        (tmp_path / "sources.toml").write_text("\n".join(lines))
        arguments = [
            "--benchmarks",
            str(tmp_path / "in"),
            "--output",
            str(tmp_path / "out"),
            "--sources",
            str(tmp_path / "sources.toml"),
        ]
        assert main(["evaluate", "prepare", *arguments]) == 0
    assert (
        tmp_path / "out" / "NCBI-disease" / "test.jsonl"
    ).is_file() and "NCBI-disease" in capsys.readouterr().out
