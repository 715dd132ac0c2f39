"""A small phrase grammar: frames with alternatives, named phrases and slots become sentences with marked
names.

A frame is one line of text with

    [a|b|]      one of the alternatives, the earlier ones more often (the last one here is empty)
    {patients}  a named phrase or a number
    <D>         a slot, filled by the document's topic
    a~          "a" or "an", by the letter that follows

The result is a *marked* string: ordinary text with control characters around names and inline markup, so that
one sentence can be written as plain text with offsets, as PubMed XML or as JATS.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from xml.sax.saxutils import escape

OPEN, LABEL_END, CLOSE = "\x0e", "\x0f", "\x10"
ITALIC, ITALIC_END, RAISED, RAISED_END = "\x11", "\x12", "\x13", "\x14"
_MARK = re.compile(f"{OPEN}([^{LABEL_END}]*){LABEL_END}|[{CLOSE}-{RAISED_END}]")
_ARTICLE = re.compile(f"\\b([Aa])~ ((?:{OPEN}[^{LABEL_END}]*{LABEL_END}|{ITALIC})*)(?=(\\w+))")
_TOKEN = re.compile(r"\{(\w+)\}|<(\w+)>|([\[\]|])|([^\[\]|{}<]+|[<{}])")


class _Slot(NamedTuple):
    name: str


class _Named(NamedTuple):
    """A named phrase or number."""

    name: str


Node = str | _Slot | _Named | list["Sequence"]
Sequence = list[Node]
FillSlot = Callable[[str], str]
Number = Callable[[random.Random], str]


@dataclass(frozen=True, kw_only=True)
class Mention:
    """A name in a plain text: `text[start:end]`, with the label that the slot gave it."""

    start: int
    end: int
    kind: str
    identifier: str
    role: str


class Grammar:
    """Compiled phrases and frames.

    Args:
        phrases: named phrases; a value is written in the frame notation.
        numbers: named number makers.
    """

    def __init__(self, phrases: Mapping[str, str], numbers: Mapping[str, Number]) -> None:
        self._phrases = {name: _compile(text) for name, text in phrases.items()}
        self._numbers = numbers

    def sentence(self, frame: str, fill: FillSlot, rng: random.Random) -> str:
        """One sentence from a frame: marked, articles settled, first letter a capital."""
        parts: list[str] = []
        self._render(_compile(frame), fill, rng, parts)
        return _capitalise(_ARTICLE.sub(_settle_article, "".join(parts)))

    def _render(self, sequence: Sequence, fill: FillSlot, rng: random.Random, parts: list[str]) -> None:
        for node in sequence:
            if isinstance(node, str):
                parts.append(node)
            elif isinstance(node, list):
                self._render(node[skewed(rng, len(node))], fill, rng, parts)
            elif isinstance(node, _Slot):
                parts.append(fill(node.name))
            elif node.name in self._numbers:
                parts.append(self._numbers[node.name](rng))
            else:
                self._render(self._phrases[node.name], fill, rng, parts)


def skewed(rng: random.Random, count: int) -> int:
    """A place from 0 to count - 1: half of the draws fall on the first quarter."""
    return int(count * rng.random() ** 2)


@functools.cache
def _compile(text: str) -> Sequence:
    sequence, closed = _alternatives(_TOKEN.finditer(text), text)
    assert not closed, f"a bracket too many: {text}"
    return sequence[0] if len(sequence) == 1 else [sequence]


def _alternatives(tokens: Iterator[re.Match[str]], text: str) -> tuple[list[Sequence], bool]:
    branches: list[Sequence] = [[]]
    for token in tokens:
        name, slot, bracket, literal = token.groups()
        if name:
            branches[-1].append(_Named(name))
        elif slot:
            branches[-1].append(_Slot(slot))
        elif bracket == "[":
            inner, closed = _alternatives(tokens, text)
            assert closed, f"a bracket is open: {text}"
            branches[-1].append(inner)
        elif bracket == "|":
            branches.append([])
        elif bracket == "]":
            return branches, True
        else:
            branches[-1].append(literal)
    return branches, False


def _settle_article(match: re.Match[str]) -> str:
    article, marks, following = match.groups()
    vowel = following[0].lower() in "aeiou8" or following in ("11", "18")
    return f"{article}{'n' if vowel else ''} {marks}"


def _capitalise(marked: str) -> str:
    position = 0
    while found := _MARK.match(marked, position):
        position = found.end()
    return marked[:position] + marked[position : position + 1].upper() + marked[position + 1 :]


def mark_mention(surface: str, kind: str, identifier: str, role: str = "") -> str:
    """The surface of a name between its marks."""
    return f"{OPEN}{kind}/{identifier}/{role}{LABEL_END}{surface}{CLOSE}"


def plain_text(marked: str) -> tuple[str, list[Mention]]:
    """The text without marks, and the mentions in character offsets."""
    parts: list[str] = []
    mentions: list[Mention] = []
    length = position = start = 0
    label = ""
    for mark in _MARK.finditer(marked):
        parts.append(marked[position : mark.start()])
        length += mark.start() - position
        position = mark.end()
        if mark.group(1) is not None:
            label, start = mark.group(1), length
        elif mark.group() == CLOSE:
            kind, identifier, role = label.split("/")
            mentions.append(Mention(start=start, end=length, kind=kind, identifier=identifier, role=role))
    parts.append(marked[position:])
    return "".join(parts), mentions


def xml_text(marked: str, *, italic: str) -> str:
    """Escaped XML content, with the publisher's element name for italics."""
    names = {ITALIC: f"<{italic}>", ITALIC_END: f"</{italic}>", RAISED: "<sup>", RAISED_END: "</sup>"}
    return _MARK.sub(lambda mark: names.get(mark.group(), ""), escape(marked))


def count_words(marked: str) -> int:
    """White-space-separated words of the plain text."""
    return len(_MARK.sub("", marked).split())
