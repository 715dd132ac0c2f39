"""What vocabularies make of the same words: pieces per word, words kept whole, entries used, and examples.

A word is what BERT's pre-tokenizer makes of cased text: runs between white space, each punctuation mark on
its own. Every distinct word is tokenized once and counts as often as it occurs.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, TypedDict

import numpy as np
from tokenizers import Tokenizer, normalizers, pre_tokenizers

from biobert_scale import display

_EXAMPLES = 25
"""Examples of each kind that a report holds."""
_SHOWN = 10
"""Examples of each kind that its table shows."""
_WORDS_AT_ONCE = 20_000


class Measured(TypedDict):
    """The text that vocabularies are measured on."""

    documents: int
    characters: int
    documents_seen: int | None
    """Those that the first vocabulary was trained on; None: it was not trained here."""


class Sample(Measured):
    words: int
    distinct_words: int
    spaced_words: int


class Example(TypedDict, total=False):
    """An entry or a word, how often it occurs, and a word's pieces."""

    entry: str
    word: str
    count: int
    pieces: list[str]


class Figures(TypedDict):
    """One vocabulary; shares are from 0 to 1."""

    name: str
    entries: int
    tokens: int
    pieces_per_word: float
    whole_word_share: float
    unknown_word_share: float
    characters_per_token: float
    tokens_per_1000_spaced_words: float
    entries_used: int
    entries_never_used: int
    longest_used: list[Example]
    most_often_split: list[Example]


Comparison = TypedDict(
    "Comparison",
    {
        "entries_in_both": int,
        "entries_only_here": int,
        "entries_only_there": int,
        "distinct_words_whole_only_here": int,
        "distinct_words_whole_only_there": int,
        "whole_only_here": list[Example],
        "whole_only_there": list[Example],
        "with": str,
    },
)
"""The first vocabulary (here) and the one that `with` names (there)."""


class Report(TypedDict):
    sample: Sample
    vocabularies: list[Figures]
    comparisons: list[Comparison]


