"""Made-up benchmarks in the original formats, and a tiny BERT directory that fits them."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from biobert_scale.evaluation.readers import HALLMARK_HEADER
from biobert_scale.evaluation.tasks import prepare

NAMES = (
    "leaf palsy",
    "Noxal rot",
    "grey fever",
    "stem tremor",
    "bark ache",
    "Moss-eye",
    "reed cough",
    "root gout",
)
FRAMES = (
    "Mice with {} slept.",
    "No {} was seen in cats.",
    "We saw {} and ran home.",
    "Old goats often had {} here.",
)
PMIDS = {"train": 1000, "dev": 2000, "test": 3000}
FILES = {
    "train": "NCBItrainset_corpus.txt",
    "dev": "NCBIdevelopset_corpus.txt",
    "test": "NCBItestset_corpus.txt",
}


def write_entities(directory: Path) -> Path:
    """32 documents of two sentences in every split; the splits differ in their PMIDs only."""
    directory.mkdir(parents=True, exist_ok=True)
    for split, file in FILES.items():
        lines = []
        for number, (name, frame) in enumerate(itertools.product(NAMES, FRAMES)):
            title, abstract = frame.format(name), "Nothing else is told."
            start, pmid = title.index(name), PMIDS[split] + number
            lines += [
                f"{pmid}|t|{title}",
                f"{pmid}|a|{abstract}",
                f"{pmid}\t{start}\t{start + len(name)}\t{name}\tSpecificDisease\tD1",
                "",
            ]
        (directory / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return directory


def write_hallmarks(directory: Path, *, every_document_labelled: bool = False) -> Path:
    """24 documents in every split: each name stands for the hallmark of its number, one document in three for
    none (or none for none)."""
    directory.mkdir(parents=True, exist_ok=True)
    for split in PMIDS:
        rows = [HALLMARK_HEADER]
        for number in range(24):
            label = number % 8 if number % 3 or every_document_labelled else None
            flags = ",".join(f"{index}_{int(index == label)}" for index in range(10))
            plain = ",".join(f"{index}_0" for index in range(10))
            subject = NAMES[label] if label is not None else "nothing"
            rows += [
                f"{flags}\tMice with {subject} slept.\t{PMIDS[split] + number}_s0",
                f"{plain}\tWe ran home.\t{PMIDS[split] + number}_s1",
            ]
        (directory / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return directory


def write_model(directory: Path, *, lowercase: bool = False) -> Path:
    """A cased WordPiece tokenizer and a two-layer encoder with random weights."""
    text = " ".join([*NAMES, *(frame.format("") for frame in FRAMES), "Nothing else is told. nothing - ,"])
    words = sorted({word.strip(".") for word in text.replace("-", " - ").split()} | {"."})
    letters = sorted(set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *dict.fromkeys([*words, *letters, *(f"##{letter}" for letter in letters)]),
    ]
    tokenizer = BertTokenizerFast(
        vocab={piece: number for number, piece in enumerate(pieces)}, do_lower_case=lowercase
    )
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(pieces),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
    )
    BertModel(shape, add_pooling_layer=False).save_pretrained(directory)
    return directory


def write_prepared(directory: Path, *, blue: bool = False) -> Path:
    """The made-up NCBI-disease and HoC, with `blue` HoC-BLUE as well, as `evaluate prepare` leaves them."""
    write_entities(directory / "in" / "entities")
    write_hallmarks(directory / "in" / "hallmarks")
    if blue:
        write_hallmarks(directory / "in" / "blue", every_document_labelled=True)
    prepare(directory / "in", directory / "out")
    return directory / "out"
