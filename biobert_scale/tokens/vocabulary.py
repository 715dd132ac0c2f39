"""A WordPiece vocabulary: trained on the corpus, or an existing `vocab.txt`; saved so that `AutoTokenizer`
opens it.

Wu et al. 2016, "Google's Neural Machine Translation System"; the normaliser and the splitting are BERT's.
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from biobert_scale.config import VocabularyConfig
from biobert_scale.corpus.document import is_all_private
from biobert_scale.errors import UserError
from biobert_scale.files import (
    Manifest,
    describe_inputs,
    read_json,
    read_manifest,
    write_atomically,
    write_json,
)
from biobert_scale.stage import Stage
from biobert_scale.tokens.vocabulary_file import (
    SPECIAL_TOKENS,
    declared_lowercase,
    is_lowercase,
    read_entries,
    vocabulary_file,
)
from biobert_scale.tokens.vocabulary_report import (
    Measured,
    Report,
    Words,
    vocabulary_report,
    without_examples,
)
from biobert_scale.tokens.vocabulary_sample import Draw, draw, seen

STAGE = "vocabulary"
REPORT = "report.json"
_FILES = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", REPORT)
_log = logging.getLogger(__name__)
_ALPHABET = 1000
"""Characters that a trained vocabulary knows; a word with a rarer one becomes [UNK]."""
_MEASURED_CHARACTERS = 20_000_000
_THIS = "this"
"""The name in reports of the vocabulary that was built, wherever it is: equal builds stay equal."""


def build_vocabulary(
    corpus: Path,
    output: Path,
    config: VocabularyConfig,
    *,
    vocabulary: Path | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write a tokenizer directory: `vocab.txt`, `tokenizer.json`, `tokenizer_config.json`; and `report.json`,
    what it makes of the corpus.

    Args:
        corpus: a finished corpus, to train and measure on.
        vocabulary: an existing `vocab.txt` (or a directory that holds one) to take instead of training: its
            entries keep their ids, and its size overrides `config.size`.

    Raises:
        UserError: unfinished corpus, unreadable vocabulary or one of the other case, or a size that the
            corpus's characters alone exceed.
    """
    inputs = describe_inputs([corpus] if vocabulary is None else [vocabulary_file(vocabulary), corpus])
    entries = None if vocabulary is None else _taken(vocabulary, config)
    reads = [corpus, *([vocabulary] if vocabulary else [])]
    with Stage(output, STAGE, inputs=inputs, config=config, overwrite=overwrite, reads=reads) as stage:
        if stage.finished is not None:
            return stage.finished
        wanted = config.training_characters if entries is None else 0
        training, measured = draw(corpus, wanted, _MEASURED_CHARACTERS)
        counts: dict[str, Any] = {}
        if entries is None:
            counts = {"training_documents": len(training), "training_characters": training.characters}
            _log.info("training on %d documents, %d characters", len(training), training.characters)
            entries = _train(training, config)
        tokenizer = _from_entries(entries, lowercase=config.lowercase)
        sample = Measured(
            documents=len(measured),
            characters=measured.characters,
            documents_seen=seen(training, measured) if counts else None,
        )
        report = vocabulary_report(Words(measured.texts()), {_THIS: tokenizer}, sample)
        if is_all_private(read_manifest(corpus)):
            if counts:
                _log.warning("vocab.txt has its words from private text alone, and is published with a model")
            report = without_examples(report)
        write_json(output / REPORT, report)
        write_atomically(output / "vocab.txt", "\n".join(entries) + "\n")
        write_atomically(output / "tokenizer.json", tokenizer.to_str(pretty=True))
        write_json(output / "tokenizer_config.json", transformers_settings(config.lowercase))
        return stage.finish(
            libraries=["tokenizers"],
            counts={
                "entries": len(entries),
                "continuations": sum(entry.startswith("##") for entry in entries),
                **counts,
            },
            outputs=[output / name for name in _FILES],
        )


def compare_vocabularies(corpus: Path, directory: Path, others: Sequence[Path]) -> Report:
    """Measure a finished vocabulary beside others, on the documents of its own report; nothing is written.

    Args:
        corpus: the corpus that the vocabulary was built from.
        directory: the finished vocabulary.
        others: each a `vocab.txt` or a tokenizer directory. Case is as the directory says, or lower where no
            entry has a capital letter.

    Returns:
        A report whose first vocabulary is the finished one.

    Raises:
        UserError: a vocabulary that cannot be read, or another corpus.
    """
    manifest = read_manifest(directory, STAGE)
    if describe_inputs([corpus])[0]["sha256"] != manifest.inputs[-1]["sha256"]:
        what = "the vocabulary was built from another corpus"
        raise UserError(what, where=corpus, remedy="give the corpus that it was built from")
    tokenizers = {_THIS: load_tokenizer(directory)}
    for path in others:
        entries = read_entries(path)
        tokenizer = _from_entries(entries, lowercase=is_lowercase(path, entries))
        tokenizers[_name(path, set(tokenizers))] = tokenizer
    _, measured = draw(corpus, 0, _MEASURED_CHARACTERS)
    reported = read_json(directory / REPORT)["sample"]
    sample = Measured(**{name: reported[name] for name in Measured.__annotations__})  # type: ignore[typeddict-item]
    report = vocabulary_report(Words(measured.texts()), tokenizers, sample)
    return without_examples(report) if is_all_private(read_manifest(corpus)) else report


