"""Entity recognition as transformers' own token-classification example does it: its Trainer, padded batches,
the label on a word's first piece, the best epoch on dev."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from seqeval.metrics import f1_score
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    EvalPrediction,
    Trainer,
    TrainingArguments,
)
from transformers.utils import logging as transformers_logging

from benchmarks.child import answer
from biobert_scale.evaluation.entity_scores import score_tags
from biobert_scale.evaluation.ner import TAGS
from biobert_scale.evaluation.prepared import read_gold, read_sentences
from biobert_scale.evaluation.readers import TaggedSentence

_NO_LABEL = -100
"""What torch's cross-entropy leaves out."""
_TYPED = {"O": "O", "B": "B-X", "I": "I-X"}
"""Tags as seqeval wants them."""


class _Split:
    """A prepared split in a model's word pieces."""

    def __init__(self, sentences: list[TaggedSentence], tokenizer: Any) -> None:
        self.sentences = sentences
        tokens = [sentence.tokens for sentence in sentences]
        encoded = tokenizer(tokens, is_split_into_words=True, truncation=True)
        self.words: list[list[int]] = []
        """Of each sentence those that have a label."""
        labels = []
        for number, sentence in enumerate(sentences):
            row = []
            words = encoded.word_ids(number)
            for before, word in itertools.pairwise([None, *words]):
                begins = word is not None and word != before
                row.append(TAGS.index(sentence.tags[word]) if begins else _NO_LABEL)
            labels.append(row)
            self.words.append(list(dict.fromkeys(word for word in words if word is not None)))
        self.rows = Dataset.from_dict({**encoded, "labels": labels})

    def tags(self, found: Any) -> list[list[str]]:
        """The predicted tag of every word."""
        best = found.predictions.argmax(-1)
        tags = [["O"] * len(sentence.tokens) for sentence in self.sentences]
        for place, words in enumerate(self.words):
            for word, tag in zip(words, best[place][found.label_ids[place] != _NO_LABEL], strict=True):
                tags[place][word] = TAGS[tag]
        return tags


def finetune(
    *,
    prepared: str,
    task: str,
    model: str,
    seed: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    warmup_fraction: float,
    weight_decay: float,
    dtype: str,
) -> float:
    """Train, and return the test split's F1 as this package scores it."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(model)
    train, dev, test = (
        _Split(read_sentences(Path(prepared), task, split), tokenizer) for split in ("train", "dev", "test")
    )

    def f1(found: EvalPrediction) -> dict[str, float]:
        gold = [[_TYPED[tag] for tag in sentence.tags] for sentence in dev.sentences]
        predicted = [[_TYPED[tag] for tag in tags] for tags in dev.tags(found)]
        return {"f1": float(f1_score(gold, predicted))}

    with tempfile.TemporaryDirectory() as directory:
        settings = TrainingArguments(
            directory,
            seed=seed,
            num_train_epochs=epochs,
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=4 * batch_size,
            learning_rate=learning_rate,
            warmup_steps=int(warmup_fraction * epochs * np.ceil(len(train.sentences) / batch_size)),
            weight_decay=weight_decay,
            bf16=dtype == "bf16",
            use_cpu=True,
            eval_strategy="epoch",
            save_strategy="epoch",
            save_only_model=True,
            load_best_model_at_end=True,
            metric_for_best_model="f1",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=AutoModelForTokenClassification.from_pretrained(model, num_labels=len(TAGS)),
            args=settings,
            train_dataset=train.rows,
            eval_dataset=dev.rows,
            data_collator=DataCollatorForTokenClassification(tokenizer),
            compute_metrics=f1,
        )
        trainer.train()
        trainer.compute_metrics = None
        tags = test.tags(trainer.predict(test.rows))
    return score_tags(test.sentences, read_gold(Path(prepared), task, "test"), tags)["score"]


if __name__ == "__main__":
    answer(finetune)
