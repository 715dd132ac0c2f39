"""CoNLL files of two and more columns: one word a line, an empty line after each sentence.

Columns are separated by tabs, or by blanks where the file's first row has no tab. `-DOCSTART-` lines begin
documents, and the rest of such a line is the document's name. A line that begins with `#` and has no tag in
its place is a comment. The tags' scheme is found by looking at all of them: IOB1 (Ramshaw and Marcus 1995),
IOB2, IOBES, or BILOU (Ratinov and Roth 2009). They become IOB2.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from biobert_scale.errors import UserError
from biobert_scale.evaluation.pubtator import read_lines
from biobert_scale.evaluation.readers import TaggedSentence, TagTypes

_LETTERS = {"IOBES": frozenset("IOBES"), "BILOU": frozenset("BILOU"), "IOB2": frozenset("IOB")}
_TAGS = frozenset("BIOESLU")
_LAST, _SINGLE = frozenset("EL"), frozenset("SU")


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word with its tag in any scheme: `letter` and, where the tag has one, the type."""

    where: str
    token: str
    letter: str
    kind: str


class Conll(NamedTuple):
    """What files held; sentences carry IOB2 tags, with types (`B-Gene`) where the files have them."""

    sentences: list[TaggedSentence]
    scheme: str
    names: Counter[str]
    """The names that the files give to documents, and how often. Other documents are `d0`, `d1`, ..., or,
    where the files mark no documents, each sentence is one, `s0`, `s1`, ..."""


def read_conll(
    paths: Sequence[Path],
    columns: Mapping[str, str | int] | None = None,
    kinds: frozenset[str] = frozenset(),
    others: frozenset[str] = frozenset(),
    typed: bool = False,
) -> Conll:
    """Read a split's files.

    Offsets count characters of a document's words joined with single blanks. A second document of one name
    becomes `NAME#2`.

    Args:
        columns: the place of `token` and `tag`: a number from 0 (negative: from the end), or the name that
            the first line gives them. First and last by default.
        kinds: the types that tags may have, in whatever case; they are written as here. Tags without a type
            are always read. Empty: any.
        others: types that files have besides: their words are O.
        typed: refuse tags without a type.

    Raises:
        UserError: a row without its columns, an unknown tag or type, or tags that no scheme allows; with file
            and line.
    """
    sentences: list[tuple[str, list[Word]]] = []
    names: Counter[str] = Counter()
    for path in paths:
        name = ""
        sentence: list[Word] = []
        for item in _items(path, columns or {}, kinds | others, typed):
            if isinstance(item, Word):
                sentence.append(item)
                continue
            if sentence:
                sentences.append((name or f"s{len(sentences)}", sentence))
                sentence = []
            if item is not None:
                names[item] += 1
                again = f"#{names[item]}" if item and names[item] > 1 else ""
                name = f"{item}{again}" if item else f"d{names[item] - 1}"
    if not sentences:
        where = ", ".join(map(str, paths))
        raise UserError("no sentence in the file", where=where, remedy="restore the original file")
    scheme = find_scheme([words for _, words in sentences])
    tagged = [
        sentence
        for name, group in itertools.groupby(sentences, itemgetter(0))
        for sentence in tag_words(name, [words for _, words in group], scheme, others)
    ]
    del names[""]
    return Conll(tagged, scheme, names)


def tag_words(
    name: str, sentences: Iterable[list[Word]], scheme: str, others: frozenset[str] = frozenset()
) -> Iterator[TaggedSentence]:
    """The sentences of one document with IOB2 tags, `others` as O."""
    offset = 0
    for number, words in enumerate(sentences):
        places = list(itertools.accumulate((len(word.token) + 1 for word in words), initial=offset))
        letters = iob2_letters(words, scheme)
        yield TaggedSentence(
            pmid=name,
            sentence=number,
            tokens=[word.token for word in words],
            starts=places[:-1],
            ends=[place - 1 for place in places[1:]],
            tags=[_tag(letter, word.kind, others) for letter, word in zip(letters, words, strict=True)],
        )
        offset = places[-1]


def _tag(letter: str, kind: str, others: frozenset[str]) -> str:
    return "O" if letter == "O" or kind in others else f"{letter}-{kind}" if kind else letter


