"""Hallmarks of Cancer: ten independent labels for an abstract, read from its [CLS]."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from biobert_scale.evaluation.metrics.bootstrap import bootstrap_interval, score_of
from biobert_scale.evaluation.metrics.calibration import multi_label_calibration
from biobert_scale.evaluation.metrics.labels import count_labels, example_based_f1
from biobert_scale.evaluation.packed_sequences import PackedHead, encode, in_batches, pack
from biobert_scale.evaluation.prepared import SPLITS, read_documents
from biobert_scale.evaluation.protocols import protocol_of
from biobert_scale.evaluation.readers import HALLMARKS, HallmarkDocument
from biobert_scale.evaluation.records import Breakdown, Scored
from biobert_scale.evaluation.scores import Measure, Measures, total
from biobert_scale.files import write_atomically
from biobert_scale.modeling.batch import PackedSequences
from biobert_scale.modeling.model import Encoder
from biobert_scale.training.runtime import gather_parts, my_part

PREDICTIONS = "predictions.tsv"
_EVALUATION_TOKENS = 8192
"""Word pieces in one forward pass without gradients."""


class DocumentClassifier(PackedHead):
    """Scores of the labels at each document's [CLS]."""

    def __init__(self, encoder: Encoder, dropout: float) -> None:
        super().__init__(encoder, dropout, labels=len(HALLMARKS))

    def forward(self, inputs: PackedSequences) -> Tensor:
        """Before the sigmoid, (documents, 10) fp32."""
        return self.scores(inputs, inputs.cu_seqlens[:-1].long())


