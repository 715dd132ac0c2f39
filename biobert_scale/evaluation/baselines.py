"""What simple methods score on the same files: a fine-tuned model that does not beat them has learned
nothing.

Entities: a dictionary of the training set's mentions and a linear-chain CRF (Lafferty et al. 2001); labels:
TF-IDF with logistic regression; similarity: the words that both texts have; and for all a constant answer.
scikit-learn and python-crfsuite are needed only here.
"""

from __future__ import annotations

import importlib
import logging
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biobert_scale.errors import UserError
from biobert_scale.evaluation.entity_scores import break_down_tags, names_of, score_entities
from biobert_scale.evaluation.finetune import DOCUMENTS, METRICS, describe_run, versions, write_documents
from biobert_scale.evaluation.ner import write_entity_predictions
from biobert_scale.evaluation.prepared import (
    Row,
    prepared_tasks,
    read_annotated,
    read_rows,
    read_sentences,
    task_of,
)
from biobert_scale.evaluation.protocols import protocol_of
from biobert_scale.evaluation.readers import TaggedSentence
from biobert_scale.evaluation.records import BaselineMetrics, Breakdown, Scored
from biobert_scale.evaluation.scores import entity_spans
from biobert_scale.evaluation.sequence_scores import break_down as break_down_rows
from biobert_scale.evaluation.sequence_scores import decide, gold_of, score_rows
from biobert_scale.evaluation.sequences import PREDICTIONS, write_answers
from biobert_scale.evaluation.tasks.spec import Task
from biobert_scale.files import Manifest, describe_inputs, write_json
from biobert_scale.stage import Stage

logger = logging.getLogger(__name__)

STAGE = "baselines"
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "pycrfsuite": "python-crfsuite"}
_RULE = "trained on train with fixed settings; dev is not looked at; test predicted once"

Tags = list[list[str]]


def run_baselines(
    prepared: Path, output: Path, *, tasks: Sequence[str] | None = None, overwrite: bool = False
) -> Manifest:
    """Train every baseline on train and score it on test: `<output>/<task>/<baseline>/` as `finetune` writes
    a run.

    Args:
        tasks: those of `prepared` to run; all by default.

    Raises:
        UserError: an unknown task, or scikit-learn or python-crfsuite is not installed.
    """
    known = prepared_tasks(prepared)
    chosen = list(known if tasks is None else tasks)
    if unknown := sorted(set(chosen) - set(known)):
        raise UserError(f"no task '{unknown[0]}'", where=prepared, remedy=f"choose among: {', '.join(known)}")
    for module in _DISTRIBUTIONS:
        _library(module)
    inputs, config = describe_inputs([prepared]), {"tasks": sorted(chosen), "format": 2}
    with Stage(output, STAGE, inputs=inputs, config=config, overwrite=overwrite, reads=[prepared]) as stage:
        if stage.finished is not None:
            return stage.finished
        scores = {
            task: (_run_entities if task_of(prepared, task).kind == "entities" else _run_rows)(
                prepared, task, output / task
            )
            for task in chosen
        }
        files = [path for task in chosen for path in sorted((output / task).glob("*/*")) if path.is_file()]
        return stage.finish(counts=scores, outputs=files, libraries=_DISTRIBUTIONS.values())


