"""Turns the elements of a JATS text into lines: what joins, what ends a line, what is left out.

Source: the JATS Archiving and Interchange tag set (https://jats.nlm.nih.gov/archiving/).
"""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

from biobert_scale.corpus.cleaning.citations import HOLE, citation, close_raised
from biobert_scale.corpus.cleaning.entities import entity_text
from biobert_scale.corpus.cleaning.exponents import append_superscript
from biobert_scale.corpus.cleaning.markup import local_name
from biobert_scale.corpus.cleaning.mathml import math_text
from biobert_scale.corpus.readers.jats_text import (
    Formality,
    formality,
    in_methods,
    tidy,
    without_caption_mark,
)

# Left out where running text may stand on both sides.
_HOLES = frozenset(
    "array code disp-formula disp-formula-group fn fn-group glyph-data graphic index-term"
    " inline-graphic preformat private-char ref-list related-article related-object"
    " supplementary-material table tex-math".split()
)
# Left out between blocks, where nothing can be joined by mistake.
_DROPPED = frozenset(
    "ack aff alt-text attrib author-notes back bio book-part contrib-group glossary kwd-group label long-desc"
    " object-id permissions response sig-block sub-article table-wrap-foot".split()
)
_BLOCKS = frozenset(
    "answer boxed-text caption chem-struct-wrap def def-item def-list disp-quote explanation list"
    " list-item p question speaker speech statement subtitle term title verse-group verse-line".split()
)
_INLINE = frozenset(
    "bold ext-link inline-formula italic monospace named-content sc styled-content sub underline".split()
)
_FLOATS = frozenset({"fig", "fig-group", "table-wrap", "table-wrap-group"})
_WITH_CAPTION = _FLOATS | {"media"}
_MARKS = frozenset({"fn", "table-fn", "aff", "corresp", "author-notes", "author-note", "contrib"})
_CITATIONS = frozenset({"bibr", "ref", None, ""})
_MARK_SIGNS = frozenset("*†‡§¶#‖∗")
_FORMAL_TYPES = frozenset(
    "author-contribution author-contributions coi-statement conflict data-availability ethics"
    " ethics-statement funding-information supplementary-material".split()
)
_HEADINGS_OF_FLOATS = frozenset(
    "and captions figure figures legends list of scheme schemes table tables".split()
)
_SHORT = 200
"""Words up to which a section inside the body can be a formality."""


def lines_of(element: etree._Element, *, captions: bool) -> list[str]:
    """The text of an element, one paragraph a line."""
    flow = Flow(captions=captions)
    flow.add_content(element)
    return flow.finish()


class Flow:
    """Gathers text into lines: inline markup joins, blocks end a line, floats wait for the end of it."""

    def __init__(self, *, captions: bool) -> None:
        self.captions = captions
        self.lines: list[str] = []
        self.pieces: list[str] = []
        self.floats: list[etree._Element] = []
        self.raised = False
        """Inside a superscript."""

    def finish(self) -> list[str]:
        self.end_line()
        return self.lines

    def end_line(self) -> None:
        if self.pieces:
            line = tidy("".join(self.pieces))
            self.pieces.clear()
            if line:
                self.lines.append(line)
        if self.floats:
            self.lines += [line for element in self.floats for line in _captions(element)]
            self.floats.clear()

    def add_content(self, element: etree._Element) -> None:
        if text := element.text:
            self.pieces.append(text)
        self.add_children(element)

    def add_children(self, element: etree._Element, skip: etree._Element | None = None) -> None:
        append = self.pieces.append
        for child in element:
            # Common names are found at once; others (namespace, unknown, no element) by `add_other`.
            action = _ACTIONS.get(child.tag, Flow.add_other)
            if action is Flow.add_content:  # by far the most frequent: spares two calls for each
                if text := child.text:
                    append(text)
                if len(child):
                    self.add_children(child)
            elif action is not None and child is not skip:
                action(self, child)
            if tail := child.tail:
                append(tail)

    def add_node(self, element: etree._Element) -> None:
        if (action := _ACTIONS.get(element.tag, Flow.add_other)) is not None:
            action(self, element)

    def add_other(self, element: etree._Element) -> None:
        name = local_name(element)
        if not name:
            self.pieces.append(entity_text(element))
        elif (action := _ACTIONS.get(name, Flow.add_content)) is not None:
            action(self, element)

    def add_break(self, _element: etree._Element) -> None:
        self.pieces.append(" ")

    def add_hole(self, _element: etree._Element) -> None:
        self.pieces.append(HOLE)

    def add_section(self, section: etree._Element) -> None:
        self.end_line()
        self.lines += section_lines(section, self.captions)

    def add_float(self, element: etree._Element) -> None:
        self.pieces.append(HOLE)
        if self.captions:
            self.floats.append(element)

    def add_media(self, element: etree._Element) -> None:
        """A film with a caption is read as a figure; `(<media>Movie 1</media>)` with its sentence."""
        if element.find("{*}caption") is not None:
            self.add_float(element)
        elif "".join(element.itertext()).strip():
            self.add_content(element)
        else:
            self.pieces.append(HOLE)

    def add_block(self, element: etree._Element) -> None:
        self.end_line()
        self.add_content(element)
        self.end_line()

    def add_reference(self, element: etree._Element) -> None:
        """`Fig. 2` and `Smith et al. 2010` are read with the sentence; a citation's number and a footnote's
        mark are not."""
        kind, simple = element.get("ref-type"), not len(element)
        text = (element.text or "") if simple else "".join(element.itertext())
        if kind in _MARKS or (kind == "other" and _is_mark(text, self.raised)):
            self.pieces.append(HOLE)
        elif kind in _CITATIONS and (
            hole := citation(text, self.raised or (not simple and local_name(element[0]) == "sup"))
        ):
            if hole[-1] == "." and (element.tail or "").lstrip()[:1].islower():
                hole = hole[:-1]  # the sentence has not ended
            self.pieces.append(hole)
        elif simple:
            self.pieces.append(text)
        else:
            self.add_content(element)

    def add_superscript(self, element: etree._Element) -> None:
        if not len(element):
            if text := element.text:
                append_superscript(self.pieces, text)
            return
        pieces, raised = self.pieces, self.raised
        if element[0].tag == "xref" and len(element) == 1 and not element.text and not element[0].tail:
            self.raised = True  # by far the most frequent: one reference
            self.add_reference(element[0])
            self.raised = raised
            return
        self.pieces, self.raised = [], True
        self.add_content(element)
        inner, self.pieces, self.raised = close_raised("".join(self.pieces)), pieces, raised
        own, hole, rest = inner.partition(HOLE)
        if own:
            append_superscript(pieces, own)
        pieces.append(hole + rest)

    def add_abbreviation(self, element: etree._Element) -> None:
        """The definition is read in the sentence: `Ag – antegenital`."""
        self.pieces.append(element.text or "")
        for child in element:
            if local_name(child) == "def":
                self.pieces += [" ", " ".join(lines_of(child, captions=False))]
            else:
                self.add_node(child)
            self.pieces.append(child.tail or "")

    def add_alternative(self, element: etree._Element) -> None:
        """Of several forms of one thing take one: MathML before anything else that is text."""
        formula = element.find("{*}math")
        for child in [formula] if formula is not None else list(element)[:1]:
            self.add_node(child)

    def add_formula(self, element: etree._Element) -> None:
        self.pieces.append(math_text(element))


