"""BC5CDR and the NCBI disease corpus as PubTator, the hallmarks of cancer as BLURB's sentence rows."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from biobert_scale.corpus.synthetic.documents import Paper, Writer
from biobert_scale.corpus.synthetic.grammar import OPEN, plain_text
from biobert_scale.files import write_atomically

FIRST_PMID = 95_000_001
CDR_FILES = {
    "train": "CDR_TrainingSet.PubTator.txt",
    "dev": "CDR_DevelopmentSet.PubTator.txt",
    "test": "CDR_TestSet.PubTator.txt",
}
NCBI_FILES = {
    "train": "NCBItrainset_corpus.txt",
    "dev": "NCBIdevelopset_corpus.txt",
    "test": "NCBItestset_corpus.txt",
}
ENTITY_DOCUMENTS = {"train": 60, "dev": 30, "test": 60}
HALLMARK_DOCUMENTS = {"train": 60, "dev": 40, "test": 100}
_HALLMARKS = 10
_WORD = re.compile(r"\w+(?:[-/.]\w+)*|[^\w\s]")


def write_benchmarks(output: Path, writer: Writer, seed: int) -> tuple[list[Path], dict[str, int]]:
    """Write all benchmark files under `output/ner` and `output/hoc`.

    Returns:
        The files, and the number of documents of each set and split.
    """
    files: list[Path] = []
    counts: dict[str, int] = {}
    pmids = iter(range(FIRST_PMID, FIRST_PMID + 100_000))

    def papers(name: str, split: str, documents: int, styles: Sequence[str]) -> list[Document]:
        counts[f"{name}_{split}"] = documents
        streams = (random.Random(f"{name}/{split}/{i}/{seed}") for i in range(documents))
        return [Document(next(pmids), _paper(writer, rng, split, styles)) for rng in streams]

    for name, split_files, render, styles in (
        ("bc5cdr", CDR_FILES, _cdr_text, ("clinical", "experimental")),
        ("ncbi_disease", NCBI_FILES, _ncbi_text, ("genetic", "genetic", "clinical")),
    ):
        for split, file in split_files.items():
            files.append(output / "ner" / f"{name}_pubtator" / file)
            write_atomically(files[-1], render(papers(name, split, ENTITY_DOCUMENTS[split], styles)))
    for split, documents in HALLMARK_DOCUMENTS.items():
        drawn = papers("hoc", split, documents, ("cancer",) * 6 + ("other", "experimental"))
        files += [output / "hoc" / "blurb" / f"{split}{end}.tsv" for end in ("", "_pmid")]
        write_atomically(files[-2], _hallmark_rows(drawn, random.Random(f"hoc/{split}/{seed}")))
        write_atomically(files[-1], ",".join(f"{document.pmid}.txt" for document in drawn))
    return files, counts


class Document(NamedTuple):
    """A paper of a benchmark, as plain text with the mentions in it."""

    pmid: int
    paper: Paper

    @property
    def title(self) -> str:
        return plain_text(self.paper.title)[0]

    @property
    def abstract(self) -> str:
        return plain_text(self.paper.abstract)[0]

    def lines(self, kinds: Mapping[str, str]) -> list[str]:
        """The lines of PubTator for title, abstract, and the mentions of some kinds.

        Args:
            kinds: kind -> what the file calls it; empty for the mention's role.
        """
        text, mentions = plain_text(f"{self.paper.title} {self.paper.abstract}")
        lines = [f"{self.pmid}|t|{self.title}", f"{self.pmid}|a|{self.abstract}"]
        for m in mentions:
            if m.kind in kinds:
                cells = (
                    self.pmid,
                    m.start,
                    m.end,
                    text[m.start : m.end],
                    kinds[m.kind] or m.role,
                    m.identifier,
                )
                lines.append("\t".join(map(str, cells)))
        return lines


def _paper(writer: Writer, rng: random.Random, split: str, styles: Sequence[str]) -> Paper:
    topic = writer.topic(rng, style=rng.choice(styles), seen_only=split != "test", benchmark=True)
    return writer.paper(topic)


def _cdr_text(documents: list[Document]) -> str:
    """Chemicals, diseases, and which chemical induces which; a blank line after each document."""
    blocks = ""
    for document in documents:
        lines = document.lines({"disease": "Disease", "chemical": "Chemical"})
        present = {line.rpartition("\t")[2] for line in lines[2:]}
        lines += [
            f"{document.pmid}\tCID\t{cause.chemical}\t{cause.disease}"
            for cause in document.paper.causes
            if present.issuperset(cause)
        ]
        blocks += "\n".join(lines) + "\n\n"
    return blocks


def _ncbi_text(documents: list[Document]) -> str:
    """Diseases with the corpus's four classes; a blank line before each document."""
    return "".join("\n" + "\n".join(document.lines({"disease": ""})) + "\n" for document in documents)


def _hallmark_sentences(paper: Paper, rng: random.Random) -> list[str]:
    """Four to eight of an abstract's sentences, in their order: mostly those with a hallmark's cue."""
    count = min(len(paper.sentences), rng.randint(4, 8))
    places = rng.sample(range(len(paper.sentences)), len(paper.sentences))
    with_cue = [i for i in places if f"{OPEN}hallmark/" in paper.sentences[i]][: count * 3 // 4]
    others = [i for i in places if i not in with_cue]
    return [paper.sentences[i] for i in sorted((with_cue + others)[:count])]


def _hallmark_rows(documents: list[Document], rng: random.Random) -> str:
    """Four to eight tokenised sentences of each paper with their ten labels."""
    rows = ["labels\tsentence\tindex"]
    for document in documents:
        for place, sentence in enumerate(_hallmark_sentences(document.paper, rng)):
            text, mentions = plain_text(sentence)
            found = {int(mention.identifier) for mention in mentions if mention.kind == "hallmark"}
            labels = ",".join(f"{label}_{int(label in found)}" for label in range(_HALLMARKS))
            rows.append(f"{labels}\t{' '.join(_WORD.findall(text))}\t{document.pmid}_s{place}")
    return "\n".join(rows) + "\n"
