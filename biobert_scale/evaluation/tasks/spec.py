"""What a task is, and its reading from a TOML file: the package's own by name, anybody's by path."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

import cattrs
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn
from cattrs.v import transform_error

from biobert_scale.errors import UserError

Kind = Literal["entities", "classification", "relations", "similarity", "question_answering"]
Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Format = Literal[
    "pubtator", "bioc", "brat", "conll", "jsonl", "csv", "tsv", "datasets", "hallmarks", "pubmedqa",
    "chemprot", "ddi",
]  # fmt: skip
_TABLES: tuple[Format, ...] = ("jsonl", "csv", "tsv", "datasets")
_FORMATS: dict[str, tuple[Format, ...]] = {
    "entities": ("pubtator", "bioc", "brat", "conll", "jsonl", "datasets"),
    "classification": (*_TABLES, "hallmarks"),
    "relations": (*_TABLES, "chemprot", "ddi"),
    "similarity": _TABLES,
    "question_answering": (*_TABLES, "pubmedqa"),
}
"""The formats in which each kind can come."""
Metric = Literal["entity_f1", "word_macro_f1", "micro_f1", "example_f1", "accuracy", "pearson"]
_METRICS: dict[str, tuple[Metric, ...]] = {
    "entities": ("entity_f1", "word_macro_f1"),
    "classification": ("micro_f1", "example_f1", "accuracy"),
    "relations": ("micro_f1", "accuracy"),
    "similarity": ("pearson",),
    "question_answering": ("accuracy",),
}
"""The metrics that each kind can have, its usual one first."""


@dataclass(frozen=True, kw_only=True)
class PublishedCounts:
    """The published counts of train, dev and test, and how the set is recognised."""

    unit: str
    """What `documents` counts."""
    documents: tuple[int, int, int]
    what: str
    """What `others` counts."""
    others: tuple[int, int, int]
    ends: tuple[str, ...] = ()
    """PMIDs of the splits' first and last documents, or the first five words of such sentences."""
    shared: int = 0
    """Documents that the published splits have in common."""
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """A published test score in percent."""

    model: str
    score: float
    source: str
    protocol: str = ""
    """What it was obtained under, where that is not the task's first protocol; the two do not compare."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A form in which a task's files come. Either `train`, `dev` and `test` are given, or some of them and
    `divide`."""

    format: Format
    train: tuple[str, ...] = ()
    """Names of the file below one directory; the first that is there is taken, also as NAME.gz. A name may be
    a pattern (`train/*.ann`): all files that match are taken."""
    dev: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    divide: dict[Split, float] = field(default_factory=dict)
    """The splits to make by document from the first split that has files, with their shares."""
    seed: int = 0
    """Of `divide`."""
    directory: str = ""
    """Pattern of the path to the directory that holds them, where the files' names say too little, capitals
    ignored: `NAME`, `*part*`. Empty: any."""
    not_directory: str = ""
    """Pattern that this path must not have."""
    first_line: tuple[str, ...] = ()
    """What the training file must begin with, where its name says too little: any of these lines."""
    columns: dict[str, str | int] = field(default_factory=dict)
    """Role (conll: token, tag; rows: id, document, text, text2, label; entities in jsonl and datasets: id,
    tokens and tags, or text and entities) to a column's name, or its number from 0."""
    document: str = ""
    """Regular expression of the part of a row's ID that names its document."""
    counts: PublishedCounts | None = None
    not_comparable: str = ""
    """Why scores on data in this form do not compare with published ones."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """An evaluation task: what is predicted from which files, and how it is scored."""

    name: str
    kind: Kind
    sources: tuple[Source, ...]
    """The first form whose files are found is read."""
    metric: Metric
    corpus: str = ""
    """Tasks of one corpus share their documents; the task's name where none is given."""
    types: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Entities: each type that is predicted, with the names that files give to its mentions."""
    other_types: tuple[str, ...] = ()
    """Entities: types that files have besides, which are left out."""
    labels: tuple[str, ...] = ()
    """Every other kind but similarity: the labels."""
    negative: str = ""
    """The label that counts as no prediction; empty: none."""
    multi_label: bool = False
    protocols: tuple[str, ...] = ("best-epoch",)
    """The first is the default."""
    seeds: int = 5
    """How many runs the published score is the mean of."""
    max_length: int = 0
    """Word pieces in one input; 0: the kind's usual number."""
    epochs: int = 0
    """What `evaluate blurb` trains for, dev choosing the best of them; 0: the budget's number."""
    group: str = ""
    """The type of task whose tasks are averaged first in BLURB's score; empty: not part of it."""
    scores: tuple[PublishedScore, ...] = ()
    """Published ones, on the test split."""
    licence: str = ""

    def __post_init__(self) -> None:
        for wrong, what in _mistakes(self):
            if wrong:
                raise ValueError(what)

    @property
    def corpus_name(self) -> str:
        return self.corpus or self.name

    @property
    def known_types(self) -> frozenset[str]:
        """The names that files may give to the task's mentions: the types and their other names."""
        return frozenset(self.types).union(*self.types.values())

    def type_of(self, name: str) -> str:
        """The type that a file calls so, capitals ignored."""
        names = {other.casefold(): kind for kind, others in self.types.items() for other in (kind, *others)}
        return names[name.casefold()]