class HallmarkTask:
    """HoC tokenized for one model, its inputs cut at `max_seq_length` word pieces.

    By `document` an input is a document's sentences joined; by `sentence-union` each sentence is one, trained
    on its own labels, and a document's probability of a label is its likeliest sentence's. Scores are of
    documents either way.
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
        self._measure = protocol_of(task).measure
        self._documents = {split: read_documents(prepared, split, task) for split in splits}
        self._gold = label_matrix(self._documents.get("train", []), unit)
        self._input_ids: dict[str, list[list[int]]] = {}
        self._owners: dict[str, NDArray[np.int64]] = {}
        self._cut: dict[str, int] = {}
        for split, documents in self._documents.items():
            whole = unit == "document"
            texts = [[" ".join(each.sentences)] if whole else each.sentences for each in documents]
            self._owners[split] = np.repeat(np.arange(len(documents)), [len(inputs) for inputs in texts])
            pieces = encode(tokenizer, [text for inputs in texts for text in inputs])["input_ids"]
            budget = max_seq_length - 2
            self._cut[split] = sum(max(len(ids) - budget, 0) for ids in pieces)
            first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
            self._input_ids[split] = [[first, *ids[:budget], last] for ids in pieces]

    def train_on(self, *splits: str) -> None:
        """The training set is train: these protocols know no other."""
        assert splits == ("train",)

    def training_size(self) -> int:
        """Inputs to train on."""
        return len(self._gold)

    def model(self, encoder: Encoder, dropout: float) -> DocumentClassifier:
        return DocumentClassifier(encoder, dropout)

    def terms(self, chosen: Sequence[int]) -> int:
        """Labels whose losses a step on the chosen inputs sums."""
        return len(chosen) * len(HALLMARKS)

    def loss(self, model: nn.Module, chosen: Sequence[int], device: torch.device) -> Tensor:
        """Summed binary cross-entropy over labels and the chosen training inputs."""
        scores = model(pack([self._input_ids["train"][index] for index in chosen], device))
        labels = torch.from_numpy(self._gold[list(chosen)]).float()
        return nn.functional.binary_cross_entropy_with_logits(scores, labels.to(device), reduction="sum")

    @torch.no_grad()
    def predict(self, model: nn.Module, split: str, device: torch.device) -> NDArray[np.float32]:
        """Probabilities of the labels, (documents, 10). Ranks share the inputs out."""
        sequences = self._input_ids[split]
        mine: list[tuple[int, list[float]]] = []
        for batch in my_part(list(in_batches([len(sequence) for sequence in sequences], _EVALUATION_TOKENS))):
            found = model(pack([sequences[index] for index in batch], device)).sigmoid().tolist()
            mine += zip(batch, found, strict=True)
        probabilities = np.zeros((len(self._documents[split]), len(HALLMARKS)), np.float32)
        for index, row in gather_parts(mine):
            np.maximum.at(probabilities, self._owners[split][index], np.array(row, np.float32))
        return probabilities

    def evaluate(self, model: nn.Module, split: str, device: torch.device) -> Scored:
        """Predict a split and score it: see `score_labels`; `predictions` are the probabilities."""
        probabilities = self.predict(model, split, device)
        scores = score_labels(self._documents[split], probabilities > 0.5, self._measure)
        return {
            **scores,
            "calibration": multi_label_calibration(probabilities, label_matrix(self._documents[split])),
            "n_truncated_tokens": self._cut[split],
            "predictions": probabilities,
        }

    def break_down(self, split: str, probabilities: NDArray[np.float32]) -> Breakdown:
        """Where the errors lie: see the function of this name."""
        return break_down(self._documents[split], probabilities > 0.5)

    def write_predictions(
        self, directory: Path, split: str, probabilities: NDArray[np.float32]
    ) -> list[Path]:
        """Write `predictions.tsv`."""
        write_labels(directory / PREDICTIONS, self._documents[split], probabilities > 0.5, probabilities)
        return [directory / PREDICTIONS]


def label_matrix(documents: Sequence[HallmarkDocument], unit: str = "document") -> NDArray[np.bool_]:
    """Gold labels, (documents, 10); by `sentence-union` those of all sentences, (sentences, 10)."""
    rows = (
        [document.labels for document in documents]
        if unit == "document"
        else [labels for document in documents for labels in document.sentence_labels]
    )
    matrix = np.zeros((len(rows), len(HALLMARKS)), dtype=bool)
    for row, labels in enumerate(rows):
        matrix[row, labels] = True
    return matrix


def score_labels(
    documents: Sequence[HallmarkDocument], predicted: NDArray[np.bool_], measure: Measure = "micro"
) -> Scored:
    """Score predicted labels, (documents, 10), by both measures: `micro`, micro-F1 over all documents, and
    `example`, example-based over labelled documents. They are two benchmarks' measures, never to be compared
    with each other."""
    gold = label_matrix(documents)
    counts = count_labels(gold, predicted)
    return {
        "score": score_of(counts, measure),
        "scores": {"micro": total(counts).as_dict(), "example": example_based_f1(gold, predicted)},
        "interval_95": bootstrap_interval(counts, measure=measure),
        "documents": {document.pmid: count for document, count in zip(documents, counts, strict=True)},
    }


def break_down(documents: Sequence[HallmarkDocument], predicted: NDArray[np.bool_]) -> Breakdown:
    """Where the errors lie.

    Returns:
        `by_type`: counts and scores of each hallmark; `by_length`: of documents with so many words.
    """
    gold = label_matrix(documents)
    by_type = {
        name: total(count_labels(gold[:, [column]], predicted[:, [column]])).as_dict()
        for column, name in enumerate(HALLMARKS)
    }
    words = np.array([len(" ".join(document.sentences).split()) for document in documents])
    by_length: dict[str, Measures] = {}
    for name, low, high in (("below 200", 0, 200), ("200 to 299", 200, 300), ("300 and more", 300, 10**9)):
        chosen = (low <= words) & (words < high)
        counts = total(count_labels(gold[chosen], predicted[chosen]))
        by_length[name] = {"documents": int(chosen.sum()), **counts.as_dict()}
    return {"by_type": by_type, "by_length": by_length}


def write_labels(
    path: Path,
    documents: Sequence[HallmarkDocument],
    predicted: NDArray[np.bool_],
    probabilities: NDArray[Any],
) -> None:
    """Write one tab-separated line per document: PMID, gold labels, predicted labels, the ten
    probabilities."""
    lines = ["pmid\tgold\tpredicted\tprobabilities\n"]
    for document, labels, row in zip(documents, predicted, probabilities, strict=True):
        columns = document.labels, np.flatnonzero(labels), (f"{value:.4f}" for value in row)
        lines.append("\t".join([document.pmid, *(",".join(map(str, column)) for column in columns)]) + "\n")
    write_atomically(path, "".join(lines))
