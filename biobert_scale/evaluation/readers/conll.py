"""CoNLL files of two and more columns: one word a line, an empty line after each sentence.

Columns are separated by tabs, or by blanks where the file's first row has no tab. `-DOCSTART-` lines begin
documents, and the rest of such a line is the document's ID. A line that begins with `#` and has fewer columns
than the first row is a comment. The tags' scheme is found by looking at all of them: IOB1 (Ramshaw and Marcus
1995), IOB2, IOBES, or BILOU (Ratinov and Roth 2009). They become IOB2.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from biobert_scale.errors import UserError
from biobert_scale.evaluation.pubtator import read_lines
from biobert_scale.evaluation.readers import TaggedSentence

_LETTERS = {"IOBES": frozenset("IOBES"), "BILOU": frozenset("BILOU"), "IOB2": frozenset("IOB")}
_LAST, _SINGLE = frozenset("EL"), frozenset("SU")


@dataclass(frozen=True, kw_only=True)
class _Word:
    line: int
    token: str
    letter: str
    kind: str


def read_conll(
    path: Path, columns: Mapping[str, str | int] | None = None, kinds: Collection[str] = ()
) -> tuple[list[TaggedSentence], str]:
    """Read a file and turn its tags into IOB2 with their types (`B-Gene`), or without where it has none.

    Args:
        columns: the place of `token` and `tag`: a number from 0 (negative: from the end), or the name that the
            first line gives them. First and last by default.
        kinds: the types that tags may have, in whatever case; they are written as here. Empty: any.

    Returns:
        The sentences, and the scheme's name. Offsets count characters of a document's words joined with
        single blanks. A sentence is a document, `s0`, `s1`, ..., where the file names none.

    Raises:
        UserError: a row without its columns, an unknown tag or type, or tags that no scheme allows; with file
            and line.
    """
    known = {kind.casefold(): kind for kind in kinds}
    documents = list(_documents(path, dict(columns or {}), known))
    sentences = [sentence for _, found in documents for sentence in found]
    if not sentences:
        raise UserError("no sentence in the file", where=path, remedy="restore the original file")
    scheme = _find_scheme(path, sentences)
    tagged, names = [], set[str]()
    for name, found in documents:
        if name in names:
            what = f"document {name} is there twice"
            raise UserError(what, where=f"{path}:{found[0][0].line}", remedy="keep one of the two")
        names.add(name)
        offset = 0
        for number, sentence in enumerate(found):
            starts, ends = [], []
            for word in sentence:
                starts.append(offset)
                ends.append(offset + len(word.token))
                offset = ends[-1] + 1
            tokens, tags = [word.token for word in sentence], _iob2(path, sentence, scheme)
            tagged.append(
                TaggedSentence(pmid=name, sentence=number, tokens=tokens, starts=starts, ends=ends, tags=tags)
            )
    return tagged, scheme


def _documents(
    path: Path, columns: dict[str, str | int], known: dict[str, str]
) -> Iterator[tuple[str, list[list[_Word]]]]:
    """(ID, sentences) of each document."""
    named, count = "", 0
    document: list[list[_Word]] = [[]]
    for word in [*_rows(path, columns, known), None]:
        if isinstance(word, _Word):
            document[-1].append(word)
        elif word == "" and not named:  # no document is named: each sentence is one
            if document[-1]:
                yield f"s{count}", document
                count += 1
            document = [[]]
        elif word == "":
            document.append([])
        else:
            if found := [sentence for sentence in document if sentence]:
                yield named or f"s{count}", found
            count += 1
            named, document = word or "", [[]]


def _rows(path: Path, columns: dict[str, str | int], known: dict[str, str]) -> Iterator[_Word | str]:
    """Words; "" at a sentence's end, and a document's ID at its beginning."""
    width, separator, documents = 0, "", 0
    places: dict[str, int] = {"token": 0, "tag": -1}
    places |= {role: place for role, place in columns.items() if isinstance(place, int)}
    names = {role: name for role, name in columns.items() if isinstance(name, str)}
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        if not line.strip():
            yield ""
            continue
        if line.split(maxsplit=1)[0] == "-DOCSTART-":
            name = line.partition("-DOCSTART-")[2].strip()
            # CoNLL-2003 fills the columns with O and -X-.
            yield f"d{documents}" if set(name.split()) <= {"O", "-X-", "NN"} else name.strip("()")
            documents += 1
            continue
        fields = line.split("\t") if separator == "\t" or (not separator and "\t" in line) else line.split()
        if line.startswith("#") and len(fields) < (width or 2):
            continue
        if not width:
            width, separator = len(fields), "\t" if "\t" in line else " "
            if names:
                places |= _named_places(names, fields, where)
                continue
        if not all(-len(fields) <= place < len(fields) for place in places.values()) or len(fields) < 2:
            what = f"{len(fields)} columns where token and tag are expected"
            raise UserError(what, where=where, remedy="correct the line, or the task's `columns`")
        token, (letter, _, kind) = fields[places["token"]], fields[places["tag"]].partition("-")
        if not token.strip() or letter not in set("BIOESLU") or (letter == "O") > (kind == ""):
            what = f"expected a token and its tag, not {token!r} and {fields[places['tag']]!r}"
            raise UserError(what, where=where, remedy="correct the line, or the task's `columns`")
        if kind and known and kind.casefold() not in known:
            what = f"unknown type '{kind}' (known: {', '.join(sorted(known.values()))})"
            raise UserError(what, where=where, remedy="add it to the task's types, or to other_types")
        yield _Word(line=number, token=token, letter=letter, kind=known.get(kind.casefold(), kind))
    yield ""


def _named_places(names: dict[str, str], header: Sequence[str], where: str) -> dict[str, int]:
    for name in names.values():
        if name not in header:
            what = f"no column '{name}' (there are {', '.join(header)})"
            raise UserError(what, where=where, remedy="correct the task's `columns`")
    return {role: header.index(name) for role, name in names.items()}


def _find_scheme(path: Path, sentences: list[list[_Word]]) -> str:
    """The one scheme that all tags agree with."""
    first = {word.letter: word.line for sentence in reversed(sentences) for word in reversed(sentence)}
    for scheme, letters in _LETTERS.items():
        if letters >= set(first):
            break
    else:
        lines = ", ".join(f"{letter} in line {line}" for letter, line in sorted(first.items()))
        remedy = "use one scheme throughout: IOB1, IOB2, IOBES or BILOU"
        raise UserError(f"tags of several schemes ({lines})", where=path, remedy=remedy)
    if set(first) - set("IOB"):
        return scheme
    orphan, begin = 0, 0  # lines that IOB2, or IOB1, does not have
    for sentence in sentences:
        for before, word in zip([None, *sentence], sentence, strict=False):
            follows = before is not None and before.letter != "O" and before.kind == word.kind
            orphan = orphan or (word.line if word.letter == "I" and not follows else 0)
            begin = begin or (word.line if word.letter == "B" and not follows else 0)
    if orphan and begin:
        what = f"an I tag continues no entity, though entities begin with B elsewhere (line {begin})"
        remedy = "use one scheme throughout: IOB1, IOB2, IOBES or BILOU"
        raise UserError(what, where=f"{path}:{orphan}", remedy=remedy)
    return "IOB1" if orphan else "IOB2"


def _iob2(path: Path, sentence: list[_Word], scheme: str) -> list[str]:
    tags, open_kind = [], None  # the type of an entity that must still go on
    before: _Word | None = None
    for word in sentence:
        inside = word.letter == "I" or word.letter in _LAST
        if scheme in ("IOBES", "BILOU"):
            if inside != (open_kind is not None) or (inside and word.kind != open_kind):
                what = f"the tag {word.letter} cannot follow in {scheme}"
                remedy = "correct the tags: an entity begins with B and has its last tag"
                raise UserError(what, where=f"{path}:{word.line}", remedy=remedy)
            open_kind = word.kind if word.letter in ("B", "I") else None
            begins = word.letter == "B" or word.letter in _SINGLE
        else:
            follows = before is not None and before.letter != "O" and before.kind == word.kind
            begins = word.letter == "B" or (word.letter == "I" and not follows)
        letter = "O" if word.letter == "O" else "B" if begins else "I"
        tags.append(f"{letter}-{word.kind}" if word.kind and letter != "O" else letter)
        before = word
    if open_kind is not None:
        what = f"an entity has no last tag in {scheme}"
        raise UserError(what, where=f"{path}:{sentence[-1].line}", remedy="correct the tags")
    return tags
