"""Entity recognition: a tag for every word (O, B, I, with the type where a task has several), read from its
first word piece (Devlin et al. 2019, section 5.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from biobert_scale.evaluation.cross_corpus import Transfer, keep_types
from biobert_scale.evaluation.entity_scores import break_down_tags, names_of, score_entities, spans_of
from biobert_scale.evaluation.packed_sequences import PackedHead, encode, in_batches, pack
from biobert_scale.evaluation.prepared import SPLITS, is_typed, read_annotated, read_sentences, task_of
from biobert_scale.evaluation.pubtator import AnnotatedDocument, write_pubtator
from biobert_scale.evaluation.readers import TaggedSentence
from biobert_scale.evaluation.records import Breakdown, Scored
from biobert_scale.evaluation.tasks.spec import Task
from biobert_scale.files import write_atomically
from biobert_scale.modeling.batch import PackedSequences
from biobert_scale.modeling.model import Encoder
from biobert_scale.training.runtime import gather_parts, my_part

TAGS = ("O", "B", "I")
"""Of a task with one type."""
PREDICTIONS, PUBTATOR = "predictions.tsv", "predictions.pubtator"
_EVALUATION_TOKENS = 8192
"""Word pieces in one forward pass without gradients."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of one sentence that fits the encoder.

    Overlapping windows share a sentence's words out among them: each word is scored in exactly one window.
    """

    sentence: int
    """Index in the split's list of sentences."""
    input_ids: list[int]
    """Word pieces with [CLS] and [SEP]."""
    words: range
    """The words of the sentence that are scored here."""
    first_pieces: list[int]
    """Position in `input_ids` of each of them that has one."""
    scored: list[int]
    """The words that `first_pieces` belong to: all of `words` but those that the tokenizer drops."""


