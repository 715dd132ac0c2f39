"""Small made-up inputs that the tests share: XML, corpora, tokens, benchmarks in the original formats, a tiny
BERT, and recipes of tiny runs."""

from __future__ import annotations

import gzip
import io
import itertools
import random
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast  # type: ignore[attr-defined]

from biobert_scale.config import DataConfig, ModelConfig, TokensConfig, VocabularyConfig
from biobert_scale.data.samples import build_samples
from biobert_scale.evaluation.ner import Tagger
from biobert_scale.evaluation.prepare import prepare
from biobert_scale.evaluation.prepared import STAGE, write_rows
from biobert_scale.evaluation.readers import HALLMARK_HEADER
from biobert_scale.files import Manifest, sha256_file, write_atomically, write_json
from biobert_scale.modeling.batch import PackedBatch
from biobert_scale.modeling.weights import load_encoder
from biobert_scale.release.heads import save_head
from biobert_scale.stage import Stage
from biobert_scale.tokens.build import build_tokens
from biobert_scale.tokens.shards import TokenShard, TokenStore
from biobert_scale.tokens.vocabulary import build_vocabulary

SMALL_BERT = ModelConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)
"""The shape of a model that is made and used in milliseconds."""

TINY: dict[str, Any] = {
    "name": "tiny",
    "model": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
    "data": {"max_seq_length": 64},
    "training": {
        "global_batch_size": 16,
        "micro_batch_size": 4,
        "log_every_steps": 1,
        "optimizer": {"learning_rate": 1e-3},
        "schedule": {"warmup_steps": 2, "total_steps": 8},
        "precision": {"dtype": "fp32"},
        "checkpoint": {"every_steps": 3, "keep_last": 2},
        "validation": {"every_steps": 4, "sequences": 21},
    },
}
"""A run of 8 steps, in JSON's terms."""

TINY_TOML = """
name = "tiny"
[vocabulary]
size = 300
[model]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
intermediate_size = 64
max_position_embeddings = 64
[data]
max_seq_length = 64
[training.engine]
name = "ddp"
"""
"""A tiny model without DeepSpeed, as a recipe's text."""

ONE_MICRO_BATCH: dict[str, Any] = {
    "name": "tiny",
    "model": TINY["model"],
    "data": {"max_seq_length": 64},
    "training": {
        # One micro-batch a step, and the same learning rates: the mathematics is the same.
        "global_batch_size": 16,
        "micro_batch_size": 16,
        "optimizer": {"learning_rate": 5e-3},
        "schedule": {"warmup_steps": 3, "total_steps": 8},
        "precision": {"dtype": "fp32"},
        "validation": {"sequences": 40},
    },
}
"""Beside another library: one micro-batch a step, equal learning rates, no dropout."""


