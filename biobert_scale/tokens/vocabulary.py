"""A WordPiece vocabulary: trained on the corpus, or an existing `vocab.txt`; saved so that `AutoTokenizer` opens it.

Wu et al. 2016, "Google's Neural Machine Translation System"; the normaliser and the splitting are BERT's.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from biobert_scale.config import VocabularyConfig
from biobert_scale.corpus.build import documents
from biobert_scale.errors import UserError
from biobert_scale.files import Manifest, begin_stage, describe_inputs, finish_stage, stage_key, write_atomically, write_json

STAGE = "vocabulary"
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ALPHABET = 1000
"""Characters that a trained vocabulary knows, the most frequent first: a word with any other becomes [UNK]."""


def build_vocabulary(corpus: Path, output: Path, config: VocabularyConfig, *, vocabulary: Path | None = None, overwrite: bool = False) -> Manifest:
    """Write a tokenizer directory: `vocab.txt`, `tokenizer.json`, `tokenizer_config.json`.

    Args:
        corpus: a finished corpus, to train on.
        vocabulary: an existing `vocab.txt` to take instead of training (its size then overrides `config.size`).

    Raises:
        UserError: unfinished corpus, unreadable vocabulary, or a corpus too small for the wanted size.
    """
    inputs = describe_inputs([vocabulary] if vocabulary else [corpus])
    key = stage_key(STAGE, inputs, config)
    if manifest := begin_stage(output, stage=STAGE, key=key, overwrite=overwrite):
        return manifest
    tokenizer = _from_file(vocabulary, lowercase=config.lowercase) if vocabulary else _train(corpus, config)
    entries = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    write_atomically(output / "vocab.txt", "\n".join(entries) + "\n")
    write_atomically(output / "tokenizer.json", tokenizer.to_str(pretty=True))
    write_json(output / "tokenizer_config.json", _transformers_settings(config.lowercase))
    return finish_stage(
        output, stage=STAGE, key=key, inputs=inputs, config=config, libraries=["tokenizers"],
        counts={"entries": len(entries), "continuations": sum(entry.startswith("##") for entry in entries)},
        outputs=[output / name for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json")],
    )  # fmt: skip


def _train(corpus: Path, config: VocabularyConfig) -> Tokenizer:
    tokenizer = _bert_tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100), lowercase=config.lowercase)
    # A normaliser of its own: training holds the tokenizer's while it asks for the next text, and would wait for itself.
    normalizer = _normalizer(config.lowercase)
    counts: Counter[str] = Counter()
    for text in _texts(corpus):
        counts.update(normalizer.normalize_str(text))
    alphabet = sorted(sorted((char for char in counts if not char.isspace()), key=lambda char: (-counts[char], char))[:_ALPHABET])
    # The trainer numbers continuations in the order in which its hash table yields words, which changes from run to run,
    # and breaks ties between merges by these numbers. Named as special tokens, they are numbered in this order instead.
    first = [*SPECIAL_TOKENS, *alphabet, *(f"##{char}" for char in alphabet)]
    if len(first) > config.size:
        raise UserError(f"the corpus's {len(alphabet)} characters alone need {len(first)} entries, more than the vocabulary's {config.size}", where="vocabulary.size", remedy="ask for a larger vocabulary")
    rare = {ord(char): " " for char in counts.keys() - set(alphabet)}
    trainer = trainers.WordPieceTrainer(vocab_size=config.size, min_frequency=config.minimum_frequency, special_tokens=first, show_progress=False)
    tokenizer.train_from_iterator((normalizer.normalize_str(text).translate(rare) for text in _texts(corpus)), trainer)
    vocabulary = tokenizer.get_vocab()
    return _from_entries(sorted(vocabulary, key=vocabulary.__getitem__), lowercase=config.lowercase)


def _texts(corpus: Path) -> Iterator[str]:
    for document in documents(corpus):
        yield document["text"]


def _from_file(path: Path, *, lowercase: bool) -> Tokenizer:
    entries = path.read_text(encoding="utf-8").splitlines()
    for token in SPECIAL_TOKENS:
        if token not in entries:
            raise UserError(f"the vocabulary has no {token}", where=path, remedy="give a BERT vocab.txt, one entry a line")
    return _from_entries(entries, lowercase=lowercase)


def _from_entries(entries: list[str], *, lowercase: bool) -> Tokenizer:
    ids = {entry: index for index, entry in enumerate(entries)}
    tokenizer = _bert_tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100), lowercase=lowercase)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return tokenizer


def _normalizer(lowercase: bool) -> normalizers.Normalizer:
    return normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lowercase)


def _bert_tokenizer(model: models.WordPiece, *, lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = _normalizer(lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _transformers_settings(lowercase: bool) -> dict[str, object]:
    return {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": lowercase,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "model_max_length": 512,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    }


def load_tokenizer(directory: Path) -> Tokenizer:
    """The fast tokenizer of a vocabulary directory, without truncation or padding.

    Raises:
        UserError: the directory holds none.
    """
    path = directory / "tokenizer.json"
    if not path.is_file():
        raise UserError("no tokenizer.json", where=directory, remedy="run `biobert-scale tokens vocabulary` to its end")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare exceptions
        raise UserError(f"not a tokenizer ({error})", where=path, remedy="build the vocabulary again") from None
    return tokenizer


def special_ids(directory: Path) -> dict[str, int]:
    """The ids of the five special tokens, by name (`[CLS]`, ...)."""
    vocabulary = json.loads((directory / "tokenizer.json").read_text())["model"]["vocab"]
    return {token: vocabulary[token] for token in SPECIAL_TOKENS}