def _mistakes(task: Task) -> list[tuple[bool, str]]:
    path = PurePosixPath(task.name)
    labelled = task.kind in ("classification", "relations", "question_answering")
    aliases = [name.casefold() for kind, others in task.types.items() for name in {kind, *others}]
    mistakes = [
        (path.name != task.name or task.name in ("", "..") or task.name.startswith("."),
         f"name '{task.name}' cannot be a directory's name"),
        (not task.sources, "no [[sources]]: say which files hold the task"),
        (task.metric not in _METRICS[task.kind],
         f"metric {task.metric} is not one of {task.kind} ({', '.join(_METRICS[task.kind])})"),
        (task.kind == "entities" and not task.types, "entities need [types]"),
        (task.kind != "entities" and bool(task.types), f"{task.kind} has labels, not types"),
        (len(set(aliases)) < len(aliases), "one name belongs to two types"),
        (labelled and len(set(task.labels)) < max(2, len(task.labels)),
         f"{task.kind} needs labels, two at least and each once"),
        (bool(task.negative) and task.negative not in task.labels,
         f"negative '{task.negative}' is not among the labels"),
        (task.multi_label and task.kind != "classification", f"{task.kind} cannot be multi_label"),
        (not task.protocols, "protocols cannot be empty"),
        (task.epochs < 0, "epochs must be 0, or 1 or more"),
        (task.seeds < 1, "seeds must be 1 or more"),
        (task.max_length != 0 and task.max_length < 8, "max_length must be 0, or 8 or more"),
    ]  # fmt: skip
    for source in task.sources:
        names = [name for split in SPLITS for name in getattr(source, split)]
        given = [split for split in SPLITS if getattr(source, split)]
        shares = source.divide.values()
        formats = _FORMATS[task.kind]
        mistakes += [
            (source.format not in formats,
             f"format {source.format} is not one of {task.kind} ({', '.join(formats)})"),
            (not _is_pattern(source.document), f"document '{source.document}' is no regular expression"),
            (bool(source.columns) and source.format not in ("conll", *_TABLES),
             f"format {source.format} has no columns to choose"),
            (not all(name and not PurePosixPath(name).is_absolute() for name in names),
             "names of files must be below the directory"),
            (not given, "a source names no file: give train, dev and test"),
            (not source.divide and len(given) < 3,
             "a source needs train, dev and test, or `divide` with the shares of the splits to make"),
            (bool(shares) and (min(shares, default=1) <= 0 or abs(sum(shares) - 1) > 1e-9),
             "the shares of `divide` must be positive and have the sum 1"),
            (bool(shares) and set(given[1:]) & set(source.divide) != set(),
             "`divide` makes a split that has files of its own"),
            (bool(shares) and given != [] and {*given, *source.divide} != {"train", "dev", "test"},
             "files and `divide` together do not give train, dev and test"),
        ]  # fmt: skip
    return mistakes


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def read_task(path: Path | Traversable) -> Task:
    """Read a task from its TOML file.

    Raises:
        UserError: not TOML, an unknown or missing key, or values that contradict each other.
    """
    remedy = "correct the file: docs/how-to/own-data.md lists the keys"
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        task = _CONVERTER.structure(found, Task)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"not a TOML file ({error})", where=str(path), remedy=remedy) from None
    except BaseValidationError as error:
        what = "; ".join(transform_error(error, path="task", format_exception=_explain))
        raise UserError(what, where=str(path), remedy=remedy) from None
    return task


@cache
def known_tasks() -> dict[str, Task]:
    """The package's own tasks by name, in the order of their kinds and names."""
    files = resources.files("biobert_scale.evaluation.tasks").iterdir()
    tasks = [read_task(file) for file in files if file.name.endswith(".toml")]
    kinds = get_args(Kind)
    return {task.name: task for task in sorted(tasks, key=lambda task: (kinds.index(task.kind), task.name))}


def _one_or_many(value: Any, _: type) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(item, str) for item in values):
        raise ValueError(f"expected a text or a list of texts, not {value!r}")
    return tuple(values)


def _exact(value: Any, kind: type) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"expected {kind.__name__}, not {value!r}")
    return value


def _text_or_number(value: Any, _: type) -> str | int:
    if type(value) not in (str, int):
        raise ValueError(f"expected a column's name or number, not {value!r}")
    return value  # type: ignore[no-any-return]


def _explain(error: BaseException, kind: type | None) -> str:
    match error:
        case ForbiddenExtraKeysError():
            return f"unknown key {', '.join(sorted(error.extra_fields))}"
        case KeyError():
            return f"the key {error} is missing"
        case _:
            return str(error)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind in (str, int, float, bool):
        converter.register_structure_hook(kind, _exact)
    converter.register_structure_hook_func(lambda kind: kind == tuple[str, ...], _one_or_many)
    converter.register_structure_hook_func(lambda kind: kind == str | int, _text_or_number)
    for record in (PublishedCounts, PublishedScore, Source, Task):
        converter.register_structure_hook(record, make_dict_structure_fn(record, converter))
    return converter


_CONVERTER = _make_converter()
