"""What the readers of annotated texts share: mentions of known types at offsets that fit the text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from biobert_scale.errors import UserError
from biobert_scale.evaluation.pubtator import AnnotatedDocument, Mention
from biobert_scale.evaluation.pubtator_blocks import one_line


class DocumentBuilder:
    """One document whose mentions are added one by one and checked.

    Args:
        text: its whole text; offsets count its characters.
        title_length: characters before the blank or line break that ends the title.
        kinds: the types to keep; `others` are left out, and any other is refused.
        counts: what is counted over the mentions of `kinds`: `discontinuous_mentions`, `repeated_mentions`.
    """

    def __init__(
        self,
        name: str,
        text: str,
        title_length: int,
        kinds: frozenset[str],
        others: frozenset[str],
        counts: Counter[str],
    ) -> None:
        self._name, self._text, self._title_length = name, one_line(text), title_length
        self._kinds, self._counts = kinds, counts
        self._known = {kind.casefold(): kind for kind in kinds | others}
        self._mentions: dict[tuple[int, int, str], Mention] = {}

    def add(self, kind: str, parts: Sequence[tuple[int, int]], text: str | None, where: str) -> None:
        """Add a mention of one part, or of several: (start, end) in the order of the text. It is taken from
        its first to its last character.

        Args:
            text: what must be there; None: nothing is known of it.

        Raises:
            UserError: an unknown type, or a text that is not at these offsets.
        """
        if (known := self._known.get(kind.casefold())) is None:
            what = f"unknown type '{kind}' (known: {', '.join(sorted(self._known.values()))})"
            raise UserError(what, where=where, remedy="add it to the task's types, or to other_types")
        start, end = min(first for first, _ in parts), max(last for _, last in parts)
        found = " ".join(self._text[first:last] for first, last in parts)
        due = found if text is None else text
        if start < 0 or end > len(self._text) or not found.strip() or found.split() != one_line(due).split():
            what = f"the text at {start}-{end} is {found!r}, not {due!r}"
            raise UserError(what, where=where, remedy="correct the offsets: they count characters, from 0")
        if known not in self._kinds:
            return
        span = self._text[start:end]
        start += len(span) - len(span.lstrip())
        end = start + len(span.strip())
        self._counts["discontinuous_mentions"] += len(parts) > 1
        mention = Mention(start=start, end=end, kind=known, composite=False)
        if self._mentions.setdefault((start, end, known), mention) is not mention:
            self._counts["repeated_mentions"] += 1

    def build(self) -> AnnotatedDocument:
        """The document, its mentions in the order of the text."""
        title, abstract = self._text[: self._title_length], self._text[self._title_length + 1 :]
        mentions = sorted(self._mentions.values(), key=lambda m: (m.start, -m.end, m.kind))
        return AnnotatedDocument(pmid=self._name, title=title, abstract=abstract, mentions=tuple(mentions))