def _name(path: Path, taken: set[str]) -> str:
    """A short name for a column: the directory's where the file is named as they all are."""
    path = path.resolve()
    name = path.parent.name if path.name in ("vocab.txt", "tokenizer.json") else path.name
    return str(path) if name in taken else name


def _taken(vocabulary: Path, config: VocabularyConfig) -> list[str]:
    entries = read_entries(vocabulary)
    declared = declared_lowercase(vocabulary)
    if declared is not None and declared != config.lowercase:
        case, option = ("lower-cased", "lowercase") if declared else ("cased", "no-lowercase")
        what = f"the vocabulary is for {case} text, as its tokenizer_config.json says"
        raise UserError(what, where=vocabulary, remedy=f"add --{option}, or take another vocabulary")
    if is_lowercase(vocabulary, entries) and not config.lowercase:
        message = "%s: no entry has a capital letter, so words with one become [UNK]; was --lowercase meant?"
        _log.warning(message, vocabulary)
    return entries


def _train(training: Draw, config: VocabularyConfig) -> list[str]:
    """Train on the drawn texts; returns the entries in the order of their ids."""
    code_points = _code_points(training)
    # What the normaliser makes of a character depends on that character alone, so each is normalised once,
    # not once per occurrence.
    normalizer = _normalizer(config.lowercase)
    characters = map(chr, np.flatnonzero(code_points).tolist())
    normal = {char: normalizer.normalize_str(char) for char in characters}
    counts: Counter[str] = Counter()
    for char, form in normal.items():
        for part in form:
            counts[part] += 0 if part.isspace() else int(code_points[ord(char)])
    alphabet = sorted(sorted(+counts, key=lambda char: (-counts[char], char))[:_ALPHABET])
    # The trainer numbers continuations in the order in which its hash table yields words, which changes from
    # run to run, and breaks ties between merges by these numbers. Named as special tokens, they are numbered
    # in this order instead.
    first = [*SPECIAL_TOKENS, *alphabet, *(f"##{char}" for char in alphabet)]
    if len(first) > config.size:
        what = f"the corpus's {len(alphabet)} characters alone need {len(first)} entries, more than the"
        what += f" vocabulary's {config.size}"
        raise UserError(what, where="vocabulary.size", remedy="ask for a larger vocabulary")
    # Words are cut at characters outside the alphabet: no entry could spell them.
    known = {*alphabet, " "}
    rare = {
        char: "".join(part if part in known else " " for part in form)
        for char, form in normal.items()
        if not known.issuperset(form)
    }
    pattern = re.compile(f"[{re.escape(''.join(rare))}]" if rare else "(?!)")
    texts = (pattern.sub(lambda match: rare[match[0]], text) for text in training.texts())
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.size,
        min_frequency=config.minimum_frequency,
        special_tokens=first,
        show_progress=False,
    )
    tokenizer = _bert_tokenizer({}, config.lowercase)
    tokenizer.train_from_iterator(texts, trainer)
    ids: dict[str, int] = tokenizer.get_vocab()
    if len(ids) < config.size:
        _log.warning("the corpus gives a vocabulary of %d entries, not of %d", len(ids), config.size)
    return sorted(ids, key=ids.__getitem__)


def _code_points(training: Draw) -> NDArray[np.int64]:
    """(0x110000,) how often each character occurs."""
    counts = np.zeros(0x110000, np.int64)
    for text in training.texts():
        found = np.bincount(np.frombuffer(text.encode("utf-32-le"), np.uint32))
        counts[: len(found)] += found
    return counts


def _from_entries(entries: list[str], *, lowercase: bool) -> Tokenizer:
    ids = {entry: index for index, entry in enumerate(entries)}
    tokenizer = _bert_tokenizer(ids, lowercase)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return tokenizer


def _normalizer(lowercase: bool) -> normalizers.Normalizer:
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=lowercase
    )


def _bert_tokenizer(ids: dict[str, int], lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = _normalizer(lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def transformers_settings(lowercase: bool) -> dict[str, object]:
    """What `tokenizer_config.json` says of a BERT tokenizer with the usual special tokens."""
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
        remedy = "run `biobert-scale tokens vocabulary` to its end"
        raise UserError("no tokenizer.json", where=directory, remedy=remedy)
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare exceptions
        what = f"not a tokenizer ({error})"
        raise UserError(what, where=path, remedy="build the vocabulary again") from None


def special_ids(directory: Path) -> dict[str, int]:
    """The ids of the five special tokens, by name (`[CLS]`, ...)."""
    vocabulary = json.loads((directory / "tokenizer.json").read_text())["model"]["vocab"]
    return {token: vocabulary[token] for token in SPECIAL_TOKENS}
