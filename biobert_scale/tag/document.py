"""A text to tag: its sections, and where each begins in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

TITLE, ABSTRACT, PARAGRAPH = "title", "abstract", "paragraph"
"""Names of sections; a body is paragraphs."""
_LINE_END = re.compile(r"(?<!\n)\n(?!\n)")


class Section(NamedTuple):
    """A stretch of a document's text."""

    name: str
    """`title`, `abstract`, `paragraph`, or what the input calls it."""
    start: int
    """In characters of the document's text."""
    text: str


@dataclass(frozen=True, kw_only=True)
class TextDocument:
    """One text to tag. Entities' offsets count characters (Unicode code points) of `text`."""

    id: str
    title: str
    """The whole text where there is no abstract."""
    abstract: str = ""
    sections: tuple[tuple[str, str], ...] = ()
    """(name, text) of each section after the abstract; of PubTator its letter."""
    names: tuple[str, ...] = ()
    """What the input calls the title and the abstract, where it says so."""
    is_numbered: bool = field(default=False, compare=False)
    """`id` is a number in the file: the input names no documents."""

    @property
    def text(self) -> str:
        """Title, one blank, abstract, and each further section after one blank: as PubTator counts."""
        return " ".join(text for _, text in self._stretches())

    def _stretches(self) -> list[tuple[str, str]]:
        title, abstract = (*self.names, *(TITLE, ABSTRACT)[len(self.names) :])
        if not (self.abstract or self.sections):
            return [(title, self.title)]
        return [(title, self.title), (abstract, self.abstract), *self.sections]

    def stretches(self) -> list[Section]:
        """The sections that are not empty."""
        found, start = [], 0
        for name, text in self._stretches():
            if text:
                found.append(Section(name, start, text))
            start += len(text) + 1
        return found

    def parts(self) -> list[tuple[int, str]]:
        """The stretches that sentences do not cross, each with the offset that it begins at. A single line
        end inside one is a blank."""
        return [(section.start, _LINE_END.sub(" ", section.text)) for section in self.stretches()]
