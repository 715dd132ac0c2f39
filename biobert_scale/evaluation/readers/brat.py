"""brat's standoff format: NAME.txt, and NAME.ann with a line `T1<TAB>Type start end[;start end...]<TAB>text`
for each mention. Stenetorp et al. 2012, "brat: a web-based tool for NLP-assisted text annotation"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from biobert_scale.errors import UserError
from biobert_scale.evaluation.pubtator import AnnotatedDocument, read_lines
from biobert_scale.evaluation.readers.annotations import DocumentBuilder

_MENTION = re.compile(r"T\S*\t(\S+) (\d+ \d+(?:;\d+ \d+)*)\t(.*)", re.DOTALL)


def read_brat(
    paths: Sequence[Path], kinds: frozenset[str], others: frozenset[str] = frozenset()
) -> tuple[list[AnnotatedDocument], Counter[str]]:
    """Read the `.ann` files of a split, each with the `.txt` beside it.

    A document's first line is its title. Relations, events, attributes and notes are counted and left out.

    Raises:
        UserError: no text beside a file, a malformed line, an unknown type, or an offset that does not fit.
    """
    documents, counts = [], Counter[str]()
    for path in sorted(paths):
        text_path = path.with_suffix(".txt")
        try:
            text = text_path.read_bytes().decode(
                "utf-8"
            )  # brat counts every character, line ends as they are
        except FileNotFoundError:
            raise UserError(
                "no text beside the annotations", where=text_path, remedy="add the file"
            ) from None
        except UnicodeDecodeError:
            remedy = "convert it with iconv"
            raise UserError("not UTF-8 text", where=text_path, remedy=remedy) from None
        title_length = text.find("\n") if "\n" in text else len(text)
        builder = DocumentBuilder(path.stem, text, title_length, kinds, others, counts)
        for number, line in read_lines(path):
            if not line.startswith("T"):
                counts["other_annotations"] += bool(line.strip())
                continue
            if not (match := _MENTION.fullmatch(line)):
                what = "expected an ID, a type with its offsets, and the text, separated by tabs"
                raise UserError(what, where=f"{path}:{number}", remedy="correct the line")
            offsets = [part.split() for part in match[2].split(";")]
            builder.add(match[1], [(int(a), int(b)) for a, b in offsets], match[3], f"{path}:{number}")
        documents.append(builder.build())
    return documents, counts