def write_corpus(
    directory: Path, *, documents: int, shards: int = 1, sources: tuple[str, ...] = ("medline",)
) -> None:
    """A finished corpus of made-up documents whose words depend on a topic; they come from the sources in
    turn."""
    directory.mkdir(parents=True)
    generator = random.Random(0)
    rows = []
    for number in range(documents):
        topic = generator.randrange(10)
        sentences = [
            " ".join(
                f"word{(topic * 20 + generator.randrange(40)) % 200}"
                for _ in range(generator.randrange(4, 16))
            ).capitalize()
            + "."
            for _ in range(generator.randrange(2, 14))
        ]
        text = sentences[0] + "\n" + " ".join(sentences[1:])
        rows.append(
            {
                "id": f"pmid:{number}",
                "source": sources[number % len(sources)],
                "text": text,
                "pmid": str(number),
                "pmcid": "",
                "license": "",
                "origin": "made up",
            }
        )
    names = [f"part-{index:05d}.parquet" for index in range(shards)]
    for index, name in enumerate(names):
        pq.write_table(
            pa.Table.from_pylist(rows[index * documents // shards : (index + 1) * documents // shards]),
            directory / name,
        )
    outputs = {name: sha256_file(directory / name) for name in names}
    write_json(
        directory / "manifest.json",
        Manifest(stage="corpus", key="made up", inputs=[], config={}, counts={}, outputs=outputs),
    )


def write_tokens(
    directory: Path,
    *,
    documents: int = 400,
    sources: tuple[str, ...] = ("medline",),
    vocabulary: Path | None = None,
) -> Path:
    """Finished token shards; returns their directory."""
    write_corpus(directory / "corpus", documents=documents, shards=2, sources=sources)
    if vocabulary is None:
        vocabulary = directory / "vocabulary"
        build_vocabulary(directory / "corpus", vocabulary, VocabularyConfig(size=300))
    build_tokens(
        directory / "corpus",
        vocabulary,
        directory / "tokens",
        TokensConfig(validation_fraction=0.1),
    )
    return directory / "tokens"


def write_samples(tokens: Path, directory: Path, config: DataConfig, *, seed: int = 1) -> Path:
    build_samples(tokens, directory, config, seed=seed)
    return directory


def token_store(documents: list[list[int]], *, shards: int = 1) -> TokenStore:
    """A store in memory: the sentences' lengths by document; the tokens count from 0."""
    parts = [part.tolist() for part in np.array_split(np.arange(len(documents)), shards)]
    held = []
    for part in parts:
        sentences, tokens = [len(documents[k]) for k in part], [sum(documents[k]) for k in part]
        held.append(
            TokenShard(
                tokens=np.arange(sum(tokens)).astype(np.uint16),
                token_offsets=np.cumsum([0, *tokens], dtype=np.int32),
                sentence_lengths=np.array([length for k in part for length in documents[k]], np.uint32),
                sentence_offsets=np.cumsum([0, *sentences], dtype=np.int32),
            )
        )
    return TokenStore(
        tuple(held),
        token_starts=np.cumsum([0, *(len(shard.tokens) for shard in held)], dtype=np.int64),
        document_starts=np.cumsum([0, *map(len, parts)], dtype=np.int64),
    )


def abstract(
    pmid: int, text: str = "", *, title: str = "", version: int = 1, year: int = 0, pmcid: str = ""
) -> str:
    revised = f"<DateRevised><Year>{year}</Year><Month>01</Month><Day>02</Day></DateRevised>" if year else ""
    inner = f"<Abstract><AbstractText>{text}</AbstractText></Abstract>" if text else ""
    link = f'<ArticleIdList><ArticleId IdType="pmc">{pmcid}</ArticleId></ArticleIdList>' if pmcid else ""
    return (
        f'<PubmedArticle><MedlineCitation><PMID Version="{version}">{pmid}</PMID>{revised}<Article>'
        f"<ArticleTitle>{title or f'Title {pmid}.'}</ArticleTitle>{inner}<Language>eng</Language>"
        f"</Article></MedlineCitation>"
        f"<PubmedData>{link}</PubmedData></PubmedArticle>"
    )


def prose(number: int) -> str:
    return f"The iron of group {number} was measured and the level of it rose by a third in all of the rats."


def write_medline(path: Path, *records: str, deleted: tuple[int, ...] = ()) -> Path:
    block = "".join(f'<PMID Version="1">{pmid}</PMID>' for pmid in deleted)
    content = f"<PubmedArticleSet>{''.join(records)}{f'<DeleteCitation>{block}</DeleteCitation>' if block else ''}</PubmedArticleSet>"  # noqa: E501
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content.encode(), mtime=0))
    return path


def article(pmcid: int, text: str, *, pmid: str = "") -> bytes:
    identifiers = f'<article-id pub-id-type="pmc">{pmcid}</article-id>'
    identifiers += f'<article-id pub-id-type="pmid">{pmid}</article-id>' if pmid else ""
    title = f"<title-group><article-title>Full {pmcid}</article-title></title-group>"
    front = f"<front><article-meta>{identifiers}{title}</article-meta></front>"
    return f"<article>{front}<body><p>{text}</p></body></article>".encode()


def article_text(pmcid: int, extra: str = "", attributes: str = "") -> str:
    """An article of one set of many, as text; `extra` is put into its paragraph."""
    content = article(pmcid, f"{prose(pmcid)}{extra}").decode()
    return content.replace("<article>", f"<article{attributes}>", 1)


def write_articles(path: Path, *articles: str, head: str = "<articles>", end: str = "</articles>\n") -> Path:
    """A file of many articles, as Europe PMC has them."""
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(gzip.compress("\n".join([head, *articles, end]).encode(), mtime=0))
    return path


def tarred(members: Mapping[str, bytes], *, link: str = "") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as package:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            package.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            package.addfile(info)
    return stream.getvalue()


def write_package(path: Path, members: Mapping[str, bytes], *, link: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(tarred(members, link=link), mtime=0))
    return path


