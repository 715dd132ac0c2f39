"""The blocks of a Markdown file, and the commands in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"(`{3,}|~{3,})\s*(\S*)")
_KEYWORDS = ("until", "while", "if", "do", "done", "then", "fi", "else")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced or indented block."""

    document: str
    line: int
    language: str
    """What follows the fence; "indented" without one."""
    text: str

    @property
    def name(self) -> str:
        """The document and the block's first line: what the tables call it."""
        return f"{self.document}: {self.text.splitlines()[0]}"


def read_blocks(path: Path, document: str) -> list[Block]:
    """Every fenced and every indented block of a file, in order."""
    found: list[Block] = []
    lines = path.read_text().splitlines()
    at = 0
    while at < len(lines):
        begin = at
        if fence := _FENCE.match(lines[at]):
            at += 1
            while at < len(lines) and not lines[at].startswith(fence[1]):
                at += 1
            found.append(
                Block(
                    document=document,
                    line=begin + 2,
                    language=fence[2],
                    text="\n".join(lines[begin + 1 : at]),
                )
            )
        elif lines[at].startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            while at < len(lines) and lines[at].startswith("    "):
                at += 1
            text = "\n".join(line[4:] for line in lines[begin:at])
            found.append(Block(document=document, line=begin + 1, language="indented", text=text))
        at += 1
    return found


def code_spans(path: Path) -> list[str]:
    """What stands between backticks in the text around the blocks."""
    lines, fenced = [], False
    for line in path.read_text().splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            lines.append(line)
    return re.findall(r"`([^`]+)`", "\n".join(lines))


def links(path: Path) -> list[tuple[str, str]]:
    """Where the links of a file lead to: (file, heading), each empty where it is this file or none is named;
    those into the web are left out."""
    targets = re.findall(r"\]\(([^)\s]+)\)", path.read_text())
    parts = (target.partition("#") for target in targets if not re.match(r"[a-z]+:", target))
    return [(file, heading) for file, _, heading in parts]


def headings(path: Path) -> set[str]:
    """The headings of a file, as links name them: in lower case, hyphens for blanks, no punctuation."""
    titles = re.findall(r"^#+ +(.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(script: str) -> list[list[str]]:
    """The commands of a shell block as words; continued lines are joined, pipes taken apart, comments,
    keywords, here-documents and where output goes left out."""
    found = []
    script = re.sub(r"<<'(\w+)'\n.*?\n\1$", "", script, flags=re.DOTALL | re.MULTILINE)
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["for"]:
            continue
        while words and words[0] in _KEYWORDS:
            words = words[1:]
        if ">" in words:
            words = words[: words.index(">")]
        while "|" in words:
            found.append(words[: words.index("|")])
            words = words[words.index("|") + 1 :]
        if words:
            found.append(words)
    return found


def file_patterns(path: Path) -> dict[str, dict[str, bool]]:
    """The tables of files in a page: heading to regular expressions of paths, in which N is a number, TASK
    and TRACKER any name; and whether such a file is always there, not only "with" something or "while" it
    runs."""
    found: dict[str, dict[str, bool]] = {}
    for part in re.split(r"^## ", path.read_text(), flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        found[heading] = {}
        for names, what in re.findall(r"^\| (`.+`) \| (.+) \|$", text, re.MULTILINE):
            for name in re.findall(r"`([^`]+)`", names):
                pattern = re.escape(name).replace(r"\*", ".*")
                pattern = re.sub(r"\b(?:TASK|TRACKER)\b", r"[\\w-]+", re.sub(r"\bN\b", r"\\d+", pattern))
                found[heading][pattern] = not re.match("with |while |of ", what)
    return found
