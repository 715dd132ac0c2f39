"""The page and the API on real models: every format is what `tag` writes, every mistake one line."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lxml import html
from starlette.testclient import TestClient

from biobert_scale.serve.app import make_app
from biobert_scale.serve.limits import Limits
from biobert_scale.tag.documents import read_documents
from biobert_scale.tag.run import tag_stream
from biobert_scale.tag.tagger import EntityTagger
from tests.factories import FRAMES, NAMES, abstract, write_tagger

SENTENCES = [frame.format(name) for frame in FRAMES for name in NAMES[:2]]
PUBMED = "".join(abstract(number, text) for number, text in enumerate(SENTENCES))
BODY = gzip.compress(f"<PubmedArticleSet>{PUBMED}</PubmedArticleSet>".encode(), mtime=0)
KINDS = ("Chemical", "Disease")


@pytest.fixture(scope="module")
def taggers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, EntityTagger]]:
    directory = tmp_path_factory.mktemp("models")
    return [
        (kind.lower(), EntityTagger(write_tagger(directory / kind, kind), torch.device("cpu")))
        for kind in KINDS
    ]


@pytest.fixture(scope="module")
def client(taggers: list[tuple[str, EntityTagger]]) -> Iterator[TestClient]:
    app = make_app(taggers, Limits(request_bytes=100_000))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def error_of(answer: Any) -> str:
    parts = answer.json()
    assert parts["error"] == f"{parts['what']}: {parts['where']}; {parts['remedy']}"
    assert "\n" not in parts["error"] and answer.headers["content-security-policy"].startswith("default-src")
    return str(parts["error"])


@pytest.mark.parametrize("form", ["jsonl", "pubtator", "bioc", "csv", "html"])
def test_a_file_comes_back_as_tag_writes_it(
    client: TestClient, taggers: list[tuple[str, EntityTagger]], tmp_path: Path, form: Any
) -> None:
    source = tmp_path / "some.xml.gz"
    source.write_bytes(BODY)
    tag_stream(read_documents(source), [tagger for _, tagger in taggers], tmp_path / "out", form)
    answer = client.post(f"/api/file?format={form}&name=some.xml.gz", content=BODY)
    assert answer.status_code == 200 and answer.content == (tmp_path / "out").read_bytes()
    summary = json.loads(answer.headers["x-summary"])
    assert summary["documents"] == len(SENTENCES) and set(summary["entities"]) == {*KINDS}
    assert answer.headers["content-disposition"].startswith('attachment; filename="entities.')


def test_texts_come_back_as_json(client: TestClient, taggers: list[tuple[str, EntityTagger]]) -> None:
    answer = client.post("/api/texts", json={"texts": [*SENTENCES, "", "ﬁ\u2028🐁 palsy"]}).json()
    assert [document["id"] for document in answer["documents"]] == [
        str(number) for number in range(1, len(SENTENCES) + 3)
    ]
    entities = [
        (document["text"], entity) for document in answer["documents"] for entity in document["entities"]
    ]
    assert {entity["type"] for _, entity in entities} == {*KINDS}
    assert all(text[entity["start"] : entity["end"]] == entity["text"] for text, entity in entities)
    assert client.post("/api/texts", json={"texts": []}).json() == {"documents": []}


def test_the_page_names_the_models_and_needs_no_other_server(client: TestClient) -> None:
    answer = client.get("/")
    page = html.fromstring(answer.text)
    assert [mark.text for mark in page.iter("mark")] == [*KINDS]
    used = [value for _, name, value, _ in page.iterlinks()]
    assert used == ["page.css", "page.js"] and not page.xpath("//style | //@style | //@onclick")
    assert not re.search(r"//\w", "".join(client.get(f"/{name}").text for name in used))
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert answer.headers["cache-control"] == "no-store"
    described = client.get("/api").json()
    assert [model["name"] for model in described["models"]] == ["chemical", "disease"]
    assert client.head("/").status_code == 200 and client.get("/health").json()["under_way"] == 0


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "says"),
    [
        ("POST", "/api/file", {}, 400, "nothing was sent"),
        (
            "POST",
            "/api/file?format=xlsx",
            {"content": b"x"},
            400,
            "no format 'xlsx': the address; use one of",
        ),
        ("POST", "/api/file?input-format=x", {"content": b"x"}, 400, "no input-format 'x'"),
        ("POST", "/api/file?fromat=csv", {"content": b"x"}, 400, "no parameter 'fromat'"),
        ("POST", "/api/texts?format=csv", {"json": {}}, 400, "no parameter 'format'"),
        ("POST", "/api/file", {"content": b"\xff"}, 400, "not UTF-8 text"),
        ("POST", "/api/file", {"content": b"<article>"}, 400, "XML is damaged"),
        ("POST", "/api/file", {"content": bytes(100_001)}, 413, "a body of more than 100,000 bytes"),
        ("POST", "/api/file", {"content": bytes(1_000_000)}, 413, "a body of more than 100,000 bytes"),
        ("POST", "/api/file", {"content": gzip.compress(bytes(900_000))}, 413, "decompressed"),
        ("POST", "/api/file", {"data": {"text": "x"}}, 415, "a form"),
        ("POST", "/api/file", {"files": {"file": b"x"}}, 415, "a form (multipart/form-data)"),
        (
            "POST",
            "/api/file",
            {"content": b"x", "headers": {"Content-Type": "text/plain; charset=latin1"}},
            415,
            "text in latin1",
        ),
        ("POST", "/api/file", {"content": b"x", "headers": {"Content-Encoding": "br"}}, 415, "encoded"),
        ("POST", "/api/texts", {"content": b'{"texts": ["x"]}'}, 415, "not declared as JSON"),
        ("POST", "/api/texts", {"json": ["x"]}, 400, "no object with a list of strings"),
        ("GET", "/api/file", {}, 405, "GET is not answered"),
        ("OPTIONS", "/api/texts", {}, 405, "OPTIONS is not answered"),
        ("POST", "/", {}, 405, "POST is not answered"),
        ("GET", "/templates/page.html", {}, 404, "nothing is there"),
        ("GET", "/..%2f..%2fetc/passwd", {}, 404, "nothing is there"),
        ("GET", "/page.css/../../app.py", {}, 404, "nothing is there"),
        (
            "POST",
            "/api/file",
            {"content": b"x", "headers": {"Sec-Fetch-Site": "cross-site"}},
            403,
            "a page of another site asks",
        ),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    client: TestClient, method: str, path: str, options: dict[str, Any], status: int, says: str
) -> None:
    answer = client.request(method, path, **options)
    assert answer.status_code == status and says in error_of(answer)
    assert "passwd" not in answer.text or status == 404
    assert client.get("/health").json() == {"status": "ok", "under_way": 0}


def test_more_requests_than_may_wait_are_sent_away(taggers: list[tuple[str, EntityTagger]]) -> None:
    with TestClient(make_app(taggers, Limits(waiting=0))) as client:
        answer = client.post("/api/texts", json={"texts": ["x"]})
    assert answer.status_code == 503 and "requests are under way" in error_of(answer)
    assert int(answer.headers["retry-after"]) >= 1


def test_what_takes_too_long_is_given_up(taggers: list[tuple[str, EntityTagger]]) -> None:
    client = TestClient(make_app(taggers, Limits(request_seconds=0.5)))  # not entered: nothing computes
    answer = client.post("/api/texts", json={"texts": SENTENCES})
    assert answer.status_code == 503 and "not done in 0.5 seconds" in error_of(answer)
    assert answer.headers["retry-after"] and client.get("/health").json()["under_way"] == 0


def test_an_error_of_the_server_is_one_line_and_the_next_request_is_answered(
    taggers: list[tuple[str, EntityTagger]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(documents: object) -> None:
        raise RuntimeError("secret")

    with TestClient(make_app(taggers), raise_server_exceptions=False) as client:
        with monkeypatch.context() as patch:
            patch.setattr(taggers[0][1], "tag", broken)
            answer = client.post("/api/texts", json={"texts": ["x"]})
        assert answer.status_code == 500 and "the server failed" in answer.json()["error"]
        assert "secret" not in answer.text
        assert client.post("/api/texts", json={"texts": ["x"]}).status_code == 200