def _library(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        name = _DISTRIBUTIONS[module]
        remedy = f"run `pip install {name}`"
        raise UserError(f"{name} is not installed", where="baselines", remedy=remedy) from None


def _run_entities(prepared: Path, task: str, output: Path) -> dict[str, float]:
    train, test = read_sentences(prepared, task, "train"), read_sentences(prepared, task, "test")
    spec, documents = task_of(prepared, task), read_annotated(prepared, task, "test")
    known = names_of(read_annotated(prepared, task, "train"))
    methods: dict[str, Callable[[], Tags]] = {
        "no entity": lambda: [["O"] * len(sentence.tokens) for sentence in test],
        "dictionary of all mentions": lambda: dictionary_tags(train, test, least_characters=3),
        "dictionary": lambda: dictionary_tags(train, test, least_share=0.5),
        "CRF": lambda: crf_tags(train, test),
    }
    scores = {}
    for name, method in methods.items():
        started = time.monotonic()
        tags = method()
        directory = output / name.replace(" ", "-")
        write_entity_predictions(directory, spec, test, documents, tags)
        scored = score_entities(spec, test, documents, tags)
        breakdown = break_down_tags(spec, test, documents, tags, known)
        scores[name] = _write_run(prepared, task, directory, name, scored, breakdown, started)
    return scores


def _run_rows(prepared: Path, task: str, output: Path) -> dict[str, float]:
    spec = task_of(prepared, task)
    train, test = (read_rows(prepared, spec, split) for split in ("train", "test"))
    methods: dict[str, Callable[[], NDArray[np.float64]]]
    if spec.kind == "similarity":
        methods = {"mean": lambda: mean_number(spec, train, test), "common words": lambda: common_words(test)}
    else:
        parts = [read_rows(prepared, spec, split, by_sentence=True) for split in ("train", "test")]
        of_sentences = parts[0] != train
        methods = {
            "majority": lambda: majority_label(spec, train, test),
            "TF-IDF documents" if of_sentences else "TF-IDF": lambda: tfidf(spec, train, test),
        }
        if of_sentences:
            methods["TF-IDF sentence-union"] = lambda: tfidf(spec, *parts)
    scores = {}
    for name, method in methods.items():
        started = time.monotonic()
        found = method()
        answers, directory = decide(spec, found), output / name.replace(" ", "-")
        write_answers(directory / PREDICTIONS, spec, test, found)
        scored, breakdown = score_rows(spec, test, answers), break_down_rows(spec, test, answers)
        scores[name] = _write_run(prepared, task, directory, name, scored, breakdown, started)
    return scores


def _write_run(
    prepared: Path,
    task: str,
    directory: Path,
    name: str,
    scored: Scored,
    breakdown: Breakdown,
    started: float,
) -> float:
    write_documents(directory / DOCUMENTS, scored.pop("documents"))
    rule = protocol_of(task_of(prepared, task))
    metrics: BaselineMetrics = {
        **describe_run(prepared, task, rule, model=name, kind="baseline", seed=None),
        "random_weights": None,
        **scored,
        **breakdown,
        "n_truncated_tokens": 0,
        "selection": {"rule": _RULE},
        "config": {},
        "versions": versions(_DISTRIBUTIONS.values()),
        "seconds": round(time.monotonic() - started, 2),
    }
    write_json(directory / METRICS, metrics)
    logger.info("%s, %s: %s %.2f", task, name, metrics["score_name"], metrics["score"])
    return metrics["score"]


def dictionary_tags(
    train: Sequence[TaggedSentence],
    test: Sequence[TaggedSentence],
    *,
    least_characters: int = 1,
    least_share: float = 0.0,
) -> Tags:
    """Tag the longest training mentions found in each sentence, from left to right, capitals ignored; a name
    of several types has the most frequent one.

    Args:
        least_characters: a name enters the dictionary with so many characters, blanks not counted: without
            capitals "NO" and "As" are words.
        least_share: a name enters the dictionary where it is a mention at least this share of the times that
            it occurs in the training set; 0 takes all.
    """
    mentions: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for sentence in train:
        for kind, start, end in entity_spans(sentence.tags):
            mentions[_lowered(sentence.tokens[start:end])][kind] += 1
    names = {name for name in mentions if sum(map(len, name)) >= least_characters}
    longest = max(map(len, names), default=0)
    occurrences: Counter[tuple[str, ...]] = Counter()
    for sentence in train:
        words = _lowered(sentence.tokens)
        occurrences.update(
            words[start : start + length]
            for start in range(len(words))
            for length in range(1, min(longest, len(words) - start) + 1)
            if words[start : start + length] in names
        )
    kept = {
        name: mentions[name].most_common(1)[0][0]
        for name in names
        if mentions[name].total() >= least_share * occurrences[name]
    }
    lengths: dict[str, set[int]] = defaultdict(set)
    for name in kept:
        lengths[name[0]].add(len(name))
    return [_match(_lowered(sentence.tokens), kept, lengths) for sentence in test]


def _lowered(tokens: Sequence[str]) -> tuple[str, ...]:
    return tuple(token.lower() for token in tokens)


def _match(
    words: tuple[str, ...], names: dict[tuple[str, ...], str], lengths: dict[str, set[int]]
) -> list[str]:
    tags, position = ["O"] * len(words), 0
    while position < len(words):
        # A stretch that the sentence's end cuts short may be another name: its own length finds that one.
        fitting = [length for length in lengths.get(words[position], ()) if position + length <= len(words)]
        found = [length for length in fitting if words[position : position + length] in names]
        if found:
            kind = names[words[position : position + max(found)]]
            letters = ["B"] + ["I"] * (max(found) - 1)
            tags[position : position + max(found)] = [f"{each}-{kind}" if kind else each for each in letters]
        position += max(found, default=1)
    return tags


def crf_tags(train: Sequence[TaggedSentence], test: Sequence[TaggedSentence]) -> Tags:
    """Train a linear-chain CRF (L-BFGS, elastic net) on words, shapes and affixes in a window of five words,
    and apply it."""
    pycrfsuite = _library("pycrfsuite")
    trainer = pycrfsuite.Trainer(algorithm="lbfgs", verbose=False)
    trainer.set_params({"c1": 0.1, "c2": 0.01, "max_iterations": 60, "feature.possible_transitions": True})
    for sentence in train:
        trainer.append(pycrfsuite.ItemSequence(word_features(sentence.tokens)), sentence.tags)
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "crf")
        trainer.train(path)
        tagger = pycrfsuite.Tagger()
        tagger.open(path)
        features = (pycrfsuite.ItemSequence(word_features(sentence.tokens)) for sentence in test)
        tags = [list(tagger.tag(sequence)) for sequence in features]
        tagger.close()
    return tags


