"""What a run has to ask for: the newest inventory against what the mirror knows."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biobert_scale.corpus.sources.facts import (
    HISTORICAL_OCR,
    LICENSE,
    MANUSCRIPT,
    MISSING,
    RETRACTED,
    SAME,
    STATES,
    TAKEN,
    WITHDRAWN,
)
from biobert_scale.corpus.sources.inventory import PREFIX, Inventory
from biobert_scale.corpus.sources.record import Known, Records, Row
from biobert_scale.corpus.sources.selection import Metadata, Selection
from biobert_scale.errors import RunFailed

_MOST_WITHDRAWN, _FEW = 0.1, 1000
_PIECE = 10_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One article to ask for, and what is known of it."""

    pmcid: int
    version: int
    as_of: int
    known: Row | None
    """Its last line; None where it was never asked for."""
    is_held: bool
    """Its last state is in a package."""
    is_described: bool
    """Its metadata are known, so that only its XML has to be asked for."""

    @property
    def name(self) -> str:
        return f"PMC{self.pmcid}.{self.version}"

    def row(self, state: str) -> Row:
        """A line of this inventory, with what is known of the article's last state."""
        line = Row(self.pmcid, self.version, state, self.as_of)
        if self.known is None or not self.is_described:
            return line
        return self.known._replace(state=state, as_of=self.as_of)

    def metadata(self) -> Metadata:
        assert self.known is not None
        known = self.known
        return Metadata(known.pmid, known.license, known.flags, f"{self.name}/{self.name}.xml", known.md5)

    def holds(self, metadata: Metadata) -> bool:
        """The article is held on these terms: nothing but the metadata's wording has changed."""
        if self.known is None or not self.is_held or self.known.version != self.version:
            return False
        held = (self.known.pmid, self.known.license, self.known.flags, self.known.md5)
        return held == (metadata.pmid, metadata.license, metadata.flags, metadata.md5)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The newest inventory, what the mirror knows, and where they differ."""

    inventory: Inventory
    records: Records
    asked: NDArray[np.int64]
    """Articles to ask for: rows of the inventory, in order."""
    described: NDArray[np.bool_]
    """Of these, whether their metadata are known; shape as `asked`."""
    place: NDArray[np.int64]
    """Their rows in `records.known`, -1 where they were never asked for; shape as `asked`."""
    withdrawn: NDArray[np.int64]
    """Articles that are held and that the inventory does not name: rows of `records.known`."""
    held: int
    """Articles that the mirror holds and the inventory names."""

    def __len__(self) -> int:
        return len(self.asked)

    def summary(self) -> str:
        return (
            f"{len(self.inventory.pmcid)} articles: {self.held} are held, {len(self)} to ask for,"
            f" {len(self.withdrawn)} withdrawn"
        )

    def is_new(self) -> NDArray[np.bool_]:
        """Whether an article that is asked for is not held; shape as `asked`."""
        held = np.append(_held(self.records.known), False)  # what was never asked for has the place -1
        return ~held[self.place]

    def wanted(self, is_full: Callable[[], bool]) -> Iterator[Wanted]:
        """The articles to ask for, in order; of new ones none once the mirror is full."""
        columns = (self.asked, self.place, self.described, self.is_new())
        pieces = (  # eight million rows are much as Python objects
            zip(*(column[start : start + _PIECE].tolist() for column in columns), strict=True)
            for start in range(0, len(self), _PIECE)
        )
        for row, place, described, new in itertools.chain.from_iterable(pieces):
            if new and is_full():
                continue
            yield Wanted(
                pmcid=int(self.inventory.pmcid[row]),
                version=int(self.inventory.version[row]),
                as_of=self.inventory.as_of,
                known=None if place < 0 else self.records.row(place),
                is_held=not new,
                is_described=described,
            )

    def withdrawals(self) -> Iterator[Row]:
        """A line for each article that was withdrawn."""
        for place in self.withdrawn.tolist():
            yield self.records.row(place)._replace(state=WITHDRAWN, as_of=self.inventory.as_of, end=0)


def make_plan(inventories: Iterable[Inventory], records: Records, selection: Selection) -> Plan:
    """Compare the newest inventory that is plausible with what the mirror knows.

    Raises:
        RunFailed: there is none, or all are older than what the mirror has seen.
    """
    for inventory in inventories:
        if inventory.as_of < records.known.as_of.max(initial=0):
            break
        plan = _compare(inventory, records, selection)
        if len(plan.withdrawn) <= max(_MOST_WITHDRAWN * (plan.held + len(plan.withdrawn)), _FEW):
            return plan
        _log.warning(
            "the inventory of %d is passed over: it lacks %d of %d articles that are held",
            inventory.as_of,
            len(plan.withdrawn),
            plan.held + len(plan.withdrawn),
        )
    raise RunFailed(
        "no complete inventory that is as new as the last one used",
        where=PREFIX,
        remedy="check --base-url, or run it again tomorrow",
    )


def _compare(inventory: Inventory, records: Records, selection: Selection) -> Plan:
    known = records.known
    place = np.searchsorted(known.pmcid, inventory.pmcid)
    found = np.zeros(len(place), dtype=bool)
    inside = place < len(known.pmcid)
    found[inside] = known.pmcid[place[inside]] == inventory.pmcid[inside]
    place = np.where(found, place, -1)
    rows = np.flatnonzero(found)
    at = place[rows]
    state, held = known.state[at], _held(known)[at]
    absent = np.isin(state, [STATES.index(name) for name in (MISSING, WITHDRAWN)])
    rewritten = (known.etag[at] != inventory.etag[rows]) & (inventory.modified[rows] > known.modified[at])
    changed = known.version[at] != inventory.version[rows]
    changed |= np.where(absent, inventory.as_of > known.as_of[at], rewritten)
    lost = np.isin(state, [STATES.index(name) for name in (TAKEN, SAME)]) & ~held
    acceptable = ~changed & (lost | _selected_now(records, at, selection))
    asked, described = ~found, np.zeros(len(found), dtype=bool)
    asked[rows] = changed | acceptable
    described[rows] = acceptable
    asked_rows = np.flatnonzero(asked)
    return Plan(
        inventory=inventory,
        records=records,
        asked=asked_rows,
        described=described[asked_rows],
        place=place[asked_rows],
        withdrawn=np.flatnonzero(_held(known) & ~np.isin(known.pmcid, inventory.pmcid)),
        held=int(np.count_nonzero(held)),
    )


def _held(known: Known) -> NDArray[np.bool_]:
    """Whether an article's last state is in a package that is there; shape (articles,)."""
    return (known.package > 0) & np.isin(known.state, [STATES.index(name) for name in (TAKEN, SAME)])


def _selected_now(records: Records, at: NDArray[np.int64], selection: Selection) -> NDArray[np.bool_]:
    """Whether articles that were not selected are so now: the options may have changed."""
    known = records.known
    refused = np.isin(
        known.state[at],
        [STATES.index(name) for name in (LICENSE, RETRACTED, HISTORICAL_OCR, MANUSCRIPT)],
    )
    kinds, kind = np.unique(
        np.stack([known.license[at], known.flags[at].astype(np.int32)]), axis=1, return_inverse=True
    )
    accepted = [not selection.refusal(records.licenses[code], flags) for code, flags in kinds.T.tolist()]
    return np.asarray(refused & np.array(accepted, dtype=bool)[kind.ravel()])
