"""Takes the numbers of references out of a text so that its sentences and brackets stay whole.

The reader of an article puts a hole where it leaves something out of running text: a reference's number, a
footnote's mark, a formula that is a picture. `close_holes` then removes the holes with the punctuation,
the conjunctions and the brackets that served them alone. Brackets are removed in pairs or not at all. A
number that its sentence cannot do without (`as described in [12]`) stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

# XML 1.0 forbids both characters. Between them is the number, where it may have to stay.
_START, _END = "\ufffe", "\uffff"
HOLE = _START + _END
"""Stands for something that was left out for good."""

_ANY_HOLE = f"{_START}[^{_END}]*{_END}"
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_CLOSING = frozenset(_BRACKETS.values())
_WORD = re.compile(r"[^\W_]+")
_DASHES = r"‐-―−\-"
_BETWEEN_HOLES = rf"(?:[\s,;:/&+{_DASHES}]|\b(?:and|or|to|through|see|also)\b)*"
_BARE_RUN = f"{_ANY_HOLE}(?:{_BETWEEN_HOLES}{_ANY_HOLE})*"
_UNIT = rf"(?:{_ANY_HOLE}|\[\s*{_BARE_RUN}\s*\]|\(\s*{_BARE_RUN}\s*\))"
_RUN = re.compile(f"{_UNIT}(?:{_BETWEEN_HOLES}{_UNIT})*")
_HOLE_OR_BRACKET = re.compile(rf"({_ANY_HOLE}|[()\[\]{{}}])")
_HOLES = re.compile(_ANY_HOLE)
_CLAUSE = re.compile(rf"((?:{_ANY_HOLE}|[^,;{_START}])*)([,;]|\Z)")
_CLOSING_MARK = re.compile(r"\s*([.,;:!?)\]}]|\Z)")
_CONJUNCTION_BEFORE = re.compile(r"(?:\A|[,;]?\s)(?:and|or|&|see(?: also)?|e\.g\.,?|cf\.?)\Z")
_CONJUNCTIONS = ("and", "or", "&", "see", "also", "e.g.", "e.g.,", "cf", "cf.")
_BLANK_IN_BRACKET = re.compile(r"(?<=[\[(])\s+|\s+(?=[\])])")
_BLANKS = re.compile(r"\s*")
_CONJUNCTION_AFTER = re.compile(r"\s*(?:and|or|&)\s+")

# Words that mean nothing in a bracket without the reference they lead to: `(see [3] for a recent review)`.
_SERVING = frozenset(
    "a according adapted also among an and as based but by c cf cited data described detail details"
    " discussed e eg elsewhere example examples f for from further g given here i ie in information"
    " instance modified more of or other others permission please previously recent recently ref refer"
    " reference references refs reported reprinted reproduced review reviewed reviews see shown source"
    " sources summarised summarized taken the therein through to with".split()
)
# Words whose sentence needs what follows: `in [12], mice were fed`.
_GOVERNING = frozenset(
    "after by following from in like of ref ref. reference references refs refs. see than to unlike"
    " using with".split()
)
_NEAR = 16
"""Characters before a hole that decide what becomes of it."""

_CHANGEABLE = 512
"""Characters before a hole that closing it may change; a text of many holes is not copied for each."""

_SENTENCE_START = re.compile(r"(?:\A|(?:[^\W\d_]{4}|[)\]])[.!?]\s+)\Z")  # not after `et al.`
_PREDICATE = re.compile(r"\s+[a-z]")

_NUMBER = r"[A-Z]?\d{1,3}[a-z]?"
_BETWEEN = rf"(?:[\s,;/{_DASHES}]+(?:(?:and|&|to)\s+)?)"
# At most three digits: a year alone ("Smith et al., 2006" with the year linked) is read with the sentence.
_CITATION = re.compile(
    r"[\s,;]*(?P<opening>[(\[{]*)\s*"
    rf"(?P<number>(?:[Rr]ef(?:erence)?s?\.?\s*)?{_NUMBER}(?:{_BETWEEN}{_NUMBER})*"
    rf"|[⁰¹²³⁴-⁹](?:[,;{_DASHES}\s]*[⁰¹²³⁴-⁹])*|[*†‡§¶#‖∗]*)"
    rf"[\s,;{_DASHES}]*(?P<closing>[)\]}}]*)(?P<stop>\.?)\s*"
)

_LONGEST_NUMBER = 200

_SEPARATORS_AT_HOLE = re.compile(rf"[\s,;]*({_ANY_HOLE})[\s,;]*")
_RANGE_END = re.compile(rf"(?:\d{{1,3}}[{_DASHES}])?({_ANY_HOLE})(?:[{_DASHES}]\d{{1,3}})?")


@lru_cache(maxsize=4096)  # the same small numbers over and over
def citation(text: str, raised: bool) -> str | None:
    """What the reader writes for the text of a link to a reference.

    Args:
        text: `[3]`, `1,4-6`, `S2`, `†`, or words.
        raised: it is a superscript, which no sentence needs.

    Returns:
        A hole in the text's own brackets; None where the text is read with the sentence: `Smith et al.`,
        `2006`.
    """
    found = _CITATION.fullmatch(text) if len(text) < _LONGEST_NUMBER else None
    if found is None:
        return None
    opening, number, closing, stop = found.group("opening", "number", "closing", "stop")
    return f"{opening}{HOLE if raised else _START + number + _END}{closing}{stop}"


def close_raised(text: str) -> str:
    """A superscript with holes: the separators and the range's ends in it belong to them (`2+,[8]`)."""
    if text == HOLE:
        return text
    return _RANGE_END.sub(r"\1", _SEPARATORS_AT_HOLE.sub(r"\1", text))


