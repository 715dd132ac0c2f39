"""A token classifier on packed rows: documents to sentences, windows, tags, and spans of the documents'
characters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, PreTrainedTokenizerBase

from biobert_scale.errors import UserError
from biobert_scale.evaluation.ner import Window, make_windows, pack_windows
from biobert_scale.evaluation.packed_sequences import in_batches, load_tokenizer
from biobert_scale.evaluation.readers import TaggedSentence
from biobert_scale.evaluation.scores import entity_spans
from biobert_scale.evaluation.tagging import words_by_sentence
from biobert_scale.modeling.weights import encoder_of, fill, read_model_config, read_source
from biobert_scale.release.heads import DETAILS, MODEL
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


class EntityTagger:
    """A fine-tuned model, ready to tag.

    Args:
        directory: what `biobert-scale export` wrote from a fine-tuning run, such a run itself, or any
            directory of a cased or uncased `BertForTokenClassification` whose labels are O, B-X and I-X.
        device: where it computes.
        max_seq_length: word pieces in one window; 0 for what the model was fine-tuned with.
        batch_tokens: word pieces in one forward pass.

    Raises:
        UserError: no such model, other labels, no tokenizer that fits, or a window longer than the model's
            positions.
    """

    def __init__(
        self, directory: Path, device: torch.device, *, max_seq_length: int = 0, batch_tokens: int = 8192
    ) -> None:
        if (directory / MODEL / "config.json").is_file():
            directory = directory / MODEL
        config = _read_config(directory)
        self.directory, self.device, self.batch_tokens = directory, device, batch_tokens
        self.labels = _labels(config)
        self.types = sorted({label.partition("-")[2] for label in self.labels} - {""})
        trained = getattr(config, DETAILS, {}).get("max_seq_length", config.max_position_embeddings)
        self.max_seq_length = max_seq_length or trained
        if not 8 <= self.max_seq_length <= config.max_position_embeddings:
            most = f"the model's {config.max_position_embeddings} positions"
            what = f"a window of {self.max_seq_length} pieces is not between 8 and {most}"
            raise UserError(what, where=directory, remedy="correct --max-seq-length")
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(directory)
        source = read_source(directory)
        self.encoder = encoder_of(source).eval().to(device)
        self.classifier = nn.Linear(config.hidden_size, len(self.labels))
        fill(self.classifier, source, "classifier.")
        self.classifier.to(device)

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
        for batch in in_batches([len(window.input_ids) for window in prepared.windows], self.batch_tokens):
            chosen = [prepared.windows[index] for index in batch]
            probability, label = self._classify(chosen).max(-1)
            found = zip(probability.tolist(), label.tolist(), strict=True)
            for window in chosen:
                for word in window.scored:
                    scores[window.sentence][word], number = next(found)
                    tags[window.sentence][word] = self.labels[number]
        entities: list[list[Entity]] = [[] for _ in prepared.documents]
        for (index, sentence), sentence_tags, sentence_scores in zip(
            prepared.sentences, tags, scores, strict=True
        ):
            entities[index] += find_entities(
                prepared.documents[index].text, sentence, sentence_tags, sentence_scores
            )
        return entities

    def _classify(self, windows: Sequence[Window]) -> Tensor:
        """Probabilities of the labels at every scored word, (words, labels) fp32 on the host."""
        packed, first_pieces = pack_windows(windows, self.device)
        # As in fine-tuning: bf16 products on a GPU that computes in it, fp32 elsewhere.
        in_bf16 = self.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=in_bf16):
            scores: Tensor = self.classifier(self.encoder(packed)[first_pieces])
        return scores.float().softmax(-1).cpu()


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