_ACTIONS: dict[str, Callable[[Flow, etree._Element], None] | None] = {
    **dict.fromkeys(_DROPPED),
    **dict.fromkeys(_HOLES, Flow.add_hole),
    **dict.fromkeys(_BLOCKS, Flow.add_block),
    **dict.fromkeys(_FLOATS, Flow.add_float),
    **dict.fromkeys(_INLINE, Flow.add_content),
    "sec": Flow.add_section,
    "app": Flow.add_section,
    "notes": Flow.add_section,
    "xref": Flow.add_reference,
    "sup": Flow.add_superscript,
    "media": Flow.add_media,
    "abbrev": Flow.add_abbreviation,
    "alternatives": Flow.add_alternative,
    "math": Flow.add_formula,
    "break": Flow.add_break,
}
"""What to do with an element of each name; None leaves it out, and an unknown one is read as inline markup.
"""


def _is_mark(text: str, raised: bool) -> bool:
    """`*`, and a raised `a` or `1`."""
    text = text.strip()
    return (raised and len(text) < 3) or _MARK_SIGNS.issuperset(text)


def section_lines(section: etree._Element, captions: bool) -> list[str]:
    """The section's lines below its heading; nothing where it is a formality or holds no text."""
    title = _title(section)
    heading = " ".join(lines_of(title, captions=False)) if title is not None else ""
    if _is_formal(section, heading):
        return []
    flow = Flow(captions=captions)
    flow.add_children(section, skip=title)
    lines = flow.finish()
    if not heading or not lines or _HEADINGS_OF_FLOATS.issuperset(heading.lower().replace(",", " ").split()):
        return lines
    return [heading, *lines]


def _title(section: etree._Element) -> etree._Element | None:
    return next((child for child in section if local_name(child) == "title"), None)


def _heading(section: etree._Element | None) -> str:
    title = _title(section) if section is not None else None
    return "".join(title.itertext()) if title is not None else ""


def _is_formal(section: etree._Element, heading: str) -> bool:
    """A formality has a formal heading and the place of one.

    That is the back matter; or the top level of the body, after the last section that is none or (where the
    heading is certain) anywhere, if the section is short; or, for ethics and data, a place among the methods.
    """
    kind, parent = formality(heading), section.getparent()
    place = local_name(parent) if parent is not None else ""
    if place == "app-group":
        place = "back"
    if not heading:
        types = (section.get("sec-type") or section.get("notes-type") or "").lower()
        return place == "back" and (local_name(section) == "notes" or types in _FORMAL_TYPES)
    if kind is Formality.NONE:
        return False
    science_below = any(not formality(_heading(inner)) for inner in section.iterchildren("{*}sec"))
    if place == "back":
        return not science_below or kind is Formality.CERTAIN
    short = sum(len(text.split()) for text in section.itertext()) <= _SHORT
    if not short or science_below:
        return kind is Formality.CERTAIN and place == "body" and _closes(section)
    if place == "body" or formality(_heading(parent)):
        return kind is Formality.CERTAIN or _closes(section)
    if kind is not Formality.CERTAIN:
        return False
    ancestors = [_heading(above) for above in section.iterancestors("{*}sec")]
    return any(in_methods(above, heading) for above in ancestors) or (
        _closes(section) and all(map(_closes, section.iterancestors("{*}sec")))
    )


def _closes(section: etree._Element) -> bool:
    """No section follows that is no formality."""
    return all(formality(_heading(later)) for later in section.itersiblings("{*}sec"))


def _captions(element: etree._Element) -> list[str]:
    own = (c for c in element.iter("{*}caption") if local_name(c.getparent()) in _WITH_CAPTION)
    texts = (without_caption_mark(" ".join(lines_of(caption, captions=False))) for caption in own)
    return [text for text in texts if text]
