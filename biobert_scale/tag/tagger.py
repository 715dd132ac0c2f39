"""A token classifier on packed rows: documents to sentences, windows, tags, and spans of the documents'
characters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import BertConfig, PreTrainedTokenizerBase

from biobert_scale.environment import keep_few_kernels
from biobert_scale.errors import UserError
from biobert_scale.evaluation.ner import Window, make_windows
from biobert_scale.evaluation.packed_sequences import in_batches, load_tokenizer
from biobert_scale.evaluation.readers import TaggedSentence
from biobert_scale.evaluation.scores import entity_spans
from biobert_scale.evaluation.tagging import words_by_sentence
from biobert_scale.modeling.inference import Precision
from biobert_scale.modeling.weights import read_model_config
from biobert_scale.release.heads import DETAILS, MODEL
from biobert_scale.resident import FreedMemory
from biobert_scale.tag.backends import Backend, OnnxScores, TorchScores
from biobert_scale.tag.document import TextDocument

_CLASS = "BertForTokenClassification"


@dataclass(frozen=True, kw_only=True, order=True)
class Entity:
    """A name in a document: characters `start` to `end` (exclusive) of its text."""

    start: int
    end: int
    type: str
    text: str
    score: float
    """Mean over its words of the probability of their tags."""


@dataclass(frozen=True, kw_only=True)
class TaggerConfig:
    """How models compute. Nothing here changes anything but the rounding, which of int8 is coarse."""

    device: str = "cpu"
    """`auto` takes a GPU where there is one."""
    backend: Backend = "torch"
    """`onnx`: ONNX Runtime, on what `export --onnx` wrote."""
    precision: Literal["auto", Precision] = "auto"
    """Of the matrix products. `auto`: bf16 on a GPU that computes in it, fp32 elsewhere."""
    max_seq_length: int = 0
    """Word pieces in one window; 0 for what the model was fine-tuned with."""
    batch_tokens: int = 0
    """Word pieces in one forward pass; 0 for 2,048 on a CPU, which its caches hold, and 8,192 on a GPU."""


def load_taggers(models: Sequence[Path], config: TaggerConfig) -> list[EntityTagger]:
    """See `EntityTagger`."""
    device = choose_device(config.device)
    return [
        EntityTagger(
            model,
            device,
            backend=config.backend,
            precision=config.precision,
            max_seq_length=config.max_seq_length,
            batch_tokens=config.batch_tokens,
        )
        for model in models
    ]


class EntityTagger:
    """A fine-tuned model, ready to tag.

    Args:
        directory: what `biobert-scale export` wrote from a fine-tuning run, such a run itself, or any
            directory of a cased or uncased `BertForTokenClassification` whose labels are O, B-X and I-X.
        device: where it computes.
        backend, precision, max_seq_length, batch_tokens: see `TaggerConfig`.

    Raises:
        UserError: no such model, other labels, no tokenizer that fits, a window longer than the model's
            positions, or a backend or precision that is not there.
    """

    def __init__(
        self,
        directory: Path,
        device: torch.device,
        *,
        backend: Backend = "torch",
        precision: Literal["auto", Precision] = "auto",
        max_seq_length: int = 0,
        batch_tokens: int = 0,
    ) -> None:
        directory = _inside(directory)
        config = _read_config(directory)
        keep_few_kernels()
        self._freed = FreedMemory(seconds=1)
        self.directory, self.device = directory, device
        self.batch_tokens = batch_tokens or (2048 if device.type == "cpu" else 8192)
        self.labels = _labels(config)
        self.types = _types(config)
        trained = getattr(config, DETAILS, {}).get("max_seq_length", config.max_position_embeddings)
        self.max_seq_length = max_seq_length or trained
        if not 8 <= self.max_seq_length <= config.max_position_embeddings:
            most = f"the model's {config.max_position_embeddings} positions"
            what = f"a window of {self.max_seq_length} pieces is not between 8 and {most}"
            raise UserError(what, where=directory, remedy="correct --max-seq-length")
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(directory)
        self.scores: Callable[[Sequence[Window]], Tensor]
        if backend == "onnx":
            self.scores = OnnxScores(directory, device, precision)
        else:
            self.scores = TorchScores(directory, len(self.labels), device, precision)

    def tag(self, documents: Sequence[TextDocument]) -> list[list[Entity]]:
        """The entities of each document in the order of the text."""
        return self.compute(self.prepare(documents))

    def prepare(self, documents: Sequence[TextDocument]) -> Prepared:
        """What needs no device: sentences, words, word pieces and windows."""
        sentences = [(place, each) for place, text in enumerate(documents) for each in split_words(text)]
        windows = make_windows([sentence for _, sentence in sentences], self.tokenizer, self.max_seq_length)
        return Prepared(documents=documents, sentences=sentences, windows=windows)

    @torch.inference_mode()
    def compute(self, prepared: Prepared) -> list[list[Entity]]:
        """Tag what was prepared."""
        tags = [[""] * len(sentence.tokens) for _, sentence in prepared.sentences]
        scores = [[0.0] * len(sentence.tokens) for _, sentence in prepared.sentences]
        # Sequences of one length are neighbours: their attention is computed together.
        windows = sorted(prepared.windows, key=lambda window: len(window.input_ids))
        for batch in in_batches([len(window.input_ids) for window in windows], self.batch_tokens):
            chosen = [windows[index] for index in batch]
            probability, label = self.scores(chosen).softmax(-1).cpu().max(-1)
            found = zip(probability.tolist(), label.tolist(), strict=True)
            for window in chosen:
                for word in window.scored:
                    scores[window.sentence][word], number = next(found)
                    tags[window.sentence][word] = self.labels[number]
            self._freed.give_back()
        entities: list[list[Entity]] = [[] for _ in prepared.documents]
        for (index, sentence), sentence_tags, sentence_scores in zip(
            prepared.sentences, tags, scores, strict=True
        ):
            entities[index] += find_entities(
                prepared.documents[index].text, sentence, sentence_tags, sentence_scores
            )
        return entities


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Documents, their sentences (each with its document's index), and the sentences' windows."""

    documents: Sequence[TextDocument]
    sentences: list[tuple[int, TaggedSentence]]
    windows: list[Window]


