"""The page of what `prepare` counted."""

from __future__ import annotations

import re
from pathlib import Path

from biobert_scale.evaluation.prepare import prepare
from biobert_scale.report.prepared import write_prepared_page

TASK = """name = "a<b"
kind = "relations"
metric = "micro_f1"
labels = ["up", "none"]
negative = "none"
[[sources]]
format = "tsv"
columns = { text = 0, label = 1 }
train = "train.tsv"
dev = "dev.tsv"
test = "test.tsv"
"""


def test_the_page_has_every_count_and_says_what_is_wrong(tmp_path: Path) -> None:
    for split, lines in {
        "train": "Noxa rose.\tup\nNoxa fell.\tnone\nNoxa fell.\tnone\n",
        "dev": "Bexin rose.\tup\n",
        "test": "Noxa rose.\tup\nFen\u00adtol fell.\tnone\n",
    }.items():
        (tmp_path / f"{split}.tsv").write_text(lines, encoding="utf-8")
    (tmp_path / "my.toml").write_text(TASK, encoding="utf-8")
    prepare(None, tmp_path / "out", tasks=[str(tmp_path / "my.toml")])
    page = write_prepared_page(tmp_path / "out").read_text(encoding="utf-8")
    assert "a&lt;b" in page and "a<b" not in page and "<script" not in page
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "relations, scored by micro-F1; not the published set" in text
    assert "rows 3 1 2 positives 1 1 1 rows of up 1 33.3% 1 100.0% 1 50.0%" in text
    for warning in (
        "1 different texts of test are in train too",
        "1 texts of train repeat an earlier one",
        "1 characters of test are such that BERT's tokenizers drop them",
    ):
        assert warning in text.replace("&#39;", "'")
