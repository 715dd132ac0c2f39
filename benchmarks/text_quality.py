"""Counts what reading raw XML does to its text: lost brackets, glued words, fused exponents, lost captions.

The raw files are MEDLINE files and PMC packages; each corpus was built from them by `biobert-scale corpus
build --near-duplicate-similarity 2`. The XML is read by lxml alone, and nothing of the package reads or
judges: the same code compares the corpora of any two versions of it. A document counts where all corpora hold
it.
"""

from __future__ import annotations

import gzip
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from lxml import etree

from biobert_scale.errors import UserError
from biobert_scale.files import walk

PARSER = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, remove_comments=True)
# fmt: off
NOT_TEXT = frozenset({
    "ack", "alt-text", "annotation", "array", "attrib", "bio", "code", "disp-formula",
    "disp-formula-group", "fn", "fn-group", "glossary", "graphic", "index-term", "inline-graphic",
    "kwd-group", "label", "long-desc", "math", "notes", "object-id", "permissions", "preformat",
    "private-char", "ref-list", "response", "sub-article", "supplementary-material", "table",
    "table-wrap-foot", "tex-math",
})
# fmt: on
BLOCKS = ("p", "title", "caption", "list", "fig", "fig-group", "table-wrap", "boxed-text", "media")
IN_TEXT = ("disp-formula", "fn", "fig", "table-wrap", "x", "inline-graphic", "graphic", "disp-formula-group")
FORMAL = re.compile(
    r"interest|ethic|fund|acknowledg|contribution|availab|accessib|supplement|supporting|abbreviat|consent"
    r"|disclos|disclaim|sponsor|additional|declaration|prepublication|references|reporting summary|publisher",
    re.IGNORECASE,
)
WORD = re.compile(r"[^\W\d_]{2,}")
FREE_TEN = re.compile(r"(?:^|[\s(×·*=<>≥≤~,;/–-])10$")
EMPTY = re.compile(
    r"(?<!\w)[(\[]\s*(?:(?:and|or|to|see|in|reviewed in|[Rr]efs?\.?|[,;:./&‐-―])\s*)*[)\]](?!\w)"
)
DOUBLED_STOP = re.compile(r"(?<!\.)\.\.(?!\.)")
ORPHANED = re.compile(r" [,;.](?=\s|$)|[,;:]\s?[.;](?=\s|$)|,\s?,")
BRACKETS = ("()", "[]", "{}")


@dataclass
class Source:
    """What one record's XML says its text should be."""

    paragraphs: list[str] = field(default_factory=list)
    words: Counter[str] = field(default_factory=Counter)
    glued: list[str] = field(default_factory=list)
    """Words that would grow together if what is between them left no blank."""
    fused: list[str] = field(default_factory=list)
    """A few characters and the number that an exponent would make of it: `5 × 106`."""
    captions: list[str] = field(default_factory=list)
    """The longest run of plain text of each."""


