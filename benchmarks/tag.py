"""Sentences a second of `biobert-scale tag` and of transformers' pipeline("ner"), on the same sentences in
turns; prints Markdown.

    python benchmarks/tag.py --vocabulary DIR --input pubmed.xml.gz

The weights are random, in BERT's shapes: speed does not depend on what a model has learned. Both compute in
fp32 on one thread of a CPU, and CPU seconds of the whole process count, tag's reading thread included. Every
contestant is handed sentences in memory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast, pipeline
from transformers.utils import logging as transformers_logging

from biobert_scale.bench.environment import machine, versions
from biobert_scale.bench.turns import in_turns
from biobert_scale.evaluation.ner import Tagger
from biobert_scale.release.heads import save_head
from biobert_scale.tag.documents import TextDocument, read_documents
from biobert_scale.tag.run import tag_stream
from biobert_scale.tag.tagger import EntityTagger, split_words
from biobert_scale.tokens.vocabulary_file import read_entries, vocabulary_file

TAG = "`biobert-scale tag`"
SHAPES = {"BERT-Mini (4 layers, hidden 256)": (4, 256), "BERT-Base (12 layers, hidden 768)": (12, 768)}
Spans = list[list[tuple[int, int]]]
Contestant = Callable[[list[str]], Callable[[], Spans]]
"""Tags sentences; what it returns gives their entities' spans, outside of the time that is measured."""


def sentences(path: Path, number: int) -> list[str]:
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
    BertTokenizerFast(
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
    tagger = Tagger(BertModel(shape, add_pooling_layer=False), 0.0)
    tagger.classifier.weight.data.normal_(std=1.0)
    save_head(
        directory / "model",
        tagger.bert,
        tagger.classifier,
        labels=["O", "B-Disease", "I-Disease"],
        of_words=True,
        tokenizer=start,
        details={"max_seq_length": 256},
    )
    return directory / "model"


def contestants(model: Path, directory: Path) -> dict[str, Contestant]:
    tagger = EntityTagger(model, torch.device("cpu"))
    ner = pipeline("ner", model=str(model), aggregation_strategy="first", device="cpu")
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


def _spans(entities: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(entity["start"], entity["end"]) for entity in entities]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--vocabulary", type=Path, required=True, help="vocab.txt, or a directory that holds it"
    )
    parser.add_argument("--input", type=Path, required=True, help="text, PubMed XML or PubTator")
    parser.add_argument("--sentences", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(1)
    texts = sentences(options.input, options.sentences)
    words = sum(len(text.split()) for text in texts) / len(texts)
    print(
        f"{datetime.now(UTC):%Y-%m-%d}: {machine()['cpu']}, one thread, fp32;"
        f" {versions(['torch', 'transformers'])}"
    )
    print(
        f"{len(texts)} sentences of {words:.1f} words; {options.repeats} turns each, medians (lowest to"
        " highest)\n"
    )
    print("| model | way | sentences a CPU second | entities that differ from tag's |\n|---|---|---:|---:|")
    for name, (layers, hidden) in SHAPES.items():
        with tempfile.TemporaryDirectory() as directory:
            ways = contestants(
                make_model(Path(directory), options.vocabulary, layers, hidden), Path(directory)
            )
            found = {way: run(texts)() for way, run in ways.items()}  # also warms up
            speeds: dict[str, list[float]] = {way: [] for way in ways}
            for _, way in in_turns(list(ways), options.repeats):
                begun = time.process_time()
                ways[way](texts)
                speeds[way].append(len(texts) / (time.process_time() - begun))
            for way, rates in speeds.items():
                differ = sum(
                    len(set(mine) ^ set(theirs)) for mine, theirs in zip(found[TAG], found[way], strict=True)
                )
                spread = f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"
                print(f"| {name} | {way} | {spread} | {differ} of {sum(map(len, found[TAG]))} |", flush=True)


if __name__ == "__main__":
    main()
