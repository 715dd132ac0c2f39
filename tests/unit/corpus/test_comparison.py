"""The comparison of all records, against the same rules written out in plain Python."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.corpus.made_up_parts import Literature, write_parts
from biobert_scale.config import CorpusConfig
from biobert_scale.corpus.comparison import compare
from biobert_scale.corpus.pipeline import FileTask
from biobert_scale.corpus.selection.deduplicate import BANDS, ROWS, SIGNATURE_SIZE
from biobert_scale.corpus.selection.resolve import CODES, REASONS

Record = dict[str, Any]
SMALL = Literature(records=14_000, citations_per_file=1500, articles_per_file=400)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[FileTask]:
    return write_parts(SMALL, tmp_path_factory.mktemp("parts"))


def records_of(tasks: list[FileTask]) -> list[Record]:
    records: list[Record] = []
    for task in tasks:
        signatures = iter(np.load(task.signatures).tolist())
        rows = pq.read_table(task.extracted).to_pylist()
        end = len(records) + len(rows)
        for row in rows:
            row["reason"] = REASONS[row["code"]]
            row["signature"] = next(signatures) if not row["code"] else None
        records += rows
        for pmid, _ in task.read_notes()["deleted"]:
            for record in records[:end]:
                if record["source"] == "medline" and record["pmid_number"] == pmid:
                    record["withdrawn"] = True
    return records


def mark_superseded(records: Iterable[Record], key: Callable[[Record], int]) -> None:
    states = defaultdict(list)
    for place, record in enumerate(records):
        if key(record):
            states[key(record)].append((record["version"], record["revised"], place, record))
    for several in states.values():
        for _, _, _, record in sorted(several, key=lambda state: state[:3])[:-1]:
            record["reason"] = "superseded"


def left_out(tasks: list[FileTask], minimum_similarity: float) -> list[str]:
    """The reason of every record, empty where it is kept."""
    records = records_of(tasks)
    medline, pmc = ([one for one in records if one["source"] == name] for name in ("medline", "pmc"))
    mark_superseded(medline, lambda record: record["pmid_number"])
    mark_superseded(pmc, lambda record: record["pmcid_number"])
    mark_superseded(pmc, lambda record: 0 if record["pmcid_number"] else record["pmid_number"])
    for record in medline:
        if record["reason"] != "superseded" and "withdrawn" in record:
            record["reason"] = "deleted"
    for name in ("pmid_number", "pmcid_number"):
        linked = {record[name] for record in pmc if not record["reason"]} - {0}
        for record in medline:
            if not record["reason"] and record[name] in linked:
                record["reason"] = "full_text_present"
    seen = set()
    for record in records:
        if not record["reason"]:
            record["reason"] = "duplicate_text" if record["digest"] in seen else ""
            seen.add(record["digest"])
    kept = [record for record in records if not record["reason"]]
    pairs = set()
    for start in range(0, SIGNATURE_SIZE, ROWS):
        alike = defaultdict(list)
        for place, record in enumerate(kept):
            alike[tuple(record["signature"][start : start + ROWS])].append(place)
        for places in alike.values():
            pairs |= {(places[0], later) for later in places[1:]}
            pairs |= set(itertools.pairwise(places))
    for earlier, later in sorted(pairs, key=lambda pair: (pair[1], pair[0])):
        both = zip(kept[earlier]["signature"], kept[later]["signature"], strict=True)
        agree = sum(left == right for left, right in both)
        if agree >= minimum_similarity * SIGNATURE_SIZE and not kept[earlier]["reason"]:
            kept[later]["reason"] = "near_duplicate"
    return [record["reason"] for record in records]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("similarity", [0.5, 0.8])
def test_what_is_removed_is_what_the_rules_say(
    parts: list[FileTask], tmp_path: Path, threads: int, similarity: float
) -> None:
    expected = left_out(parts, similarity)
    config = CorpusConfig(near_duplicate_similarity=similarity)
    found = compare(parts, tmp_path, tmp_path, config, threads=threads)
    decided = np.concatenate([np.load(task.decisions) for task in parts])
    assert [REASONS[code] for code in decided] == expected
    rejects = Counter(expected)
    assert found.counts["documents"] == rejects.pop("") and found.rejects == rejects
    # The rules are all met with: what nothing tests would pass.
    over_all = "deleted", "superseded", "full_text_present", "duplicate_text", "near_duplicate"
    assert set(over_all) <= set(rejects)
    assert not list(tmp_path.iterdir()), "signatures of pairs are left on disk"


def test_what_is_counted_is_what_the_parts_hold(parts: list[FileTask], tmp_path: Path) -> None:
    found = compare(parts, tmp_path, tmp_path, CorpusConfig())
    table = [row for task in parts for row in pq.read_table(task.extracted).to_pylist()]
    decided = np.concatenate([np.load(task.decisions) for task in parts]).tolist()
    kept = [row for row, code in zip(table, decided, strict=True) if not code]
    counts = found.counts
    assert counts["records"] == len(table) == SMALL.records
    assert counts["words"] == sum(row["words"] for row in kept)
    assert counts["characters"] == sum(row["characters"] for row in kept)
    for source in ("medline", "pmc"):
        assert counts[f"documents_{source}"] == sum(row["source"] == source for row in kept)
        licenses = Counter(row["license"] for row in kept if row["source"] == source)
        assert counts["licenses_by_source"][source] == licenses
    assert found.kept_before[-1] == len(kept) == counts["documents"]


def test_made_up_signatures_differ_as_drawn(parts: list[FileTask]) -> None:
    signatures = np.concatenate([np.load(task.signatures) for task in parts])
    bands = signatures.reshape(len(signatures), BANDS, ROWS)
    _, counts = np.unique(bands[:, 0], axis=0, return_counts=True)
    assert 0.95 < np.mean(counts == 1) < 1
    code = np.concatenate([pq.read_table(task.extracted)["code"].to_numpy() for task in parts])
    assert abs(np.mean(code == 0) - 0.5) < 0.03 and np.count_nonzero(code == CODES["no_abstract"])