def split_words(document: TextDocument) -> list[TaggedSentence]:
    """A document's sentences in words, with their characters in its text: cut as the benchmarks' documents
    are."""
    sentences: list[TaggedSentence] = []
    for offset, part in document.parts():
        for words in filter(None, words_by_sentence(part)):
            sentence = TaggedSentence(
                pmid=document.id,
                sentence=len(sentences),
                tokens=[part[first:last] for first, last in words],
                starts=[first + offset for first, _ in words],
                ends=[last + offset for _, last in words],
                tags=["O"] * len(words),
            )
            sentences.append(sentence)
    return sentences


def find_entities(
    text: str, sentence: TaggedSentence, tags: Sequence[str], scores: Sequence[float]
) -> list[Entity]:
    """The entities that a sentence's tags describe; an I that continues nothing begins one (as the CoNLL
    script counts). A word without a tag has no word piece: the model does not see it, and it cuts nothing.

    Every entity is checked against the text: its first and last words are where its offsets say.
    """
    entities = []
    words = [word for word, tag in enumerate(tags) if tag]
    for kind, first, last in entity_spans([tags[word] for word in words]):
        inside = words[first:last]
        start, end = sentence.starts[inside[0]], sentence.ends[inside[-1]]
        assert text.startswith(sentence.tokens[inside[0]], start) and text.endswith(
            sentence.tokens[inside[-1]], start, end
        ), (sentence, start, end)
        score = sum(scores[word] for word in inside) / len(inside)
        entities.append(Entity(start=start, end=end, type=kind, text=text[start:end], score=score))
    return entities


def merge_entities(found: Sequence[list[list[Entity]]]) -> list[list[Entity]]:
    """What several models found, each in the same documents: all of a document in the order of its text."""
    return [sorted(itertools.chain(*of_models)) for of_models in zip(*found, strict=True)]


def choose_device(name: str) -> torch.device:
    """A device by its name; `auto` takes a GPU where there is one.

    Raises:
        UserError: there is no such device.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        what = f"no device '{name}' ({str(error).splitlines()[0]})"
        raise UserError(what, where="--device", remedy="use cpu, cuda or auto") from None
    return device


def model_types(directory: Path) -> list[str]:
    """What a model marks.

    Raises:
        UserError: no such model, or other labels; see `EntityTagger`.
    """
    return _types(_read_config(_inside(directory)))


def _inside(directory: Path) -> Path:
    """The model's files: of a fine-tuning run they are below it."""
    return directory / MODEL if (directory / MODEL / "config.json").is_file() else directory


def _read_config(directory: Path) -> BertConfig:
    config = read_model_config(directory)
    if config.architectures != [_CLASS]:
        found = ", ".join(config.architectures or ["no class"])
        remedy = "fine-tune it first: `biobert-scale evaluate finetune`"
        if found == "BertForSequenceClassification":
            remedy = 'it labels whole documents: use transformers\' pipeline("text-classification")'
        raise UserError(f"not a tagger of entities ({found})", where=directory, remedy=remedy)
    labels = set(_labels(config))
    if "O" not in labels or any(label != "O" and label[:2] not in ("B-", "I-") for label in labels):
        what = f"labels other than O, B-X and I-X ({', '.join(sorted(labels))})"
        raise UserError(what, where=directory, remedy="correct id2label in its config.json")
    return config


def _labels(config: BertConfig) -> list[str]:
    names: dict[Any, str] = config.id2label or {}
    return [names[number] for number in sorted(names, key=int)]


def _types(config: BertConfig) -> list[str]:
    return sorted({label.partition("-")[2] for label in _labels(config)} - {""})
