"""Sentences a second of `biobert-scale tag` and of transformers' pipeline("ner"), on the same sentences in
turns.

The weights are random, in BERT's shapes: speed does not depend on what a model has learned. Both compute in
fp32 on one thread of a CPU, and CPU seconds of the whole process count, tag's reading thread included. Every
contestant gets its sentences in memory.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import torch
from transformers import BertConfig, BertModel, BertTokenizer, pipeline
from transformers.utils import logging as transformers_logging

from benchmarks.result import conditions, heading, spread
from benchmarks.turns import in_turns
from biobert_scale.errors import UserError
from biobert_scale.evaluation.ner import Tagger
from biobert_scale.modeling.weights import load_encoder
from biobert_scale.ranges import within
from biobert_scale.release.heads import save_head
from biobert_scale.tag.document import TextDocument
from biobert_scale.tag.documents import read_documents
from biobert_scale.tag.run import tag_stream
from biobert_scale.tag.tagger import EntityTagger, split_words
from biobert_scale.tokens.vocabulary_file import read_entries, vocabulary_file

TAG = "`biobert-scale tag`"
SHAPES = {"BERT-Mini (4 layers, hidden 256)": (4, 256), "BERT-Base (12 layers, hidden 768)": (12, 768)}
Spans = list[list[tuple[int, int]]]
Contestant = Callable[[list[str]], Callable[[], Spans]]
"""Tags sentences; what it returns gives their entities' spans, outside of the time that is measured."""


def first_sentences(path: Path, number: int) -> list[str]:
    """The first sentences of a file, as texts."""
    found = ((document, sentence) for document in read_documents(path) for sentence in split_words(document))
    return [
        document.text[sentence.starts[0] : sentence.ends[-1]]
        for document, sentence in itertools.islice(found, number)
    ]


def make_model(directory: Path, vocabulary: Path, layers: int, hidden: int) -> Path:
    """A token classifier with random weights; its head's are large, so that it marks something."""
    pieces = read_entries(vocabulary_file(vocabulary))
    start = directory / "start"
    BertTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)}, do_lower_case=False
    ).save_pretrained(start)
    torch.manual_seed(1)
    shape = BertConfig(
        vocab_size=len(pieces),
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
    )
    BertModel(shape).save_pretrained(start)
    tagger = Tagger(load_encoder(start), 0.0)
    tagger.classifier.weight.data.normal_(std=1.0)
    save_head(
        directory / "model",
        tagger.bert,
        tagger.classifier,
        labels=["O", "B-Disease", "I-Disease"],
        problem="token_classification",
        source=start,
        details={"max_seq_length": 256},
    )
    return directory / "model"


def contestants(model: Path, directory: Path) -> dict[str, Contestant]:
    tagger = EntityTagger(model, torch.device("cpu"))
    ner: Any = pipeline("token-classification", model=str(model), aggregation_strategy="first", device="cpu")
    output = directory / "out.jsonl"

    def tag(texts: list[str]) -> Callable[[], Spans]:
        tag_stream(
            [TextDocument(id=str(number), title=text) for number, text in enumerate(texts)],
            [tagger],
            output,
            "jsonl",
        )
        return lambda: [_spans(json.loads(line)["entities"]) for line in output.read_text().splitlines()]

    def piped(size: int) -> Contestant:
        def run(texts: list[str]) -> Callable[[], Spans]:
            found = ner(texts, batch_size=size)
            return lambda: list(map(_spans, found))

        return run

    return {TAG: tag, **{f'`pipeline("ner")`, batch {size}': piped(size) for size in (1, 32)}}


class _Entity(TypedDict):
    start: int
    end: int


def _spans(entities: list[_Entity]) -> list[tuple[int, int]]:
    return [(entity["start"], entity["end"]) for entity in entities]


@within(sentences="[1, 1e6]", repeats="[1, 1000]")
def tag(*, vocabulary: Path, input: Path, sentences: int = 256, repeats: int = 5) -> None:
    """Measure sentences a second of `biobert-scale tag`, beside transformers' pipeline("ner").

    Prints Markdown.

    Args:
        vocabulary: vocab.txt, or a directory that holds it.
        input: text, PubMed XML or PubTator.
        sentences: how many of the file's first sentences are tagged.
        repeats: turns of each contestant.
    """
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(1)
    texts = first_sentences(input, sentences)
    if not texts:
        raise UserError("no sentence", where=input, remedy="name a file with text")
    words = sum(len(text.split()) for text in texts) / len(texts)
    options = f"tag --vocabulary DIR --input FILE --sentences {sentences} --repeats {repeats}"
    lines = heading("Tagging", conditions(options, ["torch", "transformers"]), "one thread, fp32")
    lines += [
        f"- {len(texts)} sentences of {words:.1f} words; medians of the turns (lowest to highest)",
        "",
        "| model | contestant | sentences a CPU second | entities that differ from tag's |",
        "|---|---|---:|---:|",
    ]
    print("\n".join(lines), flush=True)
    for name, (layers, hidden) in SHAPES.items():
        with tempfile.TemporaryDirectory() as directory:
            runs = contestants(make_model(Path(directory), vocabulary, layers, hidden), Path(directory))
            found = {contestant: run(texts)() for contestant, run in runs.items()}  # also warms up
            speeds: dict[str, list[float]] = {contestant: [] for contestant in runs}
            for _, contestant in in_turns(list(runs), repeats):
                begun = time.process_time()
                runs[contestant](texts)
                speeds[contestant].append(len(texts) / (time.process_time() - begun))
            for contestant, rates in speeds.items():
                differ = sum(
                    len(set(mine) ^ set(theirs))
                    for mine, theirs in zip(found[TAG], found[contestant], strict=True)
                )
                print(
                    f"| {name} | {contestant} | {spread(rates)} | {differ} of {sum(map(len, found[TAG]))} |",
                    flush=True,
                )
