from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from biobert_scale.data.vocabulary import VocabularyTables
from tests.factories import write_tokens


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), documents=60) / "tokenizer"


@pytest.mark.parametrize("whole_words", [False, True])
def test_every_entry_is_in_both_tables(tokenizer: Path, whole_words: bool) -> None:
    """Masking looks any token up, whether words are wholes or not."""
    ids = json.loads((tokenizer / "tokenizer.json").read_text())["model"]["vocab"]
    tables = VocabularyTables.read(tokenizer, whole_words=whole_words)
    assert tables.continues.shape == (len(ids),) and tables.continues.dtype == np.bool_
    expected = sorted(token for entry, token in ids.items() if entry.startswith("##") and whole_words)
    assert np.flatnonzero(tables.continues).tolist() == expected
    special = [ids[f"[{name}]"] for name in ("PAD", "UNK", "CLS", "SEP", "MASK")]
    assert [tables.unknown, tables.cls, tables.sep, tables.mask] == special[1:]
    assert tables.replacements.tolist() == sorted(set(ids.values()) - set(special))
