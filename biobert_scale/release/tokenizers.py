"""A model's tokenizer, with the settings that older models' directories do not have."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from biobert_scale.files import read_json, write_json
from biobert_scale.tokens.vocabulary import transformers_settings
from biobert_scale.tokens.vocabulary_file import is_lowercase, read_entries

SETTINGS = "tokenizer_config.json"
_ENTRIES = ("tokenizer.json", "vocab.txt")
_FILES = (*_ENTRIES, SETTINGS, "special_tokens_map.json", "added_tokens.json")


def missing_settings(directory: Path) -> dict[str, Any]:
    """What `tokenizer_config.json` would say where a directory has a vocabulary and no such file: without it
    transformers lower-cases, whatever the vocabulary is. A vocabulary with capitals is cased."""
    found = [name for name in _ENTRIES if (directory / name).is_file()]
    if not found or (directory / SETTINGS).is_file():
        return {}
    return transformers_settings(is_lowercase(directory, read_entries(directory / found[0])))


def copy_tokenizer(source: Path, directory: Path) -> None:
    """Copy a model's tokenizer files, and write its settings where it has none."""
    for name in _FILES:
        if (source / name).is_file():
            shutil.copy2(source / name, directory / name)
    if settings := missing_settings(directory):
        write_json(directory / SETTINGS, settings)


def limit_tokenizer(directory: Path, positions: int) -> None:
    """Make the tokenizer cut at the model's last position, where it is asked to cut."""
    path = directory / SETTINGS
    write_json(path, read_json(path) | {"model_max_length": positions})