def word_features(tokens: Sequence[str]) -> list[list[str]]:
    """Each word's features: itself, its shape and affixes, and its neighbours' words and shapes."""
    lowered, shapes = [token.lower() for token in tokens], [_shape(token) for token in tokens]
    rows = []
    for position, (token, word, shape) in enumerate(zip(tokens, lowered, shapes, strict=True)):
        row = ["bias", f"w={word}", f"t={token}", f"s={shape}", f"n={min(len(token), 10)}"]
        row += [f"p{size}={word[:size]}" for size in (2, 3, 4) if len(word) > size]
        row += [f"e{size}={word[-size:]}" for size in (2, 3, 4, 5) if len(word) > size]
        for offset in (-2, -1, 1, 2):
            other = position + offset
            if 0 <= other < len(tokens):
                near = lowered[other]
                row += [f"w{offset}={near}", f"s{offset}={shapes[other]}", f"e{offset}={near[-3:]}"]
            else:
                row.append(f"edge{offset}")
        row += [f"w-1,w={lowered[position - 1]} {word}"] if position else []
        row += [f"w,w1={word} {lowered[position + 1]}"] if position + 1 < len(tokens) else []
        rows.append(row)
    return rows


def _shape(token: str) -> str:
    """Capitals, small letters, digits and signs as X, x, 0 and -, runs of one kind once: 'CYP3A4' is
    'X0X0'."""
    kinds = ["X" if c.isupper() else "x" if c.isalpha() else "0" if c.isdigit() else "-" for c in token]
    return "".join(kind for index, kind in enumerate(kinds) if not index or kinds[index - 1] != kind)


def majority_label(task: Task, train: Sequence[Row], test: Sequence[Row]) -> NDArray[np.float64]:
    """The training set's most frequent label for every row, (rows, labels)."""
    probabilities = np.zeros((len(test), len(task.labels)))
    probabilities[:, gold_of(task, train).sum(0).argmax()] = 1.0
    return probabilities


def tfidf(task: Task, train: Sequence[Row], test: Sequence[Row]) -> NDArray[np.float64]:
    """One classifier per label: probabilities, (rows, labels). Of several rows of one name, as documents have
    by sentences, the likeliest one's."""
    places = {name: place for place, name in enumerate(dict.fromkeys(row.id for row in test))}
    probabilities = np.zeros((len(places), len(task.labels)))
    texts = [[" ".join(row.texts) for row in rows] for rows in (train, test)]
    found = _tfidf(texts[0], gold_of(task, train), texts[1])
    np.maximum.at(probabilities, [places[row.id] for row in test], found)
    return probabilities


def _tfidf(texts: list[str], gold: NDArray[np.bool_], unseen: list[str]) -> NDArray[np.float64]:
    _library("sklearn")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    known, new = vectorizer.fit_transform(texts), vectorizer.transform(unseen)
    probabilities = np.zeros((len(unseen), gold.shape[1]))
    for label, target in enumerate(gold.T):
        if target.all() or not target.any():
            probabilities[:, label] = float(target.all())  # one class only: nothing to separate
            continue
        model = LogisticRegression(C=10.0, class_weight="balanced", solver="liblinear").fit(known, target)
        probabilities[:, label] = model.predict_proba(new)[:, 1]
    return probabilities


def mean_number(task: Task, train: Sequence[Row], test: Sequence[Row]) -> NDArray[np.float64]:
    """The training set's mean for every row, (rows, 1)."""
    return np.full((len(test), 1), gold_of(task, train).mean())


def common_words(test: Sequence[Row]) -> NDArray[np.float64]:
    """The share of two texts' words that both have, (rows, 1)."""
    pairs = [[set(text.lower().split()) for text in row.texts] for row in test]
    return np.array([[len(set.intersection(*words)) / max(len(set.union(*words)), 1)] for words in pairs])