def has_holes(text: str) -> bool:
    return _START in text


def close_holes(text: str) -> str:
    """Remove the holes of a text with what served them alone: `in rats [,]. So` becomes `in rats. So`.
    White space is left to be collapsed afterwards.
    """
    runs = list(_runs(text))
    return _close(_without_bracketed(text)) if _is_bracketed(text, runs) else _close(text, runs)


def _runs(text: str) -> Iterator[re.Match[str]]:
    """What `_RUN.finditer` finds, faster: a run begins with a hole or a bracket in front of one."""
    position, hole = 0, text.find(_START)
    while hole >= 0:
        opening = hole - 1
        while opening >= position and text[opening].isspace():
            opening -= 1
        bracketed = _RUN.match(text, opening) if opening >= position and text[opening] in "([" else None
        if (run := bracketed or _RUN.match(text, hole)) is None:
            return
        yield run
        position = run.end()
        hole = text.find(_START, position)


def _is_bracketed(text: str, runs: list[re.Match[str]]) -> bool:
    """Some hole is in a bracket with other text."""
    position = depth = 0
    for run in runs:
        between = text[position : run.start()]
        position = run.end()
        for opening, closing in _BRACKETS.items():
            if opening in between or closing in between:
                depth += between.count(opening) - between.count(closing)
        if depth:
            return True
    return False


class _Open(NamedTuple):
    """An open bracket, and the pieces of text in it."""

    bracket: str
    pieces: list[str]


def _without_bracketed(text: str) -> str:
    """The text without its holes inside brackets."""
    frames = [_Open("", [])]
    for piece in _HOLE_OR_BRACKET.split(text):
        if piece in _BRACKETS:
            frames.append(_Open(piece, []))
        elif piece in _CLOSING and (depth := _partner(frames, piece)):
            inner = "".join(frame.bracket + "".join(frame.pieces) for frame in frames[depth:])[1:]
            opening = frames[depth].bracket
            del frames[depth:]
            frames[-1].pieces.append(_bracket(opening, inner, piece))
        else:
            frames[-1].pieces.append(piece)
    return "".join(frame.bracket + "".join(frame.pieces) for frame in frames)


def _partner(frames: list[_Open], closing: str) -> int:
    """The index of the frame that a closing bracket ends; 0 where it ends none.

    A wrong bracket ends the last frame if that holds nothing but references.
    """
    for depth in range(len(frames) - 1, max(0, len(frames) - 9), -1):
        if _BRACKETS[frames[depth].bracket] == closing:
            return depth
    last = frames[-1].pieces
    return len(frames) - 1 if len(last) < 10 and _serves_holes("".join(last)) else 0