def name_of(element: etree._Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def words_of(text: str) -> list[str]:
    """Its words in small letters; the micro sign is one with the Greek letter, as the corpus writes it."""
    return WORD.findall(text.lower().replace("\u00b5", "\u03bc"))


def text_of(element: etree._Element, *, words_only: bool = False) -> str:
    """An element's own text, without the blocks in it; `words_only` without formulas and citations, too."""
    pieces = [element.text or ""]
    for child in element:
        name = name_of(child)
        is_citation = name == "xref" and child.get("ref-type") in ("bibr", "ref", "fn", "table-fn")
        if name == "math" and not words_only:
            pieces.append("".join(child.itertext("{*}mi", "{*}mo", "{*}mn", "{*}mtext")))
        elif name in NOT_TEXT or name in BLOCKS or (is_citation and words_only):
            pieces.append(" ")
        else:
            pieces.append(text_of(child, words_only=words_only))
        pieces.append(child.tail or "")
    return "".join(pieces)


def is_text(element: etree._Element) -> bool:
    return not any(
        name_of(above) in NOT_TEXT or above.get("abstract-type")
        for above in (element, *element.iterancestors())
    )


def is_formal(element: etree._Element) -> bool:
    """It is in a section that may be left out."""
    titles = (above.find("{*}title") for above in element.iterancestors("{*}sec", "{*}app"))
    return any(title is not None and FORMAL.search("".join(title.itertext())) for title in titles)


def before(element: etree._Element) -> str:
    earlier, parent = element.getprevious(), element.getparent()
    return ((earlier.tail if earlier is not None else parent.text) or "") if parent is not None else ""


def source_of(blocks: list[etree._Element]) -> Source:
    source = Source()
    for block in blocks:
        if not is_text(block):
            continue
        source.paragraphs.append(text_of(block))
        if is_formal(block):
            continue
        source.words.update(words_of(text_of(block, words_only=True)))
        for inner in block.iter(*IN_TEXT):
            left, right = re.search(r"\w+$", before(inner)), re.match(r"\w+", inner.tail or "")
            if left and right:
                source.glued.append(left[0] + right[0])
        for raised in block.iter("sup"):
            number = "".join("".join(raised.itertext()).split())
            if FREE_TEN.search(before(raised)) and re.fullmatch(r"[-−–+]?\d+", number):
                source.fused.append(before(raised)[-14:] + number)
        if name_of(block) == "caption":
            runs = (
                words_of(part.text) for part in (block, *block.iterchildren("{*}p", "{*}title")) if part.text
            )
            source.captions.append(" ".join(max(runs, key=len, default=[])[:5]))
    return source


def articles(path: Path) -> Iterator[tuple[str, Source]]:
    """Full texts by `package:member`, the `origin` of a corpus."""
    with tarfile.open(path) as package:
        for member in package:
            stream = package.extractfile(member) if member.isfile() else None
            if stream is None:
                continue
            root = etree.fromstring(stream.read(), PARSER)
            blocks = root.findall("{*}front/{*}article-meta/{*}title-group/{*}article-title")
            for part in ("front/{*}article-meta/{*}abstract", "body", "back", "floats-group"):
                for found in root.iterfind(f"{{*}}{part}"):
                    blocks += found.iter("{*}p", "{*}title", "{*}caption")
            yield f"{path.name}:{member.name}", source_of(blocks)


def citations(path: Path) -> Iterator[tuple[str, Source]]:
    """MEDLINE's records by file and PMID."""
    with gzip.open(path) as stream:
        for _, record in etree.iterparse(stream, tag="MedlineCitation", resolve_entities=False):
            blocks = [
                *record.iterfind("Article/ArticleTitle"),
                *record.iterfind("Article/Abstract/AbstractText"),
            ]
            yield f"{path.name}#{record.findtext('PMID')}", source_of(blocks)


def unbalanced(texts: list[str], kind: str) -> bool:
    return any(text.count(kind[0]) != text.count(kind[1]) for text in texts)


def excess(pattern: re.Pattern[str], text: str, source: str) -> int:
    return max(0, len(pattern.findall(text)) - len(pattern.findall(source)))


def measure(source: Source, text: str) -> Counter[str]:
    found: Counter[str] = Counter()
    lines, plain = text.split("\n"), " ".join(source.paragraphs)
    for kind in BRACKETS:
        if not unbalanced(source.paragraphs, kind):
            found[f"balanced {kind}"] += 1
            total = text.count(kind[0]) != text.count(kind[1])
            found[f"documents that lost a bracket of {kind}"] += total
    in_source, in_output = set(re.findall(r"\w+", plain)), Counter(re.findall(r"\w+", text))
    found["words glued"] = sum(word in in_output and word not in in_source for word in source.glued)
    found["`..`"] = excess(DOUBLED_STOP, text, plain)
    found["empty brackets"] = excess(EMPTY, text, plain)
    found["orphaned punctuation"] = sum(excess(ORPHANED, line, "") for line in lines)
    found["orphaned punctuation"] = max(0, found["orphaned punctuation"] - len(ORPHANED.findall(plain)))
    found["exponents fused"] = sum(text.count(fused) for fused in set(source.fused))
    words = " ".join(words_of(text))
    found["captions lost"] = sum(caption not in words for caption in source.captions)
    found["words"] = source.words.total()
    found["words kept"] = (source.words & Counter(words_of(text))).total()
    return found


def read_corpus(directory: Path) -> dict[str, str]:
    """Text by what `articles` and `citations` call a record."""
    texts = {}
    for shard in sorted(directory.glob("*.parquet")):
        for row in pq.read_table(shard, columns=["source", "pmid", "origin", "text"]).to_pylist():
            key = row["origin"] if row["source"] == "pmc" else f"{row['origin']}#{row['pmid']}"
            texts[key] = row["text"]
    return texts


def table(title: str, sources: dict[str, Source], corpora: dict[str, dict[str, str]]) -> str:
    common = [key for key in sources if all(key in texts for texts in corpora.values())]
    totals = {
        name: sum((measure(sources[key], texts[key]) for key in common), Counter[str]())
        for name, texts in corpora.items()
    }
    rows = [f"documents that lost a bracket of {kind}" for kind in BRACKETS]
    rows += [
        "words glued",
        "`..`",
        "empty brackets",
        "orphaned punctuation",
        "exponents fused",
        "captions lost",
    ]
    lines = [f"## {title}: {len(common):,} documents", "", f"| per 1,000 documents | {' | '.join(totals)} |"]
    lines.append("|---|" + "---:|" * len(totals))
    for row in rows:
        cells = []
        for found in totals.values():
            base = found[f"balanced {row[-2:]}"] if row.endswith(BRACKETS) else len(common)
            cells.append(f"{1000 * found[row] / max(base, 1):.1f} ({found[row]} in {base})")
        lines.append(f"| {row} | {' | '.join(cells)} |")
    kept = (f"{found['words kept'] / max(found['words'], 1):.2%}" for found in totals.values())
    lines.append(f"| words of paragraphs, headings and captions kept | {' | '.join(kept)} |")
    return "\n".join(lines)


def text_quality(*, raw: Path, corpora: tuple[str, ...]) -> None:
    """Count what reading raw XML does to the text: lost brackets and captions, glued words, fused exponents.

    Prints Markdown.

    Args:
        raw: directory of raw files.
        corpora: NAME=DIRECTORY of each corpus.
    """
    if bad := [each for each in corpora if "=" not in each]:
        raise UserError(
            f"no NAME=DIRECTORY: '{bad[0]}'", where="--corpora", remedy="write it like new=corpus"
        )
    texts = {name: read_corpus(Path(path)) for name, _, path in (each.partition("=") for each in corpora)}
    files = sorted(place / name for place, _, names in walk(raw) for name in names)
    if not any(path.name.endswith((".tar.gz", ".xml.gz")) for path in files):
        raise UserError("no *.tar.gz and no *.xml.gz", where=raw, remedy="name the directory of raw files")
    for title, suffix, read in (
        ("Full texts", ".tar.gz", articles),
        ("Abstracts", ".xml.gz", citations),
    ):
        found = (path for path in files if path.name.endswith(suffix))
        sources = {key: source for path in found for key, source in read(path)}
        if sources:
            print(table(title, sources, texts), end="\n\n")
