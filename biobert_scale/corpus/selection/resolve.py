"""Decides over all records which are kept: last states, withdrawals, full texts, equal texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biobert_scale.compiled import njit

REASONS = (
    "",
    *"malformed no_identifier license retracted publication_type year".split(),
    *"no_abstract no_body too_short language symbol_heavy benchmark".split(),
    *"deleted superseded full_text_present duplicate_text near_duplicate".split(),
)
"""What is decided of a record, by code: 0 is kept. Up to `benchmark` within one file, the others over all;
`deleted` also within a list of withdrawn articles."""

CODES = {reason: code for code, reason in enumerate(REASONS)}


@dataclass(frozen=True, kw_only=True)
class Index:
    """What the decision needs: columns of shape (records,), in the order of files and positions."""

    medline: NDArray[np.bool_]
    """The record comes from MEDLINE."""
    pmc: NDArray[np.bool_]
    """It comes from PMC. Records of own text have neither mark, no identifier and one state."""
    pmid: NDArray[np.int64]
    """0 where unknown: never for a MEDLINE record, unless its code is `no_identifier`."""
    pmcid: NDArray[np.int64]
    """The digits of the PMCID; 0 where unknown: a PMC article then has a PMID, unless its code is
    `no_identifier`."""
    version: NDArray[np.int64]
    revised: NDArray[np.int64]
    """MEDLINE: DateRevised. PMC: the package's time of the last update. 0 where unknown."""
    digest: NDArray[Any]
    """16 bytes of a hash of the text, as dtype V16."""
    code: NDArray[np.uint8]
    """What the record's own file decided, an index into `REASONS`."""


def decide(index: Index, deletions: dict[int, int]) -> NDArray[np.uint8]:
    """Decide of each record whether it is kept, or why not.

    1. Of several states of one PMID (MEDLINE) or PMCID (PMC; PMID where it has none) one counts: the highest
       version; among those the one revised last (a record without a date was never revised, so it is older
       than any with one); among those the later one. The date comes before the order of the files so that old
       excerpts do no harm wherever their name sorts. The other states are `superseded`.
    2. A counting MEDLINE record is `deleted` where its own or a later file withdraws its PMID.
    3. Then what the record's own file decided holds. A counting state that was rejected brings no older one
       back.
    4. An abstract whose full text is kept, linked by PMID or PMCID, is `full_text_present`.
    5. Of equal texts the first is kept; the others are `duplicate_text`.

    Args:
        index: all records.
        deletions: for each withdrawn PMID the number of records up to the end of the last file that withdraws
            it.

    Returns:
        Indices into `REASONS`, shape (records,).
    """
    code = index.code.copy()
    identified = code != CODES["no_identifier"]
    full_text_by_pmid = index.pmc & (index.pmcid == 0)
    for is_source, key in (
        (index.medline, index.pmid),
        (index.pmc, index.pmcid),
        (full_text_by_pmid, index.pmid),
    ):
        rows = np.flatnonzero(is_source & identified & (key > 0))
        order = rows[np.argsort(key[rows], kind="stable")]
        _mark_superseded(order, key, index.version, index.revised, code, np.uint8(CODES["superseded"]))
    counting = np.flatnonzero(index.medline & identified & (code != CODES["superseded"]))
    code[counting[counting < _look_up(index.pmid[counting], deletions)]] = CODES["deleted"]

    full_text = (code == 0) & index.pmc
    abstracts = np.flatnonzero((code == 0) & index.medline)
    linked = np.zeros(len(abstracts), dtype=bool)
    for column in (index.pmid, index.pmcid):
        key = column[abstracts]
        linked |= (key > 0) & np.isin(key, column[full_text])
    code[abstracts[linked]] = CODES["full_text_present"]

    kept = np.flatnonzero(code == 0)
    digest = index.digest[kept].view(np.uint64).reshape(-1, 2)
    order = np.lexsort((digest[:, 0], digest[:, 1]))  # equal texts side by side, in their own order
    digest = digest[order]
    repeated = (digest[1:] == digest[:-1]).all(axis=1)
    code[kept[order[1:][repeated]]] = CODES["duplicate_text"]
    return code


@njit()
def _mark_superseded(
    order: NDArray[np.int64],  # (rows,) by key; those of one key in the order of files and positions
    key: NDArray[np.int64],
    version: NDArray[np.int64],
    revised: NDArray[np.int64],
    code: NDArray[np.uint8],
    superseded: np.uint8,
) -> None:
    """Write `code` of all states of a key but the last."""
    for place in range(1, len(order)):
        last, row = order[place - 1], order[place]
        if key[row] != key[last]:
            continue
        if (version[row], revised[row]) < (version[last], revised[last]):
            row, last = last, row
            order[place] = row
        code[last] = superseded


def _look_up(pmid: NDArray[np.int64], deletions: dict[int, int]) -> NDArray[np.int64]:
    """Up to which record each PMID is withdrawn, 0 where it is not."""
    withdrawn = np.array(sorted(deletions), dtype=np.int64)
    if not len(withdrawn):
        return np.zeros(len(pmid), dtype=np.int64)
    ends = np.array([deletions[number] for number in withdrawn.tolist()], dtype=np.int64)
    place = np.minimum(np.searchsorted(withdrawn, pmid), len(withdrawn) - 1)
    return np.where(withdrawn[place] == pmid, ends[place], 0)
