"""One thread, batches of many clients, and nobody pays for another's document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from biobert_scale.serve.model_thread import ModelThread
from biobert_scale.tag.document import TextDocument
from biobert_scale.tag.tagger import Entity, EntityTagger
from tests.factories import FRAMES, NAMES, write_tagger

TIMEOUT = 60


class Watched(EntityTagger):
    """Keeps which documents were computed together; fails at one whose id is `bad`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, torch.device("cpu"))
        self.batches: list[list[str]] = []

    def tag(self, documents: Sequence[TextDocument]) -> list[list[Entity]]:
        self.batches.append([document.id for document in documents])
        if "bad" in self.batches[-1]:
            raise RuntimeError("cannot be computed")
        return super().tag(documents)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tagger(tmp_path_factory.mktemp("model"))


@pytest.fixture
def tagger(directory: Path) -> Watched:
    return Watched(directory)


@pytest.fixture
def model(tagger: Watched) -> Iterator[ModelThread]:
    """Not started: what is submitted before waits together."""
    thread = ModelThread([tagger])
    yield thread
    thread.stop()


def documents(client: str, number: int, frame: str = FRAMES[0]) -> list[TextDocument]:
    return [
        TextDocument(id=f"{client}{place}", title=frame.format(NAMES[place % len(NAMES)]))
        for place in range(number)
    ]


def rounded(found: dict[str, list[list[Entity]]]) -> dict[str, list[list[Entity]]]:
    """A batch of another size sums in another order."""
    return {
        client: [[replace(entity, score=round(entity.score, 4)) for entity in each] for each in documents]
        for client, documents in found.items()
    }


def test_what_waits_is_computed_together_and_comes_back_to_its_client(
    model: ModelThread, tagger: Watched
) -> None:
    given = {client: documents(client, number) for client, number in (("a", 1), ("b", 3), ("c", 2))}
    futures = {client: model.submit(each) for client, each in given.items()}
    empty = model.submit([])
    model.start()
    found = {client: future.result(TIMEOUT) for client, future in futures.items()}
    assert tagger.batches == [["a0", "b0", "c0", "b1", "c1", "b2"]] and empty.result(0) == []
    assert rounded(found) == rounded({client: tagger.tag(each) for client, each in given.items()})
    assert sum(map(len, found["b"])) > 0, "a model that marks nothing shows nothing"


def test_a_long_request_delays_a_short_one_by_one_batch(model: ModelThread, tagger: Watched) -> None:
    long = model.submit(documents("long", 9, frame="{} was seen. " + "We ran home. " * 400))
    short = model.submit(documents("short", 1))
    assert model.seconds_of_work() > 1
    model.start()
    short.result(TIMEOUT)
    assert "short0" in tagger.batches[0] and len(tagger.batches[0]) < 9
    long.result(TIMEOUT)


def test_what_is_cancelled_is_not_computed(model: ModelThread, tagger: Watched) -> None:
    gone, stays = model.submit(documents("gone", 2)), model.submit(documents("stays", 1))
    assert gone.cancel()
    model.start()
    stays.result(TIMEOUT)
    assert tagger.batches == [["stays0"]]


def test_a_document_that_fails_costs_its_own_request_only(
    model: ModelThread, caplog: pytest.LogCaptureFixture
) -> None:
    bad = model.submit([*documents("x", 1), TextDocument(id="bad", title="bad"), *documents("y", 4)])
    good = model.submit(documents("z", 2))
    model.start()
    assert len(good.result(TIMEOUT)) == 2
    with pytest.raises(RuntimeError, match="cannot be computed"):
        bad.result(TIMEOUT)
    assert "could not be tagged" in caplog.text
    assert len(model.submit(documents("later", 1)).result(TIMEOUT)) == 1
