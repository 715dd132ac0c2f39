"""How much the lengths of A and B say of the NSP label: they should say nothing, or a model learns to count
instead of to read."""

from __future__ import annotations

import random

import numpy as np
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.tree import DecisionTreeClassifier

from benchmarks.data import bert_instances
from benchmarks.data.records import Guesses, LabelTree
from benchmarks.data.samples import PYTHON, SEED, pack_all
from biobert_scale.config import DataConfig
from biobert_scale.data.masking import SPECIAL_TOKENS_PER_SAMPLE
from biobert_scale.data.pairs import unpack
from biobert_scale.tokens.shards import TokenStore

_DEPTH, _FOLDS = 6, 5


def measure_labels(
    store: TokenStore, vocabulary: int, config: DataConfig, *, documents: str
) -> list[LabelTree]:
    """This project's pairs and the plain peer's, of one pass over the same documents.

    Args:
        vocabulary: entries.
        documents: what the store holds, in words.
    """
    pairs = unpack(pack_all(store, config))
    lists, rng = bert_instances.read_documents(store, vocabulary), random.Random(SEED)
    maximum = config.max_seq_length - SPECIAL_TOKENS_PER_SAMPLE
    theirs = np.array(
        [
            (len(a), len(b), is_random)
            for number in range(len(lists))
            for a, b, is_random in bert_instances.pairs(lists, number, maximum=maximum, rng=rng)
        ]
    )
    return [
        {"max_seq_length": config.max_seq_length, "documents": documents, "name": name, **_judge(*seen)}
        for name, seen in (
            ("this project", (np.stack([pairs.a_length, pairs.b_length], axis=1), pairs.is_random)),
            (PYTHON, (theirs[:, :2], theirs[:, 2].astype(bool))),
        )
    ]


def _judge(lengths: np.ndarray, is_random: np.ndarray) -> Guesses:
    """Cross-validated accuracy of a decision tree that sees the two lengths and their sum only; one entry a
    fold.

    Args:
        lengths: (pairs, 2).
        is_random: (pairs,) bool.
    """
    features = np.column_stack([lengths, lengths.sum(axis=1)])
    found = cross_validate(
        DecisionTreeClassifier(max_depth=_DEPTH, random_state=SEED),
        features,
        is_random,
        cv=StratifiedKFold(_FOLDS, shuffle=True, random_state=SEED),
        scoring=("accuracy", "balanced_accuracy"),
    )
    return {
        "pairs": len(is_random),
        "random_share": float(is_random.mean()),
        "accuracy": found["test_accuracy"].tolist(),
        "balanced_accuracy": found["test_balanced_accuracy"].tolist(),
    }
