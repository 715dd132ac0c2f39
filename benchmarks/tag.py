"""Sentences a second of `biobert-scale tag` in its precisions and backends, of transformers' pipeline("ner"),
of ONNX Runtime on padded batches, and of spaCy's transformer pipe where `spacy-curated-transformers` is
installed: on the same sentences, in turns.

The products of tag's forward passes alone are a contestant as well: with all else at no cost, tag would be as
fast as they are.

The weights are random, in BERT's shapes: speed does not depend on what a model has learned. All compute on
one thread of a CPU, and CPU seconds of the whole process count, tag's reading thread included. Every
contestant gets its sentences in memory.
"""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor
from transformers import BertConfig, BertForTokenClassification, BertModel, BertTokenizer, pipeline

from benchmarks.result import conditions, heading, spread
from benchmarks.turns import in_turns
from biobert_scale.errors import UserError
from biobert_scale.evaluation.ner import Tagger
from biobert_scale.evaluation.packed_sequences import in_batches
from biobert_scale.modeling.inference import FrozenEncoder, Precision
from biobert_scale.modeling.linear import multiplies_natively
from biobert_scale.modeling.weights import load_encoder
from biobert_scale.ranges import within
from biobert_scale.release.heads import save_head
from biobert_scale.release.onnx import INPUTS, write_onnx
from biobert_scale.release.quiet import quietly
from biobert_scale.tag.backends import Backend
from biobert_scale.tag.document import TextDocument
from biobert_scale.tag.documents import read_documents
from biobert_scale.tag.run import tag_stream
from biobert_scale.tag.tagger import EntityTagger, split_words
from biobert_scale.tokens.vocabulary_file import read_entries, vocabulary_file

TAG = "`biobert-scale tag`"
SHAPES = {
    "mini": ("BERT-Mini (4 layers, hidden 256)", 4, 256, 1),
    "base": ("BERT-Base (12 layers, hidden 768)", 12, 768, 8),
    "large": ("BERT-Large (24 layers, hidden 1024)", 24, 1024, 16),
}
"""Name, layers, hidden size, and what the number of sentences is divided by."""
_PADDED = 32
_SPACY = "spacy-curated-transformers"
_KINDS: list[tuple[Backend, Precision]] = [
    ("torch", "fp32"),
    *([("torch", "bf16")] if multiplies_natively(torch.empty(0, dtype=torch.bfloat16)) else []),  # type: ignore[list-item]
    ("torch", "int8"),
    ("onnx", "fp32"),
    ("onnx", "int8"),
]
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


def contestants(model: Path, vocabulary: Path, directory: Path) -> dict[str, Contestant]:
    cpu, output = torch.device("cpu"), directory / "out.jsonl"
    with quietly():
        write_onnx(BertForTokenClassification.from_pretrained(model), model)
        ner: Any = pipeline(
            "token-classification", model=str(model), aggregation_strategy="first", device="cpu"
        )

    def tagging(tagger: EntityTagger) -> Contestant:
        def tag(texts: list[str]) -> Callable[[], Spans]:
            documents = [TextDocument(id=str(number), title=text) for number, text in enumerate(texts)]
            tag_stream(documents, [tagger], output, "jsonl")
            return lambda: [_spans(json.loads(line)["entities"]) for line in output.read_text().splitlines()]

        return tag

    def piped(size: int) -> Contestant:
        def run(texts: list[str]) -> Callable[[], Spans]:
            found = ner(texts, batch_size=size)
            return lambda: list(map(_spans, found))

        return run

    def padded(tagger: EntityTagger) -> Contestant:
        """Batches of 32 in the order of the input, up to the labels of the pieces."""

        def run(texts: list[str]) -> Callable[[], Spans]:
            for start in range(0, len(texts), _PADDED):
                batch = tagger.tokenizer(
                    texts[start : start + _PADDED],
                    padding=True,
                    truncation=True,
                    max_length=tagger.max_seq_length,
                    return_tensors="np",
                )
                inputs = {name: batch[name] for name in INPUTS}
                tagger.scores.session.run(None, inputs)[0].argmax(-1)  # type: ignore[attr-defined]
            return list

        return run

    taggers = {
        (backend, precision): EntityTagger(model, cpu, backend=backend, precision=precision)
        for backend, precision in _KINDS
    }
    return {
        **{
            f"{TAG}, {backend}, {precision}": tagging(taggers[backend, precision])
            for backend, precision in _KINDS
        },
        **{
            f"the products of {TAG} alone, {precision}": _products(taggers[backend, precision])
            for backend, precision in _KINDS
            if backend == "torch"
        },
        **{f'`pipeline("ner")`, fp32, batch {size}': piped(size) for size in (1, 32)},
        **{
            f"ONNX Runtime on padded batches of {_PADDED}, {precision}": padded(taggers["onnx", precision])
            for precision in ("fp32", "int8")
        },
        **(
            {"spaCy's transformer pipe, fp32": _spacy(model, vocabulary_file(vocabulary))}
            if find_spec("spacy_curated_transformers")
            else {}
        ),
    }