def _bracket(opening: str, inner: str, closing: str) -> str:
    if _START not in inner:
        return opening + inner + closing
    if _serves_holes(inner):
        return HOLE if HOLE in inner else f"{_START}{_restored(opening + inner + closing)}{_END}"
    found = _CLAUSE.findall(inner)
    clauses = [clause + separator for clause, separator in found if not _serves_holes(clause)]
    if not inner.startswith(clauses[0]):
        clauses[0] = clauses[0].lstrip()
    text = _close("".join(clauses), bracketed=True)
    return f"{opening}{text.strip().rstrip(',;').rstrip()}{closing}"


def _serves_holes(text: str) -> bool:
    """Nothing but holes, and what makes no sense without them."""
    if _START not in text:
        return False
    numbers_count = HOLE not in text
    return all(
        word.lower() in _SERVING or (numbers_count and word.isdigit() and len(word) < 4)
        for word in _WORD.findall(_HOLES.sub(" ", text))
    )


def _restored(text: str) -> str:
    return _BLANK_IN_BRACKET.sub("", text.replace(_START, "").replace(_END, ""))


def _close(text: str, runs: Iterable[re.Match[str]] | None = None, *, bracketed: bool = False) -> str:
    """Remove the holes of a text whose brackets are dealt with.

    Args:
        runs: of holes in the text, where they have been found.
    """
    if _START not in text:
        return text
    pieces: list[str] = []
    done, position = "", 0  # `done` is the end of what is done, which may still change
    for run in _runs(text) if runs is None else runs:
        done += text[position : run.start()]
        if len(done) > 2 * _CHANGEABLE:
            pieces.append(done[:-_CHANGEABLE])
            done = done[-_CHANGEABLE:]
        position = run.end()
        stays = HOLE not in run[0] and (not done or done[-1].isspace())
        if stays and _is_needed(done, text, position, bracketed):
            done += _restored(run[0])
        else:
            done, position = _joined(done, text, position, bracketed)
    return "".join((*pieces, done, text[position:]))


def _is_needed(before: str, text: str, end: int, bracketed: bool) -> bool:
    """The sentence has the number as its object or its subject: `as in [3]`, `[3] showed`."""
    near = before[-_NEAR:]
    words = near.split()
    if words and words[-1].lstrip("([").lower() in _GOVERNING:
        return True
    return not bracketed and bool(_SENTENCE_START.search(near) and _PREDICATE.match(text, end))


def _joined(before: str, text: str, end: int, bracketed: bool) -> tuple[str, int]:
    """The text before a removed hole, ready for what follows it, and where that begins."""
    head = before.rstrip()
    if mark := _CLOSING_MARK.match(text, end):
        if head.endswith(_CONJUNCTIONS) and (found := _CONJUNCTION_BEFORE.search(head[-_NEAR:])):
            head = head[: len(head) - len(found[0])]
        if head[-1:] in (",", ";") or (head[-1:] == ":" and mark[1]):
            head = head[:-1].rstrip()
        doubled = mark[1] == "." and head[-1:] in (".", "!", "?") and not text.startswith("..", mark.start(1))
        orphaned = not head and mark[1] not in (")", "]", "}")
        return head, mark.end() if doubled or orphaned else mark.start(1)
    if not head or head[-1] in "([{":
        follows = _CONJUNCTION_AFTER.match(text, end) if bracketed else None
        rest = follows.end() if follows else end
        return head, _BLANKS.match(text, rest).end()  # type: ignore[union-attr]  # matches nothing, too
    if (
        head.endswith(_CONJUNCTIONS)
        and (after := _CONJUNCTION_AFTER.match(text, end))
        and (found := _CONJUNCTION_BEFORE.search(head[-_NEAR:]))
    ):  # `proteins and [3] and genes`
        return head[: len(head) - len(found[0])] + " ", end + len(after[0]) - len(after[0].lstrip())
    following = text[end]
    grow_together = following.isalnum() or following in "([{“‘\"'"
    if grow_together and (before[-1].isspace() or head[-1] not in "-‐‑–—/"):
        return head + " ", end
    return head, end
