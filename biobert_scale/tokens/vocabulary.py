"""A WordPiece vocabulary: trained on the corpus, or an existing `vocab.txt`; saved so that `AutoTokenizer` opens it.

Wu et al. 2016, "Google's Neural Machine Translation System"; the normaliser and the splitting are BERT's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from biobert_scale.config import VocabularyConfig
from biobert_scale.corpus.build import documents
from biobert_scale.errors import UserError
from biobert_scale.files import Manifest, begin_stage, describe_inputs, finish_stage, stage_key, write_atomically, write_json

STAGE = "vocabulary"
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


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
    trainer = trainers.WordPieceTrainer(vocab_size=config.size, min_frequency=config.minimum_frequency, special_tokens=list(SPECIAL_TOKENS), show_progress=False)
    tokenizer.train_from_iterator(_texts(corpus), trainer)
    if tokenizer.get_vocab_size() > config.size:
        raise UserError(
            f"the corpus has {tokenizer.get_vocab_size()} distinct characters and special tokens, more than the vocabulary's {config.size} entries",
            where="vocabulary.size",
            remedy="ask for a larger vocabulary",
        )
    _finish(tokenizer)
    return tokenizer


def _texts(corpus: Path) -> Iterator[str]:
    for document in documents(corpus):
        yield document["text"]


def _from_file(path: Path, *, lowercase: bool) -> Tokenizer:
    entries = path.read_text(encoding="utf-8").splitlines()
    for token in SPECIAL_TOKENS:
        if token not in entries:
            raise UserError(f"the vocabulary has no {token}", where=path, remedy="give a BERT vocab.txt, one entry a line")
    tokenizer = _bert_tokenizer(models.WordPiece({entry: index for index, entry in enumerate(entries)}, unk_token="[UNK]", max_input_chars_per_word=100), lowercase=lowercase)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    _finish(tokenizer)
    return tokenizer


def _bert_tokenizer(model: models.WordPiece, *, lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _finish(tokenizer: Tokenizer) -> None:
    separator, classifier = tokenizer.token_to_id("[SEP]"), tokenizer.token_to_id("[CLS]")
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", separator), ("[CLS]", classifier))


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