def make_windows(
    sentences: Sequence[TaggedSentence], tokenizer: PreTrainedTokenizerBase, max_seq_length: int
) -> list[Window]:
    """Cut sentences into windows of at most `max_seq_length` word pieces that overlap by about a quarter."""
    if not sentences:
        return []
    encoded = encode(tokenizer, [sentence.tokens for sentence in sentences], in_words=True)
    windows = []
    for index, sentence in enumerate(sentences):
        pieces: list[list[int]] = [[] for _ in sentence.tokens]
        words_of = cast(list[int], encoded.word_ids(index))  # every piece belongs to a word
        for piece, word in zip(encoded["input_ids"][index], words_of, strict=True):
            pieces[word].append(piece)
        stretches = _stretches([len(word) for word in pieces], max_seq_length - 2)
        for number, stretch in enumerate(stretches):
            # Where two windows overlap, the middle of the overlap divides them: every word is scored with
            # context.
            first = (stretch.start + stretches[number - 1].stop) // 2 if number else 0
            following = stretches[number + 1].start if number + 1 < len(stretches) else stretch.stop
            words = range(first, (following + stretch.stop) // 2)
            windows.append(_window(index, pieces, stretch, words, tokenizer, max_seq_length))
    return windows


def _stretches(lengths: Sequence[int], budget: int) -> list[range]:
    """Runs of words that fit `budget` pieces (one word alone may exceed it), each overlapping the one
    before."""
    stretches: list[range] = []
    start = 0
    while True:
        stop, used = start, 0
        while stop < len(lengths) and (used + lengths[stop] <= budget or stop == start):
            used += lengths[stop]
            stop += 1
        stretches.append(range(start, stop))
        if stop == len(lengths):
            return stretches
        overlap, back = 0, stop
        while back - 1 > start and overlap + lengths[back - 1] <= budget // 4:
            back -= 1
            overlap += lengths[back]
        start = back


def _window(
    sentence: int,
    pieces: list[list[int]],
    stretch: range,
    words: range,
    tokenizer: PreTrainedTokenizerBase,
    max_seq_length: int,
) -> Window:
    input_ids, first_pieces, scored = [tokenizer.cls_token_id], [], []
    for word in stretch:
        if word in words and pieces[word]:
            first_pieces.append(len(input_ids))
            scored.append(word)
        input_ids += pieces[word]
    input_ids = [*input_ids[: max_seq_length - 1], tokenizer.sep_token_id]
    return Window(
        sentence=sentence, input_ids=input_ids, words=words, first_pieces=first_pieces, scored=scored
    )


class Tagger(PackedHead):
    """Scores of the tags at each word's first piece."""

    def __init__(self, encoder: Encoder, dropout: float, labels: int = len(TAGS)) -> None:
        super().__init__(encoder, dropout, labels)

    def forward(self, inputs: PackedSequences, first_pieces: Tensor) -> Tensor:
        """(words, tags) fp32; `first_pieces` (words,) are places in the packed row."""
        return self.scores(inputs, first_pieces)


class EntityTask:
    """One entity task, tokenized for one model.

    Args:
        prepared: a directory that `prepare` wrote.
        task: the task's name.
        tokenizer: the model's.
        max_seq_length: word pieces in one window.
        splits: those to read; the others cannot be trained on or predicted.
        transfer: of a tagger that was trained on another task: its tags are predicted, turned into this
            task's, and compared with mentions of the types that they can have.
    """

    def __init__(
        self,
        prepared: Path,
        task: str,
        tokenizer: PreTrainedTokenizerBase,
        max_seq_length: int,
        splits: Sequence[str] = SPLITS,
        transfer: Transfer | None = None,
    ) -> None:
        self._task, self._transfer = task_of(prepared, task), transfer
        self._tags = tags_of(transfer.source if transfer else self._task)
        self._sentences = {split: read_sentences(prepared, task, split) for split in splits}
        self._annotated = {split: read_annotated(prepared, task, split) for split in splits}
        trained_on = transfer.source.name if transfer else task
        self._known = names_of(read_annotated(prepared, trained_on, "train"))
        self._unscored: dict[str, dict[str, int]] = {}
        if transfer and transfer.typed:
            for split in splits:
                self._sentences[split], self._annotated[split], self._unscored[split] = keep_types(
                    self._sentences[split], self._annotated[split], transfer.scored_types
                )
        self._windows = {
            split: make_windows(sentences, tokenizer, max_seq_length)
            for split, sentences in self._sentences.items()
        }
        self._training: list[tuple[str, list[Window]]] = []
        if "train" in splits:
            self.train_on("train")

    def train_on(self, *splits: str) -> None:
        """Choose the training set."""
        self._training = []
        for split in splits:
            of_sentence: list[list[Window]] = [[] for _ in self._sentences[split]]
            for window in self._windows[split]:
                of_sentence[window.sentence].append(window)
            self._training += [(split, windows) for windows in of_sentence]

    def training_size(self) -> int:
        """Sentences to train on."""
        return len(self._training)

    def entries(self) -> set[int]:
        """Ids of the vocabulary that the inputs of all splits have."""
        return {piece for split in self._windows.values() for window in split for piece in window.input_ids}

    def model(self, encoder: Encoder, dropout: float) -> Tagger:
        return Tagger(encoder, dropout, len(self._tags))

    def terms(self, chosen: Sequence[int]) -> int:
        """Words whose losses a step on the chosen sentences sums."""
        return sum(len(window.scored) for index in chosen for window in self._training[index][1])

    def loss(
        self, model: nn.Module, chosen: Sequence[int], device: torch.device, smoothing: float = 0.0
    ) -> Tensor:
        """Summed cross-entropy over the words of the chosen training sentences, labels smoothed."""
        pairs = [
            (self._sentences[split][window.sentence], window)
            for index in chosen
            for split, windows in [self._training[index]]
            for window in windows
        ]
        labels = [
            self._tags.index(sentence.tags[word]) for sentence, window in pairs for word in window.scored
        ]
        scores = model(*pack_windows([window for _, window in pairs], device))
        gold = torch.tensor(labels).to(device)
        return nn.functional.cross_entropy(scores, gold, reduction="sum", label_smoothing=smoothing)

    @torch.no_grad()
    def predict(self, model: nn.Module, split: str, device: torch.device) -> tuple[list[list[str]], int]:
        """Tags of every sentence, and the number of words without a prediction (they count as O). Ranks share
        the windows out."""
        windows, sentences = self._windows[split], self._sentences[split]
        mine: list[tuple[int, list[int]]] = []
        batches = in_batches([len(window.input_ids) for window in windows], _EVALUATION_TOKENS)
        for batch in my_part(list(batches)):
            best = iter(model(*pack_windows([windows[index] for index in batch], device)).argmax(-1).tolist())
            mine += [(index, [next(best) for _ in windows[index].scored]) for index in batch]
        tags = [["O"] * len(sentence.tokens) for sentence in sentences]
        predicted = 0
        for index, found in gather_parts(mine):
            predicted += len(found)
            for word, tag in zip(windows[index].scored, found, strict=True):
                tags[windows[index].sentence][word] = self._tags[tag]
        if self._transfer:
            tags = list(map(self._transfer.tags, tags))
        return tags, sum(len(sentence.tokens) for sentence in sentences) - predicted

    def evaluate(self, model: nn.Module, split: str, device: torch.device) -> Scored:
        """Predict a split and score it: see `score_entities`; `predictions` are the tags."""
        tags, unpredicted = self.predict(model, split, device)
        scores = score_entities(self._task, self._sentences[split], self._annotated[split], tags)
        if split in self._unscored:
            scores["unscored_mentions"] = self._unscored[split]
        return {**scores, "n_truncated_tokens": unpredicted, "predictions": tags}

    def break_down(self, split: str, tags: Sequence[Sequence[str]]) -> Breakdown:
        """Where the errors lie: see `entity_scores.break_down`."""
        sentences, documents = self._sentences[split], self._annotated[split]
        return break_down_tags(self._task, sentences, documents, tags, self._known)

    def write_predictions(self, directory: Path, split: str, tags: Sequence[Sequence[str]]) -> list[Path]:
        """Write `predictions.tsv` and, where the split has PMIDs, `predictions.pubtator`."""
        return write_entity_predictions(
            directory, self._task, self._sentences[split], self._annotated[split], tags
        )


def tags_of(task: Task) -> tuple[str, ...]:
    """A task's tags in the order of a tagger's labels: O, B, I; or O and B-TYPE, I-TYPE of each of several
    types."""
    if not is_typed(task):
        return TAGS
    return ("O", *(f"{letter}-{kind}" for kind in task.types for letter in "BI"))


def pack_windows(windows: Sequence[Window], device: torch.device) -> tuple[PackedSequences, Tensor]:
    """Windows as one row, and the places in it of the scored words' first pieces, (words,) int64."""
    first_pieces, offset = [], 0
    for window in windows:
        first_pieces += [offset + position for position in window.first_pieces]
        offset += len(window.input_ids)
    packed = pack([window.input_ids for window in windows], device)
    return packed, torch.tensor(first_pieces, dtype=torch.long).to(device)


def write_entity_predictions(
    directory: Path,
    task: Task,
    sentences: Sequence[TaggedSentence],
    documents: Sequence[AnnotatedDocument],
    tags: Sequence[Sequence[str]],
) -> list[Path]:
    """As `EntityTask.write_predictions`."""
    paths = [directory / PREDICTIONS]
    write_tags(paths[0], sentences, tags)
    if all(document.pmid.isdecimal() for document in documents):  # IOB2 files name no documents
        paths.append(directory / PUBTATOR)
        pmids = [document.pmid for document in documents]
        spans = spans_of(sentences, tags, pmids, typed=is_typed(task))
        write_pubtator(paths[1], documents, spans, next(iter(task.types)))
    return paths


def write_tags(path: Path, sentences: Sequence[TaggedSentence], tags: Sequence[Sequence[str]]) -> None:
    """Write `token gold predicted` lines, blank-separated, an empty line after each sentence (the CoNLL
    script's format)."""
    lines: list[str] = []
    for sentence, sentence_tags in zip(sentences, tags, strict=True):
        lines += map(" ".join, zip(sentence.tokens, sentence.tags, sentence_tags, strict=True))
        lines.append("")
    write_atomically(path, "".join(f"{line}\n" for line in lines))
