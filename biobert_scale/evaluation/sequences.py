"""Classification, relations, similarity and questions: labels or a number for one text or two, from the [CLS]
of their sequence (Devlin et al. 2019, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from biobert_scale.evaluation.metrics.calibration import multi_label_calibration, single_label_calibration
from biobert_scale.evaluation.packed_sequences import PackedHead, encode, in_batches, pack
from biobert_scale.evaluation.prepared import SPLITS, Row, read_rows, task_of
from biobert_scale.evaluation.records import Breakdown, Scored
from biobert_scale.evaluation.sequence_scores import break_down, decide, gold_of, score_rows
from biobert_scale.evaluation.tasks.spec import Task
from biobert_scale.files import write_atomically
from biobert_scale.modeling.batch import PackedSequences
from biobert_scale.modeling.model import Encoder
from biobert_scale.training.runtime import gather_parts, my_part

PREDICTIONS = "predictions.tsv"
_EVALUATION_TOKENS = 8192
"""Word pieces in one forward pass without gradients."""


class SequenceClassifier(PackedHead):
    """Scores of the labels at each sequence's [CLS]."""

    def forward(self, inputs: PackedSequences) -> Tensor:
        """Logits, or numbers of one column, (sequences, labels) fp32."""
        return self.scores(inputs, inputs.cu_seqlens[:-1].long())


class _Input(NamedTuple):
    input_ids: list[int]
    """[CLS] text [SEP], or [CLS] text [SEP] second text [SEP]."""
    second: int
    """Where the second text begins; the length where there is none."""


class SequenceTask:
    """A task of any kind but entities, tokenized for one model.

    Inputs are cut at `max_seq_length` word pieces, of two texts always the longer one.

    Args:
        prepared: a directory that `prepare` wrote.
        task: the task's name.
        tokenizer: the model's.
        unit: what an input is of documents that are prepared as sentences. By `document` it is their
            sentences joined; by `sentence-union` each sentence is one, trained on its own labels, and a
            document's probability of a label is its likeliest sentence's. Scores are of documents either way.
        splits: those to read; the others cannot be trained on or predicted.
    """

    def __init__(
        self,
        prepared: Path,
        task: str,
        tokenizer: PreTrainedTokenizerBase,
        max_seq_length: int,
        unit: str = "document",
        splits: Sequence[str] = SPLITS,
    ) -> None:
        self._task = task_of(prepared, task)
        self._rows = {split: read_rows(prepared, self._task, split) for split in splits}
        self._gold: dict[str, NDArray[Any]] = {}
        self._inputs: dict[str, list[_Input]] = {}
        self._owners: dict[str, NDArray[np.int64]] = {}
        self._cut: dict[str, int] = {}
        for split, rows in self._rows.items():
            parts, owners = rows, list(range(len(rows)))
            if unit == "sentence-union":
                parts = read_rows(prepared, self._task, split, by_sentence=True)
                places = {row.id: place for place, row in enumerate(rows)}
                owners = [places[part.id] for part in parts]
            self._gold[split], self._owners[split] = gold_of(self._task, parts), np.array(owners)
            self._inputs[split], self._cut[split] = _make_inputs(parts, tokenizer, max_seq_length)
        self._training: list[tuple[str, int]] = []
        if "train" in splits:
            self.train_on("train")

    def train_on(self, *splits: str) -> None:
        """Choose the training set."""
        self._training = [(split, index) for split in splits for index in range(len(self._inputs[split]))]

    def training_size(self) -> int:
        """Inputs to train on."""
        return len(self._training)

    def entries(self) -> set[int]:
        """Ids of the vocabulary that the inputs of all splits have."""
        return {piece for split in self._inputs.values() for each in split for piece in each.input_ids}

    def model(self, encoder: Encoder, dropout: float) -> SequenceClassifier:
        return SequenceClassifier(encoder, dropout, max(len(self._task.labels), 1))

    def terms(self, chosen: Sequence[int]) -> int:
        """Losses that a step on the chosen inputs sums."""
        return len(chosen) * (len(self._task.labels) if self._task.multi_label else 1)

    def loss(
        self, model: nn.Module, chosen: Sequence[int], device: torch.device, smoothing: float = 0.0
    ) -> Tensor:
        """Summed loss over the chosen training inputs: binary cross-entropy of every label where a text has
        any number of them, cross-entropy where it has one, labels smoothed; and the squared error of
        numbers."""
        picked = [self._training[index] for index in chosen]
        scores = model(_packed([self._inputs[split][index] for split, index in picked], device))
        numbers = torch.from_numpy(np.array([self._gold[split][index] for split, index in picked]))
        gold = numbers.float().to(device)
        if self._task.kind == "similarity":
            return nn.functional.mse_loss(scores[:, 0], gold, reduction="sum")
        if self._task.multi_label:
            spread = gold * (1 - smoothing) + smoothing / 2
            return nn.functional.binary_cross_entropy_with_logits(scores, spread, reduction="sum")
        return nn.functional.cross_entropy(scores, gold.argmax(1), reduction="sum", label_smoothing=smoothing)

    @torch.no_grad()
    def predict(self, model: nn.Module, split: str, device: torch.device) -> NDArray[np.float32]:
        """Probabilities of the labels, (rows, labels), or numbers, (rows, 1). Ranks share the inputs out."""
        inputs = self._inputs[split]
        mine: list[tuple[int, list[float]]] = []
        batches = in_batches([len(each.input_ids) for each in inputs], _EVALUATION_TOKENS)
        for batch in my_part(list(batches)):
            scores: Tensor = model(_packed([inputs[index] for index in batch], device))
            if self._task.multi_label:
                scores = scores.sigmoid()
            elif self._task.kind != "similarity":
                scores = scores.softmax(-1)
            mine += zip(batch, scores.tolist(), strict=True)
        shape = len(self._rows[split]), max(len(self._task.labels), 1)
        found = np.full(shape, -np.inf, np.float32)
        for index, row in gather_parts(mine):
            np.maximum.at(found, self._owners[split][index], np.array(row, np.float32))
        return found

    def evaluate(self, model: nn.Module, split: str, device: torch.device) -> Scored:
        """Predict a split and score it: see `score_rows`; `predictions` are what `predict` returns."""
        found, rows = self.predict(model, split, device), self._rows[split]
        scored = score_rows(self._task, rows, decide(self._task, found))
        if self._task.labels:
            measured = multi_label_calibration if self._task.multi_label else single_label_calibration
            scored["calibration"] = measured(found, gold_of(self._task, rows))
        return {**scored, "n_truncated_tokens": self._cut[split], "predictions": found}

    def break_down(self, split: str, predictions: NDArray[np.float32]) -> Breakdown:
        """Where the errors lie: see `sequence_scores.break_down`."""
        return break_down(self._task, self._rows[split], decide(self._task, predictions))

    def write_predictions(self, directory: Path, split: str, predictions: NDArray[np.float32]) -> list[Path]:
        """Write `predictions.tsv`."""
        write_answers(directory / PREDICTIONS, self._task, self._rows[split], predictions)
        return [directory / PREDICTIONS]