class Words:
    """Distinct words, the most frequent first, and how often each occurs.

    Attributes:
        counts: the words.
        spaced: how many words white space alone separates, as a corpus counts them.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False
        )
        splitter = pre_tokenizers.BertPreTokenizer()
        # Splitting at white space is quick and leaves few distinct runs for the slow splitter.
        runs: Counter[str] = Counter()
        self.spaced = 0
        for text in texts:
            self.spaced += len(text.split())
            runs.update(normalizer.normalize_str(text).split())
        counts: Counter[str] = Counter()
        for run, count in runs.items():
            for word, _ in splitter.pre_tokenize_str(run):
                counts[word] += count
        self.counts = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def vocabulary_report(words: Words, tokenizers: dict[str, Tokenizer], measured: Measured) -> Report:
    """Measure vocabularies on the same words.

    Args:
        tokenizers: name -> WordPiece tokenizer; all others are compared with the first.
    """
    pieces = {name: _tokenize(tokenizer, list(words.counts)) for name, tokenizer in tokenizers.items()}
    sample = Sample(
        **measured,
        words=sum(words.counts.values()),
        distinct_words=len(words.counts),
        spaced_words=words.spaced,
    )
    figures = [
        _measure(name, tokenizer, pieces[name], words, measured["characters"])
        for name, tokenizer in tokenizers.items()
    ]
    first, *others = tokenizers
    comparisons = [
        _compare(name, tokenizers[first], tokenizers[name], pieces[first], pieces[name], words)
        for name in others
    ]
    return Report(sample=sample, vocabularies=figures, comparisons=comparisons)


def without_examples(report: Report) -> Report:
    """A report of private text: its figures alone."""
    none: list[Example] = []
    return {
        "sample": report["sample"],
        "vocabularies": [
            {**figures, "longest_used": none, "most_often_split": none} for figures in report["vocabularies"]
        ],
        "comparisons": [
            {**found, "whole_only_here": none, "whole_only_there": none} for found in report["comparisons"]
        ],
    }


def _tokenize(tokenizer: Tokenizer, words: list[str]) -> list[list[int]]:
    ids: list[list[int]] = []
    for start in range(0, len(words), _WORDS_AT_ONCE):
        some = words[start : start + _WORDS_AT_ONCE]
        ids += [encoding.ids for encoding in tokenizer.encode_batch_fast(some, add_special_tokens=False)]
    return ids


def _measure(
    name: str, tokenizer: Tokenizer, pieces: list[list[int]], words: Words, characters: int
) -> Figures:
    unknown = tokenizer.token_to_id("[UNK]")
    counts = np.fromiter(words.counts.values(), np.int64, len(pieces))
    lengths = np.array([len(ids) for ids in pieces])
    lost = np.array([unknown in ids for ids in pieces])
    flat = np.fromiter(itertools.chain.from_iterable(pieces), np.int64, int(lengths.sum()))
    uses = np.bincount(flat, np.repeat(counts, lengths), tokenizer.get_vocab_size()).astype(np.int64)
    total, tokens = int(counts.sum()), int((counts * lengths).sum())
    special = set(tokenizer.get_added_tokens_decoder())
    used = [index for index in np.flatnonzero(uses).tolist() if index not in special]
    names = {index: entry for entry, index in tokenizer.get_vocab().items()}
    longest = sorted(
        used, key=lambda index: (-len(names[index].removeprefix("##")), -uses[index], names[index])
    )
    split = np.flatnonzero(lengths > 1)[:_EXAMPLES]  # the words stand by frequency
    return {
        "name": name,
        "entries": tokenizer.get_vocab_size(),
        "tokens": tokens,
        "pieces_per_word": tokens / total,
        "whole_word_share": int(counts[(lengths == 1) & ~lost].sum()) / total,
        "unknown_word_share": int(counts[lost].sum()) / total,
        "characters_per_token": characters / tokens,
        "tokens_per_1000_spaced_words": 1000 * tokens / words.spaced,
        "entries_used": len(used),
        "entries_never_used": tokenizer.get_vocab_size() - len(special) - len(used),
        "longest_used": [{"entry": names[index], "count": int(uses[index])} for index in longest[:_EXAMPLES]],
        "most_often_split": _examples(split.tolist(), words, tokenizer, pieces),
    }


def _compare(
    name: str,
    first: Tokenizer,
    other: Tokenizer,
    first_pieces: list[list[int]],
    other_pieces: list[list[int]],
    words: Words,
) -> Comparison:
    """Entries that both have, and the most frequent words that one of the two keeps whole and the other does
    not."""
    added = [*first.get_added_tokens_decoder().values(), *other.get_added_tokens_decoder().values()]
    special = {token.content for token in added}
    entries, other_entries = first.get_vocab().keys() - special, other.get_vocab().keys() - special
    whole, other_whole = _whole(first, first_pieces), _whole(other, other_pieces)
    here, there = np.flatnonzero(whole & ~other_whole).tolist(), np.flatnonzero(other_whole & ~whole).tolist()
    return {
        "entries_in_both": len(entries & other_entries),
        "entries_only_here": len(entries - other_entries),
        "entries_only_there": len(other_entries - entries),
        "distinct_words_whole_only_here": len(here),
        "distinct_words_whole_only_there": len(there),
        "whole_only_here": _examples(here[:_EXAMPLES], words, other, other_pieces),
        "whole_only_there": _examples(there[:_EXAMPLES], words, first, first_pieces),
        "with": name,
    }


def _whole(tokenizer: Tokenizer, pieces: list[list[int]]) -> np.ndarray:
    unknown = tokenizer.token_to_id("[UNK]")
    return np.array([len(ids) == 1 and ids[0] != unknown for ids in pieces])


def _examples(
    rows: Sequence[int], words: Words, tokenizer: Tokenizer, pieces: list[list[int]]
) -> list[Example]:
    found = list(words.counts.items())
    spelled = [[str(tokenizer.id_to_token(index)) for index in pieces[row]] for row in rows]
    return [
        Example(word=found[row][0], count=found[row][1], pieces=names)
        for row, names in zip(rows, spelled, strict=True)
    ]


def render(report: Report) -> str:
    """A report as text: a column for each vocabulary, then the examples."""
    sample, vocabularies = report["sample"], report["vocabularies"]
    seen = sample["documents_seen"]
    training = (
        "" if seen is None else f", {seen:,} of them trained on" if seen else ", none of them trained on"
    )
    lines = [
        f"measured on {sample['documents']:,} documents{training}: {sample['characters']:,} characters,"
        f" {sample['words']:,} words ({sample['distinct_words']:,} distinct)",
        "",
    ]
    rows = [("", *(vocabulary["name"] for vocabulary in vocabularies))]
    rows += [(label, *(form.format(**figures) for figures in vocabularies)) for label, form in _ROWS]
    if comparisons := report["comparisons"]:
        rows.append(
            ("entries in both", "", *(f"{comparison['entries_in_both']:,}" for comparison in comparisons))
        )
    lines.append(display.text(display.table(rows[1:], header=rows[0])))
    first = vocabularies[0]
    lines += ["", f"longest entries used ({first['name']})", *_listed(first["longest_used"], "entry")]
    lines += ["", f"words most often split ({first['name']})", *_listed(first["most_often_split"], "word")]
    for comparison in comparisons:
        names = first["name"], comparison["with"]
        here, there = comparison["whole_only_here"], comparison["whole_only_there"]
        numbers = comparison["distinct_words_whole_only_here"], comparison["distinct_words_whole_only_there"]
        for whole, other, number, examples in zip(names, names[::-1], numbers, (here, there), strict=True):
            title = (
                f"words whole in {whole}, not in {other}: {number:,} distinct; the most frequent, as {other}"
            )
            lines += ["", f"{title} has them", *_listed(examples, "word")]
    return "\n".join(line.rstrip() for line in lines)


_ROWS = (
    ("entries", "{entries:,}"),
    ("pieces per word", "{pieces_per_word:.3f}"),
    ("words kept whole", "{whole_word_share:.2%}"),
    ("words that become [UNK]", "{unknown_word_share:.3%}"),
    ("characters per token", "{characters_per_token:.3f}"),
    ("tokens in 1,000 words between spaces", "{tokens_per_1000_spaced_words:,.0f}"),
    ("entries used", "{entries_used:,}"),
    ("entries never used", "{entries_never_used:,}"),
)
"""Label and format of the table's figures."""


def _listed(examples: list[Example], key: Literal["entry", "word"]) -> list[str]:
    shown = examples[:_SHOWN]
    width = max((len(example[key]) for example in shown), default=0)
    digits = max((len(f"{example['count']:,}") for example in shown), default=0)
    return [
        f"  {example[key]:<{width}}  {example['count']:>{digits},}  {' '.join(example.get('pieces', []))}"
        for example in shown
    ]