def cut_in_half(path: Path) -> None:
    content = b"".join(abstract(number, prose(number)).encode() for number in range(2000))
    whole = gzip.compress(b"<PubmedArticleSet>" + content)
    path.write_bytes(whole[: len(whole) // 2])


def write_checkpoint(run: Path, step: int, *, loss: object = None) -> Path:
    """An intact checkpoint of one file."""
    directory = run / "checkpoints" / f"step-{step:08d}"
    directory.mkdir(parents=True)
    (directory / "weights").write_bytes(bytes([step % 256]) * 100)
    record = {"bytes": 100, "sha256": sha256_file(directory / "weights")}
    write_json(
        directory / "manifest.json",
        {"stage": "checkpoint", "format": 1, "validation_mlm_loss": loss, "files": {"weights": record}},
    )
    return directory


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


def write_tagger(directory: Path, kind: str = "Disease") -> Path:
    """A token classifier with random weights, whose head is large enough that it marks something."""
    start = write_model(directory / "start")
    tagger = Tagger(load_encoder(start), 0.0)
    tagger.classifier.weight.data.normal_(std=1.0)
    save_head(
        directory / kind.lower(),
        tagger.bert,
        tagger.classifier,
        labels=["O", f"B-{kind}", f"I-{kind}"],
        problem="token_classification",
        source=start,
        details={"max_seq_length": 64},
    )
    return directory / kind.lower()


def write_prepared(directory: Path, *, blue: bool = False) -> Path:
    """The made-up NCBI-disease and HoC, with `blue` HoC-BLUE as well, as `evaluate prepare` leaves them."""
    write_entities(directory / "in" / "entities")
    write_hallmarks(directory / "in" / "hallmarks")
    if blue:
        write_hallmarks(directory / "in" / "blue", every_document_labelled=True)
    prepare(directory / "in", directory / "out")
    return directory / "out"


OWN_TASKS = {
    "single": 'kind = "classification"\nmetric = "accuracy"\nlabels = ["plant", "animal", "stone"]',
    "several": 'kind = "classification"\nmetric = "micro_f1"\nmulti_label = true\nlabels = ["a", "b", "c"]',
    "relations": 'kind = "relations"\nmetric = "micro_f1"\nnegative = "none"\nlabels = ["up","none","down"]',
    "similarity": 'kind = "similarity"\nmetric = "pearson"',
    "questions": 'kind = "question_answering"\nmetric = "accuracy"\nlabels = ["yes", "no", "maybe"]',
}
"""A task of each kind but entities, as the keys of its file."""


def own_rows(task: str, split: str) -> list[dict[str, Any]]:
    """24 rows of such a task, two a document; the splits differ in their names only."""
    rows: list[dict[str, Any]] = []
    for number in range(24):
        name, other, choice = NAMES[number % 8], NAMES[(number + number // 8) % 8], number % 8 % 3
        texts = [FRAMES[number % 4].format(name)]
        label: Any
        match task:
            case "several":
                label = ["abc"[choice]] if number % 2 else []
            case "similarity":
                texts, label = (
                    [*texts, FRAMES[number // 8].format(other)],
                    4.0 - choice - 0.25 * (number // 8),
                )
            case "questions":
                texts, label = [f"Old {name} here.", *texts], ("yes", "no", "maybe")[choice]
            case "relations":
                label = ("up", "none", "down")[choice]
            case _:
                label = ("plant", "animal", "stone")[choice]
        document = f"{split}-{number // 2}"
        rows.append({"id": f"{document}.{number % 2}", "document": document, "texts": texts, "label": label})
    return rows


def write_own_task(
    directory: Path, task: str, keys: str, splits: Mapping[str, Mapping[str, Iterable[Mapping[str, Any]]]]
) -> Path:
    """A prepared directory that holds one task of anybody's own.

    Args:
        keys: of its file, but for its name and sources.
        splits: train, dev and test, each with its files by what follows the split's name (`.jsonl`,
            `.gold.jsonl`).
    """
    source = "[[sources]]\nformat = 'jsonl'\ntrain = 'a'\ndev = 'b'\ntest = 'c'\n"
    with Stage(directory, STAGE, inputs=[], config={"tasks": [task]}) as stage:
        files = [directory / task / "task.toml"]
        write_atomically(files[0], f'name = "{task}"\n{keys}\n{source}')
        for split, parts in splits.items():
            for suffix, rows in parts.items():
                files.append(directory / task / f"{split}{suffix}")
                write_rows(files[-1], rows)
        counts: dict[str, Any] = {split: {} for split in splits}
        stage.finish(counts={task: {**counts, "published": False}}, outputs=files)
    return directory


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

CHROMIUM_OPTIONS = [
    f"--{option}"
    for option in (
        "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
        " disable-component-update disable-sync hide-scrollbars"
    ).split()
]


def screenshot(page: Path, directory: Path, *, width: int, height: int) -> np.ndarray:
    """A page as a browser paints it: (height, width, 3), from 0 to 1."""
    import matplotlib.image

    command = [
        str(CHROMIUM),
        *CHROMIUM_OPTIONS,
        f"--user-data-dir={directory / 'profile'}",
        f"--window-size={width},{height}",
        f"--screenshot={directory / 'shot.png'}",
        page.as_uri(),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    pixels: np.ndarray = matplotlib.image.imread(io.BytesIO((directory / "shot.png").read_bytes()))
    return pixels[..., :3]


def packed_batch(*lengths: int) -> PackedBatch:
    """Made-up sequences of a vocabulary of 100 entries; seeds torch's generator."""
    torch.manual_seed(sum(lengths))
    tokens = sum(lengths)
    return PackedBatch(
        input_ids=torch.randint(5, 100, (tokens,)),
        token_type_ids=torch.cat([(torch.arange(length) > length // 2).long() for length in lengths]),
        position_ids=torch.cat([torch.arange(length) for length in lengths]),
        cu_seqlens=torch.tensor([0, *lengths]).cumsum(0).to(torch.int32),
        sequence_lengths=lengths,
        mlm_positions=torch.arange(1, tokens, 5),
        mlm_labels=torch.randint(5, 100, (len(range(1, tokens, 5)),)),
        nsp_labels=torch.randint(0, 2, (len(lengths),)),
    )