def _make_inputs(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, max_seq_length: int
) -> tuple[list[_Input], int]:
    """Inputs, and how many word pieces were cut off."""
    pieces = iter(encode(tokenizer, [text for row in rows for text in row.texts])["input_ids"])
    inputs, cut = [], 0
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    for row in rows:
        parts = [next(pieces) for _ in row.texts]
        lengths, budget = [len(part) for part in parts], max_seq_length - 1 - len(parts)
        cut += max(sum(lengths) - budget, 0)
        while sum(lengths) > budget:
            # The last one among equals.
            lengths[max(range(len(lengths)), key=lambda place: (lengths[place], place))] -= 1
        input_ids = [first]
        for part, length in zip(parts, lengths, strict=True):
            input_ids += [*part[:length], last]
        inputs.append(_Input(input_ids, lengths[0] + 2))
    return inputs, cut


def _packed(inputs: Sequence[_Input], device: torch.device) -> PackedSequences:
    return pack([each.input_ids for each in inputs], device, [each.second for each in inputs])


def write_answers(path: Path, task: Task, rows: Sequence[Row], predictions: NDArray[Any]) -> None:
    """Write one tab-separated line per row under a header: its name, and the gold and the predicted answer.

    Answers are a number, a label and the probabilities of all labels, or, where a text has any number of
    labels, those labels' numbers and the probabilities.
    """
    name = "pmid" if all(row.id.isdecimal() for row in rows) else "id"
    lines = ["\t".join([name, "gold", "predicted", *(["probabilities"] if task.labels else [])])]
    for row, found, answer in zip(rows, predictions, decide(task, predictions), strict=True):
        chances = ",".join(f"{value:.4f}" for value in found)
        match row.label:
            case list():
                gold, given = [task.labels.index(label) for label in row.label], np.flatnonzero(answer)
                columns = [*(",".join(map(str, numbers)) for numbers in (gold, given)), chances]
            case str():
                columns = [row.label, task.labels[answer.argmax()], chances]
            case number:
                columns = [repr(number), f"{answer:.9g}"]
        lines.append("\t".join([row.id, *columns]))
    write_atomically(path, "".join(f"{line}\n" for line in lines))