def _products(tagger: EntityTagger) -> Contestant:
    """The matrix products of all layers, on states of the shapes that the sentences' batches have."""
    encoder: FrozenEncoder = tagger.scores.encoder  # type: ignore[attr-defined]
    kept = torch.bfloat16 if tagger.scores.precision == "bf16" else torch.float32  # type: ignore[attr-defined]
    batches: list[tuple[Tensor, Tensor, Tensor]] = []
    """Of each batch what the first layers' products take, all tokens and the scored words, and the last's."""

    def prepare(texts: list[str]) -> None:
        documents = [TextDocument(id="", title=text) for text in texts]
        windows = sorted(tagger.prepare(documents).windows, key=lambda window: len(window.input_ids))
        size = encoder.embeddings.word_embeddings.embedding_dim
        for batch in in_batches([len(window.input_ids) for window in windows], tagger.batch_tokens):
            tokens = sum(len(windows[index].input_ids) for index in batch)
            words = sum(len(windows[index].first_pieces) for index in batch)
            batches.append(
                (
                    torch.randn(tokens, size).to(kept),
                    torch.randn(words, size).to(kept),
                    torch.randn(tokens, 4 * size).to(kept),
                )
            )

    def multiply(texts: list[str]) -> Callable[[], Spans]:
        if not batches:
            prepare(texts)
        *_, last = encoder.layers
        with torch.inference_mode():
            for states, words, wide in batches:
                for layer in encoder.layers:
                    rows = words if layer is last else states
                    layer.mixed(states)
                    layer.inner(rows)
                    layer.wide(rows)
                    layer.outer(wide[: len(rows)])
        return list

    return multiply


def _spacy(model: Path, vocabulary: Path) -> Contestant:
    """spaCy's tokenizer, a BERT of the model's shape and its transition-based recogniser, with random weights
    (its pieces are the model's), in its own batches."""
    import spacy

    shape = BertConfig.from_pretrained(model)
    encoder = {
        "@architectures": f"{_SPACY}.BertTransformer.v1",
        "vocab_size": shape.vocab_size,
        "num_hidden_layers": shape.num_hidden_layers,
        "hidden_width": shape.hidden_size,
        "intermediate_width": shape.intermediate_size,
        "num_attention_heads": shape.num_attention_heads,
        "piece_encoder": {"@architectures": f"{_SPACY}.BertWordpieceEncoder.v1"},
        "with_spans": {"@architectures": f"{_SPACY}.WithStridedSpans.v1"},
    }
    listener = {
        "@architectures": f"{_SPACY}.LastTransformerLayerListener.v1",
        "width": shape.hidden_size,
        "pooling": {"@layers": "reduce_mean.v1"},
        "upstream": "*",
    }
    recogniser = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner",
        "hidden_width": 64,
        "tok2vec": listener,
    }
    nlp = spacy.blank("en")
    nlp.add_pipe("curated_transformer", config={"model": encoder})
    nlp.add_pipe("ner", config={"model": recogniser}).add_label("Disease")
    nlp.config["initialize"]["components"]["curated_transformer"] = {
        "piecer_loader": {"@model_loaders": f"{_SPACY}.WordpieceLoader.v1", "path": str(vocabulary)}
    }
    nlp.initialize()

    def run(texts: list[str]) -> Callable[[], Spans]:
        for _ in nlp.pipe(texts):
            pass
        return list

    return run


