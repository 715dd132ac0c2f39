"""What a run would fetch, without fetching it: the inventory has neither licences nor sizes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from biobert_scale.corpus.sources import record
from biobert_scale.corpus.sources.facts import GROUP
from biobert_scale.corpus.sources.inventory import inventories
from biobert_scale.corpus.sources.objects import Bucket
from biobert_scale.corpus.sources.package import package_path
from biobert_scale.corpus.sources.plan import Plan, make_plan
from biobert_scale.corpus.sources.pmc_cloud import CloudConfig
from biobert_scale.corpus.sources.progress import human
from biobert_scale.corpus.sources.selection import Selection, read_metadata
from biobert_scale.corpus.transport import Later, NotThere

DRAWN = 10_000
"""Articles whose metadata are read: a share of a half is then known to within one in a hundred."""


@dataclass
class Sum:
    """Of one licence; estimated numbers are no integers."""

    articles: float = 0.0
    to_fetch: float = 0.0
    bytes: float = 0.0
    """Of the XML to fetch."""

    def row(self, name: str) -> tuple[str, str, str, str]:
        return name, f"{self.articles:,.0f}", f"{self.to_fetch:,.0f}", human(self.bytes)


def estimate(output: Path, config: CloudConfig, *, wait: Callable[[float], object] | None = None) -> str:
    """A table of articles and bytes by licence, as text; writes nothing.

    Licences of articles that were asked for before come from the records, all others from `DRAWN` drawn ones.

    Raises:
        UserError, RunFailed: as `pmc_cloud.download`.
    """
    directory, bucket = output / GROUP, config.bucket(wait)
    gone = frozenset(n for n in record.numbers(directory) if not _is_there(directory, n))
    plan = make_plan(inventories(bucket), record.load(directory, gone), config.selection)
    sums: defaultdict[str, Sum] = defaultdict(Sum)
    unknown = plan.asked[~plan.described]
    drawn = np.sort(np.random.default_rng(1).permutation(unknown)[:DRAWN])
    with ThreadPoolExecutor(config.connections) as pool:
        names = (f"PMC{plan.inventory.pmcid[row]}.{plan.inventory.version[row]}" for row in drawn.tolist())
        found = list(pool.map(lambda name: _look(bucket, name, config.selection), names))
    scale = len(unknown) / max(len(drawn), 1)
    for license_code, to_fetch, size in found:
        total = sums[license_code]
        total.articles += scale
        total.to_fetch += scale * to_fetch
        total.bytes += scale * size
    _add_known(sums, plan)
    rows = [("licence", "articles", "to fetch", "XML to fetch")]
    rows += [total.row(name or "none stated") for name, total in sorted(sums.items())]
    each = [(total.articles, total.to_fetch, total.bytes) for total in sums.values()]
    rows.append(Sum(*map(sum, zip(*each, strict=True))).row("total"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]) for first, *rest in rows]
    head = f"{GROUP}, inventory of {plan.inventory.as_of}: {plan.summary()}"
    return "\n".join([head, *lines, _source(plan, len(drawn))])


def _is_there(directory: Path, number: int) -> bool:
    package = package_path(directory, number)
    return package.exists() or record.part_path(package).exists()


def _look(bucket: Bucket, name: str, selection: Selection) -> tuple[str, bool, int]:
    """An article's licence, whether it is wanted, and the bytes of its XML if so."""

    def attempt() -> tuple[str, bool, int]:
        try:
            metadata = read_metadata(bytes(bucket.get(f"metadata/{name}.json").content))
        except ValueError as error:
            raise Later(f"its metadata are damaged ({error})") from None
        if not metadata.key or selection.refusal(metadata.license, metadata.flags):
            return metadata.license, False, 0
        return metadata.license, True, bucket.size(metadata.key)

    try:
        return bucket.persist(attempt, name)
    except NotThere:
        return "", False, 0


def _add_known(sums: defaultdict[str, Sum], plan: Plan) -> None:
    """Articles whose metadata the mirror has."""
    known = plan.records.known
    asked_anew = plan.place[~plan.described & (plan.place >= 0)]
    counted = np.ones(len(known.pmcid), dtype=bool)
    counted[asked_anew] = counted[plan.withdrawn] = False
    described = plan.place[plan.described]
    sizes = known.bytes[known.bytes > 0]
    fetched = sum(total.to_fetch for total in sums.values())
    mean = sizes.mean() if len(sizes) else sum(total.bytes for total in sums.values()) / max(fetched, 1)
    for code, name in enumerate(plan.records.licenses):
        articles = int(np.count_nonzero((known.license == code) & counted))
        to_fetch = int(np.count_nonzero(known.license[described] == code))
        if articles:
            total = sums[name]
            total.articles += articles
            total.to_fetch += to_fetch
            total.bytes += to_fetch * mean


def _source(plan: Plan, drawn: int) -> str:
    if not drawn:
        return "from the metadata that are held"
    unknown = int(np.count_nonzero(~plan.described))
    if drawn == unknown:
        return f"from the metadata that are held, and of the {drawn:,} other articles"
    return f"an estimate: {unknown:,} articles were never asked for; {drawn:,} of them were drawn and asked"
