"""The rows of the page's tables about data, training and machine, as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from biobert_scale.corpus.document import sources_of
from biobert_scale.files import Manifest
from biobert_scale.report.continuity import Continuity, check_continuity
from biobert_scale.report.sources import Record, Sources, attempts
from biobert_scale.report.templates import duration, large, measured, percent

Rows = Sequence[tuple[str, ...]]

_SOURCE_NAMES = {"medline": "MEDLINE abstracts", "pmc": "PMC full texts"}


class Tile(NamedTuple):
    """One of the key numbers at the top."""

    name: str
    value: str
    note: str


def tiles(run: Sources) -> list[Tile]:
    """The row of key numbers."""
    found = []
    if run.corpus:
        counts = run.corpus.counts
        found.append(Tile("Documents", large(counts["documents"]), f"of {counts['records']:,} records"))
    if run.tokens:
        train, held_out = (run.tokens.counts[split]["tokens"] for split in ("train", "validation"))
        found.append(Tile("Tokens", large(train + held_out), f"{large(held_out)} held out"))
    if run.export:
        found.append(Tile("Parameters", large(run.export.counts["parameters"]), "in the exported weights"))
    return [*found, *(_training_tiles(run) if run.training else [])]


def _training_tiles(run: Sources) -> list[Tile]:
    last, total = run.training[-1], run.setting("training", "schedule", "total_steps")
    of = f"of {total:,}, " if total else ""
    found = [Tile("Steps", f"{last['global_step']:,}", of + ("finished" if run.finished else "not finished"))]
    if run.validation:
        first, final = (run.validation[place]["validation/mlm_loss"] for place in (0, -1))
        change = f"{100 * (final - first) / first:+.1f}%, " if first and final else ""
        accuracy = f"{100 * run.validation[-1]['validation/nsp_accuracy']:.1f}%"
        found.append(
            Tile(
                "Validation MLM loss",
                f"{measured(first, 3)} → {measured(final, 3)}",
                f"{change}nats per prediction",
            )
        )
        found.append(Tile("NSP accuracy", accuracy, _nsp_chance(run)))
    seen = f"{large(last['consumed_tokens'])} tokens seen"
    return [*found, Tile("Time in steps", duration(step_seconds(run)), seen)]


def _nsp_chance(run: Sources) -> str:
    if run.samples is None:
        return "on validation"
    held_out = run.samples.counts["validation"]
    commoner = max(held_out["random_next"], held_out["samples"] - held_out["random_next"])
    return f"on validation; one constant answer: {percent(commoner, held_out['samples'])}"


def step_seconds(run: Sources) -> float:
    """Seconds in training steps: each record's step time counts for the steps since the record before it."""
    total, before = 0.0, 0
    for record in run.training:
        total += record["perf/step_seconds"] * max(attempts(record) - before, 0)
        before = attempts(record)
    return total


def sources(counts: Mapping[str, int]) -> Rows:
    """Records and documents by source, and in all."""
    rows = []
    for name, suffix in [
        *((_SOURCE_NAMES.get(source, source), f"_{source}") for source in sources_of(counts)),
        ("Total", ""),
    ]:
        files, records, kept = (counts[f"{what}{suffix}"] for what in ("files", "records", "documents"))
        rows.append((name, f"{files:,}", f"{records:,}", f"{kept:,}", percent(kept, records)))
    return rows


def rejects(corpus: Manifest) -> Rows:
    """What became of the records, by reason and in all."""
    records = corpus.counts["records"]
    found = sorted(corpus.rejects.items(), key=lambda item: -item[1])
    rows = [(reason.replace("_", " "), count) for reason, count in found]
    rows.append(("all rejected", sum(corpus.rejects.values())))
    rows += [("kept", corpus.counts["documents"]), ("records read", records)]
    return [(name, f"{count:,}", percent(count, records)) for name, count in rows]


def splits(run: Sources) -> Rows:
    """Token shards and samples, by split."""
    assert run.tokens is not None
    rows = []
    for split in ("train", "validation"):
        counts = run.tokens.counts[split]
        drawn = ("not drawn yet", "–")
        if run.samples and (pairs := run.samples.counts.get(split)):
            drawn = f"{pairs['samples']:,}", percent(pairs["random_next"], pairs["samples"])
        held = (f"{counts[name]:,}" for name in ("documents", "sentences", "tokens"))
        rows.append((split, *held, *drawn))
    return rows


def validation(records: Sequence[Record]) -> Rows:
    """Validation in numbers: the first measurement, the last, and ten evenly between."""
    if len(records) > 12:
        records = [records[round(place * (len(records) - 1) / 11)] for place in range(12)]
    return [
        (
            f"{record['global_step']:,}",
            measured(record["validation/mlm_loss"], 4),
            measured(record["validation/perplexity"], 2),
            f"{100 * record['validation/mlm_accuracy']:.2f}",
            measured(record["validation/nsp_loss"], 4),
            f"{100 * record['validation/nsp_accuracy']:.2f}",
        )
        for record in records
    ]


def continuity(run: Sources) -> list[Continuity]:
    """Both sides of every interruption."""
    every = run.setting("training", "log_every_steps") or 1
    return [
        check_continuity(run.training, entry, log_every_steps=every, batch_sizes=run.batch_sizes)
        for entry in run.interruptions
    ]


def interruption_head(checked: list[Continuity]) -> list[str]:
    return ["", *(f"after step {each.interruption.last_kept_step:,}" for each in checked)]


def interruptions(checked: list[Continuity]) -> Rows:
    """A column for each interruption."""
    return [(name, *(value(each) for each in checked)) for name, value in _CONTINUITY_ROWS]


def _or_dash(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


_SAMPLES = {None: "not checked", True: "continuous", False: "not continuous"}
_CONTINUITY_ROWS: tuple[tuple[str, Callable[[Continuity], str]], ...] = (
    ("stopped by", lambda each: each.interruption.signal),
    ("exit code", lambda each: _or_dash(each.interruption.exit_code)),
    ("last step before", lambda each: _or_dash(each.last_step)),
    ("first step after", lambda each: _or_dash(each.first_step)),
    ("steps missing", lambda each: f"{each.missing:,}"),
    ("steps computed twice", lambda each: f"{each.repeated:,}"),
    ("count of samples", lambda each: _SAMPLES[each.samples_consistent]),
)


def machine(environment: Mapping[str, Any]) -> Rows:
    """What is recorded of the machine, as far as it is a single value."""
    units = {"memory_gib": ("memory", " GiB"), "gpu": ("GPU", "")}
    rows = []
    for key, value in environment.items():
        if not isinstance(value, dict | list):
            name, unit = units.get(key, (key, ""))
            text = f"{value:.1f}" if isinstance(value, float) else str(value)
            rows.append((name, "none" if value is None else text + unit))
    return rows


def timings(seconds: Mapping[str, float]) -> Rows:
    """Wall-clock time by stage, and in all."""
    total = sum(seconds.values())
    rows = [(stage, duration(spent), percent(spent, total)) for stage, spent in seconds.items()]
    return [*rows, ("total", duration(total), "")]
