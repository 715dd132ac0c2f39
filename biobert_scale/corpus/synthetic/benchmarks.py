"""The benchmark files: BC5CDR and the NCBI disease corpus as PubTator, the hallmarks of cancer as BLURB's
sentence rows."""

from __future__ import annotations

import random
import re
from pathlib import Path

from biobert_scale.corpus.synthetic.documents import Paper, Writer
from biobert_scale.corpus.synthetic.grammar import OPEN, Mention, plain_text
from biobert_scale.corpus.synthetic.lexicon import FAMILIAR_CUES
from biobert_scale.files import write_atomically

SPLITS = ("train", "dev", "test")
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
_WORD = re.compile(r"\w+(?:[-/.]\w+)*|[^\w\s]")


def write_benchmarks(output: Path, writer: Writer, seed: int) -> tuple[list[Path], dict[str, int]]:
    """Write all benchmark files under `output/ner` and `output/hoc`.

    Returns:
        The files, and the number of documents of each set and split.
    """
    files: list[Path] = []
    counts: dict[str, int] = {}
    pmids = iter(range(FIRST_PMID, FIRST_PMID + 100_000))
    for name, split_files, render in (
        ("bc5cdr", CDR_FILES, _cdr_text),
        ("ncbi_disease", NCBI_FILES, _ncbi_text),
    ):
        for split in SPLITS:
            styles: tuple[str, ...] = (
                ("clinical", "experimental") if name == "bc5cdr" else ("genetic", "genetic", "clinical")
            )
            papers = [
                (next(pmids), _paper(writer, f"{name}/{split}/{i}/{seed}", split, styles))
                for i in range(ENTITY_DOCUMENTS[split])
            ]
            files.append(output / "ner" / f"{name}_pubtator" / split_files[split])
            write_atomically(files[-1], render(papers))
            counts[f"{name}_{split}"] = len(papers)
    for split in SPLITS:
        styles = ("cancer",) * 6 + ("other", "experimental")
        papers = [
            (next(pmids), _paper(writer, f"hoc/{split}/{i}/{seed}", split, styles))
            for i in range(HALLMARK_DOCUMENTS[split])
        ]
        rows, pmid_list = _hallmark_rows(papers, random.Random(f"hoc/{split}/{seed}"))
        files += [output / "hoc" / "blurb" / f"{split}.tsv", output / "hoc" / "blurb" / f"{split}_pmid.tsv"]
        write_atomically(files[-2], rows)
        write_atomically(files[-1], pmid_list)
        counts[f"hoc_{split}"] = len(papers)
    return files, counts


def _paper(writer: Writer, stream: str, split: str, styles: tuple[str, ...]) -> Paper:
    rng = random.Random(stream)
    return writer.paper(
        writer.topic(rng, style=rng.choice(styles), seen_only=split != "test", benchmark=True)
    )


def _passages(paper: Paper) -> tuple[str, str, list[Mention]]:
    """Title, abstract, and the mentions with offsets into title + " " + abstract."""
    title, _ = plain_text(paper.title)
    abstract, _ = plain_text(" ".join(paper.sentences))
    _, mentions = plain_text(paper.title + " " + " ".join(paper.sentences))
    return title, abstract, mentions


def _cdr_text(papers: list[tuple[int, Paper]]) -> str:
    """Chemicals, diseases, and the pairs in which a chemical induces a disease; a blank line after each
    document."""
    kinds = {"disease": "Disease", "chemical": "Chemical"}
    blocks = []
    for pmid, paper in papers:
        title, abstract, mentions = _passages(paper)
        text = f"{title} {abstract}"
        lines = [f"{pmid}|t|{title}", f"{pmid}|a|{abstract}"]
        kept = [mention for mention in mentions if mention.kind in kinds]
        lines += [
            f"{pmid}\t{m.start}\t{m.end}\t{text[m.start : m.end]}\t{kinds[m.kind]}\t{m.identifier}"
            for m in kept
        ]
        present = {mention.identifier for mention in kept}
        lines += [
            f"{pmid}\tCID\t{chemical}\t{disease}"
            for chemical, disease in paper.causes
            if {chemical, disease} <= present
        ]
        blocks.append("\n".join(lines) + "\n\n")
    return "".join(blocks)


def _ncbi_text(papers: list[tuple[int, Paper]]) -> str:
    """Diseases with the corpus's four classes; a blank line before each document."""
    blocks = []
    for pmid, paper in papers:
        title, abstract, mentions = _passages(paper)
        text = f"{title} {abstract}"
        lines = ["", f"{pmid}|t|{title}", f"{pmid}|a|{abstract}"]
        kept = [mention for mention in mentions if mention.kind == "disease"]
        lines += [
            f"{pmid}\t{m.start}\t{m.end}\t{text[m.start : m.end]}\t{m.role}\t{m.identifier}" for m in kept
        ]
        blocks.append("\n".join(lines) + "\n")
    return "".join(blocks)


def _hallmark_sentences(paper: Paper, rng: random.Random) -> list[str]:
    """Four to eight of an abstract's sentences, in their order; those with a hallmark's cue are drawn first
    for most of the places."""
    count = min(len(paper.sentences), rng.randint(4, 8))
    places = rng.sample(range(len(paper.sentences)), len(paper.sentences))
    telling = [i for i in places if f"{OPEN}hallmark/" in paper.sentences[i]][: count * 3 // 4]
    others = [i for i in places if i not in telling]
    return [paper.sentences[i] for i in sorted((telling + others)[:count])]


def _hallmark_rows(papers: list[tuple[int, Paper]], rng: random.Random) -> tuple[str, str]:
    """Four to eight tokenised sentences of each paper with their ten labels, and the list of PMIDs."""
    rows = ["labels\tsentence\tindex"]
    for pmid, paper in papers:
        for place, sentence in enumerate(_hallmark_sentences(paper, rng)):
            text, mentions = plain_text(sentence)
            found = {int(mention.identifier) for mention in mentions if mention.kind == "hallmark"}
            labels = ",".join(f"{label}_{int(label in found)}" for label in range(len(FAMILIAR_CUES)))
            rows.append(f"{labels}\t{' '.join(_WORD.findall(text))}\t{pmid}_s{place}")
    return "\n".join(rows) + "\n", ",".join(f"{pmid}.txt" for pmid, _ in papers)