class _Entity(TypedDict):
    start: int
    end: int


def _spans(entities: list[_Entity]) -> list[tuple[int, int]]:
    return [(entity["start"], entity["end"]) for entity in entities]


@within(sentences="[16, 1e6]", repeats="[1, 1000]")
def tag(
    *,
    vocabulary: Path,
    input: Path,
    sentences: int = 256,
    repeats: int = 5,
    shapes: tuple[Literal["mini", "base", "large"], ...] = ("mini", "base", "large"),
) -> None:
    """Measure sentences a second of `biobert-scale tag`, of transformers' pipeline, ONNX Runtime and spaCy.

    Prints Markdown.

    Args:
        vocabulary: vocab.txt, or a directory that holds it.
        input: text, PubMed XML or PubTator.
        sentences: how many of the file's first sentences BERT-Mini tags; Base has an eighth, Large a
            sixteenth of them.
        repeats: turns of each contestant.
        shapes: of the models; large takes some 8 GB of memory.
    """
    torch.set_num_threads(1)
    texts = first_sentences(input, sentences)
    if not texts:
        raise UserError("no sentence", where=input, remedy="name a file with text")
    words = sum(len(text.split()) for text in texts) / len(texts)
    options = f"tag --vocabulary DIR --input FILE --sentences {sentences} --repeats {repeats}"
    options += f" --shapes {' '.join(shapes)}"
    made = conditions(options, ["torch", "transformers", "onnxruntime", "spacy-curated-transformers"])
    lines = heading("Tagging", made, "one thread")
    lines += [
        f"- {len(texts)} sentences of {words:.1f} words (of them Base has the first eighth, Large the first"
        " sixteenth); medians of the turns (lowest to highest)",
        "- The last columns: times the pipeline with batch 1; entities that differ from tag's in fp32",
        "",
        "| model | contestant | sentences a CPU second | times the pipeline | entities that differ |",
        "|---|---|---:|---:|---:|",
    ]
    print("\n".join(lines), flush=True)
    for name, layers, hidden, share in (SHAPES[shape] for shape in shapes):
        with tempfile.TemporaryDirectory() as directory:
            model = make_model(Path(directory), vocabulary, layers, hidden)
            runs = contestants(model, vocabulary, Path(directory))
            for row in _rows(runs, texts[: -(-len(texts) // share)], repeats):
                print(f"| {name} | {' | '.join(row)} |", flush=True)


def _rows(runs: dict[str, Contestant], texts: list[str], repeats: int) -> Iterator[tuple[str, ...]]:
    found = {contestant: run(texts)() for contestant, run in runs.items()}  # also warms up
    speeds: dict[str, list[float]] = {contestant: [] for contestant in runs}
    for _, contestant in in_turns(list(runs), repeats):
        begun = time.process_time()
        runs[contestant](texts)
        speeds[contestant].append(len(texts) / (time.process_time() - begun))
    pipe = statistics.median(next(rates for name, rates in speeds.items() if "pipeline" in name))
    ours = next(iter(found.values()))
    for contestant, rates in speeds.items():
        theirs, differ = found[contestant], "not made"
        if theirs:
            wrong = sum(len(set(one) ^ set(other)) for one, other in zip(ours, theirs, strict=True))
            differ = f"{wrong} of {sum(map(len, ours))}"
        yield contestant, spread(rates), f"{statistics.median(rates) / pipe:.1f}", differ