def _items(
    path: Path, columns: Mapping[str, str | int], kinds: frozenset[str], typed: bool
) -> Iterator[Word | str | None]:
    """Words; None at a sentence's end; a document's name, or "", at its beginning."""
    width, separator = 0, None
    places: dict[str, int] = {"token": 0, "tag": -1}
    places |= {role: place for role, place in columns.items() if isinstance(place, int)}
    header = {role: name for role, name in columns.items() if isinstance(name, str)}
    types, known = TagTypes(kinds), {kind.casefold(): kind for kind in kinds}
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        if not line.strip():
            yield None
            continue
        if line.split(maxsplit=1)[0] == "-DOCSTART-":
            fields = [
                field for field in line.split()[1:] if field not in ("O", "-X-")
            ]  # CoNLL-2003's columns
            yield " ".join(fields).strip("()<>")
            continue
        tabs = "\t" in line if separator is None else separator == "\t"
        fields = line.split("\t") if tabs else [field for field in line.split(" ") if field]
        if line.startswith("#") and not (
            set(header.values()) <= set(fields) if header else _has_tag(fields, places)
        ):
            continue
        if separator is None:
            separator, width = "\t" if tabs else " ", len(fields)
            if header:
                places |= _named_places(header, fields, where)
                header = {}
                continue
        if len(fields) < 2 or not all(-len(fields) <= place < len(fields) for place in places.values()):
            what = f"expected a token and its tag in {width} columns"
            raise UserError(what, where=where, remedy="correct the line, or the task's `columns`")
        token = fields[places["token"]]
        letter, kind = split_tag(token, fields[places["tag"]], where, typed)
        types.note("B" if letter in _SINGLE else letter, kind, number)
        yield Word(where=where, token=token, letter=letter, kind=known.get(kind.casefold(), kind))
    yield None
    if kinds:
        types.check(path, remedy="correct the task's types, or name these in its other_types")


def _has_tag(fields: Sequence[str], places: Mapping[str, int]) -> bool:
    return len(fields) > max(1, places["tag"]) and fields[places["tag"]].partition("-")[0] in _TAGS


def split_tag(token: object, tag: object, where: str, typed: bool) -> tuple[str, str]:
    """A tag's letter and type.

    Raises:
        UserError: no word, a tag of no scheme, or, where it must have one, without a type.
    """
    letter, _, kind = str(tag).partition("-")
    if not isinstance(token, str) or not token.strip() or letter not in _TAGS or (letter == "O" and kind):
        what = f"expected a word and its tag (such as B, I, O), not {token!r} and {tag!r}"
        raise UserError(what, where=where, remedy="correct it, or the task's `columns`")
    if typed and letter != "O" and not kind:
        what = f"the tag {letter} has no type, where the task has several"
        raise UserError(what, where=where, remedy="add the type, as in B-Gene")
    return letter, kind


def _named_places(names: Mapping[str, str], header: Sequence[str], where: str) -> dict[str, int]:
    for name in names.values():
        if name not in header:
            what = f"no column '{name}' (there are {', '.join(header)})"
            raise UserError(what, where=where, remedy="correct the task's `columns`")
    return {role: header.index(name) for role, name in names.items()}


def find_scheme(sentences: Iterable[Sequence[Word]]) -> str:
    """The one scheme that all tags agree with: IOB1, IOB2, IOBES or BILOU.

    Raises:
        UserError: tags of several schemes, with the first lines of them.
    """
    first: dict[str, str] = {}
    orphan = begin = ""  # where IOB2, and where IOB1, is not kept
    for sentence in sentences:
        before: Word | None = None
        for word in sentence:
            first.setdefault(word.letter, word.where)
            follows = before is not None and before.letter != "O" and before.kind == word.kind
            if not follows:
                orphan = orphan or (word.where if word.letter == "I" else "")
                begin = begin or (word.where if word.letter == "B" else "")
            before = word
    remedy = "use one scheme throughout: IOB1, IOB2, IOBES or BILOU"
    scheme = next((scheme for scheme, letters in _LETTERS.items() if letters >= set(first)), "")
    if not scheme:
        strange = next(letter for letter in "LUES" if letter in first)
        rest = ", ".join(letter for letter in first if letter != strange)
        raise UserError(
            f"the tag {strange} beside {rest}: no scheme has both", where=first[strange], remedy=remedy
        )
    if not first.keys() <= _LETTERS["IOB2"]:
        return scheme
    if orphan and begin:
        what = f"an I tag continues no entity, though entities begin with B elsewhere ({begin})"
        raise UserError(what, where=orphan, remedy=remedy)
    return "IOB1" if orphan else "IOB2"


def iob2_letters(sentence: Sequence[Word], scheme: str) -> list[str]:
    """A sentence's tags as B, I and O.

    Raises:
        UserError: a tag that may not follow the one before in IOBES or BILOU.
    """
    letters: list[str] = []
    open_kind: str | None = None  # the type of an entity whose last tag has not come
    before: Word | None = None
    for word in sentence:
        if scheme in ("IOBES", "BILOU"):
            inside = word.letter == "I" or word.letter in _LAST
            if inside != (open_kind is not None) or (inside and word.kind != open_kind):
                what = f"the tag {word.letter} cannot follow in {scheme}"
                remedy = "correct the tags: an entity begins with B and has its last tag"
                raise UserError(what, where=word.where, remedy=remedy)
            open_kind = word.kind if word.letter in ("B", "I") else None
            begins = word.letter == "B" or word.letter in _SINGLE
        else:
            follows = before is not None and before.letter != "O" and before.kind == word.kind
            begins = word.letter == "B" or not follows
        letters.append("O" if word.letter == "O" else "B" if begins else "I")
        before = word
    if open_kind is not None:
        what = f"an entity has no last tag in {scheme}"
        raise UserError(what, where=sentence[-1].where, remedy="correct the tags")
    return letters
